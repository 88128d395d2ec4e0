//! What the kernel and SQLite's shared memory tell about a process from outside.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// Linux counts CPU time in units of 10 ms for everybody outside the kernel.
const MS_PER_TICK: u64 = 10;
/// Where SQLite's shared memory counts the transactions, in its first header (`WalIndexHdr.iChange`).
const COMMITS_OFFSET: usize = 8;

/// What one process has used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub cpu_ms: u64,
    pub rss_kib: u64,
    pub peak_kib: u64,
}

/// Zero for a process that is gone.
pub fn counts(pid: u32) -> Counts {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name may hold spaces; what follows it begins with field 3.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap_or(0)
    };
    Counts { cpu_ms: (ticks(14) + ticks(15)) * MS_PER_TICK, rss_kib: kib("VmRSS"), peak_kib: kib("VmHWM") }
}

/// How many transactions the journal has seen since it was opened; zero where there is no journal.
pub fn commits(journal: &str) -> u32 {
    let header = fs::read(format!("{journal}-shm")).unwrap_or_default();
    let bytes = header.get(COMMITS_OFFSET..COMMITS_OFFSET + 4).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u32::from_ne_bytes)
}

/// The median time of appending 4 KiB and one `fdatasync`, over `span`.
pub fn fdatasync_cost(directory: &Path, span: Duration) -> Duration {
    let path = directory.join("fdatasync");
    let mut file = fs::File::create(&path).expect("a file");
    let (started, mut took) = (Instant::now(), Vec::new());
    while started.elapsed() < span {
        let before = Instant::now();
        file.write_all(&[b'x'; 4096]).expect("room on the disk");
        file.sync_data().expect("a disk that works");
        took.push(before.elapsed());
    }
    let _ = fs::remove_file(path);
    took.sort_unstable();
    took[took.len() / 2]
}
