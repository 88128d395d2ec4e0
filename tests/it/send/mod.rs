//! `sendbridge send` and `sendbridge simulate`, as people run them: the real program beside a real bridge.

mod list;
mod simulate;
mod terminal;

use crate::bridge::{Bridge, Config, DEADLINE};
use crate::mosquitto::Mosquitto;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sendbridge::cli::pretend::{Limits, Pretend, PretendAccount, Settings};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// A broker, a server, a bridge, and a folder for lists.
struct Scene {
    bridge: Bridge,
    sender: Pretend,
    broker: Mosquitto,
    folder: TempDir,
}

impl Scene {
    async fn start(accounts: usize, latency: Duration, configure: impl FnOnce(Config) -> Config) -> Self {
        let broker = Mosquitto::start(&["max_inflight_messages 1000"]);
        let accounts = (0..accounts).map(|number| PretendAccount::online(&format!("account-{number}"), "corp"));
        let sender = Pretend::start(Settings {
            api_key: crate::canary::API_KEY.to_owned(),
            accounts: accounts.collect(),
            limits: Limits {
                account_interval: Duration::ZERO,
                corp_limit: u64::MAX,
                corp_window: Duration::from_secs(3600),
            },
            latency: latency..=latency,
            ..Settings::default()
        });
        let sender = sender.await.expect("a server");
        let bridge = Bridge::start_ready(&configure(Config::new(&broker, &sender))).await;
        Self { bridge, sender, broker, folder: tempfile::tempdir().expect("a folder") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A list of that many rows, whose texts are their names at the server.
    fn write_list(&self, name: &str, rows: usize, accounts: usize) -> PathBuf {
        let mut text = "\u{FEFF}wxId,conversationId,content\r\n".to_owned();
        for row in 0..rows {
            // Sorted by account, as lists often are.
            let account = row * accounts / rows;
            text.push_str(&format!("account-{account},S:1_2,\"row, {row}\"\r\n"));
        }
        let path = self.path(name);
        std::fs::write(&path, text).expect("room");
        path
    }

    fn send(&self, arguments: &[&str]) -> Command {
        let mut command = program();
        command.arg("send").arg("--url").arg(self.broker.url()).args(arguments).current_dir(self.folder.path());
        command
    }

    /// Runs it to its end.
    fn sent(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let child = self.send(arguments).spawn().expect("the program");
        read(output(child))
    }

    /// How often each row had an effect.
    fn assert_each_once(&self, rows: usize) {
        let ledger = self.sender.ledger();
        let effects = |row: usize| ledger.messages.get(format!("row, {row}").as_str()).map_or(0, |entry| entry.effects);
        let wrong: Vec<(usize, u32)> =
            (0..rows).map(|row| (row, effects(row))).filter(|(_, seen)| *seen != 1).collect();
        assert!(wrong.is_empty(), "rows that had not one effect: {wrong:?}");
        assert_eq!(ledger.effects, rows as u64);
    }
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sendbridge"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).expect("a process id")), signal).expect("it is ours");
}

/// What a process said, once it has ended; killed when that takes too long.
fn output(child: Child) -> Output {
    let id = Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
    let (ended, end_seen) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || ended.send(child.wait_with_output()));
    let waited = tokio::task::block_in_place(|| end_seen.recv_timeout(2 * DEADLINE));
    waited.map(|output| output.expect("its output")).unwrap_or_else(|_| {
        let _ = kill(id, Signal::SIGKILL);
        panic!("it did not end in time");
    })
}

fn read(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// The records of a results file, after the line of names.
fn results(path: &Path) -> Vec<csv::StringRecord> {
    let mut text = String::new();
    std::fs::File::open(path).expect("results").read_to_string(&mut text).expect("text");
    csv::Reader::from_reader(text.as_bytes()).records().map(|record| record.expect("a record")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_message_is_sent_and_answered() {
    let scene = Scene::start(1, Duration::ZERO, |config| config).await;
    let message = ["--account", "account-0", "--to", "S:1_2", "--text", "你好", "--id", "m1", "--priority", "9"];
    let (code, answer, said) = scene.sent(&message);
    assert_eq!(code, Some(0), "{answer}{said}");
    let read: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    assert!(read["id"] == "m1" && read["msgId"].is_string(), "{answer}");
    // The same id is the same message.
    let (code, again, _) = scene.sent(&message);
    assert_eq!((code, again), (Some(0), answer));
    assert_eq!(scene.sender.ledger().effects, 1);

    let (code, answer, said) = scene.sent(&["--account", "account-0", "--to", "S:1_2"]);
    assert_eq!((code, answer.as_str()), (Some(65), ""), "{said}");
    assert!(said.contains("content is required"), "{said}");
    let (code, answer, _) = scene.sent(&[
        "--account",
        "account-0",
        "--to",
        "S:1",
        "--text",
        "late",
        "--field",
        "bridge.expiresAt=2020-01-01T00:00:00Z",
    ]);
    assert_eq!(code, Some(1), "{answer}");
    assert!(answer.contains(r#""code":"EXPIRED""#), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_is_told_from_no_answer_yet() {
    let mut scene = Scene::start(1, Duration::ZERO, |config| config).await;
    let message = ["--account", "account-0", "--to", "S:1_2", "--text", "x", "--id", "m1", "--wait", "3s"];
    scene.bridge.kill();
    let (code, _, said) = scene.sent(&message);
    assert_eq!(code, Some(75), "{said}");
    assert!(said.contains("--id \"m1\""), "{said}");
    scene.broker.stop();
    let (code, _, said) = scene.sent(&message);
    assert_eq!(code, Some(69), "{said}");
}
