//! What arrived.

use std::collections::VecDeque;
use std::time::Duration;

use super::operation::Operation;

/// How many requests are remembered.
const LONGEST: usize = 4096;

/// A request that came to the [`Emulator`](super::Emulator): see [`requests`](super::Emulator::requests).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request {
    /// Such as `PUT`.
    pub method: String,
    /// As it was sent, percent-encoded, without the query: that may hold a signature.
    pub path: String,
    /// What was asked for.
    pub operation: Operation,
    /// `x-ms-lease-id`, or else `x-ms-proposed-lease-id`, as it was sent.
    pub lease_id: Option<String>,
    /// The status that it came to, even if the answer was withheld. `None` if it was not carried out, or is yet to be.
    pub status: Option<u16>,
    /// When it arrived: the time since the emulator's start, by its clock.
    pub at: Duration,
}

#[derive(Debug, Default)]
pub(super) struct Record {
    requests: VecDeque<Request>,
    /// The number of the first that is remembered.
    first: usize,
}

impl Record {
    /// Its number.
    pub(super) fn arrived(&mut self, request: Request) -> usize {
        if self.requests.len() == LONGEST {
            self.requests.pop_front();
            self.first += 1;
        }
        self.requests.push_back(request);
        self.first + self.requests.len() - 1
    }

    pub(super) fn came_to(&mut self, number: usize, status: u16) {
        let request = number.checked_sub(self.first).and_then(|i| self.requests.get_mut(i));
        if let Some(request) = request {
            request.status = Some(status);
        }
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.requests.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten() {
        let mut record = Record::default();
        let request = |n: usize| Request {
            method: "GET".into(),
            path: n.to_string(),
            operation: Operation::Other,
            lease_id: None,
            status: None,
            at: Duration::ZERO,
        };
        let numbers: Vec<_> = (0..LONGEST + 2).map(|n| record.arrived(request(n))).collect();
        assert!(numbers.into_iter().eq(0..LONGEST + 2));
        record.came_to(0, 200);
        record.came_to(2, 201);
        let requests = record.requests();
        assert_eq!(requests.len(), LONGEST);
        assert_eq!((&*requests[0].path, requests[0].status), ("2", Some(201)));
        assert_eq!(requests[1].status, None);
    }
}
