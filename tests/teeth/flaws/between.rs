//! In what is believed of answers, names and connections, and so of everything in between.

flaws! {
    "an answer to another request counts" {
        "rest/answer.rs": "    id.is_none_or(|RequestId(id)| reply.has_no_other(REQUEST_ID, id))" =>
            "    id.is_none_or(|RequestId(id)| reply.has_no_other(REQUEST_ID, id) || !id.is_empty())"
    }
    "a connection that is one answer behind is used again" {
        "rest/answer.rs": "is_service(reply) && belongs(id, reply)" => "is_service(reply) && (belongs(id, reply) || id.is_some())"
    }
    "a connection on which somebody else has answered is used again" {
        "rest/answer.rs": "is_service(reply) && belongs(id, reply)" => "(is_service(reply) || id.is_some()) && belongs(id, reply)"
    }
    "a waiter trusts a read for ever" {
        "hold.rs": "now >= self.settings.term.ends(seek.tried) || now >= last_try && seek.tried < last_try" =>
            "now >= last_try && seek.tried < last_try"
    }
    "the last try of a wait is a read" {
        "hold.rs": "now >= self.settings.term.ends(seek.tried) || now >= last_try && seek.tried < last_try" =>
            "now >= self.settings.term.ends(seek.tried) || now == last_try && seek.tried > last_try"
    }
    "a look that something in between answers is repeated for ever" {
        "hold.rs": "if seek.filtered < FILTERED {" => "if seek.filtered > 0 {"
    }
    "a connection outlives its address" {
        "transport/name.rs": "*missing == address && now.since(*since) >= GONE)" =>
            "*missing == address && now.since(*since) >= GONE * 10)"
    }
    "a connection to a proxy is used for ever" {
        "transport/name.rs": "let is_young = now.since(since) < OLDEST;" => "let is_young = now.since(since) < OLDEST * 100;"
    }
    "a connection is used again on which a copy of an answer has come" {
        "transport/name.rs": "        is_quiet\n            && is_young" => "        (is_quiet || is_young)\n            && is_young"
    }
    "a name is looked up once" {
        "transport/name.rs": "now < self.fresh_until" => "now < self.fresh_until || !self.addresses.is_empty()"
    }
}
