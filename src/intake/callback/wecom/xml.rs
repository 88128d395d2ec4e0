//! XML as WeCom writes it, to JSON: every element becomes text, an object, or a list where it is repeated.
//!
//! No document type, no entities but the five of XML, a bounded depth: nothing in it can grow or reach out.

use quick_xml::Reader;
use quick_xml::events::Event;
use serde_json::{Map, Value};

const DEPTH_MAX: usize = 16;
const ELEMENTS_MAX: usize = 10_000;

/// Why it is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotXml;

struct Open {
    name: String,
    text: String,
    members: Map<String, Value>,
}

/// The members of the root element.
pub(super) fn parse(xml: &str) -> Result<Map<String, Value>, NotXml> {
    let mut reader = Reader::from_str(xml);
    let mut open: Vec<Open> = Vec::new();
    let mut root = None;
    let mut elements = 0;
    loop {
        match reader.read_event().map_err(|_| NotXml)? {
            Event::Start(tag) => {
                elements += 1;
                if root.is_some() || open.len() >= DEPTH_MAX || elements > ELEMENTS_MAX {
                    return Err(NotXml);
                }
                let name = tag.local_name().as_ref().to_owned();
                open.push(Open { name, text: String::new(), members: Map::new() });
            }
            Event::Empty(tag) => {
                elements += 1;
                if elements > ELEMENTS_MAX {
                    return Err(NotXml);
                }
                let name = tag.local_name().as_ref().to_owned();
                let parent = open.last_mut().ok_or(NotXml)?;
                add(&mut parent.members, name, Value::String(String::new()));
            }
            Event::End(_) => {
                let Open { name, text, members } = open.pop().ok_or(NotXml)?;
                match open.last_mut() {
                    Some(parent) => add(&mut parent.members, name, value(text, members)),
                    None => root = Some(members),
                }
            }
            Event::Text(text) => push(&mut open, &text),
            Event::CData(text) => push(&mut open, &text),
            Event::GeneralRef(reference) => {
                let resolved = match reference.resolve_char_ref().map_err(|_| NotXml)? {
                    Some(character) => character.to_string(),
                    None => quick_xml::escape::resolve_xml_entity(&reference).ok_or(NotXml)?.to_owned(),
                };
                push(&mut open, &resolved);
            }
            Event::DocType(_) => return Err(NotXml),
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
            Event::Eof => break,
        }
    }
    if open.is_empty() { root.ok_or(NotXml) } else { Err(NotXml) }
}

fn push(open: &mut [Open], text: &str) {
    if let Some(element) = open.last_mut() {
        element.text.push_str(text);
    }
}

/// Text around elements is layout.
fn value(text: String, members: Map<String, Value>) -> Value {
    if members.is_empty() { Value::String(text.trim().to_owned()) } else { Value::Object(members) }
}

fn add(members: &mut Map<String, Value>, name: String, value: Value) {
    match members.get_mut(&name) {
        None => {
            members.insert(name, value);
        }
        Some(Value::Array(items)) => items.push(value),
        Some(first) => {
            let first = first.take();
            members.insert(name, Value::Array(vec![first, value]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_text_cdata_lists_and_spaces_before_cdata() {
        let xml = "<xml><A> <![CDATA[a<b]]></A><L><I>1</I><I>2</I></L><E/><N>&lt;&#20320;</N><S> x </S></xml>";
        let wanted = json!({ "A": "a<b", "L": { "I": ["1", "2"] }, "E": "", "N": "<你", "S": "x" });
        assert_eq!(Value::Object(parse(xml).expect("XML")), wanted);
    }

    #[test]
    fn refuses_bombs_and_broken_text() {
        let bomb = r#"<!DOCTYPE x [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><xml><A>&b;</A></xml>"#;
        let outside = r#"<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><xml><A>&a;</A></xml>"#;
        let unknown = "<xml><A>&b;</A></xml>";
        let deep = format!("{}{}", "<a>".repeat(100), "</a>".repeat(100));
        let many = format!("<xml>{}</xml>", "<a>1</a>".repeat(ELEMENTS_MAX + 1));
        let empty = format!("<xml>{}</xml>", "<a/>".repeat(ELEMENTS_MAX + 1));
        for xml in [bomb, outside, unknown, &deep, &many, &empty, "", "<xml>", "<a></b>", "text", "<a></a><b></b>"] {
            assert_eq!(parse(xml), Err(NotXml), "{}", &xml[..xml.len().min(60)]);
        }
    }
}
