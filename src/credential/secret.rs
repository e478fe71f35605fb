//! Text that nobody may see.

use zeroize::Zeroizing;

/// Wiped when it is dropped. It cannot be printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(Zeroizing<String>);

impl Secret {
    pub(crate) fn new(text: String) -> Secret {
        Secret(Zeroizing::new(text))
    }

    /// Its text, for whoever sends it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}
