//! Reads what `strace -f -yy -xx` wrote: whole calls, with where they began and where they ended among all others.
//!
//! A call begins before it does anything and has ended when its thread goes on, so places in the file are a true order.

use std::collections::BTreeMap;

/// One system call that came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub name: String,
    /// What the first argument is: a path, or both ends of a connection.
    pub about: String,
    /// All texts among its arguments, one after the other.
    pub data: Vec<u8>,
    /// The number before the last bracket, such as the offset of a write.
    pub last_number: u64,
    pub returned: i64,
    pub begun: usize,
    pub ended: usize,
}

/// The calls of a trace, in the order of their ends.
pub fn read(trace: &str) -> Vec<Call> {
    let mut open: BTreeMap<&str, (usize, String)> = BTreeMap::new();
    let mut calls = Vec::new();
    for (place, line) in trace.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if let Some(begun) = rest.strip_suffix("<unfinished ...>") {
            open.insert(thread, (place, begun.to_owned()));
        } else if let Some((_, end)) = rest.split_once(" resumed>") {
            let Some((begun, head)) = open.remove(thread) else { continue };
            calls.extend(parse(&(head + end), begun, place));
        } else {
            calls.extend(parse(rest, place, place));
        }
    }
    calls
}

fn parse(text: &str, begun: usize, ended: usize) -> Option<Call> {
    let (name, rest) = text.split_once('(')?;
    let (arguments, returned) = rest.rsplit_once(" = ")?;
    let arguments = arguments.trim_end().strip_suffix(')')?;
    let returned = returned.split([' ', '<']).next()?.parse().ok()?;
    let (about, others) = match arguments.split_once('<') {
        Some((_, rest)) => rest.split_at(label(rest).len()),
        None => ("", arguments),
    };
    let last_number = others.rsplit(", ").next().and_then(|word| word.trim().parse().ok()).unwrap_or_default();
    let about = String::from_utf8_lossy(&unescaped(about)).into_owned();
    let data = quoted(others);
    Some(Call { name: name.to_owned(), about, data, last_number, returned, begun, ended })
}

/// What stands between the brackets around a descriptor's name, which may have an arrow in it.
fn label(text: &str) -> &str {
    let mut from = 0;
    while let Some(at) = text[from..].find('>') {
        let at = from + at;
        if !text[..at].ends_with('-') {
            return &text[..at];
        }
        from = at + 1;
    }
    text
}

/// Everything between quotation marks; inside, only escapes have a backslash.
fn quoted(text: &str) -> Vec<u8> {
    let parts = text.split('"').skip(1).step_by(2);
    parts.flat_map(unescaped).collect()
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() / 4);
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail.strip_prefix(b"x").and_then(|digits| digits.get(..2)).filter(|_| *first == b'\\');
        match hex.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_overlap_are_put_together() {
        let trace = "\
7 pwrite64(9</d/j-wal>, \"\\x00\\x41\", 2, 32 <unfinished ...>\n\
8 sendto(5<TCP:[127.0.0.1:1->127.0.0.1:2]>, \"\\x40\\x02\", 2, MSG_NOSIGNAL, NULL, 0) = 2\n\
7 <... pwrite64 resumed>)                 = 2\n\
7 fsync(9</d/j-wal>)                      = -1 EIO (Input/output error)\n";
        let calls = read(trace);
        let told: Vec<_> =
            calls.iter().map(|call| (call.name.as_str(), call.begun, call.ended, call.returned)).collect();
        assert_eq!(told, [("sendto", 1, 1, 2), ("pwrite64", 0, 2, 2), ("fsync", 3, 3, -1)]);
        assert_eq!((calls[1].data.as_slice(), calls[1].last_number), (&[0, 0x41][..], 32));
        assert_eq!(calls[1].about, "/d/j-wal");
        assert_eq!(calls[0].about, "TCP:[127.0.0.1:1->127.0.0.1:2]");
    }
}
