//! What holds for every request and every answer on the wire.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ureq::Agent;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{self as wire, Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout};

use crate::transport::{BUFFER, LARGEST_BODY, LARGEST_HEAD, NoAnswer, Reply, Request, Transport, config};

/// What was checked and signed is what ureq takes it for, and it fits in a request's first line.
pub(crate) fn sent_as_written(origin: &str, path: &str, query: &str) {
    let mark = if query.is_empty() { "" } else { "?" };
    let url = format!("{origin}{path}{mark}{query}");
    assert!(url.bytes().all(|byte| byte.is_ascii_graphic()), "{url}");
    let uri = url.parse::<Uri>().unwrap_or_default();
    assert_eq!(
        format!("{}://{}", uri.scheme_str().unwrap_or_default(), uri.authority().map_or("", |it| it.as_str())),
        origin
    );
    assert_eq!((uri.path(), uri.query().unwrap_or_default()), (path, query));
    assert!(!origin.contains('@'), "{url}");
}

/// What comes of `request` where these bytes are the answer, and then the connection is closed.
pub(crate) fn answered(request: &Request, bytes: &[u8]) -> Result<Reply, NoAnswer> {
    const LIMIT: Duration = Duration::from_secs(5);
    let agent = Agent::with_parts(config(LIMIT), Canned(bytes.into()), Nowhere);
    let answer = Transport { agent, limit: LIMIT, proxy: None }.send(request, LIMIT);
    if let Ok(reply) = &answer {
        assert!(reply.body.len() as u64 <= LARGEST_BODY);
        assert!(
            reply.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>() <= LARGEST_HEAD
        );
    }
    answer
}

#[derive(Debug)]
struct Nowhere;

impl Resolver for Nowhere {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut resolved = self.empty();
        resolved.push(SocketAddr::from(([127, 0, 0, 1], 0)));
        Ok(resolved)
    }
}

#[derive(Debug)]
struct Canned(Arc<[u8]>);

#[derive(Debug)]
struct Open {
    bytes: Arc<[u8]>,
    read: usize,
    buffers: LazyBuffers,
}

impl Connector for Canned {
    type Out = Open;

    fn connect(&self, _: &ConnectionDetails<'_>, _: Option<()>) -> Result<Option<Open>, ureq::Error> {
        Ok(Some(Open { bytes: self.0.clone(), read: 0, buffers: LazyBuffers::new(BUFFER, BUFFER) }))
    }
}

impl wire::Transport for Open {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, _: usize, _: NextTimeout) -> Result<(), ureq::Error> {
        Ok(())
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, ureq::Error> {
        let left = &self.bytes[self.read..];
        let free = self.buffers.input_append_buf();
        let length = left.len().min(free.len());
        free[..length].copy_from_slice(&left[..length]);
        self.buffers.input_appended(length);
        self.read += length;
        Ok(length > 0)
    }

    fn is_open(&mut self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::properties::holds;
    use crate::transport::Method;

    #[test]
    fn an_answer_of_any_size_takes_bounded_memory() {
        let request = Request::new(Method::Put, "http://127.0.0.1:10000", "/locks/job", "", Vec::new());
        holds((0..150_usize, 0..1_000_usize, 0..200_000_usize), |(headers, length, body)| {
            let header = format!("x-ms-meta-a: {}\r\n", "v".repeat(length));
            let head = format!("HTTP/1.1 200 OK\r\n{}\r\n", header.repeat(headers));
            let answer = answered(&request, (head.clone() + &"b".repeat(body)).as_bytes());
            assert_eq!(answer.is_ok(), head.len() <= BUFFER && headers <= 128, "{} bytes of head", head.len());
        });
    }
}
