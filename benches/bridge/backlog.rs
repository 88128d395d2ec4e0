//! The bridge with a long queue: what it takes in memory and on disk, how long a start takes, and whether anybody else
//! notices.
//!
//! Half of the companies are paused, and get all of the queue. The other half is measured in a bridge that is empty,
//! and in this one, after a kill and a start.

use crate::OUTSTANDING;
use crate::client;
use crate::load::{Pace, Who};
use crate::proc;
use crate::programs::{Program, Rig, end_of};
use rumqttc::{AsyncClient, Event, EventLoop, Packet, QoS};
use std::path::Path;
use std::time::{Duration, Instant};

const WARM_UP: Duration = Duration::from_secs(1);
const WINDOW: Duration = Duration::from_secs(5);
/// How often the bridge is asked how many it has.
const ASK_INTERVAL: Duration = Duration::from_millis(100);
/// Longer than anything here takes, and shorter than the client's keep-alive, which is an event too.
const QUIET_MAX: Duration = Duration::from_secs(20);

/// Prints a Markdown table.
pub fn run(program: &Program, messages: u64, directory: &Path) {
    let empty = rate(&mut Rig::start(program, directory)).per_second;
    let mut rig = Rig::start(program, directory);
    let rss_before = rss_mib(&rig);
    let file_before = file_bytes(directory);
    let begun = Instant::now();
    let held = rig.start_child("held", messages);
    end_of(held);
    let took_in = messages as f64 / begun.elapsed().as_secs_f64();
    let rss = rss_mib(&rig);
    let file = file_bytes(directory);
    rig.kill();
    let begun = Instant::now();
    rig.start_again();
    rig.load_of(Pace::Probe, Who::Free, Duration::ZERO, Duration::ZERO);
    let back = begun.elapsed();
    let rss_again = rss_mib(&rig);
    let full = rate(&mut rig);
    println!("| with {messages} messages queued | |\n|---|---|");
    println!("| taken in | {took_in:.0} msg/s |");
    println!("| resident memory | {rss} MiB, {rss_before} MiB before |");
    let per_message = (file - file_before) as f64 / messages as f64;
    println!("| journal | {} MiB, {per_message:.0} bytes a message |", file >> 20);
    println!("| from a kill to the first answer | {:.2} s |", back.as_secs_f64());
    println!("| resident memory after it | {rss_again} MiB |");
    let ratio = full.per_second / empty;
    println!(
        "| closed loop of the other companies | {:.0} msg/s, {ratio:.2} of {empty:.0} when empty |",
        full.per_second
    );
    println!("| resident memory at the end | {} MiB, with {:.0} more that are over |", rss_mib(&rig), full.messages);
}

/// How fast messages of the companies that are not paused go.
struct Rate {
    per_second: f64,
    messages: f64,
}

fn rate(rig: &mut Rig) -> Rate {
    let line = crate::Line(rig.load_of(Pace::Closed { outstanding: OUTSTANDING }, Who::Free, WARM_UP, WINDOW));
    let messages = line.value("messages");
    Rate { per_second: messages / line.value("seconds"), messages }
}

fn rss_mib(rig: &Rig) -> u64 {
    proc::counts(rig.program_id()).rss_kib / 1024
}

/// Of the database and its log.
fn file_bytes(directory: &Path) -> u64 {
    let of = |name: &str| std::fs::metadata(directory.join(name)).map_or(0, |metadata| metadata.len());
    of("sendbridge.db") + of("sendbridge.db-wal")
}

/// Pauses half of the companies, and publishes so many messages for them. That the broker has acknowledged them says
/// nothing about the bridge, so it returns when the bridge says that it has received as many.
pub fn publish(broker_port: u16, messages: u64) {
    crate::run_alone(async {
        let mut asker = Asker::connect(broker_port).await;
        let before = asker.received().await;
        let (client, mut event_loop) = client::connect(client::options("held", broker_port, 1000));
        let connection = tokio::spawn(async move {
            loop {
                event_loop.poll().await.expect("the broker stays");
            }
        });
        for corp in 0..crate::sender::CORPS / 2 {
            let order = format!(r#"{{"corp":"{}","reason":"bench"}}"#, crate::sender::corp(corp));
            client.publish("sendbridge/request/pause", QoS::AtLeastOnce, false, order).await.expect("room");
        }
        for number in 0..messages {
            let body = crate::load::message("held", number, Who::Held);
            client.publish("SendMessage", QoS::AtLeastOnce, false, body).await.expect("a running loop");
        }
        while asker.received().await < before + messages {
            tokio::time::sleep(ASK_INTERVAL).await;
        }
        connection.abort();
        println!("taken");
    });
}

/// Asks the bridge over a connection of its own, which no flood fills.
struct Asker {
    client: AsyncClient,
    event_loop: EventLoop,
}

impl Asker {
    async fn connect(broker_port: u16) -> Self {
        let (client, event_loop) = client::connect(client::options("asker", broker_port, 10));
        client.subscribe("sendbridge/response/health", QoS::AtLeastOnce).await.expect("room in the queue");
        Self { client, event_loop }
    }

    /// How many messages the bridge says that it has received.
    async fn received(&mut self) -> u64 {
        self.client.publish("sendbridge/request/health", QoS::AtLeastOnce, false, "{}").await.expect("room");
        loop {
            let event = tokio::time::timeout(QUIET_MAX, self.event_loop.poll()).await.expect("the bridge replies");
            let Event::Incoming(Packet::Publish(reply)) = event.expect("the broker stays") else { continue };
            let reply: serde_json::Value = serde_json::from_slice(&reply.payload).expect("JSON");
            return reply["data"]["received"].as_u64().expect("a count");
        }
    }
}
