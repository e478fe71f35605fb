//! What proves to the service that we may use the container.

use std::fmt;
use std::sync::Arc;

use crate::error::Result;
use crate::transport::Request;

mod sas;
mod shared_key;

use sas::Sas;
use shared_key::SharedKey;
pub(crate) use shared_key::check_account;

/// A storage account's key, or a shared access signature (SAS).
///
/// `Debug` never shows the secret.
///
/// ```
/// use azmutex::credential::Credential;
///
/// let key = Credential::shared_key("myaccount", "c2VjcmV0")?;
/// assert_eq!(format!("{key:?}"), r#"SharedKey { account: "myaccount", .. }"#);
/// # Ok::<(), azmutex::Error>(())
/// ```
#[derive(Clone)]
pub struct Credential(Arc<Secret>);

enum Secret {
    SharedKey(SharedKey),
    Sas(Sas),
}

impl Credential {
    /// A storage account and one of its two keys, as the portal shows it (base64).
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the account's name has other characters than lower-case
    /// letters, digits and `-`, or the key is not base64.
    pub fn shared_key(account: &str, key: &str) -> Result<Credential> {
        Ok(Credential(Arc::new(Secret::SharedKey(SharedKey::new(account, key)?))))
    }

    /// A SAS token: the text after the `?` of a SAS URL, with or without that `?`. It is sent as it stands.
    ///
    /// To lock it needs the right to write (`w`) blobs of the container; with read (`r`), waiting costs a tenth;
    /// with create (`c`) or write, it makes a missing blob. Only an *account* SAS can make the container.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if it is not the query of a URL, or has no signature.
    pub fn sas(token: &str) -> Result<Credential> {
        Ok(Credential(Arc::new(Secret::Sas(Sas::new(token)?))))
    }

    /// Adds to `request` what proves that we may make it. Gives back the signature, which no text may show: it is good
    /// for this request again, or, in a SAS, for any other.
    pub(crate) fn authorize(&self, request: &mut Request) -> String {
        match &*self.0 {
            Secret::SharedKey(key) => key.sign(request),
            Secret::Sas(sas) => sas.append_to(&mut request.query),
        }
    }

    pub(crate) fn is_sas(&self) -> bool {
        matches!(*self.0, Secret::Sas(_))
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Secret::SharedKey(key) => {
                f.debug_struct("SharedKey").field("account", &key.account()).finish_non_exhaustive()
            }
            Secret::Sas(_) => f.debug_struct("Sas").finish_non_exhaustive(),
        }
    }
}
