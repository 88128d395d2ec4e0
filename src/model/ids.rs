use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// A name that is cloned often and never changed: three types of it, so that they cannot be mixed up.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn new(name: &str) -> Self {
                Self(Arc::from(name))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// The id of a WeCom account (`wxId`), one of which sends at most one message per interval.
    Account
}
name! {
    /// The id of a WeCom company (`corp_id`), whose accounts share one hourly quota.
    Corp
}
name! {
    /// The name of a configured server of the sender's API.
    SenderName
}

/// The number of an accepted message: ascending in the order of acceptance, never used twice in a journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The publisher's `id`, as the JSON text it was written in, so that it is echoed exactly.
///
/// Two are equal when they are the same string or the same text of a number: `"a\/b"` is `"a/b"`, because publishers
/// and operators have libraries that spell differently.
///
/// Invariant: the text is one JSON string of 1 to 128 bytes without control characters, or one JSON number.
#[derive(Clone, Debug)]
pub struct MessageId(Box<str>);

impl PartialEq for MessageId {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for MessageId {}

impl MessageId {
    /// Wraps JSON text that the caller has already checked.
    pub fn from_json(text: &str) -> Self {
        Self(Box::from(text))
    }

    /// The JSON text: with its quotes where it is a string.
    pub fn as_json(&self) -> &str {
        &self.0
    }

    /// The JSON text in its shortest spelling: equal for equal ids.
    pub fn key(&self) -> Cow<'_, str> {
        // Without an escape there is one way to write it.
        let text = self.0.contains('\\').then(|| self.to_text()).flatten();
        text.map_or(Cow::Borrowed(&self.0), |text| Cow::Owned(Value::from(text).to_string()))
    }

    /// What a string says; `None` for a number.
    pub fn to_text(&self) -> Option<String> {
        serde_json::from_str(&self.0).ok()
    }

    /// For replies that are made of values. A number that those would change is the string of its text.
    pub fn to_value(&self) -> Value {
        let value: Value = serde_json::from_str(&self.0).unwrap_or_default();
        let is_kept = value.is_string() || value.to_string().as_str() == &*self.0;
        if is_kept { value } else { Value::from(&*self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_spellings_of_a_string_are_one_id_and_two_of_a_number_are_not() {
        let id = MessageId::from_json;
        let escaped = id(r#""\u8ba2\u5355\/1 \"""#);
        assert_eq!(escaped, id(r#""订单/1 \"""#));
        assert_eq!((escaped.as_json(), &*escaped.key()), (r#""\u8ba2\u5355\/1 \"""#, r#""订单/1 \"""#));
        assert!(id("1") != id("1.0") && id("1") != id(r#""1""#) && id(r#""a""#) != id(r#""A""#));
    }
}
