//! What happened, as a digest of everything and the last lines of it.

use crate::model::Time;
use std::collections::VecDeque;
use std::fmt::Write;

/// Lines that are kept to be shown.
const KEPT: usize = 60;

pub struct Trace {
    digest: u64,
    lines: VecDeque<String>,
}

impl Default for Trace {
    fn default() -> Self {
        Self { digest: 0xcbf2_9ce4_8422_2325, lines: VecDeque::new() }
    }
}

impl Trace {
    pub fn line(&mut self, at: Time, what: impl FnOnce() -> String) {
        let mut line =
            if self.lines.len() == KEPT { self.lines.pop_front().unwrap_or_default() } else { String::new() };
        line.clear();
        let _ = write!(line, "{at} {}", what());
        for byte in line.bytes() {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.lines.push_back(line);
    }

    /// Equal for two runs in which the same happened.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    pub fn last(&self) -> String {
        self.lines.iter().fold(String::new(), |all, line| all + line + "\n")
    }
}
