//! `limits/get` and `limits/set`.

use crate::engine::Engine;
use crate::engine::overrides::shown;
use crate::engine::settings::{AccountLimits, CorpLimits};
use crate::model::{Fault, LimitChange, LimitOverride, LimitScope, Time};
use serde_json::{Value, json};

/// Set limits that one reply lists, at most.
const LISTED_MAX: usize = 1000;

impl Engine {
    pub(super) fn limits_set(
        &mut self,
        scope: LimitScope,
        change: LimitChange,
        until: Option<Time>,
        by: Option<Box<str>>,
    ) -> Result<Value, Fault> {
        self.check_limit(&scope, change)?;
        // What is as configured already needs no record to say so.
        if change != LimitChange::Configured || self.override_of(&scope).is_some() {
            self.set_limit(LimitOverride { scope: scope.clone(), change, by, since: self.now, until });
        }
        Ok(self.describe_limits(&scope))
    }

    /// The limits of one account or company; without one, what is configured for all and every limit that was set.
    pub(super) fn limits_get(&self, scope: Option<&LimitScope>) -> Value {
        if let Some(scope) = scope {
            return self.describe_limits(scope);
        }
        let limits = &self.settings.limits;
        let set: Vec<Value> = self.overrides().take(LISTED_MAX).map(|set| self.describe_limits(&set.scope)).collect();
        json!({
            "configured": { "account": account_json(limits.account), "corp": corp_json(limits.corp) },
            "set": set,
            "setCount": self.overrides().count(),
        })
    }

    fn describe_limits(&self, scope: &LimitScope) -> Value {
        let (name, subject, configured, effective) = match scope {
            LimitScope::Account(name) => (
                "account",
                name.as_str(),
                account_json(self.configured_account_limits(name)),
                account_json(self.account_limits(name)),
            ),
            LimitScope::Corp(name) => {
                ("corp", name.as_str(), corp_json(self.configured_corp_limits(name)), corp_json(self.corp_limits(name)))
            }
        };
        let set = self.override_of(scope);
        json!({
            name: subject,
            "configured": configured,
            "effective": effective,
            "set": set.is_some(),
            "by": set.and_then(|set| set.by.as_deref()),
            "since": shown(set.map(|set| set.since)),
            "until": shown(set.and_then(|set| set.until)),
        })
    }
}

fn account_json(limits: AccountLimits) -> Value {
    json!({ "intervalMs": limits.interval.as_millis() as u64 })
}

fn corp_json(limits: CorpLimits) -> Value {
    json!({ "perHour": limits.per_hour, "reserve": limits.reserve })
}
