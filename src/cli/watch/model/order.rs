//! The order of accounts and companies, and the part of it that fits a screen.
//!
//! There may be 100,000 accounts and there are never more than some dozen rows: the rows are selected out of all, and
//! only they are sorted.

use super::Model;
use crate::model::{AccountReport, AccountState, CorpReport, Time};

/// By what accounts and companies are ordered; what is equal, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// The longest queue first.
    Queue,
    Name,
    /// Held ones first, idle ones last. Companies: held as a whole first.
    State,
    /// The next to send first.
    Next,
    /// The last to be done first.
    Eta,
    /// The most of the last hour first.
    Sent,
}

impl Sort {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Name => "name",
            Self::State => "state",
            Self::Next => "next send",
            Self::Eta => "drain eta",
            Self::Sent => "sent",
        }
    }

    pub(super) const fn next(self) -> Self {
        match self {
            Self::Queue => Self::Name,
            Self::Name => Self::State,
            Self::State => Self::Next,
            Self::Next => Self::Eta,
            Self::Eta => Self::Sent,
            Self::Sent => Self::Queue,
        }
    }

    /// What is less comes first.
    fn rank_of_account(self, report: &AccountReport) -> u64 {
        match self {
            Self::Queue => most_first(report.queued),
            Self::Name => 0,
            Self::State => match report.state {
                AccountState::Held => 0,
                AccountState::Waiting => 1,
                AccountState::Sending => 2,
                AccountState::Idle => 3,
            },
            Self::Next => report.next_send_at.map_or(u64::MAX, Time::as_nanos),
            Self::Eta => report.drain_eta.map_or(u64::MAX, |eta| most_first(eta.as_nanos())),
            Self::Sent => most_first(report.sent_last_hour),
        }
    }

    fn rank_of_corp(self, report: &CorpReport) -> u64 {
        match self {
            Self::Queue => most_first(report.queued),
            Self::Name => 0,
            Self::State => u64::from(report.hold.is_none()),
            Self::Next => report.next_send_at.map_or(u64::MAX, Time::as_nanos),
            Self::Eta => report.drain_eta.map_or(u64::MAX, |eta| most_first(eta.as_nanos())),
            Self::Sent => most_first(report.used),
        }
    }
}

const fn most_first(figure: u64) -> u64 {
    // Below that of what has no figure at all.
    (u64::MAX - 1).saturating_sub(figure)
}

/// The rows of a table that fit.
#[derive(Debug)]
pub struct Window<'a, T> {
    pub rows: Vec<&'a T>,
    /// How many there are in all.
    pub total: usize,
    /// Which of `rows` the keys are on.
    pub selected: usize,
}

type Entry<'a, T> = (u64, &'a str, &'a T);

impl Model {
    /// The accounts that fit into `height` rows.
    pub fn accounts_window(&self, height: usize) -> Window<'_, AccountReport> {
        window(self.account_entries(), self.selected_account.as_deref(), height)
    }

    /// The companies that fit into `height` rows.
    pub fn corps_window(&self, height: usize) -> Window<'_, CorpReport> {
        window(self.corp_entries(), self.selected_corp.as_deref(), height)
    }

    /// The account that the keys are on.
    pub fn account_at_cursor(&self) -> Option<&AccountReport> {
        self.accounts_window(1).rows.first().copied()
    }

    /// The company that the keys are on.
    pub fn corp_at_cursor(&self) -> Option<&CorpReport> {
        self.corps_window(1).rows.first().copied()
    }

    /// Moves the cursor by that many rows, at most to the first or last.
    pub(super) fn move_account(&mut self, by: isize) {
        self.selected_account = moved(self.account_entries(), self.selected_account.as_deref(), by);
    }

    pub(super) fn move_corp(&mut self, by: isize) {
        self.selected_corp = moved(self.corp_entries(), self.selected_corp.as_deref(), by);
    }

    fn account_entries(&self) -> Vec<Entry<'_, AccountReport>> {
        let shown = self.accounts.iter().filter(|(_, report)| {
            let corp = report.corp.as_ref().map_or("", |corp| corp.as_str());
            let reason = report.reason.as_deref().unwrap_or_default();
            self.passes(&[report.account.as_str(), corp, reason, state_word(report.state)])
        });
        shown.map(|(level, report)| (self.sort.rank_of_account(report), &**level, report)).collect()
    }

    fn corp_entries(&self) -> Vec<Entry<'_, CorpReport>> {
        let shown = self.corps.iter().filter(|(_, report)| self.passes(&[report.corp.as_str()]));
        shown.map(|(level, report)| (self.sort.rank_of_corp(report), &**level, report)).collect()
    }
}

fn window<'a, T>(mut entries: Vec<Entry<'a, T>>, selected: Option<&str>, height: usize) -> Window<'a, T> {
    let total = entries.len();
    let rank = rank_of(&entries, selected);
    // The cursor stays in the middle, but for both ends: so it needs no memory of where the window was.
    let before = rank.saturating_sub(height / 2).min(total.saturating_sub(height));
    let after = (before + height).min(total);
    if after < total {
        entries.select_nth_unstable_by(after, by_rank);
        entries.truncate(after);
    }
    if before > 0 && before < entries.len() {
        entries.select_nth_unstable_by(before, by_rank);
        entries.drain(..before);
    }
    entries.sort_unstable_by(by_rank);
    Window {
        rows: entries.into_iter().map(|(_, _, report)| report).collect(),
        total,
        selected: rank.saturating_sub(before),
    }
}

/// How many stand before the selected one; 0 when there is none.
fn rank_of<T>(entries: &[Entry<'_, T>], selected: Option<&str>) -> usize {
    let found = selected.and_then(|selected| entries.iter().find(|(_, name, _)| *name == selected));
    found.map_or(0, |found| entries.iter().filter(|entry| by_rank(entry, found).is_lt()).count())
}

fn moved<T>(mut entries: Vec<Entry<'_, T>>, selected: Option<&str>, by: isize) -> Option<Box<str>> {
    let last = entries.len().checked_sub(1)?;
    let wanted = rank_of(&entries, selected).saturating_add_signed(by).min(last);
    let (_, (_, name, _), _) = entries.select_nth_unstable_by(wanted, by_rank);
    Some(Box::from(*name))
}

fn by_rank<T>(one: &Entry<'_, T>, other: &Entry<'_, T>) -> std::cmp::Ordering {
    (one.0, one.1).cmp(&(other.0, other.1))
}

/// The word for it on topics.
pub fn state_word(state: AccountState) -> &'static str {
    match state {
        AccountState::Idle => "idle",
        AccountState::Sending => "sending",
        AccountState::Waiting => "waiting",
        AccountState::Held => "held",
    }
}
