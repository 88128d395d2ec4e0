//! Power cuts: what reached the disk of a running bridge is copied while it stands still, and is all that is left.
//!
//! The writers are paced: with a backlog the program nearly always stands in a sync, and then even a journal that never
//! syncs looks whole. So a control without syncs has to lose something, or the test shows nothing.

use crate::bridge::Launcher;
use crate::disks::{LoopDisk, attempted, kept, library};
use crate::judge::judge;
use crate::report::{count, figure, skipped};
use crate::scene::{Scene, server};
use nix::sys::signal::Signal;
use std::collections::BTreeSet;
use std::time::Duration;

const ACCOUNTS: usize = 60;
/// Between two messages.
const PACE: Duration = Duration::from_millis(4);
/// After so many cuts everything must have its answer, and the next ones begin with a new journal.
const CUTS_PER_JOURNAL: usize = 20;
const DISK_MIB: u64 = 128;
const CONTROL_CUTS: usize = 3;

/// Draws without a state of their own (SplitMix64), so that the same cut meets the same moment.
fn draw(seed: usize, bound: usize) -> usize {
    let mut mixed = (seed as u64).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((mixed ^ (mixed >> 31)) % bound as u64) as usize
}

async fn scene_on(disk: &LoopDisk, launcher: Launcher) -> Scene {
    let path = format!("{:?}", disk.path("journal.db").display().to_string());
    let mut settings = server(ACCOUNTS);
    settings.latency = Duration::ZERO..=Duration::from_millis(20);
    Scene::start(settings, launcher, |config| config.with("store.path", &path).with("store.low_space", r#""16MiB""#))
        .await
}

/// Publishes, paced, until the moment of the cut: so many words of the bridge later, or so many answers, because
/// there are none in the first second after a start.
async fn publish_until_cut(scene: &mut Scene, cut: usize) {
    let (heard, answers) = (scene.publisher.heard(), scene.publisher.answers());
    let (heard, answers) = if cut.is_multiple_of(2) {
        (heard + 1 + draw(cut, 300), usize::MAX)
    } else {
        (usize::MAX, answers + 1 + draw(cut, 100))
    };
    scene.send_until(PACE, |publisher| publisher.heard() >= heard || publisher.answers() >= answers).await;
}

/// What a power cut took away.
#[derive(Debug, Default)]
struct Lost {
    /// Publishers were told that these are kept.
    acknowledged: BTreeSet<String>,
    /// The server got these, and the journal does not know.
    requested: BTreeSet<String>,
    told: usize,
}

/// Stops the bridge in the middle, lets the disk become what it would be after a loss of power, and compares.
async fn cut(scene: &mut Scene, disk: &LoopDisk) -> Lost {
    scene.bridge.signal(Signal::SIGSTOP);
    // All that was heard by now was said before the copy is taken, so it must be in it.
    let told = scene.acknowledged();
    let requested: BTreeSet<String> =
        scene.sender.with_ledger(|ledger| ledger.messages.keys().map(ToString::to_string).collect());
    tokio::task::block_in_place(|| disk.copy());
    scene.bridge.kill();
    tokio::task::block_in_place(|| disk.become_copy());
    let journal = disk.path("journal.db");
    // A journal that cannot be read has kept nothing.
    let (kept, attempted) = (kept(&journal).unwrap_or_default(), attempted(&journal).unwrap_or_default());
    Lost {
        acknowledged: told.difference(&kept).cloned().collect(),
        requested: requested.difference(&attempted).cloned().collect(),
        told: told.len(),
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root"]
async fn a_power_cut_takes_nothing_that_was_acknowledged() {
    let cuts = count("SENDBRIDGE_POWER_CUTS", 20);
    let (mut done, mut messages, mut doubts) = (0, 0, 0);
    while done < cuts {
        let disk = match LoopDisk::make(DISK_MIB) {
            Ok(disk) => disk,
            Err(why) => return skipped("46", "power cuts", &why),
        };
        let mut scene = scene_on(&disk, Launcher::default()).await;
        let last = cuts.min(done + CUTS_PER_JOURNAL);
        while done < last {
            publish_until_cut(&mut scene, done).await;
            let lost = cut(&mut scene, &disk).await;
            assert!(lost.told > 0, "nothing was told before cut {done}");
            assert!(lost.acknowledged.is_empty() && lost.requested.is_empty(), "cut {done} took {lost:?}");
            scene.bridge.start_again().await;
            done += 1;
        }
        let verdict = judge(&scene).await;
        messages += verdict.messages;
        doubts += verdict.unresolved.len();
        scene.bridge.kill();
    }
    figure("power-cuts", cuts);
    figure("power-cuts-messages", messages);
    figure("power-cuts-acknowledged-lost", 0);
    figure("power-cuts-in-doubt", doubts);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root"]
async fn a_power_cut_does_take_what_was_never_synced() {
    let no_sync = match library("libeatmydata.so") {
        Ok(library) => Launcher { environment: vec![("LD_PRELOAD".to_owned(), library)], ..Launcher::default() },
        Err(why) => return skipped("46", "the control of the power cuts", &why),
    };
    let (mut lost, mut told) = (0, 0);
    for number in 0..CONTROL_CUTS {
        let disk = match LoopDisk::make(DISK_MIB) {
            Ok(disk) => disk,
            Err(why) => return skipped("46", "the control of the power cuts", &why),
        };
        // Its tables are there, as they are in a journal that is in use.
        let mut scene = scene_on(&disk, Launcher::default()).await;
        scene.bridge.kill();
        scene.bridge.launch_by(no_sync.clone());
        scene.bridge.start_again().await;
        publish_until_cut(&mut scene, 2 * number + 1).await;
        let found = cut(&mut scene, &disk).await;
        lost += found.acknowledged.len();
        told += found.told;
    }
    assert!(lost > 0, "without syncs nothing of {told} was lost: these cuts are none");
    figure("power-cuts-control-lost", format!("{lost} of {told}"));
}
