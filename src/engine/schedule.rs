//! Who sends next.
//!
//! An account with something to send is in one of three places: nowhere (busy, held, unknown), in the timers until it
//! may send, or in the lane of its server and company. A decision takes the lane whose first account waits longest,
//! asks the company's hour, then the account's spacing. A company whose hour is used up costs one timer; its accounts
//! stay where they are.

use super::lanes::{Entry, Open};
use super::sabotage::Sabotage;
use super::settings::MeasuredFrom;
use super::tables::{AccountKey, CorpKey, Flight, Live, Phase, Place, Rank, SenderKey, SenderState, Timer};
use super::{Engine, lanes, limits, sabotage};
use crate::model::{Action, HoldReason, Record, Seq, State, Time};

impl Engine {
    /// Finds the account's place anew. To be called after every change of what decides about it.
    pub(super) fn place(&mut self, key: AccountKey) {
        let waited = self.unplace(key);
        match self.standing(key) {
            Ok((rank, due, sender, corp)) if self.decides_at(key, due) <= self.now => {
                let since = waited.unwrap_or(due.max(self.now));
                self.account_mut(key).ready_since = Some(since);
                let entry = Entry::new(key, since, rank);
                self.account_mut(key).place = Place::Ready { sender, corp, entry, due };
                let open = self.corps[corp.index()].open;
                self.senders[sender.index()].lanes.insert(corp, open, entry);
            }
            Ok((_, due, _, _)) => {
                let look_at = self.decides_at(key, due);
                self.account_mut(key).place = Place::Due(look_at);
                self.timers.insert((look_at, Timer::Account(key)));
            }
            Err(_) => {}
        }
    }

    /// When a send that is due then is decided: ahead, unless another message of the account comes due before it, which
    /// may go first.
    fn decides_at(&self, key: AccountKey, due: Time) -> Time {
        let ahead = due - self.settings.limits.ahead;
        self.account(key).scheduled.first().map_or(ahead, |(at, _)| ahead.max(at.min(due)))
    }

    /// Finds the account's place anew because a message of this rank joined its queue: nothing to do when another
    /// one still goes first.
    pub(super) fn place_for(&mut self, key: AccountKey, rank: Rank) {
        let account = self.account(key);
        if account.place == Place::Idle || self.head(key) == Some(rank) {
            self.place(key);
        }
    }

    /// Takes the account out of the schedule and returns since when it had been ready.
    fn unplace(&mut self, key: AccountKey) -> Option<Time> {
        let account = self.account_mut(key);
        let place = std::mem::replace(&mut account.place, Place::Idle);
        let waited = account.ready_since.take();
        match place {
            Place::Idle => {}
            Place::Due(look_at) => {
                self.timers.remove(&(look_at, Timer::Account(key)));
            }
            Place::Ready { sender, corp, entry, .. } => {
                let open = self.corps[corp.index()].open;
                self.senders[sender.index()].lanes.remove(corp, open, entry);
            }
        }
        waited
    }

    /// Which message of the account goes next, and from when on; or why none does.
    pub(super) fn standing(&self, key: AccountKey) -> Result<(Rank, Time, SenderKey, CorpKey), HoldReason> {
        let account = self.account(key);
        let busy = account.in_flight > 0 && self.settings.limits.measured_from == MeasuredFrom::Response;
        if busy || self.stopping {
            return Err(HoldReason::Interval);
        }
        if let Some(hold) = self.hold_on(key) {
            return Err(HoldReason::Paused(hold));
        }
        let (Some(sender), Some(corp)) = (account.sender, account.corp) else {
            return Err(HoldReason::UnknownAccount);
        };
        if account.offline {
            return Err(HoldReason::Offline(account.name.clone()));
        }
        let rank = self.head(key).ok_or(HoldReason::Waiting)?;
        let earliest = self.live.get(&rank.seq()).map(Live::earliest).unwrap_or_default();
        let twin = self.twin_until(rank.seq()).unwrap_or_default();
        let due = self.spacing.next_at(key).max(earliest).max(account.cool_down_until).max(twin);
        Ok((rank, due, sender, corp))
    }

    /// The first message of the account's queue whose conversation is not held.
    pub(super) fn head(&self, key: AccountKey) -> Option<Rank> {
        let account = self.account(key);
        if self.sabotaged(Sabotage::RetryToTail) {
            let tried = |rank: &&Rank| self.live.get(&rank.seq()).is_some_and(|live| live.attempts > 0);
            let untried = account.queue.keys().find(|rank| !tried(rank));
            return untried.copied().or(account.queue.first());
        }
        if !self.holds.has_conversations_of(&account.name) {
            return account.queue.first();
        }
        account.queue.keys().find(|rank| self.conversation_hold(key, rank.seq()).is_none()).copied()
    }

    pub(super) fn refresh_heads(&mut self, corp: CorpKey) {
        let open = self.corps[corp.index()].open;
        for sender in &mut self.senders {
            sender.lanes.refresh(corp, open);
        }
    }

    /// Decides every send that may start now, or so soon that it is decided ahead.
    pub(super) fn dispatch(&mut self) {
        if self.stopping || self.settle_until > self.now {
            return;
        }
        while let Some((sender, corp)) = self.next_lane() {
            let open = self.corps[corp.index()].open;
            let lanes = &mut self.senders[sender.index()].lanes;
            let Some(Entry { account, urgent, .. }) = lanes.first_of(corp, open) else {
                lanes.refresh(corp, open);
                continue;
            };
            if let Err(until) = self.hours.take(limits::Permit { corp, urgent }) {
                self.close_hour(corp, urgent, until.0);
                continue;
            }
            let at = self.starts_at(account);
            match self.spacing.take(account, at) {
                Ok(()) => self.start_attempt(sender, corp, account, at),
                Err(_) => {
                    // The account was placed on an older answer of its spacing: nothing was sent, so nothing counts.
                    self.hours.end(corp, self.now, false);
                    self.place(account);
                }
            }
        }
    }

    /// Among the servers with room, the lane that waits longest.
    fn next_lane(&self) -> Option<(SenderKey, CorpKey)> {
        let servers = self.senders.iter().enumerate().map(|(index, server)| (SenderKey(index as u32), server));
        let has_room = |server: &SenderState| {
            !server.unauthorized && server.in_flight < server.breaker.allows(server.connections, self.now)
        };
        let holds_up = self.sabotaged(Sabotage::AwayHoldsUpOthers);
        let with_room = servers.filter(|(_, server)| has_room(server) || holds_up);
        let next = lanes::next_lane(with_room.map(|(key, server)| (key, &server.lanes)));
        next.filter(|(sender, _)| !holds_up || has_room(&self.senders[sender.index()]))
    }

    /// Notes that a company's hour has no room, for all or for what is not urgent, and when to ask again.
    fn close_hour(&mut self, corp: CorpKey, urgent: bool, until: Option<Time>) {
        let state = &mut self.corps[corp.index()];
        state.open = Open::after_refusal(urgent);
        let until = until.map(|at| state.open_timer.map_or(at, |earlier| earlier.min(at)));
        if let Some(at) = until {
            if let Some(earlier) = state.open_timer.replace(at) {
                self.timers.remove(&(earlier, Timer::Corp(corp)));
            }
            self.timers.insert((at, Timer::Corp(corp)));
        }
        self.refresh_heads(corp);
    }

    /// Asks the company's hour again: a place may have become free.
    pub(super) fn reopen_hour(&mut self, corp: CorpKey) {
        let state = &mut self.corps[corp.index()];
        if let Some(at) = state.open_timer.take() {
            self.timers.remove(&(at, Timer::Corp(corp)));
        }
        if self.corps[corp.index()].open != Open::All {
            self.corps[corp.index()].open = Open::All;
            self.refresh_heads(corp);
        }
    }

    /// When a send that is decided now starts.
    fn starts_at(&self, account: AccountKey) -> Time {
        match self.account(account).place {
            Place::Ready { due, .. } => due.max(self.now),
            Place::Idle | Place::Due(_) => self.now,
        }
    }

    fn start_attempt(&mut self, sender: SenderKey, corp: CorpKey, key: AccountKey, at: Time) {
        let Some(rank) = self.head(key) else {
            // The lane held an account with nothing to send: give the place back rather than send nothing.
            self.hours.end(corp, self.now, false);
            return self.place(key);
        };
        let seq = rank.seq();
        self.at_hand = Some(seq);
        if self.sabotaged(Sabotage::CrashOnAttempt) {
            sabotage::crash_over(self.live.get(&seq).map(|live| live.dedup.id));
        }
        self.unplace(key);
        let account = self.account_mut(key);
        account.queue.remove(&rank);
        account.in_flight += 1;
        let account_name = account.name.clone();
        let Some(live) = self.live.get_mut(&seq) else { return };
        live.attempts = live.attempts.saturating_add(1);
        live.phase = Phase::Sending;
        let (attempt, flagged) = (u32::from(live.attempts), live.possibly_duplicate);
        self.count_change(seq, key, State::Queued, State::Sending);
        self.flights.insert(seq, Flight { attempt, account: key, sender: Some(sender), corp, at });
        if let Some(look) = self.look_of(seq) {
            self.evidence.begin(look, seq, attempt, at);
        }
        let server = &mut self.senders[sender.index()];
        server.in_flight += 1;
        let sender_name = server.name.clone();
        if !self.sabotaged(Sabotage::NoAttemptRecord) {
            self.record(Record::Attempted {
                seq,
                attempt,
                at,
                account: account_name,
                corp: self.corps[corp.index()].name.clone(),
                possibly_duplicate: flagged,
            });
        }
        self.act(Action::Send { seq, attempt, sender: sender_name, at });
        self.event(seq, State::Sending, attempt, flagged);
        // Where the spacing counts from the request, the next message need not wait for the answer.
        self.place(key);
        self.at_hand = None;
    }

    /// Why a queued message is not on its way, and until when if that is known.
    pub(super) fn waiting_for(&self, seq: Seq) -> Option<(HoldReason, Option<Time>)> {
        let live = self.live.get(&seq)?;
        let account = self.account(live.account);
        if live.phase == Phase::Scheduled {
            return Some((HoldReason::Scheduled, Some(live.earliest())));
        }
        if let Some(hold) = self.hold_on_message(live.account, seq) {
            return Some((HoldReason::Paused(hold.id), hold.until));
        }
        let (rank, due, sender, corp) = match self.standing(live.account) {
            Ok(standing) => standing,
            Err(reason) => return Some((reason, None)),
        };
        if rank.seq() != seq {
            return Some((HoldReason::Waiting, None));
        }
        if self.settle_until > self.now {
            return Some((HoldReason::Settling, Some(self.settle_until)));
        }
        if due > self.now {
            let reason = if account.cool_down_until == due {
                HoldReason::CoolingDown
            } else if self.twin_until(seq) == Some(due) {
                HoldReason::Twin
            } else if live.earliest() == due {
                HoldReason::Retry
            } else {
                HoldReason::Interval
            };
            return Some((reason, Some(due)));
        }
        let corp = &self.corps[corp.index()];
        if !corp.open.lets(lanes::is_urgent(rank)) {
            return Some((HoldReason::Quota(corp.name.clone()), corp.open_timer));
        }
        let sender = &self.senders[sender.index()];
        Some((HoldReason::Sender(sender.name.clone()), sender.breaker.opens_at(self.now)))
    }
}
