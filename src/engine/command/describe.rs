//! Holds, blocks and selections as they are shown in replies.

use crate::model::{Block, Hold, MessageId, Scope, Selection};
use serde_json::{Map, Value, json};

pub(super) fn describe_hold(hold: &Hold) -> Value {
    let scope = match &hold.scope {
        Scope::All => json!({ "all": true }),
        Scope::Sender(name) => json!({ "sender": name.as_str() }),
        Scope::Corp(name) => json!({ "corp": name.as_str() }),
        Scope::Account(name) => json!({ "account": name.as_str() }),
        Scope::Conversation(name, conversation) => json!({ "account": name.as_str(), "conversation": conversation }),
    };
    json!({
        "id": hold.id.0,
        "scope": scope,
        "reason": hold.reason,
        "by": hold.by,
        "since": hold.since.to_string(),
        "until": hold.until.map(|until| until.to_string()),
    })
}

pub(super) fn describe_block(block: &Block) -> Value {
    json!({
        "id": block.id.0,
        "selection": describe_selection(&block.selection),
        "reason": block.reason,
        "by": block.by,
        "since": block.since.to_string(),
        "until": block.until.to_string(),
    })
}

fn describe_selection(selection: &Selection) -> Value {
    let Selection { id, account, conversation, corp, tag } = selection;
    let id = id.as_ref().map(MessageId::to_value);
    let conditions = [
        ("id", id),
        ("account", account.as_ref().map(|name| json!(name.as_str()))),
        ("conversation", conversation.as_ref().map(|name| json!(name))),
        ("corp", corp.as_ref().map(|name| json!(name.as_str()))),
        ("tag", tag.as_ref().map(|tag| json!(tag))),
    ];
    let given = conditions.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(given.collect::<Map<_, _>>())
}
