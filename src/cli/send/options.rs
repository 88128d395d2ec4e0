//! The flags of `sendbridge send`.

use crate::cli::broker::BrokerOptions;
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(flatten)]
    pub broker: BrokerOptions,
    #[command(flatten)]
    pub topics: TopicOptions,
    #[command(flatten)]
    pub message: MessageOptions,
    #[command(flatten)]
    pub list: ListOptions,
    /// How long to wait: for the answer to one message; with --file for any sign of life of broker and bridge.
    #[arg(long, value_name = "DURATION", value_parser = span, help_heading = "Waiting")]
    pub wait: Option<Duration>,
}

/// Where messages go, and where their answers come from.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Topics")]
pub struct TopicOptions {
    /// Messages go to SendMessage/<suffix>, answers come to SendMessageResp/<suffix>. With --file it is part of what
    /// makes a second run a repeat, so it must stay the same.
    #[arg(long, value_name = "NAME")]
    pub suffix: Option<String>,
    /// Where the bridge listens; the suffix goes after it.
    #[arg(long, value_name = "TOPIC", default_value = "SendMessage")]
    pub send_topic: String,
    /// Where the bridge answers.
    #[arg(long, value_name = "TOPIC", default_value = "SendMessageResp")]
    pub answer_topic: String,
}

/// One message; with --file what its rows leave open.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Message")]
pub struct MessageOptions {
    /// The WeCom account that sends (wxId).
    #[arg(long, value_name = "WXID")]
    pub account: Option<String>,
    /// The conversation (conversationId).
    #[arg(long, value_name = "CONVERSATION")]
    pub to: Option<String>,
    /// The text (content).
    #[arg(long, value_name = "TEXT")]
    pub text: Option<String>,
    /// The type of message; text if nothing says otherwise.
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<String>,
    /// Any field: key=text, or key:=JSON for numbers, true, false, lists and objects.
    #[arg(long, value_name = "KEY=VALUE")]
    pub field: Vec<String>,
    /// The id; a new random one if it is left out. Sent again with the same id, a message is not sent twice.
    #[arg(long, value_name = "ID", conflicts_with = "file")]
    pub id: Option<String>,
    /// 0 to 9, 9 first.
    #[arg(long, value_name = "0-9")]
    pub priority: Option<String>,
    /// How long it is worth sending: 90s, 24h.
    #[arg(long, value_name = "DURATION")]
    pub ttl: Option<String>,
    /// Not before this moment (RFC 3339).
    #[arg(long, value_name = "TIME")]
    pub not_before: Option<String>,
    /// When nobody knows whether it was sent: report, resend or hold.
    #[arg(long, value_name = "WHAT")]
    pub on_doubt: Option<String>,
    #[arg(long, value_name = "TAG")]
    pub tag: Option<String>,
    /// A JSON object that gives what flags and rows do not. {{column}} inside its strings is the row's text; a whole
    /// string "{{=column}}" is the row's JSON.
    #[arg(long, value_name = "FILE")]
    pub template: Option<PathBuf>,
    /// A type that this bridge is configured for beyond the built-in ones.
    #[arg(long, value_name = "TYPE")]
    pub allow_type: Vec<String>,
    /// The bridge's messages.max_message, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 256 * 1024)]
    pub max_message: usize,
}

/// Many messages.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Many messages")]
pub struct ListOptions {
    /// A list of messages: CSV with a line of names first, or JSONL (also .ndjson) with one object a line.
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// What became of each row; the list's name and .results.csv if it is left out. Beside it lies FILE.state, with
    /// which an interrupted run goes on.
    #[arg(long, value_name = "FILE", requires = "file")]
    pub results: Option<PathBuf>,
    /// Put a column into another field: column=field, column=field:= for JSON, column= to leave it out.
    #[arg(long, value_name = "COLUMN=FIELD", requires = "file")]
    pub map: Vec<String>,
    /// What separates the columns of a CSV: one character, or tab.
    #[arg(long, value_name = "CHARACTER", default_value = ",")]
    pub delimiter: String,
    /// Only check every row, and publish nothing.
    #[arg(long, requires = "file")]
    pub check: bool,
    /// Send the good rows although some cannot be sent.
    #[arg(long, requires = "file")]
    pub skip_invalid: bool,
    /// Go on with an interrupted run, and nothing else. Without it a run goes on by itself, or begins.
    #[arg(long, requires = "file")]
    pub resume: bool,
    /// Publish again even what may have been sent, where the bridge can no longer tell.
    #[arg(long, requires = "file")]
    pub force: bool,
    /// Messages published and not answered yet, at most.
    #[arg(long, value_name = "MESSAGES", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub window: u32,
    /// The bridge's messages.dedup_window: within it publishing again is safe.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = span)]
    pub dedup_window: Duration,
}

fn span(text: &str) -> Result<Duration, humantime::DurationError> {
    humantime::parse_duration(text)
}
