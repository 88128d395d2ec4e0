//! `sendbridge watch` in a real terminal, on a real broker and a real bridge.

use super::{Scene, server, text};
use crate::gateway::Gateway;
use crate::mosquitto::{Mosquitto, free_port};
use crate::publisher::Publisher;
use crate::terminal::Terminal;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::process::{Command, Output, Stdio};

const ACCOUNT: &str = "1688850000000001";

/// The row that shows the account.
fn account_row(seen: &str) -> Option<&str> {
    seen.lines().find(|line| line.trim_start_matches("> ").trim_start().starts_with(ACCOUNT))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_watches_pauses_and_resumes() {
    let scene = Scene::start(server(&[ACCOUNT]), |config| config).await;
    // An account is shown once it had something to do.
    scene.still_sends(ACCOUNT, "earlier").await;
    let url = scene.broker.url();
    let mut terminal = Terminal::start(&["watch", "--url", &url], 30, 100);
    terminal.sees("bridge  online").await;
    terminal.wait("the account", |seen| account_row(seen).is_some()).await;
    terminal.wait("its company", |seen| seen.contains("corp  ") && seen.contains("/50,000")).await;
    scene.publisher.send(text(ACCOUNT, "first", "hello")).await;
    terminal.wait("its life", |seen| seen.contains("sent ") && seen.contains("id first")).await;

    terminal.press("p");
    terminal.sees(&format!("pause account {ACCOUNT}, reason: ")).await;
    terminal.press("盘点 e2e\r");
    terminal.sees("for how long: ").await;
    terminal.press("1h\r");
    terminal.wait("the reply", |seen| seen.contains("done, hold ")).await;
    let hold =
        |seen: &str| seen.lines().any(|line| line.contains(ACCOUNT) && line.contains("left: 盘点 e2e  (by watch@"));
    terminal.wait("the hold", hold).await;
    assert_eq!(scene.health().await["holds"], 1);
    scene.publisher.send(text(ACCOUNT, "second", "waits")).await;
    let paused = |data: &Value| data["reason"] == "paused" && data["queued"] == 1;
    scene.publisher.ask_until("account/get", json!({ "account": ACCOUNT }), paused).await;

    terminal.press("c");
    terminal.wait("details", |seen| seen.contains("intervalMs") && seen.contains("queued")).await;
    terminal.press("\x1b");
    terminal.wait("no details", |seen| !seen.contains("intervalMs")).await;
    terminal.resize(20, 60);
    terminal.wait("a small screen", |seen| seen.lines().count() == 20 && account_row(seen).is_some()).await;
    terminal.press("r");
    terminal.sees(&format!("resume account {ACCOUNT}? y or n")).await;
    terminal.press("y");
    terminal.sees("released hold").await;
    terminal.wait("the end of the hold", |seen| !seen.contains("盘点 e2e")).await;
    assert!(scene.publisher.answer_to("second").await["msgId"].is_string());
    terminal.press("q");
    assert_eq!(terminal.ends().await.code(), Some(0));
}

/// A size and a key that come together are both taken: whoever moves a window goes on typing.
#[tokio::test(flavor = "multi_thread")]
async fn no_key_is_lost_while_the_terminal_changes_its_size() {
    let scene = Scene::start(server(&[ACCOUNT]), |config| config).await;
    let mut terminal = Terminal::start(&["watch", "--url", &scene.broker.url()], 30, 100);
    terminal.sees("bridge  online").await;
    for round in 0..40 {
        terminal.resize(30 + round % 2, 100);
        terminal.press("?");
        terminal.sees("any key closes it").await;
        terminal.press("?");
        terminal.wait("no help", |seen| !seen.contains("any key closes it")).await;
    }
    terminal.press("q");
    assert_eq!(terminal.ends().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_is_told_and_waited_for() {
    let mut scene = Scene::start(server(&[ACCOUNT]), |config| config).await;
    scene.broker.kill();
    let mut terminal = Terminal::start(&["watch", "--url", &scene.broker.url()], 24, 80);
    terminal.sees("NO CONNECTION").await;
    terminal.sees("! no connection, next attempt").await;
    terminal.press("p");
    terminal.sees("go to an account or a company first").await;
    scene.broker.start_again();
    terminal.sees("bridge  online").await;
    terminal.sees("  connected  ").await;
    scene.bridge.kill();
    terminal.sees("bridge  OFFLINE").await;
    terminal.signal(Signal::SIGTERM);
    assert_eq!(terminal.ends().await.code(), Some(0));
}

/// The program without a terminal.
fn watch(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sendbridge"));
    tokio::task::block_in_place(|| command.arg("watch").args(arguments).stdin(Stdio::null()).output()).expect("it ran")
}

fn said(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_terminal_it_prints_once_or_says_what_to_do() {
    let scene = Scene::start(server(&[ACCOUNT]), |config| config).await;
    scene.still_sends(ACCOUNT, "earlier").await;
    let told = Publisher::connect(scene.broker.port(), &["sendbridge/account/+"]).await;
    told.wait("the account", |seen| !seen.all.is_empty()).await;
    let refused = watch(&["--url", &scene.broker.url()]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused.stderr).contains("use --once") && refused.stdout.is_empty(), "{}", said(&refused.stderr));
    // The same over a WebSocket, as to a broker behind a proxy.
    let gateway = Gateway::start(scene.broker.port(), None).await;
    for url in [scene.broker.url(), format!("ws://127.0.0.1:{}/mqtt", gateway.port())] {
        let printed = watch(&["--once", "--wait", "60s", "--url", &url]);
        let text = said(&printed.stdout);
        assert_eq!(printed.status.code(), Some(0), "{}", said(&printed.stderr));
        assert!(text.contains("bridge  online") && account_row(&text).is_some(), "{text}");
        assert!(!text.contains('\x1b'), "{text}");
    }
    let nobody = watch(&["--once", "--wait", "5s", "--url", &scene.broker.url(), "--base", "another"]);
    assert_eq!(nobody.status.code(), Some(69));
    assert!(said(&nobody.stderr).contains("is the base \"another\" right"), "{}", said(&nobody.stderr));
    let dead = watch(&["--once", "--wait", "300ms", "--url", &format!("mqtt://127.0.0.1:{}", free_port())]);
    assert_eq!(dead.status.code(), Some(69));
    assert!(said(&dead.stderr).contains("no connection to mqtt://127.0.0.1:"), "{}", said(&dead.stderr));
    for wrong in [["--once", "--url", "http://x"], ["--once", "--wait", "soon"], ["--config", "x", "--url=mqtt://h"]] {
        assert_eq!(watch(&wrong).status.code(), Some(2), "{wrong:?}");
    }
    for wrong in [["--once", "--base", "a/#"], ["--once", "--ca-file", "/nowhere"], ["--once", "--config", "/nowhere"]]
    {
        assert_eq!(watch(&wrong).status.code(), Some(78), "{wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_come_from_a_file_and_a_refusal_is_shown() {
    let directory = tempfile::tempdir().expect("a directory");
    let passwords = directory.path().join("passwords");
    let made = Command::new("mosquitto_passwd").args(["-c", "-b"]).arg(&passwords).args(["ops", "secret"]).status();
    assert!(made.expect("mosquitto_passwd").success());
    let (password, wrong) = (directory.path().join("right"), directory.path().join("wrong"));
    std::fs::write(&password, "secret\n").expect("a file");
    std::fs::write(&wrong, "guess\n").expect("a file");
    let line = format!("password_file {}", passwords.display());
    let broker = Mosquitto::start_in(directory, &["allow_anonymous false", &line]);
    let url = broker.url();
    let known = |file: &std::path::Path| {
        let file = file.display().to_string();
        let told = ["--once", "--wait", "5s", "--url", &url, "--username", "ops", "--password-file", &file];
        said(&watch(&told).stderr)
    };
    let (right, refused) = (known(&password), known(&wrong));
    assert!(right.contains("the broker is there"), "{right}");
    assert!(refused.contains("refuses the connection") && !refused.contains("guess"), "{refused}");
}
