//! Answers questions about one id, from a connection that only reads.

use super::codec::{self, Names};
use super::{Answered, ReadError, open, replay};
use crate::model::{Account, Corp, Fault, Kept, MessageId, Receipt, Seq, State, Time, Verdict};
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension};
use std::path::Path;
use std::sync::Arc;

/// Rows of each table that one question looks at, newest first. No index leads from an id to its rows, and a reader
/// that takes long keeps the log from shrinking.
const ROWS_MAX: i64 = 200_000;

/// The longest list of messages that an answer holds.
const FOUND_MAX: u32 = 100;

/// The longest list of messages that may be sent again: each comes with its body.
const KEPT_MAX: usize = 20;

/// A read-only connection. It blocks, and may be sent to a thread that may.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
}

/// What is known of the messages with one id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// In ascending `seq`.
    pub rows: Vec<Row>,
    /// Whether every message was looked at; otherwise an older one may exist.
    pub complete: bool,
}

/// One message as the journal knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub seq: Seq,
    pub id: MessageId,
    pub account: Account,
    pub kind: Box<str>,
    pub tag: Option<Box<str>>,
    pub received_at: Time,
    /// As far as the journal can tell: what a `queued` one waits for only the engine knows.
    pub state: State,
    /// When it reached its final state.
    pub finished_at: Option<Time>,
    pub msg_id: Option<Box<str>>,
    pub fault: Option<Fault>,
    pub possibly_duplicate: bool,
    /// Whether the broker has the answer.
    pub answered: bool,
    /// The life before, when a person had it sent again.
    pub retry_of: Option<Seq>,
    /// What a callback told of it after it was sent.
    pub receipt: Option<Receipt>,
    /// How many attempts were counted when it ended.
    pub attempts_made: u32,
    /// In order. Empty also where they are older than the retention.
    pub attempts: Vec<Attempt>,
}

/// One request that was made, or may have been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub attempt: u32,
    pub account: Account,
    pub corp: Corp,
    pub possibly_duplicate: bool,
    pub started_at: Time,
    /// `None` while it is being made, and after a crash until the next start.
    pub end: Option<(Time, Verdict)>,
}

impl Reader {
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Opens a journal for questions only, beside a running bridge or without one.
    ///
    /// # Errors
    /// [`ReadError`] when there is none, or none that can be read.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let connection = open::open_reader(path).map_err(|error| ReadError { what: "the file", error })?;
        Ok(Self { connection })
    }

    /// Every message with this id, of this account if one is given, at most the 100 newest. `known` are the numbers
    /// that the engine knows for it: they are found however far back they lie.
    ///
    /// # Errors
    /// [`ReadError`] when the file cannot be read.
    pub fn find(&self, id: &MessageId, account: Option<&Account>, known: &[Seq]) -> Result<Found, ReadError> {
        let failed = |error| ReadError { what: "messages", error };
        let mut found = Found { rows: Vec::new(), complete: true };
        let mut find = Find { rows: Rows::of(&self.connection), id, account };
        find.by_number(known, &mut found).map_err(failed)?;
        find.in_table(MESSAGE, "message", &mut found).map_err(failed)?;
        find.in_table(HISTORY, "history", &mut found).map_err(failed)?;
        found.rows.sort_by_key(|row| row.seq);
        found.rows.dedup_by_key(|row| row.seq);
        for row in &mut found.rows {
            row.attempts = find.rows.attempts(row.seq).map_err(failed)?;
            if !row.state.is_final() {
                row.derive_state();
            }
        }
        Ok(found)
    }

    /// The messages with this id that are still there with all that sending them again takes, in ascending `seq`, and
    /// whether there are others of which only the outcome is left.
    ///
    /// # Errors
    /// [`ReadError`] when the file cannot be read.
    pub fn find_kept(
        &self,
        id: &MessageId,
        account: Option<&Account>,
        known: &[Seq],
    ) -> Result<(Vec<Kept>, bool), ReadError> {
        let failed = |error| ReadError { what: "messages", error };
        let found = self.find(id, account, known)?;
        let (mut kept, mut gone) = (Vec::new(), false);
        for row in found.rows.iter().rev().take(KEPT_MAX) {
            match self.kept(row).map_err(failed)? {
                Some(one) => kept.push(one),
                None => gone = true,
            }
        }
        kept.reverse();
        Ok((kept, gone))
    }

    fn kept(&self, row: &Row) -> codec::Result<Option<Kept>> {
        const BODY_SQL: &str = "SELECT body FROM body WHERE seq = ?1";
        let seq = i64::try_from(row.seq.0).unwrap_or(i64::MAX);
        let body: Option<Vec<u8>> =
            self.connection.prepare_cached(BODY_SQL)?.query_row([seq], |row| row.get(0)).optional()?;
        let Some(Answered { mut message, outcome }) = replay::answered(&self.connection, &[row.seq])?.pop() else {
            return Ok(None);
        };
        message.request.body = body.map(Bytes::from).unwrap_or_default();
        let inherited = message.retry.is_some_and(|retry| retry.possibly_duplicate);
        let unknown = |attempt: &Attempt| matches!(attempt.end, None | Some((_, Verdict::Unknown { .. })));
        let doubted = inherited || row.attempts.iter().any(unknown);
        Ok(Some(Kept { message: Arc::new(message), outcome, doubted }))
    }
}

impl Row {
    /// The state of an unfinished message, from how its last attempt stands.
    pub(super) fn derive_state(&mut self) {
        let Some(last) = self.attempts.last() else { return };
        self.possibly_duplicate |= last.possibly_duplicate;
        self.state = match &last.end {
            None => State::Sending,
            Some((_, Verdict::Unknown { .. })) => State::InDoubt,
            Some((_, Verdict::Confirmed { .. } | Verdict::Refused { .. } | Verdict::NotSent { .. })) => State::Queued,
        };
    }
}

/// What of a message [`Rows::row`] reads, while it is in the table `message`; then its conversation,
/// its place in the table, and its receipt.
pub(super) const MESSAGE: &str = "SELECT m.seq, m.id, m.account, m.kind, m.tag, m.received_at,
    coalesce(o.state, 'queued'), o.at, o.msg_id, coalesce(o.possibly_duplicate, r.possibly_duplicate, 0),
    coalesce(o.answered, 0), o.fault_code, o.fault_message, o.fault_field, o.sender_http, o.sender_code, o.sender_msg,
    r.of, coalesce(o.attempts, 0), m.conversation, m.seq, o.receipt_at, o.receipt_error, o.receipt_text
    FROM message m LEFT JOIN outcome o ON o.seq = m.seq LEFT JOIN retry r ON r.n = m.seq";

/// The same for one that was moved to the history, which keeps no conversation.
pub(super) const HISTORY: &str = "SELECT m.seq, m.id, m.account, m.kind, m.tag, m.received_at, m.state, m.at, m.msg_id,
    m.possibly_duplicate, 1, m.fault_code, m.fault_message, m.fault_field, m.sender_http, m.sender_code, m.sender_msg,
    r.of, m.attempts, NULL, m.n, m.receipt_at, m.receipt_error, m.receipt_text FROM history m LEFT JOIN retry r ON r.n = m.seq";

struct Find<'a> {
    rows: Rows<'a>,
    id: &'a MessageId,
    account: Option<&'a Account>,
}

/// Whether a row has the id whose key is `?2` and whose text, if it is a string, is `?3`: ids are kept as they were
/// written, and those with an escape may have been written in another way.
const SAME_ID: &str = "(m.id = ?2 OR instr(m.id, '\\') > 0 AND m.id ->> '$' = ?3)";

impl Find<'_> {
    fn by_number(&mut self, known: &[Seq], found: &mut Found) -> codec::Result<()> {
        let sql = format!("{MESSAGE} WHERE m.seq = ?1 AND {SAME_ID} AND (?4 IS NULL OR m.account = ?4)");
        let mut statement = self.rows.connection.prepare_cached(&sql)?;
        let account = self.account.map(Account::as_str);
        for seq in known.iter().rev().take(FOUND_MAX as usize) {
            let Ok(seq) = i64::try_from(seq.0) else { continue };
            let mut rows = statement.query((seq, self.id.key(), self.id.to_text(), account))?;
            while let Some(row) = rows.next()? {
                found.rows.push(self.rows.row(row)?);
            }
        }
        Ok(())
    }

    /// Looks through the newest rows of a table by its own order.
    fn in_table(&mut self, select: &str, table: &str, found: &mut Found) -> codec::Result<()> {
        let limits = format!("SELECT coalesce(min(rowid), 0), coalesce(max(rowid), 0) FROM {table}");
        let (first, last): (i64, i64) =
            self.rows.connection.query_row(&limits, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let after = last.saturating_sub(ROWS_MAX);
        found.complete &= after < first;
        let sql = format!(
            "{select} WHERE m.rowid > ?1 AND {SAME_ID} AND (?4 IS NULL OR m.account = ?4) ORDER BY m.rowid DESC LIMIT ?5"
        );
        let mut statement = self.rows.connection.prepare_cached(&sql)?;
        let account = self.account.map(Account::as_str);
        let mut rows = statement.query((after, self.id.key(), self.id.to_text(), account, FOUND_MAX))?;
        while let Some(row) = rows.next()? {
            found.rows.push(self.rows.row(row)?);
        }
        Ok(())
    }
}

/// Makes rows and attempts of what SQLite holds.
pub(super) struct Rows<'a> {
    connection: &'a Connection,
    names: Names,
}

impl<'a> Rows<'a> {
    pub(super) fn of(connection: &'a Connection) -> Self {
        Self { connection, names: Names::default() }
    }

    pub(super) fn row(&mut self, row: &rusqlite::Row<'_>) -> codec::Result<Row> {
        Ok(Row {
            seq: Seq(codec::unsigned(row.get(0)?)),
            id: MessageId::from_json(row.get_ref(1)?.as_str()?),
            account: self.names.account(row, 2)?,
            kind: codec::text(row, 3)?,
            tag: codec::maybe_text(row, 4)?,
            received_at: codec::time_out(row.get(5)?),
            state: codec::state(row, 6)?,
            finished_at: codec::maybe_time(row, 7)?,
            msg_id: codec::maybe_text(row, 8)?,
            possibly_duplicate: row.get(9)?,
            answered: row.get(10)?,
            fault: codec::fault(row, 11)?,
            retry_of: row.get::<_, Option<i64>>(17)?.map(|of| Seq(codec::unsigned(of))),
            attempts_made: row.get(18)?,
            attempts: Vec::new(),
            receipt: match codec::maybe_time(row, 21)? {
                Some(at) => Some(Receipt {
                    state: codec::state(row, 6)?,
                    at,
                    error: row.get(22)?,
                    text: codec::maybe_text(row, 23)?,
                }),
                None => None,
            },
        })
    }

    pub(super) fn attempts(&mut self, seq: Seq) -> codec::Result<Vec<Attempt>> {
        const SQL: &str = "SELECT attempt, account, corp, possibly_duplicate, started_at, ended_at,
            class, why, detail, http, code, msg, msg_id, retry_after FROM attempt WHERE seq = ?1 ORDER BY n";
        let mut statement = self.connection.prepare_cached(SQL)?;
        let mut rows = statement.query([i64::try_from(seq.0).unwrap_or(i64::MAX)])?;
        let mut attempts = Vec::new();
        while let Some(row) = rows.next()? {
            attempts.push(Attempt {
                attempt: row.get(0)?,
                account: self.names.account(row, 1)?,
                corp: self.names.corp(row, 2)?,
                possibly_duplicate: row.get(3)?,
                started_at: codec::time_out(row.get(4)?),
                end: codec::maybe_time(row, 5)?.zip(codec::verdict(row, 6)?),
            });
        }
        Ok(attempts)
    }
}
