//! The retained topics in engine time.

use crate::engine::forecast::tests::{World, settings};
use crate::engine::{Settings, StatusSettings};
use crate::model::{
    Account, AccountReport, AccountState, Action, Corp, Input, Options, Scope, Status, StatusTopic, Time,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

fn with_status(per_second: usize, accounts_max: usize) -> Settings {
    let status = StatusSettings { per_second, accounts_max, idle: Duration::from_secs(600) };
    Settings { status, ..settings() }
}

fn accounts(count: usize, corps: usize) -> Vec<(String, String)> {
    (0..count).map(|index| (format!("a{index:06}"), format!("corp{}", index % corps))).collect()
}

fn world(settings: Settings, accounts: &[(String, String)]) -> World {
    let mut world = World::new(settings, Duration::from_millis(20));
    world.list("main", accounts);
    world.handle(Input::Connected(true));
    world.poll();
    world
}

fn topic_of(status: &Status) -> StatusTopic {
    match status {
        Status::Account(name, _) => StatusTopic::Account(name.clone()),
        Status::Corp(name, _) => StatusTopic::Corp(name.clone()),
        Status::Health(_) => panic!("the board says nothing of health"),
    }
}

fn is_clearing(status: &Status) -> bool {
    match status {
        Status::Account(_, report) => report.is_none(),
        Status::Corp(_, report) => report.is_none(),
        Status::Health(_) => false,
    }
}

fn statuses(world: &World) -> Vec<(Time, Status)> {
    let statuses = world.actions.iter().filter_map(|(at, action)| {
        if let Action::Status(status) = action { Some((*at, status.clone())) } else { None }
    });
    statuses.collect()
}

/// What a broker would hold now.
fn retained(world: &World) -> BTreeMap<StatusTopic, Status> {
    let mut retained = BTreeMap::new();
    for (_, status) in statuses(world) {
        if is_clearing(&status) {
            retained.remove(&topic_of(&status));
        } else {
            retained.insert(topic_of(&status), status);
        }
    }
    retained
}

fn account_shown(world: &World, name: &str) -> AccountReport {
    match retained(world).remove(&StatusTopic::Account(Account::new(name))) {
        Some(Status::Account(_, Some(report))) => *report,
        other => panic!("{name} is not shown: {other:?}"),
    }
}

/// The rules of every run: the budget in any second, and a second between two of one topic.
fn check_pace(world: &World, per_second: usize) {
    let statuses = statuses(world);
    for window in statuses.windows(per_second + 1) {
        let span = window[per_second].0.since(window[0].0);
        assert!(span >= Duration::from_secs(1), "{} publishes in {span:?}", per_second + 1);
    }
    let mut last: BTreeMap<StatusTopic, Time> = BTreeMap::new();
    for (at, status) in statuses.iter().filter(|(_, status)| !is_clearing(status)) {
        if let Some(before) = last.insert(topic_of(status), *at) {
            assert!(at.since(before) >= Duration::from_secs(1), "{status:?} too soon");
        }
    }
}

#[test]
fn an_account_is_shown_while_it_works_and_cleared_after() {
    let mut world = world(with_status(100, 100), &accounts(3, 2));
    assert!(retained(&world).is_empty(), "nobody has work");
    for _ in 0..5 {
        world.request("a000001", "", Options::default());
    }
    world.poll();
    let report = account_shown(&world, "a000001");
    assert_eq!((report.state, report.queued, report.sending), (AccountState::Sending, 4, 1));
    world.advance(Duration::from_secs(10));
    let report = account_shown(&world, "a000001");
    assert_eq!((report.state, report.queued, report.sent_last_hour), (AccountState::Idle, 0, 5));
    assert_eq!(retained(&world).len(), 2, "the account and its company");
    world.advance(Duration::from_secs(620));
    assert!(retained(&world).is_empty());
    check_pace(&world, 100);
    let said = statuses(&world).len();
    world.advance(DAY);
    assert_eq!(statuses(&world).len(), said, "an idle engine says nothing");
    assert_eq!(world.engine.board_timeout(), None);
}

#[test]
fn what_only_waits_is_said_few_times() {
    let mut world = world(with_status(100, 100), &accounts(1, 1));
    world.pause(Scope::Account(Account::new("a000000")), None);
    for _ in 0..5 {
        world.request("a000000", "", Options::default());
    }
    world.advance(Duration::from_secs(5));
    let report = account_shown(&world, "a000000");
    assert_eq!((report.state, report.reason.as_deref()), (AccountState::Held, Some("paused")));
    assert_eq!((report.next_send_at, report.drain_eta), (None, None));
    let said = statuses(&world).len();
    world.advance(Duration::from_secs(20 * 3600));
    assert_eq!(statuses(&world).len(), said, "a hold that stays is no news");
    check_pace(&world, 100);
}

#[test]
fn a_hundred_thousand_accounts_keep_to_the_budget_and_none_starves() {
    const ACCOUNTS: usize = 100_000;
    let settings = with_status(10_000, ACCOUNTS);
    let all = accounts(ACCOUNTS, 20);
    let mut world = world(settings, &all);
    world.pause(Scope::All, None);
    for (account, _) in &all {
        world.request(account, "", Options::default());
    }
    // Each again and again: what is shown changes faster than it may be said.
    for _ in 0..2 {
        world.advance(Duration::from_secs(9));
        for (account, _) in &all {
            world.request(account, "", Options::default());
        }
    }
    check_pace(&world, 10_000);
    let statuses = statuses(&world);
    assert_eq!(statuses.len(), 10_000 * 19, "the budget is used");
    let mut said: BTreeMap<StatusTopic, usize> = BTreeMap::new();
    for (_, status) in &statuses {
        *said.entry(topic_of(status)).or_default() += 1;
    }
    assert_eq!(said.len(), ACCOUNTS + 20);
    let accounts = said.iter().filter(|(topic, _)| matches!(topic, StatusTopic::Account(_)));
    let counts: BTreeSet<usize> = accounts.map(|(_, count)| *count).collect();
    assert!(counts.iter().max() <= counts.iter().min().map(|least| least + 1).as_ref(), "{counts:?}");
}

#[test]
fn room_is_for_those_with_work_first() {
    let all = accounts(6, 1);
    let mut world = world(with_status(100, 3), &all);
    for (account, _) in &all[..3] {
        world.request(account, "", Options::default());
    }
    world.advance(Duration::from_secs(5));
    let shown = |world: &World| {
        let names = retained(world).into_keys().filter_map(|topic| match topic {
            StatusTopic::Account(name) => Some(name.as_str().to_owned()),
            StatusTopic::Corp(_) => None,
        });
        names.collect::<Vec<_>>()
    };
    assert_eq!(shown(&world), ["a000000", "a000001", "a000002"]);
    world.pause(Scope::All, Some(Duration::from_secs(30)));
    for (account, _) in &all[2..] {
        world.request(account, "", Options::default());
    }
    world.advance(Duration::from_secs(5));
    assert_eq!(shown(&world).len(), 3);
    assert!(!shown(&world).contains(&"a000000".to_owned()), "it has no work: {:?}", shown(&world));
    // When the others are done there is room for the last one.
    world.advance(Duration::from_secs(60));
    let ever: BTreeSet<StatusTopic> = statuses(&world).iter().map(|(_, status)| topic_of(status)).collect();
    assert_eq!(ever.len(), 7, "every account with work was shown, and the company");
    check_pace(&world, 100);
}

#[test]
fn all_is_said_again_after_a_reconnect_and_what_is_left_over_goes() {
    let all = accounts(50, 1);
    let mut world = world(with_status(10, 100), &all);
    world.pause(Scope::All, None);
    for (account, _) in &all {
        world.request(account, "", Options::default());
    }
    world.advance(Duration::from_secs(30));
    let before = retained(&world);
    assert_eq!(before.len(), 51);
    world.handle(Input::Connected(false));
    world.actions.clear();
    world.advance(Duration::from_secs(100));
    assert!(statuses(&world).is_empty(), "nobody is there to hear it");
    world.handle(Input::Connected(true));
    for seen in [
        StatusTopic::Account(Account::new("a000007")),
        StatusTopic::Account(Account::new("gone")),
        StatusTopic::Corp(Corp::new("gone")),
    ] {
        world.handle(Input::StatusSeen(seen));
    }
    world.advance(Duration::from_secs(10));
    let after = retained(&world);
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    let cleared: Vec<_> = statuses(&world).into_iter().filter(|(_, status)| is_clearing(status)).collect();
    assert_eq!(cleared.len(), 2, "{cleared:?}");
    check_pace(&world, 10);
}

#[test]
fn nothing_is_said_where_it_is_turned_off_but_what_is_left_over_goes() {
    let all = accounts(2, 1);
    let mut world = world(with_status(0, 100), &all);
    world.request("a000000", "", Options::default());
    world.handle(Input::StatusSeen(StatusTopic::Account(Account::new("gone"))));
    world.advance(Duration::from_secs(10));
    let statuses = statuses(&world);
    assert_eq!(statuses.len(), 1);
    assert!(is_clearing(&statuses[0].1));
}
