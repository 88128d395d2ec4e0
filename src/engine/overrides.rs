//! Limits that a person set: at once, within what is configured, for a while or for good.

use super::Engine;
use super::sabotage::Sabotage;
use super::settings::{AccountLimits, CorpLimits};
use super::tables::Timer;
use crate::model::{Account, Code, Corp, Fault, LimitChange, LimitOverride, LimitScope, Record, Time};
use std::time::Duration;

/// Limits that are not as configured, at most.
const OVERRIDES_MAX: usize = 10_000;

impl Engine {
    /// The spacing of an account that is in force.
    pub(super) fn account_limits(&self, name: &Account) -> AccountLimits {
        let configured = self.configured_account_limits(name);
        match self.overrides.get(&LimitScope::Account(name.clone())).map(|set| set.change) {
            // The configuration may have become stricter since.
            Some(LimitChange::Interval(interval)) => AccountLimits { interval: interval.max(configured.interval) },
            Some(LimitChange::PerHour(_) | LimitChange::Configured) | None => configured,
        }
    }

    /// The hour of a company that is in force. What is reserved and what may come in a burst keep their share of it.
    pub(super) fn corp_limits(&self, name: &Corp) -> CorpLimits {
        let configured = self.configured_corp_limits(name);
        let limits = match self.overrides.get(&LimitScope::Corp(name.clone())).map(|set| set.change) {
            Some(LimitChange::PerHour(per_hour)) if per_hour < configured.per_hour => {
                let share = u64::from(configured.reserve) * u64::from(per_hour) / u64::from(configured.per_hour.max(1));
                let reserve = u32::try_from(share).unwrap_or(u32::MAX);
                CorpLimits { per_hour, reserve, burst: configured.burst.map(|burst| burst.min(per_hour)) }
            }
            Some(LimitChange::PerHour(_) | LimitChange::Interval(_) | LimitChange::Configured) | None => configured,
        };
        if self.sabotaged(Sabotage::PlainQuota) {
            return CorpLimits { per_hour: limits.per_hour * 2, burst: Some(limits.per_hour), ..limits };
        }
        limits
    }

    pub(super) fn configured_account_limits(&self, name: &Account) -> AccountLimits {
        let limits = &self.settings.limits;
        let own = limits.accounts.binary_search_by(|(account, _)| account.cmp(name));
        own.map_or(limits.account, |index| limits.accounts[index].1)
    }

    pub(super) fn configured_corp_limits(&self, name: &Corp) -> CorpLimits {
        let limits = &self.settings.limits;
        let own = limits.corps.binary_search_by(|(corp, _)| corp.cmp(name));
        own.map_or(limits.corp, |index| limits.corps[index].1)
    }

    /// Whether a limit may become that: the configured one is its ceiling.
    pub(super) fn check_limit(&self, scope: &LimitScope, change: LimitChange) -> Result<(), Fault> {
        match (scope, change) {
            (LimitScope::Account(name), LimitChange::Interval(interval)) => {
                let least = self.configured_account_limits(name).interval;
                if interval < least {
                    let least = humantime(least);
                    let message = format!(
                        "interval must not be shorter than the configured {least} (limits.account_interval): \
                         use {least} or more, or change the configuration"
                    );
                    return Err(Fault::of_field(Code::InvalidField, "interval", message));
                }
            }
            (LimitScope::Corp(name), LimitChange::PerHour(per_hour)) => {
                let most = self.configured_corp_limits(name).per_hour;
                if per_hour > most || per_hour == 0 {
                    let message = format!(
                        "perHour must be at least 1 and not above the configured {most} (limits.corp_per_hour): \
                         use 1 to {most}, or change the configuration"
                    );
                    return Err(Fault::of_field(Code::InvalidField, "perHour", message));
                }
            }
            (_, LimitChange::Configured) => {}
            (LimitScope::Account(_), LimitChange::PerHour(_)) | (LimitScope::Corp(_), LimitChange::Interval(_)) => {
                let message =
                    "an account has an interval, and a corp a number of sends per hour: use the one that fits";
                return Err(Fault::new(Code::InvalidField, message));
            }
        }
        if self.overrides.len() >= OVERRIDES_MAX && !self.overrides.contains_key(scope) {
            let message = format!("{OVERRIDES_MAX} limits are set, and no more are taken: reset some first");
            return Err(Fault::new(Code::QueueFull, message));
        }
        Ok(())
    }

    /// Sets a limit from now on, instead of what was set before.
    pub(super) fn set_limit(&mut self, set: LimitOverride) {
        self.record(Record::LimitSet(set.clone()));
        let scope = set.scope.clone();
        self.replay_limit(set);
        if !self.sabotaged(Sabotage::LimitAtNextStart) {
            self.apply_limit(&scope);
        }
    }

    /// Takes note of what was set. It is in force for what becomes known later.
    pub(super) fn replay_limit(&mut self, set: LimitOverride) {
        match set.change {
            LimitChange::Configured => {
                self.overrides.remove(&set.scope);
            }
            LimitChange::Interval(_) | LimitChange::PerHour(_) => {
                if let Some(until) = set.until {
                    self.timers.insert((until, Timer::Limits));
                }
                self.overrides.insert(set.scope.clone(), set);
            }
        }
    }

    /// Brings what is known already in line with what was set.
    pub(super) fn apply_limit(&mut self, scope: &LimitScope) {
        match scope {
            LimitScope::Account(name) => {
                let interval = self.account_limits(name).interval;
                if let Some(key) = self.account_keys.get(name).copied() {
                    self.spacing.set_interval(key, interval);
                    self.touch(key);
                    self.place(key);
                }
            }
            LimitScope::Corp(name) => {
                let limits = self.corp_limits(name);
                if let Some(key) = self.corp_keys.get(name).copied() {
                    self.hours.set_limits(key, limits);
                    self.touch_corp(key);
                    self.reopen_hour(key);
                }
            }
        }
    }

    /// Ends what was set until now.
    pub(super) fn limits_end(&mut self) {
        let over = |set: &&LimitOverride| set.until.is_some_and(|until| until <= self.now);
        let ended: Vec<LimitScope> = self.overrides.values().filter(over).map(|set| set.scope.clone()).collect();
        for scope in ended {
            let (change, since) = (LimitChange::Configured, self.now);
            self.set_limit(LimitOverride { scope, change, by: None, since, until: None });
        }
    }

    /// What was set for a scope, if anything is.
    pub(super) fn override_of(&self, scope: &LimitScope) -> Option<&LimitOverride> {
        self.overrides.get(scope)
    }

    /// Everything that is not as configured.
    pub(super) fn overrides(&self) -> impl Iterator<Item = &LimitOverride> {
        self.overrides.values()
    }
}

/// A duration as the configuration writes it: whole milliseconds or seconds.
fn humantime(span: Duration) -> String {
    if span.subsec_millis() == 0 { format!("{} s", span.as_secs()) } else { format!("{} ms", span.as_millis()) }
}

/// When what was set ends, as replies show it.
pub(super) fn shown(at: Option<Time>) -> Option<String> {
    at.map(|at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LastNumbers;

    /// Where no more fit, those that are set can be changed, or nobody could make them stricter.
    #[test]
    fn ten_thousand_limits_may_be_set() {
        let start = Time::from_millis(1_700_000_000_000);
        let mut engine = Engine::new(crate::golden::default_settings(), start, LastNumbers::default());
        let scope = |number: usize| LimitScope::Account(Account::new(&number.to_string()));
        let change = LimitChange::Interval(Duration::from_secs(1));
        for number in 0..10_000 {
            assert_eq!(engine.check_limit(&scope(number), change), Ok(()), "{number}");
            engine.replay_limit(LimitOverride { scope: scope(number), change, by: None, since: start, until: None });
        }
        let refused = engine.check_limit(&scope(10_000), change).expect_err("no more are taken");
        assert_eq!(refused.code, Code::QueueFull);
        assert_eq!(engine.check_limit(&scope(9_999), change), Ok(()));
    }
}
