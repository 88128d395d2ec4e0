//! Keeps what must survive: one SQLite file, one thread that writes it, one durable transaction per batch.
//!
//! It decides nothing. The engine says what happened as [`Record`]s; the journal makes them durable in that order and
//! gives them back at the next start.
//!
//! # Invariants
//!
//! - When [`Journal::commit`] returns `Ok`, the whole batch survives `kill -9` and power loss (write-ahead log,
//!   `synchronous=FULL`). Only [`CommitError::Full`] says that nothing of it happened; after any other error nobody
//!   knows, so the writer refuses all further work and the process has to start again from what the disk says.
//! - One process per journal: a lock on `<path>.lock`, held for as long as the write connection lives.
//! - No index with a random key. Tables grow at their end, or nearly so, because random inserts are the whole cost
//!   of SQLite; the order of sending and deduplication live in the engine's memory. So a question by id is a scan, and
//!   it is bounded.
//! - Pruning happens in small slices between commits and never takes what a replay still needs.
//!
//! # What is checked at a start
//!
//! The SQLite version, whose file it is, the version of its schema, whether it ends before the one that was here, and
//! after an unclean stop the structure of every page, but only in files of up to [`QUICK_CHECK_BYTES_MAX`]: a bigger
//! file would keep its messages waiting for minutes to find what a crash cannot do, because frames of the write-ahead
//! log carry checksums. [`check`] does it for a file of any size, and a replay reads every live row anyway and refuses
//! what it cannot read.

mod error;
mod mark;
mod open;
mod schema;

mod append;
mod checkpoint;
mod codec;
mod poison;
mod prefill;
mod prune;
mod writer;

mod audit;
mod effects;
mod list;
mod lookup;
mod query;
mod replay;
mod reports;
mod space;
mod story;

#[cfg(test)]
mod tests;

pub use audit::{Audit, AuditLimits, Violation};
pub use effects::{Effects, Ledger};
pub use error::{CommitError, OpenError, ReadError, UnknownCause};
pub use open::{QUICK_CHECK_BYTES_MAX, check};
pub use poison::Suspect;
pub use prune::Pruned;
pub use query::{Attempt, Found, Reader, Row};
pub use space::Space;
pub use story::{Arrival, Made, Story};

use crate::model::{LastNumbers, Message, Outcome, Record, ReportedEvent, Seq, Time};
use checkpoint::Checkpoints;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use writer::Request;

/// Batches that may wait for the writer. The loop waits for each commit, so this is room for a prune and a close.
const REQUESTS_MAX: usize = 4;

/// Where the journal is and how long it keeps things.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The database file; its directory is created with mode 0700.
    pub path: PathBuf,
    /// How long outcomes, attempts, commands and ended holds are kept. Attempts never less than the hour of a limit.
    pub retention: Duration,
    /// How long the body of a finished message is kept.
    pub body_retention: Duration,
    /// How long after its final state a message is replayed, so that the engine knows its repeats.
    pub dedup_window: Duration,
    /// Free space of the file system below which [`Committed::low_space`] is set.
    pub low_space_bytes: u64,
}

/// Where time stood: saved with commits, so that a restart knows how much time passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The engine's time.
    pub time: Time,
    /// Which boot of the machine `since_boot` belongs to.
    pub boot_id: String,
    /// The reading of `CLOCK_BOOTTIME` at `time`.
    pub since_boot: Duration,
    /// The reading of the wall clock at `time`, which neither follows that clock when it is set nor counts a sleep.
    pub wall: Time,
}

/// What one commit makes durable. An empty batch writes nothing and only looks at the free space.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub records: Vec<Record>,
    /// Messages whose bodies are wanted back, once the records are durable.
    pub load: Vec<Seq>,
    /// Messages that are wanted back without their bodies, with how they ended.
    pub load_answers: Vec<Seq>,
    /// Events of callbacks that are wanted back.
    pub load_events: Vec<u64>,
    pub anchor: Option<Anchor>,
}

/// A message without its body, and how it ended, if it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    pub message: Message,
    pub outcome: Option<Outcome>,
}

/// What a durable commit gives back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The messages that `load` asked for, in that order, with bodies. One whose body was erased is left out.
    pub messages: Vec<Message>,
    /// What `load_answers` asked for, in that order; what is not there any more is left out.
    pub answers: Vec<Answered>,
    /// What `load_events` asked for, in that order; what is not there any more is left out.
    pub events: Vec<ReportedEvent>,
    /// Whether the file system has less room than `low_space_bytes`; once it had, whether less than an eighth more.
    pub low_space: bool,
    /// The room of the file system, in bytes.
    pub free_bytes: u64,
}

/// The open journal. Dropping it waits for the batch being written and closes the file.
#[derive(Debug)]
pub struct Journal {
    settings: Settings,
    anchor: Option<Anchor>,
    last_numbers: LastNumbers,
    was_clean: bool,
    suspects: BTreeMap<Suspect, u32>,
    /// `None` only while it is being dropped.
    requests: Option<mpsc::Sender<Request>>,
    writer: Option<JoinHandle<()>>,
}

impl Journal {
    /// Opens the journal, or makes a new one where there is none, and starts the writer.
    ///
    /// # Errors
    /// [`OpenError`] names what is wrong. No file is changed or removed when a journal is refused.
    pub fn open(settings: Settings) -> Result<Self, OpenError> {
        let opened = open::open(&settings.path)?;
        let checkpoints = Checkpoints::start(opened.checkpoints).map_err(|error| OpenError::Thread { error })?;
        let (requests, inbox) = mpsc::channel(REQUESTS_MAX);
        let store =
            writer::Store::new(opened.connection, checkpoints, opened.lock, settings.clone(), opened.last_numbers);
        let writer = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || writer::run(store, inbox))
            .map_err(|error| OpenError::Thread { error })?;
        Ok(Self {
            settings,
            anchor: opened.anchor,
            last_numbers: opened.last_numbers,
            was_clean: opened.was_clean,
            suspects: opened.suspects,
            requests: Some(requests),
            writer: Some(writer),
        })
    }

    /// Where time stood at the last commit of the run before, if there was one.
    pub fn anchor(&self) -> Option<Anchor> {
        self.anchor.clone()
    }

    /// The highest numbers used before this run.
    pub fn last_numbers(&self) -> LastNumbers {
        self.last_numbers
    }

    /// Whether the run before closed the journal. True for a new one.
    pub fn was_clean(&self) -> bool {
        self.was_clean
    }

    /// What was being handled when this version of the program had to end, and how often that was.
    pub fn suspects(&self) -> &BTreeMap<Suspect, u32> {
        &self.suspects
    }

    /// Names what was being handled when the process had to end, once more.
    ///
    /// # Errors
    /// As for [`Journal::commit`].
    pub async fn accuse(&self, suspect: Suspect, at: Time) -> Result<(), CommitError> {
        self.ask(|reply| Request::Accuse { suspect, at, reply }).await
    }

    /// Hands over what the engine has to know again, on this thread, one record at a time:
    ///
    /// 1. every `Located`, `Presence` and `CooledDown`, every `Held` and `Blocked` that was not released, every
    ///    `LimitSet` that is in force;
    /// 2. `Spent` for each attempt of the last 3,601 s whose message is not live; one without an end counts as
    ///    ended at `now`;
    /// 3. per live message in ascending `seq`: `Accepted` (with an empty body and the right `body_bytes`), its
    ///    `Attempted` and `Ended` in order, then `Finished` and `Answered` where it is so;
    /// 4. `Refused` of every refusal not yet answered, and `Commanded` of the last
    ///    [`TRANSACTION_WINDOW`](crate::model::TRANSACTION_WINDOW);
    /// 5. `Reported` without events of every callback of the dedup window, or of
    ///    [`CALLBACK_WINDOW`](crate::model::CALLBACK_WINDOW) if that is longer, and `EventOpen` of every event that was
    ///    not published.
    ///
    /// A message is live until it is final, answered, and known for `dedup_window`: since its end, or since an answer
    /// that came late. A `Readdressed` is never replayed: its address is in the `Accepted`, and an answer due `again`
    /// is a `Finished` without `Answered`.
    ///
    /// # Errors
    /// [`ReadError`] when the file cannot be read or holds what this version does not understand. The records handed
    /// over until then are of no use.
    pub fn replay(&self, now: Time, sink: impl FnMut(Record)) -> Result<(), ReadError> {
        replay::replay(&self.settings, now, sink)
    }

    /// Makes a batch durable in one transaction, its records applied in order.
    ///
    /// # Errors
    /// [`CommitError::Full`]: there is no room, nothing of the batch happened, the journal is usable.
    /// [`CommitError::Unknown`]: it may or may not have happened, or a record contradicts what is on disk; the caller
    /// has to stop the process.
    pub async fn commit(&self, batch: impl Into<Arc<Batch>>) -> Result<Committed, CommitError> {
        let batch = batch.into();
        self.ask(|reply| Request::Commit { batch, reply }).await
    }

    /// Adds `nanos` to every time that an age is reckoned from, and notes where time stands now, in one transaction.
    /// Moments that publishers and operators named stay what they are.
    ///
    /// # Errors
    /// As for [`Journal::commit`].
    pub async fn shift_times(&self, nanos: i128, anchor: Anchor) -> Result<(), CommitError> {
        let nanos = nanos.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
        self.ask(|reply| Request::ShiftTimes { nanos, anchor, reply }).await
    }

    /// Starts a pass that erases bodies and prunes what is over, in slices between commits. Does nothing while a pass
    /// is running. When a pass fails for another reason than lack of room, the next commit fails.
    pub fn start_pruning(&self, now: Time) {
        if let Some(requests) = &self.requests {
            // A full channel means that the writer is busy: the next call comes soon enough.
            let _ = requests.try_send(Request::Prune { now, reply: None });
        }
    }

    /// Like [`Journal::start_pruning`], and returns at the end of the pass.
    ///
    /// # Errors
    /// As for [`Journal::commit`].
    pub async fn prune(&self, now: Time) -> Result<Pruned, CommitError> {
        self.ask(|reply| Request::Prune { now, reply: Some(reply) }).await
    }

    /// A second, read-only connection, for questions. It blocks: use it on a thread that may.
    ///
    /// # Errors
    /// [`ReadError`] when it cannot be opened.
    pub fn reader(&self) -> Result<Reader, ReadError> {
        Reader::open(&self.settings.path)
    }

    /// Writes the log back into the database, marks the journal as cleanly closed, and closes it.
    ///
    /// # Errors
    /// [`CommitError`] when that cannot be written; the file is then as after a crash.
    pub async fn close(self) -> Result<(), CommitError> {
        self.ask(|reply| Request::Close { reply }).await
    }

    #[cfg(test)]
    pub(crate) fn page_limiter(&self) -> impl Fn(i64) + Send + use<> {
        // Weak, because the writer ends with the last of those who may ask it.
        let requests = self.requests.as_ref().expect("it is open").downgrade();
        move |pages| {
            let requests = requests.upgrade().expect("it is open");
            requests.try_send(Request::LimitPages { pages }).expect("room");
        }
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, CommitError>>) -> Request,
    ) -> Result<T, CommitError> {
        let stopped = CommitError::Unknown(UnknownCause::Stopped);
        let Some(requests) = &self.requests else { return Err(stopped) };
        let (reply, answer) = oneshot::channel();
        if requests.send(request(reply)).await.is_err() {
            return Err(stopped);
        }
        answer.await.unwrap_or(Err(stopped))
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has said so already, and its callers were told that it stopped.
            let _ = writer.join();
        }
    }
}
