//! Of all other crates' types, only crossbeam-channel's are in the API: every other crate can be exchanged, or raised to
//! a version that is not compatible, without a new version of this one that is not.

use super::source::{File, dependencies, files, foreign};

#[test]
fn crossbeam_channel_is_the_only_foreign_crate_in_the_api() {
    let dependencies = dependencies();
    assert!(["ureq", "serde_json", "rustix", "signal_hook"].iter().all(|name| dependencies.contains(*name)));
    let foreign = foreign(&files(), &dependencies);
    assert_eq!(foreign.into_iter().collect::<Vec<_>>(), ["crossbeam_channel"]);
}

#[test]
fn a_foreign_type_is_found_wherever_it_is_public() {
    for (public, expected) in [
        ("pub fn agent(&self) -> ureq::Agent {}", "ureq"),
        ("use ureq::Agent; pub fn agent(&self, other: &'static Agent) {}", "ureq"),
        ("use ureq::{http::{self, Uri as Url}, Agent}; pub fn send(to: Option<Url>);", "ureq"),
        ("use ureq::http; pub struct Sent(pub(crate) u8, pub http::Uri);", "ureq"),
        ("pub struct Sent { pub(crate) a: u8, pub b: Vec<serde_json::Value> }", "serde_json"),
        ("pub enum Sent { #[doc = \"a\"] One, Two { agent: ureq::Agent } }", "ureq"),
        ("pub trait Send2 { const A: u8; fn send(&self) -> u8 { 1 } fn other(&self, a: ureq::Agent); }", "ureq"),
        ("pub trait Send2: ureq::Middleware {}", "ureq"),
        ("pub type Sender = ureq::Agent;", "ureq"),
        ("pub const SENT: Option<ureq::Agent> = None;", "ureq"),
        ("pub struct Ours; impl From<ureq::Error> for Ours {}", "ureq"),
        ("pub struct Ours; impl From<Ours> for ureq::Error {}", "ureq"),
        ("pub struct Ours; impl std::str::FromStr for Ours { type Err = ureq::Error; fn from_str() {} }", "ureq"),
        ("#[derive(Clone, clap::Args)] #[non_exhaustive] pub struct Ours;", "clap"),
        ("pub use ureq::Agent;", "ureq"),
        // Whatever it may stand for.
        ("use crate::transport::Alias; pub fn agent() -> Alias {}", "crate::transport::Alias"),
    ] {
        let found = foreign(&[File::of(public)], &dependencies());
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [expected], "{public}");
    }
}

#[test]
fn what_is_ours_or_std_s_or_not_public_is_not_foreign() {
    let text = r##"
        //! pub fn a() -> ureq::Agent {}
        use std::{fmt, time::Duration as Time};
        pub(crate) use ureq::Agent;
        // pub fn b() -> ureq::Agent {}
        #[derive(Clone, Debug)]
        pub struct Ours<T>(Agent, pub Option<T>);
        impl<T: fmt::Debug> Ours<T> {
            pub fn time(&self, a: impl FnMut(Time) + Send) -> Result<Self, std::io::Error> { let a: Agent = '"'; }
            pub(crate) fn agent() -> Agent { "pub fn b() -> Agent {" }
            fn text() { r#"pub fn c() -> Agent {"#; '\''; 'a: loop {} }
        }
        struct Private { pub a: u8 }
        impl From<Agent> for Private {}
        impl From<Private> for ureq::Ours {}
        #[cfg(test)]
        mod tests { pub fn a() -> ureq::Agent {} }
    "##;
    let found = foreign(&[File::of(text)], &dependencies());
    assert!(found.is_empty(), "{found:?}");
}
