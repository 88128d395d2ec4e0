//! A disk without room: the bridge waits, says so, and goes on by itself.

use super::*;
use crate::golden::default_settings;
use crate::model::{Code, Fault, LastNumbers, Origin};
use std::sync::mpsc;

fn refused(body_bytes: usize) -> Input {
    let origin = Origin { suffix: None, reply_to: None, weak: false };
    let fault = Fault::new(Code::InvalidField, "x".repeat(body_bytes));
    let refusal = Box::new(Refusal { id: None, account: None, origin, fault });
    Input::Refused { ticket: Some(Ticket { generation: 1, packet: 1 }), refusal }
}

/// What left the bridge: acknowledgements and the words of alarms. Somebody makes room at the first of them.
fn edges(seen: mpsc::SyncSender<String>, limit_pages: impl Fn(i64) + Send + 'static) -> Edges {
    let (acknowledged, beaten) = (seen.clone(), seen.clone());
    let say = |seen: &mpsc::SyncSender<String>, what: &str| seen.try_send(what.to_owned()).expect("room");
    Edges {
        acknowledge: Box::new(move |_| say(&acknowledged, "acknowledged")),
        send: Box::new(|_| {}),
        publish: Box::new(move |publication| {
            if let Publication::Alarm(alarm) = publication {
                say(&seen, alarm.what);
                limit_pages(1_000_000);
            }
        }),
        answer_callback: Box::new(|_, _| {}),
        look_up: Box::new(|_| {}),
        call: Box::new(|_| {}),
        refresh_directory: Box::new(|_| {}),
        open_intake: Box::new(|_| {}),
        beat: Box::new(move |_| say(&beaten, "goes on")),
        set_log_level: Box::new(|_| {}),
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_is_an_alarm_at_once_and_another_when_it_has_room() {
    let directory = tempfile::tempdir().expect("a directory");
    let settings = journal::Settings {
        path: directory.path().join("sendbridge.db"),
        retention: Duration::from_secs(86_400),
        body_retention: Duration::from_secs(3600),
        dedup_window: Duration::from_secs(3600),
        low_space_bytes: 0,
    };
    let journal = Journal::open(settings).expect("a journal");
    let limit_pages = journal.page_limiter();
    limit_pages(1);
    let clock = Clock::start_at(Time::from_millis(1_700_000_000_000));
    let mut engine = Engine::new(default_settings(), clock.now(), LastNumbers::default());
    engine.start(clock.now());
    let (_inputs, inputs_due) = tokio::sync::mpsc::channel(4);
    let (_commands, commands_due) = tokio::sync::mpsc::channel(4);
    let (seen, seen_by_us) = mpsc::sync_channel(16);
    let mut bridge =
        Bridge::new(engine, journal, clock, inputs_due, commands_due, edges(seen, limit_pages), BTreeMap::new());

    bridge.take(None, &mut vec![refused(1_000_000)]).await.expect("nothing is wrong with it");
    let ready = bridge.engine.poll_ready(clock.now());
    let now = clock.now();
    bridge.carry_out(ready, now).await.expect("it waits for room");
    assert_eq!(seen_by_us.try_iter().collect::<Vec<_>>(), ["storage_full", "goes on", "storage_ok", "acknowledged"]);
}
