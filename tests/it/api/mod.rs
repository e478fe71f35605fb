//! What the public API is made of.

mod foreign;
mod source;
mod traits;
