//! Lists: every row once, whatever is killed in the middle.

use super::{Scene, output, program, read, results, signal};
use crate::bridge::DEADLINE;
use crate::publisher::{Publisher, TOPICS};
use nix::sys::signal::Signal;
use serde_json::json;
use std::process::Child;
use std::time::Duration;

const ROWS: usize = 2000;
const ACCOUNTS: usize = 20;

/// Returns when the server has seen that many messages.
async fn effects(scene: &Scene, least: u64) {
    let mut looks = tokio::time::interval(Duration::from_millis(5));
    let looking = async {
        while scene.sender.with_ledger(|ledger| ledger.effects) < least {
            looks.tick().await;
        }
    };
    tokio::time::timeout(DEADLINE, looking).await.unwrap_or_else(|_| panic!("{least} effects: not in time"));
}

/// Somebody who gives out the hour in parts. So a run ends no earlier than it is interrupted, and what the next
/// interruption waits for is more than this run can have published: the next one has then, and listens to signals.
struct Operator(Publisher);

impl Operator {
    async fn of(scene: &Scene) -> Self {
        Self(Publisher::connect(scene.broker.port(), TOPICS).await)
    }

    async fn gives(&self, places: u32) {
        self.0.ask("limits/set", json!({ "corp": "corp", "perHour": places })).await;
    }

    async fn gives_all(&self) {
        self.0.ask("limits/set", json!({ "corp": "corp", "reset": true })).await;
    }
}

fn killed(child: Child, by: Signal) -> (Option<i32>, String) {
    signal(&child, by);
    let (code, _, said) = read(output(child));
    (code, said)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_killed_and_interrupted_is_sent_once() {
    let mut scene =
        Scene::start(ACCOUNTS, Duration::from_millis(2), |config| config.with("limits.account_interval", r#""10ms""#))
            .await;
    scene.write_list("list.csv", ROWS, ACCOUNTS);
    let operator = Operator::of(&scene).await;
    let arguments = ["--file", "list.csv", "--results", "results.csv", "--window", "300"];
    let start = |scene: &Scene| scene.send(&arguments).spawn().expect("the program");

    operator.gives(600).await;
    let child = start(&scene);
    effects(&scene, 400).await;
    // A second run on the same results is kept out.
    let (code, _, said) = scene.sent(&arguments);
    assert_eq!(code, Some(75), "{said}");
    assert!(said.contains("another run"), "{said}");
    let (code, _) = killed(child, Signal::SIGKILL);
    assert_eq!(code, None, "killed");

    operator.gives(1200).await;
    let child = start(&scene);
    effects(&scene, 900).await;
    let (code, said) = killed(child, Signal::SIGINT);
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("going on: ") && said.contains("the same command goes on"), "{said}");

    operator.gives(1900).await;
    let child = start(&scene);
    effects(&scene, 1500).await;
    // The bridge and the broker may go too. The broker keeps nothing, so what is published before the bridge has
    // subscribed again is lost, and repeated after two minutes only: the list sleeps until then.
    signal(&child, Signal::SIGSTOP);
    scene.bridge.kill();
    scene.broker.kill();
    scene.broker.start_again();
    scene.bridge.start_again().await;
    scene.bridge.ready().await;
    signal(&child, Signal::SIGCONT);
    operator.gives_all().await;
    let (code, _, said) = read(output(child));
    let ended = results(&scene.path("results.csv"));
    assert_eq!(ended.len(), ROWS, "{said}");
    let rows: std::collections::BTreeSet<u64> = ended.iter().map(|record| record[0].parse().expect("a row")).collect();
    assert_eq!((rows.first(), rows.last(), rows.len()), (Some(&2), Some(&2001), ROWS));
    // What the bridge had under way when it was killed may have been sent: nobody knows, and it is said.
    let sent = ended.iter().filter(|record| &record[2] == "sent").count();
    let unresolved = ended.iter().filter(|record| &record[2] == "UNRESOLVED").count();
    assert_eq!(sent + unresolved, ROWS, "{said}");
    assert_eq!(code, Some(i32::from(unresolved > 0)), "{said}");
    let ledger = scene.sender.ledger();
    assert_eq!(ledger.repeated().count(), 0, "sent twice");
    assert!(ledger.effects as usize >= sent && ledger.messages.len() <= ROWS, "{} effects", ledger.effects);

    // Once more: there is nothing left to do.
    let (code, _, said) = scene.sent(&arguments);
    assert_eq!(code, Some(i32::from(unresolved > 0)), "{said}");
    assert_eq!(scene.sender.ledger().effects, ledger.effects);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_interrupted_twice_has_every_row_sent_exactly_once() {
    let scene =
        Scene::start(ACCOUNTS, Duration::from_millis(2), |config| config.with("limits.account_interval", r#""10ms""#))
            .await;
    scene.write_list("list.csv", ROWS, ACCOUNTS);
    let operator = Operator::of(&scene).await;
    for (places, least, by, ended) in [(600, 500, Signal::SIGKILL, None), (1900, 1700, Signal::SIGTERM, Some(130))] {
        operator.gives(places).await;
        let child = scene.send(&["--file", "list.csv", "--results", "r.csv"]).spawn().expect("the program");
        effects(&scene, least).await;
        let (code, said) = killed(child, by);
        assert_eq!(code, ended, "{said}");
    }
    operator.gives_all().await;
    let (code, _, said) = scene.sent(&["--file", "list.csv", "--results", "r.csv", "--resume"]);
    assert_eq!(code, Some(0), "{said}");
    scene.assert_each_once(ROWS);
    let ended = results(&scene.path("r.csv"));
    assert_eq!(ended.len(), ROWS);
    assert!(ended.iter().all(|record| &record[2] == "sent" && !record[3].is_empty()), "{said}");
    // A line of progress without a terminal.
    assert!(said.contains("/2000  ") && said.contains("/s  sent "), "{said}");
    // All accounts at once, although the list is sorted: when the last one begins, none has sent many of its hundred.
    let ledger = scene.sender.ledger();
    let histories = || ledger.accounts.values().map(|account| &account.history);
    let last_begins = histories().filter_map(|history| history.first()).map(|arrived| arrived.at).max();
    let sent = |at| histories().map(move |history| history.iter().filter(|arrived| arrived.at < at).count());
    let most = sent(last_begins.expect("a send")).max().expect("accounts");
    assert!(most <= 20, "the last account began when another had sent {most}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_with_a_bad_row_is_not_begun_unless_told_to() {
    let scene = Scene::start(1, Duration::ZERO, |config| config).await;
    let list = "{\"wxId\":\"account-0\",\"conversationId\":\"S:1\",\"content\":\"row, 0\",\"id\":9007199254740993}\n\
                {\"wxId\":\"account-0\",\"conversationId\":\"S:1\"}\n";
    std::fs::write(scene.path("list.jsonl"), list).expect("room");
    let (code, _, said) = scene.sent(&["--file", "list.jsonl"]);
    assert_eq!(code, Some(65), "{said}");
    assert!(said.contains("row 2: INVALID_FIELD: content is required"), "{said}");
    assert!(said.contains("nothing was published"), "{said}");
    let (code, _, said) = scene.sent(&["--file", "list.jsonl", "--skip-invalid"]);
    assert_eq!(code, Some(1), "{said}");
    scene.assert_each_once(1);
    let ended = results(&scene.path("list.jsonl.results.csv"));
    assert_eq!((ended.len(), &ended[0][0], &ended[0][1], &ended[0][2]), (1, "1", "9007199254740993", "sent"));
    // The results belong to this list.
    std::fs::write(scene.path("list.jsonl"), list.replace("row, 0", "another")).expect("room");
    let (code, _, said) = scene.sent(&["--file", "list.jsonl", "--skip-invalid"]);
    assert_eq!(code, Some(74), "{said}");
    assert!(said.contains("another input"), "{said}");
    scene.assert_each_once(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn past_the_window_the_bridge_is_asked_before_anything_is_published_again() {
    let scene = Scene::start(1, Duration::ZERO, |config| config).await;
    scene.write_list("list.csv", 3, 1);
    let (code, _, said) = scene.sent(&["--file", "list.csv", "--results", "r.csv"]);
    assert_eq!(code, Some(0), "{said}");
    // As a crash would leave it after the messages were sent and before their answers were written down; and long ago.
    let whole = std::fs::read_to_string(scene.path("r.csv")).expect("text");
    std::fs::write(scene.path("r.csv"), whole.lines().next().expect("names").to_owned() + "\n").expect("room");
    let (code, _, said) = scene.sent(&["--file", "list.csv", "--results", "r.csv", "--dedup-window", "1ms"]);
    assert_eq!(code, Some(0), "{said}");
    scene.assert_each_once(3);
    let arrivals = scene.sender.ledger().arrivals;
    assert_eq!(arrivals, 3);
    assert_eq!(results(&scene.path("r.csv")).len(), 3);
}

#[test]
fn flags_that_make_no_sense_are_told() {
    for (arguments, words) in [
        (&["--url", "http://x", "--account", "1"][..], "--url"),
        (&["--field", "x"], "--field"),
        (&["--file", "x.csv", "--delimiter", "ab"], "--delimiter"),
        (&["--file", "x.csv", "--id", "1"], "cannot be used with"),
        (&["--suffix", "a/b", "--account", "1"], "--suffix"),
    ] {
        let output = program().arg("send").args(arguments).output().expect("the program");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(words), "{said}");
    }
}
