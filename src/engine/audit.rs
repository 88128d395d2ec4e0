//! Counts anew, from time to time, what is really there, and compares.
//!
//! A pass goes through the live messages in slices, so that millions of them never hold up a turn. What changes behind
//! it is changed in its count too; when an account changes company it starts again.

use super::Engine;
use super::health::Book;
use super::ledger::{LIVE, Ledger, live_index};
use super::tables::{AccountKey, CorpKey};
use crate::model::{Seq, State, Time};
use std::time::Duration;

/// Messages that one slice looks at. Tests are to see a pass in many slices.
const SLICE: usize = if cfg!(test) { 16 } else { 5_000 };
/// Between two slices.
const SLICE_INTERVAL: Duration = Duration::from_millis(100);
/// A pass that had to start again so often compares nothing: the next one will.
const RESTARTS_MAX: u32 = 10;

/// A pass under way.
#[derive(Debug)]
pub(super) struct Recount {
    found: Found,
    /// All up to this one were looked at.
    cursor: Seq,
    next_at: Time,
    restarts: u32,
}

/// Live messages by company and state, as they were found.
#[derive(Debug)]
pub(super) struct Found {
    corps: Vec<[u64; LIVE.len()]>,
    unknown: [u64; LIVE.len()],
}

impl Found {
    pub(super) fn new(corps: usize) -> Self {
        Self { corps: vec![[0; LIVE.len()]; corps], unknown: [0; LIVE.len()] }
    }

    pub(super) fn add(&mut self, corp: Option<CorpKey>, state: State) {
        if let Some(index) = live_index(state) {
            self.row(corp)[index] += 1;
        }
    }

    fn remove(&mut self, corp: Option<CorpKey>, state: State) {
        if let Some(index) = live_index(state) {
            let row = self.row(corp);
            row[index] = row[index].saturating_sub(1);
        }
    }

    fn row(&mut self, corp: Option<CorpKey>) -> &mut [u64; LIVE.len()] {
        let Some(corp) = corp else { return &mut self.unknown };
        if self.corps.len() <= corp.index() {
            self.corps.resize(corp.index() + 1, [0; LIVE.len()]);
        }
        &mut self.corps[corp.index()]
    }

    /// The parts of the books that say something else.
    pub(super) fn compare(&self, ledger: &Ledger) -> Vec<Book> {
        let counted = |states: &super::status::StateCounts| LIVE.map(|state| states.get(state));
        let mut different = Vec::new();
        if counted(&ledger.unknown.states) != self.unknown {
            different.push(Book::Unknown);
        }
        for (index, counters) in ledger.corps.iter().enumerate() {
            if counted(&counters.states) != self.corps.get(index).copied().unwrap_or_default() {
                different.push(Book::Corp(CorpKey(index as u32)));
            }
        }
        different
    }
}

impl Engine {
    pub(super) fn start_recount(&mut self) {
        if self.recount.is_none() {
            let found = Found::new(self.corps.len());
            self.recount = Some(Recount { found, cursor: Seq(0), next_at: self.now, restarts: 0 });
        }
    }

    /// When the pass wants to go on.
    pub(super) fn recount_due(&self) -> Option<Time> {
        self.recount.as_ref().map(|recount| recount.next_at)
    }

    /// Looks at the next slice, if it is due. Returns what is wrong once a pass is complete.
    pub(super) fn recount(&mut self) -> Option<Vec<Book>> {
        let due = self.recount_due()? <= self.now;
        let mut recount = self.recount.take_if(|_| due)?;
        let mut looked_at = 0;
        for (seq, live) in self.live.iter_from(Seq(recount.cursor.0 + 1)).take(SLICE) {
            recount.found.add(self.account(live.account).corp, live.state());
            recount.cursor = *seq;
            looked_at += 1;
        }
        if looked_at == SLICE {
            recount.next_at = self.now + SLICE_INTERVAL;
            self.recount = Some(recount);
            return None;
        }
        (recount.restarts < RESTARTS_MAX).then(|| recount.found.compare(&self.ledger))
    }

    /// A message that was looked at already changed.
    pub(super) fn recount_change(&mut self, seq: Seq, account: AccountKey, from: State, to: State) {
        let corp = self.account(account).corp;
        if let Some(recount) = self.recount.as_mut().filter(|recount| seq <= recount.cursor) {
            recount.found.remove(corp, from);
            recount.found.add(corp, to);
        }
    }

    /// What was found belongs to other companies than it did.
    pub(super) fn recount_again(&mut self) {
        let corps = self.corps.len();
        if let Some(recount) = self.recount.as_mut().filter(|recount| recount.cursor > Seq(0)) {
            recount.found = Found::new(corps);
            recount.cursor = Seq(0);
            recount.restarts += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        Account, Command, CommandOrigin, CommandRequest, Corp, DirectoryEntry, Input, LastNumbers, MessageId,
        Selection, SenderName,
    };

    const START: Time = Time::from_millis(1_700_000_000_000);

    fn locate(engine: &mut Engine, corp: &str) {
        let entry = DirectoryEntry { account: Account::new("a"), corp: Some(Corp::new(corp)), online: Some(false) };
        engine.handle(Input::Directory { sender: SenderName::new("main"), entries: vec![entry] }, START);
    }

    fn request(engine: &mut Engine, id: u64) {
        let request = Box::new(crate::golden::request_of("a", id));
        engine.handle(Input::Request { ticket: None, request }, START);
    }

    fn cancel(engine: &mut Engine, id: u64) {
        let selection = Selection::of_id(MessageId::from_json(&id.to_string()), None);
        let command = Command::MessageCancel { selection, dry_run: false, block_for: None, reason: None };
        let origin = CommandOrigin { name: command.name().into(), reply_to: None, transaction: None, by: None };
        let request = Box::new(CommandRequest::new(origin, Ok(command)));
        engine.handle(Input::Command { ticket: None, request }, START);
    }

    const LAST: u64 = SLICE as u64 + 4;

    /// An engine in the middle of a pass, after its first slice.
    fn half_way() -> Engine {
        let mut settings = crate::golden::default_settings();
        settings.health_interval = Some(Duration::from_secs(30));
        let mut engine = Engine::new(settings, START, LastNumbers::default());
        engine.start(START);
        locate(&mut engine, "corp1");
        (1..=LAST).for_each(|id| request(&mut engine, id));
        engine.poll_ready(START);
        assert_eq!(cursor(&engine), Some(Seq(SLICE as u64)));
        engine
    }

    fn cursor(engine: &Engine) -> Option<Seq> {
        engine.recount.as_ref().map(|recount| recount.cursor)
    }

    #[test]
    fn what_changes_during_a_pass_is_counted_once_on_either_side_of_it() {
        let mut engine = half_way();
        for id in [1, SLICE as u64, SLICE as u64 + 1, LAST] {
            cancel(&mut engine, id);
        }
        request(&mut engine, LAST + 1);
        engine.poll_ready(START + SLICE_INTERVAL);
        assert_eq!(cursor(&engine), None, "the pass is complete");
        assert!(engine.health().counts.balanced);
    }

    #[test]
    fn a_pass_waits_between_its_slices() {
        let mut engine = half_way();
        assert_eq!(engine.recount_due(), Some(START + SLICE_INTERVAL));
        engine.poll_ready(START + SLICE_INTERVAL - Duration::from_millis(1));
        assert_eq!(cursor(&engine), Some(Seq(SLICE as u64)));
        engine.poll_ready(START + SLICE_INTERVAL);
        assert_eq!(cursor(&engine), None);
    }

    #[test]
    fn a_company_that_is_new_since_a_pass_was_wanted_is_counted_too() {
        let mut engine = half_way();
        engine.set_now(START + SLICE_INTERVAL);
        assert_eq!(engine.recount(), Some(vec![]));
        engine.start_recount();
        let entry = DirectoryEntry { account: Account::new("b"), corp: Some(Corp::new("corp2")), online: Some(true) };
        engine.handle(Input::Directory { sender: SenderName::new("main"), entries: vec![entry] }, START);
        for id in 1..=3 {
            let request = Box::new(crate::golden::request_of("b", 100 + id));
            engine.handle(Input::Request { ticket: None, request }, START);
        }
        assert_eq!(engine.recount(), None, "after one slice");
        engine.set_now(START + SLICE_INTERVAL * 2);
        assert_eq!(engine.recount(), Some(vec![]));
    }

    /// What belongs to nobody is found where it is: in the books of one company, or of those that are in none.
    #[test]
    fn a_count_that_is_wrong_is_found_in_its_own_book() {
        let found = |spoil: fn(&mut Ledger)| {
            let mut engine = half_way();
            spoil(&mut engine.ledger);
            engine.set_now(START + SLICE_INTERVAL);
            engine.recount()
        };
        assert_eq!(found(|_| ()), Some(vec![]));
        let corp = |ledger: &mut Ledger| ledger.corps[0].states.enter(State::Queued);
        assert_eq!(found(corp), Some(vec![Book::Corp(CorpKey(0))]));
        assert_eq!(found(|ledger| ledger.unknown.states.enter(State::InDoubt)), Some(vec![Book::Unknown]));
    }

    /// Where accounts move all the time there is no moment to compare; what was not begun need not begin again.
    #[test]
    fn a_pass_that_had_to_begin_again_too_often_says_nothing() {
        let after = |restarts: u32| {
            let mut engine = half_way();
            for restart in 1..=restarts {
                engine.recount_again();
                engine.recount_again();
                engine.set_now(START + SLICE_INTERVAL * restart);
                assert_eq!(engine.recount(), None);
                assert_eq!(cursor(&engine), Some(Seq(SLICE as u64)));
            }
            engine.set_now(START + SLICE_INTERVAL * (restarts + 1));
            engine.recount()
        };
        assert_eq!(after(RESTARTS_MAX - 1), Some(vec![]));
        assert_eq!(after(RESTARTS_MAX), None);
    }

    #[test]
    fn a_pass_begins_again_when_an_account_changes_company() {
        let mut engine = half_way();
        locate(&mut engine, "corp2");
        assert_eq!(cursor(&engine), Some(Seq(0)));
        engine.poll_ready(START + SLICE_INTERVAL);
        assert_eq!(cursor(&engine), Some(Seq(SLICE as u64)));
        engine.poll_ready(START + SLICE_INTERVAL * 2);
        assert_eq!(cursor(&engine), None);
        assert!(engine.health().counts.balanced);
    }
}
