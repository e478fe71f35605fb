//! In what is left in the metadata of the lock's blob: tokens above all.

flaws! {
    "a token is written whatever the blob is by then" {
        "rest/request.rs": "            headers.push((\"if-match\", write.only.to_string().into()));\n" => ""
    }
    "a token is written without the lease" {
        "rest/request.rs": "            headers.push((\"x-ms-lease-id\", write.lease.to_string().into()));\n" => ""
    }
    "the tokens begin anew where the last one is gone" {
        "fencing.rs": "Ok((FencingToken(of_time.max(after)), earliest - version.date.0))" =>
            "Ok((FencingToken(if last.is_none() { 1 } else { of_time.max(after) }), earliest - version.date.0))"
    }
    "a write without an answer is taken for one that was carried out" {
        "hold/write.rs": "            Outcome::Failed { retry_after, applied: Applied::No | Applied::Perhaps } => {" =>
            "            Outcome::Failed { applied: Applied::Perhaps, .. } if self.plan.is_some() => self.done(blob),
             Outcome::Failed { retry_after, applied: Applied::No | Applied::Perhaps } => {"
    }
    "the old token is written to the new version"
        by "hold::tests::write::a_token_is_computed_anew_from_each_version" {
        "hold/write.rs": "            // It was not carried out, and never will be: the blob is of another version now.
            _ => Progress::Onwards," =>
            "            Some(plan) => {
                 let only = blob.map_or(plan.write.only, |blob| blob.version.etag);
                 self.plan = Some(Plan { write: Write { only, ..plan.write }, is_doubted: false, ..plan });
                 Progress::Onwards
             }
             None => Progress::Onwards,"
    }
    "a token is of this machine's time" {
        "hold/write.rs": "fencing::next(content.token, version)" =>
            "fencing::next(content.token, &fencing::Version { date: Second(1_800_000_000 + now.nanos() / 1_000_000_000), ..*version })"
    }
    "an old look is trusted, and nothing is asked for by the write" {
        "hold.rs": "self.blob.filter(|known| blob.is_some_and(|blob| blob.version.etag == known.version.etag))" =>
            "self.blob.filter(|known| blob.is_some_and(|blob| blob.version.etag == known.version.etag || known.content.is_some()))"
        "rest/request.rs": "            headers.push((\"if-match\", write.only.to_string().into()));\n" => ""
    }
    "the second of the last change is taken again" by "fencing::tests::a_token_is_the_services_time_or_the_last_one_and_one" {
        "fencing.rs": "version.date.0.max(version.modified.0.saturating_add(1))" => "version.date.0.max(version.modified.0)"
    }
    "a token is given out before its second has come" {
        "hold/write.rs": "        if now < plan.not_before {" => "        if now < plan.not_before && self.plans > 1_000 {"
    }
    "a token from before the last change is trusted"
        by "fencing::tests::a_token_is_the_services_time_or_the_last_one_and_one" {
        "fencing.rs": "last.is_some_and(|token| token.second() >= version.modified)" => "last.is_some()"
    }
    "the lock is held without the token that was asked for" {
        "hold.rs": "            Purpose::Grant { wait } if self.settings.leaves.token => {\n                self.writing = None;\n                // Released" =>
            "            Purpose::Grant { wait } if self.settings.leaves.token && self.leaving => {\n                self.writing = None;\n                // Released"
    }
    "a lock whose token cannot be taken is kept" {
        "hold.rs": "                self.state = State::Releasing(self.release(self.ends, self.settings.policy.retries, ending));" =>
            "                let _ = ending;\n                self.state = State::Over;"
    }
    "a write hides that the lease is gone"
        by "hold::tests::write::a_lease_that_is_lost_before_the_token_is_written_is_sought_again" {
        "hold.rs": "            Progress::Unwritten(Unwritten::Lost(lost)) => self.lose(lost, now, jitter),\n" => ""
    }
    "a caller who waits for its token waits for longer than it wanted" {
        "hold.rs": "            return self.undo(Why::TimedOut);" => "            return Step::Sleep { until: tenure.renew_at };"
    }
    "all writes under a lease have one id" by "hold::tests::write::no_write_is_taken_for_another_one" {
        "hold/write.rs": "            id: write_id(self.seed, self.plans)," => "            id: write_id(self.lease, 1),"
    }
    "whoever wrote, the write is done" by "hold::tests::write::no_write_is_taken_for_another_one" {
        "hold/write.rs": "content.written_by == Some(write.id) && version.etag != write.only && has_token" =>
            "content.written_by == Some(write.id) || version.etag == write.only || !has_token"
    }
    "a token of the second before the last change is trusted"
        by "fencing::tests::a_token_is_the_services_time_or_the_last_one_and_one" {
        "fencing.rs": "token.second() >= version.modified)" => "token.second().0 + 1 >= version.modified.0)"
    }
    "what is known forgets the token that was written" by "hold::tests::write::the_lock_is_granted_when_its_token_is_written" {
        "hold/write.rs": "let token = write.token.map_or(content.token, Stored::Token);" => "let token = content.token;"
    }
    "a conditional break has no condition" by "rest::request::tests::what_is_conditional_says_on_what" {
        "rest/request.rs": "                headers.push((\"if-match\", etag.to_string().into()));" => "                let _ = etag;"
    }
    "a refused card keeps its holder from the lock" {
        "hold.rs": "                self.writing = Some(Writing { is_over: true, ..writing });" => "                self.writing = Some(writing);"
    }
}
