//! `sendbridge send`: publishes one message, or a list of them, and tells what became of each.
//!
//! ```text
//!  flags, template, rows --compose--> payloads --the bridge's own parser--> plan
//!                                                                            |
//!  state (noted before)  <---- dispatch: accounts in turn, a bounded window <'
//!                                  |                     ^
//!                          SendMessage/<suffix>   SendMessageResp/<suffix>
//!                                  v                     |
//!                             the bridge              answers --> results (before they are acknowledged)
//! ```
//!
//! The suffix and the ids of a list are made of its content, so a second run is a repeat for the bridge.

mod options;

mod json;

mod table;

mod template;

mod compose;

mod plan;

mod list;

mod state;

mod results;

mod dispatch;

mod delivery;

mod settle;

mod forecast;

mod progress;

mod single;

#[cfg(test)]
mod tests;

pub use options::{ListOptions, MessageOptions, Options, TopicOptions};

use super::broker::FileError;
use super::print_error;
use super::stop::StopSignals;
use crate::clock;
use crate::intake;
use crate::mqtt;
use crate::mqtt::topics::{TopicError, Topics};
use compose::Recipe;
use plan::Planner;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Something was answered, and not with "sent".
const EXIT_NOT_SENT: u8 = 1;
/// The flags, the template or the names of columns are wrong.
const EXIT_USAGE: u8 = 2;
/// A message that the bridge would refuse.
const EXIT_DATA: u8 = 65;
/// No broker, or one that does not let us.
const EXIT_UNAVAILABLE: u8 = 69;
/// A file cannot be read or written.
const EXIT_FILE: u8 = 74;
/// No answer yet; the same command again goes on.
const EXIT_TEMPORARY: u8 = 75;
const EXIT_INTERRUPTED: u8 = 130;

const WAIT_ONE: Duration = Duration::from_secs(30);
/// The broker keeps answers for so long while we are away.
const SESSION_EXPIRY: Duration = Duration::from_secs(600);
/// The suffix of single messages: with `--id` a second run must be a repeat.
const SUFFIX_ONE: &str = "cli";

/// Why nothing could be published.
#[derive(Debug)]
enum SendError {
    Topics(Vec<TopicError>),
    Suffix { suffix: String },
    Tls(mqtt::TlsError),
    Broker(FileError),
    Signals(io::Error),
    File { path: PathBuf, error: io::Error },
    NotText { path: PathBuf },
    Compose(compose::ComposeError),
    Delimiter { text: String },
    List(table::Flaw),
    State(state::StateError),
    NothingToResume { path: PathBuf },
    Delivery(delivery::DeliveryError),
}

impl SendError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Topics(_)
            | Self::Suffix { .. }
            | Self::Tls(_)
            | Self::Compose(_)
            | Self::Delimiter { .. }
            | Self::NothingToResume { .. } => EXIT_USAGE,
            Self::List(_) | Self::NotText { .. } => EXIT_DATA,
            Self::State(state::StateError::Locked { .. }) => EXIT_TEMPORARY,
            Self::State(_) | Self::Signals(_) | Self::Broker(_) | Self::File { .. } | Self::Delivery(_) => EXIT_FILE,
        }
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topics(errors) => {
                let errors: Vec<String> =
                    errors.iter().map(|error| format!("{:?} {}", error.text, error.why)).collect();
                write!(f, "--send-topic, --answer-topic, --base: {}", errors.join("; "))
            }
            Self::Suffix { suffix } => {
                write!(f, "--suffix {suffix:?} must be one level of a topic: leave out /, + and #")
            }
            Self::Tls(error) => error.fmt(f),
            Self::Broker(error) => error.fmt(f),
            Self::Signals(error) => write!(f, "signals cannot be listened to: {error}"),
            Self::File { path, error } => write!(f, "{}: {error}", path.display()),
            Self::NotText { path } => write!(f, "{}: not UTF-8", path.display()),
            Self::Compose(error) => error.fmt(f),
            Self::Delimiter { text } => write!(f, "--delimiter {text:?} must be one ASCII character, or tab"),
            Self::List(flaw) => flaw.fmt(f),
            Self::State(error) => error.fmt(f),
            Self::NothingToResume { path } => write!(f, "{}: there is no run to go on with", path.display()),
            Self::Delivery(error) => write!(f, "{error}; the same command goes on once that is removed"),
        }
    }
}

/// Sends what the flags say, and returns the exit code.
pub async fn run(options: Options) -> ExitCode {
    let sent = match &options.list.file {
        Some(file) => list::send(&options, file).await,
        None => send_one(&options).await,
    };
    match sent {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            print_error(&format!("sendbridge send: {error}\n"));
            ExitCode::from(error.exit_code())
        }
    }
}

async fn send_one(options: &Options) -> Result<u8, SendError> {
    let suffix = options.topics.suffix.as_deref().unwrap_or(SUFFIX_ONE);
    let (topics, send_topic) = topics(options, suffix)?;
    let template = options.message.template.as_deref().map(read_text).transpose()?;
    let recipe = Recipe::new(&options.message, template.as_deref(), &[], Vec::new()).map_err(SendError::Compose)?;
    let mut members = recipe.compose(None).map_err(SendError::Compose)?;
    if members.get("id").is_none() {
        members.set("id", json::quote(&clock::random_uuid().to_string()));
    }
    let intake = intake_settings(&options.message, &topics);
    let planner = Planner { recipe: &recipe, intake: &intake, suffix, file_name: "" };
    let item = match planner.check(0, &members) {
        Ok(item) => item,
        Err(refusal) => {
            print_error(&format!("sendbridge send: {refusal}\n"));
            return Ok(EXIT_DATA);
        }
    };
    let mut stop = StopSignals::listen().map_err(SendError::Signals)?;
    let client_id = format!("send-{}", clock::random_uuid());
    let mqtt = mqtt_settings(options, client_id, Duration::ZERO)?;
    let answer_topic = topics.answer(Some(suffix));
    let client = super::client::Client::connect(&mqtt, vec![answer_topic.clone()]).map_err(SendError::Tls)?;
    let wait = options.wait.unwrap_or(WAIT_ONE);
    Ok(single::send(client, &send_topic, &answer_topic, &item, wait, &mut stop).await)
}

/// All topics, and the one to send on.
fn topics(options: &Options, suffix: &str) -> Result<(Arc<Topics>, String), SendError> {
    let TopicOptions { send_topic, answer_topic, .. } = &options.topics;
    let send = [format!("{send_topic}/+")];
    let topics = Topics::new(&send, answer_topic, &options.broker.base, &[]).map_err(SendError::Topics)?;
    let send_topic = topics.send_to(suffix).ok_or_else(|| SendError::Suffix { suffix: suffix.to_owned() })?;
    Ok((Arc::new(topics), send_topic))
}

fn intake_settings(options: &MessageOptions, topics: &Arc<Topics>) -> intake::Settings {
    intake::Settings {
        max_message: options.max_message,
        extra_types: options.allow_type.iter().map(|kind| Arc::from(kind.as_str())).collect(),
        topics: Arc::clone(topics),
    }
}

fn mqtt_settings(options: &Options, client_id: String, session_expiry: Duration) -> Result<mqtt::Settings, SendError> {
    let settings = options.broker.settings(client_id).map_err(SendError::Broker)?;
    Ok(mqtt::Settings { session_expiry, retry_delay_max: Duration::from_secs(5), ..settings })
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, SendError> {
    std::fs::read(path).map_err(|error| SendError::File { path: path.to_owned(), error })
}

fn read_text(path: &Path) -> Result<String, SendError> {
    String::from_utf8(read_bytes(path)?).map_err(|_| SendError::NotText { path: path.to_owned() })
}
