//! JSON objects as they were written: order and spelling are kept, so that no number loses a digit.

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// The members of an object in their order, each value as its JSON text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Members(pub(super) Vec<(String, String)>);

impl Members {
    /// Reads an object.
    ///
    /// # Errors
    /// Why it is none, with the position in the text.
    pub(super) fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// The value of a name, in whatever case.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Sets a value. One of the same name, in whatever case, is replaced where it stands.
    pub(super) fn set(&mut self, name: &str, value: String) {
        match self.0.iter_mut().find(|(own, _)| own.eq_ignore_ascii_case(name)) {
            Some(member) => *member = (name.to_owned(), value),
            None => self.0.push((name.to_owned(), value)),
        }
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<String> {
        let position = self.0.iter().position(|(own, _)| own.eq_ignore_ascii_case(name))?;
        Some(self.0.remove(position).1)
    }
}

impl fmt::Display for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, (name, value)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}:{value}", quote(name))?;
        }
        f.write_str("}")
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    members.push((name, value.get().to_owned()));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(MembersVisitor)
    }
}

/// A text as a JSON string.
pub(super) fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// What a JSON string says. `None` for everything else.
pub(super) fn unquote(json: &str) -> Option<String> {
    serde_json::from_str(json).ok()
}

/// A text that is JSON, without the white space around it.
pub(super) fn checked(text: &str) -> Result<String, serde_json::Error> {
    serde_json::from_str::<Box<RawValue>>(text.trim()).map(|value| value.get().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_written_as_it_was() {
        let text = r#"{"id":9007199254740993,"a\"b":[1.0,2e400],"x":"你\u0041"}"#;
        assert_eq!(Members::parse(text).expect("an object").to_string(), text);
        assert!(Members::parse("[1]").is_err());
        assert!(Members::parse(r#"{"a":1} x"#).is_err());
    }

    #[test]
    fn names_are_one_in_whatever_case() {
        let mut members = Members::parse(r#"{"WXID":"a","b":1}"#).expect("an object");
        members.set("wxId", quote("c"));
        members.set("d", "null".to_owned());
        assert_eq!(members.to_string(), r#"{"wxId":"c","b":1,"d":null}"#);
        assert_eq!((members.remove("B"), members.get("D")), (Some("1".to_owned()), Some("null")));
    }
}
