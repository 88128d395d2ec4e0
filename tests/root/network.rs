//! A network that swallows everything: packets go and nothing comes back, without a word.

use crate::bridge::Launcher;
use crate::disks::run;
use crate::judge::judge;
use crate::mosquitto::Mosquitto;
use crate::report::{figure, skipped};
use crate::scene::{Scene, server};
use sendbridge::cli::pretend::Settings;
use sendbridge::clock::Clock;
use serde_json::json;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Networks that documents use. A machine may use one for itself all the same, and then it is not ours.
const NETWORKS: [&str; 3] = ["198.51.100", "203.0.113", "192.0.2"];

/// A network of its own with one way to the broker and one to the sender. Gone when dropped.
struct Namespace {
    name: String,
    network: &'static str,
    /// Our ends of both ways.
    links: Vec<String>,
}

impl Namespace {
    /// # Errors
    /// Why the system does not let us.
    fn make() -> Result<Self, String> {
        let used = run(&["ip", "route", "show", "table", "all"])? + &run(&["ip", "addr"])?;
        let is_free = |network: &&str| !used.contains(&format!("{network}."));
        let network = NETWORKS.into_iter().find(is_free).ok_or("no network is free")?;
        // The system takes its time to forget one, so the next one has another name.
        static MADE: AtomicU32 = AtomicU32::new(0);
        let id = format!("{}-{}", std::process::id() % 100_000, MADE.fetch_add(1, Ordering::Relaxed));
        let links = ["b", "s"].map(|way| format!("sb{way}{id}")).to_vec();
        let namespace = Self { name: format!("sendbridge-{id}"), network, links };
        let name = namespace.name.as_str();
        run(&["ip", "netns", "add", name])?;
        run(&["ip", "-n", name, "link", "set", "lo", "up"])?;
        let ways =
            [(namespace.broker(), namespace.to_broker(), "sbb"), (namespace.sender(), namespace.to_sender(), "sbs")];
        for (ours, (here, there, theirs)) in namespace.links.iter().zip(ways) {
            run(&["ip", "link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", name])?;
            run(&["ip", "addr", "add", &format!("{here}/30"), "dev", ours])?;
            run(&["ip", "link", "set", ours, "up"])?;
            run(&["ip", "-n", name, "addr", "add", &format!("{there}/30"), "dev", theirs])?;
            run(&["ip", "-n", name, "link", "set", theirs, "up"])?;
        }
        Ok(namespace)
    }

    /// Where the broker listens, and from where the bridge reaches it.
    fn broker(&self) -> String {
        format!("{}.1", self.network)
    }

    fn to_broker(&self) -> String {
        format!("{}.2", self.network)
    }

    /// The same of the sender.
    fn sender(&self) -> String {
        format!("{}.5", self.network)
    }

    fn to_sender(&self) -> String {
        format!("{}.6", self.network)
    }

    fn launcher(&self) -> Launcher {
        let before = ["ip", "netns", "exec", &self.name].map(str::to_owned).to_vec();
        Launcher { before, ..Launcher::default() }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The other ends of both ways go with ours.
        for link in &self.links {
            let _ = run(&["ip", "link", "del", link]);
        }
        let _ = run(&["ip", "netns", "del", &self.name]);
    }
}

/// Nothing that we send to an address arrives, until it is dropped.
struct BlackHole(String);

impl BlackHole {
    fn open(address: &str) -> Self {
        let route = format!("{address}/32");
        run(&["ip", "route", "add", "blackhole", &route]).expect("a route");
        Self(route)
    }
}

impl Drop for BlackHole {
    fn drop(&mut self) {
        let _ = run(&["ip", "route", "del", "blackhole", &self.0]);
    }
}

/// Everything, with the bridge in a network of its own; not started.
async fn scene_in(namespace: &Namespace) -> Scene {
    let port = crate::mosquitto::free_port();
    let broker = Mosquitto::start(&["max_inflight_messages 1000", &format!("listener {port} {}", namespace.broker())]);
    let listen = format!("{}:0", namespace.sender()).parse().expect("an address");
    Scene::prepare(Settings { listen, ..server(6) }, broker, namespace.launcher(), |config| {
        config
            .with("mqtt.url", &format!("\"mqtt://{}:{port}\"", namespace.broker()))
            .with("mqtt.keep_alive", r#""5s""#)
            .with("senders.connect_timeout", r#""1s""#)
            .with("senders.default_corp", r#""corp""#)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root"]
async fn a_broker_behind_a_black_hole_is_noticed_by_the_keep_alive_and_nothing_is_lost() {
    let namespace = match Namespace::make() {
        Ok(namespace) => namespace,
        Err(why) => return skipped("4", "a broker behind a black hole", &why),
    };
    let mut scene = scene_in(&namespace).await;
    scene.bridge.start_again().await;
    scene.publisher.ask_until("health", json!({}), |health| health["broker"]["incoming"] == "up").await;
    for _ in 0..20 {
        scene.send_next().await;
    }
    scene.arrived(1).await;
    let before = scene.bridge.log().len();
    let hole = BlackHole::open(&namespace.to_broker());
    let clock = Clock::start();
    let begun_at = clock.now();
    for _ in 0..20 {
        scene.send_next().await;
    }
    for client in ["sendbridge-in", "sendbridge-out", "sendbridge-commands"] {
        let is_lost = |line: &str| (line.contains("no connection") && line.contains(client)).then_some(());
        scene.bridge.logged(before, is_lost).await;
    }
    let took = clock.now().since(begun_at);
    drop(hole);
    // One keep-alive until the ping, another one for its answer, and the scheduling of a busy machine.
    assert!(took < 2 * KEEP_ALIVE + Duration::from_secs(3), "{took:?}");
    let verdict = judge(&scene).await;
    assert_eq!(verdict.sent, 40, "{verdict:?}");
    figure("black-hole-noticed-after-s", format!("{:.1} (keep-alive {} s)", took.as_secs_f64(), KEEP_ALIVE.as_secs()));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root"]
async fn a_sender_behind_a_black_hole_gets_everything_once_and_nothing_is_in_doubt() {
    let namespace = match Namespace::make() {
        Ok(namespace) => namespace,
        Err(why) => return skipped("23", "a sender behind a black hole", &why),
    };
    let mut scene = scene_in(&namespace).await;
    // From the start, so that no connection stands that a request could be written to.
    let hole = BlackHole::open(&namespace.to_sender());
    scene.bridge.start_again().await;
    scene.publisher.ask_until("health", json!({}), |health| health["broker"]["incoming"] == "up").await;
    for _ in 0..30 {
        scene.send_next().await;
    }
    let is_down = |health: &serde_json::Value| health["senders"][0]["state"] == "down";
    scene.publisher.ask_until("health", json!({}), is_down).await;
    assert_eq!(scene.sender.with_ledger(|ledger| ledger.arrivals), 0);
    drop(hole);
    let verdict = judge(&scene).await;
    assert_eq!(verdict.sent, 30, "{verdict:?}");
    assert_eq!(verdict.audit["doubts"]["attempts"], 0, "{verdict:?}");
    assert!(verdict.audit["attempts"].as_u64() > Some(30), "nothing was tried in vain: {verdict:?}");
}
