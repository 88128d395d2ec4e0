//! Figures of what was sent when, the same for what happened and for what would have.

use crate::model::{Account, Corp, State, Time};
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// Of its message among the arrivals.
    pub(super) position: usize,
    pub(super) account: Account,
    pub(super) corp: Corp,
    pub(super) started_at: Time,
    pub(super) ended_at: Option<Time>,
    /// Whether anything reached the sender.
    pub(super) written: bool,
}

/// How a message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Waiting,
    Sent,
    Expired,
    NotSent,
}

impl Fate {
    pub(super) const fn of(state: State) -> Self {
        match state {
            State::Sent | State::Delivered | State::Undelivered => Self::Sent,
            State::Expired => Self::Expired,
            State::Queued | State::Sending | State::InDoubt => Self::Waiting,
            State::Failed | State::Unresolved | State::Cancelled => Self::NotSent,
        }
    }
}

/// One message, for whoever counts.
#[derive(Clone, Debug)]
pub(super) struct Message<'a> {
    pub(super) account: &'a Account,
    pub(super) corp: &'a Corp,
    pub(super) received_at: Time,
    pub(super) fate: Fate,
}

/// The figures of an account, of a company, or of all.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Figures {
    pub(super) messages: usize,
    pub(super) sent: usize,
    pub(super) expired: usize,
    /// Arrivals.
    pub(super) first: Option<Time>,
    pub(super) last: Option<Time>,
    /// When the last request had its answer.
    pub(super) drained_at: Option<Time>,
    /// From the arrival to the last request, in seconds.
    pub(super) wait_p50: f64,
    pub(super) wait_p99: f64,
    pub(super) wait_max: f64,
    /// The most sends of one company in any hour; `None` for an account, which has no such limit.
    pub(super) largest_hour: Option<u32>,
    /// Between the end of a request and the start of the account's next, in seconds.
    pub(super) smallest_gap: Option<f64>,
}

/// All figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Summary {
    pub(super) total: Figures,
    pub(super) corps: BTreeMap<String, Figures>,
    pub(super) accounts: BTreeMap<String, Figures>,
}

#[derive(Default)]
struct Tally {
    figures: Figures,
    waits: Vec<Duration>,
}

/// Counts everything. `requests` are in the order of their start.
pub(super) fn summarise(messages: &[Message<'_>], requests: &[Request]) -> Summary {
    let mut total = Tally::default();
    let mut corps: BTreeMap<&str, Tally> = BTreeMap::new();
    let mut accounts: BTreeMap<&str, Tally> = BTreeMap::new();
    for message in messages {
        for tally in [
            &mut total,
            corps.entry(message.corp.as_str()).or_default(),
            accounts.entry(message.account.as_str()).or_default(),
        ] {
            tally.arrive(message);
        }
    }
    // A message that was tried twice waited until its last request.
    let mut last: BTreeMap<usize, &Request> = BTreeMap::new();
    let mut ends: BTreeMap<&str, Time> = BTreeMap::new();
    let mut hours: BTreeMap<&str, Vec<Time>> = BTreeMap::new();
    for request in requests {
        last.insert(request.position, request);
        let account = request.account.as_str();
        let tally = accounts.entry(account).or_default();
        if let Some(end) = ends.get(account).filter(|end| **end <= request.started_at) {
            tally.gap(request.started_at.since(*end));
            total.gap(request.started_at.since(*end));
            corps.entry(request.corp.as_str()).or_default().gap(request.started_at.since(*end));
        }
        let Some(ended_at) = request.ended_at else { continue };
        ends.insert(account, ended_at);
        for tally in [&mut total, corps.entry(request.corp.as_str()).or_default(), accounts.entry(account).or_default()]
        {
            tally.figures.drained_at = tally.figures.drained_at.max(Some(ended_at));
        }
        if request.written {
            hours.entry(request.corp.as_str()).or_default().push(ended_at);
        }
    }
    for request in last.values() {
        let Some(message) = messages.get(request.position) else { continue };
        let wait = request.started_at.since(message.received_at);
        total.waits.push(wait);
        corps.entry(message.corp.as_str()).or_default().waits.push(wait);
        accounts.entry(message.account.as_str()).or_default().waits.push(wait);
    }
    for (corp, ends) in hours {
        let largest = largest_hour(ends);
        corps.entry(corp).or_default().figures.largest_hour = Some(largest);
        total.figures.largest_hour = total.figures.largest_hour.max(Some(largest));
    }
    let finish = |tallies: BTreeMap<&str, Tally>| {
        tallies.into_iter().map(|(name, tally)| (name.to_owned(), tally.finish())).collect()
    };
    Summary { total: total.finish(), corps: finish(corps), accounts: finish(accounts) }
}

impl Tally {
    fn arrive(&mut self, message: &Message<'_>) {
        let figures = &mut self.figures;
        figures.messages += 1;
        figures.sent += usize::from(message.fate == Fate::Sent);
        figures.expired += usize::from(message.fate == Fate::Expired);
        let at = message.received_at;
        figures.first = Some(figures.first.map_or(at, |first| first.min(at)));
        figures.last = figures.last.max(Some(at));
    }

    fn gap(&mut self, gap: Duration) {
        let gap = gap.as_secs_f64();
        let smallest = &mut self.figures.smallest_gap;
        *smallest = Some(smallest.map_or(gap, |smallest| smallest.min(gap)));
    }

    fn finish(mut self) -> Figures {
        self.waits.sort_unstable();
        let at = |percent: usize| {
            let index = (self.waits.len() * percent).div_ceil(100).max(1) - 1;
            self.waits.get(index).map_or(0.0, Duration::as_secs_f64)
        };
        self.figures.wait_p50 = at(50);
        self.figures.wait_p99 = at(99);
        self.figures.wait_max = at(100);
        self.figures
    }
}

/// The most of these moments that lie within an hour, both its ends included.
fn largest_hour(mut ends: Vec<Time>) -> u32 {
    ends.sort_unstable();
    let mut window = VecDeque::new();
    let mut largest = 0;
    for end in ends {
        window.push_back(end);
        while window.front().is_some_and(|first| end.since(*first) > HOUR) {
            window.pop_front();
        }
        largest = largest.max(window.len());
    }
    u32::try_from(largest).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time::from_millis(1_700_000_000_000);

    #[test]
    fn figures_are_those_of_the_requests() {
        let (account, corp) = (Account::new("a"), Corp::new("c"));
        let messages: Vec<Message<'_>> = (0..3)
            .map(|index| Message {
                account: &account,
                corp: &corp,
                received_at: START + Duration::from_secs(index),
                fate: if index == 2 { Fate::Expired } else { Fate::Sent },
            })
            .collect();
        let request = |position, start_s: u64, written| Request {
            position,
            account: account.clone(),
            corp: corp.clone(),
            started_at: START + Duration::from_secs(start_s),
            ended_at: Some(START + Duration::from_secs(start_s + 1)),
            written,
        };
        let requests = [request(0, 0, true), request(1, 5, false), request(1, 10, true), request(0, 3601, true)];
        let summary = summarise(&messages, &requests);
        let figures = &summary.accounts["a"];
        assert_eq!((figures.messages, figures.sent, figures.expired), (3, 2, 1));
        assert_eq!((figures.wait_p50, figures.wait_max), (9.0, 3601.0));
        assert_eq!(figures.smallest_gap, Some(4.0));
        assert_eq!(figures.drained_at, Some(START + Duration::from_secs(3602)));
        assert_eq!(summary.corps["c"].largest_hour, Some(2), "what was never written does not count");
        assert_eq!(summary.total.largest_hour, Some(2));
        assert_eq!(summarise(&[], &[]), Summary { total: Figures::default(), ..Summary::default() });
    }
}
