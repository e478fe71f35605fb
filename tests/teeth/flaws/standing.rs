//! In what the holder is told.

flaws! {
    "nobody is told of a loss that is seen by letting go" {
        "standing.rs": "        let standing = self.check(now);\n        self.closed = true;\n" =>
            "        self.closed = true;\n        let standing = self.check(now);\n"
    }
    "one of those who listen is forgotten" {
        "standing.rs": "listeners: mem::take(&mut self.listeners)" => "listeners: mem::take(&mut self.listeners).into_iter().skip(1).collect()"
    }
    "who listens after the loss is told nothing" {
        "standing.rs": "                news.listeners.push(listener);\n" => "                drop((news, listener));\n"
    }
    "a holder who has let go is told of what comes after" {
        "standing.rs": "        self.closed = true;\n" => ""
    }
    "who listens is let go only with the lock's thread" by "standing::tests::a_holder_who_let_go_is_told_nothing" {
        "standing.rs": "        self.listeners.clear();\n" => ""
    }
    "the lock is called ours until its lease ends" {
        "standing.rs": "let valid_until = self.tenure.map_or(Moment::NEVER, |tenure| tenure.valid_until);" =>
            "let valid_until = self.tenure.map_or(Moment::NEVER, |tenure| tenure.ends);"
    }
    "what was never granted is lost" by "standing::tests::nothing_is_lost_before_the_grant" {
        "standing.rs": "if self.tenure.is_some() {" => "if self.tenure.is_some() || self.lost.is_none() {"
    }
    "nobody looks at the clock for who only listens" {
        "standing.rs": "self.check(now).ok().filter(|_| !self.closed)" => "self.check(now).ok().filter(|_| self.listeners.is_empty())"
    }
    "a renewal moves the end of the lease, and not the deadline" {
        "standing.rs": "        self.tenure = Some(Tenure { valid_until, ends });\n        Ok(valid_until)" =>
            "        let before = self.tenure.map_or(valid_until, |tenure| tenure.valid_until);\n        self.tenure = Some(Tenure { valid_until: before, ends });\n        Ok(valid_until)"
    }
}
