//! What the demo publishes, and to whom. Pure, and the same in every run.

use bytes::Bytes;
use serde_json::{Value, json};

/// An account of the demo, and how many messages are published for it: unequal on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    pub account: &'static str,
    pub corp: &'static str,
    pub messages: u32,
}

const fn member(corp: &'static str, account: &'static str, messages: u32) -> Member {
    Member { account, corp, messages }
}

pub const MEMBERS: [Member; 12] = [
    member("north-star", "anna", 34),
    member("north-star", "ben", 31),
    member("north-star", "chen", 28),
    member("north-star", "dora", 24),
    member("north-star", "emil", 20),
    member("harbour", "fang", 33),
    member("harbour", "gina", 29),
    member("harbour", "hugo", 24),
    member("harbour", "iris", 20),
    member(SMALL_CORP, "jan", 24),
    member(SMALL_CORP, "kim", 20),
    member(SMALL_CORP, "lea", 12),
];

/// The company whose hour is small enough to be seen running out.
pub const SMALL_CORP: &str = "kiosk";
/// Its messages in any hour, fewer than are published for it.
pub const SMALL_CORP_PER_HOUR: u32 = 40;
/// How long its messages are worth sending: what finds no room in the hour is answered `EXPIRED`.
const SMALL_CORP_TTL: &str = "20s";

/// The field by which the pretend sender tells messages apart; forwarded like every field that the bridge does not
/// know.
pub const TOKEN_FIELD: &str = "trace";

/// The key of answers whose `id` is `null`.
pub const NO_ID: &str = "(none)";

/// When a message is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wave {
    /// All at once, at the start.
    Burst,
    /// While faults happen.
    Second,
    /// While the bridge is down: the broker keeps them for it.
    WhileDown,
}

/// One message to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Its id, as the answer will repeat it; or [`NO_ID`].
    pub id: Box<str>,
    /// By which the pretend sender knows it. `None` for one that must never get there.
    pub token: Option<Box<str>>,
    pub account: Option<&'static str>,
    pub payload: Bytes,
    pub wave: Wave,
}

/// Everything, in the order of publishing within each wave.
pub fn plan() -> Vec<Planned> {
    let mut planned = mistakes();
    let rounds = MEMBERS.iter().map(|member| member.messages).max().unwrap_or_default();
    for round in 0..rounds {
        for member in MEMBERS.iter().filter(|member| round < member.messages) {
            planned.push(message(member, round));
        }
    }
    planned
}

fn message(member: &Member, round: u32) -> Planned {
    let id = format!("{}-{round}", member.account);
    let wave = match (member.corp == SMALL_CORP, round * 10 / member.messages) {
        (_, 0..6) => Wave::Burst,
        (true, _) | (false, 6..9) => Wave::Second,
        (false, _) => Wave::WhileDown,
    };
    let mut body = content(round);
    body["id"] = json!(id);
    body["wxId"] = json!(member.account);
    body[TOKEN_FIELD] = json!(id);
    if member.corp == SMALL_CORP {
        body["bridge"] = json!({ "ttl": SMALL_CORP_TTL });
    } else if round % 5 == 4 {
        body["bridge"] = json!({ "priority": if round % 10 == 9 { 9 } else { 1 } });
    }
    Planned {
        token: Some(id.clone().into()),
        id: id.into(),
        account: Some(member.account),
        payload: Bytes::from(body.to_string()),
        wave,
    }
}

/// A message of one of several types, without what all types have.
fn content(round: u32) -> Value {
    let person = "S:customer";
    match round % 6 {
        1 => json!({ "type": "image", "conversationId": person, "fileUrl": "http://example.com/picture.png" }),
        3 => json!({
            "type": "link", "conversationId": person, "title": "Offer of the day", "url": "http://example.com/offer",
        }),
        5 => json!({ "type": "roomAt", "conversationId": "R:team", "content": "Meeting at ten", "atList": ["0"] }),
        _ => json!({ "type": "text", "conversationId": person, "content": format!("Hello, this is number {round}") }),
    }
}

/// What publishers get wrong: each is answered with what to do, and never sent.
fn mistakes() -> Vec<Planned> {
    let mistake = |id: &str, payload: String| Planned {
        id: Box::from(id),
        token: None,
        account: None,
        payload: Bytes::from(payload),
        wave: Wave::Burst,
    };
    let text = json!({ "id": "mistake-1", "type": "text", "wxId": "anna", "conversationId": "S:customer" });
    let telegram = json!({ "id": "mistake-2", "type": "telegram", "wxId": "ben", "conversationId": "S:customer" });
    vec![
        mistake("mistake-1", text.to_string()),
        mistake("mistake-2", telegram.to_string()),
        mistake(NO_ID, "{\"id\": oops".to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_message_has_its_own_id_and_the_hour_of_the_small_company_is_too_small() {
        let planned = plan();
        let ids: BTreeSet<&str> = planned.iter().map(|planned| &*planned.id).collect();
        assert_eq!(ids.len(), planned.len());
        assert!(planned.len() >= 300, "{}", planned.len());
        let small: u32 = MEMBERS.iter().filter(|member| member.corp == SMALL_CORP).map(|member| member.messages).sum();
        assert!(small > SMALL_CORP_PER_HOUR);
        for wave in [Wave::Burst, Wave::Second, Wave::WhileDown] {
            assert!(planned.iter().filter(|planned| planned.wave == wave).count() > 20, "{wave:?}");
        }
    }
}
