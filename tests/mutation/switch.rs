//! Which mutant lives: stands in the copy of the bridge's source as `crate::mutant`, and is asked at each site.
//!
//! `MUTANT=n` gives life to mutant n. Without it none lives, and `MUTANT_SITES=path` lists there what was reached.

use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

const SITES_MAX: usize = 10_000;

static ALIVE: OnceLock<usize> = OnceLock::new();
static REACHED: [AtomicBool; SITES_MAX] = [const { AtomicBool::new(false) }; SITES_MAX];

/// The number of the mutant that lives, 0 for none.
pub fn at(site: usize) -> usize {
    let alive = *ALIVE.get_or_init(|| std::env::var("MUTANT").ok().and_then(|text| text.parse().ok()).unwrap_or(0));
    if alive == 0 && !REACHED[site].swap(true, Ordering::Relaxed) {
        if let Ok(path) = std::env::var("MUTANT_SITES") {
            // In one write, because several threads may come here at once.
            let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
            file.and_then(|mut file| file.write_all(format!("{site}\n").as_bytes())).expect("a list of sites");
        }
    }
    alive
}
