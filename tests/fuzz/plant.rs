//! Puts a word into the texts of a message that must not come out where somebody else reads: in a refusal, in an alarm,
//! in the log.

use super::mutate::tokens;
use std::ops::Range;

/// In a text.
pub const CANARY: &str = "Zq7canaryXw";
/// At the end of a number.
pub const DIGITS: &str = "73109842657";

/// The JSON with the canary in all its texts, and with it in one of them only, so that the others stay what they were.
/// Names stay as they are, because a refusal may name them.
pub fn planted(json: &[u8]) -> Vec<Vec<u8>> {
    if holds(json) {
        return Vec::new();
    }
    let values = values(json);
    if values.is_empty() {
        return Vec::new();
    }
    // Which one depends on the input alone.
    let sum = json.iter().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    let one = values[sum % values.len()].clone();
    vec![with_canaries(json, &values), with_canaries(json, &[one])]
}

/// Whether the canary, or what stands for it in a number, is in there.
pub fn is_in(text: &str) -> bool {
    holds(text.as_bytes())
}

fn holds(bytes: &[u8]) -> bool {
    let holds = |word: &str| bytes.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word.as_bytes()));
    holds(CANARY) || holds(DIGITS)
}

/// The texts and numbers that are no names.
fn values(json: &[u8]) -> Vec<Range<usize>> {
    let tokens = tokens(json);
    let is_value = |index: usize| {
        let token = &json[tokens[index].clone()];
        let is_text = token.len() >= 2 && token.starts_with(b"\"") && token.ends_with(b"\"");
        let is_number = token[0].is_ascii_digit() && token.iter().all(u8::is_ascii_digit);
        let next = tokens[index + 1..].iter().map(|next| json[next.start]).find(|byte| !byte.is_ascii_whitespace());
        (is_text && next != Some(b':')) || is_number
    };
    (0..tokens.len()).filter(|index| is_value(*index)).map(|index| tokens[index].clone()).collect()
}

fn with_canaries(json: &[u8], values: &[Range<usize>]) -> Vec<u8> {
    let mut made = Vec::with_capacity(json.len() + values.len() * CANARY.len());
    let mut copied = 0;
    for value in values {
        // At the front of a text, where a refusal that shows only its beginning would show it; behind a number.
        let (place, canary) = if json[value.start] == b'"' { (value.start + 1, CANARY) } else { (value.end, DIGITS) };
        made.extend_from_slice(&json[copied..place]);
        made.extend_from_slice(canary.as_bytes());
        copied = place;
    }
    made.extend_from_slice(&json[copied..]);
    made
}
