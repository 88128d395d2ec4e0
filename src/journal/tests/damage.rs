//! Damage at random places of a journal that was left by a crash: seeded, so that a finding can be made again.
//!
//! The structure of each page is checked at a start, frames of the log carry checksums, and the lock file says how far
//! the journal was. What stands inside a row carries none: a byte that changed there is told only where it makes no
//! sense.

use super::{START, accepted, attempted, commit, copy_as_after_a_crash, directory, ended, finished, life, settings};
use crate::journal::Journal;
use crate::model::{Record, Seq};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// With every change, unless `SENDBRIDGE_DAMAGES` says how many.
const DAMAGES: u64 = 400;
/// What a disk writes at once.
const SECTOR: usize = 512;

/// Numbers that look like chance and are the same each time (SplitMix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }
}

fn log_of(path: &Path) -> PathBuf {
    path.with_extension("db-wal")
}

fn lock_of(path: &Path) -> PathBuf {
    path.with_extension("db.lock")
}

/// Does something to the bytes, and says what.
fn damage(bytes: &mut Vec<u8>, chance: &mut Chance) -> &'static str {
    let sectors = bytes.len() / SECTOR;
    let sector = chance.below(sectors) * SECTOR;
    match chance.below(5) {
        0 => {
            let place = chance.below(bytes.len());
            bytes[place] ^= 1 << chance.below(8);
            "a bit"
        }
        1 => {
            for _ in 0..8 {
                let place = chance.below(bytes.len());
                bytes[place] = chance.below(256) as u8;
            }
            "eight bytes"
        }
        2 => {
            bytes[sector..sector + SECTOR].fill(0);
            "an empty sector"
        }
        3 => {
            let other = chance.below(sectors) * SECTOR;
            bytes.copy_within(other..other + SECTOR, sector);
            "a sector in the wrong place"
        }
        _ => {
            let length = chance.below(bytes.len());
            bytes.truncate(length);
            "a cut"
        }
    }
}

/// Messages that are not over, by what a start hands over; or why there is none.
fn live(directory: &Path) -> Result<BTreeSet<Seq>, String> {
    let journal = Journal::open(settings(directory)).map_err(|error| error.to_string())?;
    let mut live = BTreeSet::new();
    let taken = |record| {
        if let Record::Accepted(message) = record {
            live.insert(message.seq);
        }
    };
    journal.replay(START, taken).map_err(|error| error.to_string())?;
    Ok(live)
}

/// A journal with messages in every state, one half in the file and one half in the log.
async fn fill(directory: &Path) -> Journal {
    let journal = super::open(directory);
    for seq in 1..=200 {
        let mut records = life(seq, START);
        records.truncate(1 + seq as usize % 5);
        commit(&journal, records).await;
    }
    journal.close().await.expect("a clean end");
    let journal = super::open(directory);
    for seq in 201..=260 {
        commit(&journal, vec![accepted(seq, START), attempted(seq, 1, START)]).await;
        if seq % 2 == 0 {
            commit(&journal, vec![ended(seq, 1, START), finished(seq, START)]).await;
        }
    }
    journal
}

#[tokio::test]
async fn damage_anywhere_is_refused_or_loses_nothing_that_the_log_had() {
    let count = std::env::var("SENDBRIDGE_DAMAGES").map_or(DAMAGES, |count| count.parse().expect("a number"));
    let (whole, damaged) = (directory(), directory());
    let journal = fill(whole.path()).await;
    copy_as_after_a_crash(whole.path(), damaged.path());
    let (from, to) = (settings(whole.path()).path, settings(damaged.path()).path);
    let files = [std::fs::read(&to), std::fs::read(log_of(&to))].map(|bytes| bytes.expect("a file"));
    let lock = std::fs::read(lock_of(&from)).expect("the lock file");
    journal.close().await.expect("a clean end");
    let expected = live(whole.path()).expect("a sound journal");
    assert!(expected.len() > 200, "{} messages", expected.len());

    let (mut refused, mut the_same, mut others) = (0_u64, 0_u64, 0_u64);
    for seed in 0..count {
        let mut chance = Chance(seed);
        let in_log = chance.below(2) == 1;
        let mut bytes = files.clone();
        let what = damage(&mut bytes[usize::from(in_log)], &mut chance);
        // Files of the life before would be taken for its own.
        for path in [to.with_extension("db-shm"), log_of(&to), to.clone()] {
            let _ = std::fs::remove_file(path);
        }
        std::fs::write(&to, &bytes[0]).expect("a file");
        std::fs::write(log_of(&to), &bytes[1]).expect("a log");
        std::fs::write(lock_of(&to), &lock).expect("a lock file");
        let found = catch_unwind(AssertUnwindSafe(|| live(damaged.path())));
        let Ok(found) = found else { panic!("seed {seed}: {what}, in the log: {in_log}: a panic") };
        match found {
            Ok(found) if found == expected => the_same += 1,
            // A number inside a row has no checksum; what is in the log has.
            Ok(_) => {
                assert!(!in_log, "seed {seed}: {what} in the log changed what there is");
                others += 1;
            }
            Err(error) => {
                assert!(error.len() > 20, "seed {seed}: {error:?} says nothing");
                assert!(to.exists(), "seed {seed}: the file is gone");
                refused += 1;
            }
        }
    }
    assert!(refused > count / 4 && the_same > count / 20, "of {count}, {refused} refused and {the_same} as before");
    assert!(others <= count / 100, "{others} of {count} were taken for another journal");
    eprintln!(
        "figure: damaged-journals = {count}: {refused} refused, {the_same} with the same messages, {others} with others"
    );
}
