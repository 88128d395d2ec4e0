//! How long after the first moment that its account's interval allows a message reaches the sender, while every account
//! always has another one waiting.
//!
//! The flood of the beginning is told apart from what follows it. It is measured twice: with a sender that answers at
//! once, where all accounts that were flooded together stay in step and want to send in the same part of each interval,
//! and with one whose answers take a while, and not all the same, where they spread.
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

/// Prints two Markdown tables.
pub fn run(program: &Program, directory: &Path) {
    measure(program, directory, Duration::ZERO, Duration::ZERO);
    println!();
    measure(program, directory, Duration::from_millis(10), Duration::from_millis(20));
}

/// With a sender whose answers take `least`, and up to `more` on top of it.
fn measure(program: &Program, directory: &Path, least: Duration, more: Duration) {
    let timers = late(&Program::Timers, directory, least, more);
    let [first, late] = late(program, directory, least, more);
    let most = f64::from(ACCOUNTS) / (INTERVAL + least + more / 2).as_secs_f64();
    let (interval, warm_up, window) = (INTERVAL.as_millis(), WARM_UP.as_secs(), WINDOW.as_secs());
    let answers = match (least.as_millis(), (least + more).as_millis()) {
        (0, 0) => "at once".to_owned(),
        (least, most) => format!("after {least} to {most} ms"),
    };
    println!(
        "| {ACCOUNTS} accounts, {interval} ms, answers {answers} | first {warm_up} s | {window} s from then on | timers alone, these {window} s |"
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
fn late(program: &Program, directory: &Path, least: Duration, more: Duration) -> [Line; 2] {
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
        if !matches!(program, Program::Timers) {
            rig.load(Pace::Closed { outstanding }, WARM_UP, WINDOW);
        }
        seen.join().expect("two answers")
    })
}
