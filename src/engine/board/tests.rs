//! The retained topics in engine time.

use super::{Board, CLEARING_PER_SECOND, INTERVAL, LOOKS_PER_PUBLISH, Said, Topic};
use crate::engine::forecast::tests::{World, settings};
use crate::engine::limits::GUARD;
use crate::engine::tables::{AccountKey, CorpKey, SenderKey};
use crate::engine::{Engine, SenderSettings, Settings, StatusSettings};
use crate::model::{
    Account, AccountReport, AccountState, Action, Corp, CorpReport, Doubt, Input, OnDoubt, Options, Scope, SenderName,
    SenderTrouble, Seq, Status, StatusTopic, Time, Verdict,
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
    world.request("a000000", "", Options::default());
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
    // A broker that forgot the session without a word is told all the same.
    world.actions.clear();
    world.handle(Input::Connected(true));
    world.advance(Duration::from_secs(10));
    assert_eq!(retained(&world).len(), 51);
    // Who stops says nothing more.
    world.actions.clear();
    world.request("a000001", "", Options::default());
    world.handle(Input::Stop);
    world.advance(Duration::from_secs(10));
    assert!(statuses(&world).is_empty());
}

/// Turned off nothing is shown, so that all there is goes.
#[test]
fn what_is_left_over_goes_at_its_own_pace_where_status_is_turned_off() {
    let mut world = world(with_status(0, 100), &accounts(1, 1));
    for index in 0..=CLEARING_PER_SECOND {
        world.handle(Input::StatusSeen(StatusTopic::Account(Account::new(&format!("gone{index}")))));
    }
    world.handle(Input::StatusSeen(StatusTopic::Account(Account::new("a000000"))));
    world.poll();
    assert_eq!(statuses(&world).len(), CLEARING_PER_SECOND);
    world.advance(INTERVAL);
    assert_eq!(statuses(&world).len(), CLEARING_PER_SECOND + 2);
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

fn board(per_second: usize) -> Board {
    Board::new(StatusSettings { per_second, accounts_max: 10, idle: Duration::from_secs(600) })
}

const NOW: Time = Time::from_millis(1_700_000_000_000);
const INSTANT: Duration = Duration::from_nanos(1);

/// Most of them say nothing new, and each costs a forecast.
#[test]
fn in_any_second_there_are_ten_looks_for_each_publish() {
    let mut board = board(2);
    for from in [NOW, NOW + INTERVAL, NOW + INTERVAL * 5] {
        for look in 0..2 * LOOKS_PER_PUBLISH {
            assert_eq!(board.look_at(from), from, "look {look}");
            board.note_look(from);
        }
        for moment in [from, from + INTERVAL - INSTANT, from + INTERVAL] {
            assert_eq!(board.look_at(moment), from + INTERVAL);
        }
    }
}

#[test]
fn in_any_second_there_are_as_many_publishes_as_it_is_set_to() {
    for (per_second, most) in [(1, 1), (100, 100), (250, 250), (0, CLEARING_PER_SECOND)] {
        let mut board = board(per_second);
        for turn in 0..2_u32 {
            let from = NOW + INTERVAL * turn;
            for publish in 0..most {
                assert_eq!(board.publish_at(from), from, "{publish} of {most}");
                board.note_publish(from);
            }
            assert_eq!(board.publish_at(from + INTERVAL - INSTANT), from + INTERVAL);
        }
    }
}

/// Only then do accounts without work wait for those with work.
#[test]
fn it_is_behind_when_more_is_due_than_a_second_takes() {
    let mut board = board(2);
    board.mark(Topic::Account(AccountKey(0)), NOW);
    board.mark(Topic::Account(AccountKey(1)), NOW);
    board.mark(Topic::Account(AccountKey(2)), NOW + INTERVAL);
    assert!(!board.is_behind(NOW) && !board.is_behind(NOW + INTERVAL - INSTANT));
    assert!(board.is_behind(NOW + INTERVAL));
}

/// Room is for those with work: an account that got into none goes without being shown.
#[test]
fn an_account_without_work_does_not_wait_for_room() {
    let mut world = world(with_status(100, 1), &accounts(2, 1));
    world.request("a000000", "", Options::default());
    world.advance(Duration::from_secs(2));
    world.pause(Scope::Account(Account::new("a000001")), None);
    world.advance(Duration::from_secs(500));
    account_shown(&world, "a000000");
    world.advance(Duration::from_secs(500));
    let ever: BTreeSet<StatusTopic> = statuses(&world).iter().map(|(_, status)| topic_of(status)).collect();
    assert!(!ever.contains(&StatusTopic::Account(Account::new("a000001"))), "{ever:?}");
}

/// What an account waits for may be its server: what becomes of that is said of each account of it at once.
#[test]
fn a_server_that_takes_nothing_more_is_said_of_its_accounts_within_a_second() {
    let mut settings = with_status(100, 100);
    let first = settings.senders[0].clone();
    settings.senders.push(SenderSettings { name: SenderName::new("other"), ..first });
    let mut world = world(settings, &accounts(2, 1));
    world.list("other", &[("b".to_owned(), "corp0".to_owned())]);
    for account in ["a000000", "a000001", "b"] {
        let later = Options { not_before: Some(world.now + DAY), ..Options::default() };
        world.request(account, "", later);
    }
    // By then nothing has changed for so long that it is rarely looked at.
    world.advance(Duration::from_secs(310));
    world.actions.clear();
    let trouble = SenderTrouble::Unauthorized;
    world.handle(Input::DirectoryFailed { sender: SenderName::new("main"), trouble });
    world.advance(INTERVAL);
    let said = retained(&world).into_keys().filter(|topic| matches!(topic, StatusTopic::Account(_)));
    let of = |name| StatusTopic::Account(Account::new(name));
    assert_eq!(said.collect::<Vec<_>>(), [of("a000000"), of("a000001")]);
}

/// By their number two states are told apart.
#[test]
fn every_change_counts() {
    let mut world = world(with_status(0, 100), &accounts(1, 1));
    let changes: [fn(&mut Engine); 3] = [
        |engine| engine.touch(AccountKey(0)),
        |engine| engine.touch_corp(CorpKey(0)),
        |engine| engine.touch_server(SenderKey(0)),
    ];
    for change in changes {
        let before = world.engine.changes;
        change(&mut world.engine);
        assert_eq!(world.engine.changes, before + 1);
    }
}

/// A report that differs in nothing but what follows from the passing of time is no news.
#[test]
fn a_time_may_move_by_a_slot_and_a_place_may_become_free_without_being_news() {
    let mut settings = with_status(100, 100);
    settings.limits.account.interval = Duration::from_secs(5);
    let mut world = world(settings, &accounts(1, 1));
    for _ in 0..3 {
        world.request("a000000", "", Options::default());
    }
    world.poll();
    let report = account_shown(&world, "a000000");
    let eta = report.drain_eta.expect("it is known when it will be done");
    let slot = Duration::from_secs(5) + GUARD;
    let moved = |by: Duration| Said::Account(Box::new(AccountReport { drain_eta: Some(eta + by), ..report.clone() }));
    let said = moved(Duration::ZERO);
    assert!(!said.differs(&moved(slot)) && said.differs(&moved(slot + Duration::from_millis(1))));
    let of = |until: Time, sent_last_hour: u64| {
        Said::Account(Box::new(AccountReport { until: Some(until), sent_last_hour, ..report.clone() }))
    };
    assert!(!of(eta, 9).differs(&of(eta + slot, 8)));
    assert!(of(eta, 9).differs(&of(eta + slot + Duration::from_millis(1), 9)) && of(eta, 9).differs(&of(eta, 10)));
    let Some(Status::Corp(_, Some(corp))) = retained(&world).remove(&StatusTopic::Corp(Corp::new("corp0"))) else {
        panic!("the company is not shown");
    };
    let of = |next_free_at: Time, used: u64| {
        Said::Corp(Box::new(CorpReport { next_free_at: Some(next_free_at), used, ..*corp.clone() }))
    };
    assert!(!of(eta, 9).differs(&of(eta + INTERVAL, 8)));
    assert!(of(eta, 9).differs(&of(eta + INTERVAL * 2, 9)) && of(eta, 9).differs(&of(eta, 10)));
    let free = |free: u64| Said::Corp(Box::new(CorpReport { free, ..*corp.clone() }));
    assert!(corp.free > 1 && !free(corp.free).differs(&free(corp.free - 1)));
    assert!(free(1).differs(&free(0)) && free(0).differs(&free(1)));
}

/// What makes an account worth its room: any message of it that is not over.
#[test]
fn whatever_work_an_account_has_it_waits_for_room_with_it() {
    let mut settings = with_status(100, 1);
    settings.messages.on_doubt = OnDoubt::Hold;
    let mut world = world(settings, &accounts(6, 1));
    world.pause(Scope::Account(Account::new("a000000")), None);
    world.pause(Scope::Account(Account::new("a000001")), None);
    world.request("a000000", "", Options::default());
    world.advance(INTERVAL);
    world.request("a000001", "", Options::default());
    world.request("a000002", "", Options { not_before: Some(world.now + DAY), ..Options::default() });
    world.request("a000003", "", Options::default());
    world.request("a000004", "", Options::default());
    world.engine.poll_ready(world.now);
    for seq in [4, 5] {
        let verdict = Verdict::Unknown { why: Doubt::Timeout, detail: Box::default() };
        world.handle(Input::Ended { seq: Seq(seq), attempt: 1, at: world.now, verdict });
    }
    world.request("a000003", "", Options::default());
    let waits = |world: &mut World, account: u32| {
        let topic = Topic::Account(AccountKey(account));
        world.engine.board.entries.entry(topic).or_default();
        world.engine.board.waiting.clear();
        let has_room = world.engine.find_room(NOW, topic);
        (has_room, !world.engine.board.waiting.is_empty())
    };
    assert_eq!(waits(&mut world, 0), (true, false), "it is shown");
    for account in 1..5 {
        assert_eq!(waits(&mut world, account), (false, true), "account {account}");
    }
    assert_eq!(waits(&mut world, 5), (false, false), "it has nothing to do");
}

/// Neither waits for the other to be done.
#[test]
fn what_is_left_over_and_what_is_new_have_their_turn_alternately() {
    let all = accounts(9, 1);
    let mut world = world(with_status(2, 100), &all);
    world.pause(Scope::All, None);
    for (index, (account, _)) in all.iter().enumerate() {
        world.handle(Input::StatusSeen(StatusTopic::Account(Account::new(&format!("gone{index}")))));
        world.request(account, "", Options::default());
    }
    for round in 1..=4 {
        world.poll();
        let cleared = statuses(&world).iter().filter(|(_, status)| is_clearing(status)).count();
        assert_eq!((statuses(&world).len(), cleared), (2 * round, round));
        world.now = world.now + INTERVAL;
    }
}

/// Looking at those who are done already, again and again, would leave no turn for the others.
#[test]
fn accounts_that_are_done_already_do_not_keep_those_with_work_from_being_shown() {
    let all = accounts(40, 1);
    let mut world = world(with_status(1, 100), &all);
    for (account, _) in &all[..39] {
        world.request(account, "", Options::default());
    }
    world.advance(INTERVAL);
    world.pause(Scope::All, None);
    world.request("a000039", "", Options::default());
    world.advance(INTERVAL * 9);
    account_shown(&world, "a000039");
    check_pace(&world, 1);
}
