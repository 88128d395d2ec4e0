//! When everything will have been sent: by the bridge's own forecast where it gives one, else by the rate so far.

use crate::model::{Account, AccountReport, Corp, CorpReport, Time};
use crate::mqtt::topics::Topics;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Accounts whose status is subscribed to, at most: each may speak once a second.
const ACCOUNTS_MAX: usize = 50;
/// Over which time the rate is taken.
const RATE_WINDOW: Duration = Duration::from_secs(30);

/// The expected end, and who expects it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) at: Time,
    pub(super) by_bridge: bool,
}

/// What the bridge said about our accounts, and how fast it answered.
pub(super) struct Forecast {
    /// Status topics, and whose they are.
    topics: BTreeMap<String, Account>,
    health: String,
    corp_topics: String,
    accounts: BTreeMap<String, AccountReport>,
    corps: BTreeMap<Corp, CorpReport>,
    drain_eta: Option<Time>,
    /// When answers came, and how many, within the window.
    answers: VecDeque<(Time, usize)>,
    started_at: Time,
}

impl Forecast {
    pub(super) fn new(topics: &Topics, accounts: &BTreeSet<&str>, now: Time) -> Self {
        let few = accounts.iter().take(if accounts.len() <= ACCOUNTS_MAX { ACCOUNTS_MAX } else { 0 });
        let corp = topics.corp("");
        Self {
            topics: few.map(|account| (topics.account(account), Account::new(account))).collect(),
            health: topics.health(),
            corp_topics: corp,
            accounts: BTreeMap::new(),
            corps: BTreeMap::new(),
            drain_eta: None,
            answers: VecDeque::new(),
            started_at: now,
        }
    }

    /// What to subscribe to.
    pub(super) fn filters(&self) -> Vec<String> {
        let mut filters: Vec<String> = self.topics.keys().cloned().collect();
        filters.push(self.health.clone());
        if !filters.is_empty() {
            filters.push(format!("{}+", self.corp_topics));
        }
        filters
    }

    /// Something that the bridge said of itself. False when it is about something else.
    pub(super) fn hear(&mut self, topic: &str, payload: &[u8]) -> bool {
        if let Some(account) = self.topics.get(topic) {
            match serde_json::from_slice::<AccountReport>(payload) {
                Ok(report) => self.accounts.insert(account.as_str().to_owned(), report),
                // Cleared, or the words of another version.
                Err(_) => self.accounts.remove(account.as_str()),
            };
            return true;
        }
        if topic == self.health {
            if let Ok(report) = serde_json::from_slice::<Value>(payload) {
                self.hear_health(&report);
            }
            return true;
        }
        if topic.starts_with(&self.corp_topics) {
            if let Ok(report) = serde_json::from_slice::<CorpReport>(payload) {
                self.corps.insert(report.corp.clone(), report);
            }
            return true;
        }
        false
    }

    /// A health report, of which only the forecast is read.
    pub(super) fn hear_health(&mut self, report: &Value) {
        self.drain_eta = report.get("drainEta").and_then(Value::as_str).and_then(Time::parse_rfc3339);
    }

    pub(super) fn count_answers(&mut self, answers: usize, now: Time) {
        if answers > 0 {
            self.answers.push_back((now, answers));
        }
        while self.answers.front().is_some_and(|(at, _)| now.since(*at) > RATE_WINDOW) {
            self.answers.pop_front();
        }
    }

    /// Answers per second, lately.
    pub(super) fn rate(&self, now: Time) -> f64 {
        let answers: usize =
            self.answers.iter().filter(|(at, _)| now.since(*at) <= RATE_WINDOW).map(|(_, answers)| answers).sum();
        let span = now.since(self.started_at).min(RATE_WINDOW).as_secs_f64().max(0.5);
        answers as f64 / span
    }

    /// `unpublished` are the messages of each account that the bridge does not know of yet, `open` all that have no
    /// answer.
    pub(super) fn expected(&self, unpublished: &[(&str, usize)], open: usize, now: Time) -> Option<Expected> {
        if open == 0 {
            return None;
        }
        if let Some(at) = self.by_bridge(unpublished, now) {
            return Some(Expected { at, by_bridge: true });
        }
        let rate = self.rate(now);
        let seconds = open as f64 / rate;
        let span = Duration::try_from_secs_f64(seconds).ok().filter(|_| rate > 0.0)?;
        Some(Expected { at: now + span, by_bridge: false })
    }

    /// The bridge knows when what it has will have left. What it does not have yet follows at the pace that it names.
    fn by_bridge(&self, unpublished: &[(&str, usize)], now: Time) -> Option<Time> {
        let mut end = now;
        let mut of_corps: BTreeMap<&Corp, u64> = BTreeMap::new();
        for (account, rest) in unpublished {
            let report = self.accounts.get(*account)?;
            let pace = Duration::from_millis(report.interval_ms);
            let after = report.drain_eta.unwrap_or(now).max(now);
            end = end.max(after + pace.saturating_mul(u32::try_from(*rest).unwrap_or(u32::MAX)));
            if let Some(corp) = &report.corp {
                *of_corps.entry(corp).or_default() += *rest as u64;
            }
        }
        for (corp, rest) in of_corps {
            let Some(report) = self.corps.get(corp) else { continue };
            let over = rest.saturating_sub(report.free.saturating_sub(report.queued));
            let per_hour = report.limit.saturating_sub(report.reserve).max(1);
            let span = Duration::from_secs_f64(over as f64 * 3600.0 / per_hour as f64);
            end = end.max(report.drain_eta.unwrap_or(now).max(now) + span);
        }
        let etas = self.accounts.values().filter_map(|report| report.drain_eta);
        let of_queued = etas.max().or(self.drain_eta);
        match of_queued {
            Some(at) => Some(end.max(at)),
            None if unpublished.is_empty() => None,
            None => Some(end),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_millis(1_700_000_000_000);

    fn forecast(accounts: &[&str]) -> Forecast {
        let topics = Topics::new(&["SendMessage/+".to_owned()], "SendMessageResp", "sendbridge", &[]).expect("topics");
        Forecast::new(&topics, &accounts.iter().copied().collect(), NOW)
    }

    fn report(account: &str, drain_eta: Option<Time>) -> Vec<u8> {
        let report = AccountReport {
            at: NOW,
            account: Account::new(account),
            corp: Some(Corp::new("corp")),
            sender: None,
            state: crate::model::AccountState::Waiting,
            reason: None,
            hold: None,
            until: None,
            queued: 3,
            sending: 0,
            in_doubt: 0,
            next_send_at: None,
            drain_eta,
            sent_last_hour: 0,
            interval_ms: 500,
        };
        serde_json::to_vec(&report).expect("a report")
    }

    #[test]
    fn the_bridge_is_asked_first() {
        let mut forecast = forecast(&["a", "b"]);
        assert!(forecast.filters().contains(&"sendbridge/account/a".to_owned()));
        forecast.count_answers(20, NOW + Duration::from_secs(10));
        let now = NOW + Duration::from_secs(10);
        let own = forecast.expected(&[("a", 20)], 30, now).expect("a rate");
        assert_eq!((own.at, own.by_bridge), (now + Duration::from_secs(15), false));
        let eta = now + Duration::from_secs(60);
        assert!(forecast.hear("sendbridge/account/a", &report("a", Some(eta))));
        let expected = forecast.expected(&[("a", 20)], 30, now).expect("a forecast");
        assert_eq!((expected.at, expected.by_bridge), (eta + Duration::from_secs(10), true));
        // Of b nothing is known.
        assert!(!forecast.expected(&[("a", 20), ("b", 1)], 30, now).expect("a rate").by_bridge);
        assert_eq!(forecast.expected(&[], 5, now), Some(Expected { at: eta, by_bridge: true }));
        assert_eq!(forecast.expected(&[], 0, now), None);
        assert!(forecast.hear("sendbridge/account/a", b""));
        assert!(!forecast.hear("SendMessageResp/x", b"{}"));
    }

    #[test]
    fn an_hour_that_is_used_up_puts_the_end_off() {
        let mut forecast = forecast(&["a"]);
        forecast.hear("sendbridge/account/a", &report("a", Some(NOW)));
        let corp = serde_json::json!({
            "at": NOW.to_string(), "corp": "corp", "limit": 3600, "reserve": 0, "used": 3600, "free": 0,
            "nextFreeAt": null, "accounts": 1, "queued": 3, "sending": 0, "inDoubt": 0, "nextSendAt": null,
            "drainEta": NOW.to_string(),
            "counts": { "received": 0, "rejected": 0, "duplicate": 0, "accepted": 0, "restored": 0, "states": {},
                "balanced": true }
        });
        assert!(forecast.hear("sendbridge/corp/corp", corp.to_string().as_bytes()));
        let expected = forecast.expected(&[("a", 100)], 103, NOW).expect("a forecast");
        assert_eq!((expected.at, expected.by_bridge), (NOW + Duration::from_secs(100), true));
    }

    #[test]
    fn many_accounts_are_not_listened_to_one_by_one() {
        let names: Vec<String> = (0..200).map(|number| number.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(forecast(&names).filters(), ["sendbridge/health", "sendbridge/corp/+"]);
    }
}
