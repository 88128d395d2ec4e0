//! What arrived and what was sent, for those who ask what would have become of it under other limits.

use super::query::Reader;
use super::{ReadError, codec};
use crate::model::{Account, Corp, Seq, State, Time};
use std::collections::BTreeMap;

/// A message as it was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    pub seq: Seq,
    pub account: Account,
    pub received_at: Time,
    /// `None` where the message is in the history already, which does not keep it; the same for the next two.
    pub expires_at: Option<Time>,
    pub not_before: Option<Time>,
    pub priority: Option<u8>,
    /// How it ended, if it has.
    pub fate: Option<State>,
}

/// One request that was made, or may have been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    pub seq: Seq,
    pub account: Account,
    pub corp: Corp,
    pub started_at: Time,
    /// `None` while it is under way.
    pub ended_at: Option<Time>,
    /// False only where no connection came about, so that nothing reached the sender.
    pub written: bool,
    pub confirmed: bool,
}

/// Everything that the journal still holds of arrivals and attempts, as of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Story {
    /// In the order of acceptance.
    pub arrivals: Vec<Arrival>,
    /// In the order of their start.
    pub attempts: Vec<Made>,
    /// The last known company of each account.
    pub corps: BTreeMap<Account, Corp>,
}

impl Reader {
    /// Reads the story, also beside a running bridge.
    ///
    /// # Errors
    /// [`ReadError`] when the file cannot be read.
    pub fn story(&self) -> Result<Story, ReadError> {
        let failed = |what: &'static str| move |error| ReadError { what, error };
        // One moment for all tables: a message must not be missed while it moves from one to the next.
        let moment = self.connection().unchecked_transaction().map_err(failed("the file"))?;
        let mut story = Story::default();
        let mut names = codec::Names::default();
        self.read_located(&mut story, &mut names).map_err(failed("accounts"))?;
        self.read_attempts(&mut story, &mut names).map_err(failed("attempts"))?;
        self.read_arrivals(&mut story, &mut names).map_err(failed("messages"))?;
        moment.finish().map_err(failed("the file"))?;
        Ok(story)
    }

    fn read_located(&self, story: &mut Story, names: &mut codec::Names) -> codec::Result<()> {
        let mut statement = self.connection().prepare("SELECT account, corp FROM account")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            story.corps.insert(names.account(row, 0)?, names.corp(row, 1)?);
        }
        Ok(())
    }

    fn read_attempts(&self, story: &mut Story, names: &mut codec::Names) -> codec::Result<()> {
        const SQL: &str = "SELECT seq, account, corp, started_at, ended_at, class, why FROM attempt ORDER BY n";
        let mut statement = self.connection().prepare(SQL)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (class, why) = (codec::maybe_text(row, 5)?, codec::maybe_text(row, 6)?);
            let made = Made {
                seq: Seq(codec::unsigned(row.get(0)?)),
                account: names.account(row, 1)?,
                corp: names.corp(row, 2)?,
                started_at: codec::time_out(row.get(3)?),
                ended_at: codec::maybe_time(row, 4)?,
                written: !(class.as_deref() == Some("not_sent") && why.as_deref() == Some("connect")),
                confirmed: class.as_deref() == Some("confirmed"),
            };
            story.corps.insert(made.account.clone(), made.corp.clone());
            story.attempts.push(made);
        }
        Ok(())
    }

    fn read_arrivals(&self, story: &mut Story, names: &mut codec::Names) -> codec::Result<()> {
        const SQL: &str = "SELECT m.seq, account, received_at, expires_at, not_before, priority, state FROM message m
            LEFT JOIN outcome o ON o.seq = m.seq
            UNION ALL SELECT seq, account, received_at, NULL, NULL, NULL, state FROM history h
            WHERE NOT EXISTS (SELECT 1 FROM message m WHERE m.seq = h.seq) ORDER BY 1";
        let mut statement = self.connection().prepare(SQL)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            story.arrivals.push(Arrival {
                seq: Seq(codec::unsigned(row.get(0)?)),
                account: names.account(row, 1)?,
                received_at: codec::time_out(row.get(2)?),
                expires_at: codec::maybe_time(row, 3)?,
                not_before: codec::maybe_time(row, 4)?,
                priority: row.get(5)?,
                fate: if row.get_ref(6)?.as_str_or_null()?.is_some() { Some(codec::state(row, 6)?) } else { None },
            });
        }
        Ok(())
    }
}
