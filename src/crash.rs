//! Named points between two durable steps, at which a test build can be told to die.
//!
//! `SENDBRIDGE_CRASH_AT=written:accepted` ends the process where a message is written and not yet committed, the first
//! time it gets there: nothing is unwound, flushed or closed, as with SIGKILL. With `SENDBRIDGE_PANIC_AT` the task or
//! the thread that gets there panics instead, and the program does what it does about any panic. A release build has no
//! such points.

use crate::model::{Action, Outgoing, Record};
use std::sync::OnceLock;

/// What names the point at which the process dies.
pub const CRASH_AT: &str = "SENDBRIDGE_CRASH_AT";

/// What names the point at which a part of it panics.
pub const PANIC_AT: &str = "SENDBRIDGE_PANIC_AT";

/// Gives each of these variants its name, and lists the names: none can have one and be missing from the list. The
/// others have none, and are written down too, so that a new variant does not compile before somebody has decided.
macro_rules! names {
    ($(#[$about:meta])* $names:ident, $(#[$about_one:meta])* $visible:vis fn $name_of:ident($of:ident) {
        $($pattern:pat => $name:literal,)*
    } without { $without:pat }) => {
        $(#[$about])*
        const $names: &[&str] = &[$($name),*];

        $(#[$about_one])*
        $visible fn $name_of(named: &$of) -> Option<&'static str> {
            match named {
                $($pattern => Some($name),)*
                $without => None,
            }
        }
    };
}

names! {
    /// Records that a turn can write. What is only replayed is none of them.
    RECORDS,
    fn name_of_record(Record) {
        Record::Accepted(_) => "accepted",
        Record::Refused { .. } => "refused",
        Record::Attempted { .. } => "attempted",
        Record::Ended { .. } => "ended",
        Record::Finished { .. } => "finished",
        Record::Readdressed { .. } => "readdressed",
        Record::Answered { .. } => "answered",
        Record::RefusalAnswered { .. } => "refusal_answered",
        Record::Held(_) => "held",
        Record::Released { .. } => "released",
        Record::Blocked(_) => "blocked",
        Record::Unblocked { .. } => "unblocked",
        Record::LimitSet(_) => "limit_set",
        Record::Located { .. } => "located",
        Record::Commanded { .. } => "commanded",
        Record::Reported { .. } => "reported",
        Record::EventPublished { .. } => "event_published",
        Record::Receipt { .. } => "receipt",
        Record::Proven { .. } => "proven",
        Record::Presence { .. } => "presence",
        Record::CooledDown { .. } => "cooled_down",
    } without {
        Record::EventOpen { .. } | Record::Spent { .. }
    }
}

names! {
    /// What leaves after a commit: it must be able to leave again after a crash, or, as a call, be known to have left.
    ACTIONS,
    /// The name of such an action, where it has one.
    pub fn name_of_action(Action) {
        Action::Acknowledge(_) => "acknowledge",
        Action::Send { .. } => "send",
        Action::Publish(Outgoing::Answer(_)) => "answer",
        Action::Publish(Outgoing::Refusal(_)) => "refusal",
        Action::Publish(Outgoing::Event(_)) => "event",
        Action::Reply(_) => "reply",
        Action::CallbackTaken(_) => "callback_taken",
        Action::Call(_) => "call",
    } without {
        Action::CallbackRefused(_)
            | Action::Event(_)
            | Action::Lookup(_)
            | Action::Holds(..)
            | Action::Status(_)
            | Action::LogLevel(_)
            | Action::Alarm(_)
            | Action::RefreshDirectory { .. }
            | Action::Intake { .. }
    }
}

/// Points with a place of their own.
const PLACES: [&str; 24] = [
    "folder_syncing",
    "folder_synced",
    "tables_written",
    "tables_durable",
    "upgrade_written",
    "upgrade_durable",
    "times_written",
    "times_durable",
    "restored",
    "message_received",
    "handled",
    "culprit_written",
    "culprit_durable",
    "request_begun",
    "request_ended",
    "acknowledged",
    "publish_confirmed",
    "callback_received",
    "prune_written",
    "prune_durable",
    "writing_back",
    "written_back",
    "closing",
    "closed",
];

/// The names of all points.
pub fn points() -> Vec<String> {
    let staged = |stages: [&str; 2], names: &[&str]| -> Vec<String> {
        names.iter().flat_map(|name| stages.map(|stage| format!("{stage}:{name}"))).collect()
    };
    let mut points = staged(["written", "durable"], RECORDS);
    points.extend(staged(["performing", "performed"], ACTIONS));
    points.extend(PLACES.map(str::to_owned));
    points
}

/// What a test wants of this process. Both may be named: what a panic leads to has points of its own.
#[derive(Default)]
struct Wanted {
    death: Option<String>,
    panic: Option<String>,
}

impl Wanted {
    fn is_nothing(&self) -> bool {
        self.death.is_none() && self.panic.is_none()
    }
}

/// # Panics
/// When there is no such point: a test that waits for it would wait for ever.
fn wanted() -> &'static Wanted {
    static WANTED: OnceLock<Wanted> = OnceLock::new();
    let read = |variable| {
        let point = std::env::var(variable).ok()?;
        assert!(points().contains(&point), "{variable}: there is no point {point:?}");
        Some(point)
    };
    WANTED.get_or_init(|| {
        if cfg!(debug_assertions) { Wanted { death: read(CRASH_AT), panic: read(PANIC_AT) } } else { Wanted::default() }
    })
}

/// Passes a point of [`PLACES`].
///
/// # Panics
/// Where a test wants it to.
pub fn at(place: &str) {
    if cfg!(debug_assertions) {
        let Wanted { death, panic } = wanted();
        assert!(panic.as_deref() != Some(place), "panic point {place}");
        if death.as_deref() == Some(place) {
            die(place);
        }
    }
}

/// Passes the point of a stage for each of these records.
pub fn at_records(stage: &str, records: &[Record]) {
    if !cfg!(debug_assertions) || wanted().is_nothing() {
        return;
    }
    for record in records {
        if let Some(name) = name_of_record(record) {
            at(&format!("{stage}:{name}"));
        }
    }
}

/// Passes the point of a stage for this action.
pub fn at_action(stage: &str, action: Option<&'static str>) {
    if cfg!(debug_assertions)
        && !wanted().is_nothing()
        && let Some(name) = action
    {
        at(&format!("{stage}:{name}"));
    }
}

fn die(point: &str) -> ! {
    eprintln!("crash point {point}");
    std::process::abort()
}
