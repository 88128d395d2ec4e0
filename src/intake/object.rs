//! The top level of a JSON object, as it was written.
//!
//! Values stay text: what is forwarded is forwarded byte for byte, and what is read is read where it is needed. The
//! order of the members and members of the same name are kept, because the sender sees them too.

use super::field::show;
use crate::model::{Code, Fault};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// How deep lists and objects may be nested. A reader with `serde_json`'s limits gives up at one more, and so might
/// the sender.
pub(super) const NESTING_MAX: usize = 127;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// One member of an object.
#[derive(Debug)]
pub(super) struct Member<'a> {
    /// What the name means, with its escapes resolved.
    pub name: Cow<'a, str>,
    /// The JSON text of the name, with its quotes.
    pub raw_name: &'a str,
    /// The JSON text of the value.
    pub value: &'a str,
    /// The name in lower case: names are compared without regard to it.
    folded: Cow<'a, str>,
}

/// A JSON object that keeps order, spelling and repetitions.
#[derive(Debug)]
pub(super) struct Object<'a> {
    members: Vec<Member<'a>>,
    /// Positions in the order of the lower-cased names; only the first of a name.
    by_name: Vec<usize>,
    flaw: Option<Fault>,
}

impl<'a> Object<'a> {
    /// Reads an object as far as JSON's grammar allows; what we refuse beyond that is told by [`Object::check`].
    ///
    /// # Errors
    /// `INVALID_JSON`, with the position but nothing of the content.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Fault> {
        if payload.starts_with(BYTE_ORDER_MARK) {
            return Err(invalid_json("payload begins with a byte order mark: send UTF-8 without it"));
        }
        let text = std::str::from_utf8(payload).map_err(|error| {
            let offset = error.valid_up_to();
            invalid_json(format!("payload is not UTF-8 at byte {offset}: encode it as UTF-8"))
        })?;
        Self::parse_text(text)
    }

    /// The same for text, such as the value of a member.
    pub fn parse_text(text: &'a str) -> Result<Self, Fault> {
        let Pairs(pairs) = serde_json::from_str(text).map_err(|error| describe(&error))?;
        let mut flaw = find_flaw(text);
        let mut members: Vec<Member<'a>> = Vec::with_capacity(pairs.len());
        for (raw_name, raw_value) in pairs {
            let raw_name = raw_name.get();
            // Only a name with half a surrogate pair cannot be read, and that is a flaw already.
            let name = decode(raw_name).unwrap_or(Cow::Borrowed(raw_name));
            let folded = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
                Cow::Owned(name.to_ascii_lowercase())
            } else {
                name.clone()
            };
            members.push(Member { name, raw_name, value: raw_value.get(), folded });
        }
        let mut by_name: Vec<usize> = (0..members.len()).collect();
        by_name.sort_by(|&one, &other| members[one].folded.cmp(&members[other].folded));
        // Of those with one name the first stays, and the first that comes after another one is the flaw that is told.
        let mut repetition: Option<(usize, usize)> = None;
        by_name.dedup_by(|later, first| {
            let is_same = members[*later].folded == members[*first].folded;
            if is_same && repetition.is_none_or(|(position, _)| *later < position) {
                repetition = Some((*later, *first));
            }
            is_same
        });
        if let Some((later, first)) = repetition {
            flaw.get_or_insert_with(|| repeated(&members[first].name, &members[later].name));
        }
        let flaw = flaw.or_else(|| find_lookalike(&members));
        Ok(Self { members, by_name, flaw })
    }

    /// Whether it is an object that everybody reads the same way.
    ///
    /// # Errors
    /// `INVALID_JSON` for nesting beyond [`NESTING_MAX`] and halves of surrogate pairs, `INVALID_FIELD` for two
    /// members whose names differ in case only, or not at all.
    pub fn check(&self) -> Result<(), Fault> {
        match &self.flaw {
            Some(fault) => Err(fault.clone()),
            None => Ok(()),
        }
    }

    /// The members in the order in which they were written.
    pub fn members(&self) -> &[Member<'a>] {
        &self.members
    }

    /// The members in the order of their lower-cased names, with these names.
    pub fn sorted(&self) -> impl Iterator<Item = (&str, &Member<'a>)> {
        self.by_name.iter().map(|&position| (&*self.members[position].folded, &self.members[position]))
    }

    /// The value of the member of that name, in whatever case.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        let wanted = || name.bytes().map(|byte| byte.to_ascii_lowercase());
        let found = self.by_name.binary_search_by(|&position| self.members[position].folded.bytes().cmp(wanted()));
        found.ok().map(|index| self.members[self.by_name[index]].value)
    }

    /// The same, where `null` says as little as nothing.
    pub fn given(&self, name: &str) -> Option<&'a str> {
        self.get(name).filter(|&value| value != "null")
    }

    /// The value of the only member of that name: `None` also when there are several.
    pub fn only(&self, name: &str) -> Option<&'a str> {
        let mut found = self.members.iter().filter(|member| member.name.eq_ignore_ascii_case(name));
        let value = found.next()?.value;
        if found.next().is_some() { None } else { Some(value) }
    }

    /// Refuses every member that is not among `known`. `what` says of what they are.
    pub fn check_known(&self, what: &str, prefix: &str, known: &[&str]) -> Result<(), Fault> {
        for member in &self.members {
            if !known.iter().any(|name| name.eq_ignore_ascii_case(&member.name)) {
                let unknown = show(&member.name);
                let message = format!("{what} has no \"{unknown}\": use {}", known.join(", "));
                return Err(Fault::of_field(Code::InvalidField, &format!("{prefix}{unknown}"), message));
            }
        }
        Ok(())
    }
}

/// Two names that a reader with Unicode's idea of case takes for one: `ſ` is an S there, and the Kelvin sign a K. Names
/// in ASCII alone are compared where they are read.
fn find_lookalike(members: &[Member<'_>]) -> Option<Fault> {
    if members.iter().all(|member| member.name.is_ascii()) {
        return None;
    }
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for Member { name, .. } in members {
        if let Some(first) = seen.insert(name.chars().map(folded).collect(), name) {
            return Some(repeated(first, name));
        }
    }
    None
}

/// As readers compare that go character by character: to upper case, and back to lower case.
fn folded(character: char) -> char {
    let mut upper = character.to_uppercase();
    let upper = if upper.len() == 1 { upper.next().unwrap_or(character) } else { character };
    upper.to_lowercase().next().unwrap_or(upper)
}

/// What a JSON string says. `None` when it is no string, or has half a surrogate pair.
pub(super) fn decode(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if !inner.contains('\\') {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str(raw).ok().map(Cow::Owned)
}

/// All members of an object as text.
struct Pairs<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor;

        impl<'de> Visitor<'de> for PairsVisitor {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }

        deserializer.deserialize_map(PairsVisitor)
    }
}

/// The parser's words about grammar hold a position and nothing of the content; its words about types would quote it.
fn describe(error: &serde_json::Error) -> Fault {
    match error.classify() {
        Category::Syntax | Category::Eof | Category::Io => {
            invalid_json(format!("payload is not valid JSON, {error}: send one JSON object"))
        }
        Category::Data => invalid_json("payload is not a JSON object: put the fields between { and }"),
    }
}

fn invalid_json(message: impl Into<Box<str>>) -> Fault {
    Fault::new(Code::InvalidJson, message)
}

fn repeated(one: &str, other: &str) -> Fault {
    let (one, other) = (show(one), show(other));
    let message = format!("\"{one}\" and \"{other}\" are one name, because case does not count: send only one of them");
    Fault::of_field(Code::InvalidField, &one, message)
}

/// Finds what JSON's grammar allows and readers disagree on: deep nesting and halves of surrogate pairs.
fn find_flaw(text: &str) -> Option<Fault> {
    let bytes = text.as_bytes();
    let mut depth = 0;
    let mut position = 0;
    while let Some(&byte) = bytes.get(position) {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                if depth > NESTING_MAX {
                    let place = place(bytes, position);
                    return Some(invalid_json(format!(
                        "payload is nested deeper than {NESTING_MAX} levels at {place}: send a flatter object"
                    )));
                }
            }
            b'}' | b']' => depth -= 1,
            b'"' => match skip_string(bytes, position + 1) {
                Ok(end) => position = end,
                Err(half) => {
                    let place = place(bytes, half);
                    return Some(invalid_json(format!(
                        "payload has half a surrogate pair at {place}: send whole characters, \\uD83D alone is none"
                    )));
                }
            },
            _ => (),
        }
        position += 1;
    }
    None
}

/// The position of the quote that ends the string, or of an escape that is half a surrogate pair.
fn skip_string(bytes: &[u8], start: usize) -> Result<usize, usize> {
    let mut position = start;
    while let Some(&byte) = bytes.get(position) {
        match byte {
            b'"' => return Ok(position),
            b'\\' => match escaped_unit(bytes, position) {
                Some(0xD800..=0xDBFF) => match escaped_unit(bytes, position + 6) {
                    Some(0xDC00..=0xDFFF) => position += 12,
                    Some(_) | None => return Err(position),
                },
                Some(0xDC00..=0xDFFF) => return Err(position),
                Some(_) => position += 6,
                None => position += 2,
            },
            _ => position += 1,
        }
    }
    Ok(position)
}

/// The UTF-16 unit of the escape at `position`, `\u` and four hexadecimal digits, if one is there.
fn escaped_unit(bytes: &[u8], position: usize) -> Option<u16> {
    let escape = bytes.get(position..position + 6)?;
    let digits = std::str::from_utf8(escape.strip_prefix(b"\\u")?).ok()?;
    u16::from_str_radix(digits, 16).ok()
}

/// A position as the JSON parser gives it: both counted from one, columns in bytes.
fn place(bytes: &[u8], position: usize) -> String {
    let before = &bytes[..position];
    let line = before.split(|&byte| byte == b'\n').count();
    let column = before.iter().rev().take_while(|&&byte| byte != b'\n').count() + 1;
    format!("line {line} column {column}")
}
