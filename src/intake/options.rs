//! `bridge`: what a publisher asks of us and not of the sender.

use super::field::{self, invalid, kind_of};
use super::object::{Object, decode};
use crate::model::{Fault, Lifetime, OnDoubt, Options};
use std::time::Duration;

pub(super) const NAMES: [&str; 6] = ["priority", "notBefore", "ttl", "expiresAt", "onDoubt", "tag"];

/// Reads `bridge` (`raw` is its JSON text, `None` when there is none) and adds the message expiry of MQTT 5.
pub(super) fn parse_options(raw: Option<&str>, expiry: Option<Duration>) -> Result<Options, Fault> {
    let mut options = match raw {
        Some(raw) => read(raw)?,
        None => Options::default(),
    };
    match (options.lifetime, expiry) {
        (Some(Lifetime::For(ttl)), Some(expiry)) => options.lifetime = Some(Lifetime::For(ttl.min(expiry))),
        (Some(Lifetime::Until(_)), Some(expiry)) => options.message_expiry = Some(expiry),
        (None, Some(expiry)) => options.lifetime = Some(Lifetime::For(expiry)),
        (Some(_) | None, None) => (),
    }
    Ok(options)
}

fn read(raw: &str) -> Result<Options, Fault> {
    if !raw.starts_with('{') {
        let message = format!("bridge must be an object, not {}: use {}", kind_of(raw), NAMES.join(", "));
        return Err(invalid("bridge", message));
    }
    let object = Object::parse_text(raw)?;
    object
        .check()
        .map_err(|fault| Fault { field: fault.field.map(|name| format!("bridge.{name}").into_boxed_str()), ..fault })?;
    object.check_known("bridge", "bridge.", &NAMES)?;
    Ok(Options {
        priority: object.given("priority").map(priority).transpose()?,
        not_before: object.given("notBefore").map(|raw| field::time("bridge.notBefore", raw)).transpose()?,
        lifetime: lifetime(&object)?,
        message_expiry: None,
        on_doubt: object.given("onDoubt").map(on_doubt).transpose()?,
        tag: object.given("tag").map(tag).transpose()?,
    })
}

fn priority(raw: &str) -> Result<u8, Fault> {
    match raw.as_bytes() {
        [digit @ b'0'..=b'9'] => Ok(digit - b'0'),
        _ => Err(invalid("bridge.priority", "bridge.priority must be a whole number from 0 to 9: 9 goes first")),
    }
}

fn lifetime(object: &Object<'_>) -> Result<Option<Lifetime>, Fault> {
    match (object.given("ttl"), object.given("expiresAt")) {
        (Some(_), Some(_)) => {
            Err(invalid("bridge.ttl", "bridge.ttl and bridge.expiresAt exclude each other: send one"))
        }
        (Some(raw), None) => Ok(Some(Lifetime::For(field::span("bridge.ttl", raw)?))),
        (None, Some(raw)) => Ok(Some(Lifetime::Until(field::time("bridge.expiresAt", raw)?))),
        (None, None) => Ok(None),
    }
}

fn on_doubt(raw: &str) -> Result<OnDoubt, Fault> {
    match decode(raw).as_deref() {
        Some("report") => Ok(OnDoubt::Report),
        Some("resend") => Ok(OnDoubt::Resend),
        Some("hold") => Ok(OnDoubt::Hold),
        Some(_) | None => Err(invalid("bridge.onDoubt", "bridge.onDoubt is not known: use report, resend or hold")),
    }
}

fn tag(raw: &str) -> Result<Box<str>, Fault> {
    Ok(Box::from(&*field::label("bridge.tag", raw)?))
}
