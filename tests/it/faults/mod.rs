//! The lock over a network that misbehaves, before each of the two servers.

#![allow(clippy::duplicate_mod, reason = "the same tests, on another server")]

mod on_azurite;
mod on_the_emulator;
