//! Questions, which change nothing.

use super::describe::{describe_block, describe_hold};
use crate::engine::Engine;
use crate::engine::forecast::Ask;
use crate::engine::tables::{AccountKey, SenderKey};
use crate::model::{
    Account, AccountReport, AccountState, Action, Code, Command, CommandOrigin, Corp, CorpReport, Fault, HoldFilter,
    HoldId, Page, Reply, SenderName,
};
use serde_json::{Value, json};
use std::ops::Bound;

/// Accounts that one question looks at: a filter that few meet must not hold up the loop.
const LOOKS_MAX: usize = if cfg!(test) { 20 } else { 20_000 };

impl Engine {
    /// Answers at once, unless the answer takes a forecast that has still to be played.
    pub(super) fn answer_question(&mut self, origin: CommandOrigin, command: Command) {
        let tells_times = matches!(
            command,
            Command::AccountGet { .. }
                | Command::AccountList { .. }
                | Command::CorpGet { .. }
                | Command::CorpList { .. }
        );
        if tells_times && self.must_wait_for_forecast() {
            return self.wait_for_forecast(Ask::Question { origin, command });
        }
        self.answer_now(origin, command);
    }

    pub(in crate::engine) fn answer_now(&mut self, origin: CommandOrigin, command: Command) {
        let result = match command {
            Command::MessageGet { id, account } => return self.get_message(origin, id, account),
            Command::MessageList { selection, states, page } => {
                return self.list_messages(origin, selection, states, page);
            }
            Command::AccountGet { account } => match self.account_keys.get(&account).copied() {
                Some(key) => Ok(self.describe_account(key)),
                None => Err(Fault::of_field(
                    Code::NotFound,
                    "account",
                    "no message and no account list named this account: account/list names those that are known",
                )),
            },
            Command::AccountList { corp, state, page } => Ok(self.account_list(corp.as_ref(), state, &page)),
            Command::CorpList { page } => Ok(self.corp_list(&page)),
            Command::CorpGet { corp } => match self.corp_keys.get(&corp).copied() {
                Some(key) => Ok(value_of(&self.corp_report(key))),
                None => Err(Fault::of_field(
                    Code::NotFound,
                    "corp",
                    "no account of this corp is known: corp/list names those that are",
                )),
            },
            Command::HoldList { filter, page } => self.hold_list(&filter, &page),
            Command::LimitsGet { scope } => Ok(self.limits_get(scope.as_ref())),
            Command::DirectoryRefresh { sender } => self.refresh_directories(sender.as_ref()),
            Command::Health => Ok(value_of(&self.health())),
            Command::Info => Ok(self.settings.info.clone()),
            Command::MessageRetry { .. }
            | Command::MessageResolve { .. }
            | Command::LimitsSet { .. }
            | Command::Drain { .. }
            | Command::LogLevel { .. }
            | Command::Pause { .. }
            | Command::Resume { .. }
            | Command::ResumeHold { .. }
            | Command::MessageCancel { .. }
            | Command::SenderCall(_) => Err(Fault::new(
                Code::Internal,
                "this command changes something, and was taken for a question: report it",
            )),
        };
        self.act(Action::Reply(Reply { origin, result }));
    }

    /// By name. `next` says where to go on, also when a page found less than it may hold.
    fn account_list(&mut self, corp: Option<&Corp>, state: Option<AccountState>, page: &Page) -> Value {
        let corp = corp.map(|name| self.corp_keys.get(name).copied());
        let mut found: Vec<AccountKey> = Vec::new();
        let mut next = None;
        let mut last: Option<&Account> = None;
        let from = page.after.as_deref().map_or(Bound::Unbounded, |after| Bound::Excluded(Account::new(after)));
        for (looks, (name, key)) in self.account_keys.range((from, Bound::Unbounded)).enumerate() {
            if found.len() == page.limit || looks == LOOKS_MAX {
                next = last.map(Account::as_str);
                break;
            }
            last = Some(name);
            let account = self.account(*key);
            if corp.is_none_or(|corp| corp.is_some() && account.corp == corp)
                && state.is_none_or(|state| self.condition(*key).state == state)
            {
                found.push(*key);
            }
        }
        let next = next.map(str::to_owned);
        let accounts: Vec<AccountReport> = found.into_iter().map(|key| self.account_report(key)).collect();
        json!({ "accounts": accounts, "next": next })
    }

    fn corp_list(&mut self, page: &Page) -> Value {
        let from = page.after.as_deref().map_or(Bound::Unbounded, |after| Bound::Excluded(Corp::new(after)));
        let mut rest = self.corp_keys.range((from, Bound::Unbounded)).map(|(name, key)| (name.clone(), *key));
        let found: Vec<_> = rest.by_ref().take(page.limit).collect();
        let next = rest.next().and(found.last()).map(|(name, _)| name.as_str().to_owned());
        let corps: Vec<CorpReport> = found.into_iter().map(|(_, key)| self.corp_report(key)).collect();
        json!({ "corps": corps, "next": next })
    }

    /// Holds and blocks, both by number and counted together.
    fn hold_list(&self, filter: &HoldFilter, page: &Page) -> Result<Value, Fault> {
        let after = match page.after.as_deref().map(str::parse) {
            None => 0,
            Some(Ok(after)) => after,
            Some(Err(_)) => {
                let message = "after must be the next of the page before: a number";
                return Err(Fault::of_field(Code::InvalidField, "after", message));
            }
        };
        let holds = self.holds.values().filter(|hold| filter.takes_scope(&hold.scope)).map(|hold| hold.id);
        let blocks = self.blocks.values().filter(|block| filter.takes_selection(&block.selection));
        let mut ids: Vec<HoldId> = holds.chain(blocks.map(|block| block.id)).filter(|id| id.0 > after).collect();
        ids.sort_unstable();
        let next = (ids.len() > page.limit).then(|| ids[page.limit - 1].0.to_string());
        ids.truncate(page.limit);
        let holds: Vec<Value> = ids.iter().filter_map(|id| self.holds.get(*id)).map(describe_hold).collect();
        let blocks: Vec<Value> = ids.iter().filter_map(|id| self.blocks.get(id)).map(describe_block).collect();
        Ok(json!({ "holds": holds, "blocks": blocks, "next": next }))
    }

    /// Has account lists read as soon as they may be: `at` says when each is asked for.
    fn refresh_directories(&mut self, wanted: Option<&SenderName>) -> Result<Value, Fault> {
        let keys: Vec<SenderKey> = match wanted {
            Some(name) => vec![self.sender_key(name).ok_or_else(|| self.unknown_sender())?],
            None => (0..self.senders.len()).map(|index| SenderKey(index as u32)).collect(),
        };
        let mut senders = Vec::with_capacity(keys.len());
        for key in keys {
            let at = self.want_directory(key);
            senders.push(json!({ "sender": self.senders[key.index()].name.as_str(), "at": at.to_string() }));
        }
        Ok(json!({ "senders": senders }))
    }
}

fn value_of(report: &impl serde::Serialize) -> Value {
    // Reports have names for keys and nothing that could fail.
    serde_json::to_value(report).unwrap_or_default()
}
