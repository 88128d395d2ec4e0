//! Commands that wait together are done in the order in which they came.

use super::poison_tests::{edges, open, settings};
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
    let journal = open(directory.path());
    let clock = Clock::start_at(Time::from_millis(1_700_000_000_000));
    let mut engine = Engine::new(settings(false), clock.now(), journal.last_numbers());
    engine.start(clock.now());
    let (inputs, inputs_due) = mpsc::channel(4);
    let (commands, commands_due) = mpsc::channel(4);
    let (seen, _seen_by_us) = std_mpsc::sync_channel(16);
    let (replied, mut replies) = mpsc::channel(16);
    let publish = Box::new(move |publication| {
        if let Publication::Reply(reply) = publication {
            replied.try_send(reply.origin.name).expect("room");
        }
    });
    let edges = Edges { publish, ..edges(seen) };
    let bridge = Bridge::new(engine, journal, clock, inputs_due, commands_due, edges, BTreeMap::new());
    let running = tokio::spawn(bridge.run());
    // Whoever hears the reply to one runs again only once the bridge waits for whatever comes first.
    commands.try_send(command("before")).expect("room");
    assert_eq!(replies.recv().await.as_deref(), Some("before"));
    for name in ["first", "second", "third"] {
        commands.try_send(command(name)).expect("room");
    }
    drop(inputs);
    running.await.expect("no panic").expect("a clean end");
    let mut names = Vec::new();
    while let Some(name) = replies.recv().await {
        names.push(name);
    }
    assert_eq!(names, ["first", "second", "third"].map(Box::from));
}
