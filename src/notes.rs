//! The texts that a holder leaves in the metadata of the lock's blob, and what stands there already: joined where a write
//! is sent.

use std::sync::Arc;

use crate::card::Card;
use crate::fencing::{Blob, ETag};
use crate::metadata::{Entry, Known, Metadata};
use crate::rest::{Exchange, Operation, Outcome, Write};

/// What one who writes knows besides what is decided.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes {
    pub(crate) card: Option<Card>,
    pub(crate) mark: Option<Arc<str>>,
    known: Option<Known>,
}

impl Notes {
    pub(crate) fn new(card: Option<Card>, mark: Option<Arc<str>>, known: Option<Known>) -> Notes {
        Notes { card, mark, known }
    }

    /// With what is known by now.
    pub(crate) fn knows(&mut self, known: Option<Known>) {
        self.known = known;
    }

    pub(crate) fn known(&self) -> Option<&Known> {
        self.known.as_ref()
    }

    /// The metadata that this operation is to leave: `Err` if it is not made from what is known.
    pub(crate) fn metadata_for(&self, operation: Operation) -> Result<Option<Metadata>, NotKnown> {
        let Operation::Write(write) = operation else { return Ok(None) };
        Ok(Some(self.metadata_of(write.only).ok_or(NotKnown)?.with(&self.entry(&write), write.id)))
    }

    fn metadata_of(&self, etag: ETag) -> Option<&Metadata> {
        self.known.as_ref().filter(|known| known.blob.version.etag == etag).map(|known| &*known.metadata)
    }

    fn entry(&self, write: &Write) -> Entry<'_> {
        let card = write.card.zip(self.card.as_ref()).map(|((since, token), card)| (card, since, token));
        Entry { token: write.token, card, mark: self.mark.as_deref().filter(|_| write.mark) }
    }

    /// What came of an operation, and what it was to leave.
    pub(crate) fn learn(&mut self, operation: Operation, left: Option<Metadata>, exchange: &Exchange) {
        let metadata = match (operation, exchange.outcome) {
            (Operation::Write(_), Outcome::Done) => left.map(Arc::new),
            _ => exchange.metadata.clone(),
        };
        if let (Some(blob), Some(metadata)) = (exchange.blob, metadata) {
            let blob = Blob { content: Some(metadata.content()), ..blob };
            self.known = Some(Known { blob, metadata });
        }
    }
}

/// The write is not made from the version that is known.
#[derive(Debug, PartialEq)]
pub(crate) struct NotKnown;
