//! Did the promises hold? Pure: judges the answers that came against what the pretend sender saw.

use super::plan::SMALL_CORP;
use crate::cli::pretend::Ledger;
use crate::model::Code;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// What one answer said.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    Sent {
        msg_id: Option<Box<str>>,
    },
    /// Nobody can know whether it was sent.
    Unresolved,
    /// It was not sent, for this reason.
    NotSent {
        code: Box<str>,
    },
}

/// The id (`None` if it is `null`) and the meaning of an answer; `None` for what is no answer.
pub fn read_answer(payload: &[u8]) -> Option<(Option<Box<str>>, Answer)> {
    let value: Value = serde_json::from_slice(payload).ok()?;
    let id = match value.get("id")? {
        Value::Null => None,
        Value::String(id) => Some(Box::from(id.as_str())),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    let Some(error) = value.get("error") else {
        let msg_id = value.get("msgId")?.as_str().map(Box::from);
        return Some((id, Answer::Sent { msg_id }));
    };
    let code = error.get("code")?.as_str()?;
    let is_doubt = code == Code::Unresolved.as_str();
    Some((id, if is_doubt { Answer::Unresolved } else { Answer::NotSent { code: Box::from(code) } }))
}

/// A message that the broker has taken from the demo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// By which the pretend sender knows it; `None` for one that must never get there.
    pub token: Option<Box<str>>,
    /// 1, and 1 for each repeat, which is due an answer of its own.
    pub times: usize,
}

/// All that can be known from outside.
pub struct Evidence<'a> {
    pub published: &'a BTreeMap<Box<str>, Published>,
    /// By id, in the order in which they came.
    pub answers: &'a BTreeMap<Box<str>, Vec<Answer>>,
    pub ledger: &'a Ledger,
    pub account_interval: Duration,
    pub corp_per_hour: u64,
    /// That of [`SMALL_CORP`].
    pub small_corp_per_hour: u64,
}

/// A promise that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Published, and not answered as often as it was.
    Lost { ids: Vec<Box<str>> },
    /// On somebody's screen more than once.
    Doubled { tokens: Vec<Box<str>> },
    /// Two sends of one account too close together.
    TooSoon { account: Box<str>, gap: Duration },
    /// Too many sends of one company within an hour.
    TooMany { corp: Box<str>, seen: u64, limit: u64 },
    /// The answer says something else than what happened.
    Untrue { id: Box<str>, said: Answer, effects: u32 },
    /// Two answers to one message that cannot both be true.
    Contradiction { id: Box<str> },
    /// A message on somebody's screen that nobody published, or an answer to one.
    Invented { what: Box<str> },
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { ids } => write!(f, "{} without an answer: {}", ids.len(), some_of(ids)),
            Self::Doubled { tokens } => write!(f, "{} arrived more than once: {}", tokens.len(), some_of(tokens)),
            Self::TooSoon { account, gap } => {
                write!(f, "two sends of account {account} were {:.3} ms apart", gap.as_secs_f64() * 1000.0)
            }
            Self::TooMany { corp, seen, limit } => {
                write!(f, "company {corp} had {seen} sends in one hour, its limit is {limit}")
            }
            Self::Untrue { id, said, effects } => write!(f, "{id} was answered {said:?} and arrived {effects} times"),
            Self::Contradiction { id } => write!(f, "{id} got two answers that contradict each other"),
            Self::Invented { what } => write!(f, "{what} was never published"),
        }
    }
}

fn some_of(names: &[Box<str>]) -> String {
    let shown = names.iter().take(5).map(|name| &**name).collect::<Vec<_>>().join(", ");
    if names.len() > 5 { format!("{shown}, …") } else { shown }
}

/// Figures and judgement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    pub published: usize,
    pub sent: usize,
    pub in_doubt: usize,
    /// Of those in doubt, how many did arrive.
    pub in_doubt_arrived: usize,
    /// By code.
    pub not_sent: BTreeMap<Box<str>, usize>,
    pub lost: usize,
    pub doubled: usize,
    /// Publishes of a message that had been published before.
    pub repeats: usize,
    pub requests: u64,
    pub smallest_gap: Option<Duration>,
    /// By company: most sends in one hour, and the limit.
    pub hours: BTreeMap<Box<str>, (u64, u64)>,
    pub broken: Vec<Broken>,
}

impl Findings {
    pub fn not_sent_total(&self) -> usize {
        self.not_sent.values().sum()
    }
}

pub fn judge(evidence: &Evidence<'_>) -> Findings {
    let mut findings = Findings {
        published: evidence.published.len(),
        repeats: evidence.published.values().map(|published| published.times - 1).sum(),
        requests: evidence.ledger.arrivals,
        smallest_gap: evidence.ledger.smallest_gap(),
        ..Findings::default()
    };
    judge_answers(evidence, &mut findings);
    judge_effects(evidence, &mut findings);
    judge_limits(evidence, &mut findings);
    findings
}

fn judge_answers(evidence: &Evidence<'_>, findings: &mut Findings) {
    let mut lost = Vec::new();
    for (id, published) in evidence.published {
        let answers = evidence.answers.get(id).map(Vec::as_slice).unwrap_or_default();
        if answers.len() < published.times {
            lost.push(id.clone());
        }
        let Some(last) = answers.last() else { continue };
        // A late proof may correct a doubt; nothing else may change.
        if answers.iter().any(|answer| answer != last && *answer != Answer::Unresolved) {
            findings.broken.push(Broken::Contradiction { id: id.clone() });
        }
        let token = published.token.as_ref();
        let entry = token.and_then(|token| evidence.ledger.messages.get(token));
        let effects = entry.map_or(0, |entry| entry.effects);
        let is_true = match last {
            Answer::Sent { .. } => effects > 0,
            Answer::Unresolved => true,
            Answer::NotSent { .. } => effects == 0,
        };
        if !is_true {
            findings.broken.push(Broken::Untrue { id: id.clone(), said: last.clone(), effects });
        }
        match last {
            Answer::Sent { .. } => findings.sent += 1,
            Answer::Unresolved => {
                findings.in_doubt += 1;
                findings.in_doubt_arrived += usize::from(effects > 0);
            }
            Answer::NotSent { code } => *findings.not_sent.entry(code.clone()).or_default() += 1,
        }
    }
    findings.lost = lost.len();
    if !lost.is_empty() {
        findings.broken.push(Broken::Lost { ids: lost });
    }
    for id in evidence.answers.keys().filter(|id| !evidence.published.contains_key(*id)) {
        findings.broken.push(Broken::Invented { what: id.clone() });
    }
}

fn judge_effects(evidence: &Evidence<'_>, findings: &mut Findings) {
    let tokens: Vec<Box<str>> = evidence.ledger.repeated().map(Box::from).collect();
    findings.doubled = tokens.len();
    if !tokens.is_empty() {
        findings.broken.push(Broken::Doubled { tokens });
    }
    let known: BTreeSet<&str> =
        evidence.published.values().filter_map(|published| published.token.as_deref()).collect();
    for token in evidence.ledger.messages.keys().filter(|token| !known.contains(&***token)) {
        findings.broken.push(Broken::Invented { what: token.clone() });
    }
}

fn judge_limits(evidence: &Evidence<'_>, findings: &mut Findings) {
    for (account, entry) in &evidence.ledger.accounts {
        if let Some(gap) = entry.smallest_gap.filter(|gap| *gap < evidence.account_interval) {
            findings.broken.push(Broken::TooSoon { account: account.clone(), gap });
        }
    }
    for (corp, entry) in &evidence.ledger.corps {
        let is_small = &**corp == SMALL_CORP;
        let limit = if is_small { evidence.small_corp_per_hour } else { evidence.corp_per_hour };
        let seen = entry.largest_window;
        findings.hours.insert(corp.clone(), (seen, limit));
        if seen > limit {
            findings.broken.push(Broken::TooMany { corp: corp.clone(), seen, limit });
        }
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
