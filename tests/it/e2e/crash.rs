//! Crashes, stops and second starts of the bridge.

use super::{LOOSE, Scene, disk, eventually, server, text, text_with};
use crate::bridge::{DEADLINE, run_with};
use nix::sys::signal::Signal;
use sendbridge::cli::pretend::{Act, Behaviour, Faults, Ledger, Pretend, Rule, Settings};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// An account that answers late, so that requests pile up in flight.
fn slow(accounts: &[String], latency: std::ops::RangeInclusive<u64>) -> Settings {
    let names: Vec<&str> = accounts.iter().map(String::as_str).collect();
    let latency = Duration::from_millis(*latency.start())..=Duration::from_millis(*latency.end());
    Settings { latency, limits: LOOSE, ..server(&names) }
}

/// Faults that do no wrong and tell how many requests have come.
fn counted() -> (Faults, watch::Receiver<u64>) {
    let (arrived, arrivals) = watch::channel(0);
    let faults = Faults::script(move |request| {
        arrived.send_replace(request.earlier + 1);
        Behaviour::answer()
    });
    (faults, arrivals)
}

/// What makes sure that a kill comes in the middle, however fast or slow the machine is: from some request on every second
/// one has its effect and no answer.
struct Held {
    from: Arc<AtomicU64>,
    count: watch::Receiver<u64>,
}

impl Held {
    fn none_yet() -> (Faults, Self) {
        let from = Arc::new(AtomicU64::new(u64::MAX));
        let (held, count) = watch::channel(0);
        let faults = Faults::script({
            let from = Arc::clone(&from);
            move |request| {
                if request.earlier < from.load(Ordering::Relaxed) || request.earlier % 2 == 0 {
                    return Behaviour::answer();
                }
                held.send_modify(|count| *count += 1);
                Behaviour::despite(Act::Silence)
            }
        });
        (faults, Self { from, count })
    }

    fn from(&self, request: u64) {
        self.from.store(request, Ordering::Relaxed);
    }

    /// Returns when so many more are held.
    async fn wait(&mut self, more: u64) {
        let wanted = *self.count.borrow_and_update() + more;
        let waiting = tokio::time::timeout(DEADLINE, self.count.wait_for(|count| *count >= wanted)).await;
        waiting.expect("requests arrive in time").expect("the server runs");
    }
}

/// How each message was answered: `sent`, or the code of its error. All answers to one message must say the same.
fn verdicts(scene: &Scene) -> BTreeMap<String, String> {
    let seen = scene.publisher.seen();
    let verdict = |(id, answers): (&String, &Vec<crate::publisher::Heard>)| {
        let first = &answers[0];
        for later in answers {
            assert_eq!(later.payload, first.payload, "two answers to {id} differ");
        }
        let answer = first.json();
        let word = answer["error"]["code"].as_str().unwrap_or("sent").to_owned();
        (serde_json::from_str(id).expect("a string"), word)
    };
    seen.answers.iter().map(verdict).collect()
}

/// Holds the promises against what the server saw, and returns which messages are in doubt.
fn judge(verdicts: &BTreeMap<String, String>, ledger: &Ledger, messages: usize) -> BTreeSet<String> {
    assert_eq!(verdicts.len(), messages, "unanswered");
    let twice: Vec<&str> = ledger.repeated().collect();
    assert!(twice.is_empty(), "sent twice: {twice:?}");
    let mut unresolved = BTreeSet::new();
    for (id, verdict) in verdicts {
        let (arrivals, effects) =
            ledger.messages.get(id.as_str()).map_or((0, 0), |entry| (entry.arrivals, entry.effects));
        match verdict.as_str() {
            "sent" => assert_eq!((arrivals, effects), (1, 1), "{id} was answered as sent"),
            // Either it arrived, or it never did: it was requested once at most.
            "UNRESOLVED" => {
                assert!(arrivals <= 1, "{id} was requested {arrivals} times");
                unresolved.insert(id.clone());
            }
            other => panic!("{id} was answered {other}, with {effects} effects"),
        }
    }
    unresolved
}

/// JSON strings without their quotes.
fn plain(ids: BTreeSet<String>) -> BTreeSet<String> {
    ids.into_iter().map(|id| serde_json::from_str(&id).expect("a string")).collect()
}

/// The messages whose attempt the journal of a bridge that was killed has begun and not ended: exactly those that
/// nobody can know about, because the attempt is durable before the first byte, and its end is durable before anybody
/// hears of it. A request that had not left yet is among them; one that arrived and is not begun must not be.
fn doubts(journal: &Path, sender: &Pretend) -> BTreeSet<String> {
    // What the server sees was in the journal before, so the server is looked at first.
    let arrived = sender.with_ledger(|ledger| ledger.messages.keys().map(ToString::to_string).collect());
    let attempted = plain(disk::attempted(journal));
    let unknown: BTreeSet<&String> = BTreeSet::difference(&arrived, &attempted).collect();
    assert!(unknown.is_empty(), "requested before the journal had it: {unknown:?}");
    plain(disk::in_flight(journal))
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_by_kills_in_the_middle_of_5000_messages() {
    const MESSAGES: usize = 5000;
    const KILLS: u64 = 4;
    const CONNECTIONS: usize = 256;
    /// Surely under way at each kill.
    const HELD: u64 = 100;
    let accounts: Vec<String> = (0..300).map(|number| format!("account-{number}")).collect();
    let mut scene = Scene::start(slow(&accounts, 20..=50), |config| {
        config.with("senders.connections", "256").with("senders.timeout", r#""60s""#).with("log.level", r#""info""#)
    })
    .await;
    let (faults, mut held) = Held::none_yet();
    scene.sender.set_faults(faults);
    let publishing = async {
        for number in 0..MESSAGES {
            let id = format!("m{number}");
            scene.publisher.send(text(&accounts[number % accounts.len()], &id, &id)).await;
        }
    };
    let (journal, sender, bridge) = (scene.bridge.path("journal.db"), &scene.sender, &mut scene.bridge);
    let mut doubtful = BTreeSet::new();
    let killing = async {
        for kill in 1..=KILLS {
            let so_far = sender.with_ledger(|ledger| ledger.arrivals);
            // Each life of the bridge gets a good part of the work done before it ends.
            held.from((so_far + 300).max(kill * MESSAGES as u64 / (KILLS + 2)));
            held.wait(HELD).await;
            let under_way = sender.with_ledger(|ledger| ledger.in_flight);
            assert!(under_way >= HELD, "only {under_way} were under way at kill {kill}");
            bridge.kill();
            held.from(u64::MAX);
            let here = doubts(&journal, sender);
            assert!(
                (HELD as usize..=CONNECTIONS).contains(&here.len()),
                "{} in doubt, {under_way} under way",
                here.len()
            );
            doubtful.extend(here);
            bridge.start_again().await;
        }
    };
    tokio::join!(publishing, killing);
    scene.publisher.wait("all answers", |seen| seen.answers.len() >= MESSAGES).await;
    let health = scene.publisher.ask_until("health", json!({}), |health| health["answersOpen"] == 0).await;
    assert_eq!(health["balanced"], true, "{health}");

    let ledger = scene.sender.ledger();
    // Not one more and not one less than what the kills caught in the middle.
    assert_eq!(judge(&verdicts(&scene), &ledger, MESSAGES), doubtful);
    let states = &health["states"];
    assert_eq!(states["sent"].as_u64().expect("a count") + states["unresolved"].as_u64().expect("a count"), 5000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_in_order_finishes_what_is_in_flight() {
    const MESSAGES: usize = 40;
    let accounts: Vec<String> = (0..MESSAGES).map(|number| format!("account-{number}")).collect();
    let mut scene = Scene::start(slow(&accounts, 300..=600), |config| config).await;
    let (faults, mut arrivals) = counted();
    scene.sender.set_faults(faults);
    for account in &accounts {
        scene.publisher.send(text(account, account, account)).await;
        // A second one for each waits for the first and must not start any more.
        let second = format!("{account}-second");
        scene.publisher.send(text(account, &second, &second)).await;
    }
    arrivals.wait_for(|seen| *seen >= 20).await.expect("the server runs");
    let clock = sendbridge::clock::Clock::start();
    let begun = clock.now();
    let status = scene.bridge.terminate();
    assert!(status.success(), "{status}");
    assert!(clock.now().since(begun) < Duration::from_secs(15));
    let at_stop = scene.sender.ledger();
    // What was in flight had its answer before the process ended.
    scene.publisher.wait("the answers", |seen| seen.answers.len() as u64 >= at_stop.arrivals).await;
    assert_eq!(scene.publisher.seen().answers.len() as u64, at_stop.arrivals);

    scene.bridge.start_again().await;
    scene.publisher.wait("all answers", |seen| seen.answers.len() >= 2 * MESSAGES).await;
    assert_eq!(judge(&verdicts(&scene), &scene.sender.ledger(), 2 * MESSAGES), BTreeSet::new());
    assert!(scene.publisher.seen().answers.values().all(|answers| answers.len() == 1), "answered twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_bounded_when_the_sender_is_silent() {
    let mut scene = Scene::start(server(&["1", "2"]), |config| config.with("senders.timeout", r#""60s""#)).await;
    let (arrived, mut arrivals) = watch::channel(0);
    scene.sender.set_faults(Faults::script(move |request| {
        arrived.send_replace(request.earlier + 1);
        Behaviour::despite(Act::Silence)
    }));
    scene.publisher.send(text("1", "silent", "silent")).await;
    arrivals.wait_for(|seen| *seen == 1).await.expect("the server runs");
    let clock = sendbridge::clock::Clock::start();
    let begun = clock.now();
    let status = scene.bridge.terminate();
    let took = clock.now().since(begun);
    assert!(status.success() && took < Duration::from_secs(18), "{status} after {took:?}");
    scene.sender.set_faults(Faults::None);
    scene.bridge.start_again().await;
    assert_eq!(scene.publisher.answer_to("silent").await["error"]["code"], "UNRESOLVED");
    scene.still_sends("2", "after").await;
    assert_eq!(scene.arrivals("silent"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_bounded_where_the_broker_hangs() {
    let mut scene = Scene::start(server(&["1"]), |config| config).await;
    let (arrived, mut arrivals) = watch::channel(0);
    scene.sender.set_faults(Faults::script(move |request| {
        arrived.send_replace(request.earlier + 1);
        Behaviour::answer().after(Duration::from_secs(1))
    }));
    scene.publisher.send(text("1", "answered", "answered")).await;
    arrivals.wait_for(|seen| *seen == 1).await.expect("the server runs");
    scene.broker.freeze();
    eventually("the sender's answer", || scene.sender.with_ledger(|ledger| ledger.in_flight) == 0).await;
    let clock = sendbridge::clock::Clock::start();
    let begun = clock.now();
    let status = scene.bridge.terminate();
    let took = clock.now().since(begun);
    scene.broker.thaw();
    // Each wait for the broker is over once: answers, commands, last words.
    assert!(status.success() && took <= Duration::from_secs(25), "{status} after {took:?}");
    scene.bridge.start_again().await;
    assert!(scene.publisher.answer_to("answered").await["msgId"].is_string());
    assert_eq!(scene.arrivals("answered"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_stops_like_a_termination() {
    let mut scene = Scene::start(server(&["1"]), |config| config).await;
    scene.still_sends("1", "before").await;
    scene.bridge.signal(Signal::SIGINT);
    assert!(scene.bridge.wait().success());
}

/// There is nothing that a running bridge reads again.
#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_stops_in_order_and_loses_nothing() {
    const MESSAGES: usize = 10;
    let accounts: Vec<String> = (0..MESSAGES).map(|number| format!("account-{number}")).collect();
    let mut scene = Scene::start(slow(&accounts, 300..=600), |config| config).await;
    for account in &accounts {
        scene.publisher.send(text(account, account, account)).await;
        let second = format!("{account}-second");
        scene.publisher.send(text(account, &second, &second)).await;
    }
    eventually("requests in flight", || scene.sender.with_ledger(|ledger| ledger.in_flight) > 0).await;
    scene.bridge.signal(Signal::SIGHUP);
    let status = scene.bridge.wait();
    assert!(status.success(), "{status}");
    scene.bridge.start_again().await;
    scene.publisher.wait("all answers", |seen| seen.answers.len() >= 2 * MESSAGES).await;
    assert_eq!(judge(&verdicts(&scene), &scene.sender.ledger(), 2 * MESSAGES), BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_while_stopping_ends_it_at_once_and_loses_nothing() {
    let mut scene = Scene::start(server(&["1", "2"]), |config| config.with("senders.timeout", r#""60s""#)).await;
    scene.sender.set_faults(Faults::Rules(vec![Rule::always(Behaviour::despite(Act::Silence))]));
    scene.publisher.send(text("1", "silent", "silent")).await;
    scene.publisher.send(text("1", "behind", "behind")).await;
    eventually("the request", || scene.arrivals("silent") == 1).await;
    let clock = sendbridge::clock::Clock::start();
    let begun = clock.now();
    scene.bridge.signal(Signal::SIGTERM);
    scene.bridge.logged(0, |line| line.contains("stop requested").then_some(())).await;
    let status = scene.bridge.terminate();
    let took = clock.now().since(begun);
    assert_eq!(status.code(), Some(70), "{status}");
    assert!(took < Duration::from_secs(8), "the first signal alone would have taken 10 s, both took {took:?}");
    scene.sender.set_faults(Faults::None);
    scene.bridge.start_again().await;
    assert_eq!(scene.publisher.answer_to("silent").await["error"]["code"], "UNRESOLVED");
    assert!(scene.publisher.answer_to("behind").await["msgId"].is_string());
    assert_eq!((scene.arrivals("silent"), scene.effects("behind")), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_any_more_stops_nothing() {
    let mut scene = Scene::start(server(&["1"]), |config| config).await;
    scene.bridge.stop_reading_its_log();
    scene.still_sends("1", "last-read").await;
    eventually("the end of the log", || scene.bridge.is_unread()).await;
    for number in 0..5 {
        scene.still_sends("1", &format!("unread-{number}")).await;
    }
    assert!(scene.bridge.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_journal_is_refused() {
    let mut scene = Scene::start(server(&["1"]), |config| config).await;
    let (status, said) = tokio::task::block_in_place(|| scene.bridge.start_second());
    // Not a mistake of the configuration: the process before may only be slow to end.
    assert_eq!(status.code(), Some(70), "{said}");
    let last = said.lines().last().expect("a line");
    assert!(last.contains("journal") && last.contains("another process"), "{last}");
    assert!(scene.bridge.is_running());
    scene.still_sends("1", "after").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_backup_in_the_place_of_the_journal_sends_nothing_again() {
    let mut scene = Scene::start(server(&["1"]), |config| config).await;
    let (journal, backup) = (scene.bridge.path("journal.db"), scene.bridge.path("backup.db"));
    scene.still_sends("1", "first").await;
    scene.publisher.ask("pause", json!({ "all": true, "reason": "a backup" })).await;
    scene.publisher.send(text("1", "waits", "waits")).await;
    scene.publisher.ask_until("account/get", json!({ "account": "1" }), |data| data["queued"] == 1).await;
    assert!(scene.bridge.terminate().success());
    std::fs::copy(&journal, &backup).expect("a backup");
    scene.bridge.start_again().await;
    scene.publisher.ask("resume", json!({ "all": true })).await;
    assert!(scene.publisher.answer_to("waits").await["msgId"].is_string());
    scene.still_sends("1", "later").await;
    assert!(scene.bridge.terminate().success());
    std::fs::copy(&backup, &journal).expect("the backup");
    let status = scene.bridge.start_or_end().await.expect("it does not start");
    assert_eq!(status.code(), Some(78), "{status}");
    let log = scene.bridge.log();
    let last = log.last().expect("a line");
    assert!(last.contains("old backup") && last.contains("journal.db.lock"), "{last}");
    assert_eq!(scene.arrivals("waits"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_configuration_is_refused_with_every_mistake() {
    let (status, said) = tokio::task::block_in_place(|| {
        run_with("[mqtt]\nulr = \"mqtt://127.0.0.1\"\n[messages]\nttl = \"soon\"\n[[senders]]\nname = \"main\"\n")
    });
    assert_eq!(status.code(), Some(78), "{said}");
    for mistake in ["mqtt.ulr", "messages.ttl", "senders[0].url", "senders[0].api_key"] {
        assert!(said.contains(mistake), "{mistake} is not in {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_survives_a_crash_in_its_order() {
    let mut scene = Scene::start(server(&["1"]), |config| config.with("limits.account_interval", r#""20ms""#)).await;
    scene.publisher.ask("pause", json!({ "all": true, "reason": "test" })).await;
    for (id, priority) in [("low", 0), ("first", 4), ("second", 4), ("high", 9)] {
        scene.publisher.send(text_with("1", id, id, &json!({ "priority": priority }))).await;
    }
    scene.publisher.ask_until("account/get", json!({ "account": "1" }), |data| data["queued"] == 4).await;
    scene.bridge.kill();
    scene.bridge.start_again().await;
    scene.publisher.ask("resume", json!({ "all": true })).await;
    scene.publisher.wait("all answers", |seen| seen.answers.len() == 4).await;
    let order = scene.sender.with_ledger(|ledger| -> Vec<String> {
        ledger.accounts["1"].history.iter().map(|arrived| arrived.message.to_string()).collect()
    });
    assert_eq!(order, ["high", "first", "second", "low"]);
}
