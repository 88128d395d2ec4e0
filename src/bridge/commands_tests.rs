//! Commands that wait together are done in the order in which they came.

use super::poison_tests::{edges, settings};
use super::*;
use crate::model::{Code, CommandOrigin, CommandRequest, Fault, Fingerprint};
use std::sync::mpsc as std_mpsc;

/// A command that is refused: its reply is all that it does.
fn command(name: &str) -> Input {
    let request = CommandRequest {
        origin: CommandOrigin { name: Box::from(name), reply_to: None, transaction: None, by: None },
        command: Err(Fault::new(Code::UnknownCommand, "no such command")),
        expires_at: None,
        message_expiry: None,
        fingerprint: Fingerprint::default(),
        is_redelivered: false,
    };
    Input::Command { ticket: None, request: Box::new(request) }
}

#[tokio::test(start_paused = true)]
async fn commands_that_wait_together_are_done_in_the_order_in_which_they_came() {
    let directory = tempfile::tempdir().expect("a directory");
    let journal = Journal::open(journal::Settings {
        path: directory.path().join("sendbridge.db"),
        retention: Duration::from_secs(86_400),
        body_retention: Duration::from_secs(3600),
        dedup_window: Duration::from_secs(3600),
        low_space_bytes: 0,
    });
    let journal = journal.expect("a journal");
    let clock = Clock::start_at(Time::from_millis(1_700_000_000_000));
    let mut engine = Engine::new(settings(false), clock.now(), journal.last_numbers());
    engine.start(clock.now());
    let (inputs, inputs_due) = mpsc::channel(4);
    let (commands, commands_due) = mpsc::channel(4);
    let (seen, _seen_by_us) = std_mpsc::sync_channel(16);
    let (replied, replies) = std_mpsc::sync_channel(16);
    let publish = Box::new(move |publication| {
        if let Publication::Reply(reply) = publication {
            replied.try_send(reply.origin.name).expect("room");
        }
    });
    let edges = Edges { publish, ..edges(seen) };
    let bridge = Bridge::new(engine, journal, clock, inputs_due, commands_due, edges, BTreeMap::new());
    let running = tokio::spawn(bridge.run());
    // It waits for whatever comes first.
    tokio::time::sleep(Duration::from_millis(1)).await;
    for name in ["first", "second", "third"] {
        commands.try_send(command(name)).expect("room");
    }
    drop(inputs);
    running.await.expect("no panic").expect("a clean end");
    assert_eq!(replies.try_iter().collect::<Vec<_>>(), ["first", "second", "third"].map(Box::from));
}
