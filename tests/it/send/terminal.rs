//! The progress bar, in a terminal of its own.

use super::{Scene, program};
use crate::bridge::DEADLINE;
use crate::publisher::{Publisher, TOPICS};
use crate::terminal::Terminal;
use nix::pty::{Winsize, openpty};
use serde_json::json;
use std::fs::File;
use std::io::Read;
use std::num::NonZeroU16;
use std::process::Stdio;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

const ROWS: u16 = 10;
const COLUMNS: u16 = 120;

#[tokio::test(flavor = "multi_thread")]
async fn the_bar_shows_rate_outcomes_and_the_expected_end() {
    let scene = Scene::start(2, Duration::ZERO, |config| config.with("limits.account_interval", r#""50ms""#)).await;
    scene.write_list("list.csv", 100, 2);
    let size = Winsize { ws_row: ROWS, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = openpty(Some(&size), None).expect("a terminal");
    let terminal = File::from(pty.slave);
    let mut child = program()
        .args(["send", "--url", &scene.broker.url(), "--file", "list.csv"])
        .current_dir(scene.folder.path())
        .env("TERM", "xterm")
        .stdout(Stdio::from(terminal.try_clone().expect("the terminal")))
        .stderr(Stdio::from(terminal))
        .spawn()
        .expect("the program");
    let (chunks, chunks_due) = sync_channel::<Vec<u8>>(1000);
    let mut screen = File::from(pty.master);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        // The terminal ends with the process.
        while let Ok(read @ 1..) = screen.read(&mut buffer) {
            if chunks.send(buffer[..read].to_vec()).is_err() {
                return;
            }
        }
    });
    let seen = tokio::task::block_in_place(|| {
        let whole = |size| NonZeroU16::new(size).expect("not nothing");
        let mut parser = vt100::Parser::new(whole(ROWS), whole(COLUMNS), 0);
        let mut seen = Vec::new();
        loop {
            match chunks_due.recv_timeout(DEADLINE) {
                Ok(chunk) => parser.process(&chunk),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it hangs: {}", parser.screen().contents()),
            }
            seen.push(parser.screen().contents());
        }
        seen
    });
    let status = tokio::task::block_in_place(|| child.wait()).expect("it is ours");
    assert!(status.success(), "{status}: {:?}", seen.last());
    let shows = |wanted: &dyn Fn(&str) -> bool| seen.iter().any(|contents| wanted(contents));
    let last = seen.last().expect("something was shown");
    assert!(shows(&|text| text.contains("/s  sent ") && text.contains("expected end ")), "{last}");
    // In the middle, with a part of the bar.
    let in_the_middle = |text: &str| text.contains("=>") && text.contains("/100 ") && text.contains("under way");
    assert!(shows(&in_the_middle), "{last}");
    assert!(last.contains("100/100 100%") && last.contains("sent 100"), "{last}");
    // One bar, drawn over and over, and not one below the other.
    assert!(last.matches("/100 ").count() == 1, "{last}");
    assert!(last.contains("100 of 100 answered: sent 100"), "{last}");
    scene.assert_each_once(100);
}

/// An end that no rate could tell: half of the list waits for a hold to be over.
#[tokio::test(flavor = "multi_thread")]
async fn the_expected_end_is_the_one_that_the_bridge_forecasts() {
    let scene = Scene::start(2, Duration::ZERO, |config| config).await;
    let list = scene.write_list("list.csv", 4, 2).display().to_string();
    let operator = Publisher::connect(scene.broker.port(), TOPICS).await;
    let account = || json!({ "account": "account-1" });
    let mut hold = account();
    hold["reason"] = json!("closed for the afternoon");
    hold["duration"] = json!("3h");
    operator.ask("pause", hold).await;
    let mut terminal = Terminal::start(&["send", "--url", &scene.broker.url(), "--file", &list], ROWS, COLUMNS);
    let foretold = |seen: &str| seen.contains("sent 2") && seen.contains("(in 2h ") && !seen.contains("by the rate");
    terminal.wait("the end of the hold as the expected end", foretold).await;
    operator.ask("resume", account()).await;
    terminal.sees("4 of 4 answered: sent 4").await;
    assert_eq!(terminal.ends().await.code(), Some(0));
    scene.assert_each_once(4);
}
