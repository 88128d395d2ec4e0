//! No descriptors, no threads, no memory: clean ends, or it goes on; nothing is lost.

use crate::bridge::{DEADLINE, Launcher};
use crate::disks::run;
use crate::judge::judge;
use crate::mosquitto::Mosquitto;
use crate::report::{figure, skipped};
use crate::scene::{Scene, eventually, server, text};
use sendbridge::cli::pretend::Settings;
use serde_json::json;
use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

fn open_files(process: u32) -> usize {
    std::fs::read_dir(format!("/proc/{process}/fd")).expect("a process").count()
}

/// How many attempts there were of which nothing reached the server.
fn vain_attempts(scene: &Scene) -> usize {
    let journal = scene.bridge.path("journal.db");
    crate::disks::texts(&journal, "SELECT n || '' FROM attempt WHERE class = 'not_sent'").expect("a journal").len()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_descriptors_requests_wait_and_nothing_is_in_doubt() {
    const MESSAGES: usize = 200;
    let latency = Duration::from_millis(200);
    let mut scene =
        Scene::start(Settings { latency: latency..=latency, ..server(50) }, Launcher::default(), |config| config).await;
    scene.send_next().await;
    scene.all_answered().await;
    let process = scene.bridge.id();
    let most = open_files(process) + 4;
    if let Err(why) = run(&["prlimit", "--pid", &process.to_string(), &format!("--nofile={most}:")]) {
        return skipped("61", "no descriptors", &why);
    }
    for _ in 1..MESSAGES {
        scene.send_next().await;
    }
    let journal = scene.bridge.path("journal.db");
    eventually("attempts without a descriptor", || journal.exists() && vain_attempts(&scene) > 0).await;
    run(&["prlimit", "--pid", &process.to_string(), "--nofile=1024:"]).expect("up to what it was");
    let verdict = judge(&scene).await;
    assert_eq!((verdict.sent, scene.bridge.id()), (MESSAGES, process), "{verdict:?}");
    assert_eq!(verdict.audit["doubts"]["attempts"], 0, "{verdict:?}");
    figure("attempts-without-descriptor", vain_attempts(&scene));
}

/// Starts it with less and less, from `most` down to nothing; each time it must work or end with a reason. How often
/// it ended, and all that in words.
async fn start_with_less(scene: &mut Scene, most: usize, launcher: impl Fn(usize) -> Launcher) -> (usize, String) {
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    for allowed in (1..=most).rev() {
        scene.bridge.launch_by(launcher(allowed));
        let lines = scene.bridge.log().len();
        let end = start_and_send(scene, lines).await;
        let said = scene.bridge.log()[lines..].join("\n");
        let word = match end {
            End::Worked => WORKED.to_owned(),
            End::Waits => "waited and said why".to_owned(),
            End::Ended(status) => {
                assert!(!status.success() && !said.trim().is_empty(), "{allowed}: {status} without a word");
                assert!(status.code().is_some(), "{allowed}: {status}, which is no refusal: {said}");
                status.to_string()
            }
        };
        *ends.entry(word).or_default() += 1;
    }
    scene.bridge.launch_by(Launcher::default());
    scene.bridge.start_again().await;
    let words: Vec<String> = ends.iter().map(|(how, times)| format!("{times} {how}")).collect();
    let worked = ends.get(WORKED).copied().unwrap_or_default();
    (most - worked, words.join(", "))
}

const WORKED: &str = "worked";

/// What became of a start.
enum End {
    /// A message went through.
    Worked,
    /// It runs and cannot reach the server, again and again, and says why.
    Waits,
    Ended(ExitStatus),
}

/// Starts it, sees what becomes of a message, and ends it. `lines` are those that were logged before.
async fn start_and_send(scene: &mut Scene, lines: usize) -> End {
    if let Some(status) = scene.bridge.start_or_end().await {
        return End::Ended(status);
    }
    scene.send_next().await;
    let wanted = scene.published.len();
    let mut looks = tokio::time::interval(Duration::from_millis(10));
    let deciding = async {
        loop {
            looks.tick().await;
            if !scene.bridge.is_running() {
                return End::Ended(scene.bridge.wait());
            }
            if scene.publisher.answers() >= wanted {
                return End::Worked;
            }
            let log = scene.bridge.log();
            let reasons = log[lines..].iter().filter(|line| line.contains("os error")).count();
            // Reasons are told ever rarer; the alarm sums them up.
            if reasons > 2 || (reasons > 0 && log[lines..].iter().any(|line| line.contains("sender_down"))) {
                return End::Waits;
            }
        }
    };
    let end = tokio::time::timeout(DEADLINE, deciding).await.expect("it works, waits or ends");
    if matches!(end, End::Worked | End::Waits) {
        scene.bridge.kill();
    }
    end
}

async fn prepared() -> Scene {
    let broker = Mosquitto::start(&["max_inflight_messages 1000"]);
    let mut scene = Scene::prepare(server(3), broker, Launcher::default(), |config| config).await;
    // The broker keeps what comes for a bridge that it knows.
    scene.bridge.start_again().await;
    scene.bridge.ready().await;
    scene.bridge.kill();
    scene
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs prlimit"]
async fn a_start_with_too_few_descriptors_works_or_ends_with_a_reason() {
    let mut scene = prepared().await;
    let launcher = |allowed: usize| {
        let before = ["prlimit".to_owned(), format!("--nofile={allowed}:{allowed}")].to_vec();
        Launcher { before, ..Launcher::default() }
    };
    let (ended, words) = start_with_less(&mut scene, 28, launcher).await;
    assert!(ended > 0, "nothing was scarce");
    judge(&scene).await;
    figure("starts-with-few-descriptors", words);
}

/// A group of processes that may have so many threads. Gone when dropped.
struct Group {
    directory: PathBuf,
}

impl Group {
    fn make() -> Result<Self, String> {
        let name = format!("sendbridge-{}", std::process::id());
        let places = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"].map(|place| PathBuf::from(place).join(&name));
        for directory in places {
            if directory.parent().is_some_and(std::path::Path::exists) && std::fs::create_dir(&directory).is_ok() {
                let group = Self { directory };
                if group.directory.join("pids.max").exists() {
                    return Ok(group);
                }
            }
        }
        Err("no control group for numbers of threads".to_owned())
    }

    /// Replaces itself with the program, which is then in the group.
    fn launcher(&self, most: usize) -> Launcher {
        let group = self.directory.display();
        std::fs::write(self.directory.join("pids.max"), format!("{most}")).expect("a limit");
        let script = format!("echo $$ > {group}/cgroup.procs && exec \"$@\"");
        let before = ["sh", "-c", &script, "sh"].map(str::to_owned).to_vec();
        Launcher { before, ..Launcher::default() }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Empty by now: its process was waited for.
        let _ = std::fs::remove_dir(&self.directory);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root"]
async fn a_start_with_too_few_threads_works_or_ends_with_a_reason() {
    let group = match Group::make() {
        Ok(group) => group,
        Err(why) => return skipped("61", "no threads", &why),
    };
    let mut scene = prepared().await;
    // More than the bridge asks for on this machine.
    let most = std::thread::available_parallelism().map_or(1, NonZero::get) + 12;
    let (ended, words) = start_with_less(&mut scene, most, |most| group.launcher(most)).await;
    assert!(ended > 0, "nothing was scarce");
    judge(&scene).await;
    figure("starts-with-few-threads", words);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs prlimit"]
async fn without_memory_it_ends_and_the_next_life_goes_on() {
    let mut scene = Scene::start(server(20), Launcher::default(), |config| config).await;
    scene.publisher.ask("pause", json!({ "all": true, "reason": "a backlog" })).await;
    let process = scene.bridge.id().to_string();
    // From now on every page that it asks for is refused.
    if let Err(why) = run(&["prlimit", "--pid", &process, "--as=1:"]) {
        return skipped("61", "no memory", &why);
    }
    let padding = "x".repeat(100_000);
    let mut number = 0;
    while scene.bridge.is_running() && number < 3000 {
        let (id, account) = (format!("large-{number}"), crate::scene::account(number % 20));
        let mut message: serde_json::Value = serde_json::from_str(&text(&account, &id)).expect("JSON");
        message["padding"] = json!(padding);
        scene.send(message.to_string(), &id).await;
        number += 1;
    }
    if scene.bridge.is_running() {
        // So little memory is enough for it: then it goes on, with what it had.
        run(&["prlimit", "--pid", &process, "--as=unlimited:"]).expect("up to what it was");
        figure("without-memory", "it went on");
    } else {
        let status = scene.bridge.wait();
        assert!(!status.success(), "{status}");
        figure("without-memory", format!("ended ({status}) after {number} messages"));
        scene.bridge.start_again().await;
    }
    scene.publisher.ask("resume", json!({ "all": true })).await;
    let verdict = judge(&scene).await;
    assert_eq!(verdict.sent, number, "{verdict:?}");
}
