//! An account and a company as they are shown.

use super::Engine;
use super::tables::{AccountKey, CorpKey, Phase};
use crate::model::{AccountReport, AccountState, CorpReport, Counts, HoldReason, Time};

impl Engine {
    /// What an account is doing.
    pub(super) fn account_state(&self, key: AccountKey) -> AccountState {
        self.account_reason(key).0
    }

    fn account_reason(&self, key: AccountKey) -> (AccountState, Option<(HoldReason, Option<Time>)>) {
        let account = self.account(key);
        if account.in_flight > 0 {
            return (AccountState::Sending, None);
        }
        let Some(first) = account.queue.first() else {
            let waits = account.scheduled > 0;
            return (if waits { AccountState::Waiting } else { AccountState::Idle }, None);
        };
        let reason = self.waiting_for(first.1);
        let state = match &reason {
            Some((
                HoldReason::Paused(_)
                | HoldReason::Offline(_)
                | HoldReason::UnknownAccount
                | HoldReason::CoolingDown
                | HoldReason::Sender(_),
                _,
            )) => AccountState::Held,
            Some((
                HoldReason::Scheduled
                | HoldReason::Waiting
                | HoldReason::Interval
                | HoldReason::Retry
                | HoldReason::Quota(_)
                | HoldReason::Settling
                | HoldReason::Storage,
                _,
            ))
            | None => AccountState::Waiting,
        };
        (state, reason)
    }

    /// All that is known of an account.
    pub(super) fn account_report(&self, key: AccountKey) -> AccountReport {
        let account = self.account(key);
        let (state, reason) = self.account_reason(key);
        let in_doubt = self.live.values().filter(|live| live.account == key && matches!(live.phase, Phase::InDoubt(_)));
        AccountReport {
            at: self.now,
            account: account.name.clone(),
            corp: account.corp.map(|corp| self.corps[corp.index()].name.clone()),
            sender: account.sender.map(|sender| self.senders[sender.index()].name.clone()),
            state,
            reason: reason.as_ref().map(|(reason, _)| reason.as_str().to_owned()),
            hold: match reason.as_ref().map(|(reason, _)| reason) {
                Some(HoldReason::Paused(hold)) => Some(hold.0),
                Some(_) | None => None,
            },
            until: reason.and_then(|(_, until)| until),
            queued: account.queue.len() as u64 + u64::from(account.scheduled),
            sending: u64::from(account.in_flight),
            in_doubt: if self.counters.states.get(crate::model::State::InDoubt) > 0 {
                in_doubt.count() as u64
            } else {
                0
            },
            next_send_at: None,
            drain_eta: None,
            sent_last_hour: account.minutes.clone().map_or(0, |mut minutes| minutes.total(self.now).into()),
            interval_ms: self.spacing.interval(key).as_millis() as u64,
        }
    }

    /// All that is known of a company.
    pub(super) fn corp_report(&self, key: CorpKey) -> CorpReport {
        let hour = self.hours.status(key, self.now);
        let free = (hour.limit - hour.reserve).saturating_sub(hour.used);
        let name = self.corps[key.index()].name.clone();
        let (mut accounts, mut queued, mut sending) = (0, 0, 0);
        for account in self.accounts.iter().filter(|account| account.corp == Some(key)) {
            accounts += 1;
            queued += account.queue.len() as u64 + u64::from(account.scheduled);
            sending += u64::from(account.in_flight);
        }
        let hold = self.holds.of_scope(&crate::model::Scope::Corp(name.clone())).next().map(|hold| hold.id.0);
        CorpReport {
            at: self.now,
            corp: name,
            limit: hour.limit.into(),
            reserve: hour.reserve.into(),
            used: hour.used.into(),
            free: free.into(),
            next_free_at: if free > 0 { None } else { hour.free_at },
            accounts,
            queued,
            sending,
            in_doubt: 0,
            next_send_at: None,
            drain_eta: None,
            hold,
            counts: Counts::default(),
        }
    }
}
