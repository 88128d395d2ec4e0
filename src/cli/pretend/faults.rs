//! What the pretend sender does wrong, and when. Pure: the draws come from a seed and from the request itself, so that
//! the same requests meet the same faults in whatever order they arrive.

use super::callback::Report;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

/// "Too frequent": code and words.
pub const TOO_FREQUENT: (i64, &str) = (-1_000_999, "Abnormal request frequency");

/// How one request is treated. The effect comes before the delay, so that a client that gives up while it waits has a
/// message on the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// On top of the latency.
    pub delay: Duration,
    /// Whether the message reaches its receiver, whatever is answered.
    pub effect: bool,
    pub act: Act,
    /// The callback about the message, where callbacks are made.
    pub report: Report,
}

/// What the client gets to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// The answer of a send that worked.
    Answer,
    /// HTTP 200 with this code and these words.
    Code {
        code: i64,
        msg: Box<str>,
    },
    Status {
        status: u16,
        retry_after: Option<Box<str>>,
    },
    /// HTTP 200 with a page of HTML.
    Html,
    /// The head and the first half of the body, then the end of the connection.
    Cut,
    /// Nothing, until the client goes away.
    Silence,
    Reset,
}

impl Behaviour {
    pub const fn answer() -> Self {
        Self::despite(Act::Answer)
    }

    /// `act` without the effect.
    pub const fn refuse(act: Act) -> Self {
        Self { delay: Duration::ZERO, effect: false, act, report: Report::USUAL }
    }

    /// `act` after the effect.
    pub const fn despite(act: Act) -> Self {
        Self { delay: Duration::ZERO, effect: true, act, report: Report::USUAL }
    }

    pub fn code(code: i64, msg: &str) -> Self {
        Self::refuse(Act::Code { code, msg: Box::from(msg) })
    }

    pub fn offline() -> Self {
        Self::code(1, "企微不在线")
    }

    /// The platform's code for more than it likes, which it also puts into callbacks.
    pub fn too_frequent() -> Self {
        Self::code(TOO_FREQUENT.0, TOO_FREQUENT.1)
    }

    /// Answered like a message that was sent; the callback says that it was not.
    pub fn undelivered(code: i64, words: &str) -> Self {
        Self { report: Report::failed(code, words), ..Self::refuse(Act::Answer) }
    }

    pub const fn status(status: u16) -> Self {
        Self::refuse(Act::Status { status, retry_after: None })
    }

    pub fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    pub fn reported(self, report: Report) -> Self {
        Self { report, ..self }
    }
}

/// What a rule or a script can go by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestInfo {
    pub account: Box<str>,
    /// The path below the base, such as `/msg/text`.
    pub path: Box<str>,
    /// The message's token.
    pub message: Box<str>,
    pub request_id: Option<Box<str>>,
    /// How many requests to send came before, all accounts together.
    pub earlier: u64,
}

/// One fault on order.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    pub behaviour: Behaviour,
    /// From 0, never, to 1, always.
    pub probability: f64,
    /// `None` for all.
    pub account: Option<Box<str>>,
    /// How often it still happens; `None` for ever.
    pub times: Option<u32>,
}

impl Rule {
    pub const fn always(behaviour: Behaviour) -> Self {
        Self::sometimes(1.0, behaviour)
    }

    pub const fn sometimes(probability: f64, behaviour: Behaviour) -> Self {
        Self { behaviour, probability, account: None, times: None }
    }

    pub fn times(self, times: u32) -> Self {
        Self { times: Some(times), ..self }
    }
}

/// Which requests meet which fault.
#[derive(Default)]
pub enum Faults {
    #[default]
    None,
    /// The first that applies.
    Rules(Vec<Rule>),
    Script(Script),
}

/// Decides by what it likes; called in the order of arrival.
pub type Script = Box<dyn FnMut(&RequestInfo) -> Behaviour + Send>;

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Rules(rules) => f.debug_tuple("Rules").field(rules).finish(),
            Self::Script(_) => f.write_str("Script"),
        }
    }
}

impl Faults {
    pub fn script(script: impl FnMut(&RequestInfo) -> Behaviour + Send + 'static) -> Self {
        Self::Script(Box::new(script))
    }

    pub fn decide(&mut self, request: &RequestInfo, dice: &mut Dice) -> Behaviour {
        match self {
            Self::None => Behaviour::answer(),
            Self::Script(script) => script(request),
            Self::Rules(rules) => {
                rules.iter_mut().find_map(|rule| rule.apply(request, dice)).unwrap_or_else(Behaviour::answer)
            }
        }
    }
}

impl Rule {
    fn apply(&mut self, request: &RequestInfo, dice: &mut Dice) -> Option<Behaviour> {
        // Drawn even when the rule cannot apply, so that one rule's end does not change the draws of the next.
        let drawn = dice.fraction();
        let concerns = self.account.as_ref().is_none_or(|account| *account == request.account);
        if !concerns || self.times == Some(0) || drawn >= self.probability {
            return None;
        }
        self.times = self.times.map(|times| times - 1);
        Some(self.behaviour.clone())
    }
}

/// The draws of one request (SplitMix64).
#[derive(Clone, Debug)]
pub struct Dice {
    state: u64,
}

impl Dice {
    /// `token` is what tells this request from all others.
    pub fn new(seed: u64, token: &[u8]) -> Self {
        // FNV-1a: only has to differ, nobody chooses tokens to collide with a pretend sender.
        let hash = token.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Self { state: seed ^ hash }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// At least 0 and below 1.
    pub fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub fn within(&mut self, range: &RangeInclusive<Duration>) -> Duration {
        let width = range.end().saturating_sub(*range.start());
        *range.start() + width.mul_f64(self.fraction())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(account: &str) -> RequestInfo {
        RequestInfo {
            account: Box::from(account),
            path: Box::from("/msg/text"),
            message: Box::from("m"),
            request_id: None,
            earlier: 0,
        }
    }

    fn decide(faults: &mut Faults, account: &str, token: u32) -> Behaviour {
        faults.decide(&request(account), &mut Dice::new(7, &token.to_le_bytes()))
    }

    #[test]
    fn a_rule_happens_as_often_as_it_says() {
        let half = Rule::sometimes(0.25, Behaviour::status(500));
        let mut faults = Faults::Rules(vec![half]);
        let hits = |faults: &mut Faults| -> Vec<bool> {
            (0..4000).map(|token| decide(faults, "a", token) == Behaviour::status(500)).collect()
        };
        let first = hits(&mut faults);
        let count = first.iter().filter(|hit| **hit).count();
        assert!((900..=1100).contains(&count), "{count}");
        assert_eq!(hits(&mut faults), first, "the same requests must meet the same faults");
        let mut never = Faults::Rules(vec![Rule::sometimes(0.0, Behaviour::offline())]);
        assert!((0..100).all(|token| decide(&mut never, "a", token) == Behaviour::answer()));
    }

    #[test]
    fn rules_end_and_concern_their_account() {
        let limited = Rule::always(Behaviour::offline()).times(2);
        let own = Rule { account: Some(Box::from("b")), ..Rule::always(Behaviour::status(503)) };
        let mut faults = Faults::Rules(vec![own, limited]);
        assert_eq!(decide(&mut faults, "a", 1), Behaviour::offline());
        assert_eq!(decide(&mut faults, "b", 2), Behaviour::status(503));
        assert_eq!(decide(&mut faults, "a", 3), Behaviour::offline());
        assert_eq!(decide(&mut faults, "a", 4), Behaviour::answer());
        assert_eq!(decide(&mut faults, "b", 5), Behaviour::status(503));
    }

    #[test]
    fn a_latency_stays_in_its_range() {
        let range = Duration::from_millis(10)..=Duration::from_millis(20);
        for token in 0..1000_u32 {
            let latency = Dice::new(1, &token.to_le_bytes()).within(&range);
            assert!(range.contains(&latency), "{latency:?}");
        }
    }
}
