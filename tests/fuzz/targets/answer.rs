//! What the sender's API answers: to a send, to a call, and its account list.
//!
//! The first line says how the answer came: its status, and after it `retry-after: …`, or `cut`, or `large`. All else
//! is the body; a body alone came with 200.

use super::{fault, json};
use crate::plant;
use bytes::Bytes;
use sendbridge::model::{Code, CommandOrigin, Doubt, NotSent, Reply, Sender, Time, Verdict};
use sendbridge::publisher::payload;
use sendbridge::sender::call::answer::{self, Question};
use sendbridge::sender::classify::{AnswerBody, Observed, RETRY_AFTER_MAX, Rules, Sign, classify};
use sendbridge::sender::directory;
use serde_json::Value;
use std::time::Duration;

pub const WORDS: &str = r#"
    "code" "msg" "data" "msgId" "Code" 0 -0 1 -1 -7 -5 -1000999 401 0.0 "0" null true {} [] "账号不在线" "企微不在线"
    "稍后再试" "7B8D35DA-0000" 200 201 204 302 400 401 403 404 429 500 502 503 504 cut large retry-after:␠120
    retry-after:␠-1 retry-after:␠Fri,␠31␠Dec␠1999␠23:59:59␠GMT retry-after:␠Friday,␠31-Dec-99␠23:59:59␠GMT
"#;

pub const LIST_WORDS: &str = r#"
    "code" "data" "msg" "wxId" "WXID" "corp_id" "Status" "status" 0 1 -1 "0" "1" null [] {} "1688850407900545" 200
    401 500
    9007199254740993 1970325000000001 "␠" large cut
"#;

/// Longest part of the sender's words that is kept, and what may be said around it; in characters.
const WORDS_CHARS_MAX: usize = 500;
const DETAIL_CHARS_MAX: usize = WORDS_CHARS_MAX + 100;

/// When every answer comes.
const NOW: Time = Time::from_millis(1_700_000_000_000);

/// An answer, taken apart.
struct Given<'a> {
    status: u16,
    observed: Observed,
    body: Option<&'a [u8]>,
}

fn given(input: &[u8]) -> Given<'_> {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let line = std::str::from_utf8(&input[..end]).unwrap_or_default();
    let (word, how) = line.split_once(' ').unwrap_or((line, ""));
    let (status, how, body) = match word.parse() {
        Ok(status) => (status, how, input.get(end + 1..).unwrap_or_default()),
        Err(_) => (200, "", input),
    };
    let came = match how {
        "large" => AnswerBody::TooLarge,
        "cut" => AnswerBody::Cut { why: Doubt::Reset, detail: Box::from("it broke off") },
        _ => AnswerBody::Whole(Bytes::copy_from_slice(body)),
    };
    let body = matches!(came, AnswerBody::Whole(_)).then_some(body);
    let retry_after = how.strip_prefix("retry-after: ").map(|header| Bytes::copy_from_slice(header.as_bytes()));
    Given { status, observed: Observed::Answer { status, retry_after, body: came }, body }
}

fn rules() -> [Rules; 2] {
    let listed = Rules {
        busy_means_not_done: true,
        temporary: vec![Sign::parse("稍后再试"), Sign::Code(-9)],
        offline: vec![Sign::parse("掉线")],
        unknown: vec![Sign::Code(-5), Sign::parse("超时")],
    };
    [Rules::default(), listed]
}

/// The `code` of an answer, where there is exactly one and it is a whole number as JSON writes them.
fn code(body: Option<&[u8]>) -> Option<i64> {
    // Whether texts that nobody needs are UTF-8 is not looked at.
    let members = json::members(String::from_utf8_lossy(body?).as_bytes())?;
    let code = members.get("code")?.get();
    // To some readers -0 is no whole number.
    let is_plain = code != "-0" && code.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    is_plain.then(|| code.parse().ok())?
}

/// What is said about an answer that could not be read, or was not needed, has nothing of it.
fn check_silent(input: &[u8], say: impl Fn(Observed) -> Option<String>) {
    for planted in plant::planted(input) {
        if let Some(said) = say(given(&planted).observed) {
            assert!(!plant::is_in(&said), "it repeats the answer: {said}");
        }
    }
}

fn check_words(sender: &Sender, status: u16) {
    assert_eq!(sender.http, status);
    assert!(sender.msg.chars().count() <= WORDS_CHARS_MAX, "{} bytes of words", sender.msg.len());
}

fn check_detail(detail: &str) {
    assert!(detail.chars().count() <= DETAIL_CHARS_MAX, "{} bytes of detail", detail.len());
}

/// To a send: done only on a plain word, and not done only where that is proven.
pub fn send(input: &[u8]) {
    for rules in &rules() {
        let Given { status, observed, body } = given(input);
        let verdict = classify(observed.clone(), rules, NOW);
        assert_eq!(verdict, classify(observed, rules, NOW), "read twice, and differently");
        let code = code(body);
        let is_success = (200..=299).contains(&status);
        let is_refusal = (400..=499).contains(&status);
        match &verdict {
            Verdict::Confirmed { msg_id } => {
                assert!(is_success && code == Some(0), "it was not said that it was done");
                let is_usable = |id: &str| !id.trim().is_empty() && id.len() <= 256;
                assert!(msg_id.as_deref().is_none_or(is_usable));
            }
            Verdict::Refused { sender } => {
                assert!(is_refusal || is_success && code.is_some_and(|code| code != 0));
                check_words(sender, status);
            }
            Verdict::NotSent { why, detail } => {
                let is_proven = is_refusal || status == 503 || is_success && code.is_some_and(|code| code != 0);
                assert!(is_proven, "not proven: {why:?}");
                if let NotSent::TooFrequent { retry_after } | NotSent::Busy { retry_after } = why {
                    assert!(retry_after.is_none_or(|wait| wait <= RETRY_AFTER_MAX));
                }
                check_detail(detail);
            }
            Verdict::Unknown { detail, .. } => {
                assert!(!is_refusal || code.is_some_and(|code| code != 0), "a refusal is proof");
                let is_text = body.is_some_and(|body| std::str::from_utf8(body).is_ok());
                let is_doubled = ["code", "msg", "data"].iter().any(|name| json::has_repeated(body, name));
                let is_said = is_success && code == Some(0) && is_text;
                assert!(!is_said || is_doubled, "it was said to be done");
                check_detail(detail);
            }
        }
        check_silent(input, |observed| match classify(observed, rules, NOW) {
            Verdict::Unknown { why: Doubt::Unreadable, detail } => Some(detail.into()),
            Verdict::Confirmed { .. } | Verdict::Refused { .. } | Verdict::NotSent { .. } | Verdict::Unknown { .. } => {
                None
            }
        });
    }
}

fn origin() -> CommandOrigin {
    CommandOrigin { name: Box::from("sender/call"), reply_to: None, transaction: None, by: None }
}

/// To a call: data only on a plain word, and a call that may have changed something is unresolved or proven.
pub fn call(input: &[u8]) {
    for (rules, changes) in rules().iter().flat_map(|rules| [(rules, false), (rules, true)]) {
        let question = Question { changes, timeout: Duration::from_secs(30), answer_bytes_max: 4096 };
        let Given { status, observed, body } = given(input);
        let read = answer::read(observed.clone(), &question, rules);
        assert_eq!(read, answer::read(observed, &question, rules), "read twice, and differently");
        match &read {
            Ok(data) => {
                assert!((200..=299).contains(&status) && data["code"] == 0 && data["http"] == status);
                let bytes = serde_json::to_string(data).expect("data is JSON").len();
                assert!(bytes <= 200 + 8 * body.map_or(0, <[u8]>::len), "{bytes} bytes of data");
                let reply = payload::reply(&Reply { origin: origin(), result: Ok(data.clone()) });
                let said: Value = serde_json::from_slice(&reply).expect("everybody can read the reply");
                assert_eq!(said["data"], *data);
            }
            Err(refused) => {
                fault::check(refused);
                if let Some(sender) = &refused.sender {
                    check_words(sender, status);
                }
                let is_proven = matches!(refused.code, Code::Refused | Code::Busy);
                let is_refusal = (400..=499).contains(&status) || status == 503;
                assert!(!is_proven || is_refusal || (200..=299).contains(&status), "not proven: {refused:?}");
                assert!(is_proven || refused.code == Code::Unresolved || !changes, "it may have changed something");
            }
        }
        check_silent(input, |observed| {
            let refused = answer::read(observed, &question, rules).err()?;
            // The number of the sender's code is told, and its words are in a place of their own.
            let code = refused.sender.as_ref().and_then(|sender| sender.code).map(|code| code.to_string());
            Some(code.map_or_else(|| refused.message.to_string(), |code| refused.message.replace(&code, "")))
        });
    }
}

/// An account list: ids to the digit, or why there is none, in few words and not in the sender's.
pub fn list(input: &[u8]) {
    let Given { status, observed, body } = given(input);
    let read = directory::read(observed.clone());
    assert_eq!(read, directory::read(observed), "read twice, and differently");
    match &read {
        Ok(entries) => {
            assert!((200..=299).contains(&status));
            assert!(entries.len() <= body.map_or(0, <[u8]>::len) / 2);
            for entry in entries {
                let ids = [Some(entry.account.as_str()), entry.corp.as_ref().map(|corp| corp.as_str())];
                for id in ids.into_iter().flatten() {
                    let is_id = !id.is_empty() && id.trim() == id && id != "0" && id.len() <= 128;
                    assert!(is_id && !id.chars().any(char::is_control), "{id:?}");
                }
            }
        }
        Err(failure) => {
            check_detail(&failure.detail);
            assert!(!failure.detail.chars().any(char::is_control), "{:?}", failure.detail);
        }
    }
    check_silent(input, |observed| {
        let detail = directory::read(observed).err()?.detail;
        // Of a code that is a number the number is told.
        Some(if detail.starts_with("the list's code is ") { detail.replace(plant::DIGITS, "") } else { detail.into() })
    });
}
