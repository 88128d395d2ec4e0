//! What the receiving end saw, against what the journal says: the audit's other half, where both sides are at hand.

use super::audit::{Audit, INHERITED_SQL, Violation};
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
        self.compare_ends(ledger, audit)?;
        self.compare_requests(ledger, audit)
    }

    /// What was said of each message, against what became of it.
    fn compare_ends(&self, ledger: &Ledger, audit: &mut Audit) -> codec::Result<()> {
        const ENDS_SQL: &str = "SELECT seq, state, possibly_duplicate FROM outcome
            UNION ALL SELECT seq, state, possibly_duplicate FROM history ORDER BY seq";
        let mut effects: BTreeMap<Seq, u32> = BTreeMap::new();
        for (&(seq, _), seen) in ledger {
            *effects.entry(seq).or_default() += seen.effects;
        }
        let inherited = self.seqs(INHERITED_SQL)?;
        let mut statement = self.connection().prepare(ENDS_SQL)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let seq = Seq(codec::unsigned(row.get(0)?));
            let (state, flagged) = (codec::state(row, 1)?, row.get::<_, bool>(2)?);
            let effects = effects.get(&seq).copied().unwrap_or_default();
            // The sender took an undelivered one, and says itself that it did not arrive. And what a life before did
            // may be what is proven of this one.
            let may_be_without = state == State::Undelivered || inherited.contains(&seq);
            if state.says_sent() && effects == 0 && !may_be_without {
                audit.violated(Violation::SentWithoutEffect(seq));
            }
            if state.says_not_sent() && effects > 0 {
                audit.violated(Violation::EffectDenied(seq, state));
            }
            if effects > 1 && !flagged {
                audit.violated(Violation::EffectTwice(seq));
            }
        }
        Ok(())
    }

    /// Every request, against the attempts: none is made before it is recorded.
    fn compare_requests(&self, ledger: &Ledger, audit: &mut Audit) -> codec::Result<()> {
        const ATTEMPTS_SQL: &str = "SELECT seq, attempt FROM attempt";
        // Attempts of these are kept as long as they are.
        const LIVE_SQL: &str = "SELECT seq FROM message";
        const HISTORY_SQL: &str = "SELECT seq FROM history";
        // The history is pruned from its head on, so what comes before that may have been there. Where there is no
        // history the first that ended is the first of all, or everything up to the last number is gone.
        const PRUNED_BELOW_SQL: &str = "SELECT coalesce((SELECT seq FROM history ORDER BY n LIMIT 1),
            (SELECT min(seq) FROM outcome),
            (SELECT max(seq, (SELECT coalesce(max(seq), 0) FROM message)) + 1 FROM progress))";
        let mut attempts_statement = self.connection().prepare(ATTEMPTS_SQL)?;
        let attempts: BTreeSet<(Seq, u64)> = attempts_statement
            .query_map([], |row| Ok((Seq(codec::unsigned(row.get(0)?)), codec::unsigned(row.get(1)?))))?
            .collect::<Result<_, _>>()?;
        let (live, history) = (self.seqs(LIVE_SQL)?, self.seqs(HISTORY_SQL)?);
        let pruned_below = self.connection().query_row(PRUNED_BELOW_SQL, [], |row| row.get(0))?;
        let pruned_below = Seq(codec::unsigned(pruned_below));
        for (&(seq, attempt), seen) in ledger {
            let is_old = history.contains(&seq) || (seq < pruned_below && !live.contains(&seq));
            if !is_old && !attempts.contains(&(seq, u64::from(attempt))) {
                audit.violated(Violation::RequestUnknown(seq, attempt));
            }
            if seen.arrivals > 1 {
                audit.violated(Violation::RequestTwice(seq, attempt));
            }
        }
        Ok(())
    }
}
