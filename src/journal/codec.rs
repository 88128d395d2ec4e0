//! How the words of the model become columns, and back.
//!
//! A value that no version known to us writes is an error, never a guess.

use super::error::{BadValue, UnknownCause};
use crate::model::{
    Account, Code, Corp, Doubt, Fault, Lifetime, LimitChange, LimitScope, Message, MessageId, NotSent, OnDoubt,
    Options, Origin, ReplyTo, Request, Retry, Scope, Sender, SenderName, Seq, State, Time, Verdict,
};
use bytes::Bytes;
use rusqlite::Row;
use rusqlite::types::{Type, ValueRef};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub(super) type Result<T> = std::result::Result<T, rusqlite::Error>;

/// A number of ours as SQLite's signed 64 bits.
pub(super) fn signed(record: &'static str, number: u64) -> std::result::Result<i64, UnknownCause> {
    i64::try_from(number).map_err(|_| UnknownCause::TooLarge { record, number })
}

/// The reverse of [`signed`]. Nothing negative was ever written.
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

/// A moment in nanoseconds. What lies beyond the year 2262 is "never", and comes back as [`Time::MAX`].
pub(super) fn time_in(time: Time) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

pub(super) fn time_out(nanos: i64) -> Time {
    if nanos == i64::MAX { Time::MAX } else { Time::from_nanos(unsigned(nanos)) }
}

/// A duration in nanoseconds, at most 292 years.
pub(super) fn span_in(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

pub(super) fn span_out(nanos: i64) -> Duration {
    Duration::from_nanos(unsigned(nanos))
}

pub(super) fn bad<T>(index: usize, column: &'static str, found: impl ToString) -> Result<T> {
    let error = BadValue { column, found: found.to_string() };
    Err(rusqlite::Error::FromSqlConversionFailure(index, Type::Text, Box::new(error)))
}

pub(super) fn text(row: &Row<'_>, index: usize) -> Result<Box<str>> {
    Ok(Box::from(row.get_ref(index)?.as_str()?))
}

pub(super) fn maybe_text(row: &Row<'_>, index: usize) -> Result<Option<Box<str>>> {
    Ok(row.get_ref(index)?.as_str_or_null()?.map(Box::from))
}

pub(super) fn maybe_time(row: &Row<'_>, index: usize) -> Result<Option<Time>> {
    Ok(row.get::<_, Option<i64>>(index)?.map(time_out))
}

pub(super) fn state(row: &Row<'_>, index: usize) -> Result<State> {
    let word: String = row.get(index)?;
    State::parse(&word).map_or_else(|| bad(index, "state", word), Ok)
}

const fn on_doubt_word(on_doubt: OnDoubt) -> &'static str {
    match on_doubt {
        OnDoubt::Report => "report",
        OnDoubt::Resend => "resend",
        OnDoubt::Hold => "hold",
    }
}

fn on_doubt(index: usize, word: &str) -> Result<OnDoubt> {
    match word {
        "report" => Ok(OnDoubt::Report),
        "resend" => Ok(OnDoubt::Resend),
        "hold" => Ok(OnDoubt::Hold),
        _ => bad(index, "on_doubt", word),
    }
}

/// Names that many rows share, so that a million messages of one account share one string.
#[derive(Default)]
pub(super) struct Names {
    accounts: BTreeMap<Box<str>, Account>,
    corps: BTreeMap<Box<str>, Corp>,
    kinds: BTreeMap<Box<str>, Arc<str>>,
}

impl Names {
    pub(super) fn account(&mut self, row: &Row<'_>, index: usize) -> Result<Account> {
        let name = row.get_ref(index)?.as_str()?;
        if let Some(known) = self.accounts.get(name) {
            return Ok(known.clone());
        }
        let account = Account::new(name);
        self.accounts.insert(Box::from(name), account.clone());
        Ok(account)
    }

    pub(super) fn corp(&mut self, row: &Row<'_>, index: usize) -> Result<Corp> {
        let name = row.get_ref(index)?.as_str()?;
        if let Some(known) = self.corps.get(name) {
            return Ok(known.clone());
        }
        let corp = Corp::new(name);
        self.corps.insert(Box::from(name), corp.clone());
        Ok(corp)
    }

    fn kind(&mut self, row: &Row<'_>, index: usize) -> Result<Arc<str>> {
        let name = row.get_ref(index)?.as_str()?;
        if let Some(known) = self.kinds.get(name) {
            return Ok(known.clone());
        }
        let kind: Arc<str> = Arc::from(name);
        self.kinds.insert(Box::from(name), kind.clone());
        Ok(kind)
    }
}

/// The columns of `message`, in the order of [`message_alone`].
pub(super) const OWN_COLUMNS: &str = "m.seq, m.received_at, m.expires_at, m.not_before, m.priority, m.on_doubt,
    m.id, m.kind, m.account, m.conversation, m.suffix, m.reply_topic, m.reply_correlation, m.weak, m.tag,
    m.asked_priority, m.asked_not_before, m.asked_lifetime, m.asked_until, m.asked_on_doubt,
    m.fingerprint, m.body_bytes, m.shown";

/// How many [`OWN_COLUMNS`] there are: the index of the first column after them.
const OWN_COLUMNS_COUNT: usize = 23;

/// The columns of `retry`, in the order of [`retry`].
pub(super) const RETRY_COLUMNS: &str = "r.of, r.possibly_duplicate, r.in_doubt";

/// Where [`OWN_COLUMNS`] and [`RETRY_COLUMNS`] come from, which [`message`] reads. To be followed by others in a join.
pub(super) const MESSAGE_TABLES: &str = "message m LEFT JOIN retry r ON r.n = m.seq";

/// How many columns [`message`] reads: the index of the first column after them.
pub(super) const MESSAGE_COLUMNS_COUNT: usize = OWN_COLUMNS_COUNT + 3;

/// The columns of a message that SQLite does not take as they are.
pub(super) struct MessageColumns {
    pub(super) received_at: i64,
    pub(super) expires_at: i64,
    pub(super) not_before: Option<i64>,
    pub(super) on_doubt: &'static str,
    pub(super) asked_not_before: Option<i64>,
    pub(super) asked_lifetime: Option<i64>,
    pub(super) asked_until: Option<i64>,
    pub(super) asked_on_doubt: Option<&'static str>,
}

impl MessageColumns {
    pub(super) fn of(message: &Message) -> Self {
        let options = &message.request.options;
        let (asked_lifetime, asked_until) = match options.lifetime {
            Some(Lifetime::For(span)) => (Some(span_in(span)), None),
            Some(Lifetime::Until(time)) => (None, Some(time_in(time))),
            None => (None, None),
        };
        Self {
            received_at: time_in(message.received_at),
            expires_at: time_in(message.expires_at),
            not_before: message.not_before.map(time_in),
            on_doubt: on_doubt_word(message.on_doubt),
            asked_not_before: options.not_before.map(time_in),
            asked_lifetime,
            asked_until,
            asked_on_doubt: options.on_doubt.map(on_doubt_word),
        }
    }
}

/// Reads [`OWN_COLUMNS`] and [`RETRY_COLUMNS`]; the body is the caller's.
pub(super) fn message(row: &Row<'_>, names: &mut Names, body: Bytes) -> Result<Message> {
    let is_retry = !matches!(row.get_ref(OWN_COLUMNS_COUNT)?, ValueRef::Null);
    let retry = if is_retry { Some(retry(row, OWN_COLUMNS_COUNT)?) } else { None };
    message_alone(row, names, body, retry)
}

/// Reads [`RETRY_COLUMNS`].
pub(super) fn retry(row: &Row<'_>, first: usize) -> Result<Retry> {
    Ok(Retry {
        of: Seq(unsigned(row.get(first)?)),
        possibly_duplicate: row.get(first + 1)?,
        in_doubt: row.get(first + 2)?,
    })
}

/// Reads [`OWN_COLUMNS`]; the rest is the caller's.
pub(super) fn message_alone(row: &Row<'_>, names: &mut Names, body: Bytes, retry: Option<Retry>) -> Result<Message> {
    let lifetime = match (row.get::<_, Option<i64>>(17)?, maybe_time(row, 18)?) {
        (Some(span), _) => Some(Lifetime::For(span_out(span))),
        (None, Some(until)) => Some(Lifetime::Until(until)),
        (None, None) => None,
    };
    let asked_on_doubt = match row.get_ref(19)?.as_str_or_null()? {
        Some(word) => Some(on_doubt(19, word)?),
        None => None,
    };
    let options = Options {
        priority: row.get(15)?,
        not_before: maybe_time(row, 16)?,
        lifetime,
        on_doubt: asked_on_doubt,
        tag: maybe_text(row, 14)?,
        // It is in `expires_at` already.
        message_expiry: None,
    };
    let request = Request {
        id: MessageId::from_json(row.get_ref(6)?.as_str()?),
        kind: names.kind(row, 7)?,
        account: names.account(row, 8)?,
        conversation: text(row, 9)?,
        origin: origin(row, 10)?,
        options,
        fingerprint: row.get(20)?,
        shown: row.get(22)?,
        body,
    };
    Ok(Message {
        seq: Seq(unsigned(row.get(0)?)),
        received_at: time_out(row.get(1)?),
        expires_at: time_out(row.get(2)?),
        not_before: maybe_time(row, 3)?,
        priority: row.get(4)?,
        on_doubt: on_doubt(5, row.get_ref(5)?.as_str()?)?,
        body_bytes: row.get(21)?,
        request,
        retry,
    })
}

/// Reads `suffix, reply_topic, reply_correlation, weak`.
pub(super) fn origin(row: &Row<'_>, first: usize) -> Result<Origin> {
    Ok(Origin { suffix: maybe_text(row, first)?, reply_to: reply_to(row, first + 1)?, weak: row.get(first + 3)? })
}

/// Reads `reply_topic, reply_correlation`.
pub(super) fn reply_to(row: &Row<'_>, first: usize) -> Result<Option<ReplyTo>> {
    let Some(topic) = maybe_text(row, first)? else { return Ok(None) };
    let correlation = row.get::<_, Option<Vec<u8>>>(first + 1)?.map(Bytes::from);
    Ok(Some(ReplyTo { topic, correlation }))
}

/// `reply_topic, reply_correlation` of an address.
pub(super) fn reply_columns(reply_to: Option<&ReplyTo>) -> (Option<&str>, Option<&[u8]>) {
    match reply_to {
        Some(reply_to) => (Some(&reply_to.topic), reply_to.correlation.as_deref()),
        None => (None, None),
    }
}

/// `fault_code, fault_message, fault_field, sender_http, sender_code, sender_msg`, all null without a fault.
#[derive(Default)]
pub(super) struct FaultColumns<'a> {
    pub(super) code: Option<&'static str>,
    pub(super) message: Option<&'a str>,
    pub(super) field: Option<&'a str>,
    pub(super) sender_http: Option<u16>,
    pub(super) sender_code: Option<i64>,
    pub(super) sender_msg: Option<&'a str>,
}

impl<'a> FaultColumns<'a> {
    pub(super) fn of(fault: Option<&'a Fault>) -> Self {
        let Some(fault) = fault else { return Self::default() };
        let sender = fault.sender.as_ref();
        Self {
            code: Some(fault.code.as_str()),
            message: Some(&fault.message),
            field: fault.field.as_deref(),
            sender_http: sender.map(|sender| sender.http),
            sender_code: sender.and_then(|sender| sender.code),
            sender_msg: sender.map(|sender| &*sender.msg),
        }
    }
}

/// Reads what [`FaultColumns`] wrote.
pub(super) fn fault(row: &Row<'_>, first: usize) -> Result<Option<Fault>> {
    let Some(word) = row.get_ref(first)?.as_str_or_null()? else { return Ok(None) };
    let Some(code) = Code::parse(word) else { return bad(first, "fault_code", word) };
    let sender = match row.get(first + 3)? {
        Some(http) => Some(Sender { http, code: row.get(first + 4)?, msg: text(row, first + 5)? }),
        None => None,
    };
    Ok(Some(Fault { code, message: text(row, first + 1)?, field: maybe_text(row, first + 2)?, sender }))
}

/// `class, why, detail, http, code, msg, msg_id, retry_after` of an attempt that ended.
#[derive(Default)]
pub(super) struct VerdictColumns<'a> {
    pub(super) class: &'static str,
    pub(super) why: Option<&'static str>,
    pub(super) detail: Option<&'a str>,
    pub(super) http: Option<u16>,
    pub(super) code: Option<i64>,
    pub(super) msg: Option<&'a str>,
    pub(super) msg_id: Option<&'a str>,
    pub(super) retry_after: Option<i64>,
}

impl<'a> VerdictColumns<'a> {
    pub(super) fn of(verdict: &'a Verdict) -> Self {
        match verdict {
            Verdict::Confirmed { msg_id } => Self { class: "confirmed", msg_id: msg_id.as_deref(), ..Self::default() },
            Verdict::Refused { sender } => Self {
                class: "refused",
                http: Some(sender.http),
                code: sender.code,
                msg: Some(&sender.msg),
                ..Self::default()
            },
            Verdict::NotSent { why, detail } => {
                let retry_after = match why {
                    NotSent::Busy { retry_after }
                    | NotSent::TooFrequent { retry_after }
                    | NotSent::Temporary { retry_after } => retry_after.map(span_in),
                    NotSent::Connect | NotSent::Offline | NotSent::Unauthorized | NotSent::Expired => None,
                };
                let why = Some(why.as_str());
                Self { class: "not_sent", why, detail: Some(detail), retry_after, ..Self::default() }
            }
            Verdict::Unknown { why, detail } => {
                let (http, code) = match why {
                    Doubt::Status(http) => (Some(*http), None),
                    Doubt::Code(code) => (None, Some(*code)),
                    Doubt::Timeout | Doubt::Reset | Doubt::Unreadable | Doubt::Crash => (None, None),
                };
                let why = Some(why.as_str());
                Self { class: "unknown", why, detail: Some(detail), http, code, ..Self::default() }
            }
        }
    }
}

/// Reads what [`VerdictColumns`] wrote; `None` for an attempt without an end.
pub(super) fn verdict(row: &Row<'_>, first: usize) -> Result<Option<Verdict>> {
    let Some(class) = row.get_ref(first)?.as_str_or_null()? else { return Ok(None) };
    let verdict = match class {
        "confirmed" => Verdict::Confirmed { msg_id: maybe_text(row, first + 6)? },
        "refused" => Verdict::Refused {
            sender: Sender { http: row.get(first + 3)?, code: row.get(first + 4)?, msg: text(row, first + 5)? },
        },
        "not_sent" => {
            let retry_after = row.get::<_, Option<i64>>(first + 7)?.map(span_out);
            let why = match row.get_ref(first + 1)?.as_str()? {
                "connect" => NotSent::Connect,
                "busy" => NotSent::Busy { retry_after },
                "too_frequent" => NotSent::TooFrequent { retry_after },
                "temporary" => NotSent::Temporary { retry_after },
                "offline" => NotSent::Offline,
                "unauthorized" => NotSent::Unauthorized,
                "expired" => NotSent::Expired,
                word => return bad(first + 1, "why", word),
            };
            Verdict::NotSent { why, detail: text(row, first + 2)? }
        }
        "unknown" => {
            let why = match row.get_ref(first + 1)?.as_str()? {
                "timeout" => Doubt::Timeout,
                "reset" => Doubt::Reset,
                "unreadable" => Doubt::Unreadable,
                "status" => Doubt::Status(row.get(first + 3)?),
                "crash" => Doubt::Crash,
                "code" => Doubt::Code(row.get(first + 4)?),
                word => return bad(first + 1, "why", word),
            };
            Verdict::Unknown { why, detail: text(row, first + 2)? }
        }
        word => return bad(first, "class", word),
    };
    Ok(Some(verdict))
}

/// `scope, subject, conversation` of a hold.
pub(super) fn scope_columns(scope: &Scope) -> (&'static str, Option<&str>, Option<&str>) {
    match scope {
        Scope::All => ("all", None, None),
        Scope::Sender(sender) => ("sender", Some(sender.as_str()), None),
        Scope::Corp(corp) => ("corp", Some(corp.as_str()), None),
        Scope::Account(account) => ("account", Some(account.as_str()), None),
        Scope::Conversation(account, conversation) => {
            ("conversation", Some(account.as_str()), Some(conversation.as_ref()))
        }
    }
}

/// Reads what [`scope_columns`] wrote.
pub(super) fn scope(row: &Row<'_>, first: usize) -> Result<Scope> {
    let subject = || row.get_ref(first + 1)?.as_str().map_err(rusqlite::Error::from);
    Ok(match row.get_ref(first)?.as_str()? {
        "all" => Scope::All,
        "sender" => Scope::Sender(SenderName::new(subject()?)),
        "corp" => Scope::Corp(Corp::new(subject()?)),
        "account" => Scope::Account(Account::new(subject()?)),
        "conversation" => Scope::Conversation(Account::new(subject()?), text(row, first + 2)?),
        word => return bad(first, "scope", word),
    })
}

/// `scope, subject` of a limit that was set.
pub(super) fn limit_columns(scope: &LimitScope) -> (&'static str, &str) {
    match scope {
        LimitScope::Account(account) => ("account", account.as_str()),
        LimitScope::Corp(corp) => ("corp", corp.as_str()),
    }
}

/// Reads `scope, subject, interval, per_hour`.
pub(super) fn limit(row: &Row<'_>, first: usize) -> Result<(LimitScope, LimitChange)> {
    let subject = row.get_ref(first + 1)?.as_str()?;
    let (interval, per_hour) = (row.get::<_, Option<i64>>(first + 2)?, row.get::<_, Option<u32>>(first + 3)?);
    match (row.get_ref(first)?.as_str()?, interval, per_hour) {
        ("account", Some(interval), None) => {
            Ok((LimitScope::Account(Account::new(subject)), LimitChange::Interval(span_out(interval))))
        }
        ("corp", None, Some(per_hour)) => Ok((LimitScope::Corp(Corp::new(subject)), LimitChange::PerHour(per_hour))),
        (word, _, _) => bad(first, "scope", word),
    }
}
