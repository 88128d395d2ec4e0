//! A file system that is read-only from the start, or becomes so.

use crate::bridge::Launcher;
use crate::disks::LoopDisk;
use crate::judge::judge;
use crate::mosquitto::Mosquitto;
use crate::report::skipped;
use crate::scene::{Scene, eventually, server};
use nix::sys::signal::Signal;
use std::time::Duration;

const ACCOUNTS: usize = 5;
const PACE: Duration = Duration::from_millis(5);

async fn scene_on(disk: &LoopDisk) -> Scene {
    let path = format!("{:?}", disk.path("journal.db").display().to_string());
    let broker = Mosquitto::start(&["max_inflight_messages 1000"]);
    let configure =
        |config: crate::bridge::Config| config.with("store.path", &path).with("store.low_space", r#""16MiB""#);
    Scene::prepare(server(ACCOUNTS), broker, Launcher::default(), configure).await
}

/// Stops the bridge, and returns when none of its threads is in a system call any more.
async fn stand_still(scene: &Scene) {
    scene.bridge.signal(Signal::SIGSTOP);
    let tasks = format!("/proc/{}/task", scene.bridge.id());
    let is_stopped = |task: std::fs::DirEntry| {
        let status = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        // The name before it may hold anything.
        status.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    };
    eventually("all threads to stand still", || {
        std::fs::read_dir(&tasks).expect("a process").all(|task| task.is_ok_and(is_stopped))
    })
    .await;
}

fn last_line(scene: &Scene) -> String {
    scene.bridge.log().last().expect("a line").clone()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root"]
async fn a_start_on_a_read_only_file_system_says_so_and_a_person_has_to_act() {
    let disk = match LoopDisk::make(64) {
        Ok(disk) => disk,
        Err(why) => return skipped("50", "a read-only file system at a start", &why),
    };
    let mut scene = scene_on(&disk).await;
    for is_new in [true, false] {
        disk.remount("ro").expect("nobody uses it");
        let status = scene.bridge.start_or_end().await.expect("it cannot start");
        assert_eq!(status.code(), Some(78), "new: {is_new}");
        let said = last_line(&scene);
        assert!(said.contains("journal") && said.contains("Read-only file system"), "{said}");
        disk.remount("rw").expect("it was");
        scene.bridge.start_again().await;
        scene.bridge.ready().await;
        scene.send_next().await;
        judge(&scene).await;
        scene.bridge.kill();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root"]
async fn a_file_system_that_becomes_read_only_ends_the_process_and_nothing_is_lost() {
    let disk = match LoopDisk::make(64) {
        Ok(disk) => disk,
        Err(why) => return skipped("50", "a file system that becomes read-only", &why),
    };
    let mut scene = scene_on(&disk).await;
    scene.bridge.start_again().await;
    scene.bridge.ready().await;
    scene.send_until(PACE, |publisher| publisher.answers() >= 20).await;
    // A sync that is under way at this moment comes back as done from ext4 (Linux 6.18 at least), and is not: no program
    // can know. So it happens between two calls.
    stand_still(&scene).await;
    if let Err(why) = disk.remount("abort") {
        return skipped("50", "a file system that becomes read-only", &why);
    }
    scene.bridge.signal(Signal::SIGCONT);
    let mut pace = tokio::time::interval(PACE);
    for _ in 0..20 {
        pace.tick().await;
        scene.send_next().await;
    }
    let status = scene.bridge.wait();
    assert_eq!(status.code(), Some(70), "{status}");
    assert!(last_line(&scene).contains("journal"), "{}", last_line(&scene));
    disk.unmount();
    disk.mount().expect("it is whole");
    scene.bridge.start_again().await;
    let verdict = judge(&scene).await;
    eventually("the end of every request", || scene.sender.with_ledger(|ledger| ledger.in_flight) == 0).await;
    assert!(verdict.sent >= 20, "{verdict:?}");
}
