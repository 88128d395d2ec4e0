//! The schedule, played.

use super::scene::{Event, Head, Play};
use super::{Flaw, Forecast};
use crate::engine::accept::DEFAULT_PRIORITY;
use crate::engine::lanes::{self, Entry, Open};
use crate::engine::limits::{NotBefore, Permit};
use crate::engine::tables::{AccountKey, CorpKey, Place, Rank, SenderKey};
use crate::model::Time;
use std::time::Duration;

/// Moments between two sends: far more than there can be. A play that has more goes round in a circle, and ends.
const IDLE_MOMENTS_MAX: usize = 10_000_000;

impl Play {
    /// Plays until nothing waits any more, or nothing of it can ever go.
    pub fn run(mut self) -> Forecast {
        let (made_at, changes) = (self.now, self.changes);
        self.begin();
        let mut idle = 0;
        while idle < IDLE_MOMENTS_MAX {
            while let Some((at, event)) = self.timers.first().copied().filter(|(at, _)| *at <= self.now) {
                self.timers.pop_first();
                self.happen(at, event);
            }
            idle = if self.dispatch() { 0 } else { idle + 1 };
            let Some((at, _)) = self.timers.first() else { break };
            self.now = self.now.max(*at);
            self.clock.set(self.now);
        }
        self.watched.sort_unstable();
        Forecast {
            made_at,
            changes,
            accounts: self.accounts.into_iter().map(|waiting| (waiting.key, waiting.expected)).collect(),
            corps: self.corps.into_iter().map(|corp| (corp.key, corp.expected)).collect(),
            messages: self.watched,
        }
    }

    /// Sets what will happen by itself, and finds everybody's place.
    fn begin(&mut self) {
        if self.settle_until > self.now {
            self.timers.insert((self.settle_until, Event::Wake));
        }
        for server in &self.servers {
            if let Some(at) = server.breaker.opens_at(self.now) {
                self.timers.insert((at, Event::Wake));
            }
        }
        for (index, waiting) in self.accounts.iter().enumerate() {
            let key = AccountKey(index as u32);
            if waiting.held > self.now && waiting.held < Time::MAX {
                self.timers.insert((waiting.held, Event::Released(key)));
            }
            // One at a time: there may be many, and few of them soon.
            if let Some((at, _)) = waiting.scheduled.peek().filter(|_| waiting.held < Time::MAX) {
                self.timers.insert((at, Event::Scheduled(key)));
            }
        }
        for index in 0..self.accounts.len() {
            self.find_head(index);
            self.place(index);
        }
    }

    fn happen(&mut self, at: Time, event: Event) {
        match event {
            Event::Answer { server, corp, account, .. } => self.answer(at, server, corp, account),
            Event::Account(account) => {
                // Its timer is used up.
                self.accounts[account.index()].place = Place::Idle;
                self.place(account.index());
            }
            Event::Released(account) => self.place(account.index()),
            Event::Corp(corp) => self.reopen(corp),
            Event::Wake => {}
            Event::Scheduled(account) => self.scheduled_comes_due(account),
            Event::Expires(account) => {
                self.accounts[account.index()].expiry = None;
                self.find_head(account.index());
                self.place(account.index());
            }
            Event::Joins(account, rank) => {
                if self.joining.remove(&rank) {
                    self.join(account, rank);
                }
            }
        }
    }

    fn answer(&mut self, at: Time, server: SenderKey, corp: Option<CorpKey>, account: Option<AccountKey>) {
        let state = &mut self.servers[server.index()];
        state.in_flight -= 1;
        state.breaker.succeed();
        if let Some(corp) = corp {
            self.hours.end(corp, at, true);
            if self.corps[corp.index()].open_timer.is_none() {
                self.reopen(corp);
            }
        }
        if let Some(account) = account {
            let from_response = self.from_response;
            let waiting = &mut self.accounts[account.index()];
            waiting.in_flight -= 1;
            if from_response {
                waiting.next_at = waiting.next_at.max(at + waiting.interval);
            }
            self.place(account.index());
        }
    }

    fn scheduled_comes_due(&mut self, account: AccountKey) {
        let waiting = &mut self.accounts[account.index()];
        let due = waiting.scheduled.next();
        if let Some((at, _)) = waiting.scheduled.peek() {
            self.timers.insert((at, Event::Scheduled(account)));
        }
        if let Some((seq, live)) = due.and_then(|(_, seq)| Some((seq, self.live.get(&seq)?))) {
            self.join(account, live.rank(seq));
        }
    }

    fn join(&mut self, account: AccountKey, rank: Rank) {
        let waiting = &mut self.accounts[account.index()];
        waiting.joined.insert(rank);
        if waiting.head.is_none_or(|head| rank < head.rank) {
            self.find_head(account.index());
            self.place(account.index());
        }
    }

    /// Finds the first message of an account that can go; those that never can are passed over.
    fn find_head(&mut self, index: usize) {
        let now = self.now;
        let waiting = &mut self.accounts[index];
        waiting.head = None;
        if waiting.held == Time::MAX {
            return;
        }
        while let Some(rank) = waiting.first() {
            let Some(live) = self.live.get(&rank.seq()).filter(|live| live.expires_at > now) else {
                waiting.remove(rank);
                continue;
            };
            let of_conversation = waiting.conversations.iter().filter(|held| held.0 == live.conversation);
            let held = of_conversation.map(|held| held.1).max().unwrap_or_default();
            if held <= now {
                waiting.head = Some(Head { rank, earliest: live.earliest() });
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
                self.joining.insert(rank);
                self.timers.insert((held, Event::Joins(AccountKey(index as u32), rank)));
            }
        }
    }

    /// Finds the account's place anew.
    pub(super) fn place(&mut self, index: usize) {
        let key = AccountKey(index as u32);
        let waited = self.unplace(index);
        let now = self.now;
        let from_response = self.from_response;
        let waiting = &mut self.accounts[index];
        let Some(head) = waiting.head else { return };
        if (from_response && waiting.in_flight > 0) || waiting.held > now {
            return;
        }
        let due = waiting.next_at.max(head.earliest);
        if due > now {
            waiting.place = Place::Due(due);
            self.timers.insert((due, Event::Account(key)));
            return;
        }
        let since = waited.unwrap_or(now);
        let flat = self.flaw == Some(Flaw::NoHeadStart);
        let rank = if flat { Rank::new(DEFAULT_PRIORITY, head.rank.seq()) } else { head.rank };
        let entry = Entry::new(key, since, rank);
        waiting.ready_since = Some(since);
        waiting.place = Place::Ready { sender: waiting.server, corp: waiting.corp, entry, due: now };
        let open = self.corps[waiting.corp.index()].open;
        self.servers[waiting.server.index()].lanes.insert(waiting.corp, open, entry);
    }

    fn unplace(&mut self, index: usize) -> Option<Time> {
        let waiting = &mut self.accounts[index];
        let waited = waiting.ready_since.take();
        match std::mem::replace(&mut waiting.place, Place::Idle) {
            Place::Idle => {}
            Place::Due(due) => {
                self.timers.remove(&(due, Event::Account(AccountKey(index as u32))));
            }
            Place::Ready { sender: server, corp, entry, .. } => {
                let open = self.corps[corp.index()].open;
                self.servers[server.index()].lanes.remove(corp, open, entry);
            }
        }
        waited
    }

    /// Starts every send that may start now; returns whether there was any.
    fn dispatch(&mut self) -> bool {
        if self.settle_until > self.now {
            return false;
        }
        let mut sends = false;
        loop {
            let now = self.now;
            let servers = self.servers.iter().enumerate().map(|(index, server)| (SenderKey(index as u32), server));
            let with_room =
                servers.filter(|(_, server)| server.in_flight < server.breaker.allows(server.connections, now));
            let Some((server, corp)) = lanes::next_lane(with_room.map(|(key, server)| (key, &server.lanes))) else {
                return sends;
            };
            let open = self.corps[corp.index()].open;
            let lanes = &mut self.servers[server.index()].lanes;
            let Some(Entry { account, urgent, .. }) = lanes.first_of(corp, open) else {
                lanes.refresh(corp, open);
                continue;
            };
            match self.take(corp, urgent) {
                Ok(()) => {
                    self.send(account);
                    sends = true;
                }
                Err(until) => self.close(corp, urgent, until.0),
            }
        }
    }

    fn take(&mut self, corp: CorpKey, urgent: bool) -> Result<(), NotBefore> {
        if self.flaw == Some(Flaw::EmptyHour) {
            self.hours.start_past(corp);
            return Ok(());
        }
        let urgent = urgent && self.flaw != Some(Flaw::NoReserve);
        self.hours.take(Permit { corp, urgent })
    }

    fn send(&mut self, account: AccountKey) {
        let index = account.index();
        self.unplace(index);
        let now = self.now;
        let waiting = &mut self.accounts[index];
        let Some(head) = waiting.head else { return };
        waiting.remove(head.rank);
        waiting.in_flight += 1;
        // A limiter counts the send itself as one nanosecond.
        waiting.next_at = now + waiting.interval + Duration::from_nanos(1);
        waiting.expected.at(now);
        let (server, corp) = (waiting.server, waiting.corp);
        self.corps[corp.index()].expected.at(now);
        if self.watches(head.rank.seq()) {
            self.watched.push((head.rank.seq(), now));
        }
        let state = &mut self.servers[server.index()];
        state.in_flight += 1;
        let answered_at = now + state.answer;
        self.add_answer(answered_at, server, Some(corp), Some(account));
        self.find_head(index);
        self.place(index);
    }

    fn close(&mut self, corp: CorpKey, urgent: bool, until: Option<Time>) {
        let state = &mut self.corps[corp.index()];
        state.open = Open::after_refusal(urgent);
        if let Some(at) = until.map(|at| state.open_timer.map_or(at, |earlier| earlier.min(at))) {
            if let Some(earlier) = state.open_timer.replace(at) {
                self.timers.remove(&(earlier, Event::Corp(corp)));
            }
            self.timers.insert((at, Event::Corp(corp)));
        }
        self.refresh(corp);
    }

    fn reopen(&mut self, corp: CorpKey) {
        let state = &mut self.corps[corp.index()];
        if let Some(at) = state.open_timer.take() {
            self.timers.remove(&(at, Event::Corp(corp)));
        }
        if state.open != Open::All {
            state.open = Open::All;
            self.refresh(corp);
        }
    }

    fn refresh(&mut self, corp: CorpKey) {
        let open = self.corps[corp.index()].open;
        for server in &mut self.servers {
            server.lanes.refresh(corp, open);
        }
    }
}
