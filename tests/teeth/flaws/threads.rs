//! In the threads and calls around: what they hear, pass on, and wait for.

flaws! {
    "the lock's thread does not hear that its caller has left"
        by "renewal::tests::a_caller_who_left_while_the_lock_was_granted_holds_nothing" {
        "renewal.rs": "Ok(Order::Leave) => self.carrier.leave()," => "Ok(Order::Leave) => {}"
    }
    "the lock's thread sleeps and hears nothing"
        by "renewal::tests::a_caller_who_leaves_as_the_thread_goes_to_sleep_is_noticed_at_once" {
        "renewal.rs": "if for_leave {" => "if for_leave && pause.is_zero() {"
    }
    "the lock's thread dies and nobody is told"
        by "testing::interleavings::an_unlock_against_the_death_of_the_thread" {
        "renewal.rs": "if thread::panicking() {" => "if thread::panicking() && self.0.check().is_err() {"
    }
    "a renewal counts from when its answer was read"
        by "renewal::tests::the_deadline_counts_from_the_sending_of_the_renewal_and_not_from_its_answer" {
        "renewal.rs": "Act::Send { operation, limit } => self.carrier.answered(attempt(operation, limit))," =>
            "Act::Send { operation, limit } => {
                 let exchange = attempt(operation, limit);
                 self.carrier.answered(Exchange { sent: clock::now(), ..exchange });
             }"
    }
    "a loss that the lock's thread hears of is not passed on"
        by "testing::interleavings::letting_go_against_a_loss" {
        "renewal.rs": "Act::Lose(lost) => self.watch.lose(lost)," => "Act::Lose(_) => {}"
    }
    "a renewal that the holder's standing refuses is none of the thread's business"
        by "renewal::tests::a_renewal_that_comes_after_the_holder_was_told_of_the_loss_is_the_last" {
        "renewal.rs": "self.carrier.extended(clock::now(), extended);" =>
            "self.carrier.extended(clock::now(), extended.or(Ok(valid_until)));"
    }
    "the lock is released before its guard is closed" by "testing::interleavings::an_unlock_against_a_renewal" {
        "guard.rs": "        let farewell = Farewell::new(begun, self.watch.close(), &self.limits, way);\n        self.worker.leave(begun.after(self.limits.undoing()));\n" =>
            "        self.worker.leave(begun.after(self.limits.undoing()));\n        let farewell = Farewell::new(begun, self.watch.close(), &self.limits, way);\n"
    }
    "an unlock does not wait for its observer"
        by "guard::tests::the_observer_has_heard_of_the_release_when_the_unlock_returns" {
        "guard.rs": "self.watch.flush_events(farewell.flush(clock::now()));" => ""
    }
    "a drop does not wait for its release" by "guard::tests::a_drop_has_released_the_lock_when_it_returns" {
        "guard.rs": "let _ = self.let_go(Way::Drop);" => ""
    }
    "a fork releases its parent's lock"
        by "guard::tests::in_a_process_that_was_forked_the_lock_is_not_held_and_nothing_is_sent" {
        "guard.rs": "        if !self.watch.is_own_process() {\n            // The lock's thread is" =>
            "        if !self.watch.is_own_process() && self.is_held() {\n            // The lock's thread is"
    }
    "a fork has its parent's lock"
        by "guard::tests::in_a_process_that_was_forked_the_lock_is_not_held_and_nothing_is_sent" {
        "watchdog.rs": "        if !self.is_own_process() {\n            // Asked before" =>
            "        if !self.is_own_process() && self.lock.is_empty() {\n            // Asked before"
    }
    "nobody listens for a cancel" by "locker::tests::a_cancel_ends_a_wait_though_a_request_hangs" {
        "locker.rs": "(Waiter::new(wait), cancelled.clone())" => "(Waiter::new(wait), never::<()>())"
    }
    "a wait lasts for as long as its request hangs"
        by "locker::tests::a_wait_ends_with_the_failure_that_stood_in_its_way_though_the_next_request_hangs" {
        "locker.rs": "if until == Moment::NEVER { never() }" => "if until > Moment::PAST { never() }"
    }
    "who gives up does not tell the lock's thread"
        by "locker::tests::who_gives_up_has_undone_what_it_began_when_it_returns" {
        "locker.rs": "                    worker.leave(clock::now().after(limits.undoing()));\n" => ""
    }
    "a lock is granted that nobody watches" by "testing::suspend::a_suspend_past_the_deadline_is_told_in_time_and_not_one_renewal_later" {
        "locker.rs": "        watchdog::watch(&watch)?;\n" => ""
    }
    "the clock is looked at twice a second"
        by "watchdog::tests::the_clock_is_looked_at_at_the_deadline_and_often_before" {
        "watchdog.rs": "next.left(now).min(LOOK_EVERY)" => "next.left(now).min(5 * LOOK_EVERY)"
    }
    "what is waited for for long is not watched when it is granted"
        by "watchdog::tests::what_was_waited_for_for_long_is_watched_when_it_is_granted" {
        "watchdog.rs": "                next = next.min(moment);\n                true" =>
            "                next = next.min(moment);\n                moment != Moment::NEVER"
    }
    "what dozes is not woken by a grant"
        by "watchdog::tests::what_was_waited_for_for_long_is_watched_when_it_is_granted" {
        "watchdog.rs": "        if mem::take(&mut watched.dozes) {" => "        if false {"
    }
    "a thread that lingers leaves what it was given"
        by "threads::tests::what_is_given_as_a_thread_goes_is_done" {
        "threads.rs": "given.recv().ok()" => "None"
    }
    "a thread that lingers works for any other that comes"
        by "threads::tests::a_thread_lingers_for_the_one_alone_that_started_it" {
        "threads.rs": "position(|idle| idle.starter == starter)" =>
            "position(|idle| idle.starter == starter || idle.thread == idle.thread)"
    }
    "a fork waits for its parent's threads" by "threads::tests::a_fork_has_none_of_them" {
        "threads.rs": "            && *of == process" => "            && (*of == process || *of != process)"
    }
    "who waits for the loss is not woken by it"
        by "watchdog::tests::who_waits_for_the_loss_is_told_when_another_thread_sees_it" {
        "watchdog.rs": "                self.told.notify_all();\n" => ""
    }
    "the observer is not told of the loss" by "watchdog::tests::the_observer_is_told_of_the_loss" {
        "watchdog.rs": "self.tell(Event::Lost { lock: self.lock.clone(), why: lost });" => ""
    }
    "the observer is told of a loss again for each who listens late"
        by "testing::interleavings::listening_against_a_loss" {
        "watchdog.rs": "if is_first {" => "if is_first || !self.lock.is_empty() {"
    }
    "the news of a loss reaches nobody who listens"
        by "testing::interleavings::letting_go_against_a_loss" {
        "watchdog.rs": "                let _ = listener.try_send(lost);\n" => "                drop(listener);\n"
    }
    "what came of a renewal is not kept"
        by "mutex::tests::a_call_about_a_lease_leaves_what_came_of_it_in_the_lease" {
        "mutex.rs": "        let renewed = self.carry_out(&mut call);\n        lease.kept = *call.kept();\n" =>
            "        let renewed = self.carry_out(&mut call);\n"
    }
    "what came of a release is not kept"
        by "mutex::tests::a_call_about_a_lease_leaves_what_came_of_it_in_the_lease" {
        "mutex.rs": "        let released = self.carry_out(&mut call);\n        lease.kept = *call.kept();\n" =>
            "        let released = self.carry_out(&mut call);\n"
    }
    "the lease of another lock is taken for this one's"
        by "mutex::tests::the_lease_of_another_lock_is_refused_before_anything_is_sent" {
        "mutex.rs": "if lease.url != self.place.url {" => "if lease.url != self.place.url && lease.lock == self.place.lock {"
    }
    "a receiver takes the end of its cancel for a cancel"
        by "cancel::tests::a_receiver_that_outlives_its_cancel_is_not_cancelled" {
        "cancel.rs": "        if self.outlived.load(Ordering::Relaxed) {" => "        if false {"
    }
    "a cancel wakes nobody" by "cancel::tests::a_cancel_wakes_who_waits_and_whoever_waits_after_it" {
        "cancel.rs": "drop(self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner).take());" =>
            "std::mem::forget(self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner).take());"
    }
}
