mod commands;
mod options;
mod properties;
mod refusals;
mod requests;
mod schema;

use super::*;
use crate::model::{Input, Refusal, Request};

pub(super) fn settings() -> Settings {
    let send = ["SendMessage".to_owned(), "SendMessage/+".to_owned()];
    let reply_topics = ["SendMessageResp/#".to_owned(), "reply/#".to_owned()];
    let topics = Topics::new(&send, "SendMessageResp", "sendbridge", &reply_topics).expect("the defaults are valid");
    Settings { max_message: 256 * 1024, extra_types: vec![Arc::from("moments")], topics: Arc::new(topics) }
}

pub(super) fn meta() -> PacketMeta {
    PacketMeta { qos: 1, ticket: Some(Ticket { generation: 3, packet: 7 }), ..PacketMeta::default() }
}

pub(super) fn accepted_with(meta: PacketMeta, payload: &str) -> Request {
    let ticket = meta.ticket;
    let input = parse_request(&settings(), None, meta, payload.as_bytes());
    let Input::Request { ticket: given, request } = input else { panic!("{payload} gave {input:?}") };
    assert_eq!(given, ticket);
    *request
}

pub(super) fn accepted(payload: &str) -> Request {
    accepted_with(meta(), payload)
}

pub(super) fn refused_bytes(meta: PacketMeta, payload: &[u8]) -> Refusal {
    let ticket = meta.ticket;
    let input = parse_request(&settings(), Some("app1"), meta, payload);
    let Input::Refused { ticket: given, refusal } = input else {
        panic!("{} gave {input:?}", String::from_utf8_lossy(payload))
    };
    assert_eq!(given, ticket);
    assert_eq!(refusal.origin.suffix.as_deref(), Some("app1"));
    *refusal
}

/// A refusal as one line: code, field, message.
pub(super) fn refused(payload: &str) -> String {
    let fault = refused_bytes(meta(), payload.as_bytes()).fault;
    format!("{} {} {}", fault.code.as_str(), fault.field.as_deref().unwrap_or("-"), fault.message)
}

/// A valid text message with these members added.
pub(super) fn text_with(members: &str) -> String {
    format!(r#"{{"id":"1","type":"text","wxId":"w","conversationId":"S:a_b","content":"c"{members}}}"#)
}
