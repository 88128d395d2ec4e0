//! What the engine remembers: messages, accounts, companies and servers, each under a small key.

use super::accept::{conversation_key, tag_key};
use super::cow_map::CowMap;
use super::forecast::AnswerTime;
use super::hour::Minutes;
use super::lanes::{Entry, Lanes, Open};
use crate::model::{Account, Corp, Message, OnDoubt, SenderName, Seq, Shown, State, Time};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::num::NonZeroU64;

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

/// What makes two requests the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DedupKey {
    pub(super) id: IdKey,
    /// A digest of topic suffix, account and id.
    pub(super) whole: u64,
}

/// What two lives of one message have in common: its publisher, account, id and content.
pub(super) type MessageKey = (DedupKey, ContentKey);
/// A digest of the id alone, to find messages by it.
pub(super) type IdKey = u64;

/// What is kept of a content's fingerprint: only messages of one publisher, account and id are told apart by it.
pub(super) type ContentKey = u64;

/// What is kept of what a message shows in its chat.
pub(super) type ShownKey = NonZeroU64;

pub(super) fn shown_key(shown: Shown) -> ShownKey {
    NonZeroU64::new(half(shown)).unwrap_or(NonZeroU64::MIN)
}

/// A digest of a sender's message id, whatever its case, and of the account it is said to have left: what is said of
/// another account is about another message, whatever id that has.
pub(super) type IdDigest = u128;

pub(super) fn id_digest(account: AccountKey, id: &str) -> IdDigest {
    let id = id.trim().to_ascii_lowercase();
    let bytes: [u8; 32] = Sha256::new().chain_update(account.0.to_le_bytes()).chain_update(id).finalize().into();
    let mut key = [0; 16];
    key.copy_from_slice(&bytes[..16]);
    u128::from_le_bytes(key)
}

/// The first half of a digest.
pub(super) fn half([a, b, c, d, e, f, g, h, ..]: [u8; 16]) -> u64 {
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// A message without its text, from its acceptance to its final state. There may be a million: what few of them have
/// stands in [`Rare`].
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) dedup: DedupKey,
    pub(super) content: ContentKey,
    pub(super) conversation: u64,
    /// What it shows in its chat, if a callback can show it too.
    pub(super) shown: Option<ShownKey>,
    pub(super) received_at: Time,
    pub(super) expires_at: Time,
    rare: Option<Box<Rare>>,
    pub(super) account: AccountKey,
    pub(super) body_bytes: u32,
    pub(super) attempts: u16,
    pub(super) phase: Phase,
    pub(super) on_doubt: OnDoubt,
    pub(super) priority: u8,
    pub(super) possibly_duplicate: bool,
}

const _: () = assert!(size_of::<(Seq, Live)>() <= 88, "a million messages wait in some 200 MB");

/// What few messages have.
#[derive(Clone, Debug, Default)]
pub(super) struct Rare {
    /// A digest of its tag; zero without one.
    pub(super) tag: u64,
    /// Not before this: `notBefore`, or the wait of a retry.
    pub(super) earliest: Time,
    /// Attempts whose effect nobody knows.
    pub(super) doubts: u16,
    /// Whether nobody knows if a life before was sent: then this one cannot fail, only be in doubt too.
    pub(super) inherited_doubt: bool,
    /// Whether its last attempt is the doubtful one, and since when: all that a restart needs to decide about it.
    pub(super) last_in_doubt: bool,
    pub(super) doubted_at: Time,
    /// While it is in doubt: until then, if there is anything to wait for.
    pub(super) doubt_until: Option<Time>,
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
    /// Until [`Rare::doubt_until`], if there is anything to wait for.
    InDoubt,
}

impl Live {
    /// One that was just taken, and waits nowhere yet.
    pub(super) fn new(message: &Message, account: AccountKey, dedup: DedupKey) -> Self {
        let tag = message.request.options.tag.as_deref().map_or(0, tag_key);
        let earliest = message.not_before.unwrap_or_default();
        let inherited_doubt = message.retry.is_some_and(|retry| retry.in_doubt);
        let is_rare = tag > 0 || earliest > Time::default() || inherited_doubt;
        Self {
            dedup,
            content: half(message.request.fingerprint),
            conversation: conversation_key(&message.request.conversation),
            shown: message.request.shown.map(shown_key),
            received_at: message.received_at,
            expires_at: message.expires_at,
            rare: is_rare.then(|| Box::new(Rare { tag, earliest, inherited_doubt, ..Rare::default() })),
            account,
            body_bytes: message.body_bytes,
            attempts: 0,
            phase: Phase::Scheduled,
            on_doubt: message.on_doubt,
            priority: message.priority,
            possibly_duplicate: message.retry.is_some_and(|retry| retry.possibly_duplicate),
        }
    }

    pub(super) fn rare(&self) -> &Rare {
        const NOTHING: &Rare = &Rare {
            tag: 0,
            earliest: Time::from_millis(0),
            doubts: 0,
            inherited_doubt: false,
            last_in_doubt: false,
            doubted_at: Time::from_millis(0),
            doubt_until: None,
        };
        self.rare.as_deref().unwrap_or(NOTHING)
    }

    pub(super) fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Not before this: see [`Rare::earliest`].
    pub(super) fn earliest(&self) -> Time {
        self.rare().earliest
    }

    /// Until when its doubt is waited for: `None` while it is in none, and where nothing is left to wait for.
    pub(super) fn doubt_until(&self) -> Option<Time> {
        (self.phase == Phase::InDoubt).then(|| self.rare().doubt_until).flatten()
    }

    pub(super) fn set_earliest(&mut self, at: Time) {
        if self.earliest() != at {
            self.rare_mut().earliest = at;
        }
    }

    /// Whether a request for it may have worked, in this life or in one before.
    pub(super) fn is_doubtful(&self) -> bool {
        self.rare().doubts > 0 || self.rare().inherited_doubt
    }

    pub(super) fn state(&self) -> State {
        match self.phase {
            Phase::Scheduled | Phase::Queued => State::Queued,
            Phase::Sending => State::Sending,
            Phase::InDoubt => State::InDoubt,
        }
    }

    /// Its place in its account's queue: priority first, then the order of acceptance.
    pub(super) fn rank(&self, seq: Seq) -> Rank {
        Rank::new(self.priority, seq)
    }
}

/// The place of a message in its account's queue: priority first, then the order of acceptance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank(u64);

impl Rank {
    /// What is left for the number: 36,000 years at a million messages a second.
    const SEQ_BITS: u32 = 60;
    const SEQ_MASK: u64 = (1 << Self::SEQ_BITS) - 1;

    /// Priorities go from 0 to 9, and the greatest goes first.
    pub(super) fn new(priority: u8, seq: Seq) -> Self {
        Self(u64::from(9 - priority.min(9)) << Self::SEQ_BITS | (seq.0 & Self::SEQ_MASK))
    }

    pub(super) fn priority(self) -> u8 {
        9 - (self.0 >> Self::SEQ_BITS) as u8
    }

    pub(super) fn seq(self) -> Seq {
        Seq(self.0 & Self::SEQ_MASK)
    }
}

/// A message that reached its final state, kept for deduplication and until its answer is out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past {
    pub(super) dedup: DedupKey,
    pub(super) content: ContentKey,
    pub(super) state: State,
    pub(super) answered: bool,
    /// Whether it was answered ever since it ended, or was corrected.
    pub(super) told: bool,
    /// In whose books it ended; `None` while nobody knew its account's company.
    pub(super) corp: Option<CorpKey>,
    /// When it ended, was corrected, or was answered late: deduplication counts from then.
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
            content: live.content,
            state,
            answered: false,
            told: false,
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
    pub(super) queue: CowMap<Rank>,
    /// Messages that wait for their `notBefore` outside of the queue.
    pub(super) scheduled: CowMap<(Time, Seq)>,
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
    /// In the timers, to be looked at then.
    Due(Time),
    /// In the lane of its server and company, as this entry. It may send from `due` on, which may be a little ahead.
    Ready { sender: SenderKey, corp: CorpKey, entry: Entry, due: Time },
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_goes_by_priority_then_by_number_and_tells_both() {
        let last = Seq(Rank::SEQ_MASK);
        let in_order = [(9, Seq(1)), (9, last), (8, Seq(0)), (8, Seq(2)), (0, Seq(1)), (0, last)];
        let ranks = in_order.map(|(priority, seq)| Rank::new(priority, seq));
        assert!(ranks.is_sorted());
        assert_eq!(ranks.map(|rank| (rank.priority(), rank.seq())), in_order);
        assert_eq!(Rank::new(10, Seq(1)), Rank::new(9, Seq(1)));
    }
}
