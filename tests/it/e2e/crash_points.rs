//! A crash at every point between two durable steps, by name, under each policy for doubts: one life of the bridge for
//! each point, on one journal, while everything that a bridge does goes on. At the end all is answered, and
//! `sendbridge audit` compares the journal with what the server saw.

use super::{Scene, server, text};
use crate::bridge::DEADLINE;
use crate::canary;
use crate::mosquitto::free_port;
use crate::publisher::{Message, Seen};
use nix::sys::signal::Signal;
use sendbridge::cli::pretend::{Act, Behaviour, Faults, Happening, Ledger, PretendAccount, Report, Settings, When};
use sendbridge::clock::Clock;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Between two rounds of traffic.
const ROUND: Duration = Duration::from_millis(60);
/// A point that nobody comes to in so many is none.
const ROUNDS_MAX: u64 = 600;
const ACCOUNTS: [&str; 6] = ["good", "cut", "lost", "fast", "moody", "busy"];

/// What each account's messages meet, by the name of the account.
fn faults() -> Faults {
    let mut was_too_fast = BTreeSet::new();
    Faults::script(move |request| match &*request.account {
        // Done and not said, but a callback tells of it.
        "cut" => Behaviour::despite(Act::Cut),
        // Done or not, and nobody ever tells.
        "lost" => {
            let behaviour =
                if request.earlier % 2 == 0 { Behaviour::despite(Act::Reset) } else { Behaviour::refuse(Act::Reset) };
            Behaviour { report: Report::when(When::Never), ..behaviour }
        }
        // Seldom, because it rests for half a second each time.
        "fast" if request.message.ends_with('5') && was_too_fast.insert(request.message.clone()) => {
            Behaviour::too_frequent()
        }
        _ => Behaviour::answer(),
    })
}

/// Everything that leaves records, once. Nothing waits for a reply: the bridge may die at any moment.
async fn traffic(scene: &Scene, round: u64) {
    let publisher = &scene.publisher;
    for account in ACCOUNTS {
        let id = format!("{account}-{round}");
        publisher.send(text(account, &id, &id)).await;
    }
    // A repeat: of something live, or over and answered again.
    let earlier = format!("good-{}", round.saturating_sub(4));
    publisher.send(text("good", &earlier, &earlier)).await;
    publisher.send(json!({ "wxId": "good", "id": format!("bad-{round}") }).to_string()).await;
    // Somebody new.
    let new = format!("new-{round}");
    scene.sender.set_account(PretendAccount::online(&new, "corp"));
    publisher.send(text(&new, &new, &new)).await;
    let order = |name: &str, mut order: Value| {
        order["transaction"] = json!(format!("{name}-{round}"));
        publisher.publish(Message::new(&format!("sendbridge/request/{name}"), order.to_string()))
    };
    order("pause", json!({ "account": "quiet", "reason": "test" })).await;
    order("resume", json!({ "account": "quiet" })).await;
    order("limits/set", json!({ "account": "busy", "interval": format!("{}ms", 10 + round % 50) })).await;
    order("message/cancel", json!({ "account": "quiet", "tag": new, "blockFor": "1h" })).await;
    if let Some(block) = publisher.look(last_block) {
        order("resume", json!({ "hold": block })).await;
    }
    let account = Box::from("moody");
    scene.sender.happen(&Happening::Offline { account }, &Report::USUAL);
    let account = Box::from("moody");
    scene.sender.happen(&Happening::Login { account, corp: None }, &Report::USUAL);
}

/// The number of the block that was made last.
fn last_block(seen: &Seen) -> Option<u64> {
    let replies = seen.all.iter().rev().filter(|heard| heard.topic == "sendbridge/response/message/cancel");
    replies.map(|heard| heard.json()).find_map(|reply| reply["data"]["block"].as_u64())
}

/// What was wrong with the last commands that were refused.
fn refused(seen: &Seen) -> Vec<String> {
    let replies = seen.all.iter().rev().filter(|heard| heard.topic.starts_with("sendbridge/response/"));
    let refused = replies.filter(|heard| heard.json()["status"] != "ok");
    refused.take(5).map(|heard| format!("{}: {}", heard.topic, heard.text())).collect()
}

/// All points, with those first that only a fresh journal passes.
fn points() -> Vec<String> {
    let mut points = sendbridge::crash::points();
    points.sort_by_key(|point| !point.ends_with(":located"));
    points
}

/// Lets the bridge die at a point, while traffic goes on. Returns the number of the last round.
async fn die_at(scene: &mut Scene, point: &str, http: SocketAddr, mut round: u64) -> u64 {
    let earlier = scene.bridge.log().len();
    scene.bridge.start_to_die(point, http);
    if matches!(point, "closing" | "closed") {
        // A signal before that would end it as it ends any program.
        scene.bridge.logged(earlier, |line| line.contains("address").then_some(())).await;
        scene.bridge.signal(Signal::SIGTERM);
    }
    let mut rounds = tokio::time::interval(ROUND);
    let last = round + ROUNDS_MAX;
    while scene.bridge.is_running() {
        assert!(round < last, "it never came to {point}; refused: {:?}", scene.publisher.look(refused));
        rounds.tick().await;
        round += 1;
        tokio::time::timeout(DEADLINE, traffic(scene, round)).await.expect("the broker takes it");
    }
    let status = scene.bridge.wait();
    assert_eq!(status.signal(), Some(Signal::SIGABRT as i32), "{point}: {status}");
    let said = format!("crash point {point}");
    assert!(scene.bridge.log()[earlier..].contains(&said), "it did not die at {point}");
    round
}

/// A person looks into each chat, and says what is there.
async fn settle(scene: &Scene) {
    loop {
        let open = scene.publisher.ask("message/list", json!({ "state": "in_doubt", "limit": 100 })).await;
        let open = open["messages"].as_array().expect("a list").clone();
        for message in &open {
            let id = message["id"].as_str().expect("a string");
            let state = if scene.effects(id) > 0 { "sent" } else { "failed" };
            scene.publisher.command("message/resolve", json!({ "id": id, "state": state })).await;
        }
        if open.is_empty() {
            return;
        }
    }
}

/// What each message was answered last, against what the server saw.
fn judge(seen: &Seen, ledger: &Ledger, may_repeat: bool) {
    for (id, answers) in &seen.answers {
        let id: String = serde_json::from_str(id).expect("a string");
        let answer = answers.last().expect("not empty").json();
        let effects = ledger.messages.get(id.as_str()).map_or(0, |entry| entry.effects);
        match answer["error"]["code"].as_str() {
            None => assert!(effects >= 1, "{id} is called sent and has no effect"),
            Some("UNRESOLVED") => {}
            Some(code) => assert_eq!(effects, 0, "{id} is called {code}"),
        }
        // Whether each repeat is flagged, the audit says.
        assert!(effects <= 1 || may_repeat, "{id} has {effects} effects: {answer}");
    }
}

/// The exit code of `sendbridge audit` beside the server's ledger, and its report.
async fn audit(scene: &Scene) -> (Option<i32>, Value) {
    let mut stream = tokio::net::TcpStream::connect(scene.sender.address()).await.expect("it listens");
    let request = "GET /sandbox/requests HTTP/1.1\r\nhost: sender\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("text");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
    let ledger = scene.bridge.path("ledger.json");
    std::fs::write(&ledger, body).expect("the ledger");
    let mut command = Command::new(env!("CARGO_BIN_EXE_sendbridge"));
    command.arg("audit").arg("--json").arg("--config").arg(scene.bridge.path("bridge.toml"));
    let output = tokio::task::block_in_place(|| command.arg("--ledger").arg(ledger).output()).expect("the program");
    let said = String::from_utf8_lossy(&output.stderr);
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    (output.status.code(), report)
}

/// A bridge that was killed once, with callbacks and all kinds of trouble at its sender, and where it listens.
async fn begin(policy: &str) -> (Scene, SocketAddr) {
    let http = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let server = Settings { admin: true, ..server(&[&ACCOUNTS[..], &["quiet"]].concat()) };
    let mut scene = Scene::start(server, |config| {
        config
            .with("http.listen", &format!("{:?}", http.to_string()))
            .with("messages.on_doubt", &format!("{policy:?}"))
            .with("messages.doubt_window", r#""400ms""#)
            .with("limits.cool_down", r#""500ms""#)
            .with("limits.cool_down_max", r#""1s""#)
            .with("store.body_retention", r#""1s""#)
            .with("log.level", r#""info""#)
            .and(&format!("[[callbacks]]\nname = \"main\"\nsecret = {:?}", canary::PATH_SECRET))
    })
    .await;
    let address = format!("http://{http}/callback/main/{}", canary::PATH_SECRET);
    scene.sender.set_callback_url(&address).expect("an address");
    scene.sender.set_faults(faults());
    scene.bridge.kill();
    (scene, http)
}

/// One more life, in which everything ends, and the judgement. `round` is the last one of traffic.
async fn end(mut scene: Scene, policy: &str, round: u64) {
    scene.bridge.start_again().await;
    scene.sender.happen(&Happening::Login { account: Box::from("moody"), corp: None }, &Report::USUAL);
    if policy == "hold" {
        settle(&scene).await;
    }
    let published = usize::try_from(round).expect("few") * (ACCOUNTS.len() + 2);
    scene.publisher.wait("all answers", |seen| seen.answers.len() >= published).await;
    let health = scene.publisher.ask_until("health", json!({}), |health| health["answersOpen"] == 0).await;
    assert_eq!(health["balanced"], true, "{health}");
    assert!(scene.bridge.terminate().success());
    judge(&scene.publisher.seen(), &scene.sender.ledger(), policy == "resend");
    let (code, report) = audit(&scene).await;
    assert_eq!((code, &report["held"]), (Some(0), &json!(true)), "{report:#}");
    assert!(report["doubts"]["attempts"].as_u64() >= Some(round), "few doubts: {report:#}");
    assert_eq!(report["possiblyDuplicate"].as_u64() > Some(0), policy == "resend", "{report:#}");
}

/// One life for each point.
async fn dies_everywhere(policy: &str) {
    let (mut scene, http) = begin(policy).await;
    let mut round = 0;
    for point in points() {
        round = die_at(&mut scene, &point, http, round).await;
    }
    end(scene, policy, round).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_every_point_is_survived_where_doubts_are_reported() {
    dies_everywhere("report").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_every_point_is_survived_where_doubts_are_sent_again() {
    dies_everywhere("resend").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_every_point_is_survived_where_doubts_are_held() {
    dies_everywhere("hold").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes as long as SENDBRIDGE_SOAK_MINUTES says, see tests/soak/run"]
async fn kills_at_random_moments_cost_nothing_and_memory_does_not_grow() {
    let minutes = std::env::var("SENDBRIDGE_SOAK_MINUTES").ok().and_then(|minutes| minutes.parse().ok()).unwrap_or(1);
    let clock = Clock::start();
    let until = clock.now() + Duration::from_secs(60 * minutes);
    let (mut scene, _) = begin("report").await;
    let (mut round, mut kills, mut random, mut peaks) = (0, 0_u64, 0x5eed_u64, Vec::new());
    while clock.now() < until {
        scene.bridge.start_again().await;
        // Xorshift: good enough to be nowhere in particular.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let mut rounds = tokio::time::interval(Duration::from_millis(700));
        for _ in 0..random % 40 {
            rounds.tick().await;
            round += 1;
            traffic(&scene, round).await;
        }
        tokio::time::sleep(Duration::from_millis(random % 700)).await;
        peaks.push(scene.bridge.memory_peak_kib());
        scene.bridge.kill();
        kills += 1;
    }
    end(scene, "report", round).await;
    eprintln!("figure: soak-minutes = {minutes}");
    eprintln!("figure: soak-kills = {kills}");
    eprintln!("figure: soak-messages = {}", round * (ACCOUNTS.len() as u64 + 1));
    eprintln!("figure: soak-lost-or-doubled-unflagged = 0");
    eprintln!("figure: soak-memory-peak-kib-of-the-first-and-the-last-life = {:?}, {:?}", peaks.first(), peaks.last());
}
