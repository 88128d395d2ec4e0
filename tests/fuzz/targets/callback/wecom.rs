//! WeCom. The first line says how the rest comes:
//!
//! - `SEAL`: a message that WeCom encrypts and signs for us; so is everything without such a line
//! - `CRYPT`: what is encrypted, with its salt, length, receiver and padding; signed
//! - `SIGN`: the encrypted part as it stands in the XML; signed
//! - `GET query` and `POST query`: the request as it is, a body after an empty line

use super::{Arrived, Delivery, Kind, NOW, deliver};
use aes::Aes256;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cbc::cipher::{BlockModeEncrypt as _, KeyIvInit as _, block_padding::NoPadding};
use sendbridge::intake::callback::http::pairs;
use sendbridge::intake::callback::{AesKey, WecomKeys};
use sha1::{Digest as _, Sha1};
use std::time::Duration;

pub const WORDS: &str = r#"
    SEAL CRYPT SIGN GET POST msg_signature= timestamp= nonce= echostr= & %2B %3D <xml> </xml> <Encrypt> </Encrypt>
    <![CDATA[ ]]> <InfoType> </InfoType> <Event> </Event> <ChangeType> </ChangeType> <MsgType> </MsgType> <MsgId>
    </MsgId>
    <SuiteId> </SuiteId> <AgentID> <AuthCorpId> <ToUserName> </ToUserName> <UserID> </UserID> <ExternalUserID>
    <ChatId>
    <UpdateDetail> <TimeStamp>1403610513</TimeStamp> <TagId> <Id> <MemChangeList> <Item> </Item> <a/>
    <?xml␠version="1.0"?>
    <!DOCTYPE␠x␠[<!ENTITY␠a␠"aa">]> <!--␠x␠--> &lt; &#20320; &#x0; &a; wx5823bf96d3bd56c7 suite_ticket create_auth
    change_contact change_external_contact change_external_chat change_external_tag customer_acquisition add_member
    <SuiteTicket>s</SuiteTicket> <x:a> <a␠b="c">
"#;

const TOKEN: &str = "QDG6eK";
const KEY: &str = "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C";
const CORP: &str = "wx5823bf96d3bd56c7";
const TIMESTAMP: &str = "1700000000";
const NONCE: &str = "263014780";

fn kind() -> Kind {
    let aes_key = AesKey::parse(KEY).expect("a key");
    let keys = WecomKeys { token: Box::from(TOKEN), aes_key, receivers: vec![CORP.to_owned()] };
    Kind::Wecom { keys, tolerance: Duration::from_secs(300) }
}

/// Encrypts whole blocks of 32 bytes, as the vendor's page says.
fn encrypted(mut plain: Vec<u8>) -> String {
    // The key of that page ends in a character with bits left over; `A` is what it means without them.
    let key = STANDARD.decode(format!("{}A=", &KEY[..42])).expect("base64");
    plain.resize(plain.len().next_multiple_of(32), 32);
    let length = plain.len();
    let cipher = cbc::Encryptor::<Aes256>::new_from_slices(&key, &key[..16]).expect("a key and a vector");
    let sealed = cipher.encrypt_padded::<NoPadding>(&mut plain, length).expect("whole blocks");
    STANDARD.encode(sealed)
}

/// Salt, length, message, receiver and padding.
fn sealed(message: &[u8]) -> String {
    let length = u32::try_from(message.len()).expect("a short message").to_be_bytes();
    let mut plain = [&[7; 16], &length[..], message, CORP.as_bytes()].concat();
    let count = 32 - plain.len() % 32;
    plain.extend(std::iter::repeat_n(u8::try_from(count).expect("at most 32"), count));
    encrypted(plain)
}

fn signature(timestamp: &str, nonce: &str, encrypted: &str) -> String {
    let mut parts = [TOKEN, timestamp, nonce, encrypted];
    parts.sort_unstable();
    Sha1::digest(parts.concat()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn signed_query(encrypted: &str) -> Vec<(String, String)> {
    let signature = signature(TIMESTAMP, NONCE, encrypted);
    [("msg_signature", &*signature), ("timestamp", TIMESTAMP), ("nonce", NONCE)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

/// A POST with this as its encrypted part.
fn signed(encrypted: &str) -> Delivery {
    let body =
        format!("<xml><ToUserName><![CDATA[{CORP}]]></ToUserName><Encrypt><![CDATA[{encrypted}]]></Encrypt></xml>");
    Delivery { query: signed_query(encrypted), ..Delivery::post(body.as_bytes()) }
}

fn as_it_is(line: &str, rest: &[u8]) -> Delivery {
    let query = line.split_once(' ').map_or("", |(_, query)| query);
    let body = rest.strip_prefix(b"\n").unwrap_or(rest).to_vec();
    Delivery { is_get: line.starts_with("GET"), query: pairs(query), headers: Vec::new(), body }
}

pub fn check(input: &[u8]) {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let line = String::from_utf8_lossy(&input[..end]).into_owned();
    let rest = input.get(end + 1..).unwrap_or_default();
    check_query(&line);
    let delivery = match &line[..] {
        "SIGN" => signed(&String::from_utf8_lossy(rest).replace("]]>", "")),
        "CRYPT" => signed(&encrypted(rest.to_vec())),
        line if line.starts_with("GET") || line.starts_with("POST") => as_it_is(line, rest),
        "SEAL" => return check_sealed(rest),
        _ => return check_sealed(input),
    };
    let arrived = deliver(kind, std::slice::from_ref(&delivery)).remove(0);
    check_proof(&delivery, &arrived);
}

/// What comes sealed and signed is for us: it is read, or said to be unreadable.
fn check_sealed(message: &[u8]) {
    let sealed = sealed(message);
    let delivery = signed(&sealed);
    let arrived = deliver(kind, std::slice::from_ref(&delivery)).remove(0);
    let is_text = std::str::from_utf8(message).is_ok();
    let is_read = matches!(arrived, Arrived::Callback(..) | Arrived::Unreadable(_));
    assert_eq!(is_read, is_text, "it is signed: {arrived:?}");
    check_proof(&delivery, &arrived);
    let mut query = signed_query(&sealed);
    query.push(("echostr".to_owned(), sealed));
    let echo = Delivery { is_get: true, query, ..Delivery::default() };
    let arrived = deliver(kind, std::slice::from_ref(&echo)).remove(0);
    assert_eq!(matches!(arrived, Arrived::Answer(_)), is_text, "an echo that was signed: {arrived:?}");
    if let Arrived::Answer(answer) = arrived {
        assert_eq!(answer.body.as_bytes(), message, "the echo is what came");
    }
}

/// What was taken is forged with anything else in place of its signature, time or nonce.
fn check_proof(delivery: &Delivery, arrived: &Arrived) {
    if *arrived == Arrived::Forged {
        return;
    }
    let first = |name: &str| delivery.query.iter().position(|(own, _)| own == name).expect("it was needed");
    for name in ["msg_signature", "timestamp", "nonce"] {
        let mut other = delivery.clone();
        other.query[first(name)].1.push('0');
        assert_eq!(deliver(kind, &[other]), [Arrived::Forged], "{name}");
    }
    let number: u64 = delivery.query[first("timestamp")].1.parse().expect("a time");
    let millis = if number >= 100_000_000_000 { number } else { number * 1000 };
    assert!(millis.abs_diff(NOW.as_millis()) <= 300_000, "within the tolerance");
}

/// A query is pairs; written with every byte escaped they are the same.
fn check_query(query: &str) {
    let read = pairs(query);
    let escaped = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    let written: Vec<String> =
        read.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value))).collect();
    assert_eq!(pairs(&written.join("&")), read, "written and read again");
}
