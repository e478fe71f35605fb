//! In how long a caller waits, and what its wait, unlock or drop comes to.

flaws! {
    "a wait ends before the word of its thread"
        by "hold::tests::caller::the_lock_threads_word_on_the_deadline_comes_first" {
        "hold/caller.rs": "deadline.after(GRACE)" => "deadline"
    }
    "who gives up does not wait for what is undone"
        by "hold::tests::caller::who_is_not_to_have_it_waits_for_what_is_undone" {
        "hold/caller.rs": "until: ended.after(PARTING)" => "until: ended"
    }
    "who gives up waits until all is undone" {
        "hold/caller.rs": "(_, missed) if now >= parting.until =>" => "(_, missed) if now == Moment::NEVER =>"
    }
    "a grant is taken that is over" {
        "hold/caller.rs": "match check() {" => "match check().or(Ok::<_, Lost>(now)) {"
    }
    "a wait ends whenever nothing was heard" {
        "hold/caller.rs": "Heard::Silence if now < self.until() => Turn::Listen," => ""
    }
    "a cancel is not heard" {
        "hold/caller.rs": "Heard::Cancel => self.give_up(now, Why::GivenUp)," => "Heard::Cancel => Turn::Listen,"
    }
    "who cancels is told that time is up" {
        "hold/caller.rs": "Heard::Cancel => self.give_up(now, Why::GivenUp)," =>
            "Heard::Cancel => self.give_up(now, Why::TimedOut),"
    }
    "the cause of an end is taken for another end"
        by "hold::tests::caller::whichever_comes_first_of_time_and_cancel_ends_the_wait" {
        "hold/caller.rs": ") if later == *why => {" => ") if later != Why::Busy || later == *why => {"
    }
    "an unlock waits beyond the lease's end" {
        "hold/caller.rs": "Ok(ends) => now.after(limit).min(ends)," => "Ok(_) => now.after(limit),"
    }
    "a drop takes as long as an unlock" {
        "hold/caller.rs": "Way::Drop => self.drop," => "Way::Drop => self.drop.max(self.unlock),"
    }
    "an unlock takes no longer than its release" {
        "hold/caller.rs": "attempt * 3 + SLACK" => "attempt * 2"
    }
    "what is lost is waited for as long as what is not" {
        "hold/caller.rs": "Err(_) => now.after(limit.min(limits.drop))," => "Err(_) => now.after(limit),"
    }
    "the unlock of what was lost is Ok"
        by "hold::tests::caller::a_lock_that_was_lost_is_lost_whatever_comes_of_its_release" {
        "hold/caller.rs": "            Err(lost) => Err(Unreleased::Lost(lost)),\n        })" =>
            "            Err(lost) => result.map_err(|_| Unreleased::Lost(lost)),\n        })"
    }
    "the death of the lock's thread is taken for a release"
        by "testing::interleavings::an_unlock_against_the_death_of_the_thread" {
        "hold/caller.rs": "Heard::End => Err(Unreleased::Lost(Lost::RenewalStopped))," => "Heard::End => Ok(()),"
    }
    "a drop waits for its observer beyond its time"
        by "hold::tests::caller::the_observer_gets_a_moment_of_what_is_left" {
        "hold/caller.rs": "FLUSH.min(self.over.left(now))" => "FLUSH.max(self.over.left(now))"
    }
    "an unlock forgets the renewal that was under way"
        by "hold::tests::caller::a_renewal_that_nobody_heard_of_may_have_made_the_lease_last_anew" {
        "hold/caller.rs": "ends.max(self.ends).left(now)" => "ends.left(now)"
    }
}
