use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
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

/// The publisher's `id` as JSON text, so that it is echoed as it came: a number as it was written, and a string as
/// JSON's shortest spelling of it. `"a\/b"` and `"a/b"` are one id, because they are one string, and publishers and
/// operators have different libraries.
///
/// Invariant: the text is one JSON string of 1 to 128 bytes without control characters, or one JSON number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageId(Box<str>);

impl MessageId {
    /// Wraps JSON text that the caller has already checked.
    pub fn from_json(text: &str) -> Self {
        let is_escaped = text.contains('\\');
        let plain: Option<String> = is_escaped.then(|| serde_json::from_str(text).ok()).flatten();
        Self(plain.map_or_else(|| Box::from(text), |plain| Value::from(plain).to_string().into_boxed_str()))
    }

    /// The JSON text: with its quotes where it is a string.
    pub fn as_json(&self) -> &str {
        &self.0
    }

    /// For replies that are made of values. A number that those would change is the string of its text.
    pub fn to_value(&self) -> Value {
        let value: Value = serde_json::from_str(&self.0).unwrap_or_default();
        let is_kept = value.is_string() || value.to_string().as_str() == &*self.0;
        if is_kept { value } else { Value::from(&*self.0) }
    }
}
