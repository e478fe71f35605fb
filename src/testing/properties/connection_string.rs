//! What holds for every connection string.

use super::{prints, shows_no_secret};
use crate::connection_string::{Parts, parse};
use crate::container;
use crate::error::Result;

/// Of any text at all.
pub(crate) fn any_text(text: &str) {
    let parts = parse(text);
    if let Err(error) = &parts {
        shows_no_secret(&prints(error));
    }
    let reversed: Vec<_> = text.rsplit(';').collect();
    assert!(is_same(&parts, &parse(&reversed.join(";"))), "the order counts: {text:?}");
    let spaced = format!("\n;{} ;; ", text.replace(';', " ;\t"));
    assert!(is_same(&parts, &parse(&spaced)), "spaces count: {text:?}");
    super::container::sound_account(container::Builder::from_connection_string(text, "locks"));
}

fn is_same(one: &Result<Parts>, other: &Result<Parts>) -> bool {
    match (one, other) {
        (Ok(one), Ok(other)) => one == other,
        (Err(one), Err(other)) => one.kind() == other.kind(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::connection_string::{Auth, SUFFIX};
    use crate::testing::properties::{KEY, SAS, holds};

    const KEYS: [&str; 11] = [
        "DefaultEndpointsProtocol",
        "AccountName",
        "AccountKey",
        "EndpointSuffix",
        "BlobEndpoint",
        "BlobSecondaryEndpoint",
        "SharedAccessSignature",
        "UseDevelopmentStorage",
        "DevelopmentStorageProxyUri",
        "QueueEndpoint",
        "",
    ];
    const VALUES: [&str; 18] = [
        "",
        "http",
        "https",
        "me",
        "Me/evil.example",
        KEY,
        SAS,
        "core.windows.net",
        "evil.example/?",
        "true",
        "http://127.0.0.1:10000/devstoreaccount1",
        "https://me.blob.core.windows.net",
        "http://10.0.0.5?",
        "http://10.0.0.5/me/locks",
        "https://storage.example/me",
        "https://me.dfs.core.windows.net/locks",
        "\"",
        "http://[::1]:1/",
    ];

    fn value() -> impl Strategy<Value = String> {
        let known = || select(&VALUES[..]).prop_map(str::to_owned);
        prop_oneof![4 => known(), 1 => (known(), known()).prop_map(|(one, other)| one + &other), 1 => ".{0,8}"]
    }

    /// Letters in either case.
    fn in_any_case(text: &'static str) -> impl Strategy<Value = String> {
        vec(any::<bool>(), text.len()).prop_map(move |upper| {
            let cased = |(c, upper): (char, bool)| if upper { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
            text.chars().zip(upper).map(cased).collect()
        })
    }

    #[test]
    fn any_text_is_read_or_refused() {
        holds(".*", |text| any_text(&text));
        let pair =
            (select(&KEYS[..]), "[ =]?=", value()).prop_map(|(key, equals, value)| key.to_owned() + &equals + &value);
        holds(vec(pair, 0..8), |pairs| any_text(&pairs.join(";")));
    }

    #[derive(Clone, Debug)]
    struct Account {
        name: String,
        /// Of an account key; a signature otherwise.
        key: Option<String>,
        protocol: Option<&'static str>,
        suffix: Option<String>,
        endpoint: Option<String>,
    }

    fn account() -> impl Strategy<Value = Account> {
        (
            "[a-z0-9-]{1,24}",
            option::of("[A-Za-z0-9+/]{4,90}={0,2}"),
            option::of(select(vec!["http", "https"])),
            option::of("[a-z]{1,8}(\\.[a-z]{1,8}){1,3}"),
            option::of("https?://[a-z0-9.]{1,20}(:[1-9][0-9]{0,3})?(/[a-z0-9]{1,8})?"),
        )
            .prop_map(|(name, key, protocol, suffix, endpoint)| Account {
                name,
                key,
                protocol,
                suffix,
                endpoint,
            })
    }

    impl Account {
        fn fields(&self) -> Vec<(&'static str, String)> {
            let mut fields = vec![("AccountName", self.name.clone()), ("QueueEndpoint", "https://q?sig=x".to_owned())];
            match &self.key {
                Some(key) => fields.push(("AccountKey", key.clone())),
                None => fields.push(("SharedAccessSignature", SAS.to_owned())),
            }
            fields.extend(self.protocol.map(|protocol| ("DefaultEndpointsProtocol", protocol.to_owned())));
            fields.extend(self.suffix.clone().map(|suffix| ("EndpointSuffix", suffix)));
            fields.extend(self.endpoint.clone().map(|endpoint| ("BlobEndpoint", endpoint)));
            fields
        }

        fn parts(&self) -> Parts {
            let (protocol, suffix) = (self.protocol.unwrap_or("https"), self.suffix.as_deref().unwrap_or(SUFFIX));
            let usual = || format!("{protocol}://{}.blob.{suffix}", self.name);
            let auth = match &self.key {
                Some(key) => Auth::SharedKey { account: self.name.clone(), key: key.clone().into() },
                None => Auth::Sas(SAS.to_owned().into()),
            };
            let account = Some(self.name.clone());
            Parts { endpoint: self.endpoint.clone().unwrap_or_else(usual), account, auth }
        }
    }

    /// An account, and a connection string that says all of it.
    fn written() -> impl Strategy<Value = (Account, String)> {
        account().prop_flat_map(|account| {
            let pair = |(key, value): (_, String)| {
                (in_any_case(key), " {0,2}").prop_map(move |(key, gap)| format!("{key}{gap}={gap}{value}"))
            };
            let pairs: Vec<_> = account.fields().into_iter().map(pair).collect();
            let pairs = pairs.prop_flat_map(|pairs| Just(pairs).prop_shuffle());
            (Just(account), pairs, " ?; ?", ";?\n?")
                .prop_map(|(account, pairs, separator, end)| (account, pairs.join(&separator) + &end))
        })
    }

    #[test]
    fn what_is_written_is_read_back() {
        holds(written(), |(account, text)| {
            let parts = parse(&text).unwrap();
            assert!(parts == account.parts(), "{text}: {}", parts.endpoint);
        });
    }
}
