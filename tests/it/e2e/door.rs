//! The addresses of callbacks over real HTTP: what is genuine is answered as its system wants, everything else is
//! refused and changes nothing, and nobody keeps others out.

use super::disk::{self, SmallDisk};
use super::{Scene, server, space};
use crate::bridge::{Bridge, Config};
use crate::publisher::Publisher;
use aes::Aes256;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cbc::cipher::{BlockModeEncrypt as _, KeyIvInit as _, block_padding::NoPadding};
use md5::Md5;
use sendbridge::clock::Clock;
use serde_json::{Value, json};
use sha1::{Digest as _, Sha1};
use std::fmt::Write as _;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const SECRET: &str = "canary-0123456789-path";
const APP_SECRET: &str = "canary-app-secret";
const TOKEN: &str = "QDG6eK";
const AES_KEY: &str = "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C";
const CORP: &str = "wx5823bf96d3bd56c7";
/// Stands in every body: it must be in no log.
const CANARY: &str = "canary-text-4711";
const EVENTS: &[&str] = &["sendbridge/event/#"];
const ALARMS: &[&str] = &["sendbridge/alarm"];

/// Several sources of each kind.
fn with_sources(config: Config) -> Config {
    let source = |name: &str, kind: &str, own: &str| {
        format!("[[callbacks]]\nname = \"{name}\"\nkind = \"{kind}\"\nsecret = \"{SECRET}\"\n{own}\n")
    };
    let yunxin = |app_key: &str| format!("app_key = \"{app_key}\"\napp_secret = \"{APP_SECRET}\"");
    let wecom =
        |own: &str| format!("token = \"{TOKEN}\"\naes_key = \"{AES_KEY}\"\nreceivers = [\"{CORP}\", \"suite\"]\n{own}");
    config
        .and(&source("q1", "quntool", ""))
        .and(&source("q2", "quntool", ""))
        .and(&source("g1", "guid", ""))
        .and(&source("g2", "guid", ""))
        .and(&source("y1", "yunxin", &yunxin("one")))
        .and(&source("y2", "yunxin", &yunxin("two")))
        .and(&source("w1", "wecom", &wecom("")))
        .and(&source("w2", "wecom", &wecom("tolerance = \"0s\"")))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string grows");
        text
    })
}

fn now_ms() -> u64 {
    Clock::start().now().as_millis()
}

/// A request as it goes over the wire.
struct Request {
    method: &'static str,
    target: String,
    headers: String,
    body: Vec<u8>,
}

impl Request {
    fn post(source: &str, body: impl Into<Vec<u8>>) -> Self {
        let target = format!("/callback/{source}/{SECRET}");
        Self { method: "POST", target, headers: String::new(), body: body.into() }
    }

    fn with_headers(mut self, headers: String) -> Self {
        self.headers = headers;
        self
    }

    fn with_query(mut self, query: &str) -> Self {
        self.target = format!("{}?{query}", self.target);
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let Self { method, target, headers, body } = self;
        let length = body.len();
        let head = format!(
            "{method} {target} HTTP/1.1\r\nhost: bridge\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
        );
        [head.as_bytes(), body].concat()
    }
}

/// Status, head and body of the answer; 0 where the connection ends without one.
async fn ask(bridge: &Bridge, request: &Request) -> (u16, String, String) {
    exchange(bridge, &request.bytes()).await
}

async fn exchange(bridge: &Bridge, bytes: &[u8]) -> (u16, String, String) {
    let mut stream = TcpStream::connect(bridge.http()).await.expect("it listens");
    stream.write_all(bytes).await.expect("it reads on until it has answered");
    answer(&mut stream).await
}

async fn answer(stream: &mut TcpStream) -> (u16, String, String) {
    let mut said = Vec::new();
    let reading = stream.read_to_end(&mut said);
    tokio::time::timeout(crate::bridge::DEADLINE, reading).await.expect("an end in time").expect("a clean end");
    let said = String::from_utf8(said).expect("text");
    let Some((head, body)) = said.split_once("\r\n\r\n") else { return (0, said, String::new()) };
    (head[9..12].parse().expect("a status"), head.to_ascii_lowercase(), body.to_owned())
}

fn quntool(id: &str) -> String {
    let data = json!({ "conversation_id": "S:1_2", "sender": "2", "receiver": "1", "content": CANARY });
    json!({ "msgId": id, "source": "c", "wxid": "1", "timestamp": now_ms(), "type": "text_msg", "data": data })
        .to_string()
}

fn guid(id: &str) -> String {
    let data =
        json!({ "appinfo": id, "sender": "2", "receiver": "1", "roomid": "0", "content": CANARY, "msg_type": 2 });
    json!({ "guid": "g", "notify_type": 11010, "data": data }).to_string()
}

fn yunxin_body(id: &str) -> String {
    json!({ "eventType": 15, "tid": id, "fromAccount": "a", "tname": CANARY, "timestamp": now_ms().to_string() })
        .to_string()
}

fn signed(source: &str, app_key: &str, cur_time: u64, body: &str) -> Request {
    let md5 = hex(&Md5::digest(body.as_bytes()));
    let check_sum = hex(&Sha1::digest(format!("{APP_SECRET}{md5}{cur_time}").as_bytes()));
    let headers = format!("AppKey: {app_key}\r\nCurTime: {cur_time}\r\nMD5: {md5}\r\nCheckSum: {check_sum}\r\n");
    Request::post(source, body).with_headers(headers)
}

fn yunxin(id: &str) -> Request {
    signed("y1", "one", now_ms(), &yunxin_body(id))
}

fn seal(message: &[u8], receiver: &str) -> String {
    let key = STANDARD.decode("jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2A=").expect("the key's clean form");
    let length = u32::try_from(message.len()).expect("short").to_be_bytes();
    let mut plain = [b"0123456789abcdef", &length[..], message, receiver.as_bytes()].concat();
    let padding = 32 - plain.len() % 32;
    plain.resize(plain.len() + padding, u8::try_from(padding).expect("at most 32"));
    let cipher = cbc::Encryptor::<Aes256>::new_from_slices(&key, &key[..16]).expect("a key");
    let length = plain.len();
    STANDARD.encode(cipher.encrypt_padded::<NoPadding>(&mut plain, length).expect("whole blocks"))
}

fn wecom_query(timestamp: u64, sealed: &str) -> String {
    let (timestamp, nonce) = (timestamp.to_string(), "1372623149");
    let mut parts = [TOKEN, &timestamp, nonce, sealed];
    parts.sort_unstable();
    format!("msg_signature={}&timestamp={timestamp}&nonce={nonce}", hex(&Sha1::digest(parts.concat().as_bytes())))
}

/// A genuine callback of WeCom that says `xml`.
fn wecom_xml(source: &str, xml: &[u8]) -> Request {
    let sealed = seal(xml, "suite");
    let body = format!("<xml><ToUserName><![CDATA[suite]]></ToUserName><Encrypt><![CDATA[{sealed}]]></Encrypt></xml>");
    Request::post(source, body).with_query(&wecom_query(now_ms() / 1000, &sealed))
}

fn suite(id: &str) -> Vec<u8> {
    format!("<xml><SuiteId>s</SuiteId><InfoType>change_auth</InfoType><AuthCorpId>{id}</AuthCorpId><State>{CANARY}</State></xml>")
        .into_bytes()
}

fn echo(source: &str) -> Request {
    let sealed = seal("回声+1".as_bytes(), CORP);
    let query = wecom_query(now_ms() / 1000, &sealed);
    let sealed = sealed.replace('+', "%2B").replace('/', "%2f").replace('=', "%3D");
    let request = Request::post(source, "").with_query(&format!("{query}&echostr={sealed}"));
    Request { method: "GET", ..request }
}

/// WeCom's own sample, which is of 2014.
fn sample(source: &str) -> Request {
    let query = "msg_signature=5c45ff5e21c57e6ad56bac8758b79b1d9ac89fd3&timestamp=1409659589&nonce=263014780\
                 &echostr=P9nAzCzyDtyTWESHep1vC5X9xho/qYX3Zpb4yKa9SKld1DsH3Iyt3tP3zNdtp+4RPcs8TgAE7OaBO+FZXvnaqQ==";
    Request { method: "GET", ..Request::post(source, "").with_query(query) }
}

const ALLOWED: &str = r#"{"errCode":0,"responseCode":200,"modifyResponse":{},"callbackExt":""}"#;

/// Everything that one genuine round makes: 7 events.
async fn good_round(bridge: &Bridge, id: &str) {
    let body = yunxin_body(id);
    for (request, wanted, kind) in [
        (Request::post("q1", quntool(id)), r#"{"code":0,"msg":"ok"}"#, "application/json"),
        (Request::post("q2", quntool(id)), r#"{"code":0,"msg":"ok"}"#, "application/json"),
        (Request::post("g1", guid(id)), r#"{"code":0,"message":"ok"}"#, "application/json"),
        (Request::post("g2", guid(id)), r#"{"code":0,"message":"ok"}"#, "application/json"),
        (signed("y1", "one", now_ms(), &body), ALLOWED, "application/json"),
        (signed("y2", "two", now_ms(), &body), ALLOWED, "application/json"),
        (wecom_xml("w1", &suite(id)), "success", "text/plain"),
        (echo("w1"), "回声+1", "text/plain"),
        (echo("w2"), "回声+1", "text/plain"),
        (sample("w2"), "1616140317555161061", "text/plain"),
        (signed("y1", "one", now_ms(), "{}"), ALLOWED, "application/json"),
    ] {
        // The same again changes nothing and is answered alike.
        for _ in 0..2 {
            let (status, head, body) = ask(bridge, &request).await;
            assert_eq!((status, body.as_str()), (200, wanted), "{} {}", request.target, head);
            assert!(head.contains(&format!("content-type: {kind}")), "{head}");
            assert!(head.contains(&format!("content-length: {}", wanted.len())), "{head}");
        }
    }
}
const ROUND_EVENTS: usize = 7;

/// What is not genuine, or cannot be read, with the status that it deserves.
fn bad_requests() -> Vec<(&'static str, Request, u16)> {
    let other = |target: &str| Request { target: target.to_owned(), ..Request::post("q1", quntool("bad")) };
    let stale = now_ms() - 301_000;
    let bomb = r#"<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;">]><xml><InfoType>&c;</InfoType></xml>"#;
    let entity = r#"<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><xml><InfoType>&a;</InfoType></xml>"#;
    let deep = |open: &str, close: &str, times: usize| format!("{}{}", open.repeat(times), close.repeat(times));
    let nested = format!(r#"{{"type":"text_msg","data":{}}}"#, deep("[", "]", 100_000));
    let large = format!(r#"{{"type":"text_msg","data":"{}"}}"#, "x".repeat(1024 * 1024));
    let [mut forged_yunxin, mut forged_wecom] = [yunxin("bad"), wecom_xml("w1", &suite("bad"))];
    forged_yunxin.body[20] ^= 1;
    forged_wecom.target = forged_wecom.target.replace("nonce=1", "nonce=2");
    let put = |source: &str| Request { method: "PUT", ..Request::post(source, quntool("bad")) };
    let plain = |xml: &str| Request::post("w1", xml).with_query(&wecom_query(now_ms() / 1000, "x"));
    let mut no_text = quntool("bad").into_bytes();
    no_text[12] = 0xff;
    vec![
        ("a wrong secret", other("/callback/q1/canary-0123456789-patH"), 401),
        ("a longer secret", other(&format!("/callback/q1/{SECRET}x")), 401),
        ("an unknown source", other(&format!("/callback/q3/{SECRET}")), 401),
        ("no secret", other("/callback/q1"), 404),
        ("an empty secret", other("/callback/q1/"), 404),
        ("a path that is no text", other("/callback/q1/%ff"), 400),
        ("a forged body of Yunxin", forged_yunxin, 401),
        ("another key of Yunxin", signed("y1", "two", now_ms(), &yunxin_body("bad")), 401),
        ("no proof of Yunxin", Request::post("y1", yunxin_body("bad")), 401),
        ("an old one of Yunxin", signed("y1", "one", stale, &yunxin_body("bad")), 401),
        ("one of Yunxin from the future", signed("y1", "one", now_ms() + 360_000, &yunxin_body("bad")), 401),
        ("Yunxin, signed and not JSON", signed("y1", "one", now_ms(), CANARY), 400),
        ("a forged nonce of WeCom", forged_wecom, 401),
        ("an old one of WeCom", sample("w1"), 401),
        (
            "WeCom for somebody else",
            {
                let sealed = seal(&suite("bad"), "another");
                let body = format!("<xml><Encrypt>{sealed}</Encrypt></xml>");
                Request::post("w1", body).with_query(&wecom_query(now_ms() / 1000, &sealed))
            },
            401,
        ),
        ("no signature of WeCom", Request::post("w1", "<xml><Encrypt>x</Encrypt></xml>"), 401),
        ("a bomb around", plain(&bomb.replace("InfoType", "Encrypt")), 401),
        ("a bomb inside", wecom_xml("w1", bomb.as_bytes()), 400),
        ("an external entity", wecom_xml("w1", entity.as_bytes()), 400),
        ("a document type", wecom_xml("w1", b"<!DOCTYPE xml><xml><InfoType>x</InfoType></xml>"), 400),
        ("an entity that nobody declared", wecom_xml("w1", b"<xml><InfoType>&lol;</InfoType></xml>"), 400),
        ("deep XML", wecom_xml("w1", deep("<a>", "</a>", 10_000).as_bytes()), 400),
        ("XML that is no text", wecom_xml("w1", b"<xml><InfoType>\xff\xfe</InfoType></xml>"), 401),
        ("deep JSON", Request::post("q1", nested.clone()), 400),
        ("deep JSON of a guid", Request::post("g1", nested), 400),
        ("JSON that is no text", Request::post("q1", no_text), 400),
        ("no JSON", Request::post("q1", CANARY), 400),
        ("a list", Request::post("q1", "[]"), 400),
        ("nothing", Request::post("g1", ""), 400),
        ("a large one", Request::post("q1", large.clone()), 413),
        ("a large one without the secret", Request { body: large.into_bytes(), ..other("/callback/q1/x") }, 401),
        ("a wrong method", put("q1"), 405),
        ("GET where nobody asks so", Request { method: "GET", ..Request::post("q1", "") }, 405),
        ("GET at a guid's", Request { method: "GET", ..Request::post("g1", "") }, 405),
        ("GET at Yunxin's", Request { method: "GET", ..Request::post("y1", "") }, 405),
        ("another wrong method", put("w1"), 405),
        ("GET at WeCom's with nothing", Request { method: "GET", ..Request::post("w1", "") }, 401),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_good_one_is_answered_as_its_system_wants_and_each_bad_one_changes_nothing() {
    let scene = Scene::start(server(&["1"]), with_sources).await;
    let listener = Publisher::connect(scene.broker.port(), EVENTS).await;
    good_round(&scene.bridge, "before").await;
    listener.wait("the events", |seen| seen.all.len() >= ROUND_EVENTS).await;
    let journal = scene.bridge.path("journal.db");
    let kept = || disk::texts(&journal, "SELECT hex(key) FROM callback");
    let before = kept();
    assert_eq!(before.len(), ROUND_EVENTS);

    for (what, request, wanted) in bad_requests() {
        let (status, head, body) = ask(&scene.bridge, &request).await;
        assert_eq!(status, wanted, "{what}: {head} {body}");
        // It does not say why, nor what it was.
        assert!(body.len() < 40 && !body.contains("canary"), "{what}: {body}");
        assert!(status != 405 || head.contains("allow: "), "{what}: {head}");
    }
    // A chunked body says nothing of its length before it has come.
    let target = format!("/callback/q1/{SECRET}");
    let chunks = format!("100000\r\n{}\r\n", "x".repeat(0x0010_0000)).repeat(2);
    let chunked = format!(
        "POST {target} HTTP/1.1\r\nhost: h\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"
    );
    assert_eq!(exchange(&scene.bridge, chunked.as_bytes()).await.0, 413);
    let fields = "x-a: y\r\n".repeat(200);
    let crowded = format!("POST {target} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{fields}\r\n");
    assert_eq!(exchange(&scene.bridge, crowded.as_bytes()).await.0, 431);
    assert_eq!(kept(), before);

    good_round(&scene.bridge, "after").await;
    listener.wait("the events", |seen| seen.all.len() >= 2 * ROUND_EVENTS).await;
    scene.still_sends("1", "after all that").await;
    let seen = listener.seen();
    let events: Vec<Value> =
        seen.all.iter().map(crate::publisher::Heard::json).filter(|event| event["system"].is_string()).collect();
    assert_eq!(events.len(), 2 * ROUND_EVENTS, "{events:#?}");
    let log = scene.bridge.log().join("\n");
    assert!(!log.contains("canary-0") && !log.contains(APP_SECRET) && !log.contains(CANARY), "{log}");
    assert!(!log.contains(AES_KEY) && !log.contains(TOKEN), "{log}");
    assert!(log.contains("callback refused"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_ones_are_cut_off_and_keep_nobody_out() {
    let scene = Scene::start(server(&["1"]), with_sources).await;
    let target = format!("/callback/q1/{SECRET}");
    let mut slow = Vec::new();
    // More than there are connections, each with half a head.
    for _ in 0..700 {
        let mut stream = TcpStream::connect(scene.bridge.http()).await.expect("it listens");
        stream.write_all(format!("POST {target} HTTP/1.1\r\nhost:").as_bytes()).await.expect("it reads");
        slow.push(stream);
        if slow.len() % 100 == 0 {
            assert_eq!(scene.bridge.get("/healthz").await.0, 200);
        }
    }
    // As many half bodies as a source has room for; the next one is told to come again, and health is still answered.
    let mut half = Vec::new();
    for _ in 0..128 {
        let mut stream = TcpStream::connect(scene.bridge.http()).await.expect("it listens");
        let head = format!(
            "POST {target} HTTP/1.1\r\nhost: h\r\nconnection: close\r\nexpect: 100-continue\r\ncontent-length: 10\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.expect("it reads");
        let mut goes_on = [0; 25];
        stream.read_exact(&mut goes_on).await.expect("it wants the body");
        assert_eq!(&goes_on, b"HTTP/1.1 100 Continue\r\n\r\n");
        half.push(stream);
    }
    let (status, head, _) = ask(&scene.bridge, &Request::post("q1", quntool("no room"))).await;
    assert_eq!(status, 503, "{head}");
    assert!(head.contains("retry-after: 1"), "{head}");
    // Another source has room.
    assert_eq!(ask(&scene.bridge, &Request::post("q2", quntool("room"))).await.0, 200);
    assert_eq!(ask(&scene.bridge, &yunxin("room")).await.0, 200);
    assert_eq!(scene.bridge.get("/healthz").await.0, 200);
    assert_eq!(scene.bridge.get("/metrics").await.0, 200);
    scene.still_sends("1", "meanwhile").await;
    for stream in &mut half {
        assert_eq!(answer(stream).await.0, 408);
    }
    // They went without an answer, also those that were there last.
    for mut stream in slow {
        let mut said = Vec::new();
        let ending = stream.read_to_end(&mut said);
        let ended = tokio::time::timeout(crate::bridge::DEADLINE, ending).await.expect("an end in time");
        assert!(ended.is_err() || said.is_empty());
    }
    assert_eq!(ask(&scene.bridge, &Request::post("q1", quntool("room again"))).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_delays_no_send_and_what_was_answered_is_an_event_once() {
    const GUESTS: usize = 48;
    const EACH: usize = 40;
    let scene = Scene::start(server(&["1"]), with_sources).await;
    let listener = Publisher::connect(scene.broker.port(), EVENTS).await;
    let address = scene.bridge.http();
    let guest = |number: usize| async move {
        let (mut taken, mut put_off) = (0, 0);
        for index in 0..EACH {
            let source = if number.is_multiple_of(2) { "q1" } else { "g1" };
            let id = format!("flood-{number}-{index}");
            let body = if source == "q1" { quntool(&id) } else { guid(&id) };
            let mut stream = TcpStream::connect(address).await.expect("it listens");
            stream.write_all(&Request::post(source, body).bytes()).await.expect("it reads");
            match answer(&mut stream).await.0 {
                200 => taken += 1,
                503 => put_off += 1,
                status => panic!("{status}"),
            }
        }
        (taken, put_off)
    };
    let mut flood = tokio::task::JoinSet::new();
    for number in 0..GUESTS {
        flood.spawn(guest(number));
    }
    let clock = Clock::start();
    let mut slowest = Duration::ZERO;
    for number in 0..40 {
        let begun = clock.now();
        scene.still_sends("1", &format!("m{number}")).await;
        slowest = slowest.max(clock.now().since(begun));
        assert_eq!(scene.bridge.get("/healthz").await.0, 200);
    }
    let counts = flood.join_all().await;
    let (taken, put_off) = counts.iter().fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
    eprintln!("{taken} callbacks taken, {put_off} put off; the slowest of 40 sends took {slowest:?}");
    assert!(slowest < Duration::from_secs(3), "a send took {slowest:?}");
    let is_event = |heard: &crate::publisher::Heard| heard.topic == "sendbridge/event/message/received";
    listener.wait("all events", |seen| seen.all.iter().filter(|heard| is_event(heard)).count() >= taken).await;
    let last = Request::post("q2", quntool("the last one"));
    assert_eq!(ask(&scene.bridge, &last).await.0, 200);
    listener.wait("the last one", |seen| seen.all.iter().any(|heard| heard.text().contains("\"source\":\"q2\""))).await;
    let seen = listener.seen();
    let ids: Vec<String> =
        seen.all.iter().filter(|heard| is_event(heard)).map(|heard| heard.json()["id"].to_string()).collect();
    let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len());
    // One that was put off because the disk took too long may be kept all the same.
    assert!((taken + 1..=taken + put_off + 1).contains(&ids.len()), "{} events of {taken} taken", ids.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_is_answered_in_time_while_the_broker_is_dead() {
    let mut scene = Scene::start(server(&["1"]), with_sources).await;
    scene.broker.stop();
    let clock = Clock::start();
    for (request, limit) in [
        (Request::post("q1", quntool("1")), 1),
        (Request::post("g1", guid("1")), 1),
        (wecom_xml("w1", &suite("1")), 1),
        (echo("w1"), 1),
        (yunxin("1"), 2),
    ] {
        let begun = clock.now();
        let (status, head, _) = ask(&scene.bridge, &request).await;
        let took = clock.now().since(begun);
        assert_eq!(status, 200, "{head}");
        assert!(took < Duration::from_secs(limit), "{} took {took:?}", request.target);
    }
    scene.broker.start_again();
    let listener = Publisher::connect(scene.broker.port(), EVENTS).await;
    let systems = |seen: &crate::publisher::Seen| {
        seen.all.iter().filter_map(|heard| heard.json()["system"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    // Some may have gone out before this listener was there again, so a last one of each tells.
    for (request, system) in [(yunxin("2"), "yunxin"), (wecom_xml("w1", &suite("2")), "wecom")] {
        assert_eq!(ask(&scene.bridge, &request).await.0, 200);
        listener.wait(system, |seen| systems(seen).iter().any(|heard| heard == system)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_puts_callbacks_off_and_holds_up_nobody_at_yunxin() {
    let Some(disk) = SmallDisk::mount(48) else { return };
    let path = format!("{:?}", disk.path("journal.db").display().to_string());
    let scene = Scene::start(server(&["1"]), |config| {
        with_sources(config.with("store.path", &path).with("store.low_space", r#""16MiB""#))
    })
    .await;
    let watcher = Publisher::connect(scene.broker.port(), ALARMS).await;
    assert_eq!(ask(&scene.bridge, &Request::post("q1", quntool("before"))).await.0, 200);
    disk.fill_to(8 * 1024 * 1024);
    // It notices when it writes.
    assert_eq!(ask(&scene.bridge, &Request::post("q1", quntool("the last for now"))).await.0, 200);
    space::alarm(&watcher, "storage_low").await;
    let full_for = |name: &str| {
        vec![
            (Request::post("q1", quntool(name)), 503),
            (Request::post("g1", guid(name)), 503),
            (wecom_xml("w1", &suite(name)), 503),
            (yunxin(name), 200),
            // Nothing is to be kept of these.
            (echo("w1"), 200),
            (Request::post("q1", CANARY), 400),
            (Request { target: "/callback/q1/x".to_owned(), ..Request::post("q1", quntool(name)) }, 401),
        ]
    };
    let clock = Clock::start();
    let check = async |name: &str| {
        for (request, wanted) in full_for(name) {
            let begun = clock.now();
            let (status, head, body) = ask(&scene.bridge, &request).await;
            let took = clock.now().since(begun);
            assert_eq!(status, wanted, "{name}: {} {head} {body}", request.target);
            assert!(took < Duration::from_secs(1), "{name}: {} took {took:?}", request.target);
            assert!(!request.target.contains("/y1/") || body == ALLOWED, "{body}");
        }
    };
    check("low").await;
    space::fill_for_good(&disk, &watcher).await;
    // More than there is room for: what is stuck at the disk must not keep anybody waiting.
    for round in 0..2 {
        check(&format!("full-{round}")).await;
    }
    assert_eq!(scene.bridge.get("/healthz").await.0, 200);
    disk.empty();
    space::alarm(&watcher, "storage_ok").await;
    let mut looks = tokio::time::interval(Duration::from_millis(20));
    let again = async {
        while ask(&scene.bridge, &Request::post("q1", quntool("after"))).await.0 != 200 {
            looks.tick().await;
        }
    };
    tokio::time::timeout(crate::bridge::DEADLINE, again).await.expect("taken again in time");
    scene.still_sends("1", "after").await;
}
