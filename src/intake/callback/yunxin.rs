//! Yunxin's group callbacks: asked before an operation takes effect, always allowed.
//!
//! Sources: the vendor's text on group callbacks; Yunxin's page on third-party callbacks for the headers: `MD5` is the
//! digest of the raw body, `CheckSum` is SHA-1 of secret, `MD5` and `CurTime`, both in lower-case hex.

use super::read::{Fields, digest, hex, is_fresh};
use super::{Draft, Read, Unreadable};
use crate::model::{Conversation, ConversationKind, Party, Phase, Time};
use md5::Md5;
use serde_json::Value;
use sha1::{Digest, Sha1};
use std::time::Duration;
use subtle::ConstantTimeEq;

/// The body of the answer that allows the operation.
pub(super) const ALLOW: &str = r#"{"errCode":0,"responseCode":200,"modifyResponse":{},"callbackExt":""}"#;

/// What a request carries to prove where it comes from.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Proof<'a> {
    pub(super) app_key: &'a str,
    pub(super) cur_time: &'a str,
    pub(super) md5: &'a str,
    pub(super) check_sum: &'a str,
}

/// Whether the proof fits the body, the secret and the time. `tolerance` zero takes any time.
pub(super) fn is_genuine(
    proof: Proof<'_>,
    app_key: &str,
    app_secret: &str,
    body: &[u8],
    now: Time,
    tolerance: Duration,
) -> bool {
    let body_md5 = hex(&Md5::digest(body));
    let mut check = Sha1::new();
    check.update(app_secret.as_bytes());
    check.update(body_md5.as_bytes());
    check.update(proof.cur_time.as_bytes());
    let wanted = hex(&check.finalize());
    // Every part is looked at whatever the others say, so that the time it takes tells nothing.
    let is_key = same(proof.app_key, app_key);
    let is_body = same(&proof.md5.to_ascii_lowercase(), &body_md5);
    let is_signed = same(&proof.check_sum.to_ascii_lowercase(), &wanted);
    let is_fresh = is_fresh(proof.cur_time, now, tolerance);
    is_key & is_body & is_signed & is_fresh
}

fn same(left: &str, right: &str) -> bool {
    left.as_bytes().ct_eq(right.as_bytes()).into()
}

/// `None` for the empty object with which the address is tried out.
pub(super) fn read(proof: Proof<'_>, body: &[u8], received_at: Time) -> Result<Option<Read>, Unreadable> {
    let root: Value = serde_json::from_slice(body).map_err(|_| Unreadable::NotJson)?;
    let Value::Object(members) = &root else { return Err(Unreadable::NotAnObject) };
    if members.is_empty() {
        return Ok(None);
    }
    let fields = Fields::of(&root);
    let code = fields.integer("eventType");
    let mut draft = Draft::new(event(code, fields), &code.map_or_else(String::new, |code| code.to_string()));
    draft.phase = Some(Phase::Requested);
    draft.at = fields.time("timestamp").unwrap_or(received_at);
    draft.account = Some(proof.app_key.to_owned());
    draft.conversation = fields.text("tid").map(|id| Conversation { kind: ConversationKind::Group, id });
    draft.actor = fields.party("creator", "creatorName").or_else(|| fields.party("fromAccount", "fromNick"));
    draft.targets = targets(fields);
    draft.data = root;
    let key = digest(&[proof.md5.as_bytes(), proof.cur_time.as_bytes()]);
    Ok(Some(Read { key, drafts: vec![draft], signals: Vec::new() }))
}

fn event(code: Option<i64>, fields: Fields<'_>) -> &'static str {
    match code {
        Some(7) => "group/created",
        Some(8) => "group/dismissed",
        Some(9) => "group/member_added",
        Some(10) => "group/member_left",
        Some(11) => "group/admin_added",
        Some(12) => "group/admin_removed",
        Some(13) => "group/owner_changed",
        Some(14) => "group/member_removed",
        Some(15) if fields.text("tname").is_some() => "group/renamed",
        Some(15) => "group/updated",
        Some(16 | 17) => "group/member_updated",
        Some(18) if fields.is_true("mute") => "group/member_muted",
        Some(18) => "group/member_unmuted",
        Some(19) => "group/join_requested",
        Some(_) | None => "raw/unknown",
    }
}

fn targets(fields: Fields<'_>) -> Vec<Party> {
    let mut ids: Vec<String> = ["inviteList", "managerList", "kickList"]
        .into_iter()
        .flat_map(|name| fields.list(name))
        .filter_map(|item| super::read::text(&item))
        .collect();
    ids.extend(fields.text("toAccount"));
    ids.into_iter().map(|id| Party { id, name: None }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"eventType":8,"fromAccount":"wmtest3","fromClientType":"IOS","fromDeviceId":"4f60d2c0-559d-4b84-8315-29c94d8a4ea8","tid":2637250619,"timestamp":"1564575855993"}"#;
    const PROOF: Proof<'static> = Proof {
        app_key: "key",
        cur_time: "1564575856000",
        md5: "57650fc98ccd7ec966f0fb90ce7bde45",
        check_sum: "28195b40a552b08d98874781e25c23adc0e7c3e6",
    };

    fn check(proof: Proof<'_>, body: &[u8], now_ms: u64) -> bool {
        let tolerance = Duration::from_secs(300);
        is_genuine(proof, "key", "test-secret", body, Time::from_millis(now_ms), tolerance)
    }

    #[test]
    fn takes_what_is_signed_and_fresh() {
        assert!(check(PROOF, BODY, 1_564_575_856_000));
        assert!(check(Proof { md5: "57650FC98CCD7EC966F0FB90CE7BDE45", ..PROOF }, BODY, 1_564_576_155_000));
    }

    #[test]
    fn refuses_another_body_key_sum_or_time() {
        let now = 1_564_575_856_000;
        let mut other = BODY.to_vec();
        other[15] ^= 1;
        assert!(!check(PROOF, &other, now));
        assert!(!check(Proof { app_key: "other", ..PROOF }, BODY, now));
        assert!(!check(Proof { check_sum: "28195b40a552b08d98874781e25c23adc0e7c3e7", ..PROOF }, BODY, now));
        assert!(!check(Proof { cur_time: "1564575856001", ..PROOF }, BODY, now));
        assert!(!check(PROOF, BODY, now + 301_000));
        assert!(!check(PROOF, BODY, now - 301_000));
        assert!(!check(Proof::default(), BODY, now));
    }

    #[test]
    fn the_tried_out_address_is_no_event() {
        assert_eq!(read(PROOF, b"{}", Time::default()).expect("readable"), None);
    }
}
