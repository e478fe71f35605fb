//! In what the lock's thread does and tells, and in which order.

flaws! {
    "a grant is reported before the lock is held" {
        "hold/carry.rs": "self.due.push_back(Act::Grant { valid_until, ends });" =>
            "self.due.push_back(Act::Report(Report::Granted(holder)));"
        "hold/carry.rs": "                self.due.push_back(Act::Report(Report::Granted(holder)));" =>
            "                self.due.push_back(Act::Grant { valid_until, ends });"
    }
    "a caller hears of its release before the observer" {
        "hold/carry.rs": "self.due.push_back(Act::Notify(Notice::Released));" =>
            "self.due.push_back(Act::Report(Report::Released(Ok(()))));"
        "hold/carry.rs": "                self.due.push_back(Act::Report(Report::Released(Ok(()))));" =>
            "                self.due.push_back(Act::Notify(Notice::Released));"
    }
    "a caller hears of a release that failed, and its observer does not" {
        "hold/carry.rs": "        self.due.push_back(Act::Notify(Notice::ReleaseFailed(why.clone())));\n" => ""
    }
    "nobody is told that a failure is over" by "locker::tests::a_wait_does_not_end_with_a_failure_that_is_over" {
        "hold/carry.rs": "self.due.push_back(Act::Report(Report::Recovered));" => ""
    }
    "a failure is remembered when it is over" {
        "hold/carry.rs": "self.failing.take().is_some()" => "self.failing.is_some()"
    }
    "what the end of a wait cut off takes the place of what tells more" {
        "hold/carry.rs": "if !self.cut_off || self.failing.is_none() && !self.heard {" =>
            "if !self.cut_off || self.error.is_some() {"
    }
    "a wait that is refused ends with an older failure" {
        "hold/carry.rs": "Why::Failed => self.error.clone()," => "Why::Failed => self.failing.take().flatten(),"
    }
    "the failure of a renewal is kept from the observer" {
        "hold/carry.rs": "                let failure = self.error.clone();\n                self.due.push_back(Act::Notify(Notice::RenewalFailed" =>
            "                let failure = self.error.clone().filter(|_| false);\n                self.due.push_back(Act::Notify(Notice::RenewalFailed"
    }
    "the lock's thread goes on as if a renewal had come in time that had not" {
        "hold/carry.rs": "Err(lost) => self.input = Input::Lapsed(lost)," => "Err(_) => {}"
    }
    "the observer is told when the lease ends, not until when the lock is ours" {
        "hold/carry.rs": "                let left = valid_until.left(now);\n                self.due.push_back(Act::Notify(Notice::Acquired" =>
            "                let left = ends.left(now);\n                self.due.push_back(Act::Notify(Notice::Acquired"
    }
    "who leaves wakes nobody" by "renewal::tests::a_caller_who_leaves_as_the_thread_goes_to_sleep_is_noticed_at_once" {
        "hold/carry.rs": "for_leave: !self.left" => "for_leave: false"
    }
    "the lock's thread waits for a caller who has left" {
        "hold/carry.rs": "for_leave: !self.left" => "for_leave: true"
    }
    "the lock's thread sleeps through a suspend" {
        "hold/carry.rs": "until.min(now.after(LONGEST_SLEEP))" => "until"
    }
    "nobody tells the hold that its caller has left" {
        "hold/carry.rs": "            self.hold.leave();\n" => ""
    }
    "a loss is kept from the holder" {
        "hold/carry.rs": "Told::Lost(lost) => self.due.push_back(Act::Lose(lost))," => "Told::Lost(_) => {}"
    }
}
