//! From a payload on the send topic to a request, or to a refusal.

use super::fingerprint::fingerprint;
use super::object::{Member, Object};
use super::options::parse_options;
use super::{PacketMeta, Settings, allowed_reply, field, object, rules, shown};
use crate::model::{Account, Code, Fault, Input, MessageId, Origin, Refusal, Request};
use bytes::Bytes;
use std::borrow::Cow;
use std::time::Duration;

/// The largest payload that is searched for its id although it is refused for its size: what the connection lets
/// through by default.
const SEARCHED_BYTES_MAX: usize = 1024 * 1024;

/// Names that are for us; all others are forwarded as they came.
const RESERVED: [&str; 3] = ["id", "type", "bridge"];

/// Reads a message to send. `suffix` is what followed the send topic.
///
/// Always gives one input with the packet's ticket: a request, or a refusal with the id as far as it can be read.
pub fn parse_request(settings: &Settings, suffix: Option<&str>, mut meta: PacketMeta, payload: &[u8]) -> Input {
    let origin = Origin {
        suffix: suffix.map(Box::from),
        reply_to: allowed_reply(&settings.topics, suffix, &mut meta),
        weak: meta.qos == 0,
    };
    let ticket = meta.ticket;
    let mut identity = Identity::default();
    match read(settings, &meta, payload, &mut identity) {
        Ok(request) => Input::Request { ticket, request: Box::new(Request { origin, ..request }) },
        Err(fault) => {
            let Identity { id, account } = identity;
            Input::Refused { ticket, refusal: Box::new(Refusal { id, account, origin, fault }) }
        }
    }
}

/// Whom a refusal concerns, as far as it can be read from a payload that is wrong.
#[derive(Default)]
struct Identity {
    id: Option<MessageId>,
    account: Option<Account>,
}

fn read(settings: &Settings, meta: &PacketMeta, payload: &[u8], identity: &mut Identity) -> Result<Request, Fault> {
    let fits = payload.len() <= settings.max_message;
    if !fits && payload.len() > SEARCHED_BYTES_MAX {
        return Err(too_large(payload.len(), settings.max_message));
    }
    let object = Object::parse(payload);
    if let Ok(object) = &object {
        identity.id = object.only("id").and_then(|raw| field::message_id("id", raw).ok());
        identity.account = object.only("wxId").and_then(|raw| rules::account(raw).ok());
    }
    if !fits {
        return Err(too_large(payload.len(), settings.max_message));
    }
    if meta.retain {
        return Err(Fault::new(Code::Retained, "retained messages are never sent: publish without the retain flag"));
    }
    let object = object?;
    object.check()?;
    build(settings, meta.expiry, &object)
}

fn too_large(bytes: usize, bytes_max: usize) -> Fault {
    let message =
        format!("payload is {bytes} bytes long, at most {bytes_max} are allowed: send large content as a file");
    Fault::new(Code::TooLarge, message)
}

/// Checks an object field by field. The origin is left empty.
fn build(settings: &Settings, expiry: Option<Duration>, object: &Object<'_>) -> Result<Request, Fault> {
    let Some(raw_id) = object.get("id") else {
        return Err(field::invalid("id", "id is required: add a string or a number, another one per message"));
    };
    let id = field::message_id("id", raw_id)?;
    let rules::Addressed { kind, account, conversation } = rules::check(settings, object)?;
    let options = parse_options(object.given("bridge"), expiry)?;
    let forwarded = object.sorted().filter(|(name, _)| !RESERVED.contains(name));
    let fingerprint = fingerprint(&kind, forwarded);
    let shown = shown::of_request(&kind, |name| object.get(name).and_then(written));
    let body = forward(object.members());
    let origin = Origin::default();
    Ok(Request { id, kind, account, conversation, origin, options, fingerprint, shown, body })
}

/// A string, or a number as it was written.
fn written(raw: &str) -> Option<Cow<'_, str>> {
    object::decode(raw).or_else(|| field::is_number(raw).then_some(Cow::Borrowed(raw)))
}

/// The object without what is for us: names and values byte for byte, in their order.
fn forward(members: &[Member<'_>]) -> Bytes {
    let mut body =
        Vec::with_capacity(members.iter().map(|member| member.raw_name.len() + member.value.len() + 2).sum());
    for member in members {
        if RESERVED.iter().any(|name| member.name.eq_ignore_ascii_case(name)) {
            continue;
        }
        body.push(if body.is_empty() { b'{' } else { b',' });
        body.extend_from_slice(member.raw_name.as_bytes());
        body.push(b':');
        body.extend_from_slice(member.value.as_bytes());
    }
    // A valid message has at least its account, so the brace is open.
    body.push(b'}');
    Bytes::from(body)
}
