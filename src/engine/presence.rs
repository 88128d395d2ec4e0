//! How an account stands at its sender: online or not, too fast or not.

use super::Engine;
use super::attempt::RETRY_AFTER_MAX;
use super::tables::{AccountKey, SenderKey, Timer};
use crate::model::{Account, Corp, DirectoryEntry, Event, Record, Time};
use std::collections::BTreeMap;
use std::time::Duration;

/// A person who was asked to do something with an account is asked again no sooner.
const ASKED_AGAIN: Duration = Duration::from_secs(600);
/// Such alarms that are remembered, at most.
const ASKED_MAX: usize = 10_000;

/// When people were asked to do something, by the alarm and by what it is about.
pub(super) type Asked = BTreeMap<(&'static str, Box<str>), Time>;

impl Engine {
    /// A callback says that the account logged in.
    pub(super) fn come_online(&mut self, sender: SenderKey, account: Account, corp: Option<Corp>) {
        self.locate(sender, DirectoryEntry { account, corp, online: Some(true) });
    }

    /// A callback says that the account is not online any more. One that nobody knows has nothing to hold.
    pub(super) fn leave(&mut self, sender: SenderKey, account: &Account) {
        let Some(key) = self.account_keys.get(account).copied() else { return };
        if self.account(key).sender.is_none_or(|own| own == sender) {
            self.go_offline(key);
            self.place(key);
        }
    }

    /// The account is not online at the sender: it waits until an account list or a login says otherwise.
    pub(super) fn go_offline(&mut self, key: AccountKey) {
        let account = self.account(key);
        let (name, sender) = (account.name.clone(), account.sender);
        if !account.offline {
            self.set_online(key, false);
            let message = "the sender says that the account is not online; its messages wait until it is";
            self.alarm("account_offline", name.as_str(), message.to_owned());
        }
        if let Some(sender) = sender {
            self.want_directory(sender);
        }
    }

    /// Notes a change. The caller finds the account's place anew.
    pub(super) fn set_online(&mut self, key: AccountKey, online: bool) {
        self.account_mut(key).offline = !online;
        self.touch(key);
        self.record(Record::Presence { account: self.account(key).name.clone(), at: self.now, online });
    }

    pub(super) fn replay_presence(&mut self, account: &Account, online: bool) {
        let key = self.account_key(account);
        self.account_mut(key).offline = !online;
    }

    /// Waits longer each time in a row, and sends nothing of the account to find out.
    pub(super) fn cool_down(&mut self, key: AccountKey, retry_after: Option<Duration>) {
        let (first, most) = (self.settings.limits.cool_down, self.settings.limits.cool_down_max);
        let (now, has_callbacks) = (self.now, self.has_callbacks);
        let state = self.account_mut(key);
        if has_callbacks && state.cool_down_until + most < now {
            // Where an answer does not end a row of them, time does.
            state.cool_downs = 0;
        }
        let wait = first.saturating_mul(1 << state.cool_downs.min(16)).min(most);
        let wait = wait.max(retry_after.unwrap_or_default().min(RETRY_AFTER_MAX));
        state.cool_downs += 1;
        state.cool_down_until = state.cool_down_until.max(now + wait);
        let (account, until, times) = (state.name.clone(), state.cool_down_until, state.cool_downs);
        self.touch(key);
        self.timers.insert((until, Timer::CoolDown(key)));
        let message = format!(
            "the sender says that this account sends too fast; nothing of it is sent for {:.1} s",
            wait.as_secs_f64()
        );
        self.alarm("account_too_frequent", account.as_str(), message);
        self.record(Record::CooledDown { account, at: now, until, times });
    }

    /// A callback says that a message was too much. Those of one burst count once.
    pub(super) fn notice_too_frequent(&mut self, key: AccountKey) {
        let account = self.account(key);
        if account.cool_down_until > self.now {
            return;
        }
        self.cool_down(key, None);
        self.place(key);
    }

    /// The platform took a message: the next wait is a short one again.
    pub(super) fn end_cool_downs(&mut self, key: AccountKey) {
        let now = self.now;
        let state = self.account_mut(key);
        if std::mem::take(&mut state.cool_downs) > 0 {
            let (account, until) = (state.name.clone(), state.cool_down_until);
            self.record(Record::CooledDown { account, at: now, until, times: 0 });
        }
    }

    pub(super) fn replay_cooled_down(&mut self, account: &Account, until: Time, times: u32) {
        // A wall clock that was set back must not park an account.
        let latest = self.now + self.settings.limits.cool_down_max.max(RETRY_AFTER_MAX);
        let (key, until) = (self.account_key(account), until.min(latest));
        let state = self.account_mut(key);
        state.cool_down_until = until;
        state.cool_downs = times;
        self.timers.insert((until, Timer::CoolDown(key)));
    }

    /// A person has to do something before an account can be used.
    pub(super) fn ask_a_person(&mut self, event: &Event) {
        let (what, message) = match event.event {
            "account/kicked" => ("account_kicked", "the account was logged out by another login: log it in again"),
            "account/qrcode" => ("account_qrcode", "the account waits for its QR code to be scanned: see its event"),
            "account/safety_check" => ("account_safety_check", "the account waits for a safety check: see its event"),
            "account/verify_required" => {
                ("account_verify_required", "the login waits for the code that the phone shows")
            }
            _ => return,
        };
        let about: Box<str> = event.account.as_deref().or(event.instance.as_deref()).unwrap_or(&event.source).into();
        let now = self.now;
        self.asked.retain(|_, at| *at + ASKED_AGAIN > now);
        if self.asked.len() >= ASKED_MAX || self.asked.contains_key(&(what, about.clone())) {
            return;
        }
        self.alarm(what, &about, message.to_owned());
        self.asked.insert((what, about), now);
    }
}
