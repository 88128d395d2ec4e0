//! The tables, for whoever opens the file with `sqlite3 'file:sendbridge.db?mode=ro'`.
//!
//! Times are nanoseconds since the Unix epoch, durations nanoseconds. A row of `message` is written once; what becomes
//! of it is in `attempt` and `outcome`, until pruning moves the three to one row of `history` (attempts stay). A
//! message
//! that a person had sent again is another one with the same id: `retry` says which one it continues.
//! The view `messages` puts it all together in words.

/// "SEND", so that `file` and SQLite tell this database from any other.
pub(super) const APPLICATION_ID: i64 = 0x5345_4e44;

/// The version of the tables below. Raised by every change that an older program could not read or keep.
pub(super) const VERSION: i64 = 5;

/// What must be set before the first table, for the life of the file.
pub(super) const BEFORE_TABLES: &str = "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;";

/// What the write connection needs.
///
/// 4 MB of cache hold the hot ends of all tables. `secure_delete` overwrites erased bodies, also in pages that are free
/// after it: `FAST` would leave those as they were. When the log is written back says
/// [`Checkpoints`](super::checkpoint::Checkpoints).
pub(super) const FOR_WRITER: &str = "PRAGMA synchronous = FULL; PRAGMA cache_size = -4000; \
     PRAGMA wal_autocheckpoint = 0; PRAGMA secure_delete = ON; PRAGMA temp_store = MEMORY; \
     PRAGMA foreign_keys = OFF;";

/// What the connection needs that writes the log back: the log is synced before and the database after it.
pub(super) const FOR_CHECKPOINTS: &str = "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0;";

/// What a read-only connection needs.
pub(super) const FOR_READER: &str = "PRAGMA query_only = ON; PRAGMA cache_size = -4000; PRAGMA temp_store = MEMORY;";

/// `n` is the `seq` of the new life. Kept as long as its outcome, because what may be said of it hangs on it.
const RETRY: &str = "
CREATE TABLE retry (
    n INTEGER PRIMARY KEY,
    at INTEGER NOT NULL, of INTEGER NOT NULL, possibly_duplicate INTEGER NOT NULL, in_doubt INTEGER NOT NULL
) STRICT;
";

/// A callback is kept for what it says about our messages and accounts, and so that its repeats are known; an event
/// only until the broker has it. `shown` is what a message shows in its chat, `proof` says which ends rest on a
/// callback.
const CALLBACKS: &str = "
ALTER TABLE progress ADD COLUMN event INTEGER NOT NULL DEFAULT 0;

CREATE TABLE callback (
    n INTEGER PRIMARY KEY,
    at INTEGER NOT NULL, key BLOB NOT NULL, sender TEXT, signals TEXT NOT NULL
) STRICT;

CREATE TABLE event (number INTEGER PRIMARY KEY, word TEXT NOT NULL, payload TEXT NOT NULL) STRICT;

ALTER TABLE message ADD COLUMN shown BLOB;
ALTER TABLE outcome ADD COLUMN receipt_at INTEGER;
ALTER TABLE outcome ADD COLUMN receipt_error INTEGER;
ALTER TABLE outcome ADD COLUMN receipt_text TEXT;
ALTER TABLE history ADD COLUMN receipt_at INTEGER;
ALTER TABLE history ADD COLUMN receipt_error INTEGER;
ALTER TABLE history ADD COLUMN receipt_text TEXT;

CREATE TABLE proof (n INTEGER PRIMARY KEY, at INTEGER NOT NULL, msg_id TEXT) STRICT;

CREATE TABLE presence (
    account TEXT PRIMARY KEY, at INTEGER NOT NULL, online INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE cool_down (
    account TEXT PRIMARY KEY, at INTEGER NOT NULL, until INTEGER NOT NULL, times INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

/// `known_from` is when the broker had an answer that was long in coming: a repeat is known for a while from then on.
/// `wall` is what the wall clock said at `time`.
const LATE_ANSWERS: &str = "
ALTER TABLE outcome ADD COLUMN known_from INTEGER;
ALTER TABLE progress ADD COLUMN wall INTEGER;
";

/// What version 1 had. A new file gets these, and then every step after them, so that it is like one that grew.
///
/// `progress` is written about once a second: its `seq` is behind meanwhile, and the largest one of `message` counts.
pub(super) const TABLES: &str = "
CREATE TABLE progress (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    time INTEGER, boot_id TEXT, since_boot INTEGER,
    seq INTEGER NOT NULL, refusal INTEGER NOT NULL, hold INTEGER NOT NULL,
    clean INTEGER NOT NULL
) STRICT;
INSERT INTO progress VALUES (1, NULL, NULL, NULL, 0, 0, 0, 1);

CREATE TABLE message (
    seq INTEGER PRIMARY KEY,
    received_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, not_before INTEGER,
    priority INTEGER NOT NULL, on_doubt TEXT NOT NULL,
    id TEXT NOT NULL, kind TEXT NOT NULL, account TEXT NOT NULL, conversation TEXT NOT NULL,
    suffix TEXT, reply_topic TEXT, reply_correlation BLOB, weak INTEGER NOT NULL, tag TEXT,
    asked_priority INTEGER, asked_not_before INTEGER, asked_lifetime INTEGER, asked_until INTEGER,
    asked_on_doubt TEXT,
    fingerprint BLOB NOT NULL, body_bytes INTEGER NOT NULL
) STRICT;

CREATE TABLE body (seq INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;

CREATE TABLE attempt (
    n INTEGER PRIMARY KEY,
    seq INTEGER NOT NULL, attempt INTEGER NOT NULL,
    account TEXT NOT NULL, corp TEXT NOT NULL, possibly_duplicate INTEGER NOT NULL,
    started_at INTEGER NOT NULL, ended_at INTEGER,
    class TEXT, why TEXT, detail TEXT, http INTEGER, code INTEGER, msg TEXT, msg_id TEXT, retry_after INTEGER
) STRICT;
CREATE INDEX attempt_of_message ON attempt (seq);

CREATE TABLE outcome (
    seq INTEGER PRIMARY KEY,
    answered INTEGER NOT NULL, state TEXT NOT NULL, at INTEGER NOT NULL, msg_id TEXT,
    attempts INTEGER NOT NULL, possibly_duplicate INTEGER NOT NULL,
    fault_code TEXT, fault_message TEXT, fault_field TEXT, sender_http INTEGER, sender_code INTEGER, sender_msg TEXT
) STRICT;

CREATE TABLE history (
    n INTEGER PRIMARY KEY,
    seq INTEGER NOT NULL, id TEXT NOT NULL, account TEXT NOT NULL, kind TEXT NOT NULL, tag TEXT,
    received_at INTEGER NOT NULL, state TEXT NOT NULL, at INTEGER NOT NULL, msg_id TEXT,
    attempts INTEGER NOT NULL, possibly_duplicate INTEGER NOT NULL,
    fault_code TEXT, fault_message TEXT, fault_field TEXT, sender_http INTEGER, sender_code INTEGER, sender_msg TEXT
) STRICT;

CREATE TABLE refusal (
    number INTEGER PRIMARY KEY,
    at INTEGER NOT NULL, id TEXT, account TEXT,
    suffix TEXT, reply_topic TEXT, reply_correlation BLOB, weak INTEGER NOT NULL,
    fault_code TEXT, fault_message TEXT, fault_field TEXT, sender_http INTEGER, sender_code INTEGER, sender_msg TEXT
) STRICT;

CREATE TABLE hold (
    id INTEGER PRIMARY KEY,
    scope TEXT NOT NULL, subject TEXT, conversation TEXT,
    reason TEXT NOT NULL, by TEXT, since INTEGER NOT NULL, until INTEGER,
    released_at INTEGER, released_by TEXT
) STRICT;

CREATE TABLE account (
    account TEXT PRIMARY KEY, corp TEXT NOT NULL, sender TEXT NOT NULL, at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE command (
    n INTEGER PRIMARY KEY,
    at INTEGER NOT NULL, name TEXT NOT NULL, reply_topic TEXT, reply_correlation BLOB,
    transaction_json TEXT, by TEXT, reply TEXT NOT NULL
) STRICT;

CREATE VIEW messages AS
SELECT m.seq, m.id, m.account, m.kind, m.tag,
    strftime('%Y-%m-%dT%H:%M:%fZ', m.received_at / 1e9, 'unixepoch') AS received,
    CASE
        WHEN o.seq IS NOT NULL THEN o.state
        WHEN a.n IS NULL THEN 'queued'
        WHEN a.ended_at IS NULL THEN 'sending'
        WHEN a.class = 'unknown' AND m.on_doubt <> 'resend' THEN 'in_doubt'
        ELSE 'queued'
    END AS state,
    strftime('%Y-%m-%dT%H:%M:%fZ', o.at / 1e9, 'unixepoch') AS finished,
    o.msg_id, o.fault_code, o.fault_message,
    coalesce(o.attempts, a.attempt, 0) AS attempts,
    coalesce(o.possibly_duplicate, a.possibly_duplicate, 0) AS possibly_duplicate,
    o.answered
FROM message m
LEFT JOIN outcome o ON o.seq = m.seq
LEFT JOIN attempt a ON a.n = (SELECT max(n) FROM attempt WHERE seq = m.seq)
UNION ALL
SELECT seq, id, account, kind, tag, strftime('%Y-%m-%dT%H:%M:%fZ', received_at / 1e9, 'unixepoch'), state,
    strftime('%Y-%m-%dT%H:%M:%fZ', at / 1e9, 'unixepoch'), msg_id, fault_code, fault_message,
    attempts, possibly_duplicate, 1
FROM history;
";

/// The steps from each version to the next, beginning with the one from 1 to 2.
pub(super) const STEPS: [&str; 4] = [
    "
CREATE TABLE block (
    id INTEGER PRIMARY KEY,
    message_id TEXT, account TEXT, conversation TEXT, corp TEXT, tag TEXT,
    reason TEXT, by TEXT, since INTEGER NOT NULL, until INTEGER NOT NULL,
    released_at INTEGER, released_by TEXT
) STRICT;

CREATE TABLE limit_override (
    scope TEXT NOT NULL, subject TEXT NOT NULL,
    interval INTEGER, per_hour INTEGER,
    by TEXT, since INTEGER NOT NULL, until INTEGER,
    PRIMARY KEY (scope, subject)
) STRICT, WITHOUT ROWID;

ALTER TABLE command ADD COLUMN fingerprint BLOB;
",
    RETRY,
    CALLBACKS,
    LATE_ANSWERS,
];

// Whoever adds a step raises the version.
const _: () = assert!(STEPS.len() as i64 + 1 == VERSION);
