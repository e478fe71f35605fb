//! Fencing tokens, cards and marks: what a holder leaves in the metadata of the lock's blob.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use azmutex::event::Event;
use azmutex::lease::{Break, Card, FencingToken, LockState, Lost};
use azmutex::{AzureMutex, Container, ErrorKind, LockGuard, Locker, container};

use crate::on_both_servers;
use crate::support::http::Operation::{self, *};
use crate::support::proxy::{Fault, FaultProxy};
use crate::support::server::Server;
use crate::support::unique;

on_both_servers!(
    a_token_costs_two_requests_at_most_and_one_where_the_blob_is_known,
    whoever_was_behind_other_threads_knows_what_they_wrote,
    tokens_grow_through_whatever_becomes_of_the_blob,
    an_unreadable_token_is_an_error_and_the_lock_is_free,
    metadata_of_others_are_refused_or_kept,
    a_token_that_cannot_be_written_is_an_error_and_the_lock_is_free,
    a_card_that_cannot_be_left_is_told_and_the_lock_is_held,
    a_write_without_an_answer_is_known_again,
    a_write_that_did_not_arrive_is_repeated,
    a_card_tells_who_has_the_lock,
    who_waits_hears_whose_turn_it_is,
    a_mark_is_left_for_the_next_one,
    nobody_marks_a_lock_that_is_lost,
    a_lease_has_a_token_a_card_and_a_mark_as_well,
    a_break_hits_the_holder_that_was_seen_or_nobody,
    a_break_hits_nobody_who_came_between_its_look_and_itself,
    a_break_by_a_token_does_not_hit_one_who_left_a_card_alone,
    a_write_that_failed_is_not_taken_for_the_next_one,
    metadata_are_signed_in_the_services_order,
    a_refusal_that_nobody_knows_does_not_keep_others_from_the_lock,
);

const LEASE: Duration = Duration::from_secs(15);
/// For what comes at once, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// A lock behind a proxy.
struct Watched {
    proxy: FaultProxy,
    container: String,
    mutex: AzureMutex,
}

impl Watched {
    fn on(server: &Server) -> Watched {
        let proxy = FaultProxy::to(server.port());
        let name = unique("fencing");
        let text = server.connection_string_via(proxy.port());
        let container = Container::from_connection_string(&text, &name).unwrap();
        Watched { proxy, container: name, mutex: container.mutex("job").unwrap() }
    }

    /// The same, of a lock that was used before.
    fn used(server: &Server) -> Watched {
        let watched = Watched::on(server);
        watched.locker().lock().unwrap().unlock().unwrap();
        watched.proxy.forget();
        watched
    }

    fn locker(&self) -> Locker {
        Locker::builder(self.mutex.clone()).lease(LEASE).fencing(true).build().unwrap()
    }

    /// The same lock, as another process has it.
    fn elsewhere(&self, server: &Server) -> Locker {
        let mutex = server.container(&self.container).mutex("job").unwrap();
        Locker::builder(mutex).lease(LEASE).fencing(true).build().unwrap()
    }

    fn seen(&self) -> Vec<Operation> {
        let seen = self.proxy.operations();
        self.proxy.forget();
        seen
    }

    fn state(&self) -> LockState {
        self.mutex.inspect().unwrap().state()
    }
}

fn token(guard: &LockGuard) -> FencingToken {
    guard.fencing_token().unwrap()
}

/// Locks and unlocks.
fn turn(locker: &Locker) -> FencingToken {
    let guard = locker.lock().unwrap();
    let token = token(&guard);
    guard.unlock().unwrap();
    token
}

fn a_token_costs_two_requests_at_most_and_one_where_the_blob_is_known(server: &Server) {
    let lock = Watched::on(server);
    let locker = lock.locker();
    let mut tokens = vec![turn(&locker)];
    // Whoever made the blob knows what is in it.
    assert_eq!(lock.seen(), [Acquire, CreateContainer, CreateBlob, Acquire, SetMetadata, Release]);
    tokens.push(turn(&locker));
    assert_eq!(lock.seen(), [Acquire, SetMetadata, Release]);
    tokens.push(turn(&lock.locker()));
    assert_eq!(lock.seen(), [Acquire, Look, SetMetadata, Release]);
    tokens.push(turn(&locker));
    assert_eq!(lock.seen(), [Acquire, Look, SetMetadata, Release], "somebody else was there in between");
    assert!(tokens.is_sorted_by(|one, other| one < other), "{tokens:?}");
    assert_eq!(lock.mutex.inspect().unwrap().fencing_token(), tokens.last().copied());
    let statuses: Vec<_> = lock.proxy.log().into_iter().filter_map(|entry| entry.status).collect();
    assert!(statuses.iter().all(|status| *status < 400), "{statuses:?}");

    let plain = Locker::new(lock.mutex.clone()).lock().unwrap();
    assert_eq!(plain.fencing_token(), None);
    assert_eq!(lock.mutex.inspect().unwrap().fencing_token(), tokens.last().copied(), "the last one stays");
}

fn whoever_was_behind_other_threads_knows_what_they_wrote(server: &Server) {
    let lock = Watched::used(server);
    let (heard, events) = mpsc::channel();
    let builder = Locker::builder(lock.mutex.clone()).on_event(move |event| drop(heard.send(event)));
    let locker = builder.lease(LEASE).fencing(true).build().unwrap();
    let guard = locker.lock().unwrap();
    lock.proxy.forget();
    // The last one comes before the one in front of it has written.
    let waits: Vec<_> = (0..2)
        .map(|_| {
            let locker = locker.clone();
            let wait = thread::spawn(move || turn(&locker));
            while !matches!(events.recv_timeout(PATIENCE).unwrap(), Event::Waiting { ahead: 1.., .. }) {}
            wait
        })
        .collect();
    guard.unlock().unwrap();
    let tokens: Vec<_> = waits.into_iter().map(|wait| wait.join().unwrap()).collect();
    assert_eq!(lock.seen(), [Release, Acquire, SetMetadata, Release, Acquire, SetMetadata, Release]);
    assert!(tokens[0] < tokens[1], "{tokens:?}");
}

// Scenario 28.
fn tokens_grow_through_whatever_becomes_of_the_blob(server: &Server) {
    let lock = Watched::on(server);
    let name = &lock.container;
    let locker = lock.locker();
    let mut tokens = vec![turn(&locker)];
    let old = server.blob_headers(name, "job");
    let kept = |name: &str| old.header(&format!("x-ms-meta-{name}")).unwrap().to_owned();
    let copy = [("azmutextoken", kept("azmutextoken")), ("azmutexwrite", kept("azmutexwrite"))];
    let copy: Vec<_> = copy.iter().map(|(name, value)| (*name, &**value)).collect();

    // Each within the same second as the last token, if the machine is not too busy.
    server.set_metadata(name, "job", None, &[]);
    tokens.push(turn(&locker));
    server.delete_blob(name, "job", None);
    tokens.push(turn(&locker));
    server.set_metadata(name, "job", None, &copy);
    tokens.push(turn(&lock.locker()));
    server.delete_blob(name, "job", None);
    server.put_blob(name, "job", b"", &copy);
    tokens.push(turn(&locker));
    tokens.push(turn(&locker));
    assert!(tokens.is_sorted_by(|one, other| one < other), "{tokens:?}");
}

fn an_unreadable_token_is_an_error_and_the_lock_is_free(server: &Server) {
    let lock = Watched::used(server);
    for text in ["none", "-1", "18446744073709551615"] {
        server.set_metadata(&lock.container, "job", None, &[("azmutextoken", text)]);
        let error = lock.locker().lock().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unexpected, "{error:?}");
        assert!(error.to_string().contains("azmutextoken"), "{error:?}");
        assert_eq!(lock.state(), LockState::Available, "{text}");
        assert_eq!(server.blob_headers(&lock.container, "job").header("x-ms-meta-azmutextoken"), Some(text));
    }
}

// Scenario 24.
fn metadata_of_others_are_refused_or_kept(server: &Server) {
    let lock = Watched::on(server);
    server.create_container(&lock.container);
    server.put_blob(&lock.container, "job", b"1,2,3", &[("BuildId", "7"), ("owner", "some  body")]);
    let error = lock.locker().lock().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
    assert_eq!(lock.state(), LockState::Available);
    assert_eq!(server.blob_headers(&lock.container, "job").header("x-ms-meta-azmutextoken"), None);

    let text = server.connection_string();
    let builder = container::Builder::from_connection_string(&text, &lock.container).unwrap();
    let mutex = builder.lower_case_metadata().build().unwrap().mutex("job").unwrap();
    let locker = Locker::builder(mutex).fencing(true).card(Card::new("me")).build().unwrap();
    locker.lock().unwrap().unlock().unwrap();
    let after = server.blob_headers(&lock.container, "job");
    assert_eq!(after.header("x-ms-meta-buildid"), Some("7"));
    assert_eq!(after.header("x-ms-meta-owner"), Some("some  body"));
    assert_eq!(server.blob_body(&lock.container, "job"), b"1,2,3");
}

fn refused(status: u16, code: &str) -> Fault {
    Fault::Status(status, vec![("x-ms-request-id".into(), "1".into()), ("x-ms-error-code".into(), code.into())])
}

// Scenario 15.
fn a_token_that_cannot_be_written_is_an_error_and_the_lock_is_free(server: &Server) {
    let lock = Watched::used(server);
    for (status, code, kind) in [
        (403, "AuthorizationPermissionMismatch", ErrorKind::PermissionDenied),
        (409, "BlobImmutableDueToPolicy", ErrorKind::PermissionDenied),
        (400, "MetadataTooLarge", ErrorKind::Unexpected),
    ] {
        lock.proxy.next(SetMetadata, refused(status, code));
        let error = lock.locker().lock().unwrap_err();
        assert_eq!((error.kind(), error.service_code()), (kind, Some(code)), "{error:?}");
        assert_eq!(lock.state(), LockState::Available, "{code}");
    }
    // No right to read what is there.
    lock.proxy.next(Look, refused(403, "AuthorizationPermissionMismatch"));
    let error = lock.locker().lock().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
    assert_eq!(lock.state(), LockState::Available);
    // A lease that is gone by then was nobody's, and is sought again.
    lock.proxy.next(SetMetadata, refused(412, "LeaseIdMismatchWithBlobOperation"));
    lock.locker().lock().unwrap().unlock().unwrap();
}

fn a_card_that_cannot_be_left_is_told_and_the_lock_is_held(server: &Server) {
    let lock = Watched::used(server);
    let (heard, events) = mpsc::channel();
    let observe = move |event: Event| drop(heard.send(event));
    let builder = Locker::builder(lock.mutex.clone()).card(Card::new("me"));
    let locker = builder.on_event(observe).build().unwrap();
    lock.proxy.next(SetMetadata, refused(403, "AuthorizationPermissionMismatch"));
    let guard = locker.lock().unwrap();
    assert!(guard.is_held());
    guard.unlock().unwrap();
    let told = events.iter().find_map(|event| match event {
        Event::NotWritten { error, .. } => Some(error),
        _ => None,
    });
    assert_eq!(told.unwrap().kind(), ErrorKind::PermissionDenied);
    assert_eq!(lock.mutex.inspect().unwrap().card(), None);
}

fn a_write_without_an_answer_is_known_again(server: &Server) {
    let lock = Watched::used(server);
    let before = turn(&lock.locker());
    lock.proxy.forget();
    lock.proxy.next(SetMetadata, Fault::ResetAfter);
    let guard = lock.locker().lock().unwrap();
    assert_eq!(lock.seen(), [Acquire, Look, SetMetadata, SetMetadata, Look]);
    assert_eq!(lock.mutex.inspect().unwrap().fencing_token(), guard.fencing_token());
    assert!(token(&guard) > before);
}

fn a_write_that_did_not_arrive_is_repeated(server: &Server) {
    let lock = Watched::used(server);
    lock.proxy.next(SetMetadata, Fault::ResetBefore);
    lock.proxy.next(SetMetadata, refused(503, "ServerBusy"));
    let guard = lock.locker().lock().unwrap();
    assert_eq!(lock.seen(), [Acquire, Look, SetMetadata, SetMetadata, SetMetadata]);
    assert_eq!(lock.mutex.inspect().unwrap().fencing_token(), guard.fencing_token());
}

fn a_card_tells_who_has_the_lock(server: &Server) {
    let lock = Watched::used(server);
    let last = lock.mutex.inspect().unwrap().fencing_token();
    let builder = Locker::builder(lock.mutex.clone()).card(Card::new("the north\u{1b}[2J"));
    let locker = builder.build().unwrap();
    let guard = locker.lock().unwrap();
    let status = lock.mutex.inspect().unwrap();
    let card = status.card().unwrap();
    assert_eq!((card.label(), card.pid()), ("the north\u{fffd}[2J", Some(std::process::id())));
    assert_eq!(card.since(), guard.since());
    assert_eq!(card.fencing_token(), None, "it is of one that took no token");
    assert_eq!(status.fencing_token(), last);
    guard.unlock().unwrap();

    let fenced = Locker::builder(lock.mutex.clone()).card(Card::new("fenced")).fencing(true).build().unwrap();
    lock.proxy.forget();
    let guard = fenced.lock().unwrap();
    assert_eq!(lock.proxy.count(SetMetadata), 1, "both in one request");
    let status = lock.mutex.inspect().unwrap();
    assert_eq!(status.card().unwrap().fencing_token(), guard.fencing_token());
    assert_eq!(status.fencing_token(), guard.fencing_token());
    #[cfg(feature = "list")]
    {
        let listed = server.container(&lock.container).locks().next().unwrap().unwrap();
        assert_eq!((listed.name(), listed.status()), ("job", &status));
    }
}

fn who_waits_hears_whose_turn_it_is(server: &Server) {
    let lock = Watched::used(server);
    let elsewhere = server.container(&lock.container).mutex("job").unwrap();
    let holder = Locker::builder(elsewhere).card(Card::new("the holder")).build().unwrap();
    let guard = holder.lock().unwrap();
    let (heard, events) = mpsc::channel();
    let builder = Locker::builder(lock.mutex.clone()).on_event(move |event| drop(heard.send(event)));
    let waiter = builder.pauses(Duration::from_millis(10), Duration::from_millis(20)).build().unwrap();
    let error = waiter.lock_timeout(Duration::from_secs(2)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert_eq!(error.last_card().unwrap().label(), "the holder");
    assert!(error.to_string().contains("the holder"), "{error}");
    drop(guard);
    drop(waiter);
    let cards: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Waiting { card, .. } => Some(card.map(|card| card.label().to_owned())),
            _ => None,
        })
        .collect();
    assert_eq!(cards, [None, Some("the holder".to_owned())]);
}

fn a_mark_is_left_for_the_next_one(server: &Server) {
    let lock = Watched::used(server);
    let locker = lock.locker();
    let guard = locker.lock().unwrap();
    lock.proxy.forget();
    let text = "done, at 10:00 Ä\n%41";
    guard.mark(text).unwrap();
    assert_eq!(lock.seen(), [SetMetadata], "what the blob is was known");
    lock.proxy.next(SetMetadata, Fault::ResetAfter);
    guard.mark("again").unwrap();
    assert_eq!(lock.mutex.inspect().unwrap().mark(), Some("again"));
    guard.mark(text).unwrap();
    assert_eq!(guard.mark(&"x".repeat(1025)).unwrap_err().kind(), ErrorKind::InvalidInput);
    let token = token(&guard);
    guard.unlock().unwrap();
    let status = lock.mutex.inspect().unwrap();
    assert_eq!((status.mark(), status.fencing_token()), (Some(text), Some(token)));
    // It stays through the next holds, and can be taken away, by several threads.
    let guard = Locker::new(lock.mutex.clone()).lock().unwrap();
    assert_eq!(lock.mutex.inspect().unwrap().mark(), Some(text));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| guard.mark("").unwrap());
        }
    });
    assert_eq!(lock.mutex.inspect().unwrap().mark(), None);
}

fn nobody_marks_a_lock_that_is_lost(server: &Server) {
    let lock = Watched::used(server);
    let guard = lock.locker().lock().unwrap();
    server.break_lease(&lock.container, "job", Some(0));
    let next = lock.elsewhere(server).lock().unwrap();
    next.mark("of the next").unwrap();
    let error = guard.mark("of one who lost it").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaseLost, "{error:?}");
    assert!(!guard.is_held());
    let error = guard.mark("again").unwrap_err();
    assert_eq!(error.lost_because(), Some(Lost::Taken), "{error:?}");
    assert_eq!(lock.mutex.inspect().unwrap().mark(), Some("of the next"));
    assert!(token(&next) > token(&guard));
}

fn a_lease_has_a_token_a_card_and_a_mark_as_well(server: &Server) {
    let lock = Watched::used(server);
    let last = lock.mutex.inspect().unwrap().fencing_token();
    lock.proxy.forget();
    let mut lease = lock.mutex.acquire(LEASE).unwrap();
    assert_eq!(lease.fencing_token(), None);
    let token = lock.mutex.fence(&mut lease).unwrap();
    lock.mutex.leave_card(&mut lease, &Card::new("by hand")).unwrap();
    lock.mutex.mark(&mut lease, "marked").unwrap();
    assert_eq!(lock.seen(), [Acquire, Look, SetMetadata, SetMetadata, SetMetadata]);
    assert!(Some(token) > last && lease.fencing_token() == Some(token));
    let status = lock.mutex.inspect().unwrap();
    let card = status.card().unwrap();
    assert_eq!((card.label(), card.fencing_token()), ("by hand", Some(token)));
    assert_eq!((status.mark(), status.fencing_token()), (Some("marked"), Some(token)));
    lock.mutex.renew(&mut lease).unwrap();
    lock.mutex.release(&mut lease).unwrap();
    let error = lock.mutex.mark(&mut lease, "late").unwrap_err();
    assert_eq!(error.lost_because(), Some(Lost::Released));

    let mut lease = lock.mutex.acquire(LEASE).unwrap();
    server.break_lease(&lock.container, "job", Some(0));
    let error = lock.mutex.fence(&mut lease).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaseLost, "{error:?}");
    assert!(!lease.is_held());
}

fn a_break_hits_the_holder_that_was_seen_or_nobody(server: &Server) {
    const NOW: Break = Break::ForceWithin(Duration::ZERO);
    let lock = Watched::on(server);
    let plain = Locker::new(lock.mutex.clone()).lock().unwrap();
    let seen = lock.mutex.inspect().unwrap();
    lock.proxy.forget();
    assert_eq!(lock.mutex.break_lease_if_last(&seen, NOW).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(lock.seen(), []);
    plain.unlock().unwrap();

    let locker = lock.locker();
    let first = locker.lock().unwrap();
    let seen = lock.mutex.inspect().unwrap();
    first.unlock().unwrap();
    let second = locker.lock().unwrap();
    let error = lock.mutex.break_lease_if_last(&seen, NOW).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Outdated, "{error:?}");
    assert_eq!(lock.state(), LockState::Leased);
    // A mark makes another version, and no other holder.
    let seen = lock.mutex.inspect().unwrap();
    second.mark("half done").unwrap();
    lock.proxy.forget();
    assert_eq!(lock.mutex.break_lease_if_last(&seen, NOW).unwrap(), Duration::ZERO);
    assert_eq!(lock.seen(), [Look, Break]);
    assert_eq!(lock.state(), LockState::Broken);
    drop(second);

    // Where somebody comes between the look and the break, the service says so; and no such break is repeated.
    let third = locker.lock().unwrap();
    let seen = lock.mutex.inspect().unwrap();
    lock.proxy.next(Break, Fault::Withhold);
    let policy = azmutex::retry::Policy::default().attempt_limit(Duration::from_secs(2));
    let builder =
        container::Builder::from_connection_string(&server.connection_string_via(lock.proxy.port()), &lock.container);
    let mutex = builder.unwrap().retry(policy).build().unwrap().mutex("job").unwrap();
    lock.proxy.forget();
    assert_eq!(mutex.break_lease_if_last(&seen, NOW).unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(lock.seen(), [Look, Break]);
    drop(third);
    let carded = Locker::builder(lock.mutex.clone()).card(Card::new("me")).build().unwrap();
    server.set_metadata(&lock.container, "job", None, &[]);
    let fourth = carded.lock().unwrap();
    let seen = lock.mutex.inspect().unwrap();
    // A mark came in between, so it is looked at again.
    lock.proxy.forget();
    lock.proxy.next(Break, refused(412, "ConditionNotMet"));
    lock.mutex.break_lease_if_last(&seen, NOW).unwrap();
    assert_eq!(lock.seen(), [Look, Break, Look, Break]);
    drop(fourth);
}

fn a_break_hits_nobody_who_came_between_its_look_and_itself(server: &Server) {
    let lock = Watched::on(server);
    let locker = lock.locker();
    let first = locker.lock().unwrap();
    let seen = lock.mutex.inspect().unwrap();
    lock.proxy.forget();
    lock.proxy.next(Look, Fault::DelayAnswer(Duration::from_secs(3)));
    thread::scope(|scope| {
        let breaks = scope.spawn(|| lock.mutex.break_lease_if_last(&seen, Break::ForceWithin(Duration::ZERO)));
        // The service has told who has it, and nobody has heard it yet.
        assert!(lock.proxy.wait_for_status(Look, 1, Duration::from_secs(60)));
        first.unlock().unwrap();
        let second = locker.lock().unwrap();
        assert_eq!(breaks.join().unwrap().unwrap_err().kind(), ErrorKind::Outdated);
        assert_eq!(lock.state(), LockState::Leased);
        second.unlock().unwrap();
    });
    assert_eq!(lock.proxy.count(Break), 1, "the service refused it");
}

fn a_break_by_a_token_does_not_hit_one_who_left_a_card_alone(server: &Server) {
    let lock = Watched::on(server);
    let builder = Locker::builder(lock.mutex.clone()).fencing(true).card(Card::new("first"));
    let first = builder.build().unwrap().lock().unwrap();
    let seen = lock.mutex.inspect().unwrap();
    first.unlock().unwrap();
    let second = Locker::builder(lock.mutex.clone()).card(Card::new("second")).build().unwrap().lock().unwrap();
    let broken = lock.mutex.break_lease_if_last(&seen, Break::ForceWithin(Duration::ZERO));
    assert_eq!(broken.unwrap_err().kind(), ErrorKind::Outdated);
    second.unlock().unwrap();
}

/// A mutex whose calls are not repeated.
fn impatient(lock: &Watched, server: &Server) -> AzureMutex {
    let text = server.connection_string_via(lock.proxy.port());
    let builder = container::Builder::from_connection_string(&text, &lock.container).unwrap();
    builder.retry(azmutex::retry::Policy::default().retries(0)).build().unwrap().mutex("job").unwrap()
}

fn a_write_that_failed_is_not_taken_for_the_next_one(server: &Server) {
    let lock = Watched::used(server);
    let mutex = impatient(&lock, server);
    let mut lease = mutex.acquire(LEASE).unwrap();
    lock.proxy.next(SetMetadata, Fault::ResetAfter);
    mutex.mark(&mut lease, "first").unwrap_err();
    mutex.mark(&mut lease, "second").unwrap();
    assert_eq!(mutex.inspect().unwrap().mark(), Some("second"));

    lock.proxy.next(SetMetadata, Fault::ResetAfter);
    mutex.leave_card(&mut lease, &Card::new("me")).unwrap_err();
    let token = mutex.fence(&mut lease).unwrap();
    assert_eq!(mutex.inspect().unwrap().fencing_token(), Some(token));
    lock.proxy.next(SetMetadata, Fault::ResetAfter);
    mutex.fence(&mut lease).unwrap_err();
    let token = mutex.fence(&mut lease).unwrap();
    assert_eq!(mutex.inspect().unwrap().fencing_token(), Some(token));
    mutex.release(&mut lease).unwrap();
    let mut next = mutex.acquire(LEASE).unwrap();
    assert!(mutex.fence(&mut next).unwrap() > token);
}

fn metadata_are_signed_in_the_services_order(server: &Server) {
    let lock = Watched::on(server);
    server.create_container(&lock.container);
    let of_others = [("a1", "1"), ("a_b", "2"), ("azmutex1", "3"), ("azmutex_x", "4"), ("zz", "5")];
    server.put_blob(&lock.container, "job", b"", &of_others);
    let builder = container::Builder::from_connection_string(&server.connection_string(), &lock.container).unwrap();
    let mutex = builder.lower_case_metadata().build().unwrap().mutex("job").unwrap();
    let mut lease = mutex.acquire(LEASE).unwrap();
    mutex.mark(&mut lease, "marked").unwrap();
    let after = server.blob_headers(&lock.container, "job");
    for (name, value) in of_others {
        assert_eq!(after.header(&format!("x-ms-meta-{name}")), Some(value), "{name}");
    }
}

fn a_refusal_that_nobody_knows_does_not_keep_others_from_the_lock(server: &Server) {
    let lock = Watched::used(server);
    for code in ["BlobArchived", "BlobBeingRehydrated", "BlobUsesCustomerSpecifiedEncryption"] {
        lock.proxy.next(SetMetadata, refused(409, code));
        let error = lock.locker().lock_timeout(Duration::from_secs(60)).unwrap_err();
        assert_eq!(error.service_code(), Some(code), "{error:?}");
        lock.mutex.release(&mut lock.mutex.acquire(LEASE).unwrap()).unwrap();
    }
}
