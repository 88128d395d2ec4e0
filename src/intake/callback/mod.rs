//! From an HTTP callback to events in one vocabulary, and to what of them steers sending.
//!
//! Pure: what came in and the time go in, a [`Callback`] or the reason why it is none comes out. Only what proved to
//! come from its system gets that far: by the secret in its path, and by its signature where the system signs.
//!
//! Nothing is dropped for being unknown: a type that is not in the tables is passed on as `raw/unknown`.

mod guid;
pub mod http;
mod quntool;
mod read;
mod redact;
#[cfg(test)]
mod tests;
mod wecom;
mod yunxin;

pub use wecom::{AesKey, Keys as WecomKeys};

use crate::model::{Callback, Conversation, Event, Party, Phase, SenderName, Signal, System, Time, is_too_deep};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use subtle::ConstantTimeEq;

/// One configured source of callbacks.
pub struct Source {
    pub name: Box<str>,
    /// What its path must end with.
    pub secret: Box<str>,
    /// Whose accounts it reports about, where that is one of our servers.
    pub sender: Option<SenderName>,
    /// Whether mobile numbers and the like are published.
    pub personal_data: bool,
    pub kind: Kind,
}

/// What a source needs beside its secret.
pub enum Kind {
    Quntool,
    Guid(Logins),
    Yunxin {
        app_key: Box<str>,
        app_secret: Box<str>,
        /// How far its clock may be off; zero takes any time.
        tolerance: Duration,
    },
    Wecom {
        keys: WecomKeys,
        /// The same: WeCom signs its time against requests that are brought again.
        tolerance: Duration,
    },
}

/// Who logged in last under each guid.
#[derive(Default)]
pub struct Logins(Mutex<BTreeMap<String, Login>>);

/// The account of a guid, and its company.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Login {
    user: String,
    corp: Option<String>,
}

/// More guids than this are not remembered: then only what `data` says is known of a message.
const LOGINS_MAX: usize = 100_000;

impl Logins {
    fn note(&self, guid: String, login: Login) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() < LOGINS_MAX || known.contains_key(&guid) {
            known.insert(guid, login);
        }
    }

    fn of(&self, guid: &str) -> Option<Login> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(guid).cloned()
    }
}

/// A request to a callback address, as far as the systems look at it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Arrival<'a> {
    pub is_get: bool,
    /// What followed the source's name in the path.
    pub secret: &'a str,
    /// The query, decoded: `+` is a plus in what WeCom sends.
    pub query: &'a [(String, String)],
    /// Names in lower case.
    pub headers: &'a [(String, String)],
    pub body: &'a [u8],
}

/// What to do with a request.
#[derive(Debug, PartialEq)]
pub enum Arrived {
    /// Answer with this once the callback is durable.
    Callback(Box<Callback>, Answer),
    /// Answer with this; there is nothing to keep.
    Answer(Answer),
    /// It did not prove where it comes from.
    Forged,
    /// It did, and cannot be read.
    Unreadable(Unreadable),
    /// The system does not use this method.
    WrongMethod,
}

/// The body of a 200.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub content_type: &'static str,
    pub body: String,
}

impl Answer {
    fn json(body: &str) -> Self {
        Self { content_type: "application/json", body: body.to_owned() }
    }

    /// What lets an operation pass that Yunxin asks about.
    pub(crate) fn allow() -> Self {
        Self::json(yunxin::ALLOW)
    }

    fn text(body: impl Into<String>) -> Self {
        Self { content_type: "text/plain; charset=utf-8", body: body.into() }
    }
}

/// Why a genuine callback cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    NotJson,
    NotAnObject,
    NotXml,
    /// An event with it inside could not be read by everybody.
    TooDeep,
}

impl Unreadable {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotJson => "not JSON",
            Self::NotAnObject => "not a JSON object",
            Self::NotXml => "not XML that is taken",
            Self::TooDeep => "nested too deep",
        }
    }
}

/// What a parser makes: everything but what is the same for all systems.
#[derive(Debug, PartialEq)]
struct Read {
    key: [u8; 16],
    drafts: Vec<Draft>,
    signals: Vec<Signal>,
}

/// An event that does not know its source yet.
#[derive(Clone, Debug, PartialEq)]
struct Draft {
    event: &'static str,
    phase: Option<Phase>,
    at: Time,
    instance: Option<String>,
    account: Option<String>,
    corp: Option<String>,
    conversation: Option<Conversation>,
    actor: Option<Party>,
    targets: Vec<Party>,
    original_type: String,
    data: Value,
}

impl Draft {
    fn new(event: &'static str, original_type: &str) -> Self {
        Self {
            event,
            phase: None,
            at: Time::default(),
            instance: None,
            account: None,
            corp: None,
            conversation: None,
            actor: None,
            targets: Vec::new(),
            original_type: original_type.to_owned(),
            data: Value::Null,
        }
    }
}

impl Source {
    /// Whether this is the secret that its path must end with.
    pub fn is_secret(&self, secret: &str) -> bool {
        secret.as_bytes().ct_eq(self.secret.as_bytes()).into()
    }

    /// Checks and reads one request.
    pub fn read(&self, arrival: Arrival<'_>, now: Time) -> Arrived {
        if !self.is_secret(arrival.secret) {
            return Arrived::Forged;
        }
        match &self.kind {
            Kind::Quntool if !arrival.is_get => self.taken(quntool::read(arrival.body, now), now, Answer::json(OK)),
            Kind::Guid(logins) if !arrival.is_get => {
                if let Some((guid, login)) = guid::login(arrival.body) {
                    logins.note(guid, login);
                }
                let read = guid::read(arrival.body, now, |guid| logins.of(guid));
                self.taken(read, now, Answer::json(OK_GUID))
            }
            Kind::Yunxin { app_key, app_secret, tolerance } if !arrival.is_get => {
                let proof = yunxin::Proof {
                    app_key: value(arrival.headers, "appkey"),
                    cur_time: value(arrival.headers, "curtime"),
                    md5: value(arrival.headers, "md5"),
                    check_sum: value(arrival.headers, "checksum"),
                };
                if !yunxin::is_genuine(proof, app_key, app_secret, arrival.body, now, *tolerance) {
                    return Arrived::Forged;
                }
                let allow = Answer::allow();
                match yunxin::read(proof, arrival.body, now) {
                    Ok(Some(read)) => self.taken(Ok(read), now, allow),
                    Ok(None) => Arrived::Answer(allow),
                    Err(why) => Arrived::Unreadable(why),
                }
            }
            Kind::Wecom { keys, tolerance } => self.read_wecom(keys, *tolerance, arrival, now),
            Kind::Quntool | Kind::Guid(_) | Kind::Yunxin { .. } => Arrived::WrongMethod,
        }
    }

    fn read_wecom(&self, keys: &WecomKeys, tolerance: Duration, arrival: Arrival<'_>, now: Time) -> Arrived {
        let signature = wecom::Signature {
            msg_signature: value(arrival.query, "msg_signature"),
            timestamp: value(arrival.query, "timestamp"),
            nonce: value(arrival.query, "nonce"),
        };
        if !read::is_fresh(signature.timestamp, now, tolerance) {
            return Arrived::Forged;
        }
        if arrival.is_get {
            return match wecom::open(keys, signature, value(arrival.query, "echostr")) {
                Some(echo) => Arrived::Answer(Answer::text(echo)),
                None => Arrived::Forged,
            };
        }
        let encrypted = std::str::from_utf8(arrival.body).ok().and_then(wecom::encrypted);
        let Some(message) = encrypted.and_then(|encrypted| wecom::open(keys, signature, encrypted.trim())) else {
            return Arrived::Forged;
        };
        // A suite takes exactly this word for done; an application of a company takes it, too.
        self.taken(wecom::read(&message, now), now, Answer::text("success"))
    }

    fn taken(&self, read: Result<Read, Unreadable>, now: Time, answer: Answer) -> Arrived {
        let Read { key, drafts, signals } = match read {
            Ok(read) => read,
            Err(why) => return Arrived::Unreadable(why),
        };
        if drafts.iter().any(|draft| is_too_deep(&draft.data)) {
            return Arrived::Unreadable(Unreadable::TooDeep);
        }
        let key = read::digest(&[self.name.as_bytes(), &key]);
        let id = read::hex(&key);
        let events = drafts.into_iter().enumerate().map(|(index, draft)| self.event(draft, &id, index, now)).collect();
        // A source without a server of ours reports about accounts that are not ours to steer.
        let signals = if self.sender.is_some() { signals } else { Vec::new() };
        Arrived::Callback(Box::new(Callback { sender: self.sender.clone(), key, events, signals }), answer)
    }

    fn event(&self, draft: Draft, id: &str, index: usize, received_at: Time) -> Event {
        let Draft { event, phase, at, instance, account, corp, conversation, actor, targets, original_type, mut data } =
            draft;
        let withheld = redact::withhold(&mut data, self.personal_data);
        let system = match self.kind {
            Kind::Quntool => System::Quntool,
            Kind::Guid(_) => System::Guid,
            Kind::Yunxin { .. } => System::Yunxin,
            Kind::Wecom { .. } => System::Wecom,
        };
        let id = if index == 0 { id.to_owned() } else { format!("{id}-{index}") };
        Event {
            event,
            phase,
            source: self.name.to_string(),
            system,
            id,
            at,
            received_at,
            instance,
            account,
            corp,
            conversation,
            actor,
            targets,
            original_type,
            data,
            withheld,
        }
    }
}

/// What receivers of quntool's callbacks answer; the vendor names nothing.
const OK: &str = r#"{"code":0,"msg":"ok"}"#;
const OK_GUID: &str = r#"{"code":0,"message":"ok"}"#;

fn value<'a>(pairs: &'a [(String, String)], name: &str) -> &'a str {
    pairs.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
}
