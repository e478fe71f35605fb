//! In the order of a process's threads, and in what leaves others their chance.

flaws! {
    "the queue: whoever is next is not woken" by "testing::sim::turns::everybody_has_its_turn_in_order_or_is_told_why_not" {
        "queue/line.rs": "self.wakes.extend(first.filter(|_| is_waiting && first != before.first));" => "let _ = is_waiting;"
    }
    "the queue: nobody watches a lease that ends" by "testing::sim::turns::everybody_has_its_turn_in_order_or_is_told_why_not" {
        "queue/line.rs": "self.wakes.extend(Some(ticket).filter(|_| over_by < known));" => "let _ = (ticket, over_by < known);"
    }
    "the queue: a turn goes on after its lease" by "queue::line::tests::a_turn_is_over_at_the_end_of_its_lease_or_of_what_it_undoes" {
        "queue/line.rs": "        let over_by = first.map_or(Moment::NEVER, Place::over_by);" =>
            "        let over_by = first.map_or(Moment::NEVER, |first| first.gone_by);"
    }
    "the queue: a turn goes on though all that it began must be undone" by "testing::sim::turns::everybody_has_its_turn_in_order_or_is_told_why_not" {
        "queue/line.rs": "            place.gone_by = gone_by;" => "            let _ = (place, gone_by);"
    }
    "the queue: the last comes first" by "testing::sim::turns::everybody_has_its_turn_in_order_or_is_told_why_not" {
        "queue/line.rs": "self.places.push_back(Place {" => "self.places.insert(1.min(self.places.len()), Place {"
    }
    "the queue: a try barges in" by "queue::line::tests::a_try_does_not_wait_behind_anybody" {
        "queue/line.rs": "!self.places.iter().all(Place::has_let_go) {" => "self.places.len() > 1 {"
    }
    "the queue: a try is refused for what is only undone" by "queue::line::tests::a_try_waits_for_those_that_have_only_to_undo_what_they_began" {
        "queue/line.rs": "!self.places.iter().all(Place::has_let_go) {" => "!self.places.is_empty() {"
    }
    "the queue: a time limit counts from the turn on" by "queue::line::tests::a_wait_ends_in_the_queue_when_its_time_is_up" {
        "queue/line.rs": "if ahead > 0 && now >= deadline {" => "if ahead > 99 && now >= deadline {"
    }
    "the queue: each has its own patience"
        by "queue::line::tests::a_failure_ends_the_waits_behind_it_that_have_no_end_of_their_own" {
        "queue/line.rs": "self.fail(ticket, failure.as_ref(), |_| true);" => "drop(failure.as_ref());"
    }
    "the queue: whoever waits behind a limit bears everything" by "queue::line::tests::who_waits_behind_one_with_a_limit_loses_its_patience_all_the_same" {
        "queue/line.rs": "if now >= patience_ends {" => "if now == Moment::NEVER {"
    }
    "the queue: each has new patience when its turn comes" by "queue::line::tests::patience_is_handed_on_and_not_new_with_each_who_comes_first" {
        "queue/line.rs": "let failing_since = failing.map(|(since, _)| *since);" => "let failing_since = failing.map(|_| now);"
    }
    "the queue: each waits for a token that fails" by "queue::line::tests::a_token_that_fails_ends_the_waits_behind_it_that_want_one" {
        "queue/line.rs": "self.fail(ticket, failure.as_ref(), |want| want.token);" => "let _ = (failure, |want: &Want| want.token);"
    }
    "the queue: a failure ends waits that have time" by "queue::line::tests::a_failure_ends_the_waits_behind_it_that_have_no_end_of_their_own" {
        "queue/line.rs": "partition(|place| place.ticket == ticket || stays(place))" =>
            "partition(|place| place.ticket == ticket)"
    }
    "the queue: the failure of a try ends the waits behind it" by "queue::line::tests::the_failure_of_one_who_does_not_wait_is_its_own" {
        "queue/line.rs": "first.ticket == ticket && first.want.wait != Wait::Never" => "first.ticket == ticket"
    }
    "the queue: a lost lock is waited for until its guard is gone" by "queue::line::tests::whoever_leaves_the_queue_leaves_nobody_behind" {
        "queue/line.rs": "Act::Lose(_) | Act::Report(Report::Released(_)) => self.end(now, ticket)," =>
            "Act::Report(Report::Released(_)) => self.end(now, ticket),"
    }
    "the queue: nobody stands back" by "testing::sim::turns::another_process_gets_in_between_two_rows" {
        "queue/line.rs": "LEAST_LEFT).then_some(until)" => "LEAST_LEFT).then_some(until).filter(|_| false)"
    }
    "the queue: whoever stands back leaves too little time" by "testing::sim::turns::another_process_gets_in_between_two_rows" {
        "queue/line.rs": "let until = row.last.after(PAUSE).min(" =>
            "let until = row.last.after(PAUSE / 4).min("
    }
    "the queue: each turn begins another row" by "testing::sim::turns::another_process_gets_in_between_two_rows" {
        "queue/line.rs": "begun >= row.last.after(PAUSE)" => "begun >= row.last"
    }
    "the queue: rows are short though nobody is there" by "testing::sim::turns::a_loop_that_nobody_disturbs_loses_no_more_than_a_tenth" {
        "queue/line.rs": "if self.is_contended { CONTENDED_ROW } else { ROW }" => "if self.is_contended { ROW } else { CONTENDED_ROW }"
    }
    "the queue: a try stands back" by "testing::sim::turns::a_try_that_nobody_disturbs_is_never_refused" {
        "queue/line.rs": "if first.want.wait == Wait::Never { Duration::ZERO }" => "if first.want.wait == Wait::Never { Duration::MAX }"
    }
    "the queue: a wait that is too short stands back" by "queue::line::tests::no_try_stands_back_nor_a_wait_that_is_given_no_more_than_the_pause" {
        "queue/line.rs": "given > PAUSE + LEAST_LEFT" => "given > LEAST_LEFT"
    }
    "the queue: who has waited for long does not stand back" by "testing::sim::turns::another_process_gets_in_between_two_rows" {
        "queue/line.rs": "first.deadline().since(first.joined) }" => "first.deadline().since(now) }"
    }
    "the queue: a row lasts until the end of its last turn" by "queue::line::tests::after_a_long_row_all_stand_back" {
        "queue/line.rs": "now.since(row.since) >= longest" => "row.last.since(row.since) >= longest"
    }
    "the queue: another process does not end a row" by "queue::line::tests::a_pause_ends_the_row_and_so_does_another_process" {
        "queue/line.rs": "(self.row, self.is_contended) = (None, true);" => "self.is_contended = true;"
    }
    "the queue: whoever stands back asks at once" by "hold::tests::waiting::one_who_stands_back_asks_for_nothing_until_then" {
        "hold.rs": "(seek.stage, seek.defers) = (Stage::Resting { until, then: Ask::Acquire }, true);" =>
            "let _ = until;\n            seek.defers = true;"
    }
    "the queue: whoever stood back takes the lock from those who wait" by "testing::sim::turns::a_third_process_gets_in_after_the_second" {
        "hold.rs": "if seek.defers && !mem::replace(&mut seek.has_deferred, true) {" => "if seek.defers && seek.creations > 99 {"
    }
    "the queue: whoever goes away keeps its place" by "queue::tests::a_place_that_is_dropped_wakes_the_next" {
        "queue.rs": "        self.end();\n        if self.queue" => "        if self.queue"
    }
    "the queue: whoever stood back lets others go first but once" {
        "hold.rs": "        seek.has_deferred = false;" => "        let _ = seek.has_deferred;"
    }
    "the queue: a fork is in its parent's" by "locker::tests::a_fork_does_not_wait_behind_its_parents_threads" {
        "locker.rs": "        self.queue.get_or_init(queue).current()" => "        self.queue.get_or_init(queue).clone()"
    }
    "the queue: a thread that dies keeps its turn" by "renewal::tests::a_thread_that_dies_leaves_its_turn_to_the_next" {
        "queue.rs": "        self.pass();" => "        let _ = &self.0;"
    }
    "the queue: a turn begins before the one before it has ended" by "testing::interleavings::the_turns_of_those_who_wait" {
        "renewal.rs": "Ok(Order::Leave) => self.carrier.leave()," =>
            "Ok(Order::Leave) => {
                 self.turn.pass();
                 self.carrier.leave();
             }"
    }
    "the queue: a bell rings before there is one" by "testing::interleavings::the_turns_of_those_who_wait" {
        "queue.rs": "                let _ = bell.try_send(());" => "                drop(bell.clone());"
    }
    "the queue: nobody hears a cancel there" by "locker::tests::a_wait_in_the_queue_ends_when_its_time_is_up_or_it_is_cancelled" {
        "locker.rs": "let is_cancelled = cancelled.try_recv() != Err(TryRecvError::Empty);" => "let is_cancelled = false;"
    }
    "the queue: a fork waits for its parent's threads" by "queue::tests::a_fork_has_a_queue_of_its_own_though_its_parents_is_locked" {
        "queue.rs": "        if self.process.is_current() {\n            return self.clone();" => "        if self.heir.get().is_none() {\n            return self.clone();"
    }
}
