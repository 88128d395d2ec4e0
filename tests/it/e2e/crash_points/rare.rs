//! The points that traffic alone never passes: those of a journal of an older version, of a clock that was set, and of a
//! mistake of the engine.

use super::{OF_A_MISTAKE, OF_A_SET_CLOCK, OF_AN_UPGRADE, POLICIES, audit, begin, count_death, died_at, judge, text};
use crate::e2e::Scene;
use rusqlite::{Connection, OpenFlags};
use sendbridge::crash::{CRASH_AT, PANIC_AT};
use serde_json::json;
use std::net::SocketAddr;
use std::path::Path;

/// A bridge that has stopped in order, with one message sent and one waiting.
async fn stopped(policy: &str) -> (Scene, SocketAddr) {
    let (mut scene, http) = begin(policy, |config| config).await;
    scene.bridge.start_again().await;
    scene.still_sends("good", "sent").await;
    scene.publisher.ask("pause", json!({ "account": "good", "reason": "test" })).await;
    scene.publisher.send(text("good", "waits", "waits")).await;
    scene.publisher.ask_until("account/get", json!({ "account": "good" }), |data| data["queued"] == 1).await;
    assert!(scene.bridge.terminate().success());
    (scene, http)
}

/// Starts it to die at this point.
fn die_at(scene: &mut Scene, point: &str, http: SocketAddr) {
    let earlier = scene.bridge.log().len();
    scene.bridge.start_to_end(&[(CRASH_AT, point)], http);
    died_at(scene, point, earlier);
}

/// One more life, in which what waits is sent, and the judgement.
async fn end(mut scene: Scene, policy: &str) {
    scene.bridge.start_again().await;
    scene.publisher.ask("resume", json!({ "account": "good" })).await;
    assert!(scene.publisher.answer_to("waits").await["msgId"].is_string());
    scene.publisher.ask_until("health", json!({}), |health| health["answersOpen"] == 0).await;
    assert_eq!((scene.effects("sent"), scene.effects("waits")), (1, 1));
    scene.still_sends("good", "after").await;
    assert!(scene.bridge.terminate().success());
    judge(&scene.publisher.seen(), &scene.sender.ledger(), policy == "resend");
    let (code, report) = audit(&scene).await;
    assert_eq!((code, &report["held"]), (Some(0), &json!(true)), "{report:#}");
}

fn read(journal: &Path) -> Connection {
    Connection::open_with_flags(journal, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("a journal")
}

/// The version of the schema of a journal.
fn version(journal: &Path) -> i64 {
    read(journal).pragma_query_value(None, "user_version", |row| row.get(0)).expect("a version")
}

/// The points of an upgrade, and what an older journal holds under a policy.
async fn upgrades(policy: &str) {
    let (mut scene, http) = stopped(policy).await;
    let journal = scene.bridge.path("journal.db");
    let newest = version(&journal);
    let back = include_str!("../../../data/journal/back-to-version-1.sql");
    Connection::open(&journal).and_then(|file| file.execute_batch(back)).expect("an older journal");
    for (point, left) in OF_AN_UPGRADE.iter().zip([1, newest]) {
        assert_eq!(version(&journal), 1, "{policy} {point}");
        die_at(&mut scene, point, http);
        assert_eq!(version(&journal), left, "{policy} {point}");
        count_death(policy, point);
    }
    end(scene, policy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_in_the_middle_of_an_upgrade_leaves_the_old_journal_or_the_new_one() {
    for policy in POLICIES {
        upgrades(policy).await;
    }
}

/// How far the clock was ahead.
const AHEAD_NANOS: i64 = 3_600_000_000_000;
/// What two clocks may differ by, and what the bridge leaves as it is.
const DRIFT_NANOS: i64 = 1_000_000_000;

/// When attempts began and ended, and messages did.
fn times(journal: &Path) -> Vec<i64> {
    let sql = "SELECT started_at FROM attempt UNION ALL SELECT ended_at FROM attempt UNION ALL SELECT at FROM outcome";
    let journal = read(journal);
    let mut statement = journal.prepare(sql).expect("the tables");
    let times = statement.query_map([], |row| row.get(0)).expect("the times");
    times.collect::<Result<_, _>>().expect("numbers")
}

/// The points at which the times of a journal move along with a clock that was an hour ahead.
async fn moves_times(policy: &str) {
    let (mut scene, http) = stopped(policy).await;
    let journal = scene.bridge.path("journal.db");
    let true_times = times(&journal);
    let ahead = format!(
        "UPDATE progress SET time = time + {AHEAD_NANOS}; UPDATE outcome SET at = at + {AHEAD_NANOS};
         UPDATE attempt SET started_at = started_at + {AHEAD_NANOS}, ended_at = ended_at + {AHEAD_NANOS};"
    );
    Connection::open(&journal).and_then(|file| file.execute_batch(&ahead)).expect("a clock that was ahead");
    let is_true = |times: &[i64]| {
        assert_eq!(times.len(), true_times.len());
        times.iter().zip(&true_times).all(|(is, was)| (is - was).abs() <= DRIFT_NANOS)
    };
    for (point, moved) in OF_A_SET_CLOCK.iter().zip([false, true]) {
        assert!(!is_true(&times(&journal)), "{policy} {point}");
        die_at(&mut scene, point, http);
        assert_eq!(is_true(&times(&journal)), moved, "{policy} {point}: {:?}, {true_times:?}", times(&journal));
        count_death(policy, point);
    }
    // They are not moved again.
    let moved = times(&journal);
    scene.bridge.start_again().await;
    assert!(scene.bridge.terminate().success());
    assert_eq!(times(&journal), moved);
    end(scene, policy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_times_move_with_a_clock_that_was_set_moves_them_once() {
    for policy in POLICIES {
        moves_times(policy).await;
    }
}

/// How often anything was named in this journal as what ended the process.
fn times_named(journal: &Path) -> i64 {
    read(journal).query_row("SELECT coalesce(sum(times), 0) FROM poison", [], |row| row.get(0)).expect("a number")
}

/// The points at which a message is named over which the engine panicked.
async fn names_a_culprit(policy: &str) {
    let (mut scene, http) = stopped(policy).await;
    let journal = scene.bridge.path("journal.db");
    scene.publisher.send(text("good", "accused", "accused")).await;
    for (point, times) in OF_A_MISTAKE.iter().zip([0, 1]) {
        let earlier = scene.bridge.log().len();
        scene.bridge.start_to_end(&[(PANIC_AT, "handled"), (CRASH_AT, point)], http);
        died_at(&mut scene, point, earlier);
        assert_eq!(times_named(&journal), times, "{policy} {point}");
        count_death(policy, point);
    }
    scene.bridge.start_again().await;
    scene.publisher.ask("resume", json!({ "account": "good" })).await;
    assert!(scene.publisher.answer_to("accused").await["msgId"].is_string());
    assert_eq!(scene.effects("accused"), 1);
    assert!(scene.bridge.terminate().success());
    end(scene, policy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_a_culprit_is_named_accuses_it_once_at_most() {
    for policy in POLICIES {
        names_a_culprit(policy).await;
    }
}
