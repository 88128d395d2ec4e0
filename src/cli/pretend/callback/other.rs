//! Genuine requests of the other three systems, and where the pretend sender posts them when it is told to.

use super::wecom::{Seasoning, WecomSide};
use super::yunxin;
use crate::clock;
use crate::model::Time;
use bytes::Bytes;
use serde_json::{Value, json};

/// A request that proves where it comes from; only the address is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Genuine {
    /// A GET without a body; else a POST.
    pub is_get: bool,
    /// Without the question mark; empty for none.
    pub query: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Bytes,
}

impl Genuine {
    /// Without any proof, for systems whose address alone is the secret.
    pub fn json(body: impl Into<Bytes>) -> Self {
        let headers = vec![("Content-Type", "application/json".to_owned())];
        Self { is_get: false, query: String::new(), headers, body: body.into() }
    }

    /// A callback of the `{guid, notify_type, data}` protocol.
    pub fn guid(guid: &str, notify_type: u32, data: &Value) -> Self {
        Self::json(json!({ "guid": guid, "notify_type": notify_type, "data": data }).to_string())
    }

    /// A callback of Yunxin's, signed at `at`.
    pub fn yunxin(app_key: &str, app_secret: &str, at: Time, body: impl Into<Bytes>) -> Self {
        yunxin::genuine(app_key, app_secret, at, body)
    }
}

/// Where the other systems' callbacks go, and what proves them.
#[derive(Clone, Default)]
pub struct Others {
    pub yunxin: Option<Yunxin>,
    pub wecom: Option<Wecom>,
    /// The address.
    pub guid: Option<Box<str>>,
}

#[derive(Clone)]
pub struct Yunxin {
    pub url: Box<str>,
    pub app_key: Box<str>,
    pub app_secret: Box<str>,
}

#[derive(Clone)]
pub struct Wecom {
    pub url: Box<str>,
    pub side: WecomSide,
}

/// Which request of which system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    Yunxin,
    Wecom,
    /// The GET that tries out WeCom's address.
    WecomVerification,
    Guid,
}

impl Others {
    /// The request that brings `body`, which is what the system reports before it signs and encrypts, and its address.
    /// `None` where the system's address is not known, and where WeCom's message is not text.
    pub fn genuine(&self, system: System, body: Bytes, at: Time) -> Option<(&str, Genuine)> {
        let wecom = |make: &dyn Fn(&WecomSide, Seasoning<'_>) -> Option<Genuine>| {
            let Wecom { url, side } = self.wecom.as_ref()?;
            let random = clock::random_uuid();
            let nonce = random.as_fields().0.to_string();
            let seasoning = Seasoning { timestamp: at.as_millis() / 1000, nonce: &nonce, salt: *random.as_bytes() };
            Some((&**url, make(side, seasoning)?))
        };
        match system {
            System::Yunxin => {
                let Yunxin { url, app_key, app_secret } = self.yunxin.as_ref()?;
                Some((url, Genuine::yunxin(app_key, app_secret, at, body)))
            }
            System::Guid => Some((self.guid.as_deref()?, Genuine::json(body))),
            System::Wecom => wecom(&|side, seasoning| Some(side.callback(std::str::from_utf8(&body).ok()?, seasoning))),
            System::WecomVerification => {
                let echo = clock::random_uuid().as_u128().to_string();
                wecom(&|side, seasoning| Some(side.verification(&echo, seasoning)))
            }
        }
    }
}
