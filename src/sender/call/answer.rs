//! Says what came of a call. Pure, and the only place that does.
//!
//! What a call that only reads leaves unknown is harmless, and says so; what one that changes something leaves unknown
//! is always `UNRESOLVED`, whatever went wrong. A program that sees any other code knows that nothing was done.

use crate::model::{Code, Fault, Sender, TOLD_NESTING_MAX, is_too_deep};
use crate::sender::classify::{AnswerBody, Observed, Rules, shorten};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// What matters of the call that was answered.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    pub changes: bool,
    pub timeout: Duration,
    pub answer_bytes_max: usize,
}

/// The data of the reply.
///
/// # Errors
/// Why there is none.
pub fn read(observed: Observed, question: &Question, rules: &Rules) -> Result<Value, Fault> {
    match observed {
        Observed::ConnectFailed { detail } => {
            let message = format!("the sender cannot be reached, so nothing was done ({detail}): repeat it later");
            Err(Fault::new(Code::Unreachable, message))
        }
        Observed::TimedOut => {
            let what = format!("the sender gave no answer within {:?}", question.timeout);
            Err(unclear(question, Code::Timeout, &what, None))
        }
        Observed::Broken { .. } => {
            Err(unclear(question, Code::BadAnswer, "the connection broke before an answer came", None))
        }
        Observed::Answer { status, retry_after, body } => {
            let proves_busy = retry_after.is_some() || rules.busy_means_not_done;
            match status {
                200..=299 => success(status, body, question, rules),
                429 => Err(busy(status, &body)),
                503 if proves_busy => Err(busy(status, &body)),
                401 | 403 => {
                    let message = "the sender does not take the API key, or not for this: check senders.api_key";
                    Err(Fault { sender: Some(words(status, &body)), ..Fault::new(Code::Refused, message) })
                }
                400..=499 => Err(refused(words(status, &body))),
                _ => {
                    let what = format!("the sender answered HTTP {status}");
                    Err(unclear(question, Code::BadAnswer, &what, Some(words(status, &body))))
                }
            }
        }
    }
}

fn success(http: u16, body: AnswerBody, question: &Question, rules: &Rules) -> Result<Value, Fault> {
    let body = match body {
        AnswerBody::Whole(body) => body,
        AnswerBody::TooLarge => {
            let what =
                format!("the answer is longer than {} bytes (senders.call_answer_max)", question.answer_bytes_max);
            return Err(unclear(question, Code::AnswerTooLarge, &what, None));
        }
        AnswerBody::Cut { .. } => return Err(unclear(question, Code::BadAnswer, "the answer broke off", None)),
    };
    let no_envelope = || unclear(question, Code::BadAnswer, "the answer is not the API's: no JSON with a code", None);
    let mut answer = envelope(&body).ok_or_else(no_envelope)?;
    let code = member(&mut answer, "code").and_then(|code| code.as_i64()).ok_or_else(no_envelope)?;
    let msg = said(member(&mut answer, "msg"));
    if code == 0 {
        let data = member(&mut answer, "data").unwrap_or_default();
        if is_too_deep(&data) {
            let what = format!("the answer is nested deeper than {TOLD_NESTING_MAX} levels");
            return Err(unclear(question, Code::BadAnswer, &what, None));
        }
        return Ok(json!({ "http": http, "code": 0, "msg": msg, "data": data }));
    }
    let says_nothing = rules.unknown.iter().any(|sign| sign.matches(code, &msg));
    let words = Sender { http, code: Some(code), msg: shorten(&msg) };
    if says_nothing {
        return Err(unclear(question, Code::BadAnswer, &format!("the sender answered code {code}"), Some(words)));
    }
    Err(refused(words))
}

/// Nobody knows what the server did: harmless where it could only read, as `harmless` then says.
fn unclear(question: &Question, harmless: Code, what: &str, sender: Option<Sender>) -> Fault {
    let fault = if question.changes {
        let message = format!("{what}; the call may have had its effect: look before you repeat it");
        Fault::new(Code::Unresolved, message)
    } else if harmless == Code::AnswerTooLarge {
        Fault::new(harmless, format!("{what}; the call only reads: ask for less at a time"))
    } else {
        Fault::new(harmless, format!("{what}; the call only reads, so nothing has changed: repeat it"))
    };
    Fault { sender, ..fault }
}

fn refused(sender: Sender) -> Fault {
    let message = match sender.code {
        Some(code) => format!("the sender says no, with code {code}: its own words are in sender"),
        None => format!("the sender says no, with HTTP {}: its own words are in sender", sender.http),
    };
    Fault { sender: Some(sender), ..Fault::new(Code::Refused, message) }
}

fn busy(status: u16, body: &AnswerBody) -> Fault {
    let message = format!("the sender is busy (HTTP {status}), so nothing was done: repeat it later");
    Fault { sender: Some(words(status, body)), ..Fault::new(Code::Busy, message) }
}

/// What a server that says no has to say.
fn words(http: u16, body: &AnswerBody) -> Sender {
    let body = match body {
        AnswerBody::Whole(body) => body.clone(),
        AnswerBody::TooLarge | AnswerBody::Cut { .. } => Bytes::new(),
    };
    match envelope(&body) {
        Some(mut answer) => {
            let code = member(&mut answer, "code").and_then(|code| code.as_i64());
            Sender { http, code, msg: shorten(&said(member(&mut answer, "msg"))) }
        }
        None => Sender { http, code: None, msg: std::str::from_utf8(&body).map(shorten).unwrap_or_default() },
    }
}

fn envelope(body: &[u8]) -> Option<Map<String, Value>> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(members)) => Some(members),
        Ok(_) | Err(_) => None,
    }
}

/// Takes the member of that name, in whatever case.
fn member(answer: &mut Map<String, Value>, name: &str) -> Option<Value> {
    let key = answer.keys().find(|key| key.eq_ignore_ascii_case(name))?.clone();
    answer.remove(&key)
}

fn said(msg: Option<Value>) -> String {
    match msg {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text,
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Doubt;
    use crate::sender::classify::Sign;

    fn rules() -> Rules {
        Rules { unknown: vec![Sign::Code(-5)], ..Rules::default() }
    }

    fn question(changes: bool) -> Question {
        Question { changes, timeout: Duration::from_secs(30), answer_bytes_max: 100 }
    }

    fn answer(status: u16, body: &str) -> Observed {
        let body = AnswerBody::Whole(Bytes::copy_from_slice(body.as_bytes()));
        Observed::Answer { status, retry_after: None, body }
    }

    /// The code, and the sender's own status, code and words.
    fn fault(observed: Observed, changes: bool) -> String {
        let fault = read(observed, &question(changes), &rules()).expect_err("a fault");
        let sender = fault.sender.map(|words| format!(" {} {:?} {}", words.http, words.code, words.msg));
        format!("{}{}", fault.code.as_str(), sender.unwrap_or_default())
    }

    #[test]
    fn an_answer_of_the_api_is_passed_on() {
        for (body, wanted) in [
            (
                r#"{"msg":"","code":0,"data":[{"wxId":"1","n":9007199254740993}]}"#,
                r#"[{"wxId":"1","n":9007199254740993}]"#,
            ),
            (r#"{"Msg":null,"CODE":0,"Data":"/gnapi/Files/a.txt"}"#, r#""/gnapi/Files/a.txt""#),
            (r#"{"code":0,"data":null}"#, "null"),
            (r#"{"code":0}"#, "null"),
            (r#"{"data":{"errcode":-1,"errmsg":"wrong"},"code":0,"more":1}"#, r#"{"errcode":-1,"errmsg":"wrong"}"#),
        ] {
            let data: Value = serde_json::from_str(wanted).expect("JSON");
            let wanted = json!({ "http": 200, "code": 0, "msg": "", "data": data });
            for changes in [false, true] {
                assert_eq!(read(answer(200, body), &question(changes), &rules()), Ok(wanted.clone()), "{body}");
            }
        }
        let said = read(answer(201, r#"{"code":0,"msg":"ok"}"#), &question(true), &rules()).expect("data");
        assert_eq!((&said["http"], &said["msg"]), (&json!(201), &json!("ok")));
    }

    /// Each row: what was seen, what it is to a call that reads, and to one that changes something.
    #[test]
    fn everything_else_says_whether_it_was_done() {
        let cut = || AnswerBody::Cut { why: Doubt::Unreadable, detail: Box::default() };
        let whole = |body: &'static str| AnswerBody::Whole(Bytes::from_static(body.as_bytes()));
        let busy = |status, retry_after: Option<&'static str>, body| Observed::Answer {
            status,
            retry_after: retry_after.map(|text| Bytes::from_static(text.as_bytes())),
            body,
        };
        let table = [
            (Observed::ConnectFailed { detail: Box::from("refused") }, "UNREACHABLE", "UNREACHABLE"),
            (Observed::TimedOut, "TIMEOUT", "UNRESOLVED"),
            (Observed::Broken { detail: Box::default() }, "BAD_ANSWER", "UNRESOLVED"),
            (answer(200, r#"{"code":-7,"msg":"no"}"#), "REFUSED 200 Some(-7) no", "REFUSED 200 Some(-7) no"),
            (
                answer(200, r#"{"code":-7,"msg":{"a":1}}"#),
                r#"REFUSED 200 Some(-7) {"a":1}"#,
                r#"REFUSED 200 Some(-7) {"a":1}"#,
            ),
            (answer(200, r#"{"code":-5,"msg":"?"}"#), "BAD_ANSWER 200 Some(-5) ?", "UNRESOLVED 200 Some(-5) ?"),
            (answer(200, ""), "BAD_ANSWER", "UNRESOLVED"),
            (answer(200, "<html>"), "BAD_ANSWER", "UNRESOLVED"),
            (answer(200, "[]"), "BAD_ANSWER", "UNRESOLVED"),
            (answer(200, r#"{"data":[]}"#), "BAD_ANSWER", "UNRESOLVED"),
            (answer(200, r#"{"code":"0"}"#), "BAD_ANSWER", "UNRESOLVED"),
            (answer(200, r#"{"code":0.5}"#), "BAD_ANSWER", "UNRESOLVED"),
            (busy(200, None, AnswerBody::TooLarge), "ANSWER_TOO_LARGE", "UNRESOLVED"),
            (busy(200, None, cut()), "BAD_ANSWER", "UNRESOLVED"),
            (answer(302, ""), "BAD_ANSWER 302 None ", "UNRESOLVED 302 None "),
            (answer(401, r#"{"code":401,"msg":"key"}"#), "REFUSED 401 Some(401) key", "REFUSED 401 Some(401) key"),
            (answer(403, ""), "REFUSED 403 None ", "REFUSED 403 None "),
            (answer(404, " not here "), "REFUSED 404 None not here", "REFUSED 404 None not here"),
            (answer(429, ""), "BUSY 429 None ", "BUSY 429 None "),
            (busy(503, Some("5"), whole("")), "BUSY 503 None ", "BUSY 503 None "),
            (busy(503, None, whole("")), "BAD_ANSWER 503 None ", "UNRESOLVED 503 None "),
            (busy(500, None, cut()), "BAD_ANSWER 500 None ", "UNRESOLVED 500 None "),
        ];
        for (observed, reading, changing) in table {
            assert_eq!(fault(observed.clone(), false), reading, "{observed:?}");
            assert_eq!(fault(observed.clone(), true), changing, "{observed:?}");
        }
        let sure = Rules { busy_means_not_done: true, ..rules() };
        let fault = read(answer(503, ""), &question(true), &sure).expect_err("busy");
        assert_eq!(fault.code, Code::Busy);
    }

    #[test]
    fn a_time_out_says_whether_it_may_have_had_an_effect() {
        let say = |changes| read(Observed::TimedOut, &question(changes), &rules()).expect_err("a fault").message;
        assert!(say(false).contains("within 30s; the call only reads, so nothing has changed"), "{}", say(false));
        assert!(say(true).contains("within 30s; the call may have had its effect"), "{}", say(true));
    }
}
