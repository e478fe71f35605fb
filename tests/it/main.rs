//! The lock against a real server, one file a topic.
//!
//! What a lock must survive, and where a test that carries the number shows it:
//!
//! | | | |
//! | --- | --- | --- |
//! | 1 | a counter that nothing else protects | tests/crowd |
//! | 2 | millions of random events, and nobody is told what is not so | src/testing/sim |
//! | 3 | the holder is killed | tests/it/processes.rs |
//! | 4 | the holder is stopped for longer than its lease | tests/it/processes.rs |
//! | 5 | the holder is stopped for half its lease | tests/it/processes.rs |
//! | 6 | renewals vanish | tests/it/faults |
//! | 7 | an answer comes late | tests/it/faults |
//! | 8 | one or two renewals fail | tests/it/faults |
//! | 9 | a renewal is told that the lease is gone | tests/it/loss.rs, tests/it/service |
//! | 10 | an operator breaks the lease | tests/it/loss.rs |
//! | 11 | a suspend, and a wall clock that is set | src/testing/suspend.rs |
//! | 12 | granted, and the answer is lost | tests/it/faults |
//! | 13 | granted, and the caller gives up | tests/it/faults |
//! | 14 | released, and the answer is lost | tests/it/faults |
//! | 15 | granted, and what follows fails | tests/it/faults |
//! | 16 | requests arrive twice | tests/it/faults |
//! | 17 | an unlock beside a renewal; a thousand quick rounds | tests/it/faults, src/testing, tests/crowd |
//! | 18 | a drop while the store is down | tests/it/faults |
//! | 19 | panics of the holder and of the observer | tests/it/faults |
//! | 20 | the lock's thread dies | src/renewal.rs, src/testing/interleavings.rs |
//! | 21 | of a process's threads one at a time asks the service | tests/turns, src/testing/interleavings.rs, src/testing/sim |
//! | 22 | two hundred wait | tests/scale |
//! | 23 | a thousand locks are held | tests/scale |
//! | 24 | the lock's blob is somebody's data | tests/it/names.rs, tests/it/fencing.rs |
//! | 25 | a credential that may do little | tests/it/names.rs, tests/it/sas.rs |
//! | 26 | names of every kind | tests/it/names.rs, src/names.rs |
//! | 27 | a token expires while the lock is held | tests/it/entra |
//! | 28 | fencing tokens grow, whatever happens | tests/it/fencing.rs, tests/crowd, src/testing/sim |
//! | 29 | the command line | tests/cli |
//! | 30 | random faults on Azurite, for as long as is wished | tests/chaos |
//! | 31 | one script for all servers | tests/it/conformance.rs |
//! | 32 | an old answer comes again, or a copy of one comes late | tests/it/service/belonging.rs, tests/it/faults, src/testing/sim, tests/chaos |
//! | 33 | a cache goes on answering an old look | tests/it/service/belonging.rs, tests/it/faults, src/hold/tests, src/testing/sim, tests/chaos |
//! | 34 | the account's name moves, and the old address still answers | src/transport, src/testing |
//! | 35 | a proxy drips, hangs, refuses, or asks for a password | tests/it/proxies.rs |
//! | 36 | an endpoint that is written differently | tests/it/names.rs, src/container/builder.rs |
//! | 37 | a running machine is copied (what one held, each goes on holding: no lease can help that) | src/random.rs |
//! | 38 | a command asks at its terminal; keys, jobs, a terminal that closes | tests/cli/jobs.rs |
//! | 39 | descendants are gone before anybody else has the lock, whoever is stopped, starved or killed | tests/wrapped, tests/cli |
//! | 41 | threads of one process take turns, and a second process of as many gets in | tests/turns |

// A test that meets what it did not expect is to panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]
// And it measures by other clocks than the library's.
#![allow(clippy::disallowed_methods)]

mod api;
mod arrows;
mod conformance;
mod documents;
mod emulator;
mod endurance;
#[cfg(feature = "entra")]
mod entra;
mod faults;
mod fencing;
mod guide;
mod hostile;
mod listing;
mod locker;
#[cfg(feature = "list")]
mod locks;
mod loss;
mod metadata;
mod mutex;
mod names;
mod preflight;
mod processes;
mod proxies;
mod sas;
mod scenarios;
#[cfg(all(unix, feature = "entra"))]
mod secrets;
mod service;
mod support;
mod targets;
mod tls;
mod wire;

// Here on the emulator, and on Azurite in the target `slow`.
use crate::on_the_emulator as slow_on_both_servers;
