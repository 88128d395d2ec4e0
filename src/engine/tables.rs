//! What the engine remembers: messages, accounts, companies and servers, each under a small key.

use super::forecast::AnswerTime;
use super::hour::Minutes;
use super::lanes::{Entry, Lanes, Open};
use crate::model::{Account, Corp, Fingerprint, OnDoubt, SenderName, Seq, Shown, State, Time};
use std::collections::BTreeSet;

macro_rules! key {
    ($name:ident) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(super) struct $name(pub(super) u32);

        impl $name {
            pub(super) fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

key!(AccountKey);
key!(CorpKey);
key!(SenderKey);

/// A digest of (topic suffix, account, id): what makes two requests the same one.
pub(super) type DedupKey = u128;
/// What two lives of one message have in common: its publisher, account, id and content.
pub(super) type MessageKey = (DedupKey, Fingerprint);
/// A digest of the id alone, to find messages by it.
pub(super) type IdKey = u64;

/// A message without its text, from its acceptance to its final state.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) dedup: DedupKey,
    pub(super) id: IdKey,
    pub(super) fingerprint: Fingerprint,
    pub(super) account: AccountKey,
    pub(super) body_bytes: u32,
    pub(super) conversation: u64,
    /// What it shows in its chat, if a callback can show it too.
    pub(super) shown: Option<Shown>,
    /// A digest of its tag; zero without one.
    pub(super) tag: u64,
    pub(super) received_at: Time,
    pub(super) expires_at: Time,
    /// Not before this: `notBefore`, or the wait of a retry.
    pub(super) earliest: Time,
    pub(super) phase: Phase,
    pub(super) on_doubt: OnDoubt,
    pub(super) priority: u8,
    pub(super) attempts: u16,
    /// Attempts whose effect nobody knows.
    pub(super) doubts: u16,
    /// Whether nobody knows if a life before was sent: then this one cannot fail, only be in doubt too.
    pub(super) inherited_doubt: bool,
    pub(super) possibly_duplicate: bool,
    /// Whether its last attempt is the doubtful one, and since when: all that a restart needs to decide about it.
    pub(super) last_in_doubt: bool,
    pub(super) doubted_at: Time,
}

/// Where a live message is.
///
/// ```text
/// Scheduled --notBefore--> Queued <--> Sending --> InDoubt --> Queued (resend)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not in its account's queue yet.
    Scheduled,
    Queued,
    Sending,
    /// Until then, if there is anything to wait for.
    InDoubt(Option<Time>),
}

impl Live {
    /// Whether a request for it may have worked, in this life or in one before.
    pub(super) fn is_doubtful(&self) -> bool {
        self.doubts > 0 || self.inherited_doubt
    }

    pub(super) fn state(&self) -> State {
        match self.phase {
            Phase::Scheduled | Phase::Queued => State::Queued,
            Phase::Sending => State::Sending,
            Phase::InDoubt(_) => State::InDoubt,
        }
    }

    /// Its place in its account's queue: priority first, then the order of acceptance.
    pub(super) fn rank(&self, seq: Seq) -> Rank {
        (9 - self.priority, seq)
    }
}

pub(super) type Rank = (u8, Seq);

/// A message that reached its final state, kept for deduplication and until its answer is out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past {
    pub(super) dedup: DedupKey,
    pub(super) id: IdKey,
    pub(super) fingerprint: Fingerprint,
    pub(super) state: State,
    pub(super) answered: bool,
    /// In whose books it ended; `None` while nobody knew its account's company.
    pub(super) corp: Option<CorpKey>,
    /// When it ended, or was corrected: deduplication counts from then.
    pub(super) at: Time,
    pub(super) account: AccountKey,
    pub(super) attempts: u16,
    pub(super) possibly_duplicate: bool,
}

impl Past {
    /// What is left of a message that ends in `state`, in the books of `corp`.
    pub(super) fn of(live: &Live, state: State, at: Time, corp: Option<CorpKey>) -> Self {
        Self {
            dedup: live.dedup,
            id: live.id,
            fingerprint: live.fingerprint,
            state,
            answered: false,
            corp,
            at,
            account: live.account,
            attempts: live.attempts,
            possibly_duplicate: live.possibly_duplicate,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct AccountState {
    pub(super) name: Account,
    pub(super) corp: Option<CorpKey>,
    pub(super) sender: Option<SenderKey>,
    pub(super) queue: BTreeSet<Rank>,
    /// Messages that wait for their `notBefore` outside of the queue.
    pub(super) scheduled: BTreeSet<(Time, Seq)>,
    pub(super) in_flight: u32,
    pub(super) in_doubt: u32,
    pub(super) place: Place,
    /// Since when it could have sent, while it is [`Place::Ready`].
    pub(super) ready_since: Option<Time>,
    pub(super) cool_down_until: Time,
    /// How often in a row the sender called it too frequent.
    pub(super) cool_downs: u32,
    pub(super) offline: bool,
    pub(super) minutes: Option<Box<Minutes>>,
    /// Whether a moment is set at which its messages stop waiting for a company.
    pub(super) grace_set: bool,
    pub(super) tally: super::ledger::Tally,
}

/// Where an account stands in the schedule. Exactly one structure holds it at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In none: nothing to send, busy, held, or not known well enough to send.
    Idle,
    /// In the timers, due then.
    Due(Time),
    /// In the lane of its server and company, as this entry.
    Ready(SenderKey, CorpKey, Entry),
}

#[derive(Clone, Debug)]
pub(super) struct CorpState {
    pub(super) name: Corp,
    /// What its hour is open for, as far as the last question told.
    pub(super) open: Open,
    pub(super) open_timer: Option<Time>,
    /// The accounts known to belong to it.
    pub(super) members: BTreeSet<AccountKey>,
}

#[derive(Clone, Debug)]
pub(super) struct SenderState {
    pub(super) name: SenderName,
    pub(super) in_flight: usize,
    pub(super) connections: usize,
    pub(super) lanes: Lanes,
    /// How long its answers take.
    pub(super) answers: AnswerTime,
    pub(super) breaker: super::breaker::Breaker,
    pub(super) unauthorized: bool,
    pub(super) directory_asked_at: Option<Time>,
    /// Whether its account list was read since the start.
    pub(super) directory_read: bool,
    pub(super) directory_missing: super::status::Latch,
    /// Whether it is to be asked for once more, because somebody needed it too soon after the last time.
    pub(super) directory_wanted: bool,
}

/// A moment at which something is due, unless it was settled before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    Account(AccountKey),
    /// An account has cooled down, which its status says until then.
    CoolDown(AccountKey),
    Corp(CorpKey),
    /// The breaker of a server lets a request through again, or its account list is to be asked.
    Sender(SenderKey),
    /// A message's `notBefore` has come.
    Scheduled(Seq),
    /// A doubt has waited long enough.
    Doubt(Seq),
    /// The account's messages have waited long enough for a company.
    Grace(AccountKey),
    /// A hold or a block ends by itself.
    Hold(u64),
    /// A limit that was set ends by itself.
    Limits,
    /// The log goes back to what was configured.
    LogLevel,
    /// A cancellation goes on.
    Sweep,
}

/// An attempt that has begun and not ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    pub(super) attempt: u32,
    pub(super) account: AccountKey,
    /// Through which server; `None` for an attempt of an earlier life of the process.
    pub(super) sender: Option<SenderKey>,
    /// In whose hour it takes a place.
    pub(super) corp: CorpKey,
    /// When it began; the time of the start for one of an earlier life.
    pub(super) at: Time,
}
