//! `sender/call`: a call of the sender's API, as it is written. Whether it may be made is not decided here.

use super::fields::METHODS;
use super::value::{self, boxed, required};
use crate::intake::field::{self, invalid, kind_of};
use crate::intake::object::{Object, decode};
use crate::model::{Call, CallContent, CallFile, Code, Command, Fault, JsonText, Method, QueryPair};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use serde_json::value::RawValue;
use std::time::Duration;

/// With or without the `=` at its end: both are common.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Longest path, in bytes.
const PATH_BYTES_MAX: usize = 256;
/// Longest address of a file, in bytes.
const URL_BYTES_MAX: usize = 2048;
/// Names and values of a query, all together: what servers take in the head of a request.
const QUERY_BYTES_MAX: usize = 4096;
/// Longest name of a file, in bytes: what file systems take.
const NAME_BYTES_MAX: usize = 255;
/// Longest wait for one call.
const TIMEOUT_MAX: Duration = Duration::from_secs(300);
const TIMEOUT_MIN: Duration = Duration::from_secs(1);

pub(super) fn call(object: &Object<'_>) -> Result<Command, Fault> {
    let raw = required(object.given("path"), "path", "a path of the sender's API, such as /contact/remark")?;
    let path = boxed(field::within("path", field::filled("path", raw)?, PATH_BYTES_MAX)?);
    let body = body(object)?;
    let file = object.given("file").map(file).transpose()?;
    if body.is_some() && file.is_some() {
        return Err(invalid("file", "file and body exclude each other: send one"));
    }
    Ok(Command::SenderCall(Box::new(Call {
        sender: value::sender(object)?,
        method: object.given("method").map(method).transpose()?,
        path,
        content: CallContent { query: query(object)?, body, file },
        timeout: timeout(object)?,
    })))
}

fn method(raw: &str) -> Result<Method, Fault> {
    let method = decode(raw).and_then(|word| Method::parse(&word));
    method.ok_or_else(|| invalid("method", format!("method is not known: use {}", METHODS.join(", "))))
}

fn timeout(object: &Object<'_>) -> Result<Option<Duration>, Fault> {
    let timeout = value::duration(object, "timeout")?;
    if timeout.is_some_and(|span| !(TIMEOUT_MIN..=TIMEOUT_MAX).contains(&span)) {
        return Err(invalid("timeout", "timeout must be from 1s to 5m: choose one between"));
    }
    Ok(timeout)
}

fn body(object: &Object<'_>) -> Result<Option<JsonText>, Fault> {
    let Some(raw) = object.given("body") else { return Ok(None) };
    if !raw.starts_with(['{', '[']) {
        return Err(invalid("body", format!("body must be an object or a list, not {}: send JSON", kind_of(raw))));
    }
    Ok(Some(JsonText(Bytes::copy_from_slice(raw.as_bytes()))))
}

/// Names and values: texts, numbers as they are written, and lists of them, which are the same name several times.
fn query(object: &Object<'_>) -> Result<Vec<QueryPair>, Fault> {
    let Some(raw) = object.given("query") else { return Ok(Vec::new()) };
    if !raw.starts_with('{') {
        return Err(invalid("query", format!("query must be an object, not {}: send names and values", kind_of(raw))));
    }
    let query = Object::parse_text(raw)?;
    query.check()?;
    let mut pairs: Vec<QueryPair> = Vec::new();
    for member in query.members() {
        let list: Vec<&RawValue>;
        let values: Vec<&str> = if member.value.starts_with('[') {
            list = serde_json::from_str(member.value).map_err(|_| not_a_value())?;
            list.iter().map(|value| value.get()).collect()
        } else {
            vec![member.value]
        };
        for value in values.into_iter().filter(|value| *value != "null") {
            if value.starts_with(['{', '[']) {
                return Err(not_a_value());
            }
            let text = decode(value).map_or_else(|| Box::from(value), boxed);
            pairs.push((Box::from(&*member.name), text));
        }
    }
    let bytes: usize = pairs.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    if bytes > QUERY_BYTES_MAX {
        let message = format!("query is {bytes} bytes long, at most {QUERY_BYTES_MAX} are allowed: shorten it");
        return Err(invalid("query", message));
    }
    Ok(pairs)
}

fn not_a_value() -> Fault {
    invalid("query", "query must hold texts, numbers, true or false, and lists of them: nothing else has a place there")
}

fn file(raw: &str) -> Result<CallFile, Fault> {
    if !raw.starts_with('{') {
        let message = format!("file must be an object, not {}: send url, or name and base64", kind_of(raw));
        return Err(invalid("file", message));
    }
    let file = Object::parse_text(raw)?;
    file.check()?;
    file.check_known("file", "file.", &["url", "name", "base64"])?;
    let name = file.given("name").map(file_name).transpose()?;
    match (file.given("url"), file.given("base64"), name) {
        (Some(_), Some(_), _) => Err(invalid("file.base64", "file.url and file.base64 exclude each other: send one")),
        (Some(url), None, name) => Ok(CallFile::Url { url: file_url(url)?, name }),
        (None, Some(raw), Some(name)) => {
            let text = field::text("file.base64", raw)?;
            let bytes = BASE64.decode(text.as_bytes()).map_err(|_| {
                invalid("file.base64", "file.base64 is not base64: encode the file with the standard alphabet")
            })?;
            Ok(CallFile::Inline { name, bytes: Bytes::from(bytes) })
        }
        (None, Some(_), None) => {
            Err(invalid("file.name", "file.name is required with base64: add the name of the file, with its ending"))
        }
        (None, None, _) => Err(invalid("file", "file needs to have a content: add url, or name and base64")),
    }
}

fn file_name(raw: &str) -> Result<Box<str>, Fault> {
    let name = field::within("file.name", field::filled("file.name", raw)?, NAME_BYTES_MAX)?;
    let name = field::printable("file.name", name)?;
    if name.contains(['/', '\\']) {
        return Err(invalid("file.name", "file.name must not have slashes: send the name alone, without a folder"));
    }
    Ok(boxed(name))
}

/// Only what a look can tell: who downloads takes it apart for good.
fn file_url(raw: &str) -> Result<Box<str>, Fault> {
    let url = field::filled("file.url", raw)?;
    if url.len() > URL_BYTES_MAX {
        let message = format!("file.url is {} bytes long, at most {URL_BYTES_MAX} are allowed: shorten it", url.len());
        return Err(Fault::of_field(Code::InvalidField, "file.url", message));
    }
    let scheme = url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    if !matches!(scheme.as_deref(), Some("http" | "https")) || url.chars().any(|c| c.is_control() || c == ' ') {
        return Err(invalid(
            "file.url",
            "file.url must begin with http:// or https://, and have no spaces: correct it",
        ));
    }
    Ok(boxed(url))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Call, String> {
        let object = Object::parse(json.as_bytes()).expect("an object");
        match call(&object) {
            Ok(Command::SenderCall(call)) => Ok(*call),
            Ok(other) => panic!("{other:?}"),
            Err(fault) => Err(format!("{} {}", fault.field.unwrap_or_default(), fault.message)),
        }
    }

    fn content(json: &str) -> CallContent {
        read(json).unwrap_or_else(|error| panic!("{json}: {error}")).content
    }

    #[test]
    fn what_is_written_is_kept_as_it_is_written() {
        let call = read(r#"{"sender":"main","path":"/Contact/remark","method":"put","body":{"wxId" : 10890000000000001.0},"timeout":"30s"}"#)
            .expect("a call");
        assert_eq!(call.sender.as_ref().map(|name| name.as_str()), Some("main"));
        assert_eq!((call.method, &*call.path), (Some(Method::Put), "/Contact/remark"));
        assert_eq!(call.content.body, Some(JsonText(Bytes::from_static(br#"{"wxId" : 10890000000000001.0}"#))));
        assert_eq!(call.timeout, Some(Duration::from_secs(30)));
        let bare = read(r#"{"path":"/group/list","method":null,"query":null,"body":null,"file":null,"timeout":null}"#);
        let bare = bare.expect("a call");
        assert_eq!((bare.method, bare.content, bare.timeout), (None, CallContent::default(), None));
    }

    #[test]
    fn a_query_is_names_and_values() {
        let query = content(
            r#"{"path":"/a","query":{"wxId":"1 &\u4f60","IsOnline":false,"n":9007199254740993,"HostName":["a",1,null],"x":null,"y":""}}"#,
        );
        let pairs: Vec<(&str, &str)> = query.query.iter().map(|(name, value)| (&**name, &**value)).collect();
        let wanted = [
            ("wxId", "1 &你"),
            ("IsOnline", "false"),
            ("n", "9007199254740993"),
            ("HostName", "a"),
            ("HostName", "1"),
            ("y", ""),
        ];
        assert_eq!(pairs, wanted);
    }

    #[test]
    fn a_file_is_inline_or_elsewhere() {
        let inline = CallFile::Inline { name: Box::from("你 好.txt"), bytes: Bytes::from_static(b"hello") };
        for text in ["aGVsbG8=", "aGVsbG8", r"aGVsbG8\u003d"] {
            let json = format!(r#"{{"path":"/file/upload","file":{{"NAME":"你 好.txt","base64":"{text}"}}}}"#);
            assert_eq!(content(&json).file.as_ref(), Some(&inline), "{text}");
        }
        let url = |name: Option<&str>| CallFile::Url { url: Box::from("HTTPS://h/a.png"), name: name.map(Box::from) };
        let json = r#"{"path":"/file/upload","file":{"url":"HTTPS://h/a.png"}}"#;
        assert_eq!(content(json).file, Some(url(None)));
        let json = r#"{"path":"/file/upload","file":{"url":"HTTPS://h/a.png","name":"b.png"}}"#;
        assert_eq!(content(json).file, Some(url(Some("b.png"))));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let long = "a".repeat(300);
        for (fields, field, part) in [
            ("", "path", "is required"),
            (r#""path":5"#, "path", "must be a string"),
            (r#""path":" ""#, "path", "must not be blank"),
            (&*format!(r#""path":"/{long}""#), "path", "at most 256"),
            (r#""path":"/a","method":"HEAD""#, "method", "use GET, POST, PUT, DELETE"),
            (r#""path":"/a","method":1"#, "method", "is not known"),
            (r#""path":"/a","timeout":"999ms""#, "timeout", "from 1s to 5m"),
            (r#""path":"/a","timeout":301"#, "timeout", "from 1s to 5m"),
            (r#""path":"/a","timeout":"soon""#, "timeout", "must be a duration"),
            (r#""path":"/a","query":[]"#, "query", "must be an object"),
            (r#""path":"/a","query":{"a":{}}"#, "query", "must hold texts"),
            (r#""path":"/a","query":{"a":[[1]]}"#, "query", "must hold texts"),
            (&*format!(r#""path":"/a","query":{{"a":"{}"}}"#, "x".repeat(4096)), "query", "at most 4096"),
            (r#""path":"/a","body":"text""#, "body", "an object or a list"),
            (r#""path":"/a","body":{},"file":{"url":"http://h"}"#, "file", "exclude each other"),
            (r#""path":"/a","file":"x""#, "file", "must be an object"),
            (r#""path":"/a","file":{}"#, "file", "add url, or name and base64"),
            (r#""path":"/a","file":{"name":"a"}"#, "file", "add url, or name and base64"),
            (r#""path":"/a","file":{"path":"/etc/passwd"}"#, "file.path", "file has no"),
            (r#""path":"/a","file":{"base64":"aGVsbG8="}"#, "file.name", "is required"),
            (r#""path":"/a","file":{"name":"a","base64":"a b"}"#, "file.base64", "is not base64"),
            (r#""path":"/a","file":{"name":"a","base64":5}"#, "file.base64", "must be a string"),
            (r#""path":"/a","file":{"name":"a/b","base64":""}"#, "file.name", "must not have slashes"),
            (r#""path":"/a","file":{"name":"a\nb","base64":""}"#, "file.name", "control characters"),
            (&*format!(r#""path":"/a","file":{{"name":"{long}","base64":""}}"#), "file.name", "at most 255"),
            (r#""path":"/a","file":{"url":"http://h","base64":"","name":"a"}"#, "file.base64", "exclude"),
            (r#""path":"/a","file":{"url":"file:///etc/passwd"}"#, "file.url", "http:// or https://"),
            (r#""path":"/a","file":{"url":"/etc/passwd"}"#, "file.url", "http:// or https://"),
            (r#""path":"/a","file":{"url":"http://h/a b"}"#, "file.url", "no spaces"),
        ] {
            let said = read(&format!("{{{fields}}}")).expect_err(fields);
            assert!(said.starts_with(&format!("{field} ")) && said.contains(part), "{fields}: {said}");
        }
    }
}
