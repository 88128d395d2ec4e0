//! A disk that fills up: below the watermark nothing new is taken, on a full disk nothing is sent, and both end by
//! themselves.

use super::disk::{self, SmallDisk};
use super::{Scene, server, text};
use crate::publisher::{Heard, Publisher, Seen};
use sendbridge::cli::pretend::{Behaviour, Faults, Rule, Settings};
use sendbridge::clock::Clock;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

const MIB: u64 = 1024 * 1024;
const ALARMS: &[&str] = &["sendbridge/alarm"];

/// A server that answers after `latency`, and a bridge whose journal is on `disk`, with its watermark there.
async fn scene(disk: &SmallDisk, accounts: &[String], latency: Duration, low_mib: u64) -> (Scene, Publisher) {
    let names: Vec<&str> = accounts.iter().map(String::as_str).collect();
    let path = format!("{:?}", disk.path("journal.db").display().to_string());
    let scene = Scene::start(Settings { latency: latency..=latency, ..server(&names) }, |config| {
        config
            .with("store.path", &path)
            .with("store.low_space", &format!("\"{low_mib}MiB\""))
            .with("messages.max_message", r#""64KiB""#)
            .with("log.level", r#""info""#)
    })
    .await;
    let alarms = Publisher::connect(scene.broker.port(), ALARMS).await;
    (scene, alarms)
}

fn alarms(seen: &Seen) -> Vec<String> {
    seen.all.iter().map(|heard| heard.json()["what"].as_str().expect("a word").to_owned()).collect()
}

pub(super) async fn alarm(watcher: &Publisher, what: &str) {
    watcher.wait(what, |seen| alarms(seen).iter().any(|heard| heard == what)).await;
}

/// The ids, as JSON, of what was answered, and with which word: `sent`, or the code of the error. Each answer once,
/// but for those that were `open` in the journal at a stop: these may be said twice, and then in the same words.
fn answers(scene: &Scene, open: &BTreeSet<String>) -> Vec<(String, String)> {
    let seen = scene.publisher.seen();
    let answer = |(id, heard): (&String, &Vec<Heard>)| {
        let answer: Value = heard[0].json();
        assert!(heard.iter().all(|again| again.json() == answer), "{id} was answered in different words");
        let most = if open.contains(id) { 2 } else { 1 };
        assert!(heard.len() <= most, "{id} was answered {} times", heard.len());
        (id.clone(), answer["error"]["code"].as_str().unwrap_or("sent").to_owned())
    };
    seen.answers.iter().map(answer).collect()
}

/// A name that the pretend server can count by, which is also the content, and as long as a message may be.
fn large(name: &str, account: &str) -> String {
    let mut message: Value = serde_json::from_str(&text(account, name, name)).expect("JSON");
    message["padding"] = json!("x".repeat(64_000));
    message.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn below_the_watermark_nothing_is_taken_while_the_queue_drains_and_then_all_of_it() {
    const MESSAGES: usize = 1100;
    /// Below it there must be room for the log, once more: 16 MB of it may still have to be written to the file when intake
    /// is closed, where the disk or the machine is slow.
    const LOW_MIB: u64 = 40;
    let Some(disk) = SmallDisk::mount(192) else { return };
    let accounts: Vec<String> = (0..20).map(|number| format!("account-{number}")).collect();
    let (scene, watcher) = scene(&disk, &accounts, Duration::ZERO, LOW_MIB).await;
    let journal = disk.path("journal.db");
    // So slow that the queue is still there when it is looked at.
    let slow = Behaviour::answer().after(Duration::from_secs(1));
    scene.sender.set_faults(Faults::Rules(vec![Rule::always(slow)]));
    // The broker's whole window of such messages is several times what is left above the watermark, and all of it.
    disk.fill_to((LOW_MIB + 12) * MIB);
    for number in 0..MESSAGES {
        scene.publisher.send(large(&format!("m{number}"), &accounts[number % accounts.len()])).await;
    }
    alarm(&watcher, "storage_low").await;
    scene.bridge.answers("/readyz", 503).await;
    let (answered, taken) = (scene.publisher.seen().answers.len(), disk::accepted(&journal));
    assert!(answered < taken.len() && taken.len() < MESSAGES, "{answered} answers to {} messages", taken.len());
    assert!(disk.free_bytes() > 8 * MIB, "only {} bytes are free", disk.free_bytes());

    scene.publisher.wait("the queue to drain", |seen| seen.answers.len() == taken.len()).await;
    // Nothing more was taken meanwhile, and nothing is.
    assert_eq!(disk::accepted(&journal), taken);
    scene.bridge.answers("/readyz", 503).await;
    assert_eq!(scene.publisher.seen().answers.len(), taken.len());

    scene.sender.set_faults(Faults::None);
    disk.empty();
    alarm(&watcher, "storage_ok").await;
    scene.publisher.wait("all answers", |seen| seen.answers.len() == MESSAGES).await;
    assert!(answers(&scene, &BTreeSet::new()).iter().all(|(_, word)| word == "sent"));
    let ledger = scene.sender.ledger();
    assert_eq!((ledger.arrivals, ledger.effects, ledger.repeated().count()), (MESSAGES as u64, MESSAGES as u64, 0));
    assert_eq!(alarms(&watcher.seen()), ["storage_low", "storage_ok"]);
    scene.health().await;
}

/// Fills the disk to the last page, again and again, until the bridge cannot write any more.
pub(super) async fn fill_for_good(disk: &SmallDisk, watcher: &Publisher) {
    let mut looks = tokio::time::interval(Duration::from_millis(5));
    let filling = async {
        while !alarms(&watcher.seen()).iter().any(|heard| heard == "storage_full") {
            disk.fill_to(0);
            looks.tick().await;
        }
    };
    tokio::time::timeout(crate::bridge::DEADLINE, filling).await.expect("a refused commit in time");
}

fn ids(journal: &Path) -> (usize, Vec<String>) {
    (disk::accepted(journal).len(), disk::in_flight(journal).into_iter().collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_sending_stops_and_a_stop_in_that_state_is_bounded_and_loses_nothing() {
    const MESSAGES: usize = 2000;
    let Some(disk) = SmallDisk::mount(64) else { return };
    let accounts: Vec<String> = (0..4).map(|number| format!("account-{number}")).collect();
    let (mut scene, watcher) = scene(&disk, &accounts, Duration::from_millis(10), 16).await;
    let journal = disk.path("journal.db");
    for number in 0..MESSAGES {
        let name = format!("m{number}");
        scene.publisher.send(text(&accounts[number % accounts.len()], &name, &name)).await;
    }
    scene.publisher.wait("the first answers", |seen| seen.answers.len() >= 20).await;
    fill_for_good(&disk, &watcher).await;
    let arrivals = scene.sender.with_ledger(|ledger| ledger.arrivals);

    let clock = Clock::start();
    let begun = clock.now();
    let status = scene.bridge.terminate();
    let took = clock.now().since(begun);
    assert_eq!(status.code(), Some(70), "{status} after {took:?}");
    assert!(took < Duration::from_secs(15), "a stop took {took:?}");
    // The commit that was refused is that of the next attempts: nothing left in all that time but what was on its way.
    let left = scene.sender.with_ledger(|ledger| ledger.arrivals) - arrivals;
    assert!(left <= accounts.len() as u64, "{left} requests left on a full disk");
    let (taken, doubts) = ids(&journal);
    // The broker's word that it has an answer cannot be noted on a full disk.
    let open = disk::unanswered(&journal);
    assert!(taken > 0 && doubts.len() <= accounts.len(), "{doubts:?}");
    disk.empty();
    scene.bridge.start_again().await;
    scene.publisher.wait("all answers", |seen| seen.answers.len() == MESSAGES).await;
    scene.publisher.ask_until("health", json!({}), |health| health["answersOpen"] == 0).await;
    let unresolved: Vec<String> =
        answers(&scene, &open).into_iter().filter(|(_, word)| word != "sent").map(|(id, _)| id).collect();
    assert_eq!(unresolved, doubts);
    let ledger = scene.sender.ledger();
    assert_eq!(ledger.repeated().count(), 0);
    assert!(ledger.effects as usize >= MESSAGES - doubts.len());
    scene.health().await;
}
