//! What goes wrong on order, when, and what it shows.

use crate::cli::pretend::{Act, Behaviour, Faults, Rule};
use std::time::Duration;

/// A step of the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Busy,
    Breaks,
    SecondWave,
    Refusals,
    Repeats,
    Outage,
    Back,
    BridgeStops,
    BridgeStarts,
    LateRepeats,
}

/// The steps with their times since the first publish, in order.
pub const STEPS: [(Duration, Step); 10] = [
    (Duration::from_millis(2_500), Step::Busy),
    (Duration::from_millis(4_500), Step::SecondWave),
    (Duration::from_millis(5_500), Step::Breaks),
    (Duration::from_millis(7_500), Step::Refusals),
    (Duration::from_millis(9_500), Step::Repeats),
    (Duration::from_millis(11_000), Step::Outage),
    (Duration::from_millis(12_500), Step::Back),
    (Duration::from_millis(16_000), Step::BridgeStops),
    (Duration::from_millis(17_500), Step::BridgeStarts),
    (Duration::from_millis(20_500), Step::LateRepeats),
];

impl Step {
    /// What the newcomer reads: what happens, and what it means. Two lines on the screen at most.
    pub const fn says(self) -> &'static str {
        match self {
            Self::Busy => "sender: the next 3 requests get 503 \"come back in 1 s\": proven not sent, tried again",
            Self::Breaks => {
                "sender: the next 5 connections break before the answer: nobody can know, so none is sent again"
            }
            Self::SecondWave => "publisher: publishes more while the queue is still long",
            Self::Refusals => {
                "sender: 1 \"too frequent\" (account rests 2 s), 2 temporary errors (tried again), 2 refusals (final)"
            }
            Self::Repeats | Self::LateRepeats => {
                "publisher: repeats answered messages: answered again, never sent again"
            }
            Self::Outage => "sender: is down: messages wait, none is lost",
            Self::Back => "sender: is back",
            Self::BridgeStops => "bridge: stops in the middle of all this; messages go on being published",
            Self::BridgeStarts => "bridge: starts again on its journal, and remembers messages and limits",
        }
    }

    /// The faults from this step on; `None` where they stay as they are.
    pub fn faults(self) -> Option<Faults> {
        let rules = match self {
            Self::Busy => {
                let act = Act::Status { status: 503, retry_after: Some(Box::from("1")) };
                vec![Rule::always(Behaviour::refuse(act)).times(3)]
            }
            // Some of them after the message has arrived, some before: from outside they look the same.
            Self::Breaks => vec![
                Rule::always(Behaviour::despite(Act::Reset)).times(2),
                Rule::always(Behaviour::refuse(Act::Reset)).times(2),
                Rule::always(Behaviour::despite(Act::Cut)).times(1),
            ],
            Self::Refusals => vec![
                Rule::always(Behaviour::code(-1_000_999, "Abnormal request frequency")).times(1),
                Rule::always(Behaviour::code(500, TEMPORARY_WORDS)).times(2),
                Rule::always(Behaviour::code(20_003, "not a friend of the receiver")).times(2),
            ],
            Self::Outage => Vec::new(),
            Self::SecondWave
            | Self::Repeats
            | Self::Back
            | Self::BridgeStops
            | Self::BridgeStarts
            | Self::LateRepeats => return None,
        };
        Some(if rules.is_empty() { Faults::None } else { Faults::Rules(rules) })
    }
}

/// What the demo's configuration lists as a temporary error.
pub const TEMPORARY_WORDS: &str = "please try later";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_in_order_and_leave_time_to_finish() {
        assert!(STEPS.is_sorted_by_key(|(at, _)| *at));
        assert!(STEPS.last().is_some_and(|(at, _)| *at < Duration::from_secs(25)));
    }
}
