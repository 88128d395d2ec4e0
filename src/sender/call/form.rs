//! A file as the form data of its upload. Pure.

use crate::model::percent_decoded;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// The field that the API reads.
const FIELD: &str = "file";
/// Longest name that is taken from an address, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// The body of an upload, and what its `content-type` must say.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Form {
    pub body: Bytes,
    pub content_type: String,
}

/// One file. The same one always makes the same form.
pub(super) fn form(name: &str, bytes: &[u8]) -> Form {
    let boundary = boundary(bytes);
    let mut body = Vec::with_capacity(bytes.len() + name.len() + 256);
    body.extend_from_slice(format!("--{boundary}\r\ncontent-disposition: form-data; name=\"{FIELD}\"; ").as_bytes());
    body.extend_from_slice(format!("filename=\"{}\"\r\n", quoted(name)).as_bytes());
    body.extend_from_slice(b"content-type: application/octet-stream\r\n\r\n");
    body.extend_from_slice(bytes);
    body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    Form { body: Bytes::from(body), content_type: format!("multipart/form-data; boundary={boundary}") }
}

/// A line that the file cannot hold: it has the file's own digest in it.
fn boundary(bytes: &[u8]) -> String {
    let mut boundary = String::from("sendbridge-");
    for byte in &Sha256::digest(bytes)[..16] {
        // A string takes everything.
        let _ = write!(boundary, "{byte:02x}");
    }
    boundary
}

/// As browsers write names: UTF-8, with escapes for what would end the quotes or the line.
fn quoted(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

/// The name of a file that is at this address.
pub(super) fn name_of(url: &str) -> Box<str> {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let below = path.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, below)| below);
    let last = percent_decoded(below.rsplit('/').next().unwrap_or_default());
    let mut name = String::new();
    for c in last.chars().filter(|c| !c.is_control() && !matches!(c, '/' | '\\')) {
        if name.len() + c.len_utf8() > NAME_BYTES_MAX {
            break;
        }
        name.push(c);
    }
    if name.trim().is_empty() { Box::from("file") } else { name.into_boxed_str() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_as_browsers_write_it() {
        let form = form("发布\"群控\".txt", b"hello\r\n");
        let boundary = form.content_type.strip_prefix("multipart/form-data; boundary=").expect("a boundary");
        let wanted = format!(
            "--{boundary}\r\ncontent-disposition: form-data; name=\"file\"; filename=\"发布%22群控%22.txt\"\r\n\
             content-type: application/octet-stream\r\n\r\nhello\r\n\r\n--{boundary}--\r\n"
        );
        assert_eq!(form.body, wanted.as_bytes());
        assert!(boundary.len() == 43 && !b"hello\r\n".windows(boundary.len()).any(|part| part == boundary.as_bytes()));
        assert_ne!(self::form("a", b"x").content_type, self::form("a", b"y").content_type);
    }

    #[test]
    fn the_name_is_the_last_part_of_the_address() {
        for (url, name) in [
            ("http://h/a/b.png", "b.png"),
            ("http://h/a/b.png?x=/c.txt#/d", "b.png"),
            ("https://h/%E4%BD%A0%20%E5%A5%BD.txt", "你 好.txt"),
            ("http://h/a%2Fb%5Cc%0a.txt", "abc.txt"),
            ("http://h/a/", "file"),
            ("http://h", "file"),
            ("http://h?a/b", "file"),
            ("http://h/%", "%"),
            ("http://h/%20", "file"),
        ] {
            assert_eq!(&*name_of(url), name, "{url}");
        }
        assert!(name_of(&format!("http://h/{}", "你".repeat(200))).len() <= NAME_BYTES_MAX);
    }
}
