//! What each program loses when it is killed with work in hand.
//!
//! A burst is published, faster than the sender takes it. The program is killed as soon as the sender has a part of it,
//! and started again. The broker keeps what it had not acknowledged; the sender counts what comes, and how often.

use crate::client;
use crate::programs::{self, Program, Rig};
use rumqttc::{Event, Packet, QoS};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

const MESSAGES: u64 = 5000;
/// The sender has so many when the program is killed.
const KILLED_AT: u64 = 1000;
const SENDER_WAIT: Duration = Duration::from_millis(20);
const DOWN: Duration = Duration::from_secs(1);
/// When nothing was answered for so long, nothing more is expected.
const QUIET: Duration = Duration::from_secs(8);
/// However slow the machine is.
const DEADLINE: Duration = Duration::from_secs(60);

/// What became of the messages of one burst.
struct Loss {
    never_sent: u64,
    sent_twice: u64,
    /// Without an answer of any kind, sent or not.
    unanswered: u64,
    /// Answered with an error: for the bridge those that nobody can know the fate of.
    errors: u64,
}

/// A Markdown table: for each program the sum over all rounds.
pub fn table(programs: &[(String, Program)], rounds: u32, directory: &Path) -> String {
    let mut text = format!(
        "| of {} messages | never sent | sent twice | no answer | answered with an error |\n|---|---|---|---|---|\n",
        MESSAGES * u64::from(rounds)
    );
    for (name, program) in programs {
        let mut sum = [0; 4];
        for _ in 0..rounds {
            let Loss { never_sent, sent_twice, unanswered, errors } = lose(program, directory);
            for (sum, part) in sum.iter_mut().zip([never_sent, sent_twice, unanswered, errors]) {
                *sum += part;
            }
        }
        let [never_sent, sent_twice, unanswered, errors] = sum;
        writeln!(text, "| {name} | {never_sent} | {sent_twice} | {unanswered} | {errors} |").expect("a string grows");
    }
    text
}

fn lose(program: &Program, directory: &Path) -> Loss {
    let mut rig = Rig::start(program, directory);
    rig.set_sender_wait(SENDER_WAIT, Duration::ZERO);
    // From here on it counts.
    rig.ledger();
    let burst = rig.start_child("burst", MESSAGES);
    let started = Instant::now();
    while rig.ledger().0 < KILLED_AT {
        assert!(started.elapsed() < DEADLINE, "the sender gets nothing");
        std::thread::sleep(Duration::from_millis(2));
    }
    rig.kill();
    std::thread::sleep(DOWN);
    rig.start_again();
    let line = programs::end_of(burst);
    let (arrived, sent_twice) = rig.ledger();
    let [answers, errors] =
        line.split_whitespace().map(|word| word.parse().expect("a number")).collect::<Vec<u64>>()[..]
    else {
        panic!("{line:?} is no report of a burst")
    };
    Loss { never_sent: MESSAGES - arrived, sent_twice, unanswered: MESSAGES - answers, errors }
}

/// Publishes a burst, waits until nothing is answered any more, and prints how many answers came and how many of them
/// were errors.
pub fn publish(broker_port: u16, messages: u64) {
    crate::run_alone(async {
        let (client, mut event_loop) = client::connect(client::options("burst", broker_port, 1000));
        client.subscribe("SendMessageResp", QoS::AtLeastOnce).await.expect("room in the queue");
        let publishing = tokio::spawn(async move {
            for number in 0..messages {
                let body = message(number);
                client.publish("SendMessage", QoS::AtLeastOnce, false, body).await.expect("a running loop");
            }
            // The client ends the loop when it is dropped.
            std::future::pending::<()>().await;
        });
        let mut last = Instant::now();
        let (mut answered, mut errors) = (BTreeSet::new(), 0);
        while last.elapsed() < QUIET && (answered.len() as u64) < messages {
            let Ok(event) = tokio::time::timeout(QUIET, event_loop.poll()).await else { break };
            let Event::Incoming(Packet::Publish(answer)) = event.expect("the broker stays") else { continue };
            let text = String::from_utf8_lossy(&answer.payload).into_owned();
            let Some(id) = text.split("\"burst-").nth(1).and_then(|rest| rest.split('"').next()) else { continue };
            if answered.insert(id.to_owned()) {
                last = Instant::now();
                errors += u64::from(text.contains("\"error\""));
            }
        }
        publishing.abort();
        println!("{} {errors}", answered.len());
    });
}

fn message(number: u64) -> String {
    let account = crate::account((number % u64::from(crate::ACCOUNTS)) as u32);
    format!(
        r#"{{"wxId":"{account}","conversationId":"S:{account}_7881301954974667","content":"订单已经发货，请注意查收。","type":"text","burst":"{number:032}","id":"burst-{number}"}}"#
    )
}
