//! The schedule, played exactly.

use super::Flaw;
use super::scene::{Event, Scene};
use crate::engine::lanes::{self, Entry, Open};
use crate::engine::limits::{NotBefore, Permit};
use crate::engine::tables::{AccountKey, CorpKey, Place, Rank, SenderKey};
use crate::model::Time;
use std::time::Duration;

/// Events for each send that a forecast may play: far more than it needs.
const EVENTS_PER_SEND: usize = 16;

impl Scene<'_> {
    /// Plays on until nothing waits any more, or until that many sends; returns how many there were.
    pub(super) fn play(&mut self, steps_max: usize) -> usize {
        let (mut steps, mut events) = (0, 0);
        let events_max = EVENTS_PER_SEND * steps_max + self.accounts.len();
        while steps < steps_max && events < events_max {
            while let Some((at, event)) = self.timers.first().copied().filter(|(at, _)| *at <= self.now) {
                self.timers.pop_first();
                events += 1;
                self.happen(at, event);
            }
            steps += self.dispatch(steps_max - steps);
            let Some((at, _)) = self.timers.first() else { break };
            self.now = self.now.max(*at);
            self.clock.set(self.now);
        }
        steps
    }

    fn happen(&mut self, at: Time, event: Event) {
        match event {
            Event::Answer { server, corp, account, .. } => self.answer(at, server, corp, account),
            Event::Account(account) | Event::Released(account) => self.place(account.index()),
            Event::Corp(corp) => self.reopen(corp),
            Event::Wake => {}
            Event::Scheduled(account) => self.scheduled_comes_due(account),
            Event::Expires(account) => {
                self.accounts[account.index()].expiry = None;
                self.find_head(account.index());
                self.place(account.index());
            }
            Event::Joins(account, rank) => {
                self.accounts[account.index()].joining -= 1;
                self.join(account, rank);
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
        let due = waiting.scheduled.next().map(|(_, seq)| *seq);
        if let Some((at, _)) = waiting.scheduled.peek() {
            self.timers.insert((*at, Event::Scheduled(account)));
        }
        let Some(seq) = due else { return };
        if let Some(live) = self.engine.live.get(&seq) {
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
        let flat = self.engine.forecasts.has(Flaw::NoHeadStart);
        let rank = if flat { (5, head.rank.1) } else { head.rank };
        let entry = Entry::new(key, since, rank);
        waiting.ready_since = Some(since);
        waiting.place = Place::Ready(waiting.server, waiting.corp, entry);
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
            Place::Ready(server, corp, entry) => {
                let open = self.corps[corp.index()].open;
                self.servers[server.index()].lanes.remove(corp, open, entry);
            }
        }
        waited
    }

    fn dispatch(&mut self, steps_max: usize) -> usize {
        if self.engine.settle_until > self.now {
            return 0;
        }
        let mut steps = 0;
        while steps < steps_max {
            let now = self.now;
            let servers = self.servers.iter().enumerate().map(|(index, server)| (SenderKey(index as u32), server));
            let with_room =
                servers.filter(|(_, server)| server.in_flight < server.breaker.allows(server.connections, now));
            let Some((server, corp)) = lanes::next_lane(with_room.map(|(key, server)| (key, &server.lanes))) else {
                break;
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
                    steps += 1;
                }
                Err(until) => self.close(corp, urgent, until.0),
            }
        }
        steps
    }

    fn take(&mut self, corp: CorpKey, urgent: bool) -> Result<(), NotBefore> {
        if self.engine.forecasts.has(Flaw::EmptyHour) {
            self.hours.start_past(corp);
            return Ok(());
        }
        let urgent = urgent && !self.engine.forecasts.has(Flaw::NoReserve);
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
        if self.watches(index) {
            self.watched.push((head.rank.1, now));
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
