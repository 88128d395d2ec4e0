//! What the sender's API requires of each type of message.
//!
//! Only what its documentation says: a rule of our own would refuse messages that work.

use super::Settings;
use super::field::{self, filled, invalid, is_integer, is_number, kind_of, text};
use super::object::Object;
use crate::model::{Account, Code, Fault};
use std::sync::Arc;

pub(super) const CONVERSATION_BYTES_MAX: usize = 256;

/// What a required field must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A string, which may be empty.
    Text,
    /// A string of at least one character.
    Written,
    /// A string with more than white space in it.
    Filled,
    Integer,
    /// The number of a stored card, which the API's samples write as a number and its readers take as text too.
    Number,
    List,
}

/// Names of fields and what they must be.
type Required = &'static [(&'static str, Shape)];

/// A built-in type with its required fields beyond `wxId` and `conversationId`.
pub(super) struct Rule {
    pub kind: &'static str,
    pub required: Required,
}

const FILE: Required = &[("fileUrl", Shape::Text)];

/// The ten types that the sender's own MQTT interface knows, then those of its HTTP interface.
pub(super) const RULES: [Rule; 14] = [
    Rule { kind: "text", required: &[("content", Shape::Written)] },
    Rule { kind: "image", required: FILE },
    Rule {
        kind: "personCard",
        required: &[("personCardUserId", Shape::Text), ("nickName", Shape::Text), ("avatar", Shape::Text)],
    },
    Rule { kind: "link", required: &[("title", Shape::Filled), ("url", Shape::Text)] },
    Rule { kind: "file", required: FILE },
    Rule { kind: "video", required: FILE },
    Rule {
        kind: "miniProgram",
        required: &[
            ("username", Shape::Text),
            ("appid", Shape::Text),
            ("appname", Shape::Text),
            ("appicon", Shape::Text),
            ("title", Shape::Text),
            ("page_path", Shape::Text),
            ("cover_path", Shape::Text),
        ],
    },
    Rule { kind: "roomAt", required: &[("content", Shape::Text), ("atList", Shape::List)] },
    Rule { kind: "gif", required: FILE },
    Rule {
        kind: "videoNum",
        required: &[
            ("cover_url", Shape::Text),
            ("desc", Shape::Text),
            ("feed_type", Shape::Integer),
            ("nickname", Shape::Text),
            ("thumb_url", Shape::Text),
            ("url", Shape::Text),
            ("extras", Shape::Text),
            ("avatar", Shape::Text),
        ],
    },
    Rule { kind: "voice", required: FILE },
    Rule { kind: "quote", required: &[("content", Shape::Text), ("serverId", Shape::Text)] },
    Rule { kind: "miniProgramById", required: &[("miniProgramId", Shape::Number)] },
    Rule { kind: "videoNumById", required: &[("videoNumId", Shape::Number)] },
];

/// A message's type and the two fields that every message has.
pub(super) struct Addressed {
    pub kind: Arc<str>,
    pub account: Account,
    pub conversation: Box<str>,
}

/// Checks everything that will be forwarded.
pub(super) fn check(settings: &Settings, object: &Object<'_>) -> Result<Addressed, Fault> {
    let (kind, required) = find_kind(settings, object)?;
    let account = account(require(object, &kind, "wxId")?)?;
    let raw_conversation = require(object, &kind, "conversationId")?;
    let conversation = filled("conversationId", raw_conversation)?;
    let conversation = field::within("conversationId", conversation, CONVERSATION_BYTES_MAX)?;
    if &*kind == "roomAt" && !conversation.starts_with("R:") {
        let message = "conversationId must begin with R: for type roomAt: only groups can be sent to with atList";
        return Err(invalid("conversationId", message));
    }
    for &(name, shape) in required {
        check_shape(name, shape, require(object, &kind, name)?)?;
    }
    Ok(Addressed { kind, account, conversation: Box::from(&*conversation) })
}

/// The account that a `wxId` names.
pub(super) fn account(raw: &str) -> Result<Account, Fault> {
    let name = field::name("wxId", raw)?;
    // A sender that trims would see one account where the limits see two.
    if name.trim() != name {
        return Err(invalid("wxId", "wxId must not begin or end with white space: write it without".to_owned()));
    }
    Ok(Account::new(&name))
}

fn find_kind(settings: &Settings, object: &Object<'_>) -> Result<(Arc<str>, Required), Fault> {
    let Some(raw) = object.get("type") else {
        return Err(invalid("type", format!("type is required: add one of {}", known(settings))));
    };
    let Some(word) = super::object::decode(raw) else {
        let message = format!("type must be a string, not {}: use one of {}", kind_of(raw), known(settings));
        return Err(invalid("type", message));
    };
    if let Some(rule) = RULES.iter().find(|rule| rule.kind.eq_ignore_ascii_case(&word)) {
        return Ok((Arc::from(rule.kind), rule.required));
    }
    if let Some(extra) = settings.extra_types.iter().find(|extra| extra.eq_ignore_ascii_case(&word)) {
        return Ok((Arc::clone(extra), &[]));
    }
    let message = format!("type is not known: use one of {}", known(settings));
    Err(Fault::of_field(Code::UnknownType, "type", message))
}

fn known(settings: &Settings) -> String {
    let built_in = RULES.iter().map(|rule| rule.kind);
    let words: Vec<&str> = built_in.chain(settings.extra_types.iter().map(|extra| &**extra)).collect();
    words.join(", ")
}

fn require<'a>(object: &Object<'a>, kind: &str, name: &str) -> Result<&'a str, Fault> {
    object.get(name).ok_or_else(|| invalid(name, format!("{name} is required for type {kind}: add it")))
}

fn check_shape(name: &str, shape: Shape, raw: &str) -> Result<(), Fault> {
    let (fits, wanted) = match shape {
        Shape::Text => return text(name, raw).map(|_| ()),
        Shape::Filled => return filled(name, raw).map(|_| ()),
        Shape::Written if text(name, raw)?.is_empty() => {
            return Err(invalid(name, format!("{name} must not be empty: fill it in")));
        }
        Shape::Written => return Ok(()),
        Shape::Integer => (is_integer(raw), "a whole number"),
        Shape::Number => (is_number(raw) || raw.starts_with('"'), "a number or a string"),
        Shape::List => (raw.starts_with('['), "a list"),
    };
    if fits {
        return Ok(());
    }
    let hint = match shape {
        Shape::Text | Shape::Filled | Shape::Written => "write it in quotes",
        Shape::Integer => "write it with digits only and without quotes",
        Shape::Number => "take it from the sender's list",
        Shape::List => "write it like [\"id\"], or [\"0\"] for everybody",
    };
    let found = if is_number(raw) { "this number" } else { kind_of(raw) };
    Err(invalid(name, format!("{name} must be {wanted}, not {found}: {hint}")))
}
