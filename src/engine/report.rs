//! What is said about one account and one company, on their status topics and in the replies to commands.

use super::Engine;
use super::forecast::Freshness;
use super::tables::{AccountKey, CorpKey};
use crate::model::{AccountReport, AccountState, CorpReport, Hold, HoldId, HoldReason, Scope, Time};
use serde_json::{Value, json};

/// What an account is doing, why its next message is not on its way, and until when.
pub(super) struct Condition {
    pub(super) state: AccountState,
    pub(super) reason: Option<HoldReason>,
    pub(super) until: Option<Time>,
}

impl Engine {
    /// All that is known of an account without its messages, as of now.
    pub(super) fn account_report(&self, key: AccountKey) -> AccountReport {
        self.account_report_of(key, Freshness::Now)
    }

    /// All that is known of a company, as of now.
    pub(super) fn corp_report(&self, key: CorpKey) -> CorpReport {
        self.corp_report_of(key, Freshness::Now)
    }

    pub(super) fn account_report_of(&self, key: AccountKey, freshness: Freshness) -> AccountReport {
        let now = self.now;
        let account = self.account(key);
        let Condition { state, reason, until } = self.condition(key);
        let expected = self.account_expected(key, freshness);
        AccountReport {
            at: now,
            account: account.name.clone(),
            corp: account.corp.map(|corp| self.corps[corp.index()].name.clone()),
            sender: account.sender.map(|sender| self.senders[sender.index()].name.clone()),
            state,
            hold: reason.as_ref().and_then(hold_behind).map(|hold| hold.0),
            reason: reason.map(|reason| reason.as_str().to_owned()),
            until,
            queued: (account.queue.len() + account.scheduled.len()) as u64,
            sending: account.in_flight.into(),
            in_doubt: account.in_doubt.into(),
            next_send_at: expected.next,
            drain_eta: expected.last.filter(|_| !expected.unknown),
            sent_last_hour: account.minutes.as_ref().map_or(0, |minutes| minutes.clone().total(now)).into(),
            interval_ms: u64::try_from(self.spacing.interval(key).as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// An account that waits only for its own messages' time waits; one that waits for a person, the account or its
    /// server is held.
    pub(super) fn condition(&self, key: AccountKey) -> Condition {
        let account = self.account(key);
        if account.in_flight > 0 {
            return Condition { state: AccountState::Sending, reason: None, until: None };
        }
        let queued = self.head(key).or_else(|| account.queue.first()).map(|rank| rank.seq());
        let next = queued.or_else(|| account.scheduled.first().map(|(_, seq)| seq));
        let Some((reason, until)) = next.and_then(|seq| self.waiting_for(seq)) else {
            // Nothing waits; what would hold a message up is told all the same.
            let cools = account.cool_down_until > self.now;
            let (reason, until) = match (self.hold_on(key).and_then(|id| self.holds.get(id)), account.offline) {
                (Some(hold), _) => (Some(HoldReason::Paused(hold.id)), hold.until),
                (None, true) => (Some(HoldReason::Offline(account.name.clone())), None),
                (None, false) if cools => (Some(HoldReason::CoolingDown), Some(account.cool_down_until)),
                (None, false) => (None, None),
            };
            return Condition { state: AccountState::Idle, reason, until };
        };
        let state = match &reason {
            HoldReason::Paused(_) | HoldReason::Offline(_) | HoldReason::UnknownAccount | HoldReason::CoolingDown => {
                AccountState::Held
            }
            HoldReason::Sender(_) => {
                let server = account.sender.map(|sender| &self.senders[sender.index()]);
                let is_down = server.is_some_and(|server| server.unauthorized || server.breaker.is_open());
                if is_down { AccountState::Held } else { AccountState::Waiting }
            }
            HoldReason::Scheduled
            | HoldReason::Waiting
            | HoldReason::Interval
            | HoldReason::Retry
            | HoldReason::Quota(_)
            | HoldReason::Twin
            | HoldReason::Settling => AccountState::Waiting,
        };
        Condition { state, reason: Some(reason), until }
    }

    pub(super) fn corp_report_of(&self, key: CorpKey, freshness: Freshness) -> CorpReport {
        let corp = &self.corps[key.index()];
        let hour = self.hours.status(key, self.now);
        let free = (hour.limit - hour.reserve).saturating_sub(hour.used);
        let (mut queued, mut sending, mut in_doubt) = (0, 0, 0);
        for member in &corp.members {
            let account = self.account(*member);
            queued += (account.queue.len() + account.scheduled.len()) as u64;
            sending += u64::from(account.in_flight);
            in_doubt += u64::from(account.in_doubt);
        }
        let expected = if queued == 0 { Default::default() } else { self.corp_expected(key, freshness) };
        let covers = |hold: &&Hold| match &hold.scope {
            Scope::All => true,
            Scope::Corp(name) => *name == corp.name,
            Scope::Sender(_) | Scope::Account(_) | Scope::Conversation(..) => false,
        };
        CorpReport {
            at: self.now,
            corp: corp.name.clone(),
            limit: hour.limit.into(),
            reserve: hour.reserve.into(),
            used: hour.used.into(),
            free: free.into(),
            next_free_at: hour.free_at.filter(|_| free == 0),
            accounts: corp.members.len() as u64,
            queued,
            sending,
            in_doubt,
            next_send_at: expected.next,
            drain_eta: expected.last,
            hold: self.holds.values().find(covers).map(|hold| hold.id.0),
            counts: self.corp_counts(key),
        }
    }

    /// The reply to `account/get`: the report, and the company's hour.
    pub(super) fn describe_account(&self, key: AccountKey) -> Value {
        let mut data = serde_json::to_value(self.account_report(key)).unwrap_or_default();
        if let (Some(object), Some(corp)) = (data.as_object_mut(), self.account(key).corp) {
            let hour = self.hours.status(corp, self.now);
            let free = hour.limit.saturating_sub(hour.reserve).saturating_sub(hour.used);
            let next_free_at = hour.free_at.filter(|_| free == 0).map(|at| at.to_string());
            object.insert(
                "hour".to_owned(),
                json!({
                    "used": hour.used, "limit": hour.limit, "reserve": hour.reserve, "free": free,
                    "nextFreeAt": next_free_at,
                }),
            );
        }
        data
    }
}

fn hold_behind(reason: &HoldReason) -> Option<HoldId> {
    if let HoldReason::Paused(hold) = reason { Some(*hold) } else { None }
}
