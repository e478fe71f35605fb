//! What holds for every lock: the emulator understands what is asked of it, and is understood.

use std::time::Duration;

use super::emulator::Line;
use super::transport::{answered, sent_as_written};
use crate::clock;
use crate::credential::Credential;
use crate::lease::{LeaseId, LockState, Term};
use crate::rest::explain::Asked;
use crate::rest::{Address, Operation, Outcome, missing, read, request};

/// Of the life of any lock. Its container is yet to be made.
pub(crate) fn any_lock(address: &Address<'_>, credential: &Credential) {
    let id = LeaseId::parse("11111111-2222-4333-8444-555555555555").unwrap();
    let line = Line::to_an_empty_account();
    for (operation, expected) in [
        (Operation::Acquire { id, term: Term::DEFAULT }, Outcome::NoContainer),
        (Operation::CreateContainer, Outcome::Done),
        (Operation::Look, Outcome::NoBlob),
        (Operation::CreateBlob, Outcome::Done),
        (Operation::Look, Outcome::Seen(LockState::Available)),
        (Operation::Acquire { id, term: Term::DEFAULT }, Outcome::Leased(id)),
        (Operation::CreateBlob, Outcome::Exists),
        (Operation::Look, Outcome::Seen(LockState::Leased)),
        (Operation::Renew { id }, Outcome::Leased(id)),
        (Operation::Break { period: Some(0) }, Outcome::Breaking(Duration::ZERO)),
        (Operation::Renew { id }, Outcome::Broken),
        (Operation::Acquire { id, term: Term::Infinite }, Outcome::Leased(id)),
        (Operation::Look, Outcome::Seen(LockState::LeasedForever)),
        (Operation::Release { id }, Outcome::Done),
        (Operation::Break { period: None }, Outcome::NoLease),
    ] {
        let date = clock::wall();
        let mut request = request::of(operation, address, date, None);
        let proof = credential.authorize(&mut request, Duration::MAX).ok().unwrap();
        sent_as_written(&request.origin, &request.path, &request.query);
        let asked = Asked { operation, address, credential, proof, date, id: None };
        let (outcome, error) = match answered(&request, &line.answer(&request)) {
            Ok(reply) => read(&asked, &reply),
            Err(no_answer) => missing(&asked, no_answer),
        };
        assert_eq!(outcome, expected, "{operation:?}: {error:?}");
    }
    assert!(line.has_blob(address.container, address.lock), "{}", address.blob_path);
}
