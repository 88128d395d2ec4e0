//! Which company and which server an account belongs to.

use super::Engine;
use super::breaker::Breaker;
use super::cow_map::CowMap;
use super::forecast::AnswerTime;
use super::lanes::{Lanes, Open};
use super::ledger::Tally;
use super::sabotage::Sabotage;
use super::settings::{AccountSettings, SenderSettings};
use super::status::{Counters, Edge, Latch};
use super::tables::{AccountKey, AccountState, CorpKey, CorpState, Place, SenderKey, SenderState, Timer};
use crate::model::{
    Account, Action, Code, Corp, DirectoryEntry, Fault, Record, SenderName, SenderTrouble, Seq, State, Time,
};
use std::collections::BTreeSet;
use std::time::Duration;

/// Account lists are asked for at most this often on the engine's wish; the sender's own refresh comes on top.
const ASK_INTERVAL: Duration = Duration::from_secs(10);
/// How often they are asked for again while messages of an unknown account wait: it may have been added since.
const ASK_AGAIN: Duration = Duration::from_secs(30);

impl SenderState {
    pub(super) fn new(settings: &SenderSettings) -> Self {
        Self {
            name: settings.name.clone(),
            in_flight: 0,
            connections: settings.connections,
            lanes: Lanes::default(),
            answers: AnswerTime::default(),
            breaker: Breaker::default(),
            unauthorized: false,
            directory_asked_at: None,
            directory_read: false,
            directory_missing: Latch::default(),
            directory_wanted: false,
        }
    }
}

impl Engine {
    pub(super) fn add_configured_accounts(&mut self) {
        for configured in self.settings.accounts.clone() {
            let key = self.account_key(&configured.account);
            let corp = configured.corp.map(|corp| self.corp_key(&corp));
            let sender = configured.sender.and_then(|name| self.sender_key(&name));
            if let Some(corp) = corp {
                self.join_corp(key, corp);
            }
            let account = self.account_mut(key);
            account.sender = sender.or(account.sender);
        }
    }

    /// The key of an account, which is made known if it was not.
    pub(super) fn account_key(&mut self, name: &Account) -> AccountKey {
        if let Some(key) = self.account_keys.get(name) {
            return *key;
        }
        let key = AccountKey(self.accounts.len() as u32);
        // Where there is one server only, every account is on it.
        let only = (self.senders.len() == 1).then_some(SenderKey(0));
        let default_corp = only.and_then(|only| self.settings.senders[only.index()].default_corp.clone());
        let corp = default_corp.map(|corp| self.corp_key(&corp));
        self.accounts.push(AccountState {
            name: name.clone(),
            corp: None,
            sender: only,
            queue: CowMap::default(),
            scheduled: CowMap::default(),
            in_flight: 0,
            in_doubt: 0,
            place: Place::Idle,
            ready_since: None,
            cool_down_until: Time::default(),
            cool_downs: 0,
            offline: false,
            minutes: None,
            grace_set: false,
            tally: Tally::default(),
        });
        self.spacing.add(self.account_limits(name));
        self.account_keys.insert(name.clone(), key);
        self.strangers += 1;
        if let Some(corp) = corp {
            self.join_corp(key, corp);
        }
        key
    }

    fn join_corp(&mut self, key: AccountKey, corp: CorpKey) {
        let old = self.account_mut(key).corp.replace(corp);
        match old {
            Some(old) => {
                self.touch(key);
                self.corps[old.index()].members.remove(&key);
            }
            None => self.strangers -= 1,
        }
        self.corps[corp.index()].members.insert(key);
    }

    pub(super) fn corp_key(&mut self, name: &Corp) -> CorpKey {
        if let Some(key) = self.corp_keys.get(name) {
            return *key;
        }
        let key = CorpKey(self.corps.len() as u32);
        self.corps.push(CorpState { name: name.clone(), open: Open::All, open_timer: None, members: BTreeSet::new() });
        self.hours.add(self.corp_limits(name));
        self.ledger.corps.push(Counters::default());
        self.corp_keys.insert(name.clone(), key);
        key
    }

    /// What the configuration says of an account.
    pub(super) fn configured(&self, name: &Account) -> Option<&AccountSettings> {
        let accounts = &self.settings.accounts;
        accounts.binary_search_by(|own| own.account.cmp(name)).ok().map(|index| &accounts[index])
    }

    pub(super) fn handle_directory(&mut self, sender: &SenderName, entries: Vec<DirectoryEntry>) {
        let Some(sender) = self.sender_key(sender) else { return };
        self.senders[sender.index()].directory_read = true;
        self.note_directory(sender, false);
        if self.senders[sender.index()].unauthorized {
            self.senders[sender.index()].unauthorized = false;
            self.touch_server(sender);
            let name = self.senders[sender.index()].name.clone();
            self.alarm("sender_authorized", name.as_str(), "the sender takes the API key again".to_owned());
        }
        for entry in entries {
            self.locate(sender, entry);
        }
    }

    pub(super) fn locate(&mut self, sender: SenderKey, entry: DirectoryEntry) {
        let configured = self.configured(&entry.account).cloned();
        let (pinned_corp, pinned_sender) = configured.map_or((None, None), |own| (own.corp, own.sender));
        let key = self.account_key(&entry.account);
        if pinned_sender.is_some_and(|pinned| pinned != self.senders[sender.index()].name) {
            return;
        }
        // A list that does not say is no reason to wait for ever: the next attempt will tell.
        let stays_offline = entry.online == Some(false);
        if self.account(key).offline && !stays_offline {
            self.set_online(key, true);
        }
        let account = self.account(key);
        let (old_corp, old_sender) = (account.corp, account.sender);
        // The server's own company is for those of whom nobody ever said another one.
        let default = || self.settings.senders[sender.index()].default_corp.clone().filter(|_| old_corp.is_none());
        let corp = pinned_corp.or(entry.corp).or_else(default).map(|corp| self.corp_key(&corp));
        if let Some(new) = corp.or(old_corp)
            && (old_corp != Some(new) || old_sender != Some(sender))
        {
            self.move_account(key, new, sender);
            self.record(Record::Located {
                account: entry.account,
                corp: self.corps[new.index()].name.clone(),
                sender: self.senders[sender.index()].name.clone(),
                at: self.now,
            });
        }
        self.place(key);
    }

    /// The account belongs to this company from now on, and so do its sends of the last hour.
    pub(super) fn move_account(&mut self, key: AccountKey, corp: CorpKey, sender: SenderKey) {
        let now = self.now;
        let forgets = self.sabotaged(Sabotage::MoveForgetsSends);
        let moved = self.account(key).corp != Some(corp) && !forgets;
        self.count_move(key, corp);
        self.join_corp(key, corp);
        let account = self.account_mut(key);
        account.sender = Some(sender);
        let carried = if moved { account.minutes.as_mut().map(|minutes| minutes.iter(now)) } else { None };
        for (at, sends) in carried.into_iter().flatten() {
            self.hours.add_past(corp, at.min(now), sends, now);
        }
        let under_way = self.account(key).in_flight;
        if moved && under_way > 0 {
            // Counted once more when it ends, at its true time: one place too many rather than one too few until then.
            self.hours.add_past(corp, now, under_way, now);
        }
    }

    pub(super) fn handle_directory_failed(&mut self, sender: &SenderName, trouble: SenderTrouble) {
        let Some(sender) = self.sender_key(sender) else { return };
        match trouble {
            SenderTrouble::Unauthorized => self.lose_authority(Some(sender)),
            // The messages of accounts that wait for it wait on; their grace is counting.
            SenderTrouble::Unreachable => self.note_directory(sender, true),
        }
    }

    fn note_directory(&mut self, sender: SenderKey, missing: bool) {
        let edge = self.senders[sender.index()].directory_missing.set(missing);
        let name = self.senders[sender.index()].name.clone();
        match edge {
            Edge::Rose => self.alarm(
                "account_list_missing",
                name.as_str(),
                "the account list of this server cannot be read; messages of accounts that are not known yet wait, \
                 and fail after messages.unknown_account_grace"
                    .to_owned(),
            ),
            Edge::Fell => {
                self.alarm("account_list_read", name.as_str(), "the account list can be read again".to_owned());
            }
            Edge::None => {}
        }
    }

    /// The server does not take our key: nothing of it is tried with a message until the account list is given again.
    pub(super) fn lose_authority(&mut self, sender: Option<SenderKey>) {
        let Some(sender) = sender else { return };
        let server = &mut self.senders[sender.index()];
        let name = server.name.clone();
        if !std::mem::replace(&mut server.unauthorized, true) {
            // One timer keeps asking; every further refusal would start another one that never ends.
            self.timers.insert((self.now + ASK_INTERVAL, Timer::Sender(sender)));
            self.touch_server(sender);
            let message = "the sender does not take the API key (401 or 403); its messages wait, and the account list \
                 is asked for until it does"
                .to_owned();
            self.alarm("sender_unauthorized", name.as_str(), message);
        }
    }

    pub(super) fn wake_sender(&mut self, sender: SenderKey) {
        if std::mem::take(&mut self.senders[sender.index()].directory_wanted) {
            self.want_directory(sender);
        }
        if self.senders[sender.index()].unauthorized {
            self.ask_directory(sender);
            self.timers.insert((self.now + ASK_INTERVAL, Timer::Sender(sender)));
        }
    }

    /// Asks for the account list now, or as soon as it may be asked for again: the last one came before the wish.
    /// Returns when.
    pub(super) fn want_directory(&mut self, sender: SenderKey) -> Time {
        let server = &mut self.senders[sender.index()];
        match server.directory_asked_at.map(|at| at + ASK_INTERVAL).filter(|next| *next > self.now) {
            Some(next) => {
                if !std::mem::replace(&mut server.directory_wanted, true) {
                    self.timers.insert((next, Timer::Sender(sender)));
                }
                next
            }
            None => {
                self.ask_directory(sender);
                self.now
            }
        }
    }

    pub(super) fn ask_directory(&mut self, sender: SenderKey) {
        let now = self.now;
        let server = &mut self.senders[sender.index()];
        if server.directory_asked_at.is_some_and(|at| at + ASK_INTERVAL > now) {
            return;
        }
        server.directory_asked_at = Some(now);
        let sender = server.name.clone();
        self.act(Action::RefreshDirectory { sender });
    }

    /// An account got a message: if nobody knows its company, the account lists are asked, and a moment is set at which
    /// the message stops waiting for one.
    pub(super) fn expect_directory(&mut self, key: AccountKey) {
        let account = self.account(key);
        if (account.corp.is_some() && account.sender.is_some()) || account.grace_set {
            return;
        }
        let at = self.now + self.settings.messages.unknown_account_grace.min(ASK_AGAIN);
        self.account_mut(key).grace_set = true;
        self.timers.insert((at, Timer::Grace(key)));
        self.want_directories();
    }

    pub(super) fn want_directories(&mut self) {
        for index in 0..self.senders.len() {
            self.want_directory(SenderKey(index as u32));
        }
    }

    pub(super) fn grace_ends(&mut self, key: AccountKey) {
        let grace = self.settings.messages.unknown_account_grace;
        let now = self.now;
        let account = self.account_mut(key);
        account.grace_set = false;
        if account.corp.is_some() && account.sender.is_some() {
            return;
        }
        let waiting: Vec<Seq> = account.queue.keys().map(|rank| rank.seq()).collect();
        let mut next: Option<Time> = None;
        for seq in waiting {
            let Some(live) = self.live.get(&seq) else { continue };
            let ends_at = live.received_at.max(live.earliest()) + grace;
            if ends_at <= now {
                let message = if self.senders.iter().all(|sender| sender.directory_read) {
                    "no account list knows this wxId, so its company and its limit are not known; check the wxId, or \
                     list it in the configuration under [[accounts]]"
                } else {
                    "no account list could be read, so the company and the limit of this wxId are not known; publish \
                     again later with a new id, or list it in the configuration under [[accounts]]"
                };
                let fault = Fault::of_field(Code::UnknownAccount, "wxId", message);
                self.finish(seq, State::Failed, None, Some(fault));
            } else {
                next = Some(next.map_or(ends_at, |next| next.min(ends_at)));
            }
        }
        if let Some(at) = next {
            self.account_mut(key).grace_set = true;
            self.timers.insert((at.min(now + ASK_AGAIN), Timer::Grace(key)));
            self.want_directories();
        }
    }
}
