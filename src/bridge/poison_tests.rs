//! Lives of a process that a message ends, over one journal on disk: each life ends where the real one would, with the
//! journal as the crash left it.

use super::start::restore_with;
use super::*;
use crate::engine::{AccountSettings, Sabotage, Settings};
use crate::golden::default_settings;
use crate::model::{Account, Corp, MessageId, Options, Origin, Request};
use bytes::Bytes;
use std::path::Path;
use std::sync::mpsc as std_mpsc;

const START: Time = Time::from_millis(1_700_000_000_000);

fn delivery(packet: u16, id: &str) -> Input {
    let request = Request {
        id: MessageId::from_json(&format!("{id:?}")),
        kind: Arc::from("text"),
        account: Account::new("a"),
        conversation: Box::from("S:1_2"),
        origin: Origin::default(),
        options: Options::default(),
        // The same text in all of them: what tells them apart is the id.
        fingerprint: [7; 16],
        shown: None,
        body: Bytes::from_static(b"{}"),
    };
    Input::Request { ticket: Some(Ticket { generation: 1, packet }), request: Box::new(request) }
}

pub(super) fn settings(is_known: bool) -> Settings {
    let account = AccountSettings {
        account: Account::new("a"),
        corp: Some(Corp::new("c")),
        sender: Some(SenderName::new("main")),
    };
    Settings { accounts: is_known.then_some(account).into_iter().collect(), ..default_settings() }
}

pub(super) fn edges(seen: std_mpsc::SyncSender<String>) -> Edges {
    let (acknowledged, sent) = (seen.clone(), seen.clone());
    let say = |seen: &std_mpsc::SyncSender<String>, what: String| seen.try_send(what).expect("room");
    Edges {
        acknowledge: Box::new(move |ticket| say(&acknowledged, format!("acknowledged {}", ticket.packet))),
        send: Box::new(move |job| say(&sent, format!("sent {}", job.seq))),
        publish: Box::new(move |publication| match publication {
            Publication::Answer { message, outcome, .. } => {
                let code = outcome.fault.as_ref().map(|fault| fault.code.as_str());
                say(&seen, format!("answer {} {} {code:?}", message.request.id.as_json(), outcome.state.as_str()));
            }
            Publication::Refusal { refusal, .. } => {
                let id = refusal.id.as_ref().map(MessageId::as_json);
                say(&seen, format!("refused {id:?} {}", refusal.fault.code.as_str()));
            }
            Publication::Alarm(alarm) => say(&seen, format!("alarm {} {}", alarm.what, alarm.about)),
            Publication::Event { .. }
            | Publication::Reported(_)
            | Publication::Reply(_)
            | Publication::Holds(..)
            | Publication::Status(_) => {}
        }),
        answer_callback: Box::new(|_, _| {}),
        look_up: Box::new(|_| {}),
        call: Box::new(|_| {}),
        refresh_directory: Box::new(|_| {}),
        open_intake: Box::new(|_| {}),
        beat: Box::new(|_| {}),
        set_log_level: Box::new(|_| {}),
    }
}

pub(super) fn open(directory: &Path) -> Journal {
    let journal = Journal::open(journal::Settings {
        path: directory.join("sendbridge.db"),
        retention: Duration::from_secs(86_400),
        body_retention: Duration::from_secs(3600),
        dedup_window: Duration::from_secs(3600),
        low_space_bytes: 0,
    });
    journal.expect("a journal")
}

/// One life of the process, which ends when it has taken what is delivered, or when the engine panics. Returns who was
/// named for that, and what left the process.
async fn live(
    directory: &Path,
    settings: Settings,
    sabotage: Option<Sabotage>,
    deliveries: &[Input],
) -> (Option<Suspect>, Vec<String>) {
    let journal = open(directory);
    let clock = Clock::start_at(START);
    let mut engine = Engine::new(settings, START, journal.last_numbers());
    engine.sabotage(sabotage);
    let (engine, refusals) = restore_with(&journal, engine, START).await.expect("a start");
    let (inputs, inputs_due) = mpsc::channel(16);
    let (seen, seen_by_us) = std_mpsc::sync_channel(64);
    let (_commands, commands_due) = mpsc::channel(1);
    let bridge = Bridge::new(engine, journal, clock, inputs_due, commands_due, edges(seen), refusals);
    inputs.try_send(Input::Connected(true)).expect("room");
    for delivery in deliveries {
        inputs.try_send(delivery.clone()).expect("room");
    }
    drop(inputs);
    let suspect = match bridge.run().await {
        Ok(()) => None,
        Err(BridgeError::Panicked(Some(suspect))) => Some(suspect),
        Err(other) => panic!("{other}"),
    };
    (suspect, seen_by_us.try_iter().collect())
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_ends_the_process_is_refused_after_three_lives_and_the_others_go_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let deliveries = [delivery(1, "before"), delivery(2, "poison"), delivery(3, "after")];
    let live = async || live(directory.path(), settings(false), Some(Sabotage::CrashOnRequest), &deliveries).await;
    for _ in 0..poison::CRASHES_MAX {
        let (suspect, seen) = live().await;
        assert!(matches!(suspect, Some(Suspect::Delivery(_))), "{suspect:?}");
        // Nothing was acknowledged, so all of it comes again.
        assert_eq!(seen, Vec::<String>::new());
    }
    let (suspect, seen) = live().await;
    assert_eq!(suspect, None);
    let expected = [
        "alarm poison id \"poison\"",
        "acknowledged 1",
        "acknowledged 2",
        "acknowledged 3",
        "refused Some(\"\\\"poison\\\"\") INTERNAL",
    ];
    assert_eq!(seen, expected);
}

#[tokio::test(start_paused = true)]
async fn one_that_crashes_before_it_is_durable_is_known_again_as_a_delivery() {
    let directory = tempfile::tempdir().expect("a directory");
    let deliveries = [delivery(1, "good"), delivery(2, "poison")];
    // The account is free only for the first one: it goes alone, so that the other one is next.
    let live = async |deliveries: &[Input]| {
        live(directory.path(), settings(true), Some(Sabotage::CrashOnAttempt), deliveries).await
    };
    for _ in 0..poison::CRASHES_MAX {
        let (suspect, seen) = live(&deliveries[1..]).await;
        assert!(matches!(suspect, Some(Suspect::Delivery(_))), "{suspect:?}");
        assert_eq!(seen, Vec::<String>::new());
    }
    let (suspect, seen) = live(&deliveries).await;
    assert_eq!(suspect, None);
    assert!(seen.iter().any(|what| what == "sent 1"), "{seen:?}");
    assert!(seen.iter().any(|what| what == "refused Some(\"\\\"poison\\\"\") INTERNAL"), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stored_message_that_ends_the_process_is_given_up_after_three_lives_and_the_others_go_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let deliveries = [delivery(1, "poison"), delivery(2, "good")];
    // Nobody knows the account's company yet, so both are kept and wait.
    let (suspect, seen) = live(directory.path(), settings(false), None, &deliveries).await;
    assert_eq!((suspect, seen), (None, vec!["acknowledged 1".to_owned(), "acknowledged 2".to_owned()]));
    let again = async || live(directory.path(), settings(true), Some(Sabotage::CrashOnAttempt), &[]).await;
    for _ in 0..poison::CRASHES_MAX {
        assert_eq!(again().await, (Some(Suspect::Message(Seq(1))), Vec::new()));
    }
    let (suspect, seen) = again().await;
    assert_eq!(suspect, None);
    assert_eq!(seen[0], "alarm poison message 1");
    assert!(seen.iter().any(|what| what == "answer \"poison\" failed Some(\"INTERNAL\")"), "{seen:?}");
    assert!(seen.iter().any(|what| what == "sent 2") && !seen.iter().any(|what| what == "sent 1"), "{seen:?}");
}
