//! What the public API is made of.

mod source;
mod traits;
