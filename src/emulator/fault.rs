//! What goes wrong on purpose.

use std::collections::VecDeque;
use std::time::Duration;

use super::operation::Operation;

/// What goes wrong with a request to the [`Emulator`](super::Emulator): see
/// [`fail_next`](super::Emulator::fail_next).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// It is not carried out; the answer has this status. [`Fault::status`] makes one.
    Status {
        /// The HTTP status, 200 to 599. One that is not is taken for 500.
        status: u16,
        /// The service's error code. Without one the answer is that of a proxy in between, with nothing of the service.
        code: Option<String>,
        /// For how long the client is asked to stay away: `Retry-After`, in whole seconds, rounded up.
        retry_after: Option<Duration>,
    },
    /// It is carried out, and never answered. The connection stays open for as long as the client waits, for two minutes
    /// at most.
    Withhold,
    /// It is carried out after this time.
    DelayRequest(Duration),
    /// It is carried out, and answered after this time.
    DelayAnswer(Duration),
    /// It is carried out; the connection ends in the middle of the answer.
    HalfAnswer,
    /// It is not carried out; the connection is reset. (On Windows it is closed.)
    ResetBefore,
    /// It is carried out, and the connection is reset instead of an answer. (On Windows it is closed.)
    ResetAfter,
}

impl Fault {
    /// An answer with this status and error code, such as 503 and `ServerBusy`.
    ///
    /// ```
    /// # use azmutex::emulator::Fault;
    /// let busy = Fault::status(503, "ServerBusy");
    /// ```
    pub fn status(status: u16, code: &str) -> Fault {
        Fault::Status { status, code: Some(code.to_owned()), retry_after: None }
    }
}

/// What is to go wrong, in order.
#[derive(Debug, Default)]
pub(super) struct Faults(VecDeque<Planned>);

#[derive(Debug)]
struct Planned {
    operation: Option<Operation>,
    left: usize,
    fault: Fault,
}

impl Faults {
    pub(super) fn plan(&mut self, operation: Option<Operation>, times: usize, fault: Fault) {
        if times > 0 {
            self.0.push_back(Planned { operation, left: times, fault });
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The first that is planned for such an operation.
    pub(super) fn next(&mut self, operation: Operation) -> Option<Fault> {
        let fits = |planned: &Planned| planned.operation.is_none_or(|wanted| wanted == operation);
        let i = self.0.iter().position(fits)?;
        let planned = self.0.get_mut(i)?;
        let fault = planned.fault.clone();
        planned.left -= 1;
        if planned.left == 0 {
            self.0.remove(i);
        }
        Some(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_come_in_order_to_those_that_they_are_planned_for() {
        let mut faults = Faults::default();
        faults.plan(Some(Operation::RenewLease), 2, Fault::Withhold);
        faults.plan(None, 1, Fault::ResetBefore);
        faults.plan(None, 0, Fault::HalfAnswer);
        assert_eq!(faults.next(Operation::RenewLease), Some(Fault::Withhold));
        assert_eq!(faults.next(Operation::AcquireLease), Some(Fault::ResetBefore));
        assert_eq!(faults.next(Operation::AcquireLease), None);
        assert_eq!(faults.next(Operation::RenewLease), Some(Fault::Withhold));
        assert_eq!(faults.next(Operation::RenewLease), None);
        faults.plan(None, 5, Fault::Withhold);
        faults.clear();
        assert_eq!(faults.next(Operation::RenewLease), None);
    }
}
