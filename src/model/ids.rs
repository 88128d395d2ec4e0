use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
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
/// Invariant: the text is one JSON string of 1 to 128 bytes without control characters, or one JSON number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageId(Box<str>);

impl MessageId {
    /// Wraps JSON text that the caller has already checked.
    pub fn from_json(text: &str) -> Self {
        Self(Box::from(text))
    }

    /// The JSON text: with its quotes where it is a string.
    pub fn as_json(&self) -> &str {
        &self.0
    }
}
