//! What the journal proves about the promises, and what it refutes.
//!
//! Only reads, and may do so beside a running bridge: an attempt or a message that is still on its way is not judged.

use super::query::Reader;
use super::{ReadError, codec};
use crate::model::{Account, Corp, Seq, State, Time};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::Duration;

/// Lives of which nobody knows whether one before them worked.
pub(super) const INHERITED_SQL: &str = "SELECT n FROM retry WHERE in_doubt";
const HOUR: Duration = Duration::from_secs(3600);
/// Violations that are kept word for word; the others are counted.
const VIOLATIONS_MAX: usize = 100;

/// A promise that the journal shows broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Less time between the end of a send and the start of the account's next than its interval.
    Gap { account: Account, gap: Duration, interval: Duration, at: Time },
    /// More sends of a company within an hour than its limit.
    Hour { corp: Corp, sends: u32, limit: u32, until: Time },
    /// `sent` without the sender's word, or that of its callback.
    SentUnproven(Seq),
    /// Called not sent, although an attempt worked or may have.
    FailedInDoubt(Seq, State),
    /// Called unresolved, although every attempt is proven.
    UnresolvedProven(Seq),
    /// Requested again after the sender had confirmed it.
    SentAgain(Seq),
    /// Requested again while an earlier attempt may have worked, without the flag.
    RepeatUnflagged(Seq),
    /// It has two ends, or is kept as done and as not done.
    CountedTwice(Seq),
    /// An end without a message, so that the counts do not add up.
    EndWithoutMessage(Seq),
    /// Called sent, and the receiver has no request of it that took effect.
    SentWithoutEffect(Seq),
    /// Called not sent, and it took effect.
    EffectDenied(Seq, State),
    /// It took effect more than once, without the flag.
    EffectTwice(Seq),
    /// The receiver has a request of which the journal knows nothing.
    RequestUnknown(Seq, u32),
    /// One request came twice.
    RequestTwice(Seq, u32),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gap { account, gap, interval, at } => {
                let (gap, interval) = (gap.as_millis(), interval.as_millis());
                write!(
                    f,
                    "account {:?}: {gap} ms between two sends at {at}, the interval is {interval} ms",
                    account.as_str()
                )
            }
            Self::Hour { corp, sends, limit, until } => {
                write!(f, "company {:?}: {sends} sends in the hour until {until}, the limit is {limit}", corp.as_str())
            }
            Self::SentUnproven(seq) => write!(f, "message {seq}: called sent, but no attempt was confirmed"),
            Self::FailedInDoubt(seq, state) => {
                write!(f, "message {seq}: called {}, but an attempt may have worked", state.as_str())
            }
            Self::UnresolvedProven(seq) => write!(f, "message {seq}: called unresolved, but no attempt is in doubt"),
            Self::SentAgain(seq) => write!(f, "message {seq}: requested again after it was confirmed"),
            Self::RepeatUnflagged(seq) => write!(f, "message {seq}: requested again in doubt, without the flag"),
            Self::CountedTwice(seq) => write!(f, "message {seq}: kept twice, so that the counts do not add up"),
            Self::EndWithoutMessage(seq) => {
                write!(f, "message {seq}: it has an end and is not there, so that the counts do not add up")
            }
            Self::SentWithoutEffect(seq) => write!(f, "message {seq}: called sent, and the receiver never had it"),
            Self::EffectDenied(seq, state) => {
                write!(f, "message {seq}: called {}, and the receiver has it", state.as_str())
            }
            Self::EffectTwice(seq) => write!(f, "message {seq}: the receiver has it more than once, without the flag"),
            Self::RequestUnknown(seq, attempt) => {
                write!(f, "message {seq}: the receiver had request {attempt}, of which the journal knows nothing")
            }
            Self::RequestTwice(seq, attempt) => write!(f, "message {seq}: request {attempt} came more than once"),
        }
    }
}

/// What an audit found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    pub messages: u64,
    /// Messages without a final state.
    pub open: u64,
    /// Final messages whose answer the broker does not have yet.
    pub unanswered: u64,
    pub states: BTreeMap<State, u64>,
    pub attempts: u64,
    /// Attempts of which nobody knows whether they worked.
    pub doubts: u64,
    /// How messages ended that were in doubt at least once.
    pub doubt_fates: BTreeMap<State, u64>,
    /// Messages that were in doubt and have no end yet.
    pub doubts_open: u64,
    pub possibly_duplicate: u64,
    /// Messages of which more than one request may have worked.
    pub perhaps_twice: u64,
    pub smallest_gap: Option<(Duration, Account)>,
    /// The smallest gap of each account that sent at least twice.
    pub gaps: BTreeMap<Account, Duration>,
    /// Gaps that cannot be judged, because the wall clock was set back between two starts.
    pub gaps_unjudged: u64,
    pub largest_hour: Option<(u32, Corp)>,
    /// The largest hour of each company that sent at all.
    pub hours: BTreeMap<Corp, u32>,
    pub violations: Vec<Violation>,
    pub violations_total: u64,
}

impl Audit {
    /// Whether nothing was found that breaks a promise.
    pub fn held(&self) -> bool {
        self.violations_total == 0
    }

    /// Whether every message is in exactly one state.
    pub fn is_balanced(&self) -> bool {
        let unequal =
            |violation: &Violation| matches!(violation, Violation::CountedTwice(_) | Violation::EndWithoutMessage(_));
        self.open + self.states.values().sum::<u64>() == self.messages && !self.violations.iter().any(unequal)
    }

    pub(super) fn violated(&mut self, violation: Violation) {
        self.violations_total += 1;
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(violation);
        }
    }
}

/// The limits that held when the journal was written.
pub struct AuditLimits<'a> {
    pub interval: &'a dyn Fn(&Account) -> Duration,
    pub per_hour: &'a dyn Fn(&Corp) -> u32,
    /// Whether the interval counts from the start of the send before, not from its end.
    pub from_request: bool,
}

impl Reader {
    /// Judges everything that the journal still holds.
    ///
    /// # Errors
    /// [`ReadError`] when the file cannot be read.
    pub fn audit(&self, limits: &AuditLimits<'_>) -> Result<Audit, ReadError> {
        let mut audit = Audit::default();
        // One moment for all tables: a message must not be counted twice while it moves from one to the next.
        let failed = |error| ReadError { what: "the file", error };
        let moment = self.connection().unchecked_transaction().map_err(failed)?;
        self.audit_counts(&mut audit).map_err(|error| ReadError { what: "messages", error })?;
        self.audit_limits(limits, &mut audit).map_err(|error| ReadError { what: "attempts", error })?;
        self.audit_messages(&mut audit).map_err(|error| ReadError { what: "messages", error })?;
        moment.finish().map_err(failed)?;
        Ok(audit)
    }

    /// Whether each message is kept once.
    fn audit_counts(&self, audit: &mut Audit) -> codec::Result<()> {
        const TWICE_SQL: &str = "SELECT seq FROM history GROUP BY seq HAVING count(*) > 1
            UNION SELECT m.seq FROM message m JOIN history h ON h.seq = m.seq ORDER BY 1 LIMIT ?1";
        const ALONE_SQL: &str = "SELECT seq FROM outcome o
            WHERE NOT EXISTS (SELECT 1 FROM message m WHERE m.seq = o.seq) ORDER BY 1 LIMIT ?1";
        for seq in self.numbers(TWICE_SQL)? {
            audit.violated(Violation::CountedTwice(seq));
        }
        for seq in self.numbers(ALONE_SQL)? {
            audit.violated(Violation::EndWithoutMessage(seq));
        }
        const DOUBTS_OPEN_SQL: &str = "SELECT count(DISTINCT a.seq) FROM attempt a JOIN message m ON m.seq = a.seq
            WHERE a.class = 'unknown' AND NOT EXISTS (SELECT 1 FROM outcome o WHERE o.seq = a.seq)";
        audit.doubts_open = codec::unsigned(self.connection().query_row(DOUBTS_OPEN_SQL, [], |row| row.get(0))?);
        Ok(())
    }

    fn numbers(&self, sql: &str) -> codec::Result<Vec<Seq>> {
        let mut statement = self.connection().prepare(sql)?;
        let numbers = statement.query_map([VIOLATIONS_MAX as i64], |row| Ok(Seq(codec::unsigned(row.get(0)?))))?;
        numbers.collect()
    }

    /// Spacing and hours, from the attempts in the order of their start.
    fn audit_limits(&self, limits: &AuditLimits<'_>, audit: &mut Audit) -> codec::Result<()> {
        const SQL: &str = "SELECT account, corp, started_at, ended_at, class, why FROM attempt ORDER BY n";
        let mut names = codec::Names::default();
        let mut statement = self.connection().prepare(SQL)?;
        let mut rows = statement.query([])?;
        // From when the account's interval counts.
        let mut last_end: BTreeMap<Account, Time> = BTreeMap::new();
        let mut hours: BTreeMap<Corp, VecDeque<Time>> = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let (account, corp) = (names.account(row, 0)?, names.corp(row, 1)?);
            let (started_at, ended_at) = (codec::time_out(row.get(2)?), codec::maybe_time(row, 3)?);
            let (class, why) = (codec::maybe_text(row, 4)?, codec::maybe_text(row, 5)?);
            audit.attempts += 1;
            audit.doubts += u64::from(class.as_deref() == Some("unknown"));
            if let Some(&end) = last_end.get(&account) {
                judge_gap(audit, &account, end, started_at, (limits.interval)(&account));
            }
            let Some(ended_at) = ended_at else { continue };
            // Where no connection came about nothing counts for the hour, as in the engine.
            if !(class.as_deref() == Some("not_sent") && why.as_deref() == Some("connect")) {
                judge_hour(audit, &corp, hours.entry(corp.clone()).or_default(), ended_at, (limits.per_hour)(&corp));
            }
            last_end.insert(account, if limits.from_request { started_at } else { ended_at });
        }
        Ok(())
    }

    /// What was said of each message, against what its attempts prove.
    fn audit_messages(&self, audit: &mut Audit) -> codec::Result<()> {
        const ENDS_SQL: &str = "SELECT seq, state, possibly_duplicate, answered FROM outcome
            UNION ALL SELECT seq, state, possibly_duplicate, 1 FROM history ORDER BY seq";
        const ATTEMPTS_SQL: &str =
            "SELECT seq, class, possibly_duplicate FROM attempt WHERE ended_at IS NOT NULL ORDER BY seq, attempt";
        const OPEN_SQL: &str =
            "SELECT count(*) FROM message m WHERE NOT EXISTS (SELECT 1 FROM outcome o WHERE o.seq = m.seq)";
        const SETTLED_SQL: &str =
            "SELECT json_extract(reply, '$.seq') FROM command WHERE name = 'message/resolve' AND json_valid(reply)";
        const PROVEN_SQL: &str = "SELECT n FROM proof";
        audit.open = codec::unsigned(self.connection().query_row(OPEN_SQL, [], |row| row.get(0))?);
        audit.messages = audit.open;
        let (settled, inherited) = (self.seqs(SETTLED_SQL)?, self.seqs(INHERITED_SQL)?);
        let proven = self.seqs(PROVEN_SQL)?;
        let mut attempts_statement = self.connection().prepare(ATTEMPTS_SQL)?;
        let mut attempts = attempts_statement.query([])?;
        let mut next = proof(attempts.next()?)?;
        let mut statement = self.connection().prepare(ENDS_SQL)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let seq = Seq(codec::unsigned(row.get(0)?));
            let (state, flagged, answered) = (codec::state(row, 1)?, row.get::<_, bool>(2)?, row.get::<_, bool>(3)?);
            audit.messages += 1;
            audit.unanswered += u64::from(!answered);
            audit.possibly_duplicate += u64::from(flagged);
            *audit.states.entry(state).or_default() += 1;
            let mut proofs = Vec::new();
            while let Some(proof_of) = next.filter(|proof| proof.seq <= seq) {
                proofs.extend((proof_of.seq == seq).then_some(proof_of));
                next = proof(attempts.next()?)?;
            }
            if proofs.iter().any(|one| one.doubtful) {
                *audit.doubt_fates.entry(state).or_default() += 1;
            }
            let may_have_worked = proofs.iter().filter(|one| one.worked || one.doubtful).count();
            audit.perhaps_twice += u64::from(may_have_worked > 1);
            if settled.contains(&seq) || (state.says_sent() && proven.contains(&seq)) {
                // A person's word outweighs what the attempts prove, and so does a callback.
                judge_repeats(audit, seq, &proofs);
            } else {
                judge_message(audit, seq, state, &proofs, inherited.contains(&seq));
            }
        }
        Ok(())
    }

    pub(super) fn seqs(&self, sql: &str) -> codec::Result<BTreeSet<Seq>> {
        let mut statement = self.connection().prepare(sql)?;
        let seqs = statement.query_map([], |row| Ok(Seq(codec::unsigned(row.get(0)?))))?;
        seqs.collect()
    }
}

/// What one ended attempt proves.
#[derive(Clone, Copy)]
struct Proof {
    seq: Seq,
    worked: bool,
    doubtful: bool,
    flagged: bool,
}

fn proof(row: Option<&rusqlite::Row<'_>>) -> codec::Result<Option<Proof>> {
    let Some(row) = row else { return Ok(None) };
    let class = codec::text(row, 1)?;
    Ok(Some(Proof {
        seq: Seq(codec::unsigned(row.get(0)?)),
        worked: &*class == "confirmed",
        doubtful: &*class == "unknown",
        flagged: row.get(2)?,
    }))
}

fn judge_gap(audit: &mut Audit, account: &Account, end: Time, started_at: Time, interval: Duration) {
    if started_at < end {
        audit.gaps_unjudged += 1;
        return;
    }
    let gap = started_at.since(end);
    if audit.smallest_gap.as_ref().is_none_or(|(smallest, _)| gap < *smallest) {
        audit.smallest_gap = Some((gap, account.clone()));
    }
    if audit.gaps.get(account).is_none_or(|smallest| gap < *smallest) {
        audit.gaps.insert(account.clone(), gap);
    }
    if gap < interval {
        audit.violated(Violation::Gap { account: account.clone(), gap, interval, at: started_at });
    }
}

fn judge_hour(audit: &mut Audit, corp: &Corp, ends: &mut VecDeque<Time>, ended_at: Time, limit: u32) {
    // Ends come in the order of starts; an hour is judged by ends, so they are put in order.
    let place = ends.iter().rposition(|end| *end <= ended_at).map_or(0, |index| index + 1);
    ends.insert(place, ended_at);
    let newest = ends.back().copied().unwrap_or(ended_at);
    while ends.front().is_some_and(|end| newest.since(*end) > HOUR) {
        ends.pop_front();
    }
    let sends = u32::try_from(ends.len()).unwrap_or(u32::MAX);
    if audit.largest_hour.as_ref().is_none_or(|(largest, _)| sends > *largest) {
        audit.largest_hour = Some((sends, corp.clone()));
    }
    if audit.hours.get(corp).is_none_or(|largest| sends > *largest) {
        audit.hours.insert(corp.clone(), sends);
    }
    if sends > limit {
        audit.violated(Violation::Hour { corp: corp.clone(), sends, limit, until: newest });
    }
}

/// `inherited` is true where nobody knows whether a life before worked.
fn judge_message(audit: &mut Audit, seq: Seq, state: State, proofs: &[Proof], inherited: bool) {
    let worked = proofs.iter().any(|one| one.worked);
    let doubtful = inherited || proofs.iter().any(|one| one.doubtful);
    // The attempts of an old message are gone before its outcome is: without any there is nothing to judge.
    if proofs.is_empty() {
        return;
    }
    if state.says_sent() && !worked {
        audit.violated(Violation::SentUnproven(seq));
    } else if state.says_not_sent() && (worked || doubtful) {
        audit.violated(Violation::FailedInDoubt(seq, state));
    } else if state == State::Unresolved && (worked || !doubtful) {
        audit.violated(Violation::UnresolvedProven(seq));
    }
    judge_repeats(audit, seq, proofs);
}

fn judge_repeats(audit: &mut Audit, seq: Seq, proofs: &[Proof]) {
    for (index, attempt) in proofs.iter().enumerate().skip(1) {
        let before = &proofs[..index];
        if before.iter().any(|one| one.worked) {
            audit.violated(Violation::SentAgain(seq));
        } else if before.iter().any(|one| one.doubtful) && !attempt.flagged {
            audit.violated(Violation::RepeatUnflagged(seq));
        }
    }
}
