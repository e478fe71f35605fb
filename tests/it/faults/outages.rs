//! Waiting through an outage.

use super::*;
use crate::slow_on_both_servers;

slow_on_both_servers!(
    a_wait_survives_an_outage_that_its_patience_bears,
    a_wait_ends_when_an_outage_outlasts_its_patience,
    patience_begins_anew_with_a_proper_answer,
);

type Waited = (azmutex::Result<LockGuard>, Instant);

/// A lock of the neighbour's, and what comes of a wait for it.
fn waiting(rig: &Rig, policy: Policy) -> (LockGuard, Receiver<Waited>) {
    let neighbour = rig.neighbour().lock().unwrap();
    let locker = rig.locker(policy.longest_pause(300 * MS));
    let (sender, waited) = bounded(1);
    thread::spawn(move || drop(sender.send((locker.lock(), Instant::now()))));
    assert!(rig.proxy.wait_for_status(Look, 1, SOON));
    (neighbour, waited)
}

fn a_wait_survives_an_outage_that_its_patience_bears(server: &Server) {
    each([Fault::BlackHole, Fault::ResetBefore, Fault::Withhold, status(503)], |fault| {
        let rig = Rig::used(server);
        let (neighbour, waited) = waiting(&rig, quick());
        rig.proxy.always(None, fault);
        thread::sleep(SECOND);
        neighbour.unlock().unwrap();
        thread::sleep(2 * SECOND);
        assert!(waited.is_empty());
        rig.proxy.clear();
        let over = Instant::now();
        let (result, obtained) = waited.recv_timeout(SOON).unwrap();
        let took = obtained - over;
        println!("obtained {took:?} after the outage");
        // A request that still hangs, a pause, and perhaps another for the acquire.
        assert!(took < LIMIT + 600 * MS + 2 * SLACK, "{took:?}");
        result.unwrap().unlock().unwrap();
    });
}

fn a_wait_ends_when_an_outage_outlasts_its_patience(server: &Server) {
    const PATIENCE: Duration = Duration::from_secs(2);
    each([Fault::BlackHole, Fault::ResetBefore, status(500), asking_to_wait(503, 3_600)], |fault| {
        let rig = Rig::used(server);
        let (neighbour, waited) = waiting(&rig, quick().patience(PATIENCE));
        rig.proxy.always(None, fault);
        let began = Instant::now();
        let (result, ended) = waited.recv_timeout(SOON).unwrap();
        let took = ended - began;
        println!("given up after {took:?}");
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        assert!(took >= PATIENCE, "{took:?}");
        // A pause before the first failure and its limit, and another of each, as long as patience at most.
        assert!(took < PATIENCE + SECOND + LIMIT + PATIENCE + LIMIT + SLACK, "{took:?}");
        neighbour.unlock().unwrap();
    });
}

fn patience_begins_anew_with_a_proper_answer(server: &Server) {
    const PATIENCE: Duration = Duration::from_secs(5);
    let rig = Rig::used(server);
    let (neighbour, waited) = waiting(&rig, quick().patience(PATIENCE));
    for _ in 0..2 {
        rig.proxy.always(None, Fault::ResetBefore);
        thread::sleep(3 * SECOND);
        rig.proxy.clear();
        // It may ask by a look or by an acquire.
        let answers = || rig.proxy.log().iter().filter(|entry| entry.answered.is_some()).count();
        let (before, since) = (answers(), Instant::now());
        while answers() == before {
            assert!(since.elapsed() < SOON, "{:?}", rig.proxy.log());
            thread::sleep(10 * MS);
        }
    }
    neighbour.unlock().unwrap();
    let (result, _) = waited.recv_timeout(SOON).unwrap();
    result.unwrap().unlock().unwrap();
}
