//! Takes out of a server's words what it repeats of our request. Pure.
//!
//! The words go to answers, events and replies, and into the journal. A server that quotes a request in its complaint
//! must not bring the key, or what a message says, to a topic that does not carry them.

use super::classify::WORDS_CHARS_MAX;
use crate::model::Verdict;
use serde_json::Value;
use std::fmt::Write as _;

const HIDDEN: &str = "…";
/// What is shorter says nothing, and would be found in words that quote nothing.
const QUOTE_BYTES_MIN: usize = 4;
/// What a message's events carry as well, and what people search words for.
const TOLD: [&str; 4] = ["wxId", "conversationId", "type", "id"];

/// Hides the key and the texts of the request with this body in what a verdict says.
pub(super) fn hide(verdict: &mut Verdict, key: &str, body: &[u8]) {
    let words = match verdict {
        Verdict::Confirmed { .. } => return,
        Verdict::Refused { sender } => &mut sender.msg,
        Verdict::NotSent { detail, .. } | Verdict::Unknown { detail, .. } => detail,
    };
    let mut quotes = vec![key.to_owned()];
    if let Ok(Value::Object(fields)) = serde_json::from_slice(body) {
        let texts = fields.iter().filter(|(name, _)| !TOLD.iter().any(|told| name.eq_ignore_ascii_case(told)));
        texts.for_each(|(_, value)| add_texts(value, &mut quotes));
    }
    hide_all(words, quotes);
}

/// Hides the key alone, where nobody knows what else is private.
pub(super) fn hide_key(words: &mut Box<str>, key: &str) {
    hide_all(words, vec![key.to_owned()]);
}

fn add_texts(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) => texts.extend(spellings(text)),
        Value::Array(values) => values.iter().for_each(|value| add_texts(value, texts)),
        Value::Object(fields) => fields.values().for_each(|value| add_texts(value, texts)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A text as it is, as it stands in JSON, in JSON of ASCII alone, and each of these within a JSON string.
fn spellings(text: &str) -> Vec<String> {
    let within = |text: &str| {
        let quoted = Value::from(text).to_string();
        quoted[1..quoted.len() - 1].to_owned()
    };
    let plain = within(text);
    let mut ascii = String::new();
    for unit in plain.encode_utf16() {
        match u8::try_from(unit).ok().filter(u8::is_ascii) {
            Some(byte) => ascii.push(byte.into()),
            None => {
                // Writing to a String cannot fail.
                let _ = write!(ascii, "\\u{unit:04x}");
            }
        }
    }
    let twice = [within(&plain), within(&ascii)];
    [text.to_owned(), plain, ascii].into_iter().chain(twice).collect()
}

fn hide_all(words: &mut Box<str>, mut quotes: Vec<String>) {
    quotes.retain(|quote| quote.len() >= QUOTE_BYTES_MIN);
    // One that holds another goes first.
    quotes.sort_by_key(|quote| std::cmp::Reverse(quote.len()));
    let was_cut = words.chars().nth(WORDS_CHARS_MAX - 1).is_some();
    for quote in &quotes {
        if words.contains(quote.as_str()) {
            *words = words.replace(quote.as_str(), HIDDEN).into();
        }
    }
    // Of words that were cut off, the end may be the beginning of a quote.
    let begins = |quote: &String| {
        let longest = quote.len().min(words.len() + 1);
        let mut ends = (QUOTE_BYTES_MIN..longest).rev().filter(|end| quote.is_char_boundary(*end));
        ends.find(|end| words.ends_with(&quote[..*end]))
    };
    if let Some(bytes) = quotes.iter().filter_map(begins).max().filter(|_| was_cut) {
        *words = format!("{}{HIDDEN}", &words[..words.len() - bytes]).into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{NotSent, Sender};

    const KEY: &str = "secret-key-1234";
    const BODY: &str = r#"{"type":"link","id":"m-1","wxId":"1688850407900545","conversationId":"S:1_2",
        "content":"您的\"验证码\"是 4711","data":{"titles":["秋季新品","ok"]}}"#;

    fn hidden(words: &str) -> String {
        let sender = Sender { http: 400, code: None, msg: super::super::classify::shorten(words) };
        let mut verdict = Verdict::Refused { sender };
        hide(&mut verdict, KEY, BODY.as_bytes());
        let Verdict::Refused { sender } = verdict else { panic!("{verdict:?}") };
        sender.msg.into_string()
    }

    #[test]
    fn the_key_and_the_texts_are_hidden_however_they_are_spelled() {
        assert_eq!(hidden(r#"您的"验证码"是 4711 has bad words"#), "… has bad words");
        assert_eq!(hidden(r#"got {"content":"您的\"验证码\"是 4711"}"#), r#"got {"content":"…"}"#);
        let ascii = r#"{"content":"\u60a8\u7684\"\u9a8c\u8bc1\u7801\"\u662f 4711","key":"secret-key-1234"}"#;
        assert_eq!(hidden(ascii), r#"{"content":"…","key":"…"}"#);
        // JSON within a JSON string.
        let twice = Value::from(ascii).to_string();
        assert_eq!(hidden(&twice), r#""{\"content\":\"…\",\"key\":\"…\"}""#);
        assert_eq!(hidden("no picture of 秋季新品"), "no picture of …");
    }

    #[test]
    fn what_an_event_tells_anyway_and_what_is_short_stays() {
        let words = "account 1688850407900545 of m-1 is no link, ok?";
        assert_eq!(hidden(words), words);
    }

    #[test]
    fn words_that_were_cut_off_in_a_quote_do_not_end_with_half_of_it() {
        let before = "x".repeat(WORDS_CHARS_MAX - 6);
        assert_eq!(hidden(&format!("{before}您的\"验证码\"是 4711")), format!("{before}…"));
        let not_cut = "ends with secret";
        assert_eq!(hidden(not_cut), not_cut);
    }

    #[test]
    fn what_another_verdict_says_is_looked_through_too() {
        let mut verdict = Verdict::NotSent { why: NotSent::Offline, detail: format!("code 5: {KEY}").into() };
        hide(&mut verdict, KEY, b"no JSON");
        assert_eq!(verdict, Verdict::NotSent { why: NotSent::Offline, detail: "code 5: …".into() });
        let mut words = Box::from("the key secret-key-1234 is unknown");
        hide_key(&mut words, KEY);
        assert_eq!(&*words, "the key … is unknown");
    }
}
