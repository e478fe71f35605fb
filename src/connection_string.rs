//! [Connection strings](https://learn.microsoft.com/azure/storage/common/storage-configure-connection-string).

use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::names::check_account;
use crate::redact::quoted;

/// The emulator's account and key, known to everybody:
/// [Use the Azurite emulator](https://learn.microsoft.com/azure/storage/common/storage-use-azurite).
const DEVELOPMENT_ACCOUNT: &str = "devstoreaccount1";
const DEVELOPMENT_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
/// Of the public cloud.
pub(crate) const SUFFIX: &str = "core.windows.net";
const QUOTES: [char; 2] = ['"', '\''];
pub(crate) const DEVELOPMENT: &str = "UseDevelopmentStorage=true";

/// What a connection string says about the Blob service. Cannot be printed: it holds secrets.
#[derive(PartialEq, Eq)]
pub(crate) struct Parts {
    /// Scheme, authority and perhaps a path; without a query.
    pub(crate) endpoint: String,
    /// The account's name, if it is said.
    pub(crate) account: Option<String>,
    pub(crate) auth: Auth,
}

/// What opens the account.
#[derive(PartialEq, Eq)]
pub(crate) enum Auth {
    SharedKey { account: String, key: Zeroizing<String> },
    Sas(Zeroizing<String>),
}

/// Reads `key=value` pairs joined by `;`. Keys are those of the reference, in any case; those of other services are
/// passed over. What contradicts itself is an error, rather than one of two readings.
pub(crate) fn parse(text: &str) -> Result<Parts> {
    let mut fields = Fields::default();
    let mut given = Vec::new();
    for pair in text.split(';').map(str::trim).filter(|pair| !pair.is_empty()) {
        if pair.starts_with(QUOTES) || pair.ends_with(QUOTES) {
            return Err(Error::input(
                "the connection string has quotes around it, or around a part of it, which are no part of it; \
                 docker's `--env-file`, for one, keeps them: write it without",
            ));
        }
        let Some((key, value)) = pair.split_once('=') else {
            return Err(Error::input("the connection string has a part without `=`; it is `Key=Value;Key=Value;...`"));
        };
        let name = key.trim().to_ascii_lowercase();
        if let Some(field) = fields.named(&name) {
            if given.contains(&name) {
                return Err(Error::input(format!("the connection string gives {} twice", key.trim())));
            }
            given.push(name);
            let value = value.trim();
            *field = (!value.is_empty()).then(|| Zeroizing::new(value.to_owned()));
        }
    }
    if text_of(&fields.use_development_storage).is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return fields.development();
    }
    fields.parts()
}

/// Any may hold a secret, an endpoint in its query.
type Field = Option<Zeroizing<String>>;

fn text_of(field: &Field) -> Option<&str> {
    field.as_ref().map(|text| text.as_str())
}

#[derive(Default)]
struct Fields {
    default_endpoints_protocol: Field,
    account_name: Field,
    account_key: Field,
    endpoint_suffix: Field,
    blob_endpoint: Field,
    blob_secondary_endpoint: Field,
    shared_access_signature: Field,
    use_development_storage: Field,
    development_storage_proxy_uri: Field,
}

impl Fields {
    fn named(&mut self, name: &str) -> Option<&mut Field> {
        Some(match name {
            "defaultendpointsprotocol" => &mut self.default_endpoints_protocol,
            "accountname" => &mut self.account_name,
            "accountkey" => &mut self.account_key,
            "endpointsuffix" => &mut self.endpoint_suffix,
            "blobendpoint" => &mut self.blob_endpoint,
            "blobsecondaryendpoint" => &mut self.blob_secondary_endpoint,
            "sharedaccesssignature" => &mut self.shared_access_signature,
            "usedevelopmentstorage" => &mut self.use_development_storage,
            "developmentstorageproxyuri" => &mut self.development_storage_proxy_uri,
            _ => return None,
        })
    }

    fn development(&self) -> Result<Parts> {
        let of_another = [
            ("AccountName", &self.account_name),
            ("AccountKey", &self.account_key),
            ("EndpointSuffix", &self.endpoint_suffix),
            ("BlobEndpoint", &self.blob_endpoint),
            ("BlobSecondaryEndpoint", &self.blob_secondary_endpoint),
            ("SharedAccessSignature", &self.shared_access_signature),
        ];
        let given = of_another.iter().find(|(_, field)| field.is_some()).map(|(name, _)| *name);
        let is_https = text_of(&self.default_endpoints_protocol) == Some("https");
        match given.or(is_https.then_some("DefaultEndpointsProtocol=https")) {
            None => development(text_of(&self.development_storage_proxy_uri)),
            Some(name) => Err(Error::input(format!(
                "the connection string contradicts itself: UseDevelopmentStorage=true is the emulator, and {name} is of \
                 another account; leave one of them out"
            ))),
        }
    }

    fn parts(self) -> Result<Parts> {
        let (endpoint, query) = match (self.blob_endpoint, &self.account_name) {
            (Some(endpoint), _) => match endpoint.split_once('?') {
                Some((endpoint, query)) => (endpoint.to_owned(), Some(Zeroizing::new(query.to_owned()))),
                None => (endpoint.to_string(), None),
            },
            (None, _) if self.blob_secondary_endpoint.is_some() => {
                return Err(Error::input(
                    "the connection string has a BlobSecondaryEndpoint without a BlobEndpoint; a secondary endpoint \
                     is read-only and cannot hold locks",
                ));
            }
            (None, Some(account)) => {
                let protocol = text_of(&self.default_endpoints_protocol).unwrap_or("https");
                if !matches!(protocol, "http" | "https") {
                    return Err(Error::input(format!(
                        "DefaultEndpointsProtocol in the connection string is http or https, not {}",
                        quoted(protocol)
                    )));
                }
                let suffix = text_of(&self.endpoint_suffix).unwrap_or(SUFFIX);
                (endpoint(protocol, account, suffix)?, None)
            }
            (None, None) => {
                return Err(Error::input(
                    "the connection string names no account: AccountName or BlobEndpoint is missing",
                ));
            }
        };
        let account = text_of(&self.account_name).map(str::to_owned);
        let auth = match (self.account_name, self.account_key, self.shared_access_signature.or(query)) {
            (Some(account), Some(key), _) => Auth::SharedKey { account: account.to_string(), key },
            (_, _, Some(sas)) => Auth::Sas(sas),
            (None, Some(_), None) => {
                return Err(Error::input("the connection string has an AccountKey but no AccountName"));
            }
            (_, None, None) => {
                return Err(Error::no_credential(
                    "the connection string holds no secret: AccountKey or SharedAccessSignature is missing",
                ));
            }
        };
        Ok(Parts { endpoint, account, auth })
    }
}

/// The account's own address. Its name is checked, since another host could hide in it.
pub(crate) fn endpoint(protocol: &str, account: &str, suffix: &str) -> Result<String> {
    check_account(account)?;
    Ok(format!("{protocol}://{account}.blob.{suffix}"))
}

fn development(proxy: Option<&str>) -> Result<Parts> {
    // The reference calls it a proxy; it is the emulator's host, to which the usual port and account are added.
    let host = proxy.unwrap_or("http://127.0.0.1").trim_end_matches('/');
    if host.contains(['?', '#']) {
        return Err(Error::input(
            "DevelopmentStorageProxyUri in the connection string is not of the form `http://host`",
        ));
    }
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let port = if has_port { "" } else { ":10000" };
    Ok(Parts {
        endpoint: format!("{host}{port}/{DEVELOPMENT_ACCOUNT}"),
        account: Some(DEVELOPMENT_ACCOUNT.to_owned()),
        auth: Auth::SharedKey { account: DEVELOPMENT_ACCOUNT.to_owned(), key: DEVELOPMENT_KEY.to_owned().into() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn key(account: &str, key: &str) -> Auth {
        Auth::SharedKey { account: account.into(), key: key.to_owned().into() }
    }

    fn check(text: &str, endpoint: &str, auth: &Auth) {
        let parts = parse(text).unwrap();
        assert_eq!(parts.endpoint, endpoint, "{text}");
        assert!(parts.auth == *auth, "{text}");
    }

    #[test]
    fn what_the_portal_gives() {
        let text = "DefaultEndpointsProtocol=https;AccountName=me;AccountKey=a+b/c==;EndpointSuffix=core.windows.net";
        check(text, "https://me.blob.core.windows.net", &key("me", "a+b/c=="));
        check("accountname=me;ACCOUNTKEY=aa==;", "https://me.blob.core.windows.net", &key("me", "aa=="));
        let text = "AccountName=me;AccountKey=aa==;EndpointSuffix=core.chinacloudapi.cn;DefaultEndpointsProtocol=http";
        check(text, "http://me.blob.core.chinacloudapi.cn", &key("me", "aa=="));
    }

    #[test]
    fn endpoints_of_ones_own_and_signatures() {
        let sas = || Auth::Sas("sv=1&sig=x%3D".to_owned().into());
        check("BlobEndpoint=https://me.example;SharedAccessSignature=sv=1&sig=x%3D", "https://me.example", &sas());
        check("BlobEndpoint=https://me.example/?sv=1&sig=x%3D", "https://me.example/", &sas());
        check("AccountName=me;SharedAccessSignature=sv=1&sig=x%3D", "https://me.blob.core.windows.net", &sas());
        check(
            "BlobEndpoint=https://10.0.0.5/me;QueueEndpoint=https://q;AccountName=me;AccountKey=aa==",
            "https://10.0.0.5/me",
            &key("me", "aa=="),
        );
    }

    #[test]
    fn the_emulator() {
        let auth = key(DEVELOPMENT_ACCOUNT, DEVELOPMENT_KEY);
        check("UseDevelopmentStorage=true", "http://127.0.0.1:10000/devstoreaccount1", &auth);
        let text = "usedevelopmentstorage=True;DevelopmentStorageProxyUri=http://azurite/";
        check(text, "http://azurite:10000/devstoreaccount1", &auth);
        let text = "UseDevelopmentStorage=true;DevelopmentStorageProxyUri=http://127.0.0.1:9";
        check(text, "http://127.0.0.1:9/devstoreaccount1", &auth);
    }

    // Scenario 36: what contradicts itself, or is not what it looks like.
    #[test]
    fn the_emulator_is_no_account_of_one_s_own() {
        let mut wrong = Vec::new();
        for beside in [
            "AccountName=me",
            "AccountKey=SECRET",
            "AccountName=me;AccountKey=SECRET",
            "BlobEndpoint=http://127.0.0.1:10000/me",
            "BlobSecondaryEndpoint=https://me.example",
            "SharedAccessSignature=sig=SECRET",
            "EndpointSuffix=core.windows.net",
            "DefaultEndpointsProtocol=https",
        ] {
            for text in
                [format!("UseDevelopmentStorage=true;{beside}"), format!("{beside};useDevelopmentStorage=TRUE;")]
            {
                let error = parse(&text).err().map(|error| format!("{:?} {error:?}", error.kind()));
                if !error.as_ref().is_some_and(|text| {
                    text.starts_with("InvalidInput")
                        && text.contains("UseDevelopmentStorage")
                        && !text.contains("SECRET")
                }) {
                    wrong.push(format!("{text}: {error:?}"));
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        check(
            "UseDevelopmentStorage=false;AccountName=me;AccountKey=aa==",
            "https://me.blob.core.windows.net",
            &key("me", "aa=="),
        );
        let text = "UseDevelopmentStorage=true;QueueEndpoint=http://127.0.0.1:10001/devstoreaccount1;AccountName=";
        assert!(parse(text).is_ok(), "an empty one is as good as none");
    }

    // Scenario 36.
    #[test]
    fn quotes_are_named() {
        const WHOLE: &str =
            "DefaultEndpointsProtocol=https;AccountName=me;AccountKey=SECRET==;EndpointSuffix=core.windows.net";
        let texts = [
            format!("\"{WHOLE}\""),
            format!("'{WHOLE}'"),
            format!(" \"{WHOLE}\"\n"),
            format!("\"{WHOLE}"),
            format!("{WHOLE}'"),
            "\"UseDevelopmentStorage=true\"".to_owned(),
            "AccountName=me;AccountKey=\"SECRET==\"".to_owned(),
            "'AccountName'=me;AccountKey=SECRET==".to_owned(),
        ];
        let mut wrong = Vec::new();
        for text in texts {
            let error = parse(&text).err().map(|error| format!("{error:?}"));
            if !error.as_ref().is_some_and(|text| text.contains("quotes") && !text.contains("SECRET")) {
                wrong.push(format!("{text}: {error:?}"));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn what_is_wrong_is_said_without_the_secret() {
        let bad = [
            ("AccountName", ErrorKind::InvalidInput),
            ("", ErrorKind::InvalidInput),
            ("AccountKey=SECRET", ErrorKind::InvalidInput),
            ("SharedAccessSignature=SECRET", ErrorKind::InvalidInput),
            ("AccountName=me", ErrorKind::Credential),
            ("AccountName=me;AccountKey=", ErrorKind::Credential),
            ("BlobEndpoint=https://me.example", ErrorKind::Credential),
            ("BlobEndpoint=https://me.example;AccountKey=SECRET", ErrorKind::InvalidInput),
            ("AccountName=evil.example/me;SharedAccessSignature=sig=SECRET", ErrorKind::InvalidInput),
            ("AccountName=me;AccountName=me;AccountKey=SECRET", ErrorKind::InvalidInput),
            ("AccountName=;accountname=me;AccountKey=SECRET", ErrorKind::InvalidInput),
            ("AccountName=me;AccountKey=SECRET;DefaultEndpointsProtocol=ftp", ErrorKind::InvalidInput),
            ("AccountName=me;DefaultEndpointsProtocol=SECRET==", ErrorKind::InvalidInput),
            ("BlobSecondaryEndpoint=https://x;AccountName=me;AccountKey=SECRET", ErrorKind::InvalidInput),
            ("UseDevelopmentStorage=true;DevelopmentStorageProxyUri=http://h?SECRET", ErrorKind::InvalidInput),
        ];
        for (text, kind) in bad {
            let error = parse(text).err().unwrap_or_else(|| panic!("{text}"));
            assert_eq!(error.kind(), kind, "{text}: {error:?}");
            assert!(!format!("{error:?}").contains("SECRET"), "{error:?}");
        }
    }
}
