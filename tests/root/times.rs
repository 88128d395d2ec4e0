//! The wall clock is set while the program runs, and between two of its lives.
//!
//! The library changes what the program reads as wall time and leaves the monotonic clock alone, as setting a clock does.

use crate::bridge::Launcher;
use crate::disks::library;
use crate::judge::judge;
use crate::report::{figure, skipped};
use crate::scene::{Scene, account, server};
use sendbridge::cli::pretend::{Limits, Settings};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

const INTERVAL: Duration = Duration::from_millis(500);
const HOUR: Duration = Duration::from_secs(3600);

/// What time the program reads: the system's, and so much more or less.
pub struct FakeTime {
    directory: TempDir,
    library: String,
}

impl FakeTime {
    /// # Errors
    /// When the library is not there.
    pub fn new() -> Result<Self, String> {
        let library = library("faketime/libfaketimeMT.so.1")?;
        let time = Self { directory: tempfile::tempdir().expect("a directory"), library };
        time.set("+0");
        Ok(time)
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("time")
    }

    /// As `+2h`, `-2h`, `+3d`.
    pub fn set(&self, offset: &str) {
        // By a new name, so that nobody reads half of it.
        let new = self.directory.path().join("new");
        std::fs::write(&new, format!("{offset}\n")).expect("a file");
        std::fs::rename(new, self.file()).expect("a file");
    }

    pub fn launcher(&self) -> Launcher {
        let environment = [
            ("LD_PRELOAD", self.library.clone()),
            ("FAKETIME_TIMESTAMP_FILE", self.file().display().to_string()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value)).to_vec();
        Launcher { environment, ..Launcher::default() }
    }
}

fn strict(accounts: usize, interval: Duration, corp_limit: u64) -> Settings {
    Settings { limits: Limits { account_interval: interval, corp_limit, corp_window: HOUR }, ..server(accounts) }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs libfaketime"]
async fn a_clock_that_is_set_while_it_runs_neither_hurries_nor_stops_it() {
    const MESSAGES: usize = 16;
    let time = match FakeTime::new() {
        Ok(time) => time,
        Err(why) => return skipped("58", "a clock that is set while the program runs", &why),
    };
    let mut scene = Scene::start(strict(1, INTERVAL, u64::MAX), time.launcher(), |config| {
        // With wall time two hours more would end every message.
        config.with("limits.account_interval", r#""500ms""#).with("messages.ttl", r#""1h""#)
    })
    .await;
    for _ in 0..MESSAGES {
        scene.send_next().await;
    }
    for (arrivals, offset) in [(3, "+2h"), (6, "-2h"), (9, "+400d"), (12, "+0")] {
        scene.arrived(arrivals).await;
        time.set(offset);
    }
    let verdict = judge(&scene).await;
    assert_eq!(verdict.sent, MESSAGES, "{verdict:?}");
    let ledger = scene.sender.ledger();
    assert_eq!(ledger.violations(), 0);
    let history = &ledger.accounts[account(0).as_str()].history;
    let gaps = history.windows(2).map(|two| two[1].at.since(two[0].at));
    let (smallest, largest) = (ledger.smallest_gap().expect("gaps"), gaps.max().expect("gaps"));
    assert!(smallest >= INTERVAL && largest < 10 * INTERVAL, "{smallest:?} to {largest:?}");
    figure("clock-jumps-gaps-ms", format!("{} to {}", smallest.as_millis(), largest.as_millis()));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs libfaketime"]
async fn a_restart_with_another_clock_leaves_the_hour_and_the_interval_as_they_were() {
    const PER_HOUR: usize = 12;
    const MESSAGES: usize = 20;
    let time = match FakeTime::new() {
        Ok(time) => time,
        Err(why) => return skipped("59", "a restart with the clock set", &why),
    };
    let mut scene = Scene::start(strict(2, INTERVAL, PER_HOUR as u64), time.launcher(), |config| {
        config
            .with("limits.account_interval", r#""500ms""#)
            .with("limits.corp_per_hour", "12")
            .with("limits.corp_reserve", r#""0%""#)
    })
    .await;
    let hour_is_used = |data: &Value| data["reason"] == "quota";
    let about = json!({ "account": account((MESSAGES - 1) % 2) });
    for number in 0..MESSAGES {
        scene.send_next().await;
        // One restart while they still go, for the interval.
        if number == 9 {
            scene.arrived(4).await;
            assert!(scene.bridge.terminate().success());
            time.set("-2h");
            scene.bridge.start_again().await;
        }
    }
    scene.publisher.ask_until("account/get", about.clone(), hour_is_used).await;
    for offset in ["+2h", "-26h", "+0"] {
        scene.bridge.kill();
        time.set(offset);
        scene.bridge.start_again().await;
        scene.publisher.ask_until("account/get", about.clone(), hour_is_used).await;
    }
    let was_set = |line: &&String| line.contains("the wall clock was set since the last run");
    assert_eq!(scene.bridge.log().iter().filter(was_set).count(), 4, "the program did not see the clock that was set");
    assert_eq!(scene.sender.with_ledger(|ledger| (ledger.arrivals, ledger.violations())), (PER_HOUR as u64, 0));
    scene.publisher.ask("message/cancel", json!({ "corp": "corp", "by": "me" })).await;
    let verdict = judge(&scene).await;
    assert_eq!((verdict.sent, verdict.others.len()), (PER_HOUR, MESSAGES - PER_HOUR), "{verdict:?}");
    let gap = scene.sender.with_ledger(sendbridge::cli::pretend::Ledger::smallest_gap).expect("gaps");
    figure("clock-set-between-lives", format!("{PER_HOUR} of {PER_HOUR} an hour, gaps from {} ms", gap.as_millis()));
}
