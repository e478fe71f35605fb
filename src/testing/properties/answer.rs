//! What holds for every answer.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};

use super::{KEY, SAS, prints};
use crate::credential::Credential;
use crate::error::Error;
use crate::lease::{LeaseId, Term};
use crate::rest::explain::Asked;
use crate::rest::{Address, Applied, Operation, Outcome, missing, read, request};
use crate::transport::{NoAnswer, Reply};

/// Where an answer says these, it sends back what the request was signed with.
const SIGNATURE: &str = "@SIGNATURE";
const ENCODED_SIGNATURE: &str = "@ENCODED";

/// Mon, 01 Jan 2024 00:00:00 GMT
const DATE: Duration = Duration::from_secs(1_704_067_200);
const LIMIT: Duration = Duration::from_secs(5);
/// What the service may say takes 600 characters at most, three times; and each line is printed twice.
const LONGEST_TEXT: usize = 6 * 1024;

/// Of these bytes as the answer to whatever can be asked.
pub(crate) fn any_bytes(bytes: &[u8]) {
    for credential in [Credential::shared_key("me", KEY).unwrap(), Credential::sas(SAS).unwrap()] {
        for operation in operations() {
            any_answer(operation, &credential, bytes);
        }
    }
}

fn operations() -> Vec<Operation> {
    let id = LeaseId::parse("11111111-2222-4333-8444-555555555555").unwrap();
    vec![
        Operation::Acquire { id, term: Term::DEFAULT },
        Operation::Renew { id },
        Operation::Release { id },
        Operation::Break { period: None, only: None },
        Operation::Look,
        Operation::CreateBlob,
        Operation::CreateContainer,
        #[cfg(feature = "list")]
        Operation::List,
    ]
}

fn any_answer(operation: Operation, credential: &Credential, bytes: &[u8]) {
    let lock: Arc<str> = "nightly".into();
    let address = Address {
        origin: "http://127.0.0.1:10000",
        container: "locks",
        container_path: "/me/locks",
        blob_path: "/me/locks/nightly",
        version: request::VERSION,
        about: (&lock).into(),
    };
    let date = SystemTime::UNIX_EPOCH + DATE;
    let mut request = request::of(operation, &address, date, None);
    let proof = credential.authorize(&mut request, LIMIT).ok().unwrap();
    let encoded = percent_encode(proof.secret().as_bytes(), NON_ALPHANUMERIC).to_string();
    let bytes = replaced(&replaced(bytes, SIGNATURE, proof.secret()), ENCODED_SIGNATURE, &encoded);

    let answer = super::transport::answered(&request, &bytes);
    let asked = Asked { operation, address: &address, credential, proof, date, id: None };
    let error = match answer {
        Ok(reply) => {
            let (outcome, error) = read(&asked, &reply);
            is_the_services_word(operation, outcome, &reply);
            assert_eq!(error.is_none(), needs_no_words(outcome), "{operation:?}: {outcome:?}");
            error
        }
        Err(no_answer) => {
            let NoAnswer { unsent, .. } = no_answer;
            let (outcome, error) = missing(&asked, no_answer);
            assert!(!unsent && !needs_no_words(outcome), "{operation:?}: {outcome:?}");
            assert_ne!(applied(outcome), Some(Applied::No), "{operation:?}");
            assert!(error.is_some());
            error
        }
    };
    if let Some(error) = error {
        is_fit_to_print(&error, &[asked.proof.secret(), &encoded, &encoded.to_lowercase()]);
    }
}

fn replaced(bytes: &[u8], word: &str, by: &str) -> Vec<u8> {
    let mut left = bytes;
    let mut replaced = Vec::with_capacity(bytes.len());
    while let Some((first, rest)) = left.split_first() {
        match left.strip_prefix(word.as_bytes()) {
            Some(rest) => {
                replaced.extend_from_slice(by.as_bytes());
                left = rest;
            }
            None => {
                replaced.push(*first);
                left = rest;
            }
        }
    }
    replaced
}

/// Without a request id there is no service, and so nothing that is certain; and each operation has its own success.
fn is_the_services_word(operation: Operation, outcome: Outcome, reply: &Reply) {
    let has = |name| reply.header(name).is_some();
    let from_service = has("x-ms-request-id");
    let body = reply.body().to_ascii_lowercase();
    let is_explained = has("x-ms-error-code") || body.contains("<code>") || body.contains("\"code\"");
    match outcome {
        Outcome::Failed { applied: Applied::Perhaps, .. } => return,
        // Nobody's word, on nothing.
        Outcome::Filtered => {
            assert_eq!(operation, Operation::Look);
            assert!(!matches!(reply.status, 408 | 429 | 500 | 502..), "{}", reply.status);
            return;
        }
        Outcome::Leased(_) => assert!(matches!(operation, Operation::Acquire { .. } | Operation::Renew { .. })),
        Outcome::Breaking(_) => assert!(matches!(operation, Operation::Break { .. })),
        Outcome::Seen(_) => assert_eq!(operation, Operation::Look),
        #[cfg(feature = "list")]
        Outcome::Done if operation == Operation::List => assert_eq!(reply.status, 200),
        Outcome::Done => {
            assert!(matches!(operation, Operation::Release { .. } | Operation::CreateBlob | Operation::CreateContainer))
        }
        Outcome::Failed { applied: Applied::No, .. } => assert!(matches!(reply.status, 429 | 503), "{}", reply.status),
        // The verb or the operation is not supported; or a look was refused, which has no body to say why.
        Outcome::Refused if matches!(reply.status, 405 | 501) => {}
        Outcome::NoBlob if operation == Operation::Look && !is_explained => assert_eq!(reply.status, 404),
        Outcome::Refused if operation == Operation::Look && !is_explained => {
            assert!((400..500).contains(&reply.status), "{}", reply.status);
        }
        _ => assert!(is_explained && (400..500).contains(&reply.status), "{}", reply.status),
    }
    assert!(from_service, "{operation:?}: {outcome:?}");
}

fn applied(outcome: Outcome) -> Option<Applied> {
    match outcome {
        Outcome::Failed { applied, .. } => Some(applied),
        _ => None,
    }
}

fn needs_no_words(outcome: Outcome) -> bool {
    let done = matches!(outcome, Outcome::Leased(_) | Outcome::Done | Outcome::Breaking(_) | Outcome::Seen(_));
    done || matches!(outcome, Outcome::Busy | Outcome::Exists)
}

/// On one line, of bounded length, and without a secret, whatever the server says.
fn is_fit_to_print(error: &Error, secrets: &[&str]) {
    let text = prints(error);
    assert!(text.len() <= LONGEST_TEXT, "{} bytes: {text}", text.len());
    for line in [error.to_string(), format!("{error:?}")] {
        assert!(!line.contains(char::is_control), "{line:?}");
    }
    for secret in secrets {
        assert!(!text.contains(secret), "{text}");
    }
    assert!(!text.contains(KEY), "{text}");
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    use super::*;
    use crate::testing::properties::holds;

    const STATUSES: [u16; 19] =
        [100, 200, 201, 202, 204, 206, 301, 304, 400, 401, 403, 404, 408, 409, 412, 429, 500, 503, 599];
    const NAMES: [&str; 12] = [
        "x-ms-lease-id",
        "x-ms-lease-state",
        "x-ms-lease-duration",
        "x-ms-lease-time",
        "retry-after",
        "x-ms-retry-after-ms",
        "retry-after-ms",
        "date",
        "content-length",
        "transfer-encoding",
        "connection",
        "content-type",
    ];
    const CODES: [&str; 12] = [
        "LeaseAlreadyPresent",
        "LeaseIdMissing",
        "BlobNotFound",
        "ContainerNotFound",
        "ContainerBeingDeleted",
        "AuthenticationFailed",
        "AuthorizationFailure",
        "LeaseIdMismatchWithLeaseOperation",
        "ServerBusy",
        "ConditionNotMet",
        "InvalidHeaderValue",
        SIGNATURE,
    ];
    const VALUES: [&str; 21] = [
        "",
        "0",
        "1",
        "-1",
        "4294967296",
        "18446744073709551615",
        "99999999999999999999",
        "1e9",
        "11111111-2222-4333-8444-555555555555",
        "available",
        "leased",
        "infinite",
        "broken",
        "Mon, 01 Jan 2024 00:00:00 GMT",
        "Mon, 01 Jan 1601 00:00:00 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "chunked",
        "close",
        SIGNATURE,
        ENCODED_SIGNATURE,
        "\u{e9}",
    ];
    const BODIES: [&str; 6] = [
        "",
        "<AuthenticationErrorDetail>",
        "</AuthenticationErrorDetail>",
        SIGNATURE,
        ENCODED_SIGNATURE,
        "line\r\nline\u{0}\u{1b}[2J\u{2028}\u{e9}",
    ];

    fn value() -> impl Strategy<Value = String> {
        let known = || select(&VALUES[..]).prop_map(str::to_owned);
        prop_oneof![6 => known(), 1 => (known(), known()).prop_map(|(one, other)| one + &other), 1 => "[ -~]{0,900}"]
    }

    fn body() -> impl Strategy<Value = String> {
        let part = prop_oneof![select(&BODIES[..]).prop_map(str::to_owned), ".{0,30}", "[a-z]{900}"];
        vec(part, 0..6).prop_map(|parts| parts.concat())
    }

    /// An answer in the form of HTTP.
    fn answer() -> impl Strategy<Value = String> {
        let header = (select(&NAMES[..]), value()).prop_map(|(name, value)| format!("{name}: {value}\r\n"));
        let status = prop_oneof![9 => select(&STATUSES[..]), 1 => any::<u16>()];
        let id = select(vec!["", "x-ms-request-id: 1\r\n"]);
        let code = option::of(prop_oneof![9 => select(&CODES[..]).prop_map(str::to_owned), 1 => value()]);
        let any = (status, id, code, vec(header, 0..4), body()).prop_map(|(status, id, code, headers, body)| {
            let code = code.map_or(String::new(), |code| format!("x-ms-error-code: {code}\r\n"));
            format!("HTTP/1.1 {status} Reason\r\n{id}{code}{}\r\n{body}", headers.concat())
        });
        // The only one whose body is shown.
        let explained = "((?s:.)|@SIGNATURE|@ENCODED|[a-z]{900}){0,20}".prop_map(|detail| {
            format!(
                "HTTP/1.1 403 Reason\r\nx-ms-request-id: 1\r\nx-ms-error-code: AuthenticationFailed\r\n\r\n\
                 <AuthenticationErrorDetail>{detail}</AuthenticationErrorDetail>"
            )
        });
        prop_oneof![3 => any, 1 => explained]
    }

    #[test]
    fn any_answer_is_read_for_what_it_certainly_says() {
        holds(answer(), |answer| any_bytes(answer.as_bytes()));
    }

    #[test]
    fn any_bytes_are_an_answer_or_none() {
        holds(vec(any::<u8>(), 0..200), |bytes| any_bytes(&bytes));
        holds((answer(), any::<Index>(), any::<u8>(), any::<bool>()), |(answer, at, byte, cut)| {
            let mut bytes = answer.into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes.truncate(if cut { at + 1 } else { bytes.len() });
            any_bytes(&bytes);
        });
    }
}
