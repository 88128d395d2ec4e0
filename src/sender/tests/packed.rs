//! Answers that are packed are taken as the bytes that came, whatever they would unpack to.

use super::super::classify::{AnswerBody, Observed};
use super::*;

const ANSWER: &[u8] = br#"{"code":0,"data":{"msgId":"a"}}"#;

/// The checksum of gzip.
fn crc32(bytes: &[u8]) -> u32 {
    let remainder = |byte: u32| (0..8).fold(byte, |rest, _| (rest >> 1) ^ (0xedb8_8320 * (rest & 1)));
    let table: [u32; 256] = std::array::from_fn(|byte| remainder(u32::try_from(byte).expect("a byte")));
    !bytes.iter().fold(!0_u32, |crc, byte| (crc >> 8) ^ table[usize::from(crc.to_le_bytes()[0] ^ byte)])
}

/// A whole gzip file (RFC 1952) of what these blocks unpack to.
fn member(blocks: &[u8], unpacked: &[u8]) -> Vec<u8> {
    let head = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    let length = u32::try_from(unpacked.len()).expect("short enough");
    [&head[..], blocks, &crc32(unpacked).to_le_bytes(), &length.to_le_bytes()].concat()
}

/// A block that is not compressed (RFC 1951, 3.2.4).
fn stored(bytes: &[u8], is_last: bool) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("short enough");
    [&[u8::from(is_last)][..], &length.to_le_bytes(), &(!length).to_le_bytes(), bytes].concat()
}

/// A last block of one space and so many repeats of 258 more, 13 bits each (RFC 1951, 3.2.6).
fn spaces(repeats: usize) -> Vec<u8> {
    let (last_and_fixed, space, repeat, end) = ("110", "01010000", "1100010100000", "0000000");
    let bits = [last_and_fixed, space, &repeat.repeat(repeats), end].concat();
    let byte = |bits: &[u8]| bits.iter().rev().fold(0, |byte, bit| (byte << 1) | (bit - b'0'));
    bits.as_bytes().chunks(8).map(byte).collect()
}

fn packed(bytes: &[u8]) -> Step {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", bytes.len());
    Step::Answer([head.as_bytes(), bytes].concat())
}

/// The body of the answer to one send that meets `step`, as the sender has it in hand.
async fn body_read(step: Step) -> Vec<u8> {
    let server = Scripted::start([step]).await;
    let sender = sender(&settings(&server.url()));
    let request = sender.routes.send(Seq(7), 1, "text", Bytes::from_static(BODY)).expect("a path");
    let observed = sender.exchanger.exchange(request, ANSWER_BYTES_MAX).await;
    let Observed::Answer { status: 200, body: AnswerBody::Whole(body), .. } = &observed else {
        panic!("{observed:?}");
    };
    body.to_vec()
}

/// Whoever unpacked it would read a success.
#[tokio::test]
async fn a_packed_success_confirms_nothing() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    let bytes = member(&stored(ANSWER, true), ANSWER);
    assert_eq!(doubt(&verdict_on(packed(&bytes), PATIENT, 1).await), Some(Doubt::Unreadable));
    assert_eq!(body_read(packed(&bytes)).await, bytes);
    // The same bytes that do not say that they are packed, and the text by itself.
    let unsaid = Step::Answer(
        [format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", bytes.len()).as_bytes(), &bytes].concat(),
    );
    assert_eq!(doubt(&verdict_on(unsaid, PATIENT, 1).await), Some(Doubt::Unreadable));
    let plain = String::from_utf8(ANSWER.to_vec()).expect("text");
    assert_eq!(verdict_on(Step::Answer(answer("200 OK", "", &plain)), PATIENT, 1).await, confirmed("a"));
}

/// A hundred times the cap, in less than the cap: a success and spaces, which is a success to whoever unpacked it. What
/// is held of it are the bytes that came.
#[tokio::test]
async fn a_packed_bomb_stays_as_small_as_it_came() {
    const REPEATS: usize = 30_000;
    let unpacked = [ANSWER, &vec![b' '; 1 + 258 * REPEATS]].concat();
    let bytes = member(&[stored(ANSWER, false), spaces(REPEATS)].concat(), &unpacked);
    assert!(bytes.len() < ANSWER_BYTES_MAX && unpacked.len() > 100 * ANSWER_BYTES_MAX);
    assert_eq!(doubt(&verdict_on(packed(&bytes), PATIENT, 1).await), Some(Doubt::Unreadable));
    assert_eq!(body_read(packed(&bytes)).await, bytes);
}
