//! What can be done with a value of each public type besides calling it: sent to another thread, shared, moved while it
//! is pinned, and kept beyond a panic. That these remain so is part of the API, and no `impl` in the source says it.

use std::marker::PhantomData;
use std::panic::{RefUnwindSafe, UnwindSafe};

#[cfg(all(feature = "entra", feature = "list"))]
use super::source::files;

trait Otherwise {
    const IS: bool = false;
}

/// Whether the type has the trait. The constant of the `impl` is taken where its bound is met.
macro_rules! is {
    ($type:ty: $trait:ident) => {{
        struct Of<T>(PhantomData<T>);
        #[allow(dead_code, reason = "that is what is found out")]
        impl<T: $trait> Of<T> {
            const IS: bool = true;
        }
        impl<T> Otherwise for Of<T> {}
        <Of<$type>>::IS
    }};
}

/// Each with those of the traits that it lacks.
macro_rules! lacking {
    ($($type:ty,)*) => {
        vec![$((stringify!($type), {
            let all = [
                (is!($type: Send), "Send"),
                (is!($type: Sync), "Sync"),
                (is!($type: Unpin), "Unpin"),
                (is!($type: UnwindSafe), "UnwindSafe"),
                (is!($type: RefUnwindSafe), "RefUnwindSafe"),
            ];
            all.into_iter().filter(|(is, _)| !is).map(|(_, name)| name).collect::<Vec<_>>()
        }),)*]
    };
}

/// As much as what the work came to.
type WithError = azmutex::locker::WithError<()>;

fn all() -> Vec<(&'static str, Vec<&'static str>)> {
    let all = lacking![
        azmutex::AzureMutex,
        azmutex::Cancel,
        azmutex::Container,
        azmutex::Error,
        azmutex::ErrorKind,
        azmutex::LockGuard,
        azmutex::Locker,
        azmutex::container::Builder,
        azmutex::credential::Credential,
        azmutex::emulator::Builder,
        azmutex::emulator::Emulator,
        azmutex::emulator::Fault,
        azmutex::emulator::Operation,
        azmutex::emulator::Request,
        azmutex::event::Event,
        azmutex::event::Severity,
        azmutex::lease::Break,
        azmutex::lease::Card,
        azmutex::lease::FencingToken,
        azmutex::lease::Lease,
        azmutex::lease::LeaseId,
        azmutex::lease::LockState,
        azmutex::lease::LockStatus,
        azmutex::lease::Lost,
        azmutex::locker::Builder,
        WithError,
        azmutex::preflight::Check,
        azmutex::preflight::Preflight,
        azmutex::preflight::Status,
        azmutex::preflight::Subject,
        azmutex::retry::Policy,
    ];
    #[cfg(feature = "list")]
    let all = [all, lacking![azmutex::locks::LockEntry, azmutex::locks::Locks,]].concat();
    #[cfg(feature = "entra")]
    let all = [
        all,
        lacking![
            azmutex::credential::entra::AccessToken,
            azmutex::credential::entra::GitHubActions,
            azmutex::credential::entra::AzureCli,
            azmutex::credential::entra::ManagedIdentity,
            azmutex::credential::entra::ServicePrincipal,
            azmutex::credential::entra::TokenError,
            azmutex::credential::entra::WorkloadIdentity,
        ],
    ]
    .concat();
    all
}

/// Those that do not have all five, and which they lack.
const EXCEPTIONS: [(&str, &[&str]); 2] = [
    // They hold a function of the program's until `build`. It is for the program to say whether that minds a panic, and
    // of `on_event` no more is asked than that it can be sent.
    ("azmutex::locker::Builder", &["Sync", "UnwindSafe", "RefUnwindSafe"]),
    ("azmutex::credential::entra::ServicePrincipal", &["UnwindSafe", "RefUnwindSafe"]),
];

#[test]
fn all_public_types_can_be_sent_shared_moved_and_kept_beyond_a_panic() {
    for (name, lacks) in all() {
        let exception = EXCEPTIONS.iter().find(|(exception, _)| *exception == name).map(|(_, lacks)| *lacks);
        assert_eq!(lacks, exception.unwrap_or_default(), "{name}");
    }
}

/// Without the features some of them are not there.
#[cfg(all(feature = "entra", feature = "list"))]
#[test]
fn no_public_type_is_left_out() {
    let mut declared: Vec<_> = files().into_iter().flat_map(|file| file.types).collect();
    let mut listed: Vec<_> = all().iter().map(|(path, _)| path.rsplit("::").next().unwrap().to_owned()).collect();
    declared.sort_unstable();
    listed.sort_unstable();
    assert_eq!(listed, declared);
}

#[test]
fn a_trait_that_is_missing_is_noticed() {
    assert_eq!(lacking![std::cell::Cell<u8>,][0].1, ["Sync", "RefUnwindSafe"]);
    assert_eq!(lacking![std::marker::PhantomPinned,][0].1, ["Unpin"]);
    assert_eq!(lacking![std::rc::Rc<u8>,][0].1, ["Send", "Sync"]);
    assert_eq!(lacking![&'static mut u8,][0].1, ["UnwindSafe"]);
}
