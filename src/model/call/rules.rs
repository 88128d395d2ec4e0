//! Which calls may be made: what is documented, what the operator lists, and never a path of sending. Pure.
//!
//! - A path is looked at twice. [`is_send`] reads it as leniently as any server might (escapes, doubled slashes, dots,
//!   case, parameters) and refuses whatever could end at a path of sending; then only a plain path goes on.
//! - What is requested is the plain path, so no server has anything left to interpret.

use super::{CallContent, Method, OFFERED, Offered, UPLOAD_PATH};
use crate::model::{BUILT_IN_KINDS, Code, Fault};

/// Longest path, in bytes.
const PATH_BYTES_MAX: usize = 256;

/// How often a path may be escaped on top of itself and is still read.
const ESCAPES_MAX: usize = 8;

/// The word of the configuration for every documented path.
const DOCUMENTED: &str = "documented";

/// One entry of `senders.calls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallRule {
    /// It takes away, whatever the other entries give.
    is_forbidden: bool,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Documented,
    Path {
        method: Option<Method>,
        path: Box<str>,
    },
    /// Every path that begins with this one, which ends with a slash.
    Below {
        method: Option<Method>,
        path: Box<str>,
    },
}

impl CallRule {
    /// Reads an entry as it is configured: `documented`, `/path`, `GET /path`, `/all/below/*`, and each with `!` before
    /// it to forbid.
    ///
    /// # Errors
    /// What is wrong with it and what to do.
    pub fn parse(entry: &str) -> Result<Self, String> {
        let (is_forbidden, rest) = entry.strip_prefix('!').map_or((false, entry), |rest| (true, rest.trim_start()));
        if rest == DOCUMENTED {
            return Ok(Self { is_forbidden, what: What::Documented });
        }
        let (method, path) = match rest.split_once(' ') {
            Some((word, path)) => match Method::parse(word) {
                Some(method) => (Some(method), path.trim_start()),
                None => return Err(format!("{word:?} is no method; use GET, POST, PUT or DELETE")),
            },
            None => (None, rest),
        };
        let below = path.strip_suffix('*').filter(|path| path.ends_with('/'));
        let bare = below.map_or(path, |path| path.trim_end_matches('/'));
        // `/*` is everything, which has no path of its own to check.
        if !(below.is_some() && bare.is_empty()) {
            check_plain(bare).map_err(|rule| format!("{rule}; write it like \"/contact/remark\" or \"/contact/*\""))?;
            if !bare.starts_with('/') {
                return Err("it must begin with a slash, or be the word documented".to_owned());
            }
            if !is_forbidden && is_send(bare, &[]) {
                return Err("it is a path of sending, which nobody may call; remove it".to_owned());
            }
        }
        let what = match below {
            Some(path) => What::Below { method, path: Box::from(path) },
            None => What::Path { method, path: Box::from(path) },
        };
        Ok(Self { is_forbidden, what })
    }

    fn meets(&self, method: Method, path: &str, is_documented: bool) -> bool {
        let of_method = |wanted: &Option<Method>| wanted.is_none_or(|wanted| wanted == method);
        match &self.what {
            What::Documented => is_documented,
            What::Path { method, path: own } => of_method(method) && own.eq_ignore_ascii_case(path),
            What::Below { method, path: own } => {
                let head = path.get(..own.len());
                of_method(method) && head.is_some_and(|head| head.eq_ignore_ascii_case(own)) && path.len() > own.len()
            }
        }
    }
}

/// What one server lets be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallRules {
    /// Nothing may be called where there are none.
    pub rules: Vec<CallRule>,
    /// Paths of sending that the configuration adds to the documented ones.
    pub sends: Vec<Box<str>>,
}

impl Default for CallRules {
    /// Everything that is documented.
    fn default() -> Self {
        Self { rules: vec![CallRule { is_forbidden: false, what: What::Documented }], sends: Vec::new() }
    }
}

/// A call that may be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    pub method: Method,
    /// As the documentation spells it, where it does.
    pub path: Box<str>,
    pub changes: bool,
}

impl CallRules {
    /// What a call comes to, if it may be made.
    ///
    /// # Errors
    /// `SEND_PATH`, `PATH_NOT_ALLOWED`, or `INVALID_FIELD` with the field.
    pub fn plan(&self, method: Option<Method>, path: &str, content: &CallContent) -> Result<Planned, Fault> {
        if is_send(path, &self.sends) {
            let message = "path sends a message, which would go past the limits and the journal: publish it to \
                 SendMessage instead";
            return Err(Fault::of_field(Code::SendPath, "path", message));
        }
        check_plain(path).map_err(|rule| invalid("path", format!("path {rule}: write it like /contact/remark")))?;
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let of_path: Vec<&Offered> = OFFERED.iter().filter(|own| own.path.eq_ignore_ascii_case(&path)).collect();
        let method = method.unwrap_or_else(|| match of_path[..] {
            [only] => only.method,
            [] | [_, ..] if content.body.is_some() || content.file.is_some() => Method::Post,
            [] | [_, ..] => Method::Get,
        });
        let known = of_path.iter().find(|own| own.method == method);
        if !self.allow(method, &path, known.is_some()) {
            return Err(self.not_allowed(&of_path, method, &path));
        }
        let planned = Planned {
            method,
            path: known.map_or(path.as_str(), |own| own.path).into(),
            changes: known.map_or(method != Method::Get, |own| own.changes),
        };
        check_content(&planned, content)?;
        Ok(planned)
    }

    fn allow(&self, method: Method, path: &str, is_documented: bool) -> bool {
        let mut meeting = self.rules.iter().filter(|rule| rule.meets(method, path, is_documented)).peekable();
        meeting.peek().is_some() && meeting.all(|rule| !rule.is_forbidden)
    }

    fn not_allowed(&self, of_path: &[&Offered], method: Method, path: &str) -> Fault {
        let others: Vec<&str> = of_path
            .iter()
            .filter(|own| own.method != method && self.allow(own.method, path, true))
            .map(|own| own.method.as_str())
            .collect();
        if !others.is_empty() {
            let message = format!("path is called with {}: use that as method, or leave it out", others.join(" or "));
            return Fault::of_field(Code::PathNotAllowed, "method", message);
        }
        let message = if of_path.is_empty() {
            "path is none of the documented ones, and senders.calls does not list it: check its spelling, or have it \
             added there"
        } else {
            "path is not allowed by senders.calls: have it added there"
        };
        Fault::of_field(Code::PathNotAllowed, "path", message)
    }
}

fn check_content(planned: &Planned, content: &CallContent) -> Result<(), Fault> {
    let is_upload = planned.path.eq_ignore_ascii_case(UPLOAD_PATH);
    if is_upload && content.file.is_none() {
        return Err(invalid("file", "file is required for /file/upload: add url, or name and base64"));
    }
    if is_upload && content.body.is_some() {
        return Err(invalid(
            "body",
            "body means nothing for /file/upload: leave it out, the file is sent as form data",
        ));
    }
    if !is_upload && content.file.is_some() {
        return Err(invalid("file", "file goes with /file/upload alone: upload it, and use the path that it answers"));
    }
    if planned.method == Method::Get && content.body.is_some() {
        return Err(invalid("body", "body means nothing for GET: move its fields into query"));
    }
    Ok(())
}

fn invalid(field: &str, message: impl Into<Box<str>>) -> Fault {
    Fault::of_field(Code::InvalidField, field, message)
}

/// Whether nobody can read the path in another way: parts of plain characters between single slashes.
fn check_plain(path: &str) -> Result<(), &'static str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if path.contains("://") {
        return Err("must begin below senders.url, without a server");
    }
    if path.len() > PATH_BYTES_MAX {
        return Err("must be 256 bytes at most");
    }
    if path.contains('?') {
        return Err("must not have a question mark, because parameters go into query");
    }
    let parts = path.strip_prefix('/').unwrap_or(path);
    let is_good = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with('.');
    if !parts.split('/').all(|part| is_good(part) && part.chars().all(is_plain)) {
        return Err("must be made of A-Z a-z 0-9 - _ . between single slashes, without one at its end");
    }
    Ok(())
}

/// Whether some server could take this for a path of sending. `own` are the paths that the configuration adds.
pub(super) fn is_send(path: &str, own: &[Box<str>]) -> bool {
    let mut text = path.to_owned();
    for _ in 0..ESCAPES_MAX {
        let read = percent_decoded(&text);
        if read == text {
            break;
        }
        text = read;
    }
    let parts = lenient_parts(&text);
    let built_in = BUILT_IN_KINDS.iter().map(|(_, path)| *path);
    let sends: Vec<Vec<String>> = built_in.chain(own.iter().map(|path| &**path)).map(lenient_parts).collect();
    // A full address, and a path that repeats where the API begins, have more before the part that counts.
    let starts = if check_plain(path).is_ok() { 0..1 } else { 0..parts.len().max(1) };
    let repeats_base = parts.first().is_some_and(|part| part == "gnapi") as usize * 2;
    starts.chain([repeats_base]).filter_map(|start| parts.get(start..)).any(|parts| {
        let is_message = parts.first().is_some_and(|part| part == "msg");
        is_message || sends.iter().any(|send| send == parts)
    })
}

/// The parts of a path, as the most forgiving server would find them.
fn lenient_parts(path: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    let path = path.split(['?', '#']).next().unwrap_or_default();
    for part in path.split(['/', '\\', '\u{2215}', '\u{ff0f}']) {
        let part = part.split(';').next().unwrap_or_default();
        let part = part.trim_matches(|c: char| c.is_whitespace() || c.is_control());
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part.trim_end_matches('.').to_lowercase()),
        }
    }
    parts
}

/// Resolves `%xx`, wherever two digits follow; what is then no UTF-8 is replaced.
pub fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut read = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let digits = bytes.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = digits.filter(|_| byte == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
        read.push(escaped.unwrap_or(byte));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&read).into_owned()
}

#[cfg(test)]
mod tests;
