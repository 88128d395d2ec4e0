//! The holds there are, found by what they hold: a question costs the same with one hold and with thousands.

use super::accept::conversation_key;
use crate::model::{Account, Corp, Hold, HoldId, Scope, SenderName};
use std::collections::{BTreeMap, BTreeSet};

/// Every hold, by number and by what it covers.
#[derive(Debug, Default)]
pub(super) struct Holds {
    by_id: BTreeMap<HoldId, Hold>,
    all: BTreeSet<HoldId>,
    senders: BTreeMap<SenderName, BTreeSet<HoldId>>,
    corps: BTreeMap<Corp, BTreeSet<HoldId>>,
    accounts: BTreeMap<Account, BTreeSet<HoldId>>,
    conversations: BTreeMap<Account, BTreeMap<u64, BTreeSet<HoldId>>>,
}

impl Holds {
    pub(super) fn insert(&mut self, hold: Hold) {
        let id = hold.id;
        match &hold.scope {
            Scope::All => self.all.insert(id),
            Scope::Sender(name) => self.senders.entry(name.clone()).or_default().insert(id),
            Scope::Corp(name) => self.corps.entry(name.clone()).or_default().insert(id),
            Scope::Account(name) => self.accounts.entry(name.clone()).or_default().insert(id),
            Scope::Conversation(name, conversation) => {
                let conversations = self.conversations.entry(name.clone()).or_default();
                conversations.entry(conversation_key(conversation)).or_default().insert(id)
            }
        };
        self.by_id.insert(id, hold);
    }

    pub(super) fn remove(&mut self, id: &HoldId) -> Option<Hold> {
        let hold = self.by_id.remove(id)?;
        match &hold.scope {
            Scope::All => {
                self.all.remove(id);
            }
            Scope::Sender(name) => remove_from(&mut self.senders, name, id),
            Scope::Corp(name) => remove_from(&mut self.corps, name, id),
            Scope::Account(name) => remove_from(&mut self.accounts, name, id),
            Scope::Conversation(name, conversation) => {
                if let Some(conversations) = self.conversations.get_mut(name) {
                    remove_from(conversations, &conversation_key(conversation), id);
                    if conversations.is_empty() {
                        self.conversations.remove(name);
                    }
                }
            }
        }
        Some(hold)
    }

    pub(super) fn get(&self, id: &HoldId) -> Option<&Hold> {
        self.by_id.get(id)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Hold> {
        self.by_id.values()
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// The oldest hold that keeps a whole account from sending.
    pub(super) fn on(&self, account: &Account, sender: Option<&SenderName>, corp: Option<&Corp>) -> Option<HoldId> {
        let oldest = |ids: Option<&BTreeSet<HoldId>>| ids.and_then(BTreeSet::first).copied();
        let held = [
            oldest(Some(&self.all)),
            oldest(sender.and_then(|name| self.senders.get(name))),
            oldest(corp.and_then(|name| self.corps.get(name))),
            oldest(self.accounts.get(account)),
        ];
        held.into_iter().flatten().min()
    }

    /// Whether any conversation of the account is held.
    pub(super) fn any_conversation(&self, account: &Account) -> bool {
        self.conversations.contains_key(account)
    }

    /// The oldest hold on a conversation, which is named by its key.
    pub(super) fn on_conversation(&self, account: &Account, conversation: u64) -> Option<HoldId> {
        self.conversations.get(account)?.get(&conversation)?.first().copied()
    }
}

fn remove_from<K: Ord>(index: &mut BTreeMap<K, BTreeSet<HoldId>>, key: &K, id: &HoldId) {
    if let Some(ids) = index.get_mut(key) {
        ids.remove(id);
        if ids.is_empty() {
            index.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Time;

    fn scopes() -> Vec<Scope> {
        let account = |name| Account::new(name);
        vec![
            Scope::Account(account("a")),
            Scope::All,
            Scope::Sender(SenderName::new("s")),
            Scope::Corp(Corp::new("c")),
            Scope::Conversation(account("a"), Box::from("R:1")),
            Scope::Account(account("b")),
            Scope::Conversation(account("b"), Box::from("R:2")),
        ]
    }

    /// What a look at every hold finds.
    fn found<'a>(mut holds: impl Iterator<Item = &'a Hold>, covers: impl Fn(&Scope) -> bool) -> Option<HoldId> {
        holds.find(|hold| covers(&hold.scope)).map(|hold| hold.id)
    }

    #[test]
    fn the_index_finds_what_a_look_at_every_hold_finds() {
        let mut holds = Holds::default();
        for round in 0..3 {
            for (index, scope) in scopes().into_iter().enumerate() {
                let id = HoldId(round * 100 + index as u64);
                holds.insert(Hold { id, scope, reason: Box::from(""), by: None, since: Time::default(), until: None });
            }
        }
        // In an order that is neither that of the numbers nor that of the scopes.
        let mut ids: Vec<HoldId> = holds.values().map(|hold| hold.id).collect();
        ids.sort_by_key(|id| (id.0 * 7919) % 307);
        for id in ids {
            for name in ["a", "b", "other"] {
                let (account, sender, corp) = (Account::new(name), SenderName::new("s"), Corp::new("c"));
                for (sender, corp) in [(None, None), (Some(&sender), Some(&corp))] {
                    let covers = |scope: &Scope| match scope {
                        Scope::All => true,
                        Scope::Sender(name) => sender == Some(name),
                        Scope::Corp(name) => corp == Some(name),
                        Scope::Account(name) => *name == account,
                        Scope::Conversation(..) => false,
                    };
                    assert_eq!(holds.on(&account, sender, corp), found(holds.values(), covers));
                }
                let conversation = |text: &str| Scope::Conversation(account.clone(), Box::from(text));
                for text in ["R:1", "R:2"] {
                    assert_eq!(
                        holds.on_conversation(&account, conversation_key(text)),
                        found(holds.values(), |scope| *scope == conversation(text))
                    );
                }
                let any =
                    holds.values().any(|hold| matches!(&hold.scope, Scope::Conversation(of, _) if *of == account));
                assert_eq!(holds.any_conversation(&account), any);
            }
            assert!(holds.remove(&id).is_some() && holds.remove(&id).is_none());
        }
        assert!(holds.is_empty() && holds.conversations.is_empty() && holds.accounts.is_empty());
    }
}
