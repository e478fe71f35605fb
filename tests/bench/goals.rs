//! What was wanted of the figures, and what they were before.

/// A figure of the report: of the first table that has these words in its title.
pub(crate) struct Goal {
    pub(crate) what: &'static str,
    /// On 25 Nov 2026, at commit 860cf87, by other programs that sent the same requests.
    pub(crate) before: &'static str,
    pub(crate) goal: &'static str,
    pub(crate) table: &'static str,
    pub(crate) row: &'static str,
    pub(crate) column: &'static str,
}

const PAIR: &str = "lock and unlock of an existing blob, on a server that is nothing but an answer";
const INSTRUCTIONS: &str = "instructions of a lock";
const START: &str = "from the start of a process";
const TURNS: &str = "100 threads that lock, hold for 10";
const WAITS: &str = "who waits for a lock";
const HAND_OVER: &str = "hand-over";
const FEW: &str = "200 held";
const MANY: &str = "1000 held";
const BESIDE_UREQ: &str = "processor time, x socket / ureq";

const fn goal(what: &'static str, [before, goal]: [&'static str; 2], [table, row, column]: [&'static str; 3]) -> Goal {
    Goal { what, before, goal, table, row, column }
}

pub(crate) const GOALS: [Goal; 20] = [
    goal("`AzureMutex`, a pair: processor time, x ureq", ["1.20", "1.10"], [PAIR, "AzureMutex", BESIDE_UREQ]),
    goal("`Locker`, a pair: processor time, x ureq", ["2.5 to 3.5", "1.8"], [PAIR, "Locker", BESIDE_UREQ]),
    goal("`AzureMutex`, a pair: instructions, x ureq", ["1.28", ""], [INSTRUCTIONS, "AzureMutex", "x ureq"]),
    goal("`Locker`, a pair: instructions, x ureq", ["1.46", ""], [INSTRUCTIONS, "Locker", "x ureq"]),
    goal("`AzureMutex`, a pair: allocations", ["163", "140"], [PAIR, "AzureMutex", "allocations"]),
    goal("`Locker`, a pair: allocations", ["180", ""], [PAIR, "Locker", "allocations"]),
    goal("start to first lock, `AzureMutex`: beyond ureq", ["-0.1 ms", "+1 ms"], [START, "AzureMutex", "beyond ureq"]),
    goal("start to first lock, `Locker`: beyond ureq", ["+0.2 ms", "+1 ms"], [START, "Locker", "beyond ureq"]),
    goal("100 threads in turns: requests a lock", ["4.3", "2.0"], [TURNS, "Locker", "requests a lock"]),
    goal("100 threads in turns: turns each", ["62 had none", "all some"], [TURNS, "Locker", "fewest to most"]),
    goal("hand-over between processes: median", ["0.42 s", "0.5 s"], [HAND_OVER, "Locker", "median"]),
    goal("hand-over between processes: at most", ["0.96 s", ""], [HAND_OVER, "Locker", "at most"]),
    goal("one waits: requests in 10 s", ["13.4", "12.5"], [WAITS, "one thread", "requests in 10 s of waiting"]),
    goal(
        "200 threads wait: requests in 10 s after a release",
        ["2,700", "those of one"],
        [WAITS, "200 threads of a process", "in 10 s after the release"],
    ),
    goal("200 held: memory", ["12.7 MB", "10 MB"], [FEW, "Locker", "memory over the empty program"]),
    goal("1,000 held: memory", ["47.0 MB", "40 MB"], [MANY, "Locker", "memory over the empty program"]),
    goal("200 held: processor time a minute", ["330 ms", ""], [FEW, "Locker", "processor time"]),
    goal("200 held: renewals in the fullest second", ["158", ""], [FEW, "Locker", "most in a second"]),
    goal("200 held: new connections a minute", ["25", ""], [FEW, "Locker", "new connections"]),
    goal("1,000 held: new connections a minute", ["12", ""], [MANY, "Locker", "new connections"]),
];
