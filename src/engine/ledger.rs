//! Where every message that came in has gone: in all, and by company.
//!
//! # Invariants
//!
//! - Everything is counted at two places that know nothing of each other: when it is received, and when it is decided
//!   what becomes of it. A path that forgets one of them breaks the identity, which is looked at in every turn.
//! - A message counts for the company of its account, or for none while nobody knows that; what was counted for none
//!   goes along when the company becomes known. When an account changes company its live messages go along, and what
//!   is over stays where it ended. So the sum over the companies and none is the total, always.

use super::Engine;
use super::health::Book;
use super::sabotage::Sabotage;
use super::status::{Counters, StateCounts};
use super::tables::{AccountKey, CorpKey};
use crate::model::{Corp, Counts, Seq, State};

/// The books of an engine.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) total: Counters,
    /// By company.
    pub(super) corps: Vec<Counters>,
    /// What belongs to accounts whose company nobody knows, and what named no account.
    pub(super) unknown: Counters,
    /// Past messages that deduplication has forgotten: they are in no table any more, and in the counts for ever.
    pub(super) forgotten: u64,
    /// The last message that an earlier life of the process took.
    restored_to: Seq,
}

/// What an account takes along into another company.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Its live messages: queued, sending, in doubt.
    live: [u32; LIVE.len()],
    /// Of these, those that an earlier life of the process took.
    restored: u32,
    /// All that was counted for it while its company was not known.
    homeless: Option<Box<Counters>>,
}

/// The states of a live message.
pub(super) const LIVE: [State; 3] = [State::Queued, State::Sending, State::InDoubt];

pub(super) fn live_index(state: State) -> Option<usize> {
    LIVE.iter().position(|live| *live == state)
}

/// In how many ways a message can be settled when it comes.
#[derive(Clone, Copy, Debug)]
enum Settled {
    Accepted,
    Restored,
    Duplicate,
    Rejected,
}

impl Engine {
    pub fn counters(&self) -> Counters {
        self.ledger.total
    }

    /// What is known of one company's messages.
    pub(super) fn corp_counts(&self, corp: CorpKey) -> Counts {
        self.ledger.corps.get(corp.index()).map(Counts::from).unwrap_or_default()
    }

    /// A message came, and it is not decided yet what becomes of it.
    pub(super) fn count_received(&mut self) {
        self.ledger.total.received += 1;
        self.rates.received.add(self.now);
    }

    pub(super) fn count_duplicate(&mut self, account: Option<AccountKey>) {
        self.settle(account, Settled::Duplicate);
    }

    pub(super) fn count_rejected(&mut self, account: Option<AccountKey>) {
        self.settle(account, Settled::Rejected);
    }

    /// A message became live, and is queued.
    pub(super) fn count_accepted(&mut self, seq: Seq, restored: bool) {
        let Some(account) = self.live.get(&seq).map(|live| live.account) else { return };
        if restored {
            self.ledger.restored_to = self.ledger.restored_to.max(seq);
            self.ledger.total.restored += 1;
        }
        self.settle(Some(account), if restored { Settled::Restored } else { Settled::Accepted });
        let tally = &mut self.account_mut(account).tally;
        tally.live[0] += 1;
        tally.restored += u32::from(restored);
    }

    fn settle(&mut self, account: Option<AccountKey>, settled: Settled) {
        match settled {
            Settled::Accepted | Settled::Restored => {
                self.ledger.total.accepted += 1;
                self.ledger.total.states.enter(State::Queued);
            }
            Settled::Duplicate => self.ledger.total.duplicate += 1,
            Settled::Rejected => self.ledger.total.rejected += 1,
        }
        self.count_for(account, |counters| {
            match settled {
                Settled::Restored => counters.restored += 1,
                Settled::Accepted | Settled::Duplicate | Settled::Rejected => counters.received += 1,
            }
            match settled {
                Settled::Accepted | Settled::Restored => {
                    counters.accepted += 1;
                    counters.states.enter(State::Queued);
                }
                Settled::Duplicate => counters.duplicate += 1,
                Settled::Rejected => counters.rejected += 1,
            }
        });
    }

    /// A live message goes from one state to another, which may be its last.
    pub(super) fn count_change(&mut self, seq: Seq, account: AccountKey, from: State, to: State) {
        self.ledger.total.states.change(from, to);
        let is_restored = seq <= self.ledger.restored_to;
        let tally = &mut self.account_mut(account).tally;
        if let Some(from) = live_index(from) {
            tally.live[from] -= 1;
        }
        match live_index(to) {
            Some(to) => tally.live[to] += 1,
            None => tally.restored -= u32::from(is_restored),
        }
        self.count_for(Some(account), |counters| counters.states.change(from, to));
        self.recount_change(seq, account, from, to);
        if self.started && to == State::Sent {
            self.rates.sent.add(self.now);
        }
    }

    /// Counts something of an account for its company, or for none while that is not known.
    fn count_for(&mut self, account: Option<AccountKey>, count: impl Fn(&mut Counters)) {
        let corp = account.and_then(|account| self.account(account).corp);
        if let Some(corp) = corp {
            return count(&mut self.ledger.corps[corp.index()]);
        }
        count(&mut self.ledger.unknown);
        if let Some(account) = account {
            count(self.account_mut(account).tally.homeless.get_or_insert_default());
        }
    }

    /// The account belongs to this company from now on. To be called before it does.
    pub(super) fn count_move(&mut self, account: AccountKey, corp: CorpKey) {
        let old = self.account(account).corp;
        if old == Some(corp) || self.sabotaged(Sabotage::MoveForgetsCounts) {
            return;
        }
        let Tally { live, restored: live_restored, homeless } = &mut self.account_mut(account).tally;
        let moved = match old {
            // What a first company takes over is all that there ever was.
            None => homeless.take().map(|all| *all).unwrap_or_default(),
            Some(_) => Counters::of_live(live, *live_restored),
        };
        let from = old.map_or(&mut self.ledger.unknown, |old| &mut self.ledger.corps[old.index()]);
        *from = from.minus(&moved);
        let to = &mut self.ledger.corps[corp.index()];
        *to = to.plus(&moved);
        self.recount_again();
    }

    /// The parts of the books that do not add up.
    pub(super) fn unbalanced(&self) -> Vec<Book> {
        let mut wrong = Vec::new();
        let mut sum = self.ledger.unknown;
        for (index, counters) in self.ledger.corps.iter().enumerate() {
            sum = sum.plus(counters);
            if !counters.is_balanced() {
                wrong.push(Book::Corp(CorpKey(index as u32)));
            }
        }
        if !self.ledger.unknown.is_balanced() {
            wrong.push(Book::Unknown);
        }
        if sum != self.ledger.total || !self.is_total_balanced() {
            wrong.push(Book::All);
        }
        wrong
    }

    /// What can be compared in no time: the counts in all with each other, and with what the tables hold.
    pub(super) fn is_total_balanced(&self) -> bool {
        let Counters { states, .. } = &self.ledger.total;
        let live: u64 = LIVE.iter().map(|state| states.get(*state)).sum();
        self.ledger.total.is_balanced()
            && live == self.live.len() as u64
            && states.get(State::Sending) == self.flights.len() as u64
            && states.total() - live == self.past.len() as u64 + self.ledger.forgotten
    }

    /// Every count there is against every message there is, for those who have the time.
    #[cfg(test)]
    pub(crate) fn account_for_everything(&self) -> Result<(), String> {
        let wrong = self.unbalanced();
        let mut found = super::audit::Found::new(self.corps.len());
        for live in self.live.values() {
            found.add(self.account(live.account).corp, live.state());
        }
        let different = found.compare(&self.ledger);
        if wrong.is_empty() && different.is_empty() {
            return Ok(());
        }
        Err(format!("unbalanced {wrong:?}, different from what is there {different:?}: {:?}", self.ledger))
    }
}

impl Counters {
    /// What stands for live messages in the books of a company.
    fn of_live(live: &[u32; LIVE.len()], restored: u32) -> Self {
        let accepted: u64 = live.iter().copied().map(u64::from).sum();
        let restored = u64::from(restored);
        let mut states = StateCounts::default();
        for (state, count) in LIVE.into_iter().zip(live) {
            states.add(state, u64::from(*count));
        }
        Self { received: accepted - restored, rejected: 0, duplicate: 0, accepted, restored, states }
    }
}

impl From<&Counters> for Counts {
    fn from(counters: &Counters) -> Self {
        Self {
            received: counters.received,
            rejected: counters.rejected,
            duplicate: counters.duplicate,
            accepted: counters.accepted,
            restored: counters.restored,
            states: State::ALL.iter().map(|state| (state.as_str().to_owned(), counters.states.get(*state))).collect(),
            balanced: counters.is_balanced(),
        }
    }
}

/// The name of a company in an alarm; what is about all of them is about `all`.
pub(super) fn name_of(corp: Option<&Corp>) -> &str {
    corp.map_or("all", Corp::as_str)
}
