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
//! | front | a process sends it a stop | tells the warden that, with the number, if that is even |
//! | front | a process sends it a stop, and it has told the warden that it was continued at that number | the same, with the next number, which begins when the warden hears of that |
//! | warden | hears of that, and the number is the last one or a later one | stops the command |
//! | front | has told of that, and is continued at the same number, or an earlier one | passes that on, too: after the stop, which it must not come before |
//! | warden | hears of a turn, the number is the last one, and the command is still stopped | continues the command |
//!
//! So however late the front looks, and wherever between its looks and its stop the command goes on, it runs in the end if
//! the command does: it can only have stopped itself at an odd number, after which an even one came that it has not said
//! back, and until it does it is continued. What it says back is a number, so nothing that it said before counts. And it is
//! stopped in the end if the command is: the last number is odd then, and it is let know of that after all others.
//!
//! Who stops a whole group, as an editor does that knows ^Z as a letter, stops the command and the front. The front cannot
//! tell that from a stop that is for it alone, and tells the warden; but the command's own stop is a turn, and the shell
//! continues both only after that. So what the warden hears late is of an earlier turn, and stops nothing twice. Nor does
//! what the front hears late: a stop that had arrived when it stopped itself is an old one.

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

    /// Whether who stopped the front at that turn meant the command as it is now, or goes on next.
    pub(super) fn is_to_stop(self, at: i32) -> bool {
        at >= self.now
    }

    /// Whether who continued the front at that turn meant the command as it is now.
    pub(super) fn is_to_go_on(self, at: i32) -> bool {
        is_stopped(at) && at == self.now
    }
}

pub(super) fn is_stopped(turn: i32) -> bool {
    turn % 2 == 1
}

/// What the front knows of the stops that others send it.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Stops {
    /// One is still to be heard that had arrived when the front stopped itself.
    is_old: bool,
    /// The turn, of those that the command runs in, that ends when the warden hears of the last one.
    told_at: Option<i32>,
    /// The turn, of those that the command is stopped in, that ends when the warden hears that the front was continued.
    continued_at: Option<i32>,
}

impl Stops {
    /// The front stops itself next, and maybe a stop has arrived that was not heard yet.
    pub(super) fn before_own(&mut self, has_arrived: bool) {
        self.is_old = has_arrived;
    }

    /// The turn that the warden has to end. What a key sends has reached the command, too, and what it does then counts.
    pub(super) fn heard(&mut self, is_key: bool, turn: i32) -> Option<i32> {
        if std::mem::take(&mut self.is_old) || is_key {
            return None;
        }
        let to_end = match self.continued_at {
            // The one that begins when the warden hears of that.
            Some(at) if at >= turn => at + 1,
            // We stop soon ourselves.
            _ if is_stopped(turn) => return None,
            _ => turn,
        };
        self.told_at = Some(to_end);
        Some(to_end)
    }

    /// Whether the command may get the last stop only after the signal that continued the front and it at that turn.
    pub(super) fn continued(&mut self, turn: i32) -> bool {
        let after = self.told_at.take().filter(|at| *at >= turn);
        let ended = Some(after.map_or(turn, |at| at + 1)).filter(|at| is_stopped(*at));
        self.continued_at = self.continued_at.max(ended);
        after.is_some()
    }
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
        Stop(i32),
        ContinueAfterStop,
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
        /// Stops that have arrived at the front, and that it has not heard yet.
        arrived: u8,
        stops: Stops,
        /// The last that was done to the front, after what was done before was seen to work.
        was_continued: Option<bool>,
        /// How often the group stopped itself, and how often a shell says that the job has stopped.
        group_stops: u8,
        halts: u8,
        /// What others may still do.
        deeds: u8,
    }

    type Deed = fn(&mut World);

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

        /// As somebody does who waits until the front is stopped before that is continued, and the other way around.
        fn stop_or_continue_front(&mut self) {
            match self.was_continued {
                Some(false) if self.front_is_stopped => {
                    self.was_continued = Some(true);
                    self.continue_front();
                }
                // Nor before it has heard of that: of both, the stop would be heard first.
                None | Some(true) if !self.front_is_stopped && self.conts == 0 => {
                    self.was_continued = Some(false);
                    self.stop_front();
                }
                _ => {}
            }
        }

        /// Nobody can do anything about it.
        fn halt_front(&mut self) {
            (self.front_is_stopped, self.front_is_stopped_by_others) = (true, true);
        }

        /// Of two that are under way, one arrives; and what continues one that is stopped takes it away.
        fn stop_front(&mut self) {
            self.arrived = self.arrived.max(u8::from(!self.front_is_stopped));
        }

        /// As an editor does: not twice before the front hears of it.
        fn stop_group(&mut self) {
            if !self.command_is_stopped && self.arrived == 0 {
                self.stop_command();
                self.stop_front();
                self.group_stops += 1;
            }
        }

        /// What a shell does with a job that has stopped.
        fn continue_group(&mut self) {
            if self.front_is_stopped {
                self.continue_command();
                self.continue_front();
            }
        }

        /// What others may do next: with the command and the front, one after the other, as with their group.
        fn deeds(&self, deeds: &[Deed]) -> Vec<World> {
            let next = |deed: &Deed| {
                let mut world = World { deeds: self.deeds - 1, ..self.clone() };
                deed(&mut world);
                world
            };
            if self.deeds == 0 { Vec::new() } else { deeds.iter().map(next).collect() }
        }

        fn pass_continued(&mut self, turn: i32) {
            let is_after_stop = self.stops.continued(turn);
            self.orders.push_back(if is_after_stop { Order::ContinueAfterStop } else { Order::Continued(turn) });
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
                Some(&Order::Stop(turn)) => add(&|world| {
                    world.orders.pop_front();
                    if world.turns.is_to_stop(turn) {
                        world.stop_command();
                    }
                }),
                Some(Order::ContinueAfterStop) => add(&|world| {
                    world.orders.pop_front();
                    world.continue_command();
                }),
                None => {}
            }
            if self.turns.is_front_behind() && self.front_is_stopped {
                add(&World::continue_front);
            }
            match self.front {
                _ if self.front_is_stopped => {}
                Front::Stopping(turn) => {
                    add(&|world| {
                        world.stops.before_own(world.arrived > 0);
                        (world.front_is_stopped, world.front) = (true, Front::Telling(turn));
                        world.halts += 1;
                    });
                }
                Front::Telling(turn) => add(&|world| {
                    (world.front, world.is_continued) = (Front::Idle, true);
                    world.pass_continued(turn);
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
                    // Of both, the stop is heard first.
                    if self.conts > 0 && self.arrived == 0 {
                        add(&|world| {
                            world.conts -= 1;
                            let is_known = std::mem::take(&mut world.is_continued);
                            let turn = world.turns.now();
                            if !is_known {
                                world.pass_continued(turn);
                            }
                            if !is_stopped(turn) {
                                world.orders.push_back(Order::Seen(turn));
                            }
                        });
                    }
                    if self.arrived > 0 {
                        add(&|world| {
                            world.arrived -= 1;
                            let to_end = world.stops.heard(false, world.turns.now());
                            world.orders.extend(to_end.map(Order::Stop));
                        });
                    }
                }
            }
            steps
        }
    }

    /// Everything that can happen, if others do so many of those deeds: what must never be, and what must be when nobody has
    /// anything left to do, to which it comes from everywhere.
    fn explore(count: u8, deeds: &[Deed], never: impl Fn(&World) -> bool, in_the_end: impl Fn(&World) -> bool) {
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
            arrived: 0,
            stops: Stops::default(),
            was_continued: None,
            group_stops: 0,
            halts: 0,
            deeds: count,
        };
        let (mut seen, mut to_visit, mut ends) = (HashSet::from([start.clone()]), vec![start], 0);
        while let Some(world) = to_visit.pop() {
            let steps = world.steps();
            if steps.is_empty() {
                ends += 1;
                assert!(in_the_end(&world), "{world:?}");
            }
            // Nobody runs in circles: each change of the command is a turn.
            assert!(world.turns.now() < 40 && world.orders.len() < 40, "{world:?}");
            assert!(!never(&world), "{world:?}");
            for next in steps.into_iter().chain(world.deeds(deeds)) {
                if seen.insert(next.clone()) {
                    to_visit.push(next);
                }
            }
        }
        assert!(ends > 5, "{ends} of {}", seen.len());
    }

    fn is_front_as_command(world: &World) -> bool {
        let is_as_others_want = world.front_is_stopped_by_others && !world.command_is_stopped;
        world.front_is_stopped == world.command_is_stopped || is_as_others_want
    }

    /// Whatever others do, and whoever is late: the front runs if the command does, and else is stopped.
    #[test]
    fn in_the_end_the_front_does_what_the_command_does() {
        let deeds = [World::stop_command, World::continue_command, World::continue_front, World::halt_front];
        explore(6, &deeds, |_| false, is_front_as_command);
    }

    /// And who continues the front, the command.
    #[test]
    fn who_stops_the_front_stops_the_command() {
        let in_the_end = |world: &World| {
            is_front_as_command(world) && world.was_continued.is_none_or(|was| was != world.command_is_stopped)
        };
        explore(4, &[World::stop_or_continue_front], |_| false, in_the_end);
        let deeds = [World::stop_front, World::stop_group, World::continue_command, World::continue_front];
        explore(5, &deeds, |_| false, is_front_as_command);
    }

    /// However late anybody hears of it.
    #[test]
    fn a_group_that_stops_itself_stops_once_and_goes_on_once_a_shell_continues_it() {
        let deeds = [World::stop_group, World::continue_group];
        let never = |world: &World| world.halts > world.group_stops;
        explore(4, &deeds, never, is_front_as_command);
    }
}
