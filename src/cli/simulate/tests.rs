//! Replays of stories that are made up, and of what a real journal keeps.

use super::replay::{Assumptions, UNKNOWN_CORP, replay};
use super::summary::Fate;
use super::{Options, limits, report};
use crate::app;
use crate::journal::{Arrival, Story};
use crate::model::{Account, Corp, Seq, Time};
use clap::Parser;
use std::collections::BTreeMap;
use std::time::Duration;

const START: Time = Time::from_millis(1_700_000_000_000);
const MS: Duration = Duration::from_millis(1);

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    options: Options,
}

fn options(flags: &[&str]) -> Options {
    let flags = [&["simulate", "--journal", "none"], flags].concat();
    Line::try_parse_from(flags).expect("good flags").options
}

fn arrival(seq: u64, account: &str, after: Duration) -> Arrival {
    Arrival {
        seq: Seq(seq),
        account: Account::new(account),
        received_at: START + after,
        expires_at: None,
        not_before: None,
        priority: None,
        fate: None,
    }
}

fn assumptions(flags: &[&str], corps: &[(&str, &str)]) -> Assumptions {
    let options = options(flags);
    let limits = limits::read(&options).map_err(|error| error.to_string()).expect("limits");
    let corps = corps.iter().map(|(account, corp)| (Account::new(account), Corp::new(corp)));
    Assumptions {
        limits: app::limit_settings(&limits),
        corps: corps.collect(),
        answer_time: options.answer_time.unwrap_or(50 * MS),
        connections: 256,
        ttl: options.ttl,
        speed: options.speed,
    }
}

#[test]
fn an_account_sends_at_its_pace_and_priorities_and_times_count() {
    let mut arrivals: Vec<Arrival> = (1..=5).map(|seq| arrival(seq, "a", Duration::ZERO)).collect();
    arrivals[3].priority = Some(9);
    arrivals[1].not_before = Some(START + Duration::from_secs(60));
    arrivals[4].expires_at = Some(START + 400 * MS);
    let replayed = replay(&arrivals, &assumptions(&[], &[("a", "c")]));
    let order: Vec<(usize, Duration)> =
        replayed.requests.iter().map(|made| (made.position, made.started_at.since(START))).collect();
    // 50 ms for the answer, 500 ms of spacing, and the guard of one.
    assert_eq!(order, [(3, Duration::ZERO), (0, 551 * MS), (2, 1102 * MS), (1, Duration::from_secs(60))]);
    let fates = [Fate::Sent, Fate::Sent, Fate::Sent, Fate::Sent, Fate::Expired];
    assert_eq!(replayed.fates, fates);
}

#[test]
fn a_smaller_hour_takes_longer_and_holds() {
    let arrivals: Vec<Arrival> =
        (0..60).map(|seq| arrival(seq + 1, &format!("account-{}", seq % 3), seq as u32 * MS)).collect();
    let story = Story { arrivals, ..Story::default() };
    let flags =
        ["--corp-per-hour", "20", "--corp-reserve", "0%", "--account-interval", "100ms", "--answer-time", "10ms"];
    let options = options(&flags);
    let limits = limits::read(&options).map_err(|error| error.to_string()).expect("limits");
    let report = report(&options, &limits, &story);
    let corp = &report.would.corps[UNKNOWN_CORP];
    assert_eq!((corp.messages, corp.sent, corp.largest_hour), (60, 60, Some(20)));
    assert!(report.would.total.smallest_gap.is_some_and(|gap| gap >= 0.1), "{report:?}");
    let took = corp.drained_at.expect("it is drained").since(START);
    assert!(took > Duration::from_secs(2 * 3600) && took < Duration::from_secs(2 * 3600 + 10), "{took:?}");
    assert_eq!(report, super::report(&options, &limits, &story), "the same again");
}

#[test]
fn twice_as_fast_means_half_as_far_apart() {
    let arrivals: Vec<Arrival> =
        (0..3).map(|seq| arrival(seq + 1, "a", seq as u32 * Duration::from_secs(10))).collect();
    let replayed = replay(&arrivals, &assumptions(&["--speed", "2"], &[]));
    let starts: Vec<Duration> = replayed.requests.iter().map(|made| made.started_at.since(START)).collect();
    assert_eq!(starts, [0, 5, 10].map(Duration::from_secs));
}

#[test]
fn a_hundred_thousand_messages_are_done_and_keep_the_limits() {
    let arrivals: Vec<Arrival> = (0..100_000_u64)
        .map(|seq| arrival(seq + 1, &format!("account-{}", seq % 300), seq as u32 * Duration::from_micros(100)))
        .collect();
    let corps: BTreeMap<Account, Corp> = (0..300)
        .map(|number| (Account::new(&format!("account-{number}")), Corp::new(&format!("corp-{}", number % 2))))
        .collect();
    let story = Story { arrivals, corps, ..Story::default() };
    let options = options(&["--answer-time", "200ms", "--corp-per-hour", "40000"]);
    let limits = limits::read(&options).map_err(|error| error.to_string()).expect("limits");
    let report = report(&options, &limits, &story);
    assert_eq!(report.would.total.sent, 100_000);
    assert_eq!(report.would.total.largest_hour, Some(39_200), "the rest is reserved");
    assert!(report.would.total.smallest_gap.is_some_and(|gap| gap >= 0.5));
}

#[test]
fn limits_come_from_a_file_and_flags_go_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("limits.toml");
    let read = |text: &str, flags: &[&str]| {
        std::fs::write(&path, text).expect("room");
        let path = path.to_str().expect("text");
        limits::read(&options(&[&["--limits", path], flags].concat())).map_err(|error| error.to_string())
    };
    let whole = "[mqtt]\nurl = \"mqtt://x\"\n[limits]\naccount_interval = \"700ms\"\ncorp_per_hour = 9\n";
    let limits = read(whole, &["--corp-per-hour", "8"]).expect("limits");
    assert_eq!((limits.account_interval, limits.corp.per_hour), (700 * MS, 8));
    assert_eq!(read("corp_per_hour = 7\n", &[]).expect("limits").corp.per_hour, 7);
    assert_eq!(read("[mqtt]\nurl = \"mqtt://x\"\n", &[]).expect("limits").corp.per_hour, 50_000);
    assert!(read("corp_per_huor = 7\n", &[]).expect_err("a mistake").contains("corp_per_hour"));
    assert!(read("", &["--corp-reserve", "lots"]).expect_err("a mistake").contains("--corp-reserve"));
}
