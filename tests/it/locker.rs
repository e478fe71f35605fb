//! `Locker`, `LockGuard` and `Cancel`.

use std::error::Error as _;
use std::panic;
use std::thread;
use std::time::{Duration, Instant};

use azmutex::event::Event;
use azmutex::lease::Break;
use azmutex::locker::WithError;
use azmutex::retry::Policy;
use azmutex::{Cancel, Container, Error, ErrorKind, LockGuard, Locker, container, crossbeam_channel as channel};

use crate::on_both_servers;
use crate::support::http::Operation;
use crate::support::proxy::{Fault, FaultProxy};
use crate::support::server::Server;
use crate::support::{quick, unique};

const SECOND: Duration = Duration::from_secs(1);

on_both_servers!(
    a_lock_is_one_holders_until_it_is_unlocked,
    a_waiter_gets_it_soon_after_it_is_let_go,
    a_wait_ends_when_its_time_is_over,
    a_wait_ends_when_it_is_cancelled_and_not_before,
    a_wait_with_a_time_and_a_cancel_ends_with_the_first_of_them,
    a_wait_that_ends_without_the_lock_tells_the_last_failure,
    a_cancel_is_one_of_several_things_that_are_waited_for,
    a_dropped_guard_lets_go,
    work_under_a_lock_hides_no_error,
    work_that_panics_lets_go,
    what_happens_is_told_in_order,
    a_container_that_is_not_to_be_made_is_not_found,
);

#[test]
fn the_types_can_go_where_they_are_needed() {
    fn is<T: Send + Sync + Unpin + 'static>() {}
    fn clones<T: Clone>() {}
    is::<Container>();
    is::<Locker>();
    is::<LockGuard>();
    is::<Cancel>();
    is::<Error>();
    clones::<Container>();
    clones::<Locker>();
    clones::<Cancel>();
}

fn work_under_a_lock_hides_no_error(server: &Server) {
    let name = unique("with");
    let container = server.container(&name);
    let locker = container.locker("job").unwrap();
    let length = locker.with(|guard| guard.lock_name().len()).unwrap();
    assert_eq!(length, 3);
    // The work's own error comes as it is, and the lock is free.
    let failed = locker.with(|_| "x".parse::<u8>()).unwrap();
    assert_eq!(failed, "x".parse());
    locker.try_lock().unwrap().unlock().unwrap();

    // Both: in `main`, too.
    let lost_and_failed = || {
        locker.with(|guard| {
            server.break_lease(&name, "job", Some(0));
            // Of another, for a moment.
            locker.try_lock().unwrap().unlock().unwrap();
            assert!(guard.is_held(), "nobody has told it");
            "y".parse::<u8>()
        })
    };
    let error = lost_and_failed().unwrap_err();
    assert_eq!(error.error().kind(), ErrorKind::LeaseLost, "{error}");
    assert!(error.to_string().contains("lock \"job\": lost"), "{error}");
    let printed = format!("{error:?}");
    assert!(printed.contains("lock \"job\": lost") && printed.contains("InvalidDigit"), "{printed}");
    let boxed = || -> Result<u8, Box<dyn std::error::Error>> { Ok(lost_and_failed()??) };
    let printed = format!("{:?}", boxed().unwrap_err());
    assert!(printed.contains("lost") && printed.contains("InvalidDigit"), "{printed}");
    assert!(matches!(error, WithError::NotReleased { result: Err(_), .. }), "{error:?}");

    let builder = container::Builder::from_connection_string(&server.connection_string(), &unique("with")).unwrap();
    let refused = builder.never_create_container().build().unwrap().locker("job").unwrap();
    let error = refused.with(|_| panic!("there is no lock")).map(|()| {}).unwrap_err();
    assert!(matches!(&error, WithError::NotObtained(_)), "{error:?}");
    assert_eq!(error.into_error().kind(), ErrorKind::NotFound);
}

fn work_that_panics_lets_go(server: &Server) {
    let locker = server.container(&unique("with")).locker("job").unwrap();
    let panicking = || locker.with(|_| panic::resume_unwind(Box::new("of the work")));
    let panicked = panic::catch_unwind(panicking).map(|_: Result<(), _>| ()).unwrap_err();
    assert_eq!(panicked.downcast_ref(), Some(&"of the work"));
    locker.try_lock().unwrap().unlock().unwrap();
}

fn a_lock_is_one_holders_until_it_is_unlocked(server: &Server) {
    let container = server.container(&unique("one"));
    let locker = container.locker("job").unwrap();
    let guard = locker.try_lock().unwrap();
    assert!(guard.is_held());
    guard.ensure_held().unwrap();
    assert_eq!(guard.lock_name(), "job");
    let left = guard.remaining();
    assert!(left > 25 * SECOND && left <= Duration::from_millis(27_400), "{left:?}");
    let error = locker.try_lock().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error:?}");
    assert_eq!(error.lock_name(), Some("job"));
    guard.unlock().unwrap();
    drop(locker.try_lock().unwrap());
    locker.try_lock().unwrap().unlock().unwrap();
}

fn a_waiter_gets_it_soon_after_it_is_let_go(server: &Server) {
    let container = server.container(&unique("waiter"));
    let locker = container.locker("job").unwrap();
    let guard = locker.lock().unwrap();
    let waiter = thread::spawn({
        let locker = locker.clone();
        move || {
            let guard = locker.lock().unwrap();
            (Instant::now(), guard)
        }
    });
    thread::sleep(2 * SECOND);
    assert!(!waiter.is_finished());
    guard.unlock().unwrap();
    let free = Instant::now();
    let (got, guard) = waiter.join().unwrap();
    let handed_over = got - free;
    println!("handed over in {handed_over:?}");
    assert!(handed_over < 3 * SECOND, "{handed_over:?}");
    guard.unlock().unwrap();
}

fn a_wait_ends_when_its_time_is_over(server: &Server) {
    let container = server.container(&unique("timeout"));
    let locker = container.locker("job").unwrap();
    let _guard = locker.lock().unwrap();
    let start = Instant::now();
    let error = locker.lock_timeout(SECOND).unwrap_err();
    let waited = start.elapsed();
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error:?}");
    assert!(waited >= SECOND && waited < 3 * SECOND, "{waited:?}");
    let error = locker.lock_timeout(Duration::ZERO).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error:?}");
}

fn a_wait_ends_when_it_is_cancelled_and_not_before(server: &Server) {
    let container = server.container(&unique("cancel"));
    let locker = container.locker("job").unwrap();
    let guard = locker.lock().unwrap();
    let cancel = Cancel::new();
    let waiter = thread::spawn({
        let (locker, cancel) = (locker.clone(), cancel.clone());
        move || locker.lock_or_cancel(&cancel).unwrap_err()
    });
    thread::sleep(SECOND);
    assert!(!waiter.is_finished());
    let start = Instant::now();
    cancel.cancel();
    cancel.cancel();
    assert!(cancel.is_cancelled());
    assert_eq!(waiter.join().unwrap().kind(), ErrorKind::Cancelled);
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
    guard.unlock().unwrap();
    // Free, and yet not taken by one who has been told not to.
    assert_eq!(locker.lock_or_cancel(&cancel).unwrap_err().kind(), ErrorKind::Cancelled);
    let guard = locker.lock_or_cancel(&Cancel::new()).unwrap();
    guard.unlock().unwrap();
}

fn a_wait_with_a_time_and_a_cancel_ends_with_the_first_of_them(server: &Server) {
    let container = server.container(&unique("both"));
    let locker = container.locker("job").unwrap();
    let guard = locker.lock().unwrap();
    let cancel = Cancel::new();
    let start = Instant::now();
    let error = locker.lock_timeout_or_cancel(SECOND, &cancel).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error:?}");
    assert!(start.elapsed() >= SECOND && start.elapsed() < 3 * SECOND, "{:?}", start.elapsed());
    assert!(error.source().is_none(), "nothing but a holder was in the way: {error:?}");
    assert!(!cancel.is_cancelled());

    for timeout in [60 * SECOND, Duration::MAX] {
        let cancel = Cancel::new();
        let waiter = thread::spawn({
            let (locker, cancel) = (locker.clone(), cancel.clone());
            move || locker.lock_timeout_or_cancel(timeout, &cancel).unwrap_err()
        });
        thread::sleep(SECOND / 2);
        assert!(!waiter.is_finished());
        let start = Instant::now();
        cancel.cancel();
        let error = waiter.join().unwrap();
        assert_eq!(error.kind(), ErrorKind::Cancelled, "{error:?}");
        assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
        assert!(error.source().is_none(), "{error:?}");
        let error = locker.lock_timeout_or_cancel(timeout, &cancel).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled, "{error:?}");
    }

    guard.unlock().unwrap();
    for timeout in [20 * SECOND, Duration::MAX] {
        locker.lock_timeout_or_cancel(timeout, &cancel).unwrap().unlock().unwrap();
    }
}

fn a_wait_that_ends_without_the_lock_tells_the_last_failure(server: &Server) {
    let proxy = FaultProxy::to(server.port());
    let text = server.connection_string_via(proxy.port());
    let container = Container::from_connection_string(&text, &unique("why")).unwrap();
    let locker = container.locker("job").unwrap();
    locker.lock().unwrap().unlock().unwrap();
    proxy.always(None, Fault::ResetBefore);
    let cancel = Cancel::new();
    let told = |error: &Error, kind| {
        assert_eq!(error.kind(), kind, "{error:?}");
        let source = error.source().and_then(|source| source.downcast_ref::<Error>());
        assert_eq!(source.map(Error::kind), Some(ErrorKind::Unavailable), "{error:?}");
    };
    told(&locker.lock_timeout_or_cancel(2 * SECOND, &cancel).unwrap_err(), ErrorKind::TimedOut);

    proxy.forget();
    let waiter = thread::spawn({
        let (locker, cancel) = (locker.clone(), cancel.clone());
        move || locker.lock_timeout_or_cancel(60 * SECOND, &cancel).unwrap_err()
    });
    assert!(proxy.wait_for(Operation::Acquire, 2, 20 * SECOND));
    cancel.cancel();
    told(&waiter.join().unwrap(), ErrorKind::Cancelled);
}

fn a_cancel_is_one_of_several_things_that_are_waited_for(server: &Server) {
    let container = server.container(&unique("select"));
    let locker = quick(&container, "job").build().unwrap();
    let guard = locker.lock().unwrap();
    let cancel = Cancel::new();
    let next = |cancel: &Cancel| {
        let (cancelled, lost) = (cancel.cancelled(), guard.lost());
        channel::select! {
            recv(cancelled) -> _ => "cancelled",
            recv(lost) -> lost => if lost.is_ok() { "lost" } else { "over" },
            default(20 * SECOND) => "nothing",
        }
    };
    assert!(!cancel.wait_cancelled(Duration::ZERO));
    assert!(!cancel.wait_cancelled(SECOND / 10));
    let other = thread::spawn({
        let cancel = cancel.clone();
        move || {
            thread::sleep(SECOND / 2);
            cancel.cancel();
        }
    });
    assert_eq!(next(&cancel), "cancelled");
    assert!(cancel.wait_cancelled(Duration::ZERO) && cancel.wait_cancelled(Duration::MAX));
    other.join().unwrap();
    guard.ensure_held().unwrap();

    container.mutex("job").unwrap().break_lease(Break::ForceWithin(Duration::ZERO)).unwrap();
    assert_eq!(next(&Cancel::new()), "lost");
}

fn a_dropped_guard_lets_go(server: &Server) {
    let container = server.container(&unique("drop"));
    let locker = container.locker("job").unwrap();
    drop(locker.lock().unwrap());
    drop(locker.try_lock().unwrap());
    thread::spawn({
        let guard = locker.try_lock().unwrap();
        move || drop(guard)
    })
    .join()
    .unwrap();
    drop(locker.try_lock().unwrap());
}

fn what_happens_is_told_in_order(server: &Server) {
    let container = server.container(&unique("events"));
    let (sender, events) = channel::unbounded();
    let locker = quick(&container, "job").on_event(move |event| sender.send(event).unwrap()).build().unwrap();
    let holder = container.locker("job").unwrap().lock().unwrap();
    let waiter = thread::spawn(move || {
        let guard = locker.lock().unwrap();
        thread::sleep(SECOND * 3 / 2);
        guard.unlock().unwrap();
    });
    let mut told = vec![events.recv_timeout(20 * SECOND).unwrap()];
    holder.unlock().unwrap();
    waiter.join().unwrap();
    told.extend(events);
    let [Event::Waiting { .. }, Event::Acquired { left, .. }, renewed @ .., Event::Released { lock, .. }] = &*told
    else {
        panic!("{told:?}");
    };
    assert!(matches!(renewed, [Event::Renewed { .. }, ..]), "{told:?}");
    assert!(renewed.iter().all(|event| matches!(event, Event::Renewed { .. })), "{told:?}");
    assert_eq!(&**lock, "job");
    assert!(*left > 11 * SECOND, "{left:?}");
    assert_eq!(told[0].to_string(), "lock \"job\": waiting, somebody else holds it");
}

#[test]
fn an_emulator_that_is_not_running_is_named() {
    // Bound and closed again, so that nothing listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = format!("UseDevelopmentStorage=true;DevelopmentStorageProxyUri=http://127.0.0.1:{port}");
    let policy = Policy::default().patience(SECOND / 2);
    let container = container::Builder::from_connection_string(&text, "locks").unwrap().retry(policy).build().unwrap();
    let start = Instant::now();
    let error = container.locker("job").unwrap().lock().unwrap_err();
    assert!(start.elapsed() < 3 * SECOND, "{:?}", start.elapsed());
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let text = format!("{error:?}");
    assert!(text.contains(&format!("nothing listens at http://127.0.0.1:{port}")), "{text}");
    assert!(text.contains("\"job\""), "{text}");
}

fn a_container_that_is_not_to_be_made_is_not_found(server: &Server) {
    let name = unique("absent");
    let builder = || container::Builder::from_connection_string(&server.connection_string(), &name).unwrap();
    let strict = builder().never_create_container().build().unwrap();
    for error in [
        strict.locker("job").unwrap().lock().unwrap_err(),
        strict.locker("job").unwrap().try_lock().unwrap_err(),
        strict.mutex("job").unwrap().acquire(15 * SECOND).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
        assert!(error.to_string().contains(&name), "{error}");
        assert_eq!(error.service_code(), Some("ContainerNotFound"));
        assert_eq!(error.http_status(), Some(404));
        assert!(error.request_id().is_some());
    }
    builder().build().unwrap().locker("job").unwrap().lock().unwrap().unlock().unwrap();
    strict.locker("job").unwrap().lock().unwrap().unlock().unwrap();
}

#[test]
fn settings_out_of_range_are_refused_before_anything_is_sent() {
    let mutex = Container::development("locks").unwrap().mutex("job").unwrap();
    let builder = || Locker::builder(mutex.clone());
    let ms = Duration::from_millis;
    for (what, builder) in [
        ("lease 14 s", builder().lease(14 * SECOND)),
        ("lease 61 s", builder().lease(61 * SECOND)),
        ("lease 15.5 s", builder().lease(ms(15_500))),
        ("lease for ever", builder().lease(Duration::MAX)),
        ("renew too often", builder().renew_every(ms(9))),
        ("renew too late", builder().renew_every(16 * SECOND)),
        ("no pause", builder().pauses(Duration::ZERO, SECOND)),
        ("pauses shrink", builder().pauses(SECOND, ms(1))),
        ("pauses too long", builder().pauses(SECOND, Duration::MAX)),
    ] {
        let error = builder.build().err().unwrap_or_else(|| panic!("{what}"));
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{what}");
    }
    let error = mutex.acquire(14 * SECOND).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}
