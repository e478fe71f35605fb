//! Credentials and rights.

use super::*;

#[test]
fn a_credential_that_is_not_accepted_is_told_with_the_service_s_own_words_and_not_tried_again() {
    let detail = "Issuer validation failed. Issuer did not match.";
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>X</Code><Message>Server failed to authenticate the \
         request.\nRequestId:1\nTime:2</Message><AuthenticationErrorDetail>{detail}</AuthenticationErrorDetail></Error>"
    );
    let marked = format!("\u{feff}{body}");
    let challenge =
        ("www-authenticate", "Bearer authorization_uri=https://login.microsoftonline.com/t/oauth2/authorize");
    let cases = [
        (refusal(401, "InvalidAuthenticationInfo", &[challenge], &body), detail),
        (refusal(400, "InvalidAuthenticationInfo", &[], &body), detail),
        (refusal(403, "AuthenticationFailed", &[], &body), detail),
        (refusal(403, "AuthenticationFailed", &[], &marked), detail),
        (refusal(403, "AuthenticationFailed", &[], ""), "key"),
    ];
    for (reply, text) in cases {
        let peer = always(Operation::Acquire, reply);
        let error = Locker::new(mutex(&peer)).lock().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Credential, "{error:?}");
        assert!(error.to_string().contains(text), "{error:?}");
        assert_eq!(operations(&peer), [Operation::Acquire], "{error:?}");
    }
}

#[test]
fn a_refused_sort_of_key_and_a_refused_network_are_matters_of_permission() {
    for (code, text) in [
        ("KeyBasedAuthenticationNotPermitted", "key"),
        ("AuthorizationFailure", "firewall"),
        ("AuthorizationSourceIPMismatch", "address"),
        ("AccountIsDisabled", "disabled"),
        ("SomethingNewIn2030", "allow"),
    ] {
        let peer = always(Operation::Acquire, service_error(403, code));
        let error = Locker::new(mutex(&peer)).lock().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
        assert_eq!(error.service_code(), Some(code));
        assert!(error.to_string().contains(text), "{error:?}");
        assert_eq!(operations(&peer), [Operation::Acquire], "{error:?}");
    }
}

#[test]
fn the_missing_right_is_named_for_each_operation() {
    let rights =
        ["write (`w`)", "create (`c`)", "create containers", "write (`w`)", "write (`w`)", "(`w`)", "read (`r`)"];
    for (operation, right) in CALLS.into_iter().zip(rights) {
        for code in ["AuthorizationPermissionMismatch", "AuthorizationFailure"] {
            let peer = stage(operation, service_error(403, code));
            let error = call(operation, &mutex(&peer)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{operation:?}: {error:?}");
            assert!(format!("{error:?}").contains(right), "{operation:?}: {error:?}");
            assert_eq!(peer.count(operation), 1, "{operation:?}: {error:?}");
        }
    }
}

#[test]
fn a_clock_that_is_off_is_told_by_how_much_and_which_way() {
    let off = Duration::from_secs(3 * 3600 + 30);
    for (shift, ahead) in [(off, true), (off, false)] {
        let peer = Peer::start(move |_| {
            let now = SystemTime::now();
            let theirs = http_date(if ahead { now - shift } else { now + shift });
            refusal(403, "AuthenticationFailed", &[("date", &theirs)], "")
        });
        let error = Locker::new(mutex(&peer)).lock().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ClockSkew, "{error:?}");
        assert_eq!(peer.received().len(), 1);
        let text = error.to_string();
        assert!(text.contains("180 min"), "{text}");
        assert_eq!((text.contains("ahead"), text.contains("behind")), (ahead, !ahead), "{text}");
    }
}

#[test]
fn a_clock_that_is_right_enough_is_not_blamed() {
    let cases = [("AuthenticationFailed", 600), ("AuthorizationPermissionMismatch", 3 * 3600)];
    for (code, seconds) in cases {
        let peer = Peer::start(move |_| {
            let theirs = http_date(SystemTime::now() - Duration::from_secs(seconds));
            refusal(403, code, &[("date", &theirs)], "")
        });
        let error = mutex(&peer).acquire(LEASE).unwrap_err();
        assert_ne!(error.kind(), ErrorKind::ClockSkew, "{error:?}");
        assert!(!error.to_string().contains("clock"), "{error:?}");
    }
}
