//! The light copy that a forecast plays on.

use crate::engine::Engine;
use crate::engine::accept::conversation_key;
use crate::engine::breaker::Breaker;
use crate::engine::lanes::{Lanes, Open};
use crate::engine::limits::Hours;
use crate::engine::settings::MeasuredFrom;
use crate::engine::steady::SteadyClock;
use crate::engine::tables::{AccountKey, CorpKey, Place, Rank, SenderKey};
use crate::model::{Account, Corp, Scope, SenderName, Seq, Time};
use std::collections::{BTreeMap, BTreeSet, btree_set};
use std::iter::Peekable;
use std::time::Duration;

use super::{Expected, Flaw, Watch};

/// Until when something is held: [`Time::default`] when it is not, [`Time::MAX`] when nobody can know.
type End = Time;

/// All holds, by what they cover.
#[derive(Default)]
pub(super) struct Stops<'a> {
    all: End,
    senders: BTreeMap<&'a SenderName, End>,
    corps: BTreeMap<&'a Corp, End>,
    accounts: BTreeMap<&'a Account, End>,
    conversations: BTreeMap<&'a Account, Vec<(u64, End)>>,
}

impl<'a> Stops<'a> {
    pub(super) fn new(engine: &'a Engine) -> Self {
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

/// A company in a scene; its key there is its place in the group.
pub(super) struct Company {
    pub(super) open: Open,
    pub(super) open_timer: Option<Time>,
}

/// A server in a scene, under the key that it has in the engine.
pub(super) struct Server {
    pub(super) in_flight: usize,
    pub(super) connections: usize,
    pub(super) breaker: Breaker,
    pub(super) answer: Duration,
    pub(super) lanes: Lanes,
    /// Whether it may be too slow for all that wait for it.
    pub(super) contended: bool,
}

/// The message that an account sends next.
#[derive(Clone, Copy)]
pub(super) struct Head {
    pub(super) rank: Rank,
    pub(super) earliest: Time,
}

/// An account with something to send; its key in the scene is its place in the list.
pub(super) struct Waiting<'a> {
    pub(super) key: AccountKey,
    pub(super) corp: CorpKey,
    pub(super) server: SenderKey,
    /// Spacing with its guard.
    pub(super) interval: Duration,
    pub(super) next_at: Time,
    pub(super) held: End,
    /// What is left of its queue.
    pub(super) rest: Peekable<btree_set::Iter<'a, Rank>>,
    /// What is in its queue by now and was not at first.
    pub(super) joined: BTreeSet<Rank>,
    pub(super) scheduled: Peekable<btree_set::Iter<'a, (Time, Seq)>>,
    /// Messages that join when the hold on their conversation ends.
    pub(super) joining: usize,
    pub(super) conversations: Vec<(u64, End)>,
    pub(super) head: Option<Head>,
    /// When its heads are looked at for their lifetime: one moment for all, because few ever end.
    pub(super) expiry: Option<Time>,
    pub(super) in_flight: u32,
    pub(super) place: Place,
    pub(super) ready_since: Option<Time>,
    pub(super) expected: Expected,
}

/// Something that happens in a scene.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    /// A request ends. `account` and `corp` are `None` where they have no part in the scene.
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
    Joins(AccountKey, Rank),
    /// A hold ends.
    Released(AccountKey),
}

pub(super) struct Scene<'a> {
    pub(super) engine: &'a Engine,
    pub(super) now: Time,
    pub(super) clock: SteadyClock,
    pub(super) hours: Hours,
    pub(super) corps: Vec<Company>,
    pub(super) servers: Vec<Server>,
    pub(super) accounts: Vec<Waiting<'a>>,
    pub(super) timers: BTreeSet<(Time, Event)>,
    pub(super) requests: u32,
    pub(super) from_response: bool,
    pub(super) watch: Watch,
    /// When each message of those that are watched leaves.
    pub(super) watched: Vec<(Seq, Time)>,
}

impl<'a> Scene<'a> {
    /// Copies what waits in these companies, and the limits and servers that it waits for.
    pub(super) fn new(
        engine: &'a Engine,
        group: &[CorpKey],
        stops: &Stops<'_>,
        contended: Vec<bool>,
        watch: Watch,
    ) -> Self {
        let clock = SteadyClock::default();
        let servers = engine.senders.iter().zip(contended).map(|(server, contended)| Server {
            in_flight: 0,
            connections: server.connections,
            breaker: server.breaker.clone(),
            answer: if engine.forecasts.has(Flaw::AnswersAtOnce) { Duration::ZERO } else { server.answers.mean() },
            lanes: Lanes::default(),
            contended,
        });
        let mut scene = Self {
            engine,
            now: engine.now,
            hours: engine.hours.copy_of(group, clock.clone()),
            corps: group.iter().map(|_| Company { open: Open::All, open_timer: None }).collect(),
            servers: servers.collect(),
            accounts: Vec::new(),
            timers: BTreeSet::new(),
            requests: 0,
            from_response: engine.settings.limits.measured_from == MeasuredFrom::Response,
            watch,
            watched: Vec::new(),
            clock,
        };
        scene.clock.set(engine.now);
        for (index, corp) in group.iter().enumerate() {
            for key in &engine.corps[corp.index()].members {
                scene.add_account(*key, CorpKey(index as u32), stops);
            }
        }
        scene.add_flights(group);
        scene.add_waits();
        for index in 0..scene.accounts.len() {
            scene.find_head(index);
            scene.place(index);
        }
        scene
    }

    fn add_account(&mut self, key: AccountKey, corp: CorpKey, stops: &Stops<'_>) {
        let engine = self.engine;
        let account = engine.account(key);
        if account.queue.is_empty() && account.scheduled.is_empty() {
            return;
        }
        let (Some(server), Some(real_corp)) = (account.sender, account.corp) else { return };
        let sender = &engine.senders[server.index()];
        let knowable = !account.offline && !sender.unauthorized && !engine.stopping;
        let held = stops.on(&account.name, &engine.corps[real_corp.index()].name, &sender.name);
        let held = if engine.forecasts.has(Flaw::NoHolds) && held < Time::MAX { Time::default() } else { held };
        let held = if knowable { held } else { Time::MAX };
        let is_ready = matches!(account.place, Place::Ready(..));
        self.accounts.push(Waiting {
            key,
            corp,
            server,
            interval: engine.spacing.interval(key) + crate::engine::limits::GUARD,
            next_at: engine.spacing.next_at(key).max(account.cool_down_until),
            held,
            rest: account.queue.iter().peekable(),
            joined: BTreeSet::new(),
            scheduled: account.scheduled.iter().peekable(),
            joining: 0,
            conversations: stops.conversations.get(&account.name).cloned().unwrap_or_default(),
            head: None,
            expiry: None,
            in_flight: 0,
            place: Place::Idle,
            ready_since: account.ready_since.filter(|_| is_ready),
            expected: Expected { unknown: held == Time::MAX, ..Expected::default() },
        });
    }

    /// What is under way ends when it is as old as answers are; what is older than that ends now.
    fn add_flights(&mut self, group: &[CorpKey]) {
        let keys: BTreeMap<AccountKey, u32> =
            self.accounts.iter().zip(0..).map(|(waiting, index)| (waiting.key, index)).collect();
        for flight in self.engine.flights.values() {
            let Some(server) = flight.sender else { continue };
            let corp = group.binary_search(&flight.corp).ok().map(|index| CorpKey(index as u32));
            let account = keys.get(&flight.account).map(|index| AccountKey(*index));
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

    fn add_waits(&mut self) {
        if self.engine.settle_until > self.now {
            self.timers.insert((self.engine.settle_until, Event::Wake));
        }
        for server in &self.servers {
            if let Some(at) = server.breaker.opens_at(self.now) {
                self.timers.insert((at, Event::Wake));
            }
        }
        for (index, waiting) in self.accounts.iter_mut().enumerate() {
            let key = AccountKey(index as u32);
            if waiting.held > self.now && waiting.held < Time::MAX {
                self.timers.insert((waiting.held, Event::Released(key)));
            }
            // One at a time: there may be many, and few of them soon.
            if let Some((at, _)) = waiting.scheduled.peek().filter(|_| waiting.held < Time::MAX) {
                self.timers.insert((*at, Event::Scheduled(key)));
            }
        }
    }

    pub(super) fn watches(&self, index: usize) -> bool {
        match self.watch {
            Watch::Nobody => false,
            Watch::One(one) => self.accounts[index].key == one,
            Watch::Everybody => true,
        }
    }

    /// Finds the first message of an account that can go; those that never can are passed over.
    pub(super) fn find_head(&mut self, index: usize) {
        let now = self.now;
        let waiting = &mut self.accounts[index];
        waiting.head = None;
        while let Some(rank) = waiting.first() {
            let Some(live) = self.engine.live.get(&rank.1).filter(|live| live.expires_at > now) else {
                waiting.remove(rank);
                continue;
            };
            let of_conversation = waiting.conversations.iter().filter(|held| held.0 == live.conversation);
            let held = of_conversation.map(|held| held.1).max().unwrap_or_default();
            if held <= now {
                waiting.head = Some(Head { rank, earliest: live.earliest });
                if waiting.expiry.is_none_or(|at| live.expires_at < at) {
                    waiting.expiry = Some(live.expires_at);
                    self.timers.insert((live.expires_at, Event::Expires(AccountKey(index as u32))));
                }
                return;
            }
            waiting.remove(rank);
            if held == Time::MAX {
                waiting.expected.unknown = true;
            } else {
                waiting.joining += 1;
                self.timers.insert((held, Event::Joins(AccountKey(index as u32), rank)));
            }
        }
    }
}

impl Waiting<'_> {
    /// The first of its queue.
    pub(super) fn first(&mut self) -> Option<Rank> {
        let (rest, joined) = (self.rest.peek().map(|rank| **rank), self.joined.first().copied());
        match (rest, joined) {
            (Some(rest), Some(joined)) => Some(rest.min(joined)),
            (rest, joined) => rest.or(joined),
        }
    }

    /// Takes the first of its queue out of it.
    pub(super) fn remove(&mut self, first: Rank) {
        if self.rest.next_if(|rank| **rank == first).is_none() {
            self.joined.remove(&first);
        }
    }

    /// Messages that it has still to send, as far as they are known to have a time.
    pub(super) fn left(&self) -> usize {
        if self.held == Time::MAX {
            return 0;
        }
        self.rest.len() + self.joined.len() + self.scheduled.len() + self.joining
    }
}
