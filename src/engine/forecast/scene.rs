//! The copy that a forecast plays on.

use super::{Expected, Flaw};
use crate::engine::Engine;
use crate::engine::accept::conversation_key;
use crate::engine::breaker::Breaker;
use crate::engine::cow_map::{CowMap, Walk};
use crate::engine::lanes::{Lanes, Open};
use crate::engine::limits::{GUARD, Hours};
use crate::engine::settings::MeasuredFrom;
use crate::engine::steady::SteadyClock;
use crate::engine::tables::{AccountKey, CorpKey, Live, Place, Rank, SenderKey};
use crate::model::{Account, Corp, Scope, SenderName, Seq, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Until when something is held: [`Time::default`] when it is not, [`Time::MAX`] when nobody can know.
type End = Time;

/// All holds, by what they cover.
#[derive(Default)]
struct Stops<'a> {
    all: End,
    senders: BTreeMap<&'a SenderName, End>,
    corps: BTreeMap<&'a Corp, End>,
    accounts: BTreeMap<&'a Account, End>,
    conversations: BTreeMap<&'a Account, Vec<(u64, End)>>,
}

impl<'a> Stops<'a> {
    fn new(engine: &'a Engine) -> Self {
        let mut stops = Self::default();
        for hold in engine.holds.values() {
            let until = hold.until.unwrap_or(Time::MAX);
            let end = match &hold.scope {
                Scope::All => &mut stops.all,
                Scope::Sender(name) => stops.senders.entry(name).or_default(),
                Scope::Corp(name) => stops.corps.entry(name).or_default(),
                Scope::Account(name) => stops.accounts.entry(name).or_default(),
                Scope::Conversation(name, conversation) => {
                    let held = stops.conversations.entry(name).or_default();
                    held.push((conversation_key(conversation), until));
                    continue;
                }
            };
            *end = until.max(*end);
        }
        stops
    }

    fn on(&self, account: &Account, corp: &Corp, sender: &SenderName) -> End {
        let ends = [self.accounts.get(account), self.corps.get(corp), self.senders.get(sender)];
        ends.into_iter().flatten().copied().fold(self.all, End::max)
    }
}

/// A company with something to send; its key in the play is its place in the list.
#[derive(Debug)]
pub(super) struct Company {
    pub(super) key: CorpKey,
    pub(super) open: Open,
    pub(super) open_timer: Option<Time>,
    pub(super) expected: Expected,
}

/// A server, under the key that it has in the engine.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) in_flight: usize,
    pub(super) connections: usize,
    pub(super) breaker: Breaker,
    pub(super) answer: Duration,
    pub(super) lanes: Lanes,
}

/// The message that an account sends next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) rank: Rank,
    pub(super) earliest: Time,
}

/// An account with something to send; its key in the play is its place in the list.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) key: AccountKey,
    pub(super) corp: CorpKey,
    pub(super) server: SenderKey,
    /// Spacing with its guard.
    pub(super) interval: Duration,
    pub(super) next_at: Time,
    pub(super) held: End,
    /// What is left of its queue.
    pub(super) rest: Walk<Rank>,
    /// What is in its queue by now and was not at first.
    pub(super) joined: BTreeSet<Rank>,
    pub(super) scheduled: Walk<(Time, Seq)>,
    pub(super) conversations: Vec<(u64, End)>,
    pub(super) head: Option<Head>,
    /// When its heads are looked at for their lifetime: one moment for all, because few ever end.
    pub(super) expiry: Option<Time>,
    pub(super) in_flight: u32,
    pub(super) place: Place,
    pub(super) ready_since: Option<Time>,
    pub(super) expected: Expected,
}

/// Something that happens in a play.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    /// A request ends. `account` and `corp` are `None` where they have no part in the play.
    Answer {
        number: u32,
        server: SenderKey,
        corp: Option<CorpKey>,
        account: Option<AccountKey>,
    },
    Account(AccountKey),
    Corp(CorpKey),
    /// The time until which nothing is sent after a start, or a server's breaker, is over.
    Wake,
    Scheduled(AccountKey),
    /// The lifetime of its first message may be over.
    Expires(AccountKey),
    /// The hold on the conversation of a message ends.
    Joins(AccountKey, Rank),
    /// A hold ends.
    Released(AccountKey),
}

/// Whose times a play notes one by one.
#[derive(Debug)]
pub(super) enum Watch {
    Everybody,
    These(BTreeSet<Seq>),
}

/// What waits, and the limits and servers that it waits for, as they were at one moment. Owned, so that it can be
/// played on any thread; messages are shared with the engine until it changes them.
pub struct Play {
    pub(super) now: Time,
    pub(super) changes: u64,
    pub(super) settle_until: Time,
    pub(super) clock: SteadyClock,
    pub(super) hours: Hours,
    /// All that waits, and what is on its way.
    pub(super) live: CowMap<Seq, Live>,
    pub(super) corps: Vec<Company>,
    pub(super) servers: Vec<Server>,
    pub(super) accounts: Vec<Waiting>,
    pub(super) timers: BTreeSet<(Time, Event)>,
    /// Messages that wait until the hold on their conversation ends.
    pub(super) joining: BTreeSet<Rank>,
    pub(super) requests: u32,
    pub(super) from_response: bool,
    pub(super) watch: Watch,
    /// When each message of those that are watched leaves.
    pub(super) watched: Vec<(Seq, Time)>,
    pub(super) flaw: Option<Flaw>,
}

impl Play {
    pub(super) fn new(engine: &Engine, watch: Watch) -> Self {
        let keys = with_work(engine);
        let corps: BTreeSet<CorpKey> = keys.iter().filter_map(|key| engine.account(*key).corp).collect();
        let corps: Vec<CorpKey> = corps.into_iter().collect();
        let flaw = engine.forecasts.flaw();
        let clock = SteadyClock::default();
        let servers = engine.senders.iter().map(|server| Server {
            in_flight: 0,
            connections: if flaw == Some(Flaw::EndlessServer) { usize::MAX } else { server.connections },
            breaker: server.breaker.clone(),
            answer: if flaw == Some(Flaw::AnswersAtOnce) { Duration::ZERO } else { server.answers.mean() },
            lanes: Lanes::default(),
        });
        let company =
            |key: &CorpKey| Company { key: *key, open: Open::All, open_timer: None, expected: Expected::default() };
        let mut play = Self {
            now: engine.now,
            changes: engine.changes,
            settle_until: engine.settle_until,
            live: engine.live.clone(),
            hours: engine.hours.copy_of(&corps, clock.clone()),
            corps: corps.iter().map(company).collect(),
            servers: servers.collect(),
            accounts: Vec::with_capacity(keys.len()),
            timers: BTreeSet::new(),
            joining: BTreeSet::new(),
            requests: 0,
            from_response: engine.settings.limits.measured_from == MeasuredFrom::Response,
            watch,
            watched: Vec::new(),
            flaw,
            clock,
        };
        play.clock.set(engine.now);
        let stops = Stops::new(engine);
        for key in keys {
            play.add_account(engine, key, &corps, &stops);
        }
        play.add_flights(engine, &corps);
        play
    }

    fn add_account(&mut self, engine: &Engine, key: AccountKey, corps: &[CorpKey], stops: &Stops<'_>) {
        let account = engine.account(key);
        let (Some(server), Some(real_corp)) = (account.sender, account.corp) else { return };
        let Ok(corp) = corps.binary_search(&real_corp) else { return };
        let sender = &engine.senders[server.index()];
        let knowable = !account.offline && !sender.unauthorized && !engine.stopping;
        let held = stops.on(&account.name, &engine.corps[real_corp.index()].name, &sender.name);
        let held = if self.flaw == Some(Flaw::NoHolds) && held < Time::MAX { Time::default() } else { held };
        let held = if knowable { held } else { Time::MAX };
        let is_ready = matches!(account.place, Place::Ready { .. });
        self.accounts.push(Waiting {
            key,
            corp: CorpKey(corp as u32),
            server,
            interval: engine.spacing.interval(key) + GUARD,
            next_at: engine.spacing.next_at(key).max(account.cool_down_until),
            held,
            rest: account.queue.walk(),
            joined: BTreeSet::new(),
            scheduled: account.scheduled.walk(),
            conversations: stops.conversations.get(&account.name).cloned().unwrap_or_default(),
            head: None,
            expiry: None,
            in_flight: 0,
            place: Place::Idle,
            ready_since: account.ready_since.filter(|_| is_ready),
            expected: Expected::default(),
        });
    }

    /// What is under way ends when it is as old as answers are; what is older than that ends now.
    fn add_flights(&mut self, engine: &Engine, corps: &[CorpKey]) {
        for flight in engine.flights.values() {
            let Some(server) = flight.sender else { continue };
            let corp = corps.binary_search(&flight.corp).ok().map(|index| CorpKey(index as u32));
            let account = self.accounts.binary_search_by_key(&flight.account, |waiting| waiting.key).ok();
            let account = account.map(|index| AccountKey(index as u32));
            if let Some(account) = account {
                self.accounts[account.index()].in_flight += 1;
            }
            let state = &mut self.servers[server.index()];
            state.in_flight += 1;
            let at = (flight.at + state.answer).max(self.now);
            self.add_answer(at, server, corp, account);
        }
    }

    pub(super) fn add_answer(
        &mut self,
        at: Time,
        server: SenderKey,
        corp: Option<CorpKey>,
        account: Option<AccountKey>,
    ) {
        self.requests = self.requests.wrapping_add(1);
        self.timers.insert((at, Event::Answer { number: self.requests, server, corp, account }));
    }

    pub(super) fn watches(&self, seq: Seq) -> bool {
        match &self.watch {
            Watch::Everybody => true,
            Watch::These(these) => these.contains(&seq),
        }
    }
}

/// The accounts that have something to send, in the order of their keys.
fn with_work(engine: &Engine) -> Vec<AccountKey> {
    let has_work = |key: &AccountKey| {
        let account = engine.account(*key);
        !account.queue.is_empty() || !account.scheduled.is_empty()
    };
    if engine.live.len() < engine.accounts.len() / 8 {
        let keys: BTreeSet<AccountKey> = engine.live.values().map(|live| live.account).collect();
        return keys.into_iter().filter(has_work).collect();
    }
    (0..engine.accounts.len()).map(|index| AccountKey(index as u32)).filter(has_work).collect()
}

impl Waiting {
    /// The first of its queue.
    pub(super) fn first(&self) -> Option<Rank> {
        let joined = self.joined.first().copied();
        match (self.rest.peek(), joined) {
            (Some(rest), Some(joined)) => Some(rest.min(joined)),
            (rest, joined) => rest.or(joined),
        }
    }

    /// Takes the first of its queue out of it.
    pub(super) fn remove(&mut self, first: Rank) {
        if self.rest.peek() == Some(first) {
            self.rest.next();
        } else {
            self.joined.remove(&first);
        }
    }
}
