//! Every command with the fields that it takes: what refusals list, and what the JSON Schemas are checked against.

/// What a field takes. `null` is as good as leaving it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A string with something to see in it, on one line: a name, or the `next` of a page.
    Name,
    /// A string.
    Text,
    /// A message's id: a string or a number.
    Id,
    /// A string, a number, true or false, echoed as it came.
    Scalar,
    /// `true` and nothing else.
    True,
    /// `true` or `false`.
    Flag,
    /// A whole number from 1 on.
    Count,
    /// The number of a hold: a whole number, also in quotes.
    Hold,
    /// A string such as `"90s"`, or whole seconds.
    Duration,
    /// A string with an RFC 3339 time.
    Moment,
    /// One of these words.
    Word(&'static [&'static str]),
    /// One of these words, or a list of them.
    Words(&'static [&'static str]),
    /// Names and values of a query: texts, numbers, flags, and lists of them.
    Query,
    /// JSON, an object or a list, that is passed on as it is.
    Json,
    /// A file: its `url`, or its `name` and `base64`.
    File,
}

impl Kind {
    /// The JSON types that it comes in, as JSON Schema calls them.
    pub const fn json_types(self) -> &'static [&'static str] {
        match self {
            Self::Name | Self::Text | Self::Moment | Self::Word(_) => &["string"],
            Self::Id => &["string", "number"],
            Self::Scalar => &["string", "number", "boolean"],
            Self::True | Self::Flag => &["boolean"],
            Self::Count => &["integer"],
            Self::Hold => &["integer", "string"],
            Self::Duration => &["string", "integer"],
            Self::Words(_) => &["string", "array"],
            Self::Query | Self::File => &["object"],
            Self::Json => &["object", "array"],
        }
    }
}

/// One field of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: &'static str,
    pub kind: Kind,
    /// Whether the command is refused without it. One of several fields being required is not told here.
    pub is_required: bool,
}

const fn must(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, is_required: true }
}

const fn may(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, is_required: false }
}

/// What an account can be doing, as `account/list` takes it.
pub const ACCOUNT_STATES: &[&str] = &["idle", "sending", "waiting", "held"];

/// What a message can be, as `message/list` takes it.
pub const MESSAGE_STATES: &[&str] = &[
    "queued",
    "sending",
    "in_doubt",
    "sent",
    "delivered",
    "undelivered",
    "failed",
    "unresolved",
    "expired",
    "cancelled",
];

/// How the sender's API can be called.
pub const METHODS: &[&str] = &["GET", "POST", "PUT", "DELETE"];

/// How a doubt can be settled.
const SETTLED: &[&str] = &["sent", "failed"];

/// How much can be logged.
pub const LOG_LEVELS: &[&str] = &["error", "warn", "info", "debug", "trace"];

const LIMIT: Field = may("limit", Kind::Count);
const AFTER: Field = may("after", Kind::Name);
const ID: Field = may("id", Kind::Id);
const ALL: Field = may("all", Kind::True);
const SENDER: Field = may("sender", Kind::Name);
const CORP: Field = may("corp", Kind::Name);
const ACCOUNT: Field = may("account", Kind::Name);
const CONVERSATION: Field = may("conversation", Kind::Name);
const TAG: Field = may("tag", Kind::Name);
const DURATION: Field = may("duration", Kind::Duration);
const UNTIL: Field = may("until", Kind::Moment);

/// What every command takes beside its own fields.
pub const COMMON: [Field; 3] =
    [may("transaction", Kind::Scalar), may("by", Kind::Text), may("expiresAt", Kind::Moment)];

/// The own fields of every command, in the order of [`Command::NAMES`](crate::model::Command::NAMES).
pub const FIELDS: [(&str, &[Field]); 20] = [
    ("account/get", &[must("account", Kind::Name)]),
    ("account/list", &[CORP, may("state", Kind::Word(ACCOUNT_STATES)), LIMIT, AFTER]),
    ("corp/get", &[must("corp", Kind::Name)]),
    ("corp/list", &[LIMIT, AFTER]),
    ("directory/refresh", &[SENDER]),
    ("drain", &[may("on", Kind::Flag)]),
    ("health", &[]),
    ("hold/list", &[SENDER, CORP, ACCOUNT, LIMIT, AFTER]),
    ("info", &[]),
    ("limits/get", &[ACCOUNT, CORP]),
    (
        "limits/set",
        &[
            ACCOUNT,
            CORP,
            may("interval", Kind::Duration),
            may("perHour", Kind::Count),
            may("reset", Kind::True),
            DURATION,
            UNTIL,
        ],
    ),
    ("log/level", &[must("level", Kind::Word(LOG_LEVELS)), DURATION]),
    (
        "message/cancel",
        &[
            ID,
            ACCOUNT,
            CONVERSATION,
            CORP,
            TAG,
            may("dryRun", Kind::Flag),
            may("blockFor", Kind::Duration),
            may("reason", Kind::Text),
        ],
    ),
    ("message/get", &[must("id", Kind::Id), ACCOUNT]),
    ("message/list", &[ID, ACCOUNT, CONVERSATION, CORP, TAG, may("state", Kind::Words(MESSAGE_STATES)), LIMIT, AFTER]),
    (
        "message/resolve",
        &[
            must("id", Kind::Id),
            ACCOUNT,
            must("state", Kind::Word(SETTLED)),
            may("msgId", Kind::Name),
            may("reason", Kind::Text),
        ],
    ),
    ("message/retry", &[must("id", Kind::Id), ACCOUNT]),
    ("pause", &[ALL, SENDER, CORP, ACCOUNT, CONVERSATION, must("reason", Kind::Text), DURATION, UNTIL]),
    ("resume", &[ALL, SENDER, CORP, ACCOUNT, CONVERSATION, may("hold", Kind::Hold)]),
    (
        "sender/call",
        &[
            SENDER,
            must("path", Kind::Name),
            may("method", Kind::Word(METHODS)),
            may("query", Kind::Query),
            may("body", Kind::Json),
            may("file", Kind::File),
            may("timeout", Kind::Duration),
        ],
    ),
];

/// The own fields of a command; none for a name that is not known.
pub fn fields_of(name: &str) -> &'static [Field] {
    FIELDS.iter().find(|(known, _)| *known == name).map_or(&[], |(_, fields)| fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AccountState, Command, LogLevel, Method, State};

    #[test]
    fn every_command_has_its_fields_and_every_word_is_known() {
        assert_eq!(FIELDS.map(|(name, _)| name), Command::NAMES);
        assert_eq!(MESSAGE_STATES, State::ALL.map(State::as_str));
        assert_eq!(LOG_LEVELS, LogLevel::ALL.map(LogLevel::as_str));
        assert_eq!(METHODS, Method::ALL.map(Method::as_str));
        let words = [AccountState::Idle, AccountState::Sending, AccountState::Waiting, AccountState::Held]
            .map(|state| serde_json::to_value(state).expect("a word"));
        assert_eq!(words.to_vec(), ACCOUNT_STATES);
        for (name, fields) in FIELDS {
            for (index, field) in fields.iter().enumerate() {
                let is_new = |other: &Field| !other.name.eq_ignore_ascii_case(field.name);
                assert!(fields[..index].iter().chain(&COMMON).all(is_new), "{name} {}", field.name);
            }
        }
    }
}
