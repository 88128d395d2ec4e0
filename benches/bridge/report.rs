//! Figures of many rounds as ratios to the plain program of the same round.

use std::fmt::Write as _;

/// What one program showed in one round. All are absolute, and good only within that round.
#[derive(Clone, Debug, Default)]
pub struct Round {
    /// Microseconds of one `fdatasync`, just before.
    pub fdatasync_us: f64,
    /// Messages per second in the closed loop, by the sender's latency.
    pub rate_0_ms: f64,
    pub rate_20_ms: f64,
    /// CPU seconds per 10,000 messages in the closed loop at 0 ms: of the program, and of the broker.
    pub cpu_s: f64,
    pub broker_cpu_s: f64,
    /// Durable commits per message in the closed loop at 0 ms, and in the open loop at 50 a second.
    pub commits_busy: f64,
    pub commits_idle: f64,
    /// Milliseconds from publish to answer, in the open loop.
    pub p50_at_50: f64,
    pub p99_at_50: f64,
    pub p50_at_500: f64,
    pub p99_at_500: f64,
    /// MiB of resident memory: after the first message, and the peak under load.
    pub rss_rest: f64,
    pub rss_peak: f64,
    /// Messages without an answer, answers that were errors, and answers too many.
    pub wrong: u64,
}

/// One row of the table.
pub struct Figure {
    pub name: &'static str,
    unit: &'static str,
    pub of: fn(&Round) -> f64,
}

pub const FIGURES: [Figure; 12] = [
    Figure { name: "throughput, sender 0 ms", unit: "msg/s", of: |round| round.rate_0_ms },
    Figure { name: "throughput, sender 20 ms", unit: "msg/s", of: |round| round.rate_20_ms },
    Figure { name: "CPU per 10,000 messages", unit: "s", of: |round| round.cpu_s },
    Figure { name: "broker CPU per 10,000 messages", unit: "s", of: |round| round.broker_cpu_s },
    Figure { name: "latency p50 at 50/s", unit: "ms", of: |round| round.p50_at_50 },
    Figure { name: "latency p99 at 50/s", unit: "ms", of: |round| round.p99_at_50 },
    Figure { name: "latency p50 at 500/s", unit: "ms", of: |round| round.p50_at_500 },
    Figure { name: "latency p99 at 500/s", unit: "ms", of: |round| round.p99_at_500 },
    Figure { name: "resident memory at rest", unit: "MiB", of: |round| round.rss_rest },
    Figure { name: "resident memory, peak", unit: "MiB", of: |round| round.rss_peak },
    Figure { name: "commits per message, closed loop", unit: "", of: |round| round.commits_busy },
    Figure { name: "commits per message, 50/s", unit: "", of: |round| round.commits_idle },
];

/// A Markdown table of `programs` (the first is the one that all are compared with), each with its rounds.
pub fn table(programs: &[(String, Vec<Round>)]) -> String {
    let mut text = String::from("| figure |");
    for (name, _) in programs {
        write!(text, " {name} |").expect("a string grows");
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(programs.len()));
    text.push('\n');
    let base = &programs[0].1;
    let is_measured =
        |figure: &&Figure| programs.iter().flat_map(|(_, rounds)| rounds).any(|round| (figure.of)(round) != 0.0);
    for figure in FIGURES.iter().filter(is_measured) {
        write!(text, "| {} |", figure.name).expect("a string grows");
        for (position, (_, rounds)) in programs.iter().enumerate() {
            let own: Vec<f64> = rounds.iter().map(figure.of).collect();
            let cell = cell(position == 0, figure.unit, &own, ratios(figure, rounds, base));
            write!(text, " {cell} |").expect("a string grows");
        }
        text.push('\n');
    }
    let fdatasync: Vec<f64> = programs.iter().flat_map(|(_, rounds)| rounds).map(|round| round.fdatasync_us).collect();
    writeln!(text, "\nfdatasync of 4 KiB appended: {} us", range(&fdatasync)).expect("a string grows");
    for (name, rounds) in programs {
        let wrong: u64 = rounds.iter().map(|round| round.wrong).sum();
        if wrong > 0 {
            writeln!(text, "{name}: {wrong} messages without the one right answer").expect("a string grows");
        }
    }
    text
}

/// A figure of each round by that of the same round of another program.
pub fn ratios(figure: &Figure, rounds: &[Round], base: &[Round]) -> Vec<f64> {
    rounds.iter().zip(base).map(|(own, base)| (figure.of)(own) / (figure.of)(base)).collect()
}

fn cell(is_base: bool, unit: &str, own: &[f64], ratios: Vec<f64>) -> String {
    if own.iter().all(|value| *value == 0.0) {
        return "-".to_owned();
    }
    let own = format!("{} {unit}", range(own));
    if is_base || ratios.iter().any(|ratio| !ratio.is_finite()) {
        return own.trim().to_owned();
    }
    format!("**{}** ({})", range(&ratios), own.trim())
}

/// Minimum, median and maximum.
fn range(values: &[f64]) -> String {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    // Of an even number the mean of the two in the middle.
    let median = (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0;
    let [min, median, max] = [values[0], median, values[values.len() - 1]].map(short);
    if values.len() == 1 { median } else { format!("{min} - {median} - {max}") }
}

pub fn short(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}
