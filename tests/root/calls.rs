//! The disk fails: syncs, writes and reads that end with an error, at each call in turn.
//!
//! The process must end, because nobody knows what a failed commit left behind, and the next life goes by what the
//! disk says.

use crate::bridge::{DEADLINE, Launcher};
use crate::judge::judge;
use crate::mosquitto::Mosquitto;
use crate::report::{count, figure, skipped};
use crate::scene::{Scene, server};
use crate::strace::{Tracer, is_allowed, thread_named};
use std::time::Duration;

const ACCOUNTS: usize = 5;
const MESSAGES: usize = 20;
/// So many fill the log until it is written back.
const MESSAGES_FOR_A_LONG_LOG: usize = 400;
const PACE: Duration = Duration::from_millis(8);
/// The exit code of a bridge that had to end at once.
const ENDED_AT_ONCE: i32 = 70;
/// That of a start that a person has to look at.
const DAMAGED: i32 = 78;
/// No run makes so many calls; strace counts no further than 65,535.
const NEVER: usize = 65_000;

/// Publishes so many messages and waits until they are answered, or the process has ended: then `Err` is how.
async fn run_of_messages(scene: &mut Scene, messages: usize) -> Result<(), std::process::ExitStatus> {
    let mut pace = tokio::time::interval(PACE);
    for _ in 0..messages {
        pace.tick().await;
        scene.send_next().await;
    }
    let wanted = scene.published.len();
    let waiting = async {
        while scene.publisher.answers() < wanted && scene.bridge.is_running() {
            pace.tick().await;
        }
    };
    tokio::time::timeout(DEADLINE, waiting).await.expect("answers, or an end");
    if scene.bridge.is_running() { Ok(()) } else { Err(scene.bridge.wait()) }
}

/// Which calls of a run fail: all, or so many of them, evenly.
fn chosen(calls: usize) -> Vec<usize> {
    let most = count("SENDBRIDGE_CALLS", 20).max(1);
    let step = calls.div_ceil(most).max(1);
    (1..=calls).step_by(step).collect()
}

struct Campaign {
    /// Whose calls fail: `journal` commits, `checkpoint` writes the log back beside it.
    thread: &'static str,
    call: &'static str,
    error: &'static str,
    /// Whether every later call fails as well.
    for_ever: bool,
}

impl Campaign {
    fn rule(&self, number: usize) -> String {
        let onwards = if self.for_ever { "+" } else { "" };
        format!("{}:error={}:when={number}{onwards}", self.call, self.error)
    }

    /// How many calls a run makes, and how many were made to fail.
    async fn fight(&self) -> (usize, usize) {
        let messages = if self.thread == "journal" { MESSAGES } else { MESSAGES_FOR_A_LONG_LOG };
        let mut scene = Scene::start(server(ACCOUNTS), Launcher::default(), |config| config).await;
        // The first second after a start sends nothing, and what it writes is not what a run writes.
        scene.send_next().await;
        scene.all_answered().await;
        let tracer = Tracer::attach(thread_named(scene.bridge.id(), self.thread), &self.rule(NEVER));
        run_of_messages(&mut scene, messages).await.expect("nothing fails");
        let (calls, _) = tokio::task::block_in_place(|| tracer.detach());
        let mut failed = 0;
        for number in chosen(calls) {
            let tracer = Tracer::attach(thread_named(scene.bridge.id(), self.thread), &self.rule(number));
            let ended = run_of_messages(&mut scene, messages).await;
            let (_, injected) = tokio::task::block_in_place(|| tracer.detach());
            let status = match ended {
                // How many calls a run makes is a matter of how its messages meet in commits.
                Ok(()) if injected.is_empty() => continue,
                // What fails when nobody waits for it, the next message hears of.
                Ok(()) => {
                    scene.send_next().await;
                    scene.bridge.wait()
                }
                Err(status) => status,
            };
            assert!(!injected.is_empty() || self.for_ever, "{}: it ended by itself, {status}", self.rule(number));
            assert_eq!(status.code(), Some(ENDED_AT_ONCE), "{}: {status}", self.rule(number));
            failed += 1;
            scene.bridge.start_again().await;
            scene.all_answered().await;
        }
        assert!(failed > 0, "no {} of {} ever failed", self.call, self.thread);
        judge(&scene).await;
        (calls, failed)
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs strace"]
async fn a_sync_or_a_write_that_fails_ends_the_process_and_the_disk_decides() {
    if let Err(why) = is_allowed() {
        return skipped("48, 49", "failing system calls", &why);
    }
    let campaigns = [
        ("journal", "fsync", false),
        ("journal", "fsync", true),
        ("journal", "pwrite64", false),
        ("journal", "pwrite64", true),
        ("checkpoint", "fsync", false),
        ("checkpoint", "pwrite64", false),
    ];
    let fighting = campaigns.map(|(thread, call, for_ever)| {
        let campaign = Campaign { thread, call, error: "EIO", for_ever };
        tokio::spawn(async move { (campaign.fight().await, campaign) })
    });
    for campaign in fighting {
        let ((calls, failed), Campaign { thread, call, for_ever, .. }) = campaign.await.expect("it held");
        let onwards = if for_ever { "-for-ever" } else { "" };
        figure(&format!("failed-{call}-of-{thread}{onwards}"), format!("{failed} of {calls} calls"));
    }
}

/// Starts it again and again, each time with another of the main thread's calls failing, until none is left.
async fn start_through_failures(scene: &mut Scene, call: &str) -> usize {
    let directory = tempfile::tempdir().expect("a directory");
    let trace = directory.path().join("trace").display().to_string();
    let mut failed = 0;
    for number in 1.. {
        let rule = format!("inject={call}:error=EIO:when={number}");
        // The program keeps the number of the process, and strace follows none of its other threads.
        let words = ["strace", "-D", "-qq", "-y", "-o", &trace, "-e", &format!("trace={call}"), "-e", &rule];
        scene.bridge.launch_by(Launcher { before: words.map(str::to_owned).to_vec(), ..Launcher::default() });
        let Some(status) = scene.bridge.start_or_end().await else {
            // Nothing rests on what is noted in the lock file; and SQLite does not ask what became of its sync of the
            // folder, so the journal's own, which comes later, has to do.
            let calls = std::fs::read_to_string(&trace).expect("a trace");
            let Some(injected) = calls.lines().find(|line| line.contains("(INJECTED)")) else { break };
            // Where it cannot turn to a write-ahead log at once, with nothing in the file yet, it does a moment later.
            let is_rollback = injected.contains("journal.db-journal>");
            let may_fail = is_rollback || injected.contains(".lock>") || !injected.contains("journal.db");
            assert!(may_fail, "{rule}: it started in spite of {injected}");
            scene.bridge.kill();
            continue;
        };
        // The loader of programs reads too, and says so in its own way.
        if status.code() == Some(127) {
            continue;
        }
        // A read that fails is damage to SQLite: that takes a person, and no other start.
        let is_expected = status.code() == Some(ENDED_AT_ONCE) || (call == "pread64" && status.code() == Some(DAMAGED));
        assert!(is_expected, "{rule}: {status}");
        let log = scene.bridge.log();
        let last = log.last().expect("a line");
        assert!(last.contains("journal"), "{rule}: {last}");
        failed += 1;
    }
    failed
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs strace"]
async fn a_start_that_fails_at_any_sync_or_write_is_made_up_for_by_the_next() {
    if let Err(why) = is_allowed() {
        return skipped("48, 49", "failing system calls at a start", &why);
    }
    let mut failed = 0;
    for call in ["fsync", "pwrite64", "pread64"] {
        let broker = Mosquitto::start(&["max_inflight_messages 1000"]);
        let mut scene = Scene::prepare(server(ACCOUNTS), broker, Launcher::default(), |config| config).await;
        // On nothing, then on what a crash leaves.
        failed += start_through_failures(&mut scene, call).await;
        scene.bridge.ready().await;
        for _ in 0..MESSAGES {
            scene.send_next().await;
        }
        scene.arrived(1).await;
        scene.bridge.kill();
        failed += start_through_failures(&mut scene, call).await;
        judge(&scene).await;
    }
    figure("failed-starts", failed);
}
