//! A crash at every point between two durable steps, by name, under each policy for doubts: one life of the bridge for
//! each point, on one journal, while everything that a bridge does goes on. At the end all is answered, and
//! `sendbridge audit` compares the journal with what the server saw.

mod calls;
mod kills;
mod rare;

use super::{Scene, disk, eventually, server, text};
use crate::bridge::{Config, DEADLINE};
use crate::canary;
use crate::mosquitto::free_port;
use crate::publisher::{Message, Seen};
use nix::sys::signal::Signal;
use sendbridge::cli::pretend::{Act, Behaviour, Faults, Happening, Ledger, PretendAccount, Report, Settings, When};
use sendbridge::clock::Clock;
use sendbridge::crash::CRASH_AT;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Between two rounds of traffic.
const ROUND: Duration = Duration::from_millis(60);
/// A point that nobody comes to in so many is none.
const ROUNDS_MAX: u64 = 600;
/// Accounts beside those of [`ACCOUNTS`], each new once: the bridge never forgets one.
const NEW_ACCOUNTS: u64 = 100;
const ACCOUNTS: [&str; 6] = ["good", "cut", "lost", "fast", "moody", "busy"];

/// A block whose number a crash kept from us ends by itself.
const BLOCKED_FOR: &str = "1m";
/// How the transactions begin that end a block.
const UNBLOCK: &str = "unblock";

/// What may be done about a doubt.
const POLICIES: [&str; 3] = ["report", "resend", "hold"];
/// Under which policy this process has seen the program die at which point.
static DEATHS: Mutex<BTreeSet<(String, String)>> = Mutex::new(BTreeSet::new());

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
    // A repeat of something that is over, and is answered again.
    if let Some(over) = publisher.look(last_answered) {
        publisher.send(text("good", &over, &over)).await;
    }
    publisher.send(json!({ "wxId": "good", "id": format!("bad-{round}") }).to_string()).await;
    // Somebody new, in the first rounds.
    let new = format!("new-{round}");
    let account = format!("new-{}", round % NEW_ACCOUNTS);
    scene.sender.set_account(PretendAccount::online(&account, "corp"));
    publisher.send(text(&account, &new, &new)).await;
    let order = |name: &str, mut order: Value| {
        // Two orders of one name in one round are two transactions.
        let what = if order.get("hold").is_some() { UNBLOCK } else { name };
        order["transaction"] = json!(format!("{what}-{round}"));
        publisher.publish(Message::new(&format!("sendbridge/request/{name}"), order.to_string()))
    };
    order("pause", json!({ "account": "quiet", "reason": canary::REASON, "by": canary::BY })).await;
    order("resume", json!({ "account": "quiet" })).await;
    order("limits/set", json!({ "account": "busy", "interval": format!("{}ms", 10 + round % 50) })).await;
    order("message/cancel", json!({ "account": "quiet", "tag": new, "blockFor": BLOCKED_FOR })).await;
    if let Some(block) = publisher.look(last_block) {
        order("resume", json!({ "hold": block })).await;
    }
    let account = Box::from("moody");
    scene.sender.happen(&Happening::Offline { account }, &Report::USUAL);
    let account = Box::from("moody");
    scene.sender.happen(&Happening::Login { account, corp: None }, &Report::USUAL);
}

/// The last message to the account `good` that has an answer.
fn last_answered(seen: &Seen) -> Option<String> {
    let number = |id: &String| id.strip_prefix("\"good-")?.strip_suffix('"')?.parse::<u64>().ok();
    let last = seen.answers.keys().filter_map(number).max()?;
    Some(format!("good-{last}"))
}

/// The number of the block that was made last.
fn last_block(seen: &Seen) -> Option<u64> {
    let replies = seen.all.iter().rev().filter(|heard| heard.topic == "sendbridge/response/message/cancel");
    replies.map(|heard| heard.json()).find_map(|reply| reply["data"]["block"].as_u64())
}

/// Orders that ended a block. Without any the blocks would only pile up.
fn unblocked(seen: &Seen) -> usize {
    let replies = seen.all.iter().filter(|heard| heard.topic == "sendbridge/response/resume").map(|heard| heard.json());
    let ended = |reply: &Value| {
        let transaction = reply["transaction"].as_str();
        reply["status"] == "ok" && transaction.is_some_and(|transaction| transaction.starts_with(UNBLOCK))
    };
    replies.filter(ended).count()
}

/// What was wrong with the last commands that were refused.
fn refused(seen: &Seen) -> Vec<String> {
    let replies = seen.all.iter().rev().filter(|heard| heard.topic.starts_with("sendbridge/response/"));
    let refused = replies.filter(|heard| heard.json()["status"] != "ok");
    refused.take(5).map(|heard| format!("{}: {}", heard.topic, heard.text())).collect()
}

/// Points that only the journal of an older version passes.
const OF_AN_UPGRADE: [&str; 2] = ["upgrade_written", "upgrade_durable"];
/// Those that only a start after the wall clock was set passes.
const OF_A_SET_CLOCK: [&str; 2] = ["times_written", "times_durable"];
/// And those that only a panic of the engine passes.
const OF_A_MISTAKE: [&str; 2] = ["culprit_written", "culprit_durable"];

/// All points but these, with those first that only a fresh journal passes: one without tables, and one without
/// accounts.
fn points() -> Vec<String> {
    let mut points = sendbridge::crash::points();
    let rare = [OF_AN_UPGRADE, OF_A_SET_CLOCK, OF_A_MISTAKE].concat();
    points.retain(|point| !rare.contains(&point.as_str()));
    points.sort_by_key(|point| (!point.starts_with("tables_"), !point.ends_with(":located")));
    points
}

/// Takes the journal away. Nothing is in it yet.
fn forget(scene: &Scene) {
    let journal = scene.bridge.path("journal.db");
    assert!(disk::accepted(&journal).is_empty(), "messages would be lost");
    for name in ["journal.db", "journal.db-wal", "journal.db-shm"] {
        // The companions are there or not, as the end before left them.
        let _ = std::fs::remove_file(scene.bridge.path(name));
    }
    assert!(!journal.exists());
}

/// Lets the bridge die at a point in one of its lives, while traffic goes on. Returns the number of the last round.
async fn die_at(scene: &mut Scene, point: &str, life: usize, http: SocketAddr, mut round: u64) -> u64 {
    let earlier = scene.bridge.log().len();
    scene.bridge.start_to_end(&[(CRASH_AT, point)], http);
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
        let publishing = async {
            traffic(scene, round).await;
            calls::order(scene, life, point).await;
        };
        tokio::time::timeout(DEADLINE, publishing).await.expect("the broker takes it");
    }
    died_at(scene, point, earlier);
    round
}

/// It has died, or is about to, at this point and nowhere else.
fn died_at(scene: &mut Scene, point: &str, earlier: usize) {
    let status = scene.bridge.wait();
    assert_eq!(status.signal(), Some(Signal::SIGABRT as i32), "{point}: {status}");
    let said = format!("crash point {point}");
    assert!(scene.bridge.log()[earlier..].contains(&said), "it did not die at {point}");
}

/// Counts a death. Tells the figures once all tests of this process together have seen each point under each policy.
fn count_death(policy: &str, point: &str) {
    let mut deaths = DEATHS.lock().unwrap_or_else(PoisonError::into_inner);
    deaths.insert((policy.to_owned(), point.to_owned()));
    let points = sendbridge::crash::points().len();
    if deaths.len() == points * POLICIES.len() {
        eprintln!("figure: crash-points = {points}, runs = {}", deaths.len());
    }
}

/// A person looks into each chat, and says what is there, until so many messages are answered. Some are only sent, and
/// come into doubt, while others are settled.
async fn settle(scene: &Scene, messages: usize) {
    while scene.publisher.look(|seen| seen.answers.len()) < messages {
        let open = scene.publisher.ask("message/list", json!({ "state": "in_doubt", "limit": 100 })).await;
        let open = open["messages"].as_array().expect("a list").clone();
        for message in &open {
            let id = message["id"].as_str().expect("a string");
            let state = if scene.effects(id) > 0 { "sent" } else { "failed" };
            scene.publisher.command("message/resolve", json!({ "id": id, "state": state })).await;
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
pub(super) async fn audit(scene: &Scene) -> (Option<i32>, Value) {
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
pub(super) async fn begin(policy: &str, configure: impl FnOnce(Config) -> Config) -> (Scene, SocketAddr) {
    let http = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let server = Settings { admin: true, ..server(&[&ACCOUNTS[..], &["quiet"]].concat()) };
    let mut scene = Scene::start(server, |config| {
        configure(config)
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

/// One more life, in which everything ends, and the judgement. `round` is the last one of traffic, and `lives` are
/// those with calls: before which round each began.
async fn end(mut scene: Scene, policy: &str, round: u64, lives: &[u64]) {
    scene.bridge.start_again().await;
    scene.sender.happen(&Happening::Login { account: Box::from("moody"), corp: None }, &Report::USUAL);
    let published = usize::try_from(round).expect("few") * (ACCOUNTS.len() + 2);
    if policy == "hold" {
        let settled = tokio::time::timeout(4 * DEADLINE, settle(&scene, published)).await;
        settled.expect("all is settled in time");
    }
    scene.publisher.wait("all answers", |seen| seen.answers.len() >= published).await;
    let health = scene.publisher.ask_until("health", json!({}), |health| health["answersOpen"] == 0).await;
    assert_eq!(health["balanced"], true, "{health}");
    if !lives.is_empty() {
        calls::judge(&scene, lives, round).await;
    }
    assert!(scene.publisher.look(unblocked) > 0, "no block was ended: {:?}", scene.publisher.look(refused));
    assert!(scene.bridge.terminate().success());
    judge(&scene.publisher.seen(), &scene.sender.ledger(), policy == "resend");
    let (code, report) = audit(&scene).await;
    assert_eq!((code, &report["held"]), (Some(0), &json!(true)), "{report:#}");
    assert!(report["doubts"]["attempts"].as_u64() >= Some(round), "few doubts: {report:#}");
    assert_eq!(report["possiblyDuplicate"].as_u64() > Some(0), policy == "resend", "{report:#}");
}

/// One life for each point.
async fn dies_everywhere(policy: &str) {
    let (mut scene, http) = begin(policy, |config| config).await;
    forget(&scene);
    let (points, mut lives, mut round) = (points(), Vec::new(), 0);
    for (life, point) in points.iter().enumerate() {
        lives.push(round);
        round = die_at(&mut scene, point, life, http, round).await;
    }
    end(scene, policy, round, &lives).await;
    for point in points {
        count_death(policy, &point);
    }
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

/// No run dies at a place that the list does not have, and nothing else would say so.
#[test]
fn every_place_in_the_code_is_one_of_the_points() {
    let (mut folders, mut places) = (vec![PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))], BTreeSet::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("text");
                let passed = text.split("crash::at(\"").skip(1).filter_map(|rest| rest.split('"').next());
                places.extend(passed.map(str::to_owned));
            }
        }
    }
    let points = sendbridge::crash::points();
    let unknown: Vec<&String> = places.iter().filter(|place| !points.contains(place)).collect();
    assert!(places.len() > 10 && unknown.is_empty(), "of {places:?} these are no points: {unknown:?}");
}

#[test]
fn the_document_says_how_many_points_and_lives_there_are() {
    let points = sendbridge::crash::points().len();
    let says = format!("each of {points} named points between two durable steps, under each of three policies");
    let lives = format!("{} lives", points * POLICIES.len());
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/RELIABILITY.md")).expect("the document");
    assert!(text.contains(&says) && text.contains(&lives), "it is: {says}, {lives}");
}

/// Between two rounds of the soak.
const SOAK_ROUND: Duration = Duration::from_millis(700);
/// Rounds of one life of the soak.
const SOAK_ROUNDS_MAX: u64 = 40;
/// What each round of traffic surely brings to the server in the same life, whatever else happens.
const SURE_ARRIVALS: u64 = 4;
/// With fewer lives the parts that are compared would be single ones.
const LIVES_MIN: usize = 9;
/// What a round may leave in memory, in bytes. Measured in some minutes are 5 to 15 KB: what callbacks showed (kept for
/// half an hour), attempts, ids of answers and callbacks (an hour), replies to its commands (a day, or 10,000 of them),
/// and pages of the journal in SQLite's caches (20 MB). A block for each round that never ends makes it 21 KB and more.
const KEPT_A_ROUND_MAX: i64 = 18 * 1024;

/// One life of the soak: the last round of its traffic, and the memory resident just before its kill.
#[derive(Clone, Copy)]
struct Life {
    round: u64,
    memory_kib: u64,
}

/// Traffic, then a kill when the server has got a part of its last round.
async fn live_and_die(scene: &mut Scene, round: &mut u64, random: u64) -> Life {
    scene.bridge.start_again().await;
    let mut rounds = tokio::time::interval(SOAK_ROUND);
    let arrivals = |scene: &Scene| scene.sender.with_ledger(|ledger| ledger.arrivals);
    let mut earlier = 0;
    for _ in 0..=random % SOAK_ROUNDS_MAX {
        rounds.tick().await;
        *round += 1;
        earlier = arrivals(scene);
        traffic(scene, *round).await;
    }
    // From the other end of the number, so that the length of a life says nothing about its end.
    let enough = earlier + 1 + (random >> 32) % SURE_ARRIVALS;
    eventually("requests at the server", || arrivals(scene) >= enough).await;
    let memory_kib = scene.bridge.memory_kib();
    scene.bridge.kill();
    Life { round: *round, memory_kib }
}

/// How the memory of later lives grew.
#[derive(Debug)]
struct Growth {
    /// The means of the middle third of all lives and of the last one.
    middle_kib: u64,
    last_kib: u64,
    /// What each round between the two left.
    bytes_a_round: i64,
}

impl Growth {
    fn of(lives: &[Life]) -> Self {
        let third = lives.len() / 3;
        let mean = |lives: &[Life], what: fn(&Life) -> u64| lives.iter().map(what).sum::<u64>() / lives.len() as u64;
        let (earlier, last) = lives.split_at(lives.len() - third);
        let middle = &earlier[earlier.len() - third..];
        let of = |what| (mean(middle, what), mean(last, what));
        let ((middle_kib, last_kib), (middle_round, last_round)) = (of(|life| life.memory_kib), of(|life| life.round));
        let bytes = (last_kib.cast_signed() - middle_kib.cast_signed()) * 1024;
        let rounds = last_round.cast_signed() - middle_round.cast_signed();
        Self { middle_kib, last_kib, bytes_a_round: bytes / rounds.max(1) }
    }

    fn is_bounded(&self) -> bool {
        self.bytes_a_round <= KEPT_A_ROUND_MAX
    }
}

#[test]
fn a_leak_of_some_kilobytes_a_round_is_found() {
    let grows = |bytes: u64| {
        let life = |n: u64| Life { round: 20 * n, memory_kib: 28_000 + 20 * n * bytes / 1024 };
        Growth::of(&(1..=9).map(life).collect::<Vec<_>>())
    };
    let growth = grows(10_240);
    assert_eq!((growth.middle_kib, growth.last_kib, growth.bytes_a_round), (29_000, 29_600, 10_240));
    assert!(grows(0).is_bounded() && grows(14_000).is_bounded() && !grows(21_000).is_bounded());
}

/// Each life is a new process, so its memory is what a start loads and what some rounds of traffic add to it. What a
/// start loads has bounds, and they are not reached within minutes: messages are remembered for a minute here, and
/// accounts are a hundred, but callbacks, what they prove and replies to commands are remembered for an hour and more.
/// So what is held to a limit is what each round leaves, [`KEPT_A_ROUND_MAX`]: something that should be forgotten and
/// is not, or a list that is told anew each time it grows, makes it more. A leak that is smaller than what is to be
/// remembered is not found here, nor that one long life grows. The first third of the lives fills what is remembered
/// soonest, and is not looked at.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes as long as SENDBRIDGE_SOAK_MINUTES says, see tests/soak/run"]
async fn kills_at_random_moments_cost_nothing_and_a_round_leaves_little_in_memory() {
    let minutes = std::env::var("SENDBRIDGE_SOAK_MINUTES").map_or(1, |minutes| minutes.parse().expect("minutes"));
    let clock = Clock::start();
    let until = clock.now() + Duration::from_secs(60 * minutes);
    let (mut scene, _) = begin("report", |config| config.with("messages.dedup_window", r#""1m""#)).await;
    let (mut round, mut random, mut lives) = (0, 0x5eed_u64, Vec::new());
    while clock.now() < until {
        // Xorshift: good enough to be nowhere in particular.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        lives.push(live_and_die(&mut scene, &mut round, random).await);
    }
    end(scene, "report", round, &[]).await;
    let memory: Vec<_> = lives.iter().map(|life| (life.round, life.memory_kib)).collect();
    eprintln!("rounds and KiB resident before each kill: {memory:?}");
    eprintln!("figure: soak-minutes = {minutes}");
    eprintln!("figure: soak-kills = {}", lives.len());
    eprintln!("figure: soak-messages = {}", round * (ACCOUNTS.len() as u64 + 1));
    eprintln!("figure: soak-lost-or-doubled-unflagged = 0");
    if lives.len() < LIVES_MIN {
        eprintln!("skipped: the memory of later lives ({} are too few to compare)", lives.len());
        return;
    }
    let growth = Growth::of(&lives);
    let Growth { middle_kib, last_kib, bytes_a_round } = growth;
    eprintln!("figure: soak-memory-mean-kib-of-the-middle-and-the-last-third = {middle_kib}, {last_kib}");
    eprintln!("figure: soak-memory-growth-bytes-a-round = {bytes_a_round}");
    assert!(growth.is_bounded(), "memory grows: {growth:?}");
}
