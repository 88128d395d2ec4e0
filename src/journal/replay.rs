//! Reads back what the engine has to know, in the order that [`super::Journal::replay`] promises.
//!
//! Everything is streamed: a million live messages need no more memory than one.

use super::codec::{self, Names};
use super::{Answered, ReadError, Settings, open, reports};
use crate::model::{
    Account, Block, CommandOrigin, Corp, Fingerprint, Hold, HoldId, LimitOverride, MessageId, Outcome, Record, Refusal,
    Selection, SenderName, Seq, TRANSACTION_WINDOW, Time,
};
use bytes::Bytes;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, Rows};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// How far back attempts count for the hour of a company: the hour and one bucket of the ring.
const SPENT_WINDOW: Duration = Duration::from_secs(3601);

/// No attempt lasts longer, so none that started before that ended within [`SPENT_WINDOW`].
const ATTEMPT_MAX: Duration = Duration::from_secs(600);

/// Attempts read at a time: few in tests, so that pages end in the middle of a message.
const PAGE: i64 = if cfg!(test) { 3 } else { 512 };

pub(super) fn replay(settings: &Settings, now: Time, mut sink: impl FnMut(Record)) -> Result<(), ReadError> {
    let doing = |what: &'static str| move |error: rusqlite::Error| ReadError { what, error };
    let connection = open::open_reader(&settings.path).map_err(doing("the file"))?;
    // One transaction, so that all of it is the same moment.
    connection.execute_batch("BEGIN").map_err(doing("the file"))?;
    let mut replay = Replay { connection: &connection, names: Names::default(), settings, now };
    replay.located(&mut sink).map_err(doing("accounts"))?;
    reports::replay_accounts(&connection, &mut replay.names, &mut sink).map_err(doing("accounts"))?;
    replay.held(&mut sink).map_err(doing("holds"))?;
    replay.blocked(&mut sink).map_err(doing("blocks"))?;
    replay.limits(&mut sink).map_err(doing("limits"))?;
    replay.spent(&mut sink).map_err(doing("attempts"))?;
    replay.messages(&mut sink).map_err(doing("messages"))?;
    replay.refused(&mut sink).map_err(doing("refusals"))?;
    replay.commanded(&mut sink).map_err(doing("commands"))?;
    reports::replay(&connection, now, settings, &mut sink).map_err(doing("callbacks"))?;
    connection.execute_batch("COMMIT").map_err(doing("the file"))
}

struct Replay<'a> {
    connection: &'a Connection,
    names: Names,
    settings: &'a Settings,
    now: Time,
}

impl Replay<'_> {
    fn located(&mut self, sink: &mut impl FnMut(Record)) -> codec::Result<()> {
        let mut statement =
            self.connection.prepare("SELECT account, corp, sender, at FROM account ORDER BY account")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let sender = SenderName::new(row.get_ref(2)?.as_str()?);
            let (account, corp) = (self.names.account(row, 0)?, self.names.corp(row, 1)?);
            sink(Record::Located { account, corp, sender, at: codec::time_out(row.get(3)?) });
        }
        Ok(())
    }

    fn held(&self, sink: &mut impl FnMut(Record)) -> codec::Result<()> {
        const SQL: &str = "SELECT id, scope, subject, conversation, reason, by, since, until FROM hold
            WHERE released_at IS NULL ORDER BY id";
        let mut statement = self.connection.prepare(SQL)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            sink(Record::Held(Hold {
                id: HoldId(codec::unsigned(row.get(0)?)),
                scope: codec::scope(row, 1)?,
                reason: codec::text(row, 4)?,
                by: codec::maybe_text(row, 5)?,
                since: codec::time_out(row.get(6)?),
                until: codec::maybe_time(row, 7)?,
            }));
        }
        Ok(())
    }

    fn blocked(&self, sink: &mut impl FnMut(Record)) -> codec::Result<()> {
        const SQL: &str = "SELECT id, message_id, account, conversation, corp, tag, reason, by, since, until FROM block
            WHERE released_at IS NULL ORDER BY id";
        let mut statement = self.connection.prepare(SQL)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let selection = Selection {
                id: codec::maybe_text(row, 1)?.map(|id| MessageId::from_json(&id)),
                account: codec::maybe_text(row, 2)?.map(|account| Account::new(&account)),
                conversation: codec::maybe_text(row, 3)?,
                corp: codec::maybe_text(row, 4)?.map(|corp| Corp::new(&corp)),
                tag: codec::maybe_text(row, 5)?,
            };
            sink(Record::Blocked(Block {
                id: HoldId(codec::unsigned(row.get(0)?)),
                selection,
                reason: codec::maybe_text(row, 6)?,
                by: codec::maybe_text(row, 7)?,
                since: codec::time_out(row.get(8)?),
                until: codec::time_out(row.get(9)?),
            }));
        }
        Ok(())
    }

    fn limits(&self, sink: &mut impl FnMut(Record)) -> codec::Result<()> {
        const SQL: &str = "SELECT scope, subject, interval, per_hour, by, since, until FROM limit_override
            ORDER BY scope, subject";
        let mut statement = self.connection.prepare(SQL)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (scope, change) = codec::limit(row, 0)?;
            let (by, since) = (codec::maybe_text(row, 4)?, codec::time_out(row.get(5)?));
            sink(Record::LimitSet(LimitOverride { scope, change, by, since, until: codec::maybe_time(row, 6)? }));
        }
        Ok(())
    }

    fn spent(&mut self, sink: &mut impl FnMut(Record)) -> codec::Result<()> {
        const FIRST_SQL: &str =
            "SELECT coalesce((SELECT n FROM attempt WHERE started_at < ?1 ORDER BY n DESC LIMIT 1), 0)";
        const SQL: &str =
            "SELECT a.account, a.corp, a.ended_at, m.seq IS NOT NULL, o.answered, coalesce(o.known_from, o.at)
            FROM attempt a
            LEFT JOIN message m ON m.seq = a.seq LEFT JOIN outcome o ON o.seq = a.seq
            WHERE a.n > ?1 AND NOT (a.class IS 'not_sent' AND a.why IS 'connect') ORDER BY a.n";
        let since = self.now - SPENT_WINDOW;
        // Attempts lie in the order of their start, so the last old one is found from the end.
        let before: i64 =
            self.connection.query_row(FIRST_SQL, [codec::time_in(since - ATTEMPT_MAX)], |row| row.get(0))?;
        let mut statement = self.connection.prepare(SQL)?;
        let mut rows = statement.query([before])?;
        while let Some(row) = rows.next()? {
            let ended_at = codec::maybe_time(row, 2)?.unwrap_or(self.now);
            let known_from = codec::maybe_time(row, 5)?.unwrap_or_default();
            let answered: Option<bool> = row.get(4)?;
            let is_live = row.get(3)? && answered.is_none_or(|answered| self.is_known(answered, known_from));
            if ended_at >= since && !is_live {
                let (account, corp) = (self.names.account(row, 0)?, self.names.corp(row, 1)?);
                sink(Record::Spent { account, corp, ended_at });
            }
        }
        Ok(())
    }

    /// Whether a message with an end is still live.
    fn is_known(&self, answered: bool, known_from: Time) -> bool {
        !answered || self.now.since(known_from) < self.settings.dedup_window
    }

    fn messages(&mut self, sink: &mut impl FnMut(Record)) -> codec::Result<()> {
        let mut statement =
            self.connection.prepare(&format!("SELECT {} FROM message m ORDER BY m.seq", codec::OWN_COLUMNS))?;
        let retries_sql = format!("SELECT r.n, {} FROM retry r ORDER BY r.n", codec::RETRY_COLUMNS);
        let mut retries = self.connection.prepare(&retries_sql)?;
        let mut retries = Beside::new(retries.query([])?, codec::retry);
        let outcomes_sql = format!("SELECT o.seq, {OUTCOME_COLUMNS} FROM outcome o ORDER BY o.seq");
        let mut outcomes = self.connection.prepare(&outcomes_sql)?;
        let mut outcomes = Beside::new(outcomes.query([])?, ended);
        let mut attempts = Attempts::default();
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let seq = Seq(codec::unsigned(row.get(0)?));
            let (retry, ended) = (retries.of(seq)?, outcomes.of(seq)?);
            if ended.as_ref().is_some_and(|ended| !self.is_known(ended.answered, ended.known_from())) {
                continue;
            }
            let message = codec::message_alone(row, &mut self.names, Bytes::new(), retry)?;
            sink(Record::Accepted(Arc::new(message)));
            while let Some(attempt) = attempts.next_of(seq, self.connection, &mut self.names)? {
                attempt.into_iter().for_each(&mut *sink);
            }
            let Some(Ended { outcome, answered, answered_late }) = ended else { continue };
            sink(Record::Finished { seq, outcome });
            if answered {
                sink(Record::Answered { seq, known_from: answered_late });
            }
        }
        Ok(())
    }

    fn refused(&self, sink: &mut impl FnMut(Record)) -> codec::Result<()> {
        const SQL: &str = "SELECT number, at, id, account, suffix, reply_topic, reply_correlation, weak,
            fault_code, fault_message, fault_field, sender_http, sender_code, sender_msg FROM refusal ORDER BY number";
        let mut statement = self.connection.prepare(SQL)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let Some(fault) = codec::fault(row, 8)? else { return codec::bad(8, "fault_code", "nothing") };
            let refusal = Refusal {
                id: codec::maybe_text(row, 2)?.map(|id| MessageId::from_json(&id)),
                account: codec::maybe_text(row, 3)?.map(|account| Account::new(&account)),
                origin: codec::origin(row, 4)?,
                fault,
            };
            let (number, at) = (codec::unsigned(row.get(0)?), codec::time_out(row.get(1)?));
            sink(Record::Refused { number, at, refusal: Arc::new(refusal) });
        }
        Ok(())
    }

    fn commanded(&self, sink: &mut impl FnMut(Record)) -> codec::Result<()> {
        const SQL: &str = "SELECT at, name, reply_topic, reply_correlation, transaction_json, by, reply, fingerprint
            FROM command
            WHERE at > ?1 ORDER BY n";
        let mut statement = self.connection.prepare(SQL)?;
        let mut rows = statement.query([codec::time_in(self.now - TRANSACTION_WINDOW)])?;
        while let Some(row) = rows.next()? {
            let origin = CommandOrigin {
                name: codec::text(row, 1)?,
                reply_to: codec::reply_to(row, 2)?,
                transaction: codec::maybe_text(row, 4)?,
                by: codec::maybe_text(row, 5)?,
            };
            let fingerprint = row.get::<_, Option<Fingerprint>>(7)?.unwrap_or_default();
            let (at, reply) = (codec::time_out(row.get(0)?), codec::text(row, 6)?);
            sink(Record::Commanded { at, origin, fingerprint, reply });
        }
        Ok(())
    }
}

/// `Attempted`, and `Ended` where it did.
type AttemptRecords = Vec<Record>;

/// Walks through the attempts beside the messages, both in the order of `seq`. It reads ahead one page at a time and
/// starts each page at the message asked for, so the attempts of messages that are gone are skipped by the index.
#[derive(Default)]
struct Attempts {
    page: VecDeque<(Seq, AttemptRecords)>,
    /// Where the last page ended.
    last: (Seq, i64),
    /// No attempt is left after the page.
    at_end: bool,
}

impl Attempts {
    /// The next attempt of `seq`. Asked for in ascending order of `seq`.
    fn next_of(
        &mut self,
        seq: Seq,
        connection: &Connection,
        names: &mut Names,
    ) -> codec::Result<Option<AttemptRecords>> {
        loop {
            match self.page.front() {
                Some((of, _)) if *of > seq => return Ok(None),
                Some((of, _)) if *of < seq => self.page.pop_front(),
                Some(_) => return Ok(self.page.pop_front().map(|(_, records)| records)),
                None if self.at_end => return Ok(None),
                None => {
                    self.read_page(seq, connection, names)?;
                    continue;
                }
            };
        }
    }

    fn read_page(&mut self, seq: Seq, connection: &Connection, names: &mut Names) -> codec::Result<()> {
        const SQL: &str = "SELECT n, seq, attempt, account, corp, possibly_duplicate, started_at, ended_at,
            class, why, detail, http, code, msg, msg_id, retry_after FROM attempt
            WHERE seq >= ?1 AND NOT (seq = ?1 AND n <= ?2) ORDER BY seq, n LIMIT ?3";
        let (from, after) = if seq > self.last.0 { (seq, 0) } else { self.last };
        let mut statement = connection.prepare_cached(SQL)?;
        let mut rows = statement.query([i64::try_from(from.0).unwrap_or(i64::MAX), after, PAGE])?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            let seq = Seq(codec::unsigned(row.get(1)?));
            let (account, corp): (Account, Corp) = (names.account(row, 3)?, names.corp(row, 4)?);
            let attempt = row.get(2)?;
            let (at, possibly_duplicate) = (codec::time_out(row.get(6)?), row.get(5)?);
            let mut records = vec![Record::Attempted { seq, attempt, at, account, corp, possibly_duplicate }];
            if let (Some(at), Some(verdict)) = (codec::maybe_time(row, 7)?, codec::verdict(row, 8)?) {
                records.push(Record::Ended { seq, attempt, at, verdict });
            }
            self.page.push_back((seq, records));
            self.last = (seq, row.get(0)?);
            count += 1;
        }
        self.at_end = count < PAGE;
        Ok(())
    }
}

/// Walks through a table beside the messages, both in the order of `seq`, which is its first column. A join would look
/// for a row of each message, and of those that wait none has one.
struct Beside<'a, T> {
    rows: Rows<'a>,
    /// Reads the columns from the one with this index on.
    read: fn(&Row<'_>, usize) -> codec::Result<T>,
    next: Option<(Seq, T)>,
}

impl<'a, T> Beside<'a, T> {
    fn new(rows: Rows<'a>, read: fn(&Row<'_>, usize) -> codec::Result<T>) -> Self {
        Self { rows, read, next: None }
    }

    /// What the table has of `seq`. Asked for in ascending order.
    fn of(&mut self, seq: Seq) -> codec::Result<Option<T>> {
        while self.next.as_ref().is_none_or(|(next, _)| *next < seq) {
            let Some(row) = self.rows.next()? else { return Ok(None) };
            self.next = Some((Seq(codec::unsigned(row.get(0)?)), (self.read)(row, 1)?));
        }
        Ok(self.next.take_if(|(next, _)| *next == seq).map(|(_, value)| value))
    }
}

/// The columns of `outcome`, in the order of [`ended`].
const OUTCOME_COLUMNS: &str = "o.answered, o.at, o.state, o.msg_id, o.attempts, o.possibly_duplicate,
    o.fault_code, o.fault_message, o.fault_field, o.sender_http, o.sender_code, o.sender_msg, o.known_from";

/// How a message ended.
struct Ended {
    outcome: Outcome,
    /// Whether its answer is closed.
    answered: bool,
    /// When the broker had its answer, where that was long in coming.
    answered_late: Option<Time>,
}

impl Ended {
    /// From when on a repeat is known for a while.
    fn known_from(&self) -> Time {
        self.answered_late.unwrap_or(self.outcome.at)
    }
}

/// Reads [`OUTCOME_COLUMNS`].
fn ended(row: &Row<'_>, first: usize) -> codec::Result<Ended> {
    let outcome = Outcome {
        state: codec::state(row, first + 2)?,
        at: codec::time_out(row.get(first + 1)?),
        msg_id: codec::maybe_text(row, first + 3)?,
        fault: codec::fault(row, first + 6)?,
        attempts: row.get(first + 4)?,
        possibly_duplicate: row.get(first + 5)?,
    };
    Ok(Ended { outcome, answered: row.get(first)?, answered_late: codec::maybe_time(row, first + 12)? })
}

/// Every message with its outcome, whose columns are null where there is none: what [`codec::message`] reads, and then
/// what [`outcome`] does.
fn with_outcome() -> String {
    let (own, retry, tables) = (codec::OWN_COLUMNS, codec::RETRY_COLUMNS, codec::MESSAGE_TABLES);
    format!("SELECT {own}, {retry}, {OUTCOME_COLUMNS} FROM {tables} LEFT JOIN outcome o ON o.seq = m.seq")
}

/// How the message of a row of [`with_outcome`] ended.
fn outcome(row: &Row<'_>) -> codec::Result<Option<Ended>> {
    let has_ended = !matches!(row.get_ref(codec::MESSAGE_COLUMNS_COUNT)?, ValueRef::Null);
    if has_ended { ended(row, codec::MESSAGE_COLUMNS_COUNT).map(Some) } else { Ok(None) }
}

/// Messages without their bodies, with how they ended, in the order asked for.
pub(super) fn answered(connection: &Connection, seqs: &[Seq]) -> codec::Result<Vec<Answered>> {
    let mut answers = Vec::with_capacity(seqs.len());
    if seqs.is_empty() {
        return Ok(answers);
    }
    let mut names = Names::default();
    let mut statement = connection.prepare_cached(&format!("{} WHERE m.seq = ?1", with_outcome()))?;
    for seq in seqs {
        let Ok(seq) = i64::try_from(seq.0) else { continue };
        let answer = statement.query_row([seq], |row| {
            let message = codec::message(row, &mut names, Bytes::new())?;
            Ok(Answered { message, outcome: outcome(row)?.map(|ended| ended.outcome) })
        });
        answers.extend(answer.optional()?);
    }
    Ok(answers)
}
