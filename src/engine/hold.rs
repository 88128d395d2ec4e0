//! Stops that a person ordered.

use super::Engine;
use super::accept::conversation_key;
use super::tables::{AccountKey, CorpKey};
use crate::model::{Action, Hold, HoldId, Record, Scope, Seq, Time};

impl Engine {
    pub(super) fn hold(&mut self, scope: Scope, reason: Box<str>, by: Option<Box<str>>, until: Option<Time>) -> Hold {
        self.last.hold += 1;
        let hold = Hold { id: HoldId(self.last.hold), scope, reason, by, since: self.now, until };
        self.record(Record::Held(hold.clone()));
        self.add_hold(hold.clone());
        self.place_held(&hold.scope);
        self.publish_holds();
        hold
    }

    pub(super) fn add_hold(&mut self, hold: Hold) {
        if let Some(until) = hold.until {
            self.timers.insert((until, super::Timer::Hold(hold.id.0)));
        }
        self.holds.insert(hold.id, hold);
    }

    /// Ends a hold. Returns false when there is none of that number.
    pub(super) fn release(&mut self, id: HoldId, by: Option<Box<str>>) -> bool {
        let Some(hold) = self.holds.remove(&id) else { return false };
        if let Some(until) = hold.until {
            self.timers.remove(&(until, super::Timer::Hold(id.0)));
        }
        self.record(Record::Released { hold: id, at: self.now, by });
        self.place_held(&hold.scope);
        self.publish_holds();
        true
    }

    pub(super) fn publish_holds(&mut self) {
        let holds = self.holds.values().cloned().collect();
        self.act(Action::Holds(holds, Vec::new()));
    }

    /// Finds anew the places of all accounts that a scope covers.
    fn place_held(&mut self, scope: &Scope) {
        for index in 0..self.accounts.len() {
            let key = AccountKey(index as u32);
            if !self.account(key).queue.is_empty() && self.covers(scope, key) {
                self.touch(key);
                self.place(key);
            }
        }
        for index in 0..self.corps.len() {
            let is_covered = match scope {
                Scope::All => true,
                Scope::Corp(name) => *name == self.corps[index].name,
                Scope::Sender(_) | Scope::Account(_) | Scope::Conversation(..) => false,
            };
            if is_covered {
                self.touch_corp(CorpKey(index as u32));
            }
        }
    }

    fn covers(&self, scope: &Scope, key: AccountKey) -> bool {
        let account = self.account(key);
        match scope {
            Scope::All => true,
            Scope::Sender(name) => account.sender.is_some_and(|sender| self.senders[sender.index()].name == *name),
            Scope::Corp(name) => account.corp.is_some_and(|corp| self.corps[corp.index()].name == *name),
            Scope::Account(name) | Scope::Conversation(name, _) => account.name == *name,
        }
    }

    /// The hold that keeps a whole account from sending.
    pub(super) fn hold_on(&self, key: AccountKey) -> Option<HoldId> {
        self.holds
            .values()
            .find(|hold| !matches!(hold.scope, Scope::Conversation(..)) && self.covers(&hold.scope, key))
            .map(|hold| hold.id)
    }

    /// The hold that keeps one message's conversation from being sent to.
    pub(super) fn conversation_hold(&self, key: AccountKey, seq: Seq) -> Option<HoldId> {
        let live = self.live.get(&seq)?;
        self.holds
            .values()
            .find(|hold| match &hold.scope {
                Scope::Conversation(name, conversation) => {
                    self.account(key).name == *name && conversation_key(conversation) == live.conversation
                }
                Scope::All | Scope::Sender(_) | Scope::Corp(_) | Scope::Account(_) => false,
            })
            .map(|hold| hold.id)
    }
}
