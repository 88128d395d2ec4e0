//! Calls of the sender's API that send nothing: what a command asks for, and what is handed to the edge that makes it.

mod offered;

mod rules;

pub use offered::{Method, OFFERED, Offered};
pub use rules::{CallRule, CallRules, Planned, percent_decoded};

use super::SenderName;
use bytes::Bytes;
use std::fmt;
use std::time::Duration;

/// The path that files go to.
pub const UPLOAD_PATH: &str = "/file/upload";

/// A call as a command asks for it. Whether it may be made is decided by [`CallRules::plan`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Needed only where there are several.
    pub sender: Option<SenderName>,
    pub method: Option<Method>,
    /// As it was written.
    pub path: Box<str>,
    pub content: CallContent,
    /// From the start of the request to the last byte of its answer; `None` is what is configured.
    pub timeout: Option<Duration>,
}

/// A name and a value of a query, not yet encoded.
pub type QueryPair = (Box<str>, Box<str>);

/// What goes with a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallContent {
    /// A list is the same name several times.
    pub query: Vec<QueryPair>,
    /// JSON text, forwarded byte for byte.
    pub body: Option<JsonText>,
    /// Never together with `body`.
    pub file: Option<CallFile>,
}

/// JSON text of somebody's data: no `Debug` shows more than its length.
#[derive(Clone, PartialEq, Eq)]
pub struct JsonText(pub Bytes);

impl fmt::Debug for JsonText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JsonText({} bytes)", self.0.len())
    }
}

/// A file to upload.
#[derive(Clone, PartialEq, Eq)]
pub enum CallFile {
    Inline {
        name: Box<str>,
        bytes: Bytes,
    },
    /// To be downloaded first; without a name it gets the last part of the address.
    Url {
        url: Box<str>,
        name: Option<Box<str>>,
    },
}

impl fmt::Debug for CallFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline { bytes, .. } => write!(f, "Inline({} bytes)", bytes.len()),
            Self::Url { .. } => f.write_str("Url"),
        }
    }
}

/// One call to make. So many of one server are under way at once as its settings say, at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallJob {
    /// Tells it from every other one of this life of the process.
    pub number: u64,
    pub sender: SenderName,
    pub method: Method,
    /// Plain, below the server's `url`, with a slash at its front.
    pub path: Box<str>,
    pub content: CallContent,
    pub timeout: Option<Duration>,
    /// Whether it may change something: then an answer that does not come leaves a doubt.
    pub changes: bool,
}
