//! Scenario 17: unlock beside a renewal.

use super::*;
use crate::slow_on_both_servers;

slow_on_both_servers!(
    an_unlock_lets_a_renewal_under_way_end_first,
    a_renewal_that_was_given_up_and_lands_after_the_release_is_refused,
);

fn an_unlock_lets_a_renewal_under_way_end_first(server: &Server) {
    const DELAY: Duration = Duration::from_millis(1_500);
    each([Fault::DelayAnswer(DELAY), Fault::DelayRequest(DELAY)], |fault| {
        let rig = Rig::used(server);
        rig.proxy.next(Renew, fault);
        let guard = rig.builder(Policy::default()).renew_every(SECOND).build().unwrap().lock().unwrap();
        let lost = guard.lost();
        assert!(rig.proxy.wait_for(Renew, 1, SOON));
        let (unlocked, took) = timed(|| guard.unlock());
        unlocked.unwrap();
        assert!(took < DELAY + 2 * SLACK, "{took:?}");
        assert!(lost.recv().is_err(), "it was not lost");
        rig.assert_free_for_others();
        let (renewals, releases) = (rig.requests(Renew), rig.requests(Release));
        assert_eq!((renewals.len(), releases.len()), (1, 1));
        assert!(releases[0].at >= renewals[0].answered.unwrap());
        assert_eq!(releases[0].status, Some(200));
    });
}

fn a_renewal_that_was_given_up_and_lands_after_the_release_is_refused(server: &Server) {
    each([true, false], |handed_over| {
        let rig = Rig::used(server);
        rig.proxy.next(Renew, Fault::DelayRequest(3 * LIMIT));
        let guard = rig.builder(quick()).renew_every(SECOND).build().unwrap().lock().unwrap();
        assert!(rig.proxy.wait_for(Renew, 1, SOON));
        guard.unlock().unwrap();
        let next = handed_over.then(|| rig.neighbour().try_lock().unwrap());
        assert_eq!(rig.requests(Renew)[0].status, None, "it landed too early for this test");
        assert!(rig.proxy.wait_for_status(Renew, 1, SOON));
        assert_eq!(rig.requests(Renew)[0].status, Some(409));
        if let Some(next) = next {
            next.unlock().unwrap();
        }
        assert!(rig.is_free());
    });
}
