//! What the receiving end saw, against what the journal says: the audit's other half, where both sides are at hand.

use super::audit::{Audit, Violation};
use super::query::Reader;
use super::{ReadError, codec};
use crate::model::{Seq, State};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// What became of one request at the receiving end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Effects {
    /// How often the request came.
    pub arrivals: u32,
    /// How often its message reached the chat.
    pub effects: u32,
}

/// Every request that the receiving end saw, by message and attempt.
pub type Ledger = BTreeMap<(Seq, u32), Effects>;

impl Reader {
    /// Adds to `audit` what only the receiver's own ledger can refute. The bridge stands still meanwhile, or messages
    /// that end between the two readings are misjudged.
    ///
    /// # Errors
    /// [`ReadError`] when the file cannot be read.
    pub fn audit_effects(&self, ledger: &Ledger, audit: &mut Audit) -> Result<(), ReadError> {
        self.compare(ledger, audit).map_err(|error| ReadError { what: "messages", error })
    }

    fn compare(&self, ledger: &Ledger, audit: &mut Audit) -> codec::Result<()> {
        const ENDS_SQL: &str = "SELECT seq, state, possibly_duplicate, 0 FROM outcome
            UNION ALL SELECT seq, state, possibly_duplicate, 1 FROM history";
        const ATTEMPTS_SQL: &str = "SELECT seq, attempt FROM attempt";
        const INHERITED_SQL: &str = "SELECT n FROM retry WHERE in_doubt";
        let number = |row: &rusqlite::Row<'_>, column| Ok::<_, rusqlite::Error>(codec::unsigned(row.get(column)?));
        let mut attempts_statement = self.connection().prepare(ATTEMPTS_SQL)?;
        let attempts: BTreeSet<(Seq, u64)> = attempts_statement
            .query_map([], |row| Ok((Seq(number(row, 0)?), number(row, 1)?)))?
            .collect::<Result<_, _>>()?;
        let mut inherited_statement = self.connection().prepare(INHERITED_SQL)?;
        let inherited: BTreeSet<Seq> =
            inherited_statement.query_map([], |row| Ok(Seq(number(row, 0)?)))?.collect::<Result<_, _>>()?;
        let mut effects: BTreeMap<Seq, u32> = BTreeMap::new();
        for (&(seq, _), seen) in ledger {
            *effects.entry(seq).or_default() += seen.effects;
        }
        // Whose attempts the journal keeps no longer.
        let mut old = BTreeSet::new();
        let mut statement = self.connection().prepare(ENDS_SQL)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (seq, state) = (Seq(number(row, 0)?), codec::state(row, 1)?);
            let (flagged, is_old) = (row.get::<_, bool>(2)?, row.get::<_, bool>(3)?);
            if is_old {
                old.insert(seq);
            }
            let effects = effects.get(&seq).copied().unwrap_or_default();
            match state {
                // What a life before did may be what is proven of this one.
                State::Sent | State::Delivered | State::Undelivered if effects == 0 && !inherited.contains(&seq) => {
                    audit.violated(Violation::SentWithoutEffect(seq));
                }
                State::Failed | State::Expired | State::Cancelled if effects > 0 => {
                    audit.violated(Violation::EffectDenied(seq, state));
                }
                State::Sent
                | State::Delivered
                | State::Undelivered
                | State::Failed
                | State::Expired
                | State::Cancelled
                | State::Unresolved
                | State::Queued
                | State::Sending
                | State::InDoubt => {}
            }
            if effects > 1 && !flagged {
                audit.violated(Violation::EffectTwice(seq));
            }
        }
        const FIRST_SQL: &str = "SELECT min(seq) FROM (SELECT seq FROM message UNION ALL SELECT seq FROM history)";
        let first: Option<i64> = self.connection().query_row(FIRST_SQL, [], |row| row.get(0))?;
        // What is older is pruned, and with it all that could be compared.
        let kept = ledger.range((Seq(first.map_or(0, codec::unsigned)), 0)..);
        for (&(seq, attempt), seen) in kept {
            if !attempts.contains(&(seq, u64::from(attempt))) && !old.contains(&seq) {
                audit.violated(Violation::RequestUnknown(seq, attempt));
            }
            if seen.arrivals > 1 {
                audit.violated(Violation::RequestTwice(seq, attempt));
            }
        }
        Ok(())
    }
}
