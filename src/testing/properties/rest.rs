//! What holds for every lock: the emulator understands what is asked of it, and is understood.

use std::time::Duration;

use super::emulator::Line;
use super::transport::{answered, sent_as_written};
use crate::clock;
use crate::credential::Credential;
use crate::lease::{LeaseId, LockState, Term};
use crate::rest::explain::Asked;
use crate::rest::{Address, Operation, Outcome, missing, read, request};
#[cfg(feature = "list")]
use crate::rest::{Listed, Page, Wanted, read_page};

/// Of the life of any lock. Its container is yet to be made.
pub(crate) fn any_lock(lock: &str, address: &Address<'_>, credential: &Credential) {
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
        (Operation::Break { period: Some(0), only: None }, Outcome::Breaking(Duration::ZERO)),
        (Operation::Renew { id }, Outcome::Broken),
        (Operation::Acquire { id, term: Term::Infinite }, Outcome::Leased(id)),
        (Operation::Look, Outcome::Seen(LockState::LeasedForever)),
        (Operation::Release { id }, Outcome::Done),
        (Operation::Break { period: None, only: None }, Outcome::NoLease),
    ] {
        let date = clock::wall();
        let mut request = request::of(operation, address, date, None);
        let proof = credential.authorize(&mut request, Duration::MAX).ok().unwrap();
        sent_as_written(request.origin, request.path, &request.query);
        let asked = Asked { operation, address, credential, proof, date, id: None };
        let (outcome, error) = match answered(&request, &line.answer(&request)) {
            Ok(reply) => read(&asked, &reply),
            Err(no_answer) => missing(&asked, no_answer),
        };
        assert_eq!(outcome, expected, "{operation:?}: {error:?}");
    }
    #[cfg(feature = "list")]
    {
        let wanted = Wanted { prefix: &lock[..lock.chars().next().map_or(0, char::len_utf8)], marker: None };
        let mut request = request::of_list(address, &wanted, clock::wall(), None);
        assert!(credential.authorize(&mut request, Duration::MAX).is_ok());
        sent_as_written(request.origin, request.path, &request.query);
        let reply = answered(&request, &line.answer(&request)).unwrap();
        let listed = Listed { name: lock.to_owned(), state: LockState::Available, metadata: Vec::new() };
        assert_eq!(read_page(reply.bytes()), Ok(Page { blobs: vec![listed], next: None }));
    }
    assert!(line.has_blob(address.container, lock), "{}", address.blob_path);
}
