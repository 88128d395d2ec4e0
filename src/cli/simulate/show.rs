//! The figures as a table.

use super::Report;
use super::summary::{Figures, Summary};
use crate::model::Time;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

/// The report as text, with the `top` accounts that are done last.
pub(super) fn text(report: &Report, top: usize) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{} of {} in {}; every answer takes {} ms, arrivals {}× as fast",
        number(report.would.total.messages, "message", "messages"),
        number(report.would.accounts.len(), "account", "accounts"),
        number(report.would.corps.len(), "company", "companies"),
        report.answer_time_ms,
        report.speed
    );
    let _ = writeln!(
        text,
        "limits: {} ms per account, {} per hour and company of which {} are reserved\n",
        report.account_interval_ms, report.corp_per_hour, report.corp_reserve
    );
    let _ = writeln!(
        text,
        "{:<28} {:>8} {:>8} {:>7}  {:<24} {:<24} {:>9} {:>9} {:>9} {:>7} {:>9}",
        "", "messages", "sent", "expired", "first arrival", "drained at", "wait p50", "p99", "max", "hour", "least gap"
    );
    let happened = report.happened.as_ref();
    lines(&mut text, "all", Some(&report.would.total), happened.map(|summary| &summary.total));
    for corp in names(&report.would, happened, |summary| summary.corps.keys()) {
        let would = report.would.corps.get(corp);
        lines(&mut text, &format!("company {corp:?}"), would, happened.and_then(|summary| summary.corps.get(corp)));
    }
    let mut accounts: Vec<(&String, &Figures)> = report.would.accounts.iter().collect();
    accounts.sort_by(|a, b| b.1.drained_at.cmp(&a.1.drained_at).then(a.0.cmp(b.0)));
    for (account, figures) in accounts.iter().take(top) {
        let really = happened.and_then(|summary| summary.accounts.get(*account));
        lines(&mut text, &format!("account {account:?}"), Some(figures), really);
    }
    if accounts.len() > top {
        let more = number(accounts.len() - top, "account that is", "accounts that are");
        let _ = writeln!(text, "… and {more} done earlier; --top shows more");
    }
    text
}

fn names<'a, I: Iterator<Item = &'a String>>(
    would: &'a Summary,
    happened: Option<&'a Summary>,
    keys: impl Fn(&'a Summary) -> I,
) -> BTreeSet<&'a String> {
    keys(would).chain(happened.into_iter().flat_map(keys)).collect()
}

fn lines(text: &mut String, name: &str, would: Option<&Figures>, happened: Option<&Figures>) {
    if let Some(figures) = would {
        text.push_str(&line(name, figures));
    }
    if let Some(figures) = happened {
        text.push_str(&line("  really", figures));
    }
}

fn line(name: &str, figures: &Figures) -> String {
    let name: String = name.chars().take(28).collect();
    format!(
        "{name:<28} {:>8} {:>8} {:>7}  {:<24} {:<24} {:>9} {:>9} {:>9} {:>7} {:>9}\n",
        figures.messages,
        figures.sent,
        figures.expired,
        moment(figures.first),
        moment(figures.drained_at),
        span(figures.wait_p50),
        span(figures.wait_p99),
        span(figures.wait_max),
        figures.largest_hour.map_or("-".to_owned(), |sends| sends.to_string()),
        figures.smallest_gap.map_or("-".to_owned(), span),
    )
}

fn number(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn moment(time: Option<Time>) -> String {
    time.map_or("-".to_owned(), |time| time.to_string())
}

/// To the millisecond below a minute, to the second above.
fn span(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{seconds:.3}s");
    }
    let whole = Duration::from_secs(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX).as_secs());
    humantime::format_duration(whole).to_string().replace(' ', "")
}
