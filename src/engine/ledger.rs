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
use super::tables::{AccountKey, CorpKey, Past};
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
    /// The company whose books that went into.
    first_corp: Option<CorpKey>,
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
            self.ledger.total.received += 1;
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
            counters.received += 1;
            counters.restored += u64::from(matches!(settled, Settled::Restored));
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
        let state = self.account_mut(account);
        state.in_doubt += u32::from(to == State::InDoubt);
        state.in_doubt -= u32::from(from == State::InDoubt);
        self.touch(account);
        self.count_for(Some(account), |counters| counters.states.change(from, to));
        self.recount_change(seq, account, from, to);
        if self.started && to == State::Sent {
            self.rates.sent.add(self.now);
        }
    }

    /// What was said of a message that is over turned out otherwise.
    pub(super) fn count_corrected(&mut self, account: AccountKey, past: Past, to: State) {
        let from = past.state;
        self.ledger.total.states.change(from, to);
        match past.corp.or(self.account(account).tally.first_corp) {
            Some(corp) => self.ledger.corps[corp.index()].states.change(from, to),
            None => self.count_for(Some(account), |counters| counters.states.change(from, to)),
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
        let Tally { live, restored: live_restored, homeless, first_corp } = &mut self.account_mut(account).tally;
        let moved = match old {
            // What a first company takes over is all that there ever was.
            None => {
                *first_corp = Some(corp);
                homeless.take().map(|all| *all).unwrap_or_default()
            }
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
        Self { received: accepted, rejected: 0, duplicate: 0, accepted, restored, states }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Account, DirectoryEntry, Fault, Input, LastNumbers, Origin, Refusal, SenderName, Time};

    const START: Time = Time::from_millis(1_700_000_000_000);

    fn engine() -> Engine {
        let mut engine = Engine::new(crate::golden::default_settings(), START, LastNumbers::default());
        engine.start(START);
        engine
    }

    fn locate(engine: &mut Engine, account: &str, corp: &str) {
        let (account, corp) = (Account::new(account), Some(Corp::new(corp)));
        // Not online, so that it waits.
        let entries = vec![DirectoryEntry { account, corp, online: Some(false) }];
        engine.handle(Input::Directory { sender: SenderName::new("main"), entries }, START);
        engine.account_for_everything().expect("all is accounted for");
    }

    fn request(engine: &mut Engine, account: &str, id: u64) {
        let request = Box::new(crate::golden::request_of(account, id));
        engine.handle(Input::Request { ticket: None, request }, START);
        engine.account_for_everything().expect("all is accounted for");
    }

    fn counts(engine: &Engine, corp: &str) -> (u64, u64, u64, u64, u64) {
        let counts = engine.corp_counts(engine.corp_keys[&Corp::new(corp)]);
        assert!(counts.balanced);
        (counts.received, counts.rejected, counts.duplicate, counts.accepted, counts.states["queued"])
    }

    #[test]
    fn what_nobody_knew_the_company_of_goes_along_when_it_becomes_known() {
        let mut engine = engine();
        request(&mut engine, "a", 1);
        request(&mut engine, "a", 1);
        let fault = Fault::new(crate::model::Code::InvalidField, "no content");
        let refusal = Refusal { id: None, account: Some(Account::new("a")), origin: Origin::default(), fault };
        engine.handle(Input::Refused { ticket: None, refusal: Box::new(refusal) }, START);
        assert_eq!(engine.ledger.unknown.received, 3);
        locate(&mut engine, "a", "corp1");
        assert_eq!(counts(&engine, "corp1"), (3, 1, 1, 1, 1));
        assert_eq!(engine.ledger.unknown, Counters::default());
        // From company to company only what is live goes along.
        locate(&mut engine, "a", "corp2");
        assert_eq!(counts(&engine, "corp1"), (2, 1, 1, 0, 0));
        assert_eq!(counts(&engine, "corp2"), (1, 0, 0, 1, 1));
    }

    /// Each of them would be a message that got lost, or one that nobody sent.
    #[test]
    fn books_that_do_not_add_up_are_named() {
        let wrong = |spoil: fn(&mut Ledger)| {
            let mut engine = engine();
            locate(&mut engine, "a", "corp1");
            request(&mut engine, "a", 1);
            request(&mut engine, "nobody knows", 2);
            spoil(&mut engine.ledger);
            engine.unbalanced()
        };
        let corp = Book::Corp(CorpKey(0));
        assert_eq!(wrong(|_| ()), []);
        assert_eq!(wrong(|ledger| ledger.unknown.received += 1), [Book::Unknown, Book::All]);
        assert_eq!(wrong(|ledger| ledger.corps[0].duplicate += 1), [corp, Book::All]);
        let lost = |ledger: &mut Ledger| {
            ledger.unknown.received += 1;
            ledger.total.received += 1;
        };
        assert_eq!(wrong(lost), [Book::Unknown, Book::All]);
        // By themselves all add up, but not with each other, or with what is there.
        let refused = |ledger: &mut Ledger| {
            ledger.corps[0].received += 1;
            ledger.corps[0].rejected += 1;
        };
        assert_eq!(wrong(refused), [Book::All]);
        assert_eq!(wrong(|ledger| ledger.forgotten += 1), [Book::All]);
        let under_way = |ledger: &mut Ledger| {
            ledger.corps[0].states.change(State::Queued, State::Sending);
            ledger.total.states.change(State::Queued, State::Sending);
        };
        assert_eq!(wrong(under_way), [Book::All]);
    }

    #[test]
    fn a_correction_is_made_in_the_books_in_which_the_message_ended() {
        let mut engine = engine();
        request(&mut engine, "a", 1);
        let account = engine.account_keys[&Account::new("a")];
        engine.finish(Seq(1), State::Expired, None, None);
        assert_eq!(engine.past[&Seq(1)].corp, None);
        locate(&mut engine, "a", "corp1");
        locate(&mut engine, "a", "corp2");
        engine.count_corrected(account, engine.past[&Seq(1)], State::Sent);
        engine.account_for_everything().expect("all is accounted for");
        let corp1 = engine.corp_counts(engine.corp_keys[&Corp::new("corp1")]);
        assert_eq!((corp1.states["sent"], corp1.states["expired"], corp1.balanced), (1, 0, true));
    }

    #[test]
    fn companies_beyond_the_rows_of_the_metrics_share_one() {
        let mut engine = engine();
        for number in 0..5_u64 {
            locate(&mut engine, &format!("a{number}"), &format!("corp{number}"));
            request(&mut engine, &format!("a{number}"), number);
        }
        let rows = engine.corp_gauges(2);
        let names: Vec<Option<&str>> = rows.iter().map(|row| row.corp.as_ref().map(Corp::as_str)).collect();
        assert_eq!(names, [Some("corp0"), Some("corp1"), None]);
        assert_eq!(rows.iter().map(|row| row.queued).collect::<Vec<_>>(), [1, 1, 3]);
        assert_eq!(rows[2].hour_limit, 150_000);
        assert_eq!(engine.corp_gauges(5).len(), 5);
    }
}
