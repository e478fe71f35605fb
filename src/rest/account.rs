//! What sort of account it is.

use std::time::Duration;

use super::answer;
use super::request::{self, Address};
use crate::clock;
use crate::credential::Credential;
use crate::transport::{Reply, Transport};

/// What the service says about the account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AccountInfo {
    /// Such as `StorageV2`.
    pub(crate) kind: String,
    /// Performance and replication, such as `Standard_LRS`.
    pub(crate) sku: String,
    /// Whether it has a hierarchical namespace.
    pub(crate) hierarchical: bool,
}

/// Asks once. Not everybody is told: no answer means nothing.
pub(crate) fn account_info(
    transport: &Transport,
    credential: &Credential,
    address: &Address<'_>,
    limit: Duration,
) -> Option<AccountInfo> {
    let mut request = request::of_account(address, clock::wall());
    credential.authorize(&mut request, request::for_proof(limit)).ok()?;
    read(&transport.send(&request, limit).ok()?)
}

fn read(reply: &Reply) -> Option<AccountInfo> {
    let is_word =
        |text: &&str| text.len() <= 32 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let word = |name: &str| reply.header(name).filter(is_word).map(str::to_owned);
    if reply.status != 200 || !answer::is_service(reply) {
        return None;
    }
    Some(AccountInfo {
        kind: word("x-ms-account-kind")?,
        sku: word("x-ms-sku-name")?,
        hierarchical: reply.header("x-ms-is-hns-enabled").is_some_and(|value| value.eq_ignore_ascii_case("true")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: (&str, &str) = ("x-ms-account-kind", "StorageV2");
    const SKU: (&str, &str) = ("x-ms-sku-name", "Standard_RAGRS");
    const ID: (&str, &str) = ("x-ms-request-id", "1");

    #[test]
    fn what_the_service_says_is_read() {
        let account = read(&Reply::new(200, &[KIND, SKU, ID, ("x-ms-is-hns-enabled", "true")])).unwrap();
        assert_eq!(account, AccountInfo { kind: "StorageV2".into(), sku: "Standard_RAGRS".into(), hierarchical: true });
        assert!(!read(&Reply::new(200, &[KIND, SKU, ID])).unwrap().hierarchical);
    }

    #[test]
    fn anything_else_is_no_word_of_it() {
        let strange = ("x-ms-account-kind", "a kind; of\ttext");
        for (status, headers) in
            [(403, [KIND, SKU, ID]), (200, [KIND, ID, ID]), (200, [KIND, SKU, SKU]), (200, [strange, SKU, ID])]
        {
            assert_eq!(read(&Reply::new(status, &headers)), None, "{status} {headers:?}");
        }
    }
}
