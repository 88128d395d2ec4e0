//! The one thread that writes. It takes requests in order and prunes in between.

use super::append::{Append, OpenAttempts};
use super::checkpoint::Checkpoints;
use super::prune::{Pass, Pruned};
use super::{
    Anchor, Batch, CommitError, Committed, Settings, Suspect, UnknownCause, codec, mark, poison, replay, reports,
};
use crate::crash;
use crate::model::{LastNumbers, Message, Seq, Time};
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};

/// With commits always waiting, a running pass gets one slice after so many of them.
const COMMITS_PER_SLICE: u32 = 8;

pub(super) type Reply<T> = oneshot::Sender<Result<T, CommitError>>;

#[derive(Debug)]
pub(super) enum Request {
    Commit {
        batch: Arc<Batch>,
        reply: Reply<Committed>,
    },
    ShiftTimes {
        nanos: i64,
        anchor: Anchor,
        reply: Reply<()>,
    },
    Accuse {
        suspect: Suspect,
        at: Time,
        reply: Reply<()>,
    },
    Prune {
        now: Time,
        reply: Option<Reply<Pruned>>,
    },
    Close {
        reply: Reply<()>,
    },
    /// As if the disk held so many pages and no more.
    #[cfg(test)]
    LimitPages {
        pages: i64,
    },
}

/// Serves requests until it is closed or nobody is left to ask. Both leave a clean file behind.
pub(super) fn run(mut store: Store, mut inbox: mpsc::Receiver<Request>) {
    let mut pass: Option<Pass> = None;
    let mut commits_since_slice = 0;
    loop {
        // Whoever waited for the last commit has its answer by now.
        store.tend();
        let request = if pass.is_none() {
            inbox.blocking_recv()
        } else if commits_since_slice >= COMMITS_PER_SLICE {
            commits_since_slice = 0;
            pass = pass.take().and_then(|pass| pass.advance(&mut store));
            continue;
        } else {
            match inbox.try_recv() {
                Ok(request) => Some(request),
                Err(TryRecvError::Empty) => {
                    commits_since_slice = COMMITS_PER_SLICE;
                    continue;
                }
                Err(TryRecvError::Disconnected) => None,
            }
        };
        // A caller that stopped waiting has no use for the answer; what was done is done.
        match request {
            Some(Request::Commit { batch, reply }) => {
                commits_since_slice += 1;
                let _ = reply.send(store.commit(&batch));
            }
            Some(Request::ShiftTimes { nanos, anchor, reply }) => {
                let _ = reply.send(store.shift_times(nanos, &anchor));
            }
            Some(Request::Accuse { suspect, at, reply }) => {
                let _ = reply.send(store.accuse(suspect, at));
            }
            Some(Request::Prune { now, reply }) => match &mut pass {
                Some(pass) => pass.also_tell(reply),
                None => pass = Some(Pass::new(now, reply)),
            },
            #[cfg(test)]
            Some(Request::LimitPages { pages }) => {
                store.connection.pragma_update(None, "max_page_count", pages).expect("a limit");
            }
            Some(Request::Close { reply }) => {
                let _ = reply.send(store.close());
                return;
            }
            None => {
                // Nobody is left to hear of a failure, and the next open recovers from it.
                let _ = store.close();
                return;
            }
        }
    }
}

/// The write connection and what it knows.
pub(super) struct Store {
    pub(super) connection: Connection,
    checkpoints: Checkpoints,
    /// Held for as long as the connections: it is what keeps a second process out. Dropped after them.
    lock: File,
    pub(super) settings: Settings,
    last_numbers: LastNumbers,
    /// The number that is noted beside the journal.
    marked: Seq,
    open_attempts: OpenAttempts,
    /// After a failure of which nobody knows what it left behind, nothing more is written.
    stopped: bool,
    /// Which failure that was, where nobody was there to be told: the next who asks is.
    untold: Option<UnknownCause>,
    pub(super) low_space: bool,
    free_bytes: u64,
    /// Which file the path led to when it was opened.
    identity: Option<Identity>,
}

/// The device and the inode of a file.
type Identity = (u64, u64);

fn identity(path: &Path) -> Option<Identity> {
    std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

impl Store {
    pub(super) fn new(
        mut connection: Connection,
        checkpoints: Checkpoints,
        lock: File,
        settings: Settings,
        last_numbers: LastNumbers,
    ) -> Self {
        // Without it the log is looked at after each commit, and nothing else is different.
        let _ = checkpoints.watch(&mut connection);
        let identity = identity(&settings.path);
        Self {
            connection,
            checkpoints,
            lock,
            settings,
            marked: last_numbers.seq,
            last_numbers,
            open_attempts: OpenAttempts::default(),
            stopped: false,
            untold: None,
            low_space: false,
            // Until somebody looked, which each commit does.
            free_bytes: 0,
            identity,
        }
    }

    pub(super) fn commit(&mut self, batch: &Batch) -> Result<Committed, CommitError> {
        if self.stopped {
            return Err(self.refuse());
        }
        // A file that was removed or replaced takes every write, and is gone with the process.
        if identity(&self.settings.path) != self.identity {
            return Err(self.stop(UnknownCause::Replaced));
        }
        if !batch.records.is_empty() || batch.anchor.is_some() {
            let mut last_numbers = self.last_numbers;
            batch.records.iter().for_each(|record| last_numbers.see(record));
            // The tables know the number of the last message themselves. To say it once more with every message would
            // be a page more of each commit, so it goes with what writes to that page anyway.
            let others_moved = LastNumbers { seq: self.last_numbers.seq, ..last_numbers } != self.last_numbers;
            let noted = (others_moved || batch.anchor.is_some()).then_some(last_numbers);
            let mut open = std::mem::take(&mut self.open_attempts);
            let written = self.in_transaction(|connection| write(connection, batch, noted, &mut open));
            // Of a transaction that did not happen nothing is kept: rows are looked for then.
            written?;
            self.open_attempts = open;
            self.last_numbers = last_numbers;
        }
        let messages = self.load(&batch.load).map_err(|error| self.stop(UnknownCause::Database(error)))?;
        let answers = replay::answered(&self.connection, &batch.load_answers)
            .map_err(|error| self.stop(UnknownCause::Database(error)))?;
        let events = reports::load(&self.connection, &batch.load_events)
            .map_err(|error| self.stop(UnknownCause::Database(error)))?;
        self.read_space();
        Ok(Committed { messages, answers, events, low_space: self.low_space, free_bytes: self.free_bytes })
    }

    /// Runs `work` in one durable transaction, or rolls back and says what is certain.
    pub(super) fn in_transaction<T>(
        &mut self,
        work: impl FnOnce(&Connection) -> Result<T, UnknownCause>,
    ) -> Result<T, CommitError> {
        if self.stopped {
            return Err(self.refuse());
        }
        let result = run_statement(&self.connection, "BEGIN IMMEDIATE")
            .and_then(|()| work(&self.connection))
            .and_then(|value| run_statement(&self.connection, "COMMIT").map(|()| value));
        let cause = match result {
            Ok(value) => return Ok(value),
            Err(cause) => cause,
        };
        // Some errors roll back by themselves.
        let rolled_back = self.connection.is_autocommit() || run_statement(&self.connection, "ROLLBACK").is_ok();
        if cause.is_lack_of_room() && rolled_back { Err(CommitError::Full) } else { Err(self.stop(cause)) }
    }

    fn stop(&mut self, cause: UnknownCause) -> CommitError {
        self.stopped = true;
        CommitError::Unknown(cause)
    }

    /// The same, with nobody there to be told.
    pub(super) fn stop_untold(&mut self, cause: UnknownCause) {
        self.stopped = true;
        self.untold = Some(cause);
    }

    fn refuse(&mut self) -> CommitError {
        CommitError::Unknown(self.untold.take().unwrap_or(UnknownCause::Stopped))
    }

    /// What follows from a commit and need not be waited for: notes the number of the last message, and writes the log
    /// back if it is time to.
    pub(super) fn tend(&mut self) {
        if self.marked != self.last_numbers.seq {
            self.marked = self.last_numbers.seq;
            mark::write(&self.lock, self.marked);
        }
        if !self.stopped
            && let Err(error) = self.checkpoints.tend(&self.connection)
        {
            self.stop_untold(UnknownCause::Database(error));
        }
    }

    fn load(&self, seqs: &[Seq]) -> codec::Result<Vec<Message>> {
        let mut messages = Vec::with_capacity(seqs.len());
        if seqs.is_empty() {
            return Ok(messages);
        }
        let mut names = codec::Names::default();
        let (own, retry, tables) = (codec::OWN_COLUMNS, codec::RETRY_COLUMNS, codec::MESSAGE_TABLES);
        let sql = format!("SELECT {own}, {retry}, b.body FROM {tables} JOIN body b ON b.seq = m.seq WHERE m.seq = ?1");
        let mut statement = self.connection.prepare_cached(&sql)?;
        for seq in seqs {
            let Ok(seq) = i64::try_from(seq.0) else { continue };
            let message = statement.query_row([seq], |row| {
                let body = Bytes::from(row.get::<_, Vec<u8>>(codec::MESSAGE_COLUMNS_COUNT)?);
                codec::message(row, &mut names, body)
            });
            messages.extend(message.optional()?);
        }
        Ok(messages)
    }

    /// Looks at the free space, which costs nothing beside a commit.
    fn read_space(&mut self) {
        // The lock lies beside the journal. A file system that does not tell is taken to have room: a refused commit
        // will say otherwise.
        let space = rustix::fs::fstatvfs(&self.lock);
        self.free_bytes = space.map_or(u64::MAX, |space| space.f_bavail.saturating_mul(space.f_frsize));
        // It has to become clearly more, or each few messages would close intake and open it again.
        let low = self.settings.low_space_bytes;
        self.low_space = self.free_bytes < if self.low_space { low.saturating_add(low / 8) } else { low };
    }

    fn shift_times(&mut self, nanos: i64, anchor: &Anchor) -> Result<(), CommitError> {
        const SHIFTS: [&str; 9] = [
            "UPDATE attempt SET started_at = max(0, started_at + ?1), ended_at = max(0, ended_at + ?1)",
            "UPDATE outcome SET at = max(0, at + ?1), receipt_at = max(0, receipt_at + ?1),
                known_from = max(0, known_from + ?1)",
            "UPDATE history SET at = max(0, at + ?1), receipt_at = max(0, receipt_at + ?1)",
            "UPDATE command SET at = max(0, at + ?1)",
            "UPDATE retry SET at = max(0, at + ?1)",
            "UPDATE callback SET at = max(0, at + ?1)",
            "UPDATE proof SET at = max(0, at + ?1)",
            "UPDATE presence SET at = max(0, at + ?1)",
            "UPDATE cool_down SET at = max(0, at + ?1), until = max(0, until + ?1)",
        ];
        self.in_transaction(|connection| {
            for sql in SHIFTS {
                connection.execute(sql, [nanos])?;
            }
            write_anchor(connection, anchor)?;
            crash::at("times_written");
            Ok(())
        })?;
        crash::at("times_durable");
        Ok(())
    }

    fn accuse(&mut self, suspect: Suspect, at: Time) -> Result<(), CommitError> {
        self.in_transaction(|connection| {
            poison::note(connection, suspect, at)?;
            crash::at("culprit_written");
            Ok(())
        })?;
        crash::at("culprit_durable");
        Ok(())
    }

    /// Marks the journal as clean and writes the log back. The log itself goes when the connection closes.
    fn close(&mut self) -> Result<(), CommitError> {
        self.in_transaction(|connection| run_statement(connection, "UPDATE progress SET clean = 1"))?;
        // Somebody who reads right now keeps the log from shrinking; the next open deals with it.
        let checkpoint = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        checkpoint.map_err(|error| self.stop(UnknownCause::Database(error)))
    }
}

fn run_statement(connection: &Connection, sql: &str) -> Result<(), UnknownCause> {
    connection.prepare_cached(sql)?.execute([])?;
    Ok(())
}

fn write(
    connection: &Connection,
    batch: &Batch,
    last: Option<LastNumbers>,
    open: &mut OpenAttempts,
) -> Result<(), UnknownCause> {
    let mut append = Append::new(connection, open);
    for record in &batch.records {
        append.apply(record)?;
    }
    append.end()?;
    if let Some(LastNumbers { seq, refusal, hold, event }) = last {
        const SQL: &str = "UPDATE progress SET seq = ?1, refusal = ?2, hold = ?3, event = ?4";
        let numbers = [
            codec::signed("Accepted", seq.0)?,
            codec::signed("Refused", refusal)?,
            codec::signed("Held", hold)?,
            codec::signed("Reported", event)?,
        ];
        connection.prepare_cached(SQL)?.execute(numbers)?;
    }
    if let Some(anchor) = &batch.anchor {
        write_anchor(connection, anchor)?;
    }
    crash::at_records("written", &batch.records);
    Ok(())
}

fn write_anchor(connection: &Connection, anchor: &Anchor) -> Result<(), UnknownCause> {
    const SQL: &str = "UPDATE progress SET time = ?1, boot_id = ?2, since_boot = ?3, wall = ?4";
    let Anchor { time, boot_id, since_boot, wall } = anchor;
    connection.prepare_cached(SQL)?.execute(params![
        codec::time_in(*time),
        boot_id,
        codec::span_in(*since_boot),
        codec::time_in(*wall)
    ])?;
    Ok(())
}
