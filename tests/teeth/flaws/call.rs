//! In single calls about a lease, and in what is known of it between them.

flaws! {
    "a lease whose release failed is still held, says its owner" {
        "hold/call.rs": "        kept.let_go = true;\n" => ""
    }
    "the next release does not know that the last one may have worked" {
        "hold/call.rs": "self.kept.perhaps_released = self.carrier.hold().perhaps_released();" => ""
    }
    "a renewal without an answer does not move the lease's end"
        by "hold::tests::call::a_renewal_moves_the_deadline_or_says_why_not" {
        "hold/call.rs": "                self.kept.ends = self.carrier.hold().ends();\n" => ""
    }
    "a lease that was released is released again" {
        "hold/call.rs": "if kept.released {" => "if kept.released && kept.lost.is_some() {"
    }
    "a lock that somebody has is a failure" {
        "hold/call.rs": "Report::NotObtained { why: Why::Busy, .. } => self.verdict = Verdict::Busy," =>
            "Report::NotObtained { why: Why::Busy, .. } => self.verdict = Verdict::Failed(None),"
    }
    "a renewal that failed once has failed, though its second try worked" {
        "hold/call.rs": "                self.verdict = Verdict::Done;\n            }\n            Act::Lose" =>
            "                if matches!(self.verdict, Verdict::Failed(None)) {\n                    self.verdict = Verdict::Done;\n                }\n            }\n            Act::Lose"
    }
    "a lease without an end, or taken up again, is ours though its renewal failed" {
        "hold/call.rs": "=> self.verdict = Verdict::Failed(failure.clone()),\n            Act::Report" =>
            "=> {
                 let may_be_ours = self.kept.ends == Moment::NEVER;
                 self.verdict = if may_be_ours { Verdict::Done } else { Verdict::Failed(failure.clone()) };
             }
             Act::Report"
    }
    "a lease that is taken up again counts as one of 30 s" {
        "hold/call.rs": "Settings { term: Term::SHORTEST, ..settings }" => "Settings { term: Term::DEFAULT, ..settings }"
    }
    "a lease that is taken up again counts as endless" {
        "hold/call.rs": "if outcome != Outcome::Seen(LockState::LeasedForever) ||" =>
            "if outcome == Outcome::Seen(LockState::Available) ||"
    }
    "an endless lease is taken for ours when ours may be over"
        by "hold::tests::call::a_lease_of_another_process_has_no_end_if_that_is_seen_while_it_is_ours" {
        "hold/call.rs": " || self.kept.left(now).is_zero() {" => " && now > Moment::PAST {"
    }
}
