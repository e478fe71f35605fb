//! In how two clocks are read as one, on Apple's systems.

flaws! {
    "of two clocks, a suspend is not counted" by "clock::tests::a_suspend_counts_on_the_clock_of_two" {
        "clock.rs": "if counted > passed.saturating_add(Self::TREMBLE) { counted } else { passed }" => "passed"
    }
    "of two clocks, the one that steps back is believed" by "clock::tests::a_step_back_is_no_step_of_the_clock_of_two" {
        "clock.rs": "if counted > passed.saturating_add(Self::TREMBLE) { counted } else { passed }" => "counted"
    }
    "of two clocks, every look takes the faster"
        by "clock::tests::who_looks_often_at_the_clock_of_two_does_not_make_it_fast" {
        "clock.rs": "if counted > passed.saturating_add(Self::TREMBLE) { counted } else { passed }" => "counted.max(passed)"
    }
}
