//! How long after the first moment that its account's interval allows a message reaches the sender, while every account
//! always has another one waiting.
//!
//! The beginning is told apart from what follows it. Accounts begin in one of two ways: one after the other over an
//! interval, as those of a day do, so that messages are due as evenly as the limits allow; and all at once, as after a
//! standstill, so that they stay in step and want to send in the same part of each interval, as fast as they could in
//! the beginning. Each is measured with a sender that answers at once, and with one whose answers take a while, and not
//! all the same.
//!
//! All of it is by the sender's clock: the moment at which it answered the account's last message, and the interval
//! from then on. So both ways over the network, the reading of the answer, its journal and the guard that the bridge
//! adds are in the figure. A message has arrived when the sender's kernel has it (`SO_TIMESTAMPNS`); when the program
//! has read it is told as well, but says how busy the sender is, which has one thread and shares the cores with all
//! else.

use crate::load::Pace;
use crate::programs::{Program, Rig};
use crate::{ACCOUNTS, Line};
use std::path::Path;
use std::time::Duration;

/// What an account waits between an answer and its next message: the bridge's default.
pub const INTERVAL: Duration = Duration::from_millis(500);
/// Messages that wait for each account, so that none is ever idle.
const WAITING: usize = 5;
const WARM_UP: Duration = Duration::from_secs(5);
const WINDOW: Duration = Duration::from_secs(10);

/// What is measured once.
#[derive(Clone, Copy)]
struct Case {
    /// Over how long the accounts begin.
    over: Duration,
    /// What answers take at least, and how much more at most.
    least: Duration,
    more: Duration,
}

/// Prints four Markdown tables.
pub fn run(program: &Program, directory: &Path) {
    for over in [INTERVAL, Duration::ZERO] {
        for (least, more) in [(0, 0), (10, 20)] {
            let [least, more] = [least, more].map(Duration::from_millis);
            measure(program, directory, Case { over, least, more });
            println!();
        }
    }
}

fn measure(program: &Program, directory: &Path, case: Case) {
    let Case { over, least, more } = case;
    let timers = late(&Program::Timers { over }, directory, case);
    let [first, late] = late(program, directory, case);
    let most = f64::from(ACCOUNTS) / (INTERVAL + least + more / 2).as_secs_f64();
    let (interval, warm_up, window) = (INTERVAL.as_millis(), WARM_UP.as_secs(), WINDOW.as_secs());
    let answers = match (least.as_millis(), (least + more).as_millis()) {
        (0, 0) => "at once".to_owned(),
        (least, most) => format!("after {least} to {most} ms"),
    };
    let begun = if over.is_zero() { "in step" } else { "one after the other" };
    println!(
        "| {ACCOUNTS} accounts {begun}, {interval} ms, answers {answers} | first {warm_up} s | {window} s from then on | timers alone, these {window} s |"
    );
    println!("|---|---|---|---|");
    let rate = |line: &Line| {
        // The first message of each account has no answer before it, and is not counted.
        let rate = (line.value("counted") + f64::from(ACCOUNTS)) / WINDOW.as_secs_f64();
        format!("{rate:.0} msg/s, {:.3} of what the interval allows", rate / most)
    };
    println!("| rate | | {} | {} |", rate(&late), rate(&timers[1]));
    let early = |line: &Line| format!("{} of {}", line.value("early"), line.value("counted"));
    println!("| too early | {} | {} | {} |", early(&first), early(&late), early(&timers[1]));
    for (words, prefix) in [("late", ""), ("late when the sender has read it", "read_")] {
        for percentile in ["p50", "p90", "p99", "p999", "most"] {
            let millis = |line: &Line| line.value(&format!("{prefix}{percentile}_us")) / 1000.0;
            let (first, late, timers) = (millis(&first), millis(&late), millis(&timers[1]));
            println!("| {words}, {percentile} | {first:.2} ms | {late:.2} ms | {timers:.2} ms |");
        }
    }
}

/// What the sender saw of a program in the beginning, and from then on.
fn late(program: &Program, directory: &Path, Case { over, least, more }: Case) -> [Line; 2] {
    let mut rig = Rig::start(program, directory);
    rig.set_sender_wait(least, more);
    let sender = rig.sender();
    // Each question begins the count anew.
    sender.lateness();
    let outstanding = ACCOUNTS as usize * WAITING;
    std::thread::scope(|scope| {
        let seen = scope.spawn(|| {
            std::thread::sleep(WARM_UP);
            let first = Line(sender.lateness());
            std::thread::sleep(WINDOW);
            [first, Line(sender.lateness())]
        });
        if !matches!(program, Program::Timers { .. }) {
            rig.load(Pace::Spread { outstanding, over }, WARM_UP, WINDOW);
        }
        seen.join().expect("two answers")
    })
}
