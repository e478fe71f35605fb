//! In what an answer means, and what is asked of an older service.

flaws! {
    "two different lease ids are an answer" by "rest::answer::tests::two_different_lease_ids_are_no_answer" {
        "rest/answer.rs": "reply.header(\"x-ms-lease-id\").filter(|id| reply.has_no_other(\"x-ms-lease-id\", id))?;" =>
            "reply.header(\"x-ms-lease-id\")?;"
    }
    "an error's code is read from its header alone" by "rest::answer::tests::a_code_may_stand_in_the_body" {
        "rest/answer.rs": "None => in_body(&reply.body(), \"Code\").map(Cow::Owned)," => "None => None,"
    }
    "an error's code is read from no JSON" by "rest::answer::tests::a_code_may_stand_in_the_body" {
        "rest/answer.rs": "between(value, \"\\\"\", \"\\\"\").filter(|_| value.starts_with('\"'))" =>
            "between(value, \"\\\"\", \"\\\"\").filter(|_| value.is_empty())"
    }
    "a look that finds nothing, and has no code, is repeated"
        by "rest::answer::tests::what_no_code_explains_is_told_by_its_status" {
        "rest/answer.rs": "reply.status == 404 && code.is_none()" => "reply.status == 0 && code.is_none()"
    }
    "a look that is refused without a code is repeated"
        by "rest::answer::tests::what_no_code_explains_is_told_by_its_status" {
        "rest/answer.rs": "unexplained && matches!(status, 400..=499)" => "unexplained && status == 0"
    }
    "what is not supported is tried again" by "rest::answer::tests::what_no_code_explains_is_told_by_its_status" {
        "rest/answer.rs": "matches!(status, 405 | 501)" => "status == 0"
    }
    "an older service is asked in the usual version"
        by "rest::request::tests::every_request_is_in_the_version_that_is_set" {
        "rest/request.rs": "(\"x-ms-version\", address.version.to_owned().into())]" =>
            "(\"x-ms-version\", VERSION.into())]"
    }
}
