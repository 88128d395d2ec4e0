//! WeCom's side of its encrypted callbacks, as its page describes (developer.work.weixin.qq.com, path 90968):
//! AES-256-CBC with the key's first half as the vector, padded to 32 bytes, signed with SHA-1 over the sorted parts.

use super::Genuine;
use super::yunxin::hex;
use aes::Aes256;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use bytes::Bytes;
use cbc::cipher::{BlockModeEncrypt as _, KeyIvInit as _, block_padding::NoPadding};
use sha1::{Digest, Sha1};

/// The key's last character usually has bits left over.
const KEY_ENGINE: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

const BLOCK_BYTES: usize = 32;

/// What encrypts and signs for one address.
#[derive(Clone)]
pub struct WecomSide {
    token: Box<str>,
    key: [u8; 32],
    /// `receiveid`: the company or the suite that the callbacks are for.
    receiver: Box<str>,
}

/// What makes one request unlike the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seasoning<'a> {
    /// In seconds.
    pub timestamp: u64,
    pub nonce: &'a str,
    pub salt: [u8; 16],
}

impl WecomSide {
    /// `None` unless the key is 43 characters of base64.
    pub fn new(token: &str, encoding_aes_key: &str, receiver: &str) -> Option<Self> {
        let key = KEY_ENGINE.decode(format!("{encoding_aes_key}=")).ok()?;
        Some(Self { token: Box::from(token), key: key.try_into().ok()?, receiver: Box::from(receiver) })
    }

    /// The GET that tries out an address; its answer must be `echo` and nothing else.
    pub fn verification(&self, echo: &str, seasoning: Seasoning<'_>) -> Genuine {
        let encrypted = self.encrypted(echo, seasoning.salt);
        let query = format!("{}&echostr={}", self.signed(&encrypted, seasoning), escaped(&encrypted));
        Genuine { is_get: true, query, headers: Vec::new(), body: Bytes::new() }
    }

    /// The POST that brings `message`, which is XML.
    pub fn callback(&self, message: &str, seasoning: Seasoning<'_>) -> Genuine {
        let encrypted = self.encrypted(message, seasoning.salt);
        let body = format!(
            "<xml><ToUserName><![CDATA[{}]]></ToUserName><AgentID><![CDATA[]]></AgentID>\
             <Encrypt><![CDATA[{encrypted}]]></Encrypt></xml>",
            self.receiver
        );
        Genuine {
            is_get: false,
            query: self.signed(&encrypted, seasoning),
            headers: vec![("Content-Type", "text/xml; charset=utf-8".to_owned())],
            body: Bytes::from(body),
        }
    }

    fn signed(&self, encrypted: &str, seasoning: Seasoning<'_>) -> String {
        let timestamp = seasoning.timestamp.to_string();
        let signature = self.signature(encrypted, &timestamp, seasoning.nonce);
        format!("msg_signature={signature}&timestamp={timestamp}&nonce={}", seasoning.nonce)
    }

    fn signature(&self, encrypted: &str, timestamp: &str, nonce: &str) -> String {
        let mut parts = [&*self.token, timestamp, nonce, encrypted];
        parts.sort_unstable();
        hex(&Sha1::digest(parts.concat()))
    }

    fn encrypted(&self, message: &str, salt: [u8; 16]) -> String {
        let length = u32::try_from(message.len()).expect("a message is not that long").to_be_bytes();
        let mut plain = [&salt[..], &length, message.as_bytes(), self.receiver.as_bytes()].concat();
        // A whole block where nothing is missing, so that there is always something to take off.
        let padding = BLOCK_BYTES - plain.len() % BLOCK_BYTES;
        let whole = plain.len() + padding;
        plain.resize(whole, u8::try_from(padding).expect("at most 32"));
        let cipher = cbc::Encryptor::<Aes256>::new_from_slices(&self.key, &self.key[..16]).expect("of these lengths");
        STANDARD.encode(cipher.encrypt_padded::<NoPadding>(&mut plain, whole).expect("whole blocks"))
    }
}

/// Base64 in a query.
fn escaped(text: &str) -> String {
    text.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encrypts_and_signs_the_official_sample() {
        let key = "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C";
        let side = WecomSide::new("QDG6eK", key, "wx5823bf96d3bd56c7").expect("a key");
        let echo = "P9nAzCzyDtyTWESHep1vC5X9xho/qYX3Zpb4yKa9SKld1DsH3Iyt3tP3zNdtp+4RPcs8TgAE7OaBO+FZXvnaqQ==";
        assert_eq!(side.encrypted("1616140317555161061", *b"c41b64491c2468d0"), echo);
        let signature = side.signature(echo, "1409659589", "263014780");
        assert_eq!(signature, "5c45ff5e21c57e6ad56bac8758b79b1d9ac89fd3");
    }

    #[test]
    fn a_key_that_is_none_is_refused() {
        assert!(WecomSide::new("t", "short", "").is_none());
    }
}
