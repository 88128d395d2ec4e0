//! The virtual sender: requests in flight, their effects, and what the bridge hears of them.

use super::random::Random;
use super::scenario::Mood;
use crate::model::{Account, Corp, Doubt, NotSent, Sender, Seq, Verdict};
use std::collections::BTreeMap;
use std::time::Duration;

/// After this long the bridge gives a request up.
const TIME_OUT: Duration = Duration::from_secs(3);

#[derive(Default)]
pub struct Server {
    pub requests: Vec<Sent>,
    pub by_message: BTreeMap<Seq, Vec<usize>>,
    /// Requests that have not arrived yet.
    pub under_way: usize,
}

/// A request that was made.
pub struct Sent {
    pub seq: Seq,
    pub attempt: u32,
    pub life: u32,
    pub account: Account,
    pub corp: Corp,
    pub fate: Fate,
    /// Whether the platform has it.
    pub arrived: bool,
}

/// What becomes of a request.
#[derive(Clone, Debug)]
pub struct Fate {
    /// How long until the receiver sees it; `None` when it never does.
    pub arrives_after: Option<Duration>,
    pub effect: bool,
    pub ends_after: Duration,
    pub verdict: Verdict,
    /// Something else that the bridge is told later, which it has to ignore.
    pub echo: Option<(Duration, Verdict)>,
}

impl Server {
    /// Whether a request for the message works, now or later.
    pub fn has_effect(&self, seq: Seq) -> bool {
        self.by_message.get(&seq).into_iter().flatten().any(|index| self.requests[*index].fate.effect)
    }
}

impl Sent {
    pub fn is_late(&self) -> bool {
        self.fate.arrives_after.is_some_and(|after| after > self.fate.ends_after)
    }
}

pub fn confirmed(seq: Seq, attempt: u32) -> Verdict {
    // In capitals, which the platform's reports are not in.
    Verdict::Confirmed { msg_id: Some(super::callbacks::platform_id(seq, attempt).to_uppercase().into()) }
}

fn not_sent(why: NotSent) -> Verdict {
    Verdict::NotSent { why, detail: Box::default() }
}

fn unknown(why: Doubt) -> Verdict {
    Verdict::Unknown { why, detail: Box::default() }
}

/// Decides what becomes of a request that is made now.
pub fn fate(random: &mut Random, seq: Seq, attempt: u32, mood: Mood, online: bool, calm: bool) -> Fate {
    let mut there = random.millis(1, 120);
    let back = random.millis(1, 120);
    if random.percent(10) && !calm {
        there += random.millis(1, 700);
    }
    let answer = |verdict: Verdict, effect: bool| Fate {
        arrives_after: Some(there),
        effect,
        ends_after: there + back,
        verdict,
        echo: None,
    };
    match mood {
        Mood::Down => {
            let verdict = not_sent(NotSent::Connect);
            return Fate { arrives_after: None, effect: false, ends_after: there, verdict, echo: None };
        }
        Mood::Busy => {
            let retry_after = random.percent(50).then(|| random.seconds(1, 20));
            return answer(not_sent(NotSent::Busy { retry_after }), false);
        }
        Mood::Silent => return time_out(random, there),
        Mood::Unauthorized => return answer(not_sent(NotSent::Unauthorized), false),
        Mood::Up => {}
    }
    if !online {
        return answer(not_sent(NotSent::Offline), false);
    }
    let works = confirmed(seq, attempt);
    if calm {
        return answer(works, true);
    }
    let roll = random.below(100);
    let mut fate = match roll {
        0..=4 => {
            let msg = Box::from("no such conversation");
            answer(Verdict::Refused { sender: Sender { http: 200, code: Some(-1), msg } }, false)
        }
        5..=6 => answer(not_sent(NotSent::TooFrequent { retry_after: None }), false),
        7..=13 => {
            let retry_after = random.percent(30).then(|| random.millis(0, 30_000));
            answer(not_sent(NotSent::Temporary { retry_after }), false)
        }
        14..=15 => answer(not_sent(NotSent::Connect), false),
        16..=25 => time_out(random, there),
        26..=28 => answer(unknown(Doubt::Reset), random.percent(50)),
        29 => {
            let status = if random.percent(50) { 500 } else { 503 };
            answer(unknown(Doubt::Status(status)), random.percent(50))
        }
        _ => answer(works, true),
    };
    if matches!(fate.verdict, Verdict::NotSent { why: NotSent::Connect, .. }) {
        fate.arrives_after = None;
    }
    if random.percent(8) {
        let contradiction = if random.percent(50) { confirmed(seq, attempt) } else { not_sent(NotSent::Connect) };
        fate.echo = Some((random.millis(0, 5000), contradiction));
    }
    fate
}

fn time_out(random: &mut Random, there: Duration) -> Fate {
    let (arrives_after, effect) = match random.below(3) {
        0 => (Some(there), true),
        1 => (None, false),
        _ => (Some(TIME_OUT + random.seconds(0, 60)), true),
    };
    Fate { arrives_after, effect, ends_after: TIME_OUT, verdict: unknown(Doubt::Timeout), echo: None }
}
