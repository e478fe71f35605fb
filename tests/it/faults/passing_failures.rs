//! Scenario 8: failures that pass.

use super::*;
use crate::slow_on_both_servers;

slow_on_both_servers!(
    one_or_two_renewals_answered_500_cost_nothing,
    one_or_two_renewals_answered_503_cost_nothing,
    one_or_two_renewals_answered_429_cost_nothing,
    one_or_two_renewals_reset_before_they_arrive_cost_nothing,
    one_or_two_renewals_reset_after_they_were_applied_cost_nothing,
    one_or_two_renewals_that_vanish_cost_nothing,
    one_or_two_renewals_applied_without_an_answer_cost_nothing,
    a_server_that_asks_for_a_pause_gets_it_but_not_the_lock,
    a_pooled_connection_that_was_idle_costs_no_renewal,
);

fn ride_out(server: &Server, fault: &Fault) {
    each([1, 2], |times| {
        let rig = Rig::used(server);
        for _ in 0..times {
            rig.proxy.next(Renew, fault.clone());
        }
        // So that two that hang do not use up the time.
        let (locker, events) = hear(rig.builder(Policy::default().attempt_limit(1_500 * MS)));
        let guard = locker.lock().unwrap();
        let heard = until(&events, SOON, is_renewed);
        let deadline = Deadline::of(&guard);
        guard.ensure_held().unwrap();
        assert!(count(&heard, |event| matches!(event, Event::RenewalFailed { .. })) >= times, "{heard:?}");
        assert_eq!(count(&heard, is_lost), 0, "{heard:?}");

        let renewals = rig.requests(Renew);
        assert!(renewals.len() > times, "{renewals:?}");
        let interval = renewals[0].at - rig.requests(Acquire)[0].at;
        let gaps: Vec<_> = renewals.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
        println!("renewed after {interval:?}, again after {gaps:?}");
        for (gap, least) in gaps.iter().zip(LEAST_PAUSES).take(times) {
            assert!(*gap >= least && *gap < interval * 3 / 4, "{gaps:?}");
        }
        deadline.assert_counts_from(renewals[renewals.len() - 1].at);
        guard.unlock().unwrap();
        rig.assert_free_for_others();
    });
}

fn one_or_two_renewals_answered_500_cost_nothing(server: &Server) {
    ride_out(server, &status(500));
}

fn one_or_two_renewals_answered_503_cost_nothing(server: &Server) {
    ride_out(server, &status(503));
}

fn one_or_two_renewals_answered_429_cost_nothing(server: &Server) {
    ride_out(server, &status(429));
}

fn one_or_two_renewals_reset_before_they_arrive_cost_nothing(server: &Server) {
    ride_out(server, &Fault::ResetBefore);
}

fn one_or_two_renewals_reset_after_they_were_applied_cost_nothing(server: &Server) {
    ride_out(server, &Fault::ResetAfter);
}

fn one_or_two_renewals_that_vanish_cost_nothing(server: &Server) {
    ride_out(server, &Fault::BlackHole);
}

fn one_or_two_renewals_applied_without_an_answer_cost_nothing(server: &Server) {
    ride_out(server, &Fault::Withhold);
}

fn a_server_that_asks_for_a_pause_gets_it_but_not_the_lock(server: &Server) {
    each([(503, 2, 2 * SECOND + SLACK), (429, 3_600, VALID / 2)], |(code, seconds, longest)| {
        let rig = Rig::used(server);
        rig.proxy.next(Renew, asking_to_wait(code, seconds));
        let (locker, events) = hear(rig.builder(Policy::default()).renew_every(SECOND));
        let guard = locker.lock().unwrap();
        let heard = until(&events, SOON, is_renewed);
        assert_eq!(count(&heard, is_lost), 0, "{heard:?}");
        guard.ensure_held().unwrap();
        let renewals = rig.requests(Renew);
        let pause = renewals[1].at - renewals[0].at;
        println!("asked for {seconds} s, waited {pause:?}");
        assert!(pause >= 2 * SECOND && pause < longest, "{pause:?}");
        guard.unlock().unwrap();
    });
}

fn a_pooled_connection_that_was_idle_costs_no_renewal(server: &Server) {
    const INTERVAL: Duration = Duration::from_secs(8);
    let rig = Rig::used(server);
    let mutex = rig.mutex_at(rig.server.port(), Policy::default());
    let (locker, events) = hear(Locker::builder(mutex).lease(2 * INTERVAL).renew_every(INTERVAL));
    let guard = locker.lock().unwrap();

    // Azurite closes a connection that has been idle for less than an interval; the emulator in the box keeps it.
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, rig.server.port())).unwrap();
    let path = format!("/devstoreaccount1/{}/{LOCK}", rig.container);
    stream.write_all(format!("HEAD {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").as_bytes()).unwrap();
    stream.set_read_timeout(Some(INTERVAL)).unwrap();
    let (closed, idle) = timed(|| stream.read_to_end(&mut Vec::new()));
    let closes = rig.server.as_emulator().is_none();
    assert_eq!(closed.is_ok(), closes, "{closed:?} after {idle:?}");
    if closes {
        assert!(idle > SECOND && idle < INTERVAL * 9 / 10, "{closed:?} after {idle:?}");
    }

    for _ in 0..2 {
        let heard = until(&events, INTERVAL + SOON, is_renewed);
        assert_eq!(count(&heard, |event| matches!(event, Event::RenewalFailed { .. })), 0, "{heard:?}");
    }
    guard.unlock().unwrap();
}
