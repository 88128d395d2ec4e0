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
use rumqttc::{Event, Packet, QoS};
use std::path::Path;
use std::time::{Duration, Instant};

const WARM_UP: Duration = Duration::from_secs(1);
const WINDOW: Duration = Duration::from_secs(5);
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
/// nothing about the bridge, so it returns when the bridge has told of the last one that it is queued.
pub fn publish(broker_port: u16, messages: u64) {
    crate::run_alone(async {
        let (client, mut event_loop) = client::connect(client::options("held", broker_port, 1000));
        client.subscribe("sendbridge/response/+", QoS::AtLeastOnce).await.expect("room in the queue");
        client.subscribe("sendbridge/event/send/queued", QoS::AtMostOnce).await.expect("room in the queue");
        for corp in 0..crate::sender::CORPS / 2 {
            let order = format!(r#"{{"corp":"{}","reason":"bench"}}"#, crate::sender::corp(corp));
            client.publish("sendbridge/request/pause", QoS::AtLeastOnce, false, order).await.expect("room");
        }
        let publishing = tokio::spawn(async move {
            for number in 0..messages {
                let body = crate::load::message("held", number, Who::Held);
                client.publish("SendMessage", QoS::AtLeastOnce, false, body).await.expect("a running loop");
            }
            std::future::pending::<()>().await;
        });
        // The last one is taken after all others. Its event may be lost, and then nobody knows how long it took.
        let last = format!("\"held-{}\"", messages - 1);
        loop {
            let event = tokio::time::timeout(QUIET_MAX, event_loop.poll()).await;
            let event = event.expect("the event of the last message, which was lost: measure again");
            let Event::Incoming(Packet::Publish(event)) = event.expect("the broker stays") else { continue };
            if String::from_utf8_lossy(&event.payload).contains(&last) {
                break;
            }
        }
        publishing.abort();
        println!("taken");
    });
}
