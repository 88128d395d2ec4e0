//! WeCom's encryption: AES-256-CBC with the key's first half as the vector, padded to 32 bytes.
//!
//! Source: WeCom's page on encrypted callbacks (developer.work.weixin.qq.com, path 90968).

use crate::intake::callback::read::hex;
use aes::Aes256;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use cbc::cipher::{BlockModeDecrypt as _, KeyIvInit as _, block_padding::NoPadding};
use sha1::{Digest, Sha1};
use subtle::ConstantTimeEq;

/// The key is 43 characters whose last one usually has bits left over: WeCom's own sample key does.
const KEY_ENGINE: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

const BLOCK_BYTES: usize = 32;
/// Random bytes before the length.
const SALT_BYTES: usize = 16;

/// An `EncodingAESKey`, decoded.
#[derive(Clone)]
pub struct AesKey([u8; 32]);

impl AesKey {
    /// `None` unless it is 43 characters of base64.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 43 {
            return None;
        }
        let bytes = KEY_ENGINE.decode(format!("{text}=")).ok()?;
        bytes.try_into().ok().map(Self)
    }
}

/// Why a callback could not be opened. Not told to whoever sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sealed {
    Base64,
    Length,
    Padding,
    Receiver,
    NotText,
}

/// Whether the four parts are signed with `token`.
pub(super) fn is_signed(token: &str, timestamp: &str, nonce: &str, encrypted: &str, signature: &str) -> bool {
    let mut parts = [token, timestamp, nonce, encrypted];
    parts.sort_unstable();
    let mut hash = Sha1::new();
    for part in parts {
        hash.update(part.as_bytes());
    }
    let wanted = hex(&hash.finalize());
    wanted.as_bytes().ct_eq(signature.to_ascii_lowercase().as_bytes()).into()
}

/// The message inside, for one of `receivers`. Checked in an order in which nothing is decrypted that is not signed:
/// the caller has asked [`is_signed`] before.
pub(super) fn open(key: &AesKey, receivers: &[String], encrypted: &str) -> Result<String, Sealed> {
    let mut bytes = STANDARD.decode(encrypted).map_err(|_| Sealed::Base64)?;
    if bytes.is_empty() || bytes.len() % BLOCK_BYTES != 0 {
        return Err(Sealed::Length);
    }
    let cipher = cbc::Decryptor::<Aes256>::new_from_slices(&key.0, &key.0[..16]).map_err(|_| Sealed::Length)?;
    let plain = cipher.decrypt_padded::<NoPadding>(&mut bytes).map_err(|_| Sealed::Length)?;
    let plain = unpadded(plain)?;
    let (length, rest) =
        plain.get(SALT_BYTES..).and_then(|rest| rest.split_first_chunk::<4>()).ok_or(Sealed::Length)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| Sealed::Length)?;
    let (message, receiver) = rest.split_at_checked(length).ok_or(Sealed::Length)?;
    let is_for_us = receivers.iter().any(|wanted| wanted.as_bytes() == receiver);
    if !is_for_us {
        return Err(Sealed::Receiver);
    }
    String::from_utf8(message.to_vec()).map_err(|_| Sealed::NotText)
}

/// Padding is 1 to 32 equal bytes, more than what libraries for blocks of 16 take.
fn unpadded(plain: &[u8]) -> Result<&[u8], Sealed> {
    let count = usize::from(*plain.last().ok_or(Sealed::Padding)?);
    if !(1..=BLOCK_BYTES).contains(&count) || count > plain.len() {
        return Err(Sealed::Padding);
    }
    let (message, padding) = plain.split_at(plain.len() - count);
    if padding.iter().any(|byte| usize::from(*byte) != count) {
        return Err(Sealed::Padding);
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "QDG6eK";
    const KEY: &str = "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C";
    const CORP: &str = "wx5823bf96d3bd56c7";
    const ECHO: &str = "P9nAzCzyDtyTWESHep1vC5X9xho/qYX3Zpb4yKa9SKld1DsH3Iyt3tP3zNdtp+4RPcs8TgAE7OaBO+FZXvnaqQ==";
    const POST: &str = "RypEvHKD8QQKFhvQ6QleEB4J58tiPdvo+rtK1I9qca6aM/wvqnLSV5zEPeusUiX5L5X/0lWfrf0QADHHhGd3QczcdCUpj911L3vg3W/sYYvuJTs3TUUkSUXxaccAS0qhxchrRYt66wiSpGLYL42aM6A8dTT+6k4aSknmPj48kzJs8qLjvd4Xgpue06DOdnLxAUHzM6+kDZ+HMZfJYuR+LtwGc2hgf5gsijff0ekUNXZiqATP7PF5mZxZ3Izoun1s4zG4LUMnvw2r+KqCKIw+3IQH03v+BCA9nMELNqbSf6tiWSrXJB3LAVGUcallcrw8V2t9EL4EhzJWrQUax5wLVMNS0+rUPA3k22Ncx4XXZS9o0MBH27Bo6BpNelZpS+/uh9KsNlY6bHCmJU9p8g7m3fVKn28H3KDYA5Pl/T8Z1ptDAVe0lXdQ2YoyyH2uyPIGHBZZIs2pDBS8R07+qN+E7Q==";

    fn key() -> AesKey {
        AesKey::parse(KEY).expect("a key")
    }

    fn receivers() -> Vec<String> {
        vec!["another".to_owned(), CORP.to_owned()]
    }

    #[test]
    fn opens_the_official_samples() {
        let signature = "5c45ff5e21c57e6ad56bac8758b79b1d9ac89fd3";
        assert!(is_signed(TOKEN, "1409659589", "263014780", ECHO, signature));
        assert_eq!(open(&key(), &receivers(), ECHO).as_deref(), Ok("1616140317555161061"));

        let signature = "477715d11cdb4164915debcba66cb864d751f3e6";
        assert!(is_signed(TOKEN, "1409659813", "1372623149", POST, signature));
        let xml = open(&key(), &receivers(), POST).expect("readable");
        assert_eq!(xml.len(), 284);
        assert!(xml.contains("<![CDATA[mycreate]]>") && xml.contains("4561255354251345929"), "{xml}");
    }

    #[test]
    fn opens_the_second_sample() {
        let key = AesKey::parse("kWxPEV2UEDyxWpmPdKC3F4dgPDmOvfKX1HGnEUDS1aR").expect("a key");
        let echo = "4ByGGj+sVCYcvGeQYhaKIk1o0pQRNbRjxybjTGblXrBaXlTXeOo1+bXFXDQQb1o6co6Yh9Bv41n7hOchLF6p+Q==";
        let signature = "dd6b9c95b495b3f7e2901bfbc76c664930ffdb96";
        assert!(is_signed("123456", "1411443780", "437374425", echo, signature));
        assert!(open(&key, &["wx49f0ab532d5d035a".to_owned()], echo).is_ok());
    }

    #[test]
    fn refuses_what_is_signed_otherwise_or_for_others() {
        assert!(!is_signed(TOKEN, "1409659589", "263014781", ECHO, "5c45ff5e21c57e6ad56bac8758b79b1d9ac89fd3"));
        assert!(!is_signed(TOKEN, "1409659589", "263014780", ECHO, ""));
        assert_eq!(open(&key(), &["another".to_owned()], ECHO), Err(Sealed::Receiver));
        assert_eq!(open(&key(), &receivers(), "no base64!"), Err(Sealed::Base64));
        assert_eq!(open(&key(), &receivers(), ""), Err(Sealed::Length));
        assert_eq!(open(&key(), &receivers(), "AAAAAAAAAAAAAAAAAAAAAA=="), Err(Sealed::Length));
    }

    #[test]
    fn every_flipped_bit_is_refused_or_changes_only_what_is_inside() {
        let bytes = STANDARD.decode(ECHO).expect("base64");
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            // Only the signature tells; opening must not panic.
            let _ = open(&key(), &receivers(), &STANDARD.encode(bytes));
        }
    }

    #[test]
    fn a_key_is_43_characters() {
        assert!(AesKey::parse("short").is_none());
        assert!(AesKey::parse(&"!".repeat(43)).is_none());
        assert!(AesKey::parse(&"A".repeat(44)).is_none());
    }
}
