//! Two versions take turns on one journal under load. `SENDBRIDGE_OTHER` names the other program; else it is the same.

use crate::bridge::Launcher;
use crate::judge::judge;
use crate::report::figure;
use crate::scene::{Scene, server};
use std::time::Duration;

const TURNS: usize = 6;
const PACE: Duration = Duration::from_millis(5);

fn other() -> Launcher {
    match std::env::var("SENDBRIDGE_OTHER") {
        Ok(program) => {
            // In place of the program that is named behind it.
            let before = ["sh", "-c", r#"program="$1"; shift 2; exec "$program" "$@""#, "sh", &program];
            Launcher { before: before.map(str::to_owned).to_vec(), ..Launcher::default() }
        }
        Err(_) => Launcher::default(),
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs another version"]
async fn versions_that_take_turns_under_load_lose_nothing_or_leave_the_journal_alone() {
    let mut settings = server(30);
    settings.latency = Duration::from_millis(5)..=Duration::from_millis(30);
    let mut scene = Scene::start(settings, other(), |config| config).await;
    let mut refusals = 0;
    for turn in 0..TURNS {
        let wanted = scene.publisher.answers() + 40;
        scene.send_until(PACE, |publisher| publisher.answers() >= wanted).await;
        // In order and as in a crash, in turn.
        if turn.is_multiple_of(2) {
            scene.bridge.kill();
        } else {
            assert!(scene.bridge.terminate().success());
        }
        scene.bridge.launch_by(if turn.is_multiple_of(2) { Launcher::default() } else { other() });
        if let Some(status) = scene.bridge.start_or_end().await {
            let said = scene.bridge.log().last().expect("a line").clone();
            assert_eq!(status.code(), Some(78), "{said}");
            assert!(said.contains("newer version"), "{said}");
            refusals += 1;
            scene.bridge.launch_by(Launcher::default());
            scene.bridge.start_again().await;
        }
    }
    let verdict = judge(&scene).await;
    let of = if std::env::var("SENDBRIDGE_OTHER").is_ok() { "two versions" } else { "one version" };
    figure("version-turns", format!("{TURNS} of {of}, {refusals} refused, {} messages", verdict.messages));
}
