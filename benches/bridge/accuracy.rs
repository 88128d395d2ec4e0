//! How long after the first moment that its account's interval allows a message reaches the sender, while every account
//! always has another one waiting.
//!
//! All of it is by the sender's clock: the moment at which it answered the account's last message, and the interval
//! from then on. So both ways over the network, the reading of the answer, its journal and the guard that the bridge
//! adds are in the figure.

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

/// Prints a Markdown table.
pub fn run(program: &Program, directory: &Path) {
    let mut rig = Rig::start(program, directory);
    // What is asked for first begins the count, so the flood of the beginning is in it too.
    rig.lateness();
    let outstanding = ACCOUNTS as usize * WAITING;
    let line = Line(rig.load(Pace::Closed { outstanding }, WARM_UP, WINDOW));
    let late = Line(rig.lateness());
    let most = f64::from(ACCOUNTS) / INTERVAL.as_secs_f64();
    let rate = line.value("messages") / line.value("seconds");
    println!("| {ACCOUNTS} accounts, each with a message every {} ms | |\n|---|---|", INTERVAL.as_millis());
    println!("| rate | {rate:.0} msg/s, {:.3} of what the interval allows |", rate / most);
    println!("| too early | {} of {} |", late.value("early"), late.value("counted"));
    for percentile in ["p50", "p90", "p99", "p999", "most"] {
        println!("| late, {percentile} | {:.2} ms |", late.value(&format!("{percentile}_us")) / 1000.0);
    }
}
