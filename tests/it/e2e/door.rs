//! The addresses of callbacks over real HTTP: what is genuine is answered as its system wants, everything else is
//! refused and changes nothing, and nobody keeps others out.

use super::disk::{self, SmallDisk};
use super::vendors::{
    AES_KEY, APP_SECRET, CORP, HEARD, Request, SECRET, TOKEN, answer, ask, echo, exchange, guid, now_ms, quntool,
    sample, seal, signed, suite, wecom_query, wecom_xml, yunxin, yunxin_body,
};
use super::{Scene, server, space};
use crate::bridge::{Bridge, Config};
use crate::publisher::Publisher;
use sendbridge::cli::pretend::{Behaviour, Faults};
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

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
        ("Yunxin, signed and not JSON", signed("y1", "one", now_ms(), HEARD), 400),
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
        ("no JSON", Request::post("q1", HEARD), 400),
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
    assert!(!log.contains("canary-0") && !log.contains(APP_SECRET) && !log.contains(HEARD), "{log}");
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
        half.push(stream);
    }
    // All are asked before any is heard: one after the other could take longer than the first has for its body.
    for stream in &mut half {
        let mut goes_on = [0; 25];
        stream.read_exact(&mut goes_on).await.expect("it wants the body");
        assert_eq!(&goes_on, b"HTTP/1.1 100 Continue\r\n\r\n");
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

/// Brings callbacks until it is over; how many were taken and how many put off. `all_taken` counts those of all guests.
async fn guest(
    address: SocketAddr,
    number: usize,
    over: Arc<AtomicBool>,
    all_taken: Arc<AtomicUsize>,
) -> (usize, usize) {
    let (mut taken, mut put_off) = (0, 0);
    for index in 0.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let source = if number.is_multiple_of(2) { "q1" } else { "g1" };
        let id = format!("flood-{number}-{index}");
        let body = if source == "q1" { quntool(&id) } else { guid(&id) };
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream.write_all(&Request::post(source, body).bytes()).await.expect("it reads");
        match answer(&mut stream).await.0 {
            200 => {
                taken += 1;
                all_taken.fetch_add(1, Ordering::Relaxed);
            }
            503 => put_off += 1,
            status => panic!("{status}"),
        }
    }
    (taken, put_off)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_delays_no_send_and_what_was_answered_is_an_event_once() {
    const GUESTS: usize = 48;
    /// On its way a message comes to the loop four times (taken, tried, done, acknowledged), each time behind one
    /// callback of each guest at most: four rounds of the guests between two sends. Ten times as many are for a machine
    /// that is slow with everything else on that way. Rounds and not seconds, because a slow machine makes both longer.
    const ROUNDS_MAX: usize = 40;
    let scene = Scene::start(server(&["1"]), with_sources).await;
    let listener = Publisher::connect(scene.broker.port(), EVENTS).await;
    // As long as it takes: whoever is held up by it waits for ever.
    let (over, taken_so_far) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    // How many callbacks were taken when each send arrived.
    let (seen_taken, marks) = (Arc::clone(&taken_so_far), Arc::new(Mutex::new(Vec::new())));
    scene.sender.set_faults(Faults::script({
        let marks = Arc::clone(&marks);
        move |_| {
            marks.lock().expect("not poisoned").push(seen_taken.load(Ordering::Relaxed));
            Behaviour::answer()
        }
    }));
    let mut flood = tokio::task::JoinSet::new();
    for number in 0..GUESTS {
        flood.spawn(guest(scene.bridge.http(), number, Arc::clone(&over), Arc::clone(&taken_so_far)));
    }
    for number in 0..40 {
        scene.still_sends("1", &format!("m{number}")).await;
        assert_eq!(scene.bridge.get("/healthz").await.0, 200);
    }
    over.store(true, Ordering::Relaxed);
    let counts = flood.join_all().await;
    let (taken, put_off) = counts.iter().fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
    eprintln!("{taken} callbacks taken and {put_off} put off during 40 sends");
    assert!(taken > 40, "no flood: {taken}");
    let marks = marks.lock().expect("not poisoned").clone();
    let between: Vec<usize> = marks.windows(2).map(|two| two[1] - two[0]).collect();
    assert_eq!(between.len(), 39);
    assert!(between.iter().all(|taken| *taken <= ROUNDS_MAX * GUESTS), "a send was held up: {between:?}");
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
async fn each_is_answered_while_the_broker_is_dead() {
    let mut scene = Scene::start(server(&["1"]), with_sources).await;
    scene.broker.stop();
    for request in [
        Request::post("q1", quntool("1")),
        Request::post("g1", guid("1")),
        wecom_xml("w1", &suite("1")),
        echo("w1"),
        yunxin("1"),
    ] {
        let (status, head, _) = ask(&scene.bridge, &request).await;
        assert_eq!(status, 200, "{head}");
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
    // It notices when it writes: this one, unless something else was written before it.
    let last = ask(&scene.bridge, &Request::post("q1", quntool("the last for now"))).await.0;
    assert!(matches!(last, 200 | 503), "{last}");
    space::alarm(&watcher, "storage_low").await;
    let full_for = |name: &str| {
        vec![
            (Request::post("q1", quntool(name)), 503),
            (Request::post("g1", guid(name)), 503),
            (wecom_xml("w1", &suite(name)), 503),
            (yunxin(name), 200),
            // Nothing is to be kept of these.
            (echo("w1"), 200),
            (Request::post("q1", HEARD), 400),
            (Request { target: "/callback/q1/x".to_owned(), ..Request::post("q1", quntool(name)) }, 401),
        ]
    };
    let check = async |name: &str| {
        for (request, wanted) in full_for(name) {
            let (status, head, body) = ask(&scene.bridge, &request).await;
            assert_eq!(status, wanted, "{name}: {} {head} {body}", request.target);
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
