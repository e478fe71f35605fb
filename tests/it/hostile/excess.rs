//! Too much of something.

use super::*;

#[test]
fn a_head_without_an_end_is_given_up() {
    let endless = |start: String, chunk: &[u8]| Reply::Endless { head: start.into_bytes(), chunk: chunk.to_vec() };
    let many: String = (0..5_000).map(|i| format!("x-ms-meta-{i}: v\r\n")).collect();
    let some: String = (0..300).map(|i| format!("x-{i}: v\r\n")).collect();
    endure(vec![
        ("an endless header", endless(format!("{}x: ", head(201)), &[b'a'; 4096])),
        ("an endless name", endless(head(201), &[b'a'; 4096])),
        ("endless headers", endless(head(201), b"x-a: b\r\n")),
        ("an endless status line", endless("HTTP/1.1 201 ".into(), &[b'a'; 4096])),
        ("thousands of headers", raw(&format!("{}{many}content-length: 0\r\n\r\n", head(201)))),
        ("hundreds of headers", raw(&format!("{}{some}content-length: 0\r\n\r\n", head(201)))),
        ("a header of 30 KB", raw(&format!("{}x: {}\r\ncontent-length: 0\r\n\r\n", head(201), "a".repeat(30_000)))),
        ("a header of 200 KB", raw(&format!("{}x: {}\r\ncontent-length: 0\r\n\r\n", head(201), "a".repeat(200_000)))),
    ]);
}

#[test]
fn a_body_without_an_end_is_given_up() {
    let endless = |head: String, chunk: &[u8]| Reply::Endless { head: head.into_bytes(), chunk: chunk.to_vec() };
    let chunked = |status| format!("{}transfer-encoding: chunked\r\n\r\n", head(status));
    endure(vec![
        ("500", endless(format!("{}\r\n", head(500)), &[b'x'; 4096])),
        ("409", endless(format!("{}\r\n", head(409)), &[b'x'; 4096])),
        ("endless chunks", endless(chunked(500), b"1\r\nx\r\n")),
        ("an endless chunk", endless(format!("{}fffffffffffffff0\r\n", chunked(500)), &[b'x'; 4096])),
        ("an endless chunk size", endless(chunked(500), b"0000000000")),
        ("an endless chunk extension", endless(format!("{}1;", chunked(500)), b"xxxxxxxxxx")),
        ("endless trailers", endless(format!("{}0\r\n", chunked(500)), b"x-a: b\r\n")),
        ("a chunk size beyond all numbers", raw(&format!("{}fffffffffffffffffffff\r\nx", chunked(500)))),
        ("a negative chunk size", raw(&format!("{}-1\r\nx\r\n0\r\n\r\n", chunked(500)))),
    ]);
}

#[test]
fn a_head_that_tells_all_counts_whatever_comes_after_it() {
    let code = "x-ms-error-code: LeaseAlreadyPresent\r\n";
    let bodies: [(&str, &str, &[u8], bool); 4] = [
        ("endless", "\r\n", &[b'x'; 4096], true),
        ("too short", "content-length: 1000\r\n\r\n", b"x", false),
        ("endless chunks", "transfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n", true),
        ("bad chunks", "transfer-encoding: chunked\r\n\r\n", b"zz\r\n", false),
    ];
    // Nothing here needs the limit, so a busy machine may take its time.
    let policy = || short().attempt_limit(MS * 1_500);
    thread::scope(|scope| {
        for (name, framing, body, endless) in bodies {
            scope.spawn(move || {
                let reply = move |head: String| {
                    let head = format!("{head}{framing}").into_bytes();
                    match endless {
                        true => Reply::Endless { head, chunk: body.to_vec() },
                        false => Reply::Raw([&head, body].concat()),
                    }
                };
                let busy = Peer::start(move |_| reply(format!("{}{code}", head(409))));
                let (locker, events) = observed(mutex_with(&busy, key(), policy()));
                let error = within(BOUND, name, move || locker.try_lock().map(drop)).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::WouldBlock, "{name}: {error:?}");
                last_words(name, &events);

                let free = Peer::start(move |received| match received.request.operation() {
                    Operation::Acquire => {
                        let id = received.request.header("x-ms-proposed-lease-id").unwrap();
                        reply(format!("{}x-ms-lease-id: {id}\r\n", head(201)))
                    }
                    _ => reply(head(200)),
                });
                let (locker, events) = observed(mutex_with(&free, key(), policy()));
                within(BOUND, name, move || locker.try_lock().and_then(|guard| guard.unlock())).unwrap();
                last_words(name, &events);
            });
        }
    });
}

/// What this process has had in memory at most, in KiB.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[test]
fn an_endless_answer_costs_bounded_memory() {
    let starts = [
        format!("{}x-ms-error-code: InternalError\r\n\r\n", head(500)),
        format!("{}content-length: 99999999999\r\n\r\n", head(409)),
        format!("{}x-ms-lease-id: 99999999-9999-4999-8999-999999999999\r\n\r\n", head(201)),
        format!("{}x: ", head(201)),
    ];
    for start in starts {
        // The connections that it takes, and what they took from it.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let taken = Arc::new(AtomicU64::new(0));
        let counter = taken.clone();
        let bytes = start.clone();
        thread::spawn(move || {
            // Try, release, no more.
            for stream in listener.incoming().take(2) {
                let Ok(mut stream) = stream else { return };
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(bytes.as_bytes());
                let chunk = [b'x'; 64 * 1024];
                while let Ok(written) = stream.write(&chunk) {
                    counter.fetch_add(written as u64, Ordering::Relaxed);
                }
            }
        });
        let policy = short().attempt_limit(Duration::from_secs(1)).retries(0);
        let url = format!("http://127.0.0.1:{port}/acct/locks");
        let mutex = Container::builder(&url, key()).retry(policy).build().unwrap().mutex("job").unwrap();
        let before = peak_memory();
        let error = within(BOUND, &start, move || mutex.acquire(LEASE).map(drop)).unwrap_err();
        senseless(&start, &error);
        // What the two sockets' buffers hold counts as taken: some megabytes each.
        let taken = taken.load(Ordering::Relaxed);
        assert!(taken < 48 << 20, "{start:?}: {taken} bytes were taken");
        if let (Some(before), Some(after)) = (before, peak_memory()) {
            assert!(after.saturating_sub(before) < 64 << 10, "{start:?}: {before} KiB grew to {after} KiB");
        }
    }
}
