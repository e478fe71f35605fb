//! Secrets.

use super::*;

#[test]
fn a_redirect_is_not_followed() {
    for credential in [key(), Credential::sas(SAS).unwrap()] {
        for status in [300, 301, 302, 303, 307, 308] {
            for operation in CALLS {
                let elsewhere = Peer::start(well);
                let target = format!("{}/acct/locks/job?comp=lease&{SAS}", elsewhere.url());
                let peer = stage(operation, answer(status, &[("location", &target)]));
                let error = call(operation, &mutex_with(&peer, credential.clone(), policy().retries(1))).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Unexpected, "{status} {operation:?}: {error:?}");
                assert_eq!(elsewhere.connections(), 0, "{status} {operation:?}");
            }
        }
    }
}

/// The secret of a request, as it was sent.
fn secret_of(received: &Received) -> String {
    let request = &received.request;
    let key = || request.header("authorization").and_then(|value| value.split_once(':')).map(|(_, mac)| mac.to_owned());
    request.query("sig").or_else(key).unwrap()
}

/// The secret in the forms in which a server may send it back without meaning to.
fn forms(secret: &str) -> [String; 3] {
    let decoded = secret.replace("%2B", "+").replace("%2F", "/").replace("%3D", "=");
    [secret.to_owned(), decoded, secret.replace("%2B", "%2b").replace("%2F", "%2f").replace("%3D", "%3d")]
}

/// Answers with the secret everywhere.
pub(crate) fn reflections(secret: &str) -> Vec<Reply> {
    let body = format!(
        "<Error><Code>{secret}</Code><Message>{secret}</Message><AuthenticationErrorDetail>The signature {secret} did \
         not match; {secret}</AuthenticationErrorDetail></Error>"
    );
    let reply = |status, code: &str, id: &str| {
        let headers = [("x-ms-error-code", code), ("x-ms-request-id", id), ("www-authenticate", secret)];
        Reply::Answer(response(status, &headers, body.clone().into_bytes()))
    };
    let line = |text: String| Reply::Raw(text.into_bytes());
    vec![
        reply(403, secret, secret),
        reply(403, "AuthenticationFailed", secret),
        reply(401, "InvalidAuthenticationInfo", secret),
        reply(400, secret, secret),
        reply(503, "ServerBusy", secret),
        reply(418, secret, secret),
        answer(307, &[("location", secret), ("x-ms-request-id", secret)]),
        answer(307, &[("location", &format!("http://[{secret}")), ("x-ms-request-id", secret)]),
        line(format!("{secret}\r\n\r\n")),
        line(format!("HTTP/1.1 {secret}\r\n\r\n")),
        line(format!("{}{secret}\r\n\r\n", head(500))),
        line(format!("{}content-length: {secret}\r\n\r\n", head(500))),
        line(format!("{}transfer-encoding: {secret}\r\n\r\n", head(500))),
        line(format!("{}transfer-encoding: chunked\r\n\r\n{secret}\r\n", head(500))),
        line(format!("{}retry-after: {secret}\r\nx-ms-lease-id: {secret}\r\ndate: {secret}\r\n\r\n", head(201))),
    ]
}

/// Whatever a server sends back of a secret, no print of an error or an event shows it.
fn reflects(credential: &Credential, form: usize) {
    for kind in 0..reflections("").len() {
        reflects_once(credential, form, kind);
    }
}

fn reflects_once(credential: &Credential, form: usize, kind: usize) {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = seen.clone();
    let peer = Peer::start(move |received| {
        let secret = secret_of(received);
        log.lock().unwrap().extend(forms(&secret));
        reflections(&forms(&secret)[form]).swap_remove(kind)
    });
    let mutex = mutex_with(&peer, credential.clone(), short().attempt_limit(Duration::from_secs(2)));
    let (locker, events) = observed(mutex.clone());
    let mut prints = vec![prints(&locker.try_lock().unwrap_err())];
    prints.push(self::prints(&locker.lock_timeout(20 * MS).unwrap_err()));
    prints.push(self::prints(&mutex.break_lease(Break::AtExpiry).unwrap_err()));
    prints.push(self::prints(&mutex.inspect().unwrap_err()));
    prints.push(format!("{mutex:?} {locker:?} {credential:?}"));
    drop(locker);
    prints.extend(last_words("reflected", &events));
    for secret in seen.lock().unwrap().iter() {
        for print in &prints {
            assert!(!print.contains(secret), "form {form}, kind {kind}: {secret} in {print}");
        }
    }
}

#[test]
fn a_sas_that_a_server_sends_back_is_not_shown() {
    reflects(&Credential::sas(SAS).unwrap(), 0);
}

#[test]
fn a_sas_that_a_server_sends_back_decoded_is_not_shown() {
    reflects(&Credential::sas(SAS).unwrap(), 1);
}

/// `%2b` and `%2B` are the same, and servers on the way may write either.
#[test]
fn a_sas_that_a_server_sends_back_encoded_anew_is_not_shown() {
    reflects(&Credential::sas(SAS).unwrap(), 2);
}

/// Good for a quarter of an hour, for whoever reads it in a log.
#[test]
fn a_request_s_signature_that_a_server_sends_back_is_not_shown() {
    reflects(&key(), 0);
}

#[test]
fn an_unreachable_server_s_error_has_no_secret() {
    let (_socket, port) = nobody();
    let sas = Credential::sas(SAS).unwrap();
    let container = Container::builder(&format!("http://127.0.0.1:{port}/acct/locks"), sas).retry(short());
    let mutex = container.build().unwrap().mutex("job").unwrap();
    let (locker, events) = observed(mutex.clone());
    let mut text = prints(&locker.try_lock().unwrap_err());
    text.push_str(&prints(&mutex.inspect().unwrap_err()));
    drop(locker);
    text.push_str(&last_words("unreachable", &events).join("\n"));
    for secret in forms("Kn0wnToNone%2BgSecret%2Fpart%3D") {
        assert!(!text.contains(&secret), "{text}");
    }
}

/// What a server says ends up on terminals and in logs.
#[test]
fn a_server_s_words_are_shown_on_one_line_and_cut() {
    let detail = format!("one\r\ntwo\u{1b}[2Jthree\u{9b}2Jfour\0{}", "five".repeat(10_000));
    let body = format!("<Error><AuthenticationErrorDetail>{detail}</AuthenticationErrorDetail></Error>");
    let headers = [("x-ms-error-code", "AuthenticationFailed")];
    let peer = stage(Operation::Acquire, Reply::Answer(response(403, &headers, body.into_bytes())));
    let error = mutex(&peer).acquire(LEASE).unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(text.contains("one") && text.contains("four"), "{text:?}");
    assert!(text.chars().all(|c| !c.is_control()), "{text:?}");
    assert!(text.len() < 4_000, "{} bytes", text.len());
}
