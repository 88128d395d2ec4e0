//! Requests as the vendors' systems make them, byte for byte.

use crate::bridge::Bridge;
use crate::canary::{self, Way};
use aes::Aes256;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cbc::cipher::{BlockModeEncrypt as _, KeyIvInit as _, block_padding::NoPadding};
use md5::Md5;
use sendbridge::clock::Clock;
use serde_json::json;
use sha1::{Digest as _, Sha1};
use std::fmt::Write as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub(super) use canary::{AES_KEY, APP_SECRET, HEARD, PATH_SECRET as SECRET, TOKEN};
pub(super) const CORP: &str = "wx5823bf96d3bd56c7";

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string grows");
        text
    })
}

pub(super) fn now_ms() -> u64 {
    Clock::start().now().as_millis()
}

/// A request as it goes over the wire.
pub(super) struct Request {
    pub(super) method: &'static str,
    pub(super) target: String,
    pub(super) headers: String,
    pub(super) body: Vec<u8>,
}

impl Request {
    pub(super) fn post(source: &str, body: impl Into<Vec<u8>>) -> Self {
        let target = format!("/callback/{source}/{SECRET}");
        Self { method: "POST", target, headers: String::new(), body: body.into() }
    }

    pub(super) fn with_headers(mut self, headers: String) -> Self {
        self.headers = headers;
        self
    }

    pub(super) fn with_query(mut self, query: &str) -> Self {
        self.target = format!("{}?{query}", self.target);
        self
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let Self { method, target, headers, body } = self;
        let length = body.len();
        let head = format!(
            "{method} {target} HTTP/1.1\r\nhost: bridge\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
        );
        [head.as_bytes(), body].concat()
    }
}

/// Status, head and body of the answer; 0 where the connection ends without one.
pub(super) async fn ask(bridge: &Bridge, request: &Request) -> (u16, String, String) {
    canary::feed(&request.body);
    exchange(bridge, &request.bytes()).await
}

pub(super) async fn exchange(bridge: &Bridge, bytes: &[u8]) -> (u16, String, String) {
    let mut stream = TcpStream::connect(bridge.http()).await.expect("it listens");
    stream.write_all(bytes).await.expect("it reads on until it has answered");
    answer(&mut stream).await
}

pub(super) async fn answer(stream: &mut TcpStream) -> (u16, String, String) {
    let mut said = Vec::new();
    let reading = stream.read_to_end(&mut said);
    tokio::time::timeout(crate::bridge::DEADLINE, reading).await.expect("an end in time").expect("a clean end");
    canary::keep(Way::Http, "callback", &said);
    let said = String::from_utf8(said).expect("text");
    let Some((head, body)) = said.split_once("\r\n\r\n") else { return (0, said, String::new()) };
    (head[9..12].parse().expect("a status"), head.to_ascii_lowercase(), body.to_owned())
}

pub(super) fn quntool(id: &str) -> String {
    let data = json!({ "conversation_id": canary::RECIPIENT, "sender": "2", "receiver": "1", "content": HEARD });
    json!({ "msgId": id, "source": "c", "wxid": "1", "timestamp": now_ms(), "type": "text_msg", "data": data })
        .to_string()
}

pub(super) fn guid(id: &str) -> String {
    let data = json!({ "appinfo": id, "sender": "2", "receiver": "1", "roomid": "0", "content": HEARD, "msg_type": 2 });
    json!({ "guid": "g", "notify_type": 11010, "data": data }).to_string()
}

pub(super) fn yunxin_body(id: &str) -> String {
    json!({ "eventType": 15, "tid": id, "fromAccount": "a", "tname": HEARD, "timestamp": now_ms().to_string() })
        .to_string()
}

pub(super) fn signed(source: &str, app_key: &str, cur_time: u64, body: &str) -> Request {
    let md5 = hex(&Md5::digest(body.as_bytes()));
    let check_sum = hex(&Sha1::digest(format!("{APP_SECRET}{md5}{cur_time}").as_bytes()));
    let headers = format!("AppKey: {app_key}\r\nCurTime: {cur_time}\r\nMD5: {md5}\r\nCheckSum: {check_sum}\r\n");
    Request::post(source, body).with_headers(headers)
}

pub(super) fn yunxin(id: &str) -> Request {
    signed("y1", "one", now_ms(), &yunxin_body(id))
}

pub(super) fn seal(message: &[u8], receiver: &str) -> String {
    let key = STANDARD.decode("jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2A=").expect("the key's clean form");
    let length = u32::try_from(message.len()).expect("short").to_be_bytes();
    let mut plain = [b"0123456789abcdef", &length[..], message, receiver.as_bytes()].concat();
    let padding = 32 - plain.len() % 32;
    plain.resize(plain.len() + padding, u8::try_from(padding).expect("at most 32"));
    let cipher = cbc::Encryptor::<Aes256>::new_from_slices(&key, &key[..16]).expect("a key");
    let length = plain.len();
    STANDARD.encode(cipher.encrypt_padded::<NoPadding>(&mut plain, length).expect("whole blocks"))
}

pub(super) fn wecom_query(timestamp: u64, sealed: &str) -> String {
    let (timestamp, nonce) = (timestamp.to_string(), "1372623149");
    let mut parts = [TOKEN, &timestamp, nonce, sealed];
    parts.sort_unstable();
    format!("msg_signature={}&timestamp={timestamp}&nonce={nonce}", hex(&Sha1::digest(parts.concat().as_bytes())))
}

/// A genuine callback of WeCom that says `xml`.
pub(super) fn wecom_xml(source: &str, xml: &[u8]) -> Request {
    let sealed = seal(xml, "suite");
    let body = format!("<xml><ToUserName><![CDATA[suite]]></ToUserName><Encrypt><![CDATA[{sealed}]]></Encrypt></xml>");
    Request::post(source, body).with_query(&wecom_query(now_ms() / 1000, &sealed))
}

pub(super) fn suite(id: &str) -> Vec<u8> {
    format!("<xml><SuiteId>s</SuiteId><InfoType>change_auth</InfoType><AuthCorpId>{id}</AuthCorpId><State>{HEARD}</State></xml>")
        .into_bytes()
}

pub(super) fn echo(source: &str) -> Request {
    let sealed = seal("回声+1".as_bytes(), CORP);
    let query = wecom_query(now_ms() / 1000, &sealed);
    let sealed = sealed.replace('+', "%2B").replace('/', "%2f").replace('=', "%3D");
    let request = Request::post(source, "").with_query(&format!("{query}&echostr={sealed}"));
    Request { method: "GET", ..request }
}

/// WeCom's own sample, which is of 2014.
pub(super) fn sample(source: &str) -> Request {
    let query = "msg_signature=5c45ff5e21c57e6ad56bac8758b79b1d9ac89fd3&timestamp=1409659589&nonce=263014780\
                 &echostr=P9nAzCzyDtyTWESHep1vC5X9xho/qYX3Zpb4yKa9SKld1DsH3Iyt3tP3zNdtp+4RPcs8TgAE7OaBO+FZXvnaqQ==";
    Request { method: "GET", ..Request::post(source, "").with_query(query) }
}
