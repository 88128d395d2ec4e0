//! Stops that a person ordered.

use super::Engine;
use super::accept::conversation_key;
use super::tables::{AccountKey, CorpKey, Timer};
use crate::model::{Account, Action, Code, Fault, Hold, HoldId, Record, Scope, Seq, Time};
use std::collections::{BTreeMap, BTreeSet};

/// Holds and blocks together, at most: all of them are on one retained topic.
pub(super) const HOLDS_MAX: usize = 1000;

/// Every hold there is, and which of them a scope has: a message is held or not whatever their number.
#[derive(Debug, Default)]
pub(super) struct Holds {
    by_id: BTreeMap<HoldId, Hold>,
    by_scope: BTreeMap<Scope, BTreeSet<HoldId>>,
    /// Those of conversations, under the digest by which messages know theirs.
    conversations: BTreeSet<(Account, u64, HoldId)>,
}

impl Holds {
    pub(super) fn insert(&mut self, hold: Hold) {
        if let Some(old) = self.remove(hold.id) {
            debug_assert_eq!(old.scope, hold.scope, "a hold keeps its scope");
        }
        self.by_scope.entry(hold.scope.clone()).or_default().insert(hold.id);
        if let Scope::Conversation(account, conversation) = &hold.scope {
            self.conversations.insert((account.clone(), conversation_key(conversation), hold.id));
        }
        self.by_id.insert(hold.id, hold);
    }

    pub(super) fn remove(&mut self, id: HoldId) -> Option<Hold> {
        let hold = self.by_id.remove(&id)?;
        if let Some(ids) = self.by_scope.get_mut(&hold.scope) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_scope.remove(&hold.scope);
            }
        }
        if let Scope::Conversation(account, conversation) = &hold.scope {
            self.conversations.remove(&(account.clone(), conversation_key(conversation), id));
        }
        Some(hold)
    }

    pub(super) fn get(&self, id: HoldId) -> Option<&Hold> {
        self.by_id.get(&id)
    }

    /// In the order in which they were ordered.
    pub(super) fn values(&self) -> impl Iterator<Item = &Hold> {
        self.by_id.values()
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Those of exactly this scope.
    pub(super) fn of_scope<'a>(&'a self, scope: &Scope) -> impl Iterator<Item = &'a Hold> + use<'a> {
        self.by_scope.get(scope).into_iter().flatten().filter_map(|id| self.by_id.get(id))
    }

    /// Those of one conversation, by its digest.
    fn of_conversation<'a>(&'a self, account: &Account, conversation: u64) -> impl Iterator<Item = &'a Hold> + use<'a> {
        let (first, last) = ((account.clone(), conversation, HoldId(0)), HoldId(u64::MAX));
        let ids = self.conversations.range(first..=(account.clone(), conversation, last));
        ids.filter_map(|(_, _, id)| self.by_id.get(id))
    }

    /// Whether any conversation of the account is held.
    pub(super) fn has_conversations_of(&self, account: &Account) -> bool {
        if self.conversations.is_empty() {
            return false;
        }
        let all = (account.clone(), 0, HoldId(0))..=(account.clone(), u64::MAX, HoldId(u64::MAX));
        self.conversations.range(all).next().is_some()
    }
}

/// The one that ends last: until then it is held, whatever else ends before.
fn last_to_end<'a>(holds: impl Iterator<Item = &'a Hold>) -> Option<HoldId> {
    holds.max_by_key(|hold| (hold.until.unwrap_or(Time::MAX), std::cmp::Reverse(hold.id))).map(|hold| hold.id)
}

impl Engine {
    /// Holds a scope. The same order once more, by the same person for the same reason, moves the end of the hold that
    /// it made: two holds would need two resumes.
    pub(super) fn hold(
        &mut self,
        scope: Scope,
        reason: Box<str>,
        by: Option<Box<str>>,
        until: Option<Time>,
    ) -> Result<Hold, Fault> {
        let same = self.holds.of_scope(&scope).find(|hold| hold.reason == reason && hold.by == by).cloned();
        let hold = match same {
            Some(hold) if hold.until == until => return Ok(hold),
            Some(hold) => Hold { until, ..hold },
            None => {
                let id = self.next_hold_id()?;
                Hold { id, scope, reason, by, since: self.now, until }
            }
        };
        self.record(Record::Held(hold.clone()));
        self.add_hold(hold.clone());
        self.place_held(&hold.scope);
        self.publish_holds();
        Ok(hold)
    }

    /// The number of the next hold or block, if there may be one more.
    pub(super) fn next_hold_id(&mut self) -> Result<HoldId, Fault> {
        if self.holds.len() + self.blocks.len() >= HOLDS_MAX {
            let message = format!("there are {HOLDS_MAX} holds and blocks, and no more are taken: resume some first");
            return Err(Fault::new(Code::QueueFull, message));
        }
        self.last.hold += 1;
        Ok(HoldId(self.last.hold))
    }

    pub(super) fn add_hold(&mut self, hold: Hold) {
        let (id, until) = (hold.id, hold.until);
        let before = self.holds.get(id).and_then(|old| old.until);
        self.holds.insert(hold);
        self.set_hold_timer(id, before, until);
    }

    pub(super) fn set_hold_timer(&mut self, id: HoldId, before: Option<Time>, until: Option<Time>) {
        if let Some(before) = before {
            self.timers.remove(&(before, Timer::Hold(id.0)));
        }
        if let Some(until) = until {
            self.timers.insert((until, Timer::Hold(id.0)));
        }
    }

    /// Forgets a hold without a word.
    pub(super) fn remove_hold(&mut self, id: HoldId) -> Option<Hold> {
        let hold = self.holds.remove(id)?;
        self.set_hold_timer(id, hold.until, None);
        Some(hold)
    }

    /// Ends a hold. Returns false when there is none of that number.
    pub(super) fn release(&mut self, id: HoldId, by: Option<Box<str>>) -> bool {
        let Some(hold) = self.remove_hold(id) else { return false };
        self.record(Record::Released { hold: id, at: self.now, by });
        self.place_held(&hold.scope);
        self.publish_holds();
        true
    }

    pub(super) fn publish_holds(&mut self) {
        let holds = self.holds.values().cloned().collect();
        let blocks = self.blocks.values().cloned().collect();
        self.act(Action::Holds(holds, blocks));
    }

    /// Finds anew the places of all accounts that a scope covers.
    fn place_held(&mut self, scope: &Scope) {
        if let Scope::Account(name) | Scope::Conversation(name, _) = scope {
            if let Some(key) = self.account_keys.get(name).copied() {
                self.touch(key);
                self.place(key);
            }
            return;
        }
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

    /// The hold that keeps a whole account from sending: of several the one that ends last.
    pub(super) fn hold_on(&self, key: AccountKey) -> Option<HoldId> {
        if self.holds.is_empty() {
            return None;
        }
        let account = self.account(key);
        let scopes = [
            Some(Scope::All),
            account.sender.map(|sender| Scope::Sender(self.senders[sender.index()].name.clone())),
            account.corp.map(|corp| Scope::Corp(self.corps[corp.index()].name.clone())),
            Some(Scope::Account(account.name.clone())),
        ];
        last_to_end(scopes.iter().flatten().flat_map(|scope| self.holds.of_scope(scope)))
    }

    /// The hold that keeps one message's conversation from being sent to.
    pub(super) fn conversation_hold(&self, key: AccountKey, seq: Seq) -> Option<HoldId> {
        if self.holds.is_empty() {
            return None;
        }
        let conversation = self.live.get(&seq)?.conversation;
        last_to_end(self.holds.of_conversation(&self.account(key).name, conversation))
    }

    /// The hold that keeps one message: of its account or of its conversation, whichever ends last.
    pub(super) fn hold_on_message(&self, key: AccountKey, seq: Seq) -> Option<&Hold> {
        let ids = [self.hold_on(key), self.conversation_hold(key, seq)];
        let id = last_to_end(ids.into_iter().flatten().filter_map(|id| self.holds.get(id)))?;
        self.holds.get(id)
    }
}
