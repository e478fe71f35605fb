//! The front stops when the command has stopped, and runs when the command runs: the shell watches the front, and the
//! command is its child's child.
//!
//! The command stops and goes on in **turns**, which the warden counts as `wait` tells it: an even one when the command
//! runs, an odd one when it is stopped. The number is on the board. Messages may be old when they are read; the board is
//! not, so a message says no more than that there is something to look at.
//!
//! | who | when | does |
//! | --- | --- | --- |
//! | warden | the command stops | writes the next odd number on the board, and lets the front know |
//! | warden | the command goes on, or ends | writes the next even number, and lets the front know |
//! | warden | the number is even, and the front has not said it back | continues the front whenever that is stopped |
//! | front | is let know, or is continued | looks at the board: an even number it says back; at an odd one it looks whether the command is still stopped, and then stops itself |
//! | front | is continued at an odd number | tells the warden that number |
//! | front | has passed a stop on, and is continued | passes that on, too: after the stop, which it must not come before |
//! | warden | hears of a turn, the number is the last one, and the command is still stopped | continues the command |
//!
//! So however late the front looks, and wherever between its looks and its stop the command goes on, it runs in the end if
//! the command does: it can only have stopped itself at an odd number, after which an even one came that it has not said
//! back, and until it does it is continued. What it says back is a number, so nothing that it said before counts. And it is
//! stopped in the end if the command is: the last number is odd then, and it is let know of that after all others.

/// The warden's count.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Turns {
    now: i32,
    /// The last one that the front has said back.
    seen: i32,
}

impl Turns {
    pub(super) fn now(self) -> i32 {
        self.now
    }

    /// The command has stopped, also if it had gone on before without a word.
    pub(super) fn stopped(&mut self) {
        self.now += if is_stopped(self.now) { 2 } else { 1 };
    }

    /// It runs, or has ended. Whether that is new.
    pub(super) fn runs(&mut self) -> bool {
        let is_new = is_stopped(self.now);
        self.now += i32::from(is_new);
        is_new
    }

    pub(super) fn seen(&mut self, turn: i32) {
        self.seen = self.seen.max(turn);
    }

    /// Whether the front may be stopped although the command runs.
    pub(super) fn is_front_behind(self) -> bool {
        !is_stopped(self.now) && self.seen != self.now
    }

    /// Whether who continued the front at that turn meant the command as it is now.
    pub(super) fn is_to_go_on(self, at: i32) -> bool {
        is_stopped(at) && at == self.now
    }
}

pub(super) fn is_stopped(turn: i32) -> bool {
    turn % 2 == 1
}

/// What the front does when it has looked.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    SayBack(i32),
    StopAt(i32),
    /// What the board says is about to change.
    Nothing,
}

/// `has_stopped` says whether the command is stopped at this moment, if that can be known.
pub(super) fn step(turn: i32, has_stopped: impl FnOnce() -> Option<bool>) -> Step {
    match is_stopped(turn) {
        false => Step::SayBack(turn),
        true if has_stopped().unwrap_or(true) => Step::StopAt(turn),
        true => Step::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashSet, VecDeque};

    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, Hash)]
    enum Order {
        Seen(i32),
        Continued(i32),
    }

    /// What the front is about to do.
    #[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
    enum Front {
        Idle,
        Stopping(i32),
        /// As soon as it runs again.
        Telling(i32),
    }

    /// The three processes, and what is under way between them.
    #[derive(Clone, Debug, PartialEq, Eq, Hash)]
    struct World {
        command_is_stopped: bool,
        /// What `wait` will tell the warden: the last change only.
        told: Option<bool>,
        turns: Turns,
        reports: u8,
        orders: VecDeque<Order>,
        front: Front,
        front_is_stopped: bool,
        /// By somebody who has not continued it.
        front_is_stopped_by_others: bool,
        /// Signals that the front has not heard yet.
        conts: u8,
        is_continued: bool,
        /// What others may still do.
        deeds: u8,
    }

    impl World {
        fn stop_command(&mut self) {
            if !std::mem::replace(&mut self.command_is_stopped, true) {
                self.told = Some(true);
            }
        }

        fn continue_command(&mut self) {
            if std::mem::take(&mut self.command_is_stopped) {
                self.told = Some(false);
            }
        }

        fn continue_front(&mut self) {
            self.front_is_stopped = false;
            self.front_is_stopped_by_others = false;
            self.conts = (self.conts + 1).min(2);
        }

        /// What others may do next: with the command and the front, one after the other, as with their group.
        fn deeds(&self) -> Vec<World> {
            let deeds: [fn(&mut World); 4] =
                [World::stop_command, World::continue_command, World::continue_front, |w| {
                    (w.front_is_stopped, w.front_is_stopped_by_others) = (true, true);
                }];
            let next = |deed: fn(&mut World)| {
                let mut world = World { deeds: self.deeds - 1, ..self.clone() };
                deed(&mut world);
                world
            };
            if self.deeds == 0 { Vec::new() } else { deeds.into_iter().map(next).collect() }
        }

        /// What the warden and the front may do next.
        fn steps(&self) -> Vec<World> {
            let mut steps = Vec::new();
            let mut add = |change: &dyn Fn(&mut World)| {
                let mut world = self.clone();
                change(&mut world);
                steps.push(world);
            };
            if let Some(is_stopped) = self.told {
                add(&|world| {
                    world.told = None;
                    let before = world.turns;
                    match is_stopped {
                        true => world.turns.stopped(),
                        false => assert!(world.turns.runs() || !is_stopped),
                    }
                    world.reports += u8::from(world.turns != before);
                });
            }
            match self.orders.front() {
                Some(&Order::Seen(turn)) => add(&|world| {
                    world.orders.pop_front();
                    world.turns.seen(turn);
                }),
                Some(&Order::Continued(turn)) => add(&|world| {
                    world.orders.pop_front();
                    if world.turns.is_to_go_on(turn) && world.command_is_stopped {
                        world.continue_command();
                    }
                }),
                None => {}
            }
            if self.turns.is_front_behind() && self.front_is_stopped {
                add(&World::continue_front);
            }
            match self.front {
                _ if self.front_is_stopped => {}
                Front::Stopping(turn) => {
                    add(&|world| (world.front_is_stopped, world.front) = (true, Front::Telling(turn)))
                }
                Front::Telling(turn) => add(&|world| {
                    (world.front, world.is_continued) = (Front::Idle, true);
                    world.orders.push_back(Order::Continued(turn));
                }),
                Front::Idle => {
                    if self.reports > 0 {
                        add(&|world| {
                            world.reports -= 1;
                            match step(world.turns.now(), || Some(world.command_is_stopped)) {
                                Step::SayBack(turn) => world.orders.push_back(Order::Seen(turn)),
                                Step::StopAt(turn) => world.front = Front::Stopping(turn),
                                Step::Nothing => {}
                            }
                        });
                    }
                    if self.conts > 0 {
                        add(&|world| {
                            world.conts -= 1;
                            let is_known = std::mem::take(&mut world.is_continued);
                            let turn = world.turns.now();
                            if !is_known {
                                world.orders.push_back(Order::Continued(turn));
                            }
                            if !is_stopped(turn) {
                                world.orders.push_back(Order::Seen(turn));
                            }
                        });
                    }
                }
            }
            steps
        }
    }

    /// Whatever others do, and whoever is late: when nobody has anything left to do, the front runs if the command does, and
    /// else is stopped. From everywhere, that comes.
    #[test]
    fn in_the_end_the_front_does_what_the_command_does() {
        let start = World {
            command_is_stopped: false,
            told: None,
            turns: Turns::default(),
            reports: 0,
            orders: VecDeque::new(),
            front: Front::Idle,
            front_is_stopped: false,
            front_is_stopped_by_others: false,
            conts: 0,
            is_continued: false,
            deeds: 6,
        };
        let (mut seen, mut to_visit, mut ends) = (HashSet::from([start.clone()]), vec![start], 0);
        while let Some(world) = to_visit.pop() {
            let steps = world.steps();
            if steps.is_empty() {
                ends += 1;
                let is_as_others_want = world.front_is_stopped_by_others && !world.command_is_stopped;
                assert!(world.front_is_stopped == world.command_is_stopped || is_as_others_want, "{world:?}");
            }
            // Nobody runs in circles: each change of the command is a turn.
            assert!(world.turns.now() < 40 && world.orders.len() < 40, "{world:?}");
            for next in steps.into_iter().chain(world.deeds()) {
                if seen.insert(next.clone()) {
                    to_visit.push(next);
                }
            }
        }
        assert!(ends > 100, "{ends} of {}", seen.len());
    }
}
