//! Erases bodies, moves finished messages to the history, and removes what is older than its retention.
//!
//! ```text
//! Messages --> Attempts --> History --> Rest --> Vacuum --> over
//! ```
//!
//! A pass walks through the stages in slices of one short transaction each, between commits. A slice is bounded in
//! rows, so that no commit waits for more than some milliseconds. Nothing leaves the table `message` that a replay
//! would still bring back as live, so nothing of it is lost: what is pruned here, the engine has forgotten.

use super::codec::{span_in, time_in};
use super::writer::{Reply, Store};
use super::{CommitError, Settings, UnknownCause, reports};
use crate::crash;
use crate::model::{TRANSACTION_WINDOW, Time};
use rusqlite::{Connection, params};
use std::mem;
use std::time::Duration;

/// The engine forgets a message when its dedup window is over, the journal this much later, so that no record about
/// a message can arrive after the message is gone.
const MARGIN: Duration = Duration::from_secs(60);

/// Attempts are kept at least so long, because replay rebuilds the hour of each company from them.
const ATTEMPTS_KEPT_MIN: Duration = Duration::from_secs(2 * 3600);

/// How much later than a retry its message may end.
const RETRY_LIFE: Duration = Duration::from_secs(31 * 24 * 3600);

/// Rows that one slice looks at.
const LOOKS_PER_SLICE: u32 = 1000;

/// Messages that one slice erases or moves; each costs a row in four tables.
const MOVES_PER_SLICE: u32 = 250;

/// Rows that one slice deletes.
const DELETES_PER_SLICE: u32 = 1000;

/// Free pages that are never given back, because the next messages need them: 16 MB.
const FREE_PAGES_KEPT: i64 = 4096;

/// Gives back as many pages to the file system as one slice may.
const VACUUM_SQL: &str = "PRAGMA incremental_vacuum(256)";

/// What a pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    pub bodies_erased: u64,
    /// Messages moved from the live tables to the history.
    pub messages_moved: u64,
    pub attempts_removed: u64,
    pub history_removed: u64,
    /// Commands, callbacks, ended holds and blocks, and suspects of crashes.
    pub others_removed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Messages,
    Attempts,
    History,
    Rest,
    Vacuum,
}

impl Stage {
    const fn next(self) -> Option<Self> {
        match self {
            Self::Messages => Some(Self::Attempts),
            Self::Attempts => Some(Self::History),
            Self::History => Some(Self::Rest),
            Self::Rest => Some(Self::Vacuum),
            Self::Vacuum => None,
        }
    }
}

/// A pass in the middle of its work.
pub(super) struct Pass {
    now: Time,
    stage: Stage,
    /// The last row that the stage looked at.
    cursor: i64,
    pruned: Pruned,
    replies: Vec<Reply<Pruned>>,
}

/// What a slice did, so that the pass only counts what became durable.
struct Slice {
    pruned: Pruned,
    cursor: i64,
    /// Whether the stage has nothing more to do.
    over: bool,
}

impl Pass {
    pub(super) fn new(now: Time, reply: Option<Reply<Pruned>>) -> Self {
        Self { now, stage: Stage::Messages, cursor: 0, pruned: Pruned::default(), replies: reply.into_iter().collect() }
    }

    /// Somebody else asked for a pass while this one is running: one is enough.
    pub(super) fn also_tell(&mut self, reply: Option<Reply<Pruned>>) {
        self.replies.extend(reply);
    }

    /// Does one slice. `None` when the pass is over, with all askers told.
    pub(super) fn advance(mut self, store: &mut Store) -> Option<Self> {
        let slice = match self.slice(store) {
            Ok(slice) => slice,
            Err(CommitError::Full) => return self.end(|| Err(CommitError::Full)),
            // The store refuses all further commits, so that the loop hears of it even if nobody waits here.
            Err(CommitError::Unknown(cause)) if self.replies.is_empty() => {
                store.stop_untold(cause);
                return None;
            }
            Err(CommitError::Unknown(cause)) => {
                let mut cause = Some(cause);
                return self.end(|| Err(CommitError::Unknown(cause.take().unwrap_or(UnknownCause::Stopped))));
            }
        };
        if slice.pruned != Pruned::default() {
            crash::at("prune_durable");
        }
        self.pruned.add(slice.pruned);
        self.cursor = slice.cursor;
        if slice.over {
            self.cursor = 0;
            match self.stage.next() {
                Some(stage) => self.stage = stage,
                None => {
                    let pruned = self.pruned;
                    return self.end(|| Ok(pruned));
                }
            }
        }
        Some(self)
    }

    fn end(mut self, mut result: impl FnMut() -> Result<Pruned, CommitError>) -> Option<Self> {
        for reply in mem::take(&mut self.replies) {
            // Whoever stopped waiting does not need to know.
            let _ = reply.send(result());
        }
        None
    }

    fn slice(&self, store: &mut Store) -> Result<Slice, CommitError> {
        let cutoffs = Cutoffs::at(self.now, &store.settings);
        let cursor = self.cursor;
        match self.stage {
            Stage::Messages => store.in_transaction(|connection| messages(connection, cursor, &cutoffs)),
            Stage::Attempts => store.in_transaction(|connection| attempts(connection, cursor, &cutoffs)),
            Stage::History => store.in_transaction(|connection| history(connection, &cutoffs)),
            Stage::Rest => store.in_transaction(|connection| rest(connection, &cutoffs)),
            Stage::Vacuum => store.vacuum(),
        }
    }
}

impl Pruned {
    fn add(&mut self, other: Self) {
        self.bodies_erased += other.bodies_erased;
        self.messages_moved += other.messages_moved;
        self.attempts_removed += other.attempts_removed;
        self.history_removed += other.history_removed;
        self.others_removed += other.others_removed;
    }
}

/// The moments before which things are over, in nanoseconds.
struct Cutoffs {
    body: i64,
    message: i64,
    attempt: i64,
    kept: i64,
    retry: i64,
    callback: i64,
}

impl Cutoffs {
    fn at(now: Time, settings: &Settings) -> Self {
        let message = settings.dedup_window.max(settings.body_retention).saturating_add(MARGIN);
        // A command is replayed for the window of its transaction, whatever the retention.
        let windows = settings.dedup_window.max(TRANSACTION_WINDOW);
        let kept = settings.retention.max(windows.saturating_add(MARGIN));
        Self {
            body: before(now, settings.body_retention),
            message: before(now, message),
            attempt: before(now, settings.retention.max(ATTEMPTS_KEPT_MIN)),
            kept: before(now, kept),
            retry: before(now, kept.saturating_add(RETRY_LIFE)),
            callback: before(now, reports::window(settings).saturating_add(MARGIN)),
        }
    }
}

fn before(now: Time, span: Duration) -> i64 {
    time_in(now).saturating_sub(span_in(span))
}

/// Outcomes lie in the order of acceptance, not of their ends, so a pass looks at all of them; only those of the last
/// hour or so are there. A slice takes a range of numbers and moves what is due in it with one statement per table.
fn messages(connection: &Connection, cursor: i64, cutoffs: &Cutoffs) -> Result<Slice, UnknownCause> {
    const ERASE_SQL: &str = "DELETE FROM body WHERE seq IN
        (SELECT seq FROM outcome WHERE seq > ?1 AND seq <= ?2 AND at < ?3)";
    const MOVE_SQL: &str = "INSERT INTO history (seq, id, account, kind, tag, received_at, state, at, msg_id, attempts,
        possibly_duplicate, fault_code, fault_message, fault_field, sender_http, sender_code, sender_msg,
        receipt_at, receipt_error, receipt_text)
        SELECT m.seq, m.id, m.account, m.kind, m.tag, m.received_at, o.state, o.at, o.msg_id, o.attempts,
        o.possibly_duplicate, o.fault_code, o.fault_message, o.fault_field, o.sender_http, o.sender_code, o.sender_msg,
        o.receipt_at, o.receipt_error, o.receipt_text
        FROM outcome o CROSS JOIN message m ON m.seq = o.seq
        WHERE o.seq > ?1 AND o.seq <= ?2 AND o.answered AND coalesce(o.known_from, o.at) < ?3 ORDER BY o.seq";
    // A number is never used twice, also after its row is gone.
    const NUMBER_SQL: &str = "UPDATE progress SET seq = max(seq, (SELECT max(seq) FROM message))";
    const MESSAGE_SQL: &str = "DELETE FROM message WHERE seq IN
        (SELECT seq FROM outcome WHERE seq > ?1 AND seq <= ?2 AND answered AND coalesce(known_from, at) < ?3)";
    const OUTCOME_SQL: &str = "DELETE FROM outcome
        WHERE seq > ?1 AND seq <= ?2 AND answered AND coalesce(known_from, at) < ?3";
    let (end, over, any_due) = end_of_slice(connection, cursor, cutoffs)?;
    let mut slice = Slice { pruned: Pruned::default(), cursor: end, over };
    if any_due {
        let run = |sql: &str, cutoff: i64| connection.prepare_cached(sql)?.execute([cursor, end, cutoff]);
        slice.pruned.bodies_erased = run(ERASE_SQL, cutoffs.body)? as u64;
        let moved = run(MOVE_SQL, cutoffs.message)?;
        if moved > 0 {
            connection.prepare_cached(NUMBER_SQL)?.execute([])?;
        }
        let (messages, outcomes) = (run(MESSAGE_SQL, cutoffs.message)?, run(OUTCOME_SQL, cutoffs.message)?);
        if messages != moved || outcomes != moved {
            return Err(UnknownCause::Contradiction { record: "outcome", number: end.unsigned_abs() });
        }
        slice.pruned.messages_moved = moved as u64;
        crash::at("prune_written");
    }
    Ok(slice)
}

/// The last number that a slice takes after `cursor`, whether it is the last of all, and whether anything is due.
fn end_of_slice(connection: &Connection, cursor: i64, cutoffs: &Cutoffs) -> Result<(i64, bool, bool), UnknownCause> {
    const SQL: &str = "SELECT seq, at < ?2 OR (answered AND coalesce(known_from, at) < ?3)
        FROM outcome WHERE seq > ?1 ORDER BY seq LIMIT ?4";
    let mut look = connection.prepare_cached(SQL)?;
    let mut rows = look.query(params![cursor, cutoffs.body, cutoffs.message, LOOKS_PER_SLICE])?;
    let (mut end, mut looks, mut due) = (cursor, 0, 0);
    while let Some(row) = rows.next()? {
        end = row.get(0)?;
        looks += 1;
        due += u32::from(row.get::<_, bool>(1)?);
        if due == MOVES_PER_SLICE {
            break;
        }
    }
    Ok((end, looks < LOOKS_PER_SLICE && due < MOVES_PER_SLICE, due > 0))
}

/// Attempts lie in the order of their start. Those of a message that is still live stay, however old.
fn attempts(connection: &Connection, cursor: i64, cutoffs: &Cutoffs) -> Result<Slice, UnknownCause> {
    const LOOK_SQL: &str = "SELECT a.n, a.started_at < ?2, m.seq IS NULL
        FROM attempt a LEFT JOIN message m ON m.seq = a.seq WHERE a.n > ?1 ORDER BY a.n LIMIT ?3";
    let mut slice = Slice { pruned: Pruned::default(), cursor, over: true };
    let mut look = connection.prepare_cached(LOOK_SQL)?;
    let mut rows = look.query(params![cursor, cutoffs.attempt, DELETES_PER_SLICE])?;
    let mut due: Vec<i64> = Vec::new();
    let mut looks = 0;
    while let Some(row) = rows.next()? {
        let (n, is_old, is_free): (i64, bool, bool) = (row.get(0)?, row.get(1)?, row.get(2)?);
        if !is_old {
            break;
        }
        looks += 1;
        slice.cursor = n;
        slice.over = looks < DELETES_PER_SLICE;
        if is_free {
            due.push(n);
        }
    }
    drop(rows);
    for n in due {
        connection.prepare_cached("DELETE FROM attempt WHERE n = ?1")?.execute([n])?;
        slice.pruned.attempts_removed += 1;
    }
    Ok(slice)
}

/// The history lies in the order in which messages were moved, which is nearly that of their ends.
fn history(connection: &Connection, cutoffs: &Cutoffs) -> Result<Slice, UnknownCause> {
    let removed = remove_head(connection, "history", cutoffs.kept)?;
    let pruned = Pruned { history_removed: removed, ..Pruned::default() };
    Ok(Slice { pruned, cursor: 0, over: removed < u64::from(DELETES_PER_SLICE) })
}

/// Commands, callbacks, holds and blocks that were released, what made the process end, what retries inherited, and
/// which ends rest on a callback.
fn rest(connection: &Connection, cutoffs: &Cutoffs) -> Result<Slice, UnknownCause> {
    const RETRY_SQL: &str = "DELETE FROM retry WHERE at < ?1 AND n NOT IN (SELECT seq FROM message)";
    const PROOF_SQL: &str = "DELETE FROM proof WHERE at < ?1 AND n NOT IN (SELECT seq FROM message)";
    let commands = remove_head(connection, "command", cutoffs.kept)?;
    let remove = |sql: &str| connection.prepare_cached(sql)?.execute([cutoffs.kept]);
    let holds = remove("DELETE FROM hold WHERE released_at < ?1")?;
    let blocks = remove("DELETE FROM block WHERE released_at < ?1")?;
    let suspects = remove("DELETE FROM poison WHERE at < ?1")?;
    let retries = connection.prepare_cached(RETRY_SQL)?.execute([cutoffs.retry])?;
    let proofs = connection.prepare_cached(PROOF_SQL)?.execute([cutoffs.retry])?;
    let callbacks = remove_head(connection, "callback", cutoffs.callback)?;
    let others_removed = commands + callbacks + (holds + blocks + suspects + retries + proofs) as u64;
    let pruned = Pruned { others_removed, ..Pruned::default() };
    Ok(Slice { pruned, cursor: 0, over: commands.max(callbacks) < u64::from(DELETES_PER_SLICE) })
}

/// Deletes rows from the beginning of a table up to the first that is not old, at most one slice of them.
fn remove_head(connection: &Connection, table: &'static str, cutoff: i64) -> Result<u64, UnknownCause> {
    let first: Option<i64> =
        connection.prepare_cached(&format!("SELECT min(n) FROM {table}"))?.query_row([], |row| row.get(0))?;
    let Some(first) = first else { return Ok(0) };
    let limit = i64::from(DELETES_PER_SLICE);
    let end: Option<i64> = connection
        .prepare_cached(&format!("SELECT min(n) FROM {table} WHERE n >= ?1 AND n < ?2 AND at >= ?3"))?
        .query_row([first, first + limit, cutoff], |row| row.get(0))?;
    let removed = connection
        .prepare_cached(&format!("DELETE FROM {table} WHERE n >= ?1 AND n < ?2"))?
        .execute([first, end.unwrap_or(first + limit)])?;
    Ok(removed as u64)
}

impl Store {
    /// Gives pages back once more than a quarter of the file is free: below that the next messages use them anyway.
    /// Where space is low there are no next messages until all of it is given back.
    fn vacuum(&mut self) -> Result<Slice, CommitError> {
        let low_space = self.low_space;
        self.in_transaction(|connection| {
            let count = |pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
            let (free, all) = (count("freelist_count")?, count("page_count")?);
            let over = free == 0 || (!low_space && (free <= FREE_PAGES_KEPT || free * 4 <= all));
            if !over {
                // Each page is a step of the statement, so it has to be stepped to its end.
                let mut vacuum = connection.prepare_cached(VACUUM_SQL)?;
                let mut pages = vacuum.query([])?;
                while pages.next()?.is_some() {}
            }
            Ok(Slice { pruned: Pruned::default(), cursor: 0, over })
        })
    }
}
