use super::{Account, Fault, MessageId, Outcome, Seq, Shown, Time};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// A digest of what would be forwarded: equal for two payloads that ask for the same message.
///
/// The first 16 bytes of a SHA-256, because a stranger chooses the input. `bridge` options do not enter it.
pub type Fingerprint = [u8; 16];

/// The message types that need no configuration, and the sender's path for each. The first ten are those that the
/// vendor names for MQTT.
pub const BUILT_IN_KINDS: [(&str, &str); 14] = [
    ("text", "/msg/text"),
    ("image", "/msg/image"),
    ("personCard", "/msg/personCard"),
    ("link", "/msg/link"),
    ("file", "/msg/file"),
    ("video", "/msg/video"),
    ("miniProgram", "/msg/miniProgram"),
    ("roomAt", "/msg/roomAt"),
    ("gif", "/msg/gif"),
    ("videoNum", "/msg/videoNum"),
    ("voice", "/msg/voice"),
    ("quote", "/msg/quote"),
    ("miniProgramById", "/miniProgram/send"),
    ("videoNumById", "/videonum/send"),
];

/// A message that a publisher asked for, parsed and valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub id: MessageId,
    /// The type as configured (`text`, `roomAt`, …), in its canonical spelling; the sender maps it to a path.
    pub kind: Arc<str>,
    pub account: Account,
    /// `conversationId` as written, or empty where the message has none.
    pub conversation: Box<str>,
    pub origin: Origin,
    pub options: Options,
    pub fingerprint: Fingerprint,
    /// What it shows in its chat, for types whose content a callback shows too.
    pub shown: Option<Shown>,
    /// The JSON to forward: the payload without `id`, `type` and `bridge`, all else byte for byte.
    pub body: Bytes,
}

/// Where a request came from, which is where its answer goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// What followed the send topic (`SendMessage/<suffix>`), or `None` on the bare topic.
    pub suffix: Option<Box<str>>,
    /// The MQTT 5 response topic, if it was one of the allowed.
    pub reply_to: Option<ReplyTo>,
    /// True when it came at QoS 0: nothing brings it back if it is lost before the journal has it.
    pub weak: bool,
}

/// An MQTT 5 response topic with its correlation data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyTo {
    pub topic: Box<str>,
    pub correlation: Option<Bytes>,
}

/// What the publisher asked the bridge for, in `bridge`. `None` means the configured default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// 0 to 9, 9 first.
    pub priority: Option<u8>,
    pub not_before: Option<Time>,
    pub lifetime: Option<Lifetime>,
    /// The MQTT 5 message expiry, counted from the arrival: only where `lifetime` is a moment, with which it cannot be
    /// compared before the arrival's time is known. The earlier end counts.
    pub message_expiry: Option<Duration>,
    pub on_doubt: Option<OnDoubt>,
    pub tag: Option<Box<str>>,
}

/// How long a message is worth sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    For(Duration),
    Until(Time),
}

/// What to do with a message whose attempt may or may not have worked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDoubt {
    /// Say so and never send it again.
    #[default]
    Report,
    /// Send it again, flagged as possibly a duplicate from then on.
    Resend,
    /// Keep it in doubt until a person or a callback settles it, or its lifetime ends.
    Hold,
}

/// An accepted message, as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub seq: Seq,
    pub received_at: Time,
    pub expires_at: Time,
    pub not_before: Option<Time>,
    pub priority: u8,
    pub on_doubt: OnDoubt,
    /// Bytes of `request.body`, also where the body itself was left in the journal or erased.
    pub body_bytes: u32,
    pub request: Request,
    /// For one that a person had sent again after it was over.
    pub retry: Option<Retry>,
}

/// What a message inherits from the life before, when a person has it sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The number of the life before.
    pub of: Seq,
    /// Whether an attempt of any life before may have worked. Such a message is flagged from its beginning.
    pub possibly_duplicate: bool,
    /// Whether nobody knows to this day: then no failure of this life proves that nothing was sent.
    pub in_doubt: bool,
}

/// A message that is over, as the journal keeps it: what it takes to send it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// With its body, unless that was erased.
    pub message: Arc<Message>,
    pub outcome: Option<Outcome>,
    /// Whether an attempt of it, or of a life before, may have worked without saying so.
    pub doubted: bool,
}

impl Kept {
    /// Whether the text is still there.
    pub fn has_body(&self) -> bool {
        self.message.request.body.len() == self.message.body_bytes as usize
    }
}

/// A request that was not accepted, with all that its answer needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// `None` when the id could not be read.
    pub id: Option<MessageId>,
    pub account: Option<Account>,
    pub origin: Origin,
    pub fault: Fault,
}
