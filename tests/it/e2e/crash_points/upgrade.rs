//! The points that only the journal of an older version passes.

use super::{OF_AN_UPGRADE, POLICIES, audit, begin, count_death, died_at, judge, text};
use rusqlite::{Connection, OpenFlags};
use sendbridge::crash::CRASH_AT;
use serde_json::json;
use std::path::Path;

/// The version of the schema of a journal.
fn version(journal: &Path) -> i64 {
    let file = Connection::open_with_flags(journal, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("a journal");
    file.pragma_query_value(None, "user_version", |row| row.get(0)).expect("a version")
}

/// The points of an upgrade, and what an older journal holds under a policy.
async fn upgrades(policy: &str) {
    let (mut scene, http) = begin(policy, |config| config).await;
    let journal = scene.bridge.path("journal.db");
    let newest = version(&journal);
    scene.bridge.start_again().await;
    scene.still_sends("good", "sent").await;
    scene.publisher.ask("pause", json!({ "account": "good", "reason": "test" })).await;
    scene.publisher.send(text("good", "waits", "waits")).await;
    scene.publisher.ask_until("account/get", json!({ "account": "good" }), |data| data["queued"] == 1).await;
    assert!(scene.bridge.terminate().success());
    let back = include_str!("../../../data/journal/back-to-version-1.sql");
    Connection::open(&journal).and_then(|file| file.execute_batch(back)).expect("an older journal");

    for (point, left) in OF_AN_UPGRADE.iter().zip([1, newest]) {
        assert_eq!(version(&journal), 1, "{policy} {point}");
        let earlier = scene.bridge.log().len();
        scene.bridge.start_to_end(CRASH_AT, point, http);
        died_at(&mut scene, point, earlier);
        assert_eq!(version(&journal), left, "{policy} {point}");
        count_death(policy, point);
    }
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

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_in_the_middle_of_an_upgrade_leaves_the_old_journal_or_the_new_one() {
    for policy in POLICIES {
        upgrades(policy).await;
    }
}
