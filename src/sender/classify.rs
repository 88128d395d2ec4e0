//! Says what one attempt has proven, and nothing else does.
//!
//! Pure. Two rules carry the whole table:
//! - A status that is proof by itself (401, 403, 429, a 503 that asks for another try, any other 4xx) needs no body.
//!   A body only adds the sender's own words, or moves the answer to another class by the configured lists.
//! - "It was done" needs a whole, readable answer that says so. Everything that is neither is unknown.

use crate::model::{Doubt, NotSent, Sender, Time, Verdict};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::error::Category;
use serde_json::value::RawValue;
use std::time::Duration;

/// The longest wait that a server can order with `Retry-After`; what asks for more gets this.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// The platform's code for "Abnormal request frequency".
const CODE_TOO_FREQUENT: i64 = -1_000_999;

/// What the API says, in the words its users have seen, when the account is not logged in there.
const OFFLINE_WORDS: [&str; 2] = ["账号不在线", "企微不在线"];

/// Longest `msgId` that is believed, in bytes; the documented ones have 36.
const MSG_ID_BYTES_MAX: usize = 256;

/// Longest part of the sender's words that is kept, in characters.
pub(super) const WORDS_CHARS_MAX: usize = 500;

/// What was seen of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed {
    /// No connection came about, so no byte of the request can have left.
    ConnectFailed { detail: Box<str> },
    /// The total time ran out before the head of an answer was there, whatever it was spent on.
    TimedOut,
    /// The connection broke, or what came over it was not HTTP, before the head of an answer was there.
    Broken { detail: Box<str> },
    /// The head of an answer came. `retry_after` is the header as it was written.
    Answer { status: u16, retry_after: Option<Bytes>, body: AnswerBody },
}

/// What came after the head of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnswerBody {
    Whole(Bytes),
    TooLarge,
    /// It broke off or did not come in time.
    Cut {
        why: Doubt,
        detail: Box<str>,
    },
}

/// What an operator can state about a server, beyond the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// This server's 503 without `Retry-After` means that nothing was done.
    pub busy_means_not_done: bool,
    /// Proven without effect, worth another attempt.
    pub temporary: Vec<Sign>,
    /// Proven without effect until the account is online. Beyond the two built-in words.
    pub offline: Vec<Sign>,
    /// Says nothing about the effect. Wins over the other lists, because it is the careful one.
    pub unknown: Vec<Sign>,
}

/// What an entry of such a list looks for in an answer whose `code` is not 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sign {
    Code(i64),
    /// A part of `msg`.
    Words(Box<str>),
}

impl Sign {
    /// Reads an entry as it is configured: a whole number is a code, all else is a part of `msg`.
    pub fn parse(entry: &str) -> Self {
        let entry = entry.trim();
        entry.parse().map_or_else(|_| Self::Words(Box::from(entry)), Self::Code)
    }

    pub(super) fn matches(&self, code: i64, msg: &str) -> bool {
        match self {
            Self::Code(listed) => *listed == code,
            Self::Words(words) => !words.is_empty() && msg.contains(&**words),
        }
    }
}

/// What the attempt that was `observed` has proven. `now` is for a `Retry-After` that is a date.
pub fn classify(observed: Observed, rules: &Rules, now: Time) -> Verdict {
    match observed {
        Observed::ConnectFailed { detail } => Verdict::NotSent { why: NotSent::Connect, detail },
        Observed::TimedOut => unknown(Doubt::Timeout, "no answer within the time-out"),
        Observed::Broken { detail } => Verdict::Unknown { why: Doubt::Reset, detail },
        Observed::Answer { status, retry_after, body } => {
            // One that cannot be read asks for another try all the same.
            let asks = retry_after.is_some();
            let retry_after = retry_after.and_then(|header| read_retry_after(&header, now));
            match status {
                503 if asks || rules.busy_means_not_done => not_sent(NotSent::Busy { retry_after }, "HTTP 503"),
                _ => classify_answer(status, retry_after, body, rules),
            }
        }
    }
}

fn classify_answer(status: u16, retry_after: Option<Duration>, body: AnswerBody, rules: &Rules) -> Verdict {
    match status {
        200..=299 => classify_success(status, retry_after, body, rules),
        401 | 403 => not_sent(NotSent::Unauthorized, format!("HTTP {status}")),
        429 => not_sent(NotSent::TooFrequent { retry_after }, "HTTP 429"),
        400..=499 => classify_refusal(status, retry_after, body, rules),
        _ => unknown(Doubt::Status(status), format!("HTTP {status}")),
    }
}

fn classify_success(status: u16, retry_after: Option<Duration>, body: AnswerBody, rules: &Rules) -> Verdict {
    let body = match body {
        AnswerBody::Whole(body) => body,
        AnswerBody::TooLarge => return unknown(Doubt::Unreadable, "the answer is too large"),
        AnswerBody::Cut { why, detail } => return Verdict::Unknown { why, detail },
    };
    match serde_json::from_slice::<ApiAnswer<'_>>(&body) {
        Ok(ApiAnswer { code: 0, data, .. }) => Verdict::Confirmed { msg_id: data.and_then(read_msg_id) },
        Ok(answer) => classify_code(status, answer.code, answer.words(), retry_after, rules),
        Err(error) => unknown(Doubt::Unreadable, format!("the answer is not the API's: {}", describe(&error))),
    }
}

/// A 4xx: the status has said that nothing was done; a readable body may say more.
fn classify_refusal(status: u16, retry_after: Option<Duration>, body: AnswerBody, rules: &Rules) -> Verdict {
    let body = match body {
        AnswerBody::Whole(body) => body,
        AnswerBody::TooLarge | AnswerBody::Cut { .. } => Bytes::new(),
    };
    match serde_json::from_slice::<ApiAnswer<'_>>(&body) {
        Ok(answer) if answer.code != 0 => classify_code(status, answer.code, answer.words(), retry_after, rules),
        Ok(_) | Err(_) => {
            let msg = std::str::from_utf8(&body).map(shorten).unwrap_or_default();
            Verdict::Refused { sender: Sender { http: status, code: None, msg } }
        }
    }
}

fn classify_code(http: u16, code: i64, msg: Box<str>, retry_after: Option<Duration>, rules: &Rules) -> Verdict {
    let listed = |signs: &[Sign]| signs.iter().any(|sign| sign.matches(code, &msg));
    let detail = || format!("code {code}: {msg}");
    if listed(&rules.unknown) {
        return unknown(Doubt::Code(code), detail());
    }
    if listed(&rules.offline) {
        return not_sent(NotSent::Offline, detail());
    }
    if listed(&rules.temporary) {
        return not_sent(NotSent::Temporary { retry_after }, detail());
    }
    if code == CODE_TOO_FREQUENT {
        return not_sent(NotSent::TooFrequent { retry_after }, detail());
    }
    if OFFLINE_WORDS.iter().any(|words| msg.contains(words)) {
        return not_sent(NotSent::Offline, detail());
    }
    Verdict::Refused { sender: Sender { http, code: Some(code), msg } }
}

fn not_sent(why: NotSent, detail: impl Into<Box<str>>) -> Verdict {
    Verdict::NotSent { why, detail: detail.into() }
}

fn unknown(why: Doubt, detail: impl Into<Box<str>>) -> Verdict {
    Verdict::Unknown { why, detail: detail.into() }
}

/// The API's envelope. `code` is a whole number exactly once: `"0"`, `0.0` and a second `code` are errors, because
/// nobody can say which of two readings the server meant.
#[derive(Deserialize)]
struct ApiAnswer<'a> {
    code: i64,
    /// Raw, so that a `msg` of another type does not turn a clear `code` into a doubt.
    #[serde(borrow)]
    msg: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

impl ApiAnswer<'_> {
    fn words(&self) -> Box<str> {
        let Some(raw) = self.msg else { return Box::default() };
        serde_json::from_str::<String>(raw.get()).map_or_else(|_| shorten(raw.get()), |text| shorten(&text))
    }
}

/// `msgId` of the `data` of a confirmed answer, or `None` where it cannot be had: the confirmation stands anyway.
fn read_msg_id(data: &RawValue) -> Option<Box<str>> {
    #[derive(Deserialize)]
    struct Data<'a> {
        #[serde(rename = "msgId", borrow)]
        msg_id: Option<&'a RawValue>,
    }
    let raw = serde_json::from_str::<Data<'_>>(data.get()).ok()?.msg_id?.get();
    let is_number = raw.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    let msg_id = if is_number { raw.to_owned() } else { serde_json::from_str::<String>(raw).ok()? };
    let usable = !msg_id.trim().is_empty() && msg_id.len() <= MSG_ID_BYTES_MAX;
    usable.then(|| msg_id.into_boxed_str())
}

/// Where an answer is wrong, and nothing of what it says: about types the parser would quote it, which may be as long
/// as the answer and repeat the message.
pub(super) fn describe(error: &serde_json::Error) -> String {
    match error.classify() {
        Category::Syntax | Category::Eof | Category::Io => error.to_string(),
        Category::Data => {
            format!("a field is missing, doubled or of another type at line {} column {}", error.line(), error.column())
        }
    }
}

/// What of somebody's words is kept.
pub(super) fn shorten(text: &str) -> Box<str> {
    let text = text.trim();
    match text.char_indices().nth(WORDS_CHARS_MAX) {
        Some((end, _)) => Box::from(&text[..end]),
        None => Box::from(text),
    }
}

/// The wait that a `Retry-After` asks for, within 0 and [`RETRY_AFTER_MAX`]; `None` when it is neither a number nor a
/// date.
fn read_retry_after(header: &[u8], now: Time) -> Option<Duration> {
    let text = std::str::from_utf8(header).ok()?.trim();
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let wait = if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        // Digits that do not fit are a very long wait, not a mistake.
        if negative { Duration::ZERO } else { Duration::from_secs(digits.parse().unwrap_or(u64::MAX)) }
    } else {
        read_http_date(text)?.since(now)
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

/// A date in one of the three forms that HTTP knows. One before the epoch is the epoch: long past either way.
fn read_http_date(text: &str) -> Option<Time> {
    const OBSOLETE: [&str; 2] = ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    let modern = || jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok();
    let obsolete = |format: &&str| {
        let civil = jiff::civil::DateTime::strptime(format, text).ok()?;
        civil.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    };
    let timestamp = modern().or_else(|| OBSOLETE.iter().find_map(obsolete))?;
    Some(Time::from_nanos(u64::try_from(timestamp.as_nanosecond()).unwrap_or(0)))
}

#[cfg(test)]
#[path = "classify_tests.rs"]
mod tests;
