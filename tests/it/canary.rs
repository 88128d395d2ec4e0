//! Secrets and texts that every world of the tests is fed, and everything that a bridge gives away, kept to be searched.
//!
//! A canary is a text that occurs nowhere else. Where one turns up tells what leaked. What is kept lies below the
//! target directory, one file for each way out and each test process; `search` looks through all of it at the end of
//! a whole run, see `tests/run`.

mod search;

use aho_corasick::AhoCorasick;
use serde_json::json;
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex, PoisonError};

/// The key for the sender's API.
pub const API_KEY: &str = "canary-api-key-7f3a";
/// The broker's password.
pub const PASSWORD: &str = "canary-password-7f3a";
/// Ends the path of every callback.
pub const PATH_SECRET: &str = "canary-0123456789-path";
/// Signs Yunxin's callbacks.
pub const APP_SECRET: &str = "canary-app-secret";
/// Signs WeCom's callbacks. It and the next are those of WeCom's own sample, so they cannot be chosen.
pub const TOKEN: &str = "QDG6eK";
/// Encrypts WeCom's callbacks.
pub const AES_KEY: &str = "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C";
/// In every message that is sent.
pub const TEXT: &str = "canary-sent-7f3a";
/// In every callback.
pub const HEARD: &str = "canary-heard-4711";
/// In what goes with calls of the sender's API.
pub const CALLED: &str = "canary-called-7f3a";
/// In what the sender answers: it may repeat the message.
pub const WORDS: &str = "canary-words-7f3a";
/// The conversation of every message: to whom it is.
pub const RECIPIENT: &str = "S:1_canary-recipient";
/// What a publisher calls its message by.
pub const TAG: &str = "canary-tag-7f3a";
/// Why an operator ordered something.
pub const REASON: &str = "canary-reason-7f3a";
/// Who ordered it.
pub const BY: &str = "canary-by-7f3a";
/// By what an order is known to whoever gave it.
pub const TRANSACTION: &str = "canary-transaction-7f3a";
/// In the topic to which an answer is asked for, one that is allowed.
pub const REPLY: &str = "canary-reply-7f3a";
/// What goes along with that answer.
pub const CORRELATION: &str = "canary-correlation-7f3a";
/// An account.
pub const ACCOUNT: &str = "canary-account";

/// What a canary stands for, which decides where it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// Nowhere.
    Secret,
    /// On the topics of what callbacks report, which may be of messages that were sent. Nowhere else: a publisher knows
    /// what it has sent.
    Said,
    /// In the reply of the call.
    Called,
    /// In answers, replies and events, which tell why.
    Words,
    /// On topics, and not in what counts or warns.
    Recipient,
    /// The same: what people write beside a message or an order, for those who read of it there.
    Note,
    /// In no words at all: it says where words go.
    Route,
    /// Everywhere but in metrics and health checks.
    Account,
}

const CANARIES: [(&str, Class); 18] = [
    (API_KEY, Class::Secret),
    (PASSWORD, Class::Secret),
    (PATH_SECRET, Class::Secret),
    (APP_SECRET, Class::Secret),
    (TOKEN, Class::Secret),
    (AES_KEY, Class::Secret),
    (TEXT, Class::Said),
    (HEARD, Class::Said),
    (CALLED, Class::Called),
    (WORDS, Class::Words),
    (RECIPIENT, Class::Recipient),
    (TAG, Class::Note),
    (REASON, Class::Note),
    (BY, Class::Note),
    (TRANSACTION, Class::Note),
    (REPLY, Class::Route),
    (CORRELATION, Class::Route),
    (ACCOUNT, Class::Account),
];

/// A way out of a bridge, and the file it is kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Standard output and standard error, panics included.
    Log,
    /// Answers of its HTTP server, with their heads.
    Http,
    /// Its command line and its environment, as others on the machine see them.
    Process,
    /// What it publishes.
    Topic,
}

const WAYS: [Way; 4] = [Way::Log, Way::Http, Way::Process, Way::Topic];

impl Way {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Http => "http",
            Self::Process => "process",
            Self::Topic => "topic",
        }
    }
}

/// Where everything is kept.
fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("heard")
}

/// What this process keeps.
struct Kept {
    ways: [File; WAYS.len()],
    fed: Mutex<(File, BTreeSet<usize>)>,
}

static KEPT: LazyLock<Kept> = LazyLock::new(|| {
    let folder = folder();
    std::fs::create_dir_all(&folder).expect("a folder");
    let open = |kind: &str| {
        let path = folder.join(format!("{}.{kind}", std::process::id()));
        OpenOptions::new().create(true).append(true).open(path).expect("a file")
    };
    Kept { ways: WAYS.map(|way| open(way.as_str())), fed: Mutex::new((open("fed"), BTreeSet::new())) }
});

static IN_THE_CLEAR: LazyLock<AhoCorasick> =
    LazyLock::new(|| AhoCorasick::new(CANARIES.iter().map(|(canary, _)| canary)).expect("few and short"));

/// Keeps what came out of a bridge. `topic` is empty where there is none.
pub fn keep(way: Way, topic: &str, said: &[u8]) {
    let line = json!({ "topic": topic, "said": String::from_utf8_lossy(said) }).to_string() + "\n";
    // One write, so that those of other threads come before or after it.
    (&KEPT.ways[way as usize]).write_all(line.as_bytes()).expect("it is kept");
}

/// Notes which canaries are in something that a bridge is given.
pub fn feed(given: &[u8]) {
    let mut fed = KEPT.fed.lock().unwrap_or_else(PoisonError::into_inner);
    let (file, known) = &mut *fed;
    if known.len() == CANARIES.len() {
        return;
    }
    for found in IN_THE_CLEAR.find_overlapping_iter(given) {
        let index = found.pattern().as_usize();
        if known.insert(index) {
            writeln!(file, "{}", CANARIES[index].0).expect("it is noted");
        }
    }
}

/// Keeps what everybody on the machine can see of a process.
pub fn keep_process(id: u32) {
    for name in ["cmdline", "environ"] {
        match std::fs::read(format!("/proc/{id}/{name}")) {
            Ok(said) => keep(Way::Process, name, &said),
            // It belongs to root once the process has forbidden to be looked into.
            Err(error) => keep(Way::Process, name, error.to_string().as_bytes()),
        }
    }
}
