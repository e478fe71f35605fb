//! In what decides about a lock: its deadline, its requests, its loss, its release.

flaws! {
    "the deadline counts from the answer" {
        "hold.rs": "self.granted(seek, now, sent, blob, jitter)" => "self.granted(seek, now, now, blob, jitter)"
        "hold.rs": "let tenure = self.tenure(sent, EARLY, jitter);\n                    self.state" =>
            "let tenure = self.tenure(now, EARLY, jitter);\n                    self.state"
    }
    "the deadline counts with the configured duration, not the granted one" {
        "hold.rs": "let tenure = Tenure { valid_until, renew_at: Moment::PAST, failures: 0 };" =>
            "let tenure = Tenure { valid_until, renew_at: Moment::PAST, failures: 0 };
             let settings = Settings { term: Term::DEFAULT, ..settings };"
    }
    "no margin" {
        "lease.rs": "self.ends(sent).before(margin.unwrap_or_default())" =>
            "self.ends(sent).before(margin.filter(|_| false).unwrap_or_default())"
    }
    "a margin of two seconds, and none for drift" {
        "lease.rs": "INEXACT + duration / DRIFT" =>
            "INEXACT.max(duration / 1_000)"
    }
    "a clock that stops in suspend" {
        "testing/sim/world.rs": "self.stand_still(who, pause, how);" =>
            "if trouble == Trouble::Suspend {
                 self.freeze(who, pause);
             } else {
                 self.stand_still(who, pause, how);
             }"
    }
    "a renewal's failure is taken for success" {
        "hold.rs": "Outcome::Broken => return self.lose(Lost::Broken, now, jitter)," =>
            "Outcome::Broken => return self.lose(Lost::Broken, now, jitter),
             Outcome::Failed { .. } => {
                 let tenure = self.tenure(sent, EARLY, jitter);
                 self.state = if self.once { State::Over } else { State::Held(tenure) };
                 return Step::Tell(Told::Renewed { valid_until: tenure.valid_until, ends: self.ends });
             }"
    }
    "a renewal's failure is taken for a loss" {
        "hold.rs": "Outcome::Broken => return self.lose(Lost::Broken, now, jitter)," =>
            "Outcome::Broken => return self.lose(Lost::Broken, now, jitter),
             Outcome::Failed { .. } => return self.lose(Lost::Taken, now, jitter),"
    }
    "a refusal of the credential is taken for a loss" {
        "hold.rs": "Outcome::Broken => return self.lose(Lost::Broken, now, jitter)," =>
            "Outcome::Broken => return self.lose(Lost::Broken, now, jitter),
             Outcome::Denied => return self.lose(Lost::Taken, now, jitter),"
    }
    "a renewal under a foreign id is accepted" {
        "hold.rs": "Outcome::Leased(id) if id == self.id => {" => "Outcome::Leased(_) => {"
    }
    "an acquire under a foreign id is accepted" {
        "hold.rs": "(Ask::Acquire, Outcome::Leased(id)) if id == self.id =>" =>
            "(Ask::Acquire, Outcome::Leased(_)) =>"
    }
    "a renewal that comes after the loss undoes it" {
        "hold.rs": "if now >= tenure.valid_until {" =>
            "if now >= tenure.valid_until
                 && !matches!(input, Input::Answer { outcome: Outcome::Leased(_), .. })
             {"
        "standing.rs": "        self.check(now)?;\n" =>
            "        self.lost = None;\n        let _ = now;\n"
    }
    "a renewal that the guard hears of too late undoes the loss" {
        "standing.rs": "        self.check(now)?;\n" =>
            "        self.lost = None;\n        let _ = now;\n"
    }
    "a new id for each try" {
        "hold.rs": "seek.stage = Stage::Asked(ask);" =>
            "seek.stage = Stage::Asked(ask);
             if ask == Ask::Acquire {
                 let bits = self.id.seed();
                 let next = format!(\"{:08x}-0000-4000-8000-{:012x}\", bits >> 32, bits & 0xffff_ffff);
                 self.id = LeaseId::parse(&next).unwrap();
             }"
    }
    "a mere look after an acquire without an answer" {
        "hold.rs": "if patient { self.rest(seek, ask, pause, now) }" =>
            "if patient {
                 let ask = if ask == Ask::Acquire { Ask::Look } else { ask };
                 self.rest(seek, ask, pause, now)
             }"
    }
    "what was begun is not undone" {
        "hold.rs": "if seek.unsure { undoing }" => "if seek.unsure && self.once { undoing }"
    }
    "a lock granted to a caller who has left is kept" {
        "hold.rs": "self.state = State::Releasing(self.release(self.ends, self.settings.policy.retries, Ending::Silent));" =>
            "self.state = State::Over;"
    }
    "a lock that was lost is left to itself" {
        "hold.rs": "        if self.once { Step::End } else {" => "        if self.once || self.leaving { Step::End } else {"
        "hold.rs": "        if self.leaving {\n            // One release, so that" =>
            "        if self.leaving && self.once {\n            // One release, so that"
    }
    "a repeated release that finds the lease gone is an error" {
        "hold.rs": "(_, Some(_)) if self.perhaps_released =>" => "(_, Some(_)) if self.perhaps_released && self.ends == Moment::NEVER =>"
    }
    "the release of a lease that ran out is Ok" {
        "hold.rs": "if now >= tenure.valid_until {" => "if now >= tenure.valid_until && !self.leaving {"
    }
    "a repeated release forgets that the lease was lost" {
        "hold/call.rs": "Hold::release_again(settings, id, kept.ends, kept.lost, kept.perhaps_released)" =>
            "Hold::release_again(settings, id, kept.ends, None, kept.perhaps_released)"
    }
    "a lease that is being broken counts as free" {
        "lease.rs": "matches!(self, LockState::Leased | LockState::LeasedForever | LockState::Breaking)" =>
            "matches!(self, LockState::Leased | LockState::LeasedForever)"
    }
    "a bare 404 counts as the service's" {
        "rest/answer.rs": "    let code = code.as_deref();\n    let definite" =>
            "    let code = code.as_deref();
             if reply.status == 404 && code.is_none() {
                 return Outcome::NoBlob;
             }
             let definite"
    }
    "the release at a loss does not wait for the guard" {
        "hold.rs": "        if self.leaving {\n            // One release, so that" =>
            "        if now > Moment::PAST {\n            // One release, so that"
    }
    "Retry-After is honoured beyond the deadline" {
        "hold.rs": "tenure.renew_at = now.after(pause.min(left / 2));" =>
            "tenure.renew_at = now.after(pause);"
    }
    "a release without an answer is forgotten" {
        "hold.rs": "self.perhaps_released |= applied == Applied::Perhaps;" =>
            "let _ = applied;"
    }
    "a renewal that hangs takes all of the time that is left" {
        "hold.rs": "attempt_limit.min(tenure.valid_until.left(now) / 2).min(" =>
            "attempt_limit.min(tenure.valid_until.left(now)).min("
    }
    "the lock is renewed at the last moment" {
        "hold.rs": "            renew_at: sent.after(retry::shortened(self.settings.renew_every, part, jitter))," =>
            "            renew_at: self.settings.term.valid_until(sent).before(Duration::from_millis((jitter >> 22).into())),"
    }
    "a holder is not told at once that its lease was broken" {
        "hold.rs": "                Outcome::Broken => return self.lose(Lost::Broken, now, jitter),\n" => ""
    }
    "a lease that was lost is still held, says its owner" {
        "hold/call.rs": "        self.kept.lost = Some(lost);\n" => ""
    }
    "a lease is renewed after its loss" {
        "hold/call.rs": "match kept.gone() {\n            Some(lost) => Err(lost),\n            None => Ok(Call::new(Hold::of_lease(" =>
            "match kept.let_go.then_some(Lost::Released) {\n            Some(lost) => Err(lost),\n            None => Ok(Call::new(Hold::of_lease("
    }
    "the release of what somebody else took is Ok" {
        "hold.rs": "(_, Some(_)) if self.perhaps_released =>" => "(_, Some(_)) if self.perhaps_released || gone == Some(Lost::Taken) =>"
    }
    "unlocking waits for the next renewal" {
        "hold.rs": "        if self.leaving {\n            if self.is_untold() {" =>
            "        if self.leaving && now >= tenure.renew_at {\n            if self.is_untold() {"
    }
    "a wait reaches past its end" {
        "hold.rs": "    let until = now.after(pause);\n    match wait {" =>
            "    let until = now.after(pause);\n    match Some(wait).filter(|_| until < now).unwrap_or(Wait::Forever) {"
    }
    "the pauses of a wait grow without a bound" {
        "hold.rs": "retry::doubled(self.settings.first_pause, self.settings.longest_pause, seek.busy)" =>
            "retry::doubled(self.settings.first_pause, Duration::MAX, seek.busy)"
    }
    "who waits knocks instead of looking" {
        "hold.rs": "if now < seek.blind_until { Ask::Acquire } else { Ask::Look }" => "Ask::Acquire"
    }
    "who may not look gives up" {
        "hold.rs": "                seek.blind_until = Moment::NEVER;\n" => "                return self.give_up(seek, Why::Failed);\n"
    }
    "a wait bears no failure" {
        "hold.rs": "Wait::Forever => (now.since(since) < policy.patience, pause" => "Wait::Forever => (now < since, pause"
    }
    "who does not want to wait tries without end" {
        "hold.rs": "(seek.failures <= policy.retries && pause <= policy.longest_pause, pause)" =>
            "(pause <= policy.longest_pause, pause)"
    }
    "Retry-After is ignored" {
        "retry.rs": "own.max(retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER))" =>
            "own.max(retry_after.unwrap_or_default().min(Duration::ZERO.min(LONGEST_RETRY_AFTER)))"
    }
    "the last reason of a loss is told, not the first" {
        "standing.rs": "*self.lost.get_or_insert(lost)" => "*self.lost.insert(lost)"
    }
    "a short wait ends without a second try"
        by "hold::tests::deadline::a_wait_too_short_for_that_makes_a_last_try_as_well" {
        "hold.rs": "seek.tried < last_try || has_just_begun" => "seek.tried < last_try"
    }
}
