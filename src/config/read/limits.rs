use super::{HOUR, MINUTE, SECOND};
use crate::config::problem::Problems;
use crate::config::section::Section;
use crate::config::settings::{CorpLimit, Limits, MeasuredFrom, choices};
use crate::model::{Account, Corp};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

/// What the platform allows an account.
const INTERVAL: Duration = Duration::from_millis(500);
/// Less is counted as this.
const INTERVAL_LEAST: Duration = Duration::from_millis(1);
/// What the platform allows a company.
const PER_HOUR: u32 = 50_000;
const PER_HOUR_RANGE: RangeInclusive<i64> = 1..=10_000_000;
/// More than half kept back would be a quota for urgent messages, which is not what a reserve is.
const RESERVE_MOST: u8 = 50;

pub(super) fn read(section: &Section<'_>, problems: &mut Problems) -> Limits {
    let account_interval = interval(section, "account_interval", INTERVAL, problems);
    let corp = corp_limit(section, ["corp_per_hour", "corp_reserve", "corp_burst"], None, problems);
    let cool_down = section.duration("cool_down", 2 * SECOND, SECOND / 2..=HOUR, problems);
    let cool_down_max = section.duration("cool_down_max", 5 * MINUTE, SECOND..=24 * HOUR, problems);
    if cool_down > cool_down_max {
        let message = "is longer than cool_down_max; shorten it or lengthen cool_down_max";
        section.contradiction("cool_down", "cool_down_max", message, problems);
    }
    Limits {
        account_interval,
        corp,
        measured_from: section.choice("measured_from", choices::MEASURED_FROM, MeasuredFrom::Response, problems),
        cool_down,
        cool_down_max,
        corps: corps(section, corp, problems),
        accounts: accounts(section, problems),
    }
}

fn interval(section: &Section<'_>, name: &str, default: Duration, problems: &mut Problems) -> Duration {
    let span = section.duration(name, default, Duration::ZERO..=HOUR, problems);
    if span < INTERVAL {
        let message = "is below the 500ms that the platform allows an account; accounts may be blocked";
        let counted = if span < INTERVAL_LEAST { "; counted as 1ms, which is the least" } else { "" };
        section.warn(name, format!("{message}{counted}"), problems);
    }
    span.max(INTERVAL_LEAST)
}

/// One company's hour under the keys that the table has for it.
fn corp_limit(section: &Section<'_>, keys: [&str; 3], base: Option<CorpLimit>, problems: &mut Problems) -> CorpLimit {
    let [per_hour_key, reserve_key, burst_key] = keys;
    let base = base.unwrap_or(CorpLimit { per_hour: PER_HOUR, reserve: 2, burst: None });
    let per_hour = section.count(per_hour_key, base.per_hour, PER_HOUR_RANGE, problems);
    if per_hour > PER_HOUR && section.has(per_hour_key) {
        let message = "is above the 50000 that the platform allows a company in an hour; its accounts may be blocked";
        section.warn(per_hour_key, message, problems);
    }
    let own = section.integer(burst_key, PER_HOUR_RANGE, problems).and_then(|burst| u32::try_from(burst).ok());
    if own.is_some_and(|burst| burst > per_hour) {
        let message = format!("is above {per_hour_key}, so it would never be reached; lower it or leave it out");
        section.contradiction(burst_key, per_hour_key, message, problems);
    }
    // A company with a smaller hour than all others has a smaller burst too, without saying so.
    let burst = own.or(base.burst.map(|burst| burst.min(per_hour)));
    CorpLimit { per_hour, reserve: section.percent(reserve_key, base.reserve, RESERVE_MOST, problems), burst }
}

fn corps(section: &Section<'_>, base: CorpLimit, problems: &mut Problems) -> BTreeMap<Corp, CorpLimit> {
    let mut found = BTreeMap::new();
    for inner in section.sections("corp") {
        if !inner.has("corp") {
            inner.missing("corp", "say which company it is for", problems);
        }
        let limit = corp_limit(&inner, ["per_hour", "reserve", "burst"], Some(base), problems);
        let Some(corp) = inner.text("corp", problems) else { continue };
        if found.insert(Corp::new(&corp), limit).is_some() {
            inner.error("corp", format!("{corp:?} is there twice; keep one"), problems);
        }
    }
    found
}

fn accounts(section: &Section<'_>, problems: &mut Problems) -> BTreeMap<Account, Duration> {
    let mut found = BTreeMap::new();
    for inner in section.sections("account") {
        if !inner.has("account") {
            inner.missing("account", "say which account it is for", problems);
        }
        if !inner.has("interval") {
            inner.missing("interval", "say how far apart its messages are, as in interval = \"2s\"", problems);
        }
        let span = interval(&inner, "interval", INTERVAL, problems);
        let Some(account) = inner.text("account", problems) else { continue };
        if found.insert(Account::new(&account), span).is_some() {
            inner.error("account", format!("{account:?} is there twice; keep one"), problems);
        }
    }
    found
}
