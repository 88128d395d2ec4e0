//! What happened: the last lines of it, or all; and how often what.

use super::kinds::Counts;
use crate::model::Time;
use std::collections::VecDeque;
use std::fmt::Write;

/// Lines that are kept to be shown.
const KEPT: usize = 60;

pub struct Trace {
    kept: usize,
    lines: VecDeque<String>,
    /// Of what makes a promise hard to keep.
    pub counts: Counts,
}

impl Default for Trace {
    fn default() -> Self {
        Self { kept: KEPT, lines: VecDeque::new(), counts: Counts::default() }
    }
}

impl Trace {
    /// Keeps every line from now on.
    pub fn keep_all(&mut self) {
        self.kept = usize::MAX;
    }

    pub fn line(&mut self, at: Time, what: impl FnOnce() -> String) {
        let mut line =
            if self.lines.len() == self.kept { self.lines.pop_front().unwrap_or_default() } else { String::new() };
        line.clear();
        let _ = write!(line, "{at} {}", what());
        self.lines.push_back(line);
    }

    /// What is kept, a line each.
    pub fn text(&self) -> String {
        self.lines.iter().fold(String::new(), |all, line| all + line + "\n")
    }
}
