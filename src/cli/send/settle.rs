//! What became of a message whose answer did not come, as `message/get` tells.
//!
//! Within the deduplication window publishing again is safe, and is answered with what is known. Later the bridge may
//! have forgotten the message, and would send it again: so it is asked first.

use super::results::{Outcome, SENT};
use crate::model::{State, Time};
use bytes::Bytes;
use serde_json::{Value, json};
use std::time::Duration;

/// The command that is asked.
pub(super) const COMMAND: &str = "message/get";
/// The bridge's clock may differ from ours by so much.
const CLOCK_SLACK: Duration = Duration::from_secs(300);

/// What a reply proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// It ended so.
    Ended(Outcome),
    /// The bridge has it: publishing it again is a repeat.
    Live,
    /// It never arrived: publishing it is its first time.
    NeverArrived,
    /// The bridge cannot tell.
    Unknown,
}

/// The question about an id, in its JSON text.
pub(super) fn question(id: &str, account: &str, transaction: &str) -> Bytes {
    let (account, transaction) = (json!(account), json!(transaction));
    Bytes::from(format!("{{\"id\":{id},\"account\":{account},\"transaction\":{transaction}}}"))
}

/// Reads a reply about a message that was first published at `published_at`.
pub(super) fn read(reply: &Value, account: &str, published_at: Time) -> Settled {
    let data = &reply["data"];
    let Some(messages) = data["messages"].as_array() else {
        // Not found among those that were looked at is no proof: older ones are not looked at.
        return Settled::Unknown;
    };
    let time = |message: &Value| message["receivedAt"].as_str().and_then(Time::parse_rfc3339);
    let since = published_at - CLOCK_SLACK;
    let ours = messages
        .iter()
        .filter(|message| message["account"] == account && time(message).is_some_and(|at| at >= since))
        .max_by_key(|message| message["seq"].as_u64());
    match ours {
        Some(message) => read_message(message),
        None if data["complete"] == true => Settled::NeverArrived,
        None => Settled::Unknown,
    }
}

fn read_message(message: &Value) -> Settled {
    let Some(state) = message["state"].as_str().and_then(State::parse) else { return Settled::Unknown };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    if !state.is_final() {
        return Settled::Live;
    }
    let word = if state.says_sent() {
        SENT.to_owned()
    } else {
        text(&message["error"]["code"]).unwrap_or_else(|| state.as_str().to_uppercase())
    };
    Settled::Ended(Outcome {
        word,
        msg_id: text(&message["msgId"]),
        message: text(&message["error"]["message"]),
        possibly_duplicate: message["possiblyDuplicate"].as_bool(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_millis(1_700_000_000_000);

    fn reply(messages: &Value, complete: bool) -> Value {
        json!({ "status": "ok", "data": { "messages": messages, "complete": complete } })
    }

    fn message(seq: u64, state: &str, at: Time) -> Value {
        json!({ "seq": seq, "account": "a", "state": state, "receivedAt": at.to_string(), "msgId": "7B",
            "possiblyDuplicate": false })
    }

    #[test]
    fn only_a_proof_settles() {
        let read = |messages: Value, complete| read(&reply(&messages, complete), "a", NOW);
        let Settled::Ended(sent) = read(json!([message(1, "failed", NOW), message(2, "delivered", NOW)]), false) else {
            panic!("it ended")
        };
        assert_eq!((sent.is_sent(), sent.msg_id.as_deref()), (true, Some("7B")));
        assert_eq!(read(json!([message(1, "in_doubt", NOW)]), true), Settled::Live);
        // One of an earlier day with the same id is another message.
        let old = json!([message(1, "sent", NOW - Duration::from_secs(86_400))]);
        assert_eq!(read(old.clone(), true), Settled::NeverArrived);
        assert_eq!(read(old, false), Settled::Unknown);
        assert_eq!(read(json!([]), true), Settled::NeverArrived);
        let not_found = json!({ "status": "error", "error": { "code": "NOT_FOUND" }, "data": {} });
        assert_eq!(super::read(&not_found, "a", NOW), Settled::Unknown);
    }

    #[test]
    fn a_question_keeps_the_id_as_it_is() {
        let question = question("9007199254740993", "a\"b", "t");
        assert_eq!(&question[..], br#"{"id":9007199254740993,"account":"a\"b","transaction":"t"}"#);
    }
}
