//! Reads a server's account list. Pure.
//!
//! Ids go from the text of the answer to ours without becoming a number: they are beyond what a float holds.

use super::classify::{AnswerBody, Observed, describe};
use crate::model::{Account, Corp, DirectoryEntry, SenderTrouble};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Largest account list that is read, in bytes.
pub const DIRECTORY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Longest id that a message can name, in bytes.
const ID_BYTES_MAX: usize = 128;

/// Why the account list could not be had. `detail` is for a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryFailure {
    pub trouble: SenderTrouble,
    pub detail: Box<str>,
}

impl DirectoryFailure {
    fn unreachable(detail: impl Into<Box<str>>) -> Self {
        Self { trouble: SenderTrouble::Unreachable, detail: detail.into() }
    }
}

/// The account list in what was seen of its exchange.
///
/// # Errors
/// When there is no such list in it. An entry without a usable `wxId` is left out; it cannot be sent from.
pub fn read(observed: Observed) -> Result<Vec<DirectoryEntry>, DirectoryFailure> {
    let (status, body) = match observed {
        Observed::Answer { status, body, .. } => (status, body),
        Observed::ConnectFailed { detail } | Observed::Broken { detail } => {
            return Err(DirectoryFailure::unreachable(detail));
        }
        Observed::TimedOut => return Err(DirectoryFailure::unreachable("no answer within the time-out")),
    };
    if matches!(status, 401 | 403) {
        return Err(DirectoryFailure { trouble: SenderTrouble::Unauthorized, detail: format!("HTTP {status}").into() });
    }
    if !(200..=299).contains(&status) {
        return Err(DirectoryFailure::unreachable(format!("HTTP {status}")));
    }
    match body {
        AnswerBody::Whole(body) => parse(&body),
        AnswerBody::TooLarge => Err(DirectoryFailure::unreachable("the list is too large")),
        AnswerBody::Cut { detail, .. } => Err(DirectoryFailure::unreachable(detail)),
    }
}

type Fields<'a> = BTreeMap<String, &'a RawValue>;

fn parse(body: &[u8]) -> Result<Vec<DirectoryEntry>, DirectoryFailure> {
    let not_json =
        |error: serde_json::Error| DirectoryFailure::unreachable(format!("not an account list: {}", describe(&error)));
    let answer: Fields<'_> = serde_json::from_slice(body).map_err(not_json)?;
    match field(&answer, "code") {
        Some("0") => {}
        code => {
            // Anything but a number would be the server's words, of any length.
            let number =
                code.map_or(Some("missing".to_owned()), |raw| raw.parse().ok().map(|code: i64| code.to_string()));
            let number = number.unwrap_or_else(|| "no whole number".to_owned());
            return Err(DirectoryFailure::unreachable(format!("the list's code is {number}")));
        }
    }
    let list: Option<Vec<&RawValue>> = match field(&answer, "data") {
        Some(data) => serde_json::from_str(data).map_err(not_json)?,
        None => None,
    };
    let list = list.unwrap_or_default();
    let objects: Vec<Fields<'_>> = list.iter().filter_map(|raw| serde_json::from_str(raw.get()).ok()).collect();
    if objects.is_empty() && !list.is_empty() {
        return Err(DirectoryFailure::unreachable("not an account list: none of its entries is an object"));
    }
    Ok(objects.iter().filter_map(entry).collect())
}

fn entry(fields: &Fields<'_>) -> Option<DirectoryEntry> {
    let account = id(field(fields, "wxId")?)?;
    let corp = field(fields, "corp_id").and_then(id);
    // A state that is neither a number nor the text of one is as good as none.
    let status = field(fields, "Status").and_then(|raw| raw.trim_matches('"').parse::<i64>().ok());
    let online = status.map(|status| status == 0);
    Some(DirectoryEntry { account: Account::new(&account), corp: corp.as_deref().map(Corp::new), online })
}

/// The JSON text of a field, whatever the case its name is written in.
fn field<'a>(fields: &Fields<'a>, name: &str) -> Option<&'a str> {
    fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, raw)| raw.get())
}

/// The id in a JSON string or in a whole number; `None` where it is blank or 0, which stand for "none", and where no
/// message could name it.
fn id(raw: &str) -> Option<String> {
    let text = if raw.starts_with('"') { serde_json::from_str(raw).ok()? } else { raw.to_owned() };
    let is_whole = || text.bytes().all(|byte| byte.is_ascii_digit());
    if !raw.starts_with('"') && !is_whole() {
        return None;
    }
    let id = text.trim();
    let is_usable = !id.is_empty() && id != "0" && id.len() <= ID_BYTES_MAX && !id.chars().any(char::is_control);
    is_usable.then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn list(body: &str) -> Result<Vec<DirectoryEntry>, DirectoryFailure> {
        let body = AnswerBody::Whole(Bytes::copy_from_slice(body.as_bytes()));
        read(Observed::Answer { status: 200, retry_after: None, body })
    }

    fn known(account: &str, corp: Option<&str>, online: Option<bool>) -> DirectoryEntry {
        DirectoryEntry { account: Account::new(account), corp: corp.map(Corp::new), online }
    }

    #[test]
    fn entries_in_every_spelling() {
        let body = r#"{"msg":"","code":0,"data":[
            {"hostname":"PC","wxId":"1688850407900545","username":"x","corp_id":"1970325057080574","Status":0,"QrCode":null},
            {"WXID":16888504079005459007,"CORP_ID":19703250570805740001,"status":1},
            {"wxid":"a","corp_id":"","Status":2},
            {"wxid":"b","corp_id":"0","Status":null},
            {"wxid":"c","corp_id":0},
            {"wxid":"d","corp_id":" 5 ","Status":"0"},
            {"wxid":"e","corp_id":null,"Status":"on"},
            {"wxid":"f","corp_id":1.5e3,"Status":0.0},
            {"wxid":"g","corp_id":{"id":1}},
            {"wxid":"  ","corp_id":"1"},
            {"wxid":null},
            {"wxid":"a\nb"},
            {"corp_id":"1"},
            null, 5
        ]}"#;
        let expected = vec![
            known("1688850407900545", Some("1970325057080574"), Some(true)),
            known("16888504079005459007", Some("19703250570805740001"), Some(false)),
            known("a", None, Some(false)),
            known("b", None, None),
            known("c", None, None),
            known("d", Some("5"), Some(true)),
            known("e", None, None),
            known("f", None, None),
            known("g", None, None),
        ];
        assert_eq!(list(body), Ok(expected));
    }

    /// Whatever it says, and however much of it.
    #[test]
    fn why_there_is_no_list_is_told_in_our_words() {
        let long = "a text of the server".repeat(100);
        for body in
            [format!("\"{long}\""), format!("{{\"code\":\"{long}\"}}"), format!("{{\"code\":0,\"data\":\"{long}\"}}")]
        {
            let detail = list(&body).expect_err("no list").detail;
            assert!(detail.len() < 200 && !detail.contains("text of"), "{detail}");
        }
        let refused = list(r#"{"code":-7,"msg":"no"}"#).expect_err("refused");
        assert_eq!(&*refused.detail, "the list's code is -7");
        assert_eq!(list(&format!(r#"{{"code":0,"data":[{{"wxid":"{}"}}]}}"#, "1".repeat(129))), Ok(vec![]));
    }

    #[test]
    fn an_empty_list_is_a_list() {
        for body in [r#"{"code":0,"data":[]}"#, r#"{"code":0,"data":null}"#, r#"{"Code":0}"#] {
            assert_eq!(list(body), Ok(vec![]), "{body}");
        }
    }

    #[test]
    fn what_is_no_list_is_a_trouble() {
        for body in ["", "<html>", "[]", r#"{"data":[]}"#, r#"{"code":1,"data":[]}"#, r#"{"code":0,"data":[1]}"#] {
            assert_eq!(list(body).map_err(|failure| failure.trouble), Err(SenderTrouble::Unreachable), "{body}");
        }
        let status = |status| {
            let body = AnswerBody::Whole(Bytes::from_static(br#"{"code":0,"data":[]}"#));
            read(Observed::Answer { status, retry_after: None, body }).map_err(|failure| failure.trouble)
        };
        assert_eq!(status(401), Err(SenderTrouble::Unauthorized));
        assert_eq!(status(403), Err(SenderTrouble::Unauthorized));
        assert_eq!(status(500), Err(SenderTrouble::Unreachable));
        assert_eq!(status(307), Err(SenderTrouble::Unreachable));
        assert_eq!(read(Observed::TimedOut).map_err(|failure| failure.trouble), Err(SenderTrouble::Unreachable));
    }
}
