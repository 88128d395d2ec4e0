//! JSON as another reader sees it.

use crate::mutate::tokens;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Members by their names, each as it was written.
pub type Members = BTreeMap<String, Box<RawValue>>;

/// The members of an object; the last one where several have one name.
pub fn members(json: &[u8]) -> Option<Members> {
    serde_json::from_slice(json).ok()
}

/// Names and values, to be compared.
pub fn texts(members: &Members) -> Vec<(&str, &str)> {
    members.iter().map(|(name, value)| (name.as_str(), value.get())).collect()
}

/// The same JSON with white space wherever it may be.
pub fn spread(json: &[u8]) -> Vec<u8> {
    let mut made = Vec::with_capacity(json.len() * 3);
    for token in tokens(json) {
        let token = &json[token];
        // A sign of a number is a token of its own here, and belongs to what follows.
        let is_part = made.last().is_some_and(|byte| matches!(byte, b'+' | b'e' | b'E'));
        let joins = |byte: &u8| matches!(byte, b'+');
        if !is_part && !token.first().is_some_and(joins) {
            made.extend_from_slice(b"\r\n\t ");
        }
        made.extend_from_slice(token);
    }
    made.push(b'\n');
    made
}

/// Whether an object has several members of that name.
pub fn has_repeated(json: Option<&[u8]>, name: &str) -> bool {
    let quoted = format!("\"{name}\"");
    // Escapes can spell it in other ways; whoever looks for one of them is content with the guess.
    let json = json.unwrap_or_default();
    json.contains(&b'\\') || json.windows(quoted.len()).filter(|part| *part == quoted.as_bytes()).count() > 1
}
