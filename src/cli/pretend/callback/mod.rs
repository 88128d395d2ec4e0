//! What the pretend sender reports: quntool's callbacks about its messages and accounts, and genuine requests of the
//! other three systems.
//!
//! - Every message that took effect is reported, whatever its client was answered: that is what callbacks are for.
//! - What is made is entered into the ledger before it is posted, so that nothing is under way unseen.
//! - Shapes are those of the vendors' texts and samples; the bridge's parsers are not asked.

mod courier;
mod event;
mod ledger;
mod message;
mod other;
#[cfg(test)]
mod parsed_tests;
mod received;
#[cfg(test)]
mod tests;
mod wecom;
mod yunxin;

pub use courier::{Courier, Outbox, post, release, target};
pub use event::{Group, Happening, Scene};
pub use ledger::{CallbackEntry, CallbackLedger, Delivery};
pub use message::{Content, Message, content, said};
pub use other::{Genuine, Others, System, Wecom, Yunxin};
pub use received::ReceivedKind;
pub use wecom::{Seasoning, WecomSide};

use crate::clock;
use crate::model::Time;
use bytes::Bytes;
use serde_json::{Value, json};
use std::ops::RangeInclusive;
use std::time::Duration;

/// How quntool's callbacks are made.
#[derive(Clone, Debug)]
pub struct CallbackSettings {
    /// Where they are posted, over plain HTTP, such as `http://127.0.0.1:8790/callback/main/<secret>`. `None` for
    /// nowhere: then none is made.
    pub url: Option<Box<str>>,
    /// `source`: what the container is called.
    pub source: Box<str>,
    /// `userId` and `sendUserId`: who is logged in at the vendor.
    pub user: Box<str>,
    /// Between the effect of a message and its callback.
    pub latency: RangeInclusive<Duration>,
    pub retry: Retry,
}

/// What becomes of a callback that meets 503, or nobody at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How often it is posted at most, the first time included.
    pub attempts_max: u32,
    /// Before the second attempt; twice as long before each further one.
    pub pause: Duration,
    /// How long an answer may take.
    pub answer_wait: Duration,
}

impl Default for CallbackSettings {
    fn default() -> Self {
        Self {
            url: None,
            source: Box::from("pretend"),
            user: Box::from("apps-1"),
            latency: Duration::ZERO..=Duration::ZERO,
            retry: Retry { attempts_max: 4, pause: Duration::from_secs(1), answer_wait: Duration::from_secs(5) },
        }
    }
}

/// When a callback is posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// This long after the usual latency.
    After(Duration),
    /// Before the request to send is answered.
    Early,
    /// Once a callback that was made later has been posted: out of order.
    AfterNext,
    /// When it is released.
    Held,
    Never,
}

/// What the callback about one message is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub when: When,
    /// How often it comes, each time with the same `msgId`.
    pub copies: u32,
    /// `error_code` and its words; `None` for 0. A message with an error is reported although it took no effect.
    pub error: Option<(i64, Box<str>)>,
    /// Whether it carries `sendMsgId`.
    pub has_id: bool,
    /// `isOpenApi`; `None` to leave it out.
    pub is_open_api: Option<bool>,
}

impl Report {
    /// At once, once, delivered.
    pub const USUAL: Self =
        Self { when: When::After(Duration::ZERO), copies: 1, error: None, has_id: true, is_open_api: Some(true) };

    pub const fn when(when: When) -> Self {
        Self { when, ..Self::USUAL }
    }

    pub const fn late(by: Duration) -> Self {
        Self::when(When::After(by))
    }

    pub const fn twice() -> Self {
        Self { copies: 2, ..Self::USUAL }
    }

    /// The message did not reach its receiver.
    pub fn failed(code: i64, words: &str) -> Self {
        Self { error: Some((code, Box::from(words))), ..Self::USUAL }
    }

    /// Whether there is anything to post about a message that took `effect`, or did not.
    pub fn is_made(&self, effect: bool) -> bool {
        self.when != When::Never && self.copies > 0 && (effect || self.error.is_some())
    }
}

/// The sender's id of a message, as far as a callback carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendMsgId {
    Absent,
    Null,
    Id(Box<str>),
}

/// One callback in quntool's envelope, ready to be posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// `type`
    pub kind: Box<str>,
    pub account: Box<str>,
    pub msg_id: Box<str>,
    pub send_msg_id: Option<Box<str>>,
    pub body: Bytes,
}

/// What a callback says, without its envelope.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    pub kind: Box<str>,
    pub account: Box<str>,
    pub data: Value,
    pub send_msg_id: SendMsgId,
    /// False before the login, when the envelope knows neither the account nor the user.
    pub is_logged_in: bool,
}

impl Said {
    /// Puts it into its envelope, with a new `msgId`.
    pub fn made(self, settings: &CallbackSettings, at: Time) -> Made {
        let Self { kind, account, data, send_msg_id, is_logged_in } = self;
        let msg_id = clock::random_uuid().to_string().into_boxed_str();
        let (user, wxid) = if is_logged_in { (json!(settings.user), &*account) } else { (Value::Null, "") };
        let mut envelope = json!({
            "msgId": msg_id,
            "source": settings.source,
            "userId": user,
            "wxid": wxid,
            "timestamp": at.as_millis(),
            "type": kind,
            "data": data,
        });
        let send_msg_id = match send_msg_id {
            SendMsgId::Absent => None,
            SendMsgId::Null => {
                envelope["sendMsgId"] = Value::Null;
                None
            }
            SendMsgId::Id(id) => {
                envelope["sendMsgId"] = json!(id);
                Some(id)
            }
        };
        Made { kind, account, msg_id, send_msg_id, body: Bytes::from(envelope.to_string()) }
    }
}
