//! Scenario 19: panics, and observers that misbehave.

use super::*;
use crate::slow_on_both_servers;

slow_on_both_servers!(
    a_panic_while_holding_releases,
    an_observer_that_panics_or_blocks_does_not_disturb_the_lock,
    a_loss_is_told_in_time_though_the_observer_blocks,
);

fn block(gate: &Receiver<()>) {
    let _ = gate.recv();
}

fn a_panic_while_holding_releases(server: &Server) {
    let rig = Rig::used(server);
    let guard = rig.locker(Policy::default()).lock().unwrap();
    let holder = thread::spawn(move || {
        guard.ensure_held().unwrap();
        panic!("on purpose");
    });
    assert!(holder.join().is_err());
    assert_eq!(rig.proxy.count(Release), 1);
    rig.assert_free_for_others();
}

fn an_observer_that_panics_or_blocks_does_not_disturb_the_lock(server: &Server) {
    let (open, gate) = bounded::<()>(0);
    let (heard, calls) = unbounded();
    let panics: Box<dyn FnMut(Event) + Send> = Box::new(move |event| {
        heard.send(event).unwrap();
        panic!("on purpose");
    });
    let blocks: Box<dyn FnMut(Event) + Send> = Box::new(move |_| block(&gate));
    each([panics, blocks], |observe| {
        let rig = Rig::used(server);
        let builder = rig.builder(Policy::default()).renew_every(SECOND);
        let guard = builder.on_event(observe).build().unwrap().lock().unwrap();
        assert!(rig.proxy.wait_for_status(Renew, 3, SOON));
        guard.ensure_held().unwrap();
        let renewals = rig.requests(Renew);
        let gaps: Vec<_> = renewals.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
        assert!(gaps.iter().all(|gap| *gap < SECOND + SLACK), "{gaps:?}");
        let (unlocked, took) = timed(|| guard.unlock());
        unlocked.unwrap();
        assert!(took < 2 * SLACK, "{took:?}");
        rig.assert_free_for_others();
    });
    drop(open);
    let heard: Vec<_> = calls.iter().collect();
    assert!(count(&heard, is_renewed) >= 2, "it is called again after a panic: {heard:?}");
}

fn a_loss_is_told_in_time_though_the_observer_blocks(server: &Server) {
    let rig = Rig::used(server);
    rig.proxy.always(Some(Renew), status(500));
    let (open, gate) = bounded::<()>(0);
    let builder = rig.builder(Policy::default()).on_event(move |_| block(&gate));
    let guard = builder.build().unwrap().lock().unwrap();
    let deadline = Deadline::of(&guard);
    assert_eq!(guard.wait_lost(LEASE), Some(Lost::Expired));
    deadline.assert_told(Instant::now());
    let (unlocked, took) = timed(|| guard.unlock());
    assert_eq!(kind_of(unlocked), ErrorKind::LeaseLost);
    assert!(took < 2 * SECOND + SLACK, "{took:?}");
    rig.assert_free_for_others();
    drop(open);
}
