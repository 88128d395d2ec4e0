//! Closings of answers wait for a commit that writes to their pages anyway, and never for long.

use super::poison_tests::{delivery, edges, settings};
use super::*;
use crate::model::Verdict;
use std::path::Path;
use std::sync::mpsc as std_mpsc;

const START: Time = Time::from_millis(1_700_000_000_000);

/// With what left it, at which nobody looks here.
fn bridge(directory: &Path) -> (Bridge, std_mpsc::Receiver<String>) {
    let journal = Journal::open(journal::Settings {
        path: directory.join("sendbridge.db"),
        retention: Duration::from_secs(86_400),
        body_retention: Duration::from_secs(3600),
        dedup_window: Duration::from_secs(3600),
        low_space_bytes: 0,
    });
    let journal = journal.expect("a journal");
    let mut engine = Engine::new(settings(true), START, journal.last_numbers());
    engine.start(START);
    let (_inputs, inputs_due) = mpsc::channel(1);
    let (_commands, commands_due) = mpsc::channel(1);
    let (seen, left) = std_mpsc::sync_channel(64);
    let clock = Clock::start_at(START);
    (Bridge::new(engine, journal, clock, inputs_due, commands_due, edges(seen), BTreeMap::new()), left)
}

impl Bridge {
    /// One turn at `now`.
    async fn turn(&mut self, inputs: Vec<Input>, now: Time) {
        for input in inputs {
            self.engine.handle(input, now);
        }
        let ready = self.engine.poll_ready(now);
        self.carry_out(ready, now).await.expect("a turn");
    }

    /// A message comes, is sent, and its answer reaches the broker.
    async fn deal_with(&mut self, seq: u64, now: Time) {
        self.turn(vec![delivery(1, &format!("order-{seq}"))], now).await;
        self.turn(vec![ended(seq, now)], now).await;
        self.turn(vec![published(seq)], now).await;
    }
}

fn ended(seq: u64, at: Time) -> Input {
    let verdict = Verdict::Confirmed { msg_id: Some(Box::from("m")) };
    Input::Ended { seq: Seq(seq), attempt: 1, at, verdict }
}

fn published(seq: u64) -> Input {
    Input::Published { what: Outgoing::Answer(Seq(seq)), refused: None }
}

fn closing(seq: u64) -> Vec<Record> {
    vec![Record::Answered { seq: Seq(seq) }]
}

#[tokio::test(start_paused = true)]
async fn a_closing_waits_past_the_beginning_of_a_message_and_goes_with_an_end() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mut bridge, _left) = bridge(directory.path());
    bridge.turn(vec![Input::Connected(true)], START).await;
    bridge.deal_with(1, START).await;
    assert_eq!(bridge.deferred, closing(1));

    // Nothing else happens, and it is written by itself.
    bridge.turn(Vec::new(), START + DEFERRED_MAX).await;
    assert!(bridge.deferred.is_empty() && bridge.deferred_until.is_none());

    // The beginning of another message leaves it where it is, and does not put it off.
    let later = START + Duration::from_secs(1);
    bridge.deal_with(2, later).await;
    let until = Some(later + DEFERRED_MAX);
    assert_eq!((&bridge.deferred, bridge.deferred_until), (&closing(2), until));
    bridge.turn(vec![delivery(1, "order-3")], later + DEFERRED_MAX / 2).await;
    assert_eq!((&bridge.deferred, bridge.deferred_until, bridge.durable), (&closing(2), until, Seq(3)));
    bridge.turn(vec![delivery(1, "order-4")], later + DEFERRED_MAX).await;
    assert!(bridge.deferred.is_empty() && bridge.deferred_until.is_none());

    // The end of another message takes it with it.
    let later = later + Duration::from_secs(1);
    bridge.turn(Vec::new(), later).await;
    bridge.turn(vec![ended(3, later)], later).await;
    let later = later + Duration::from_secs(1);
    bridge.turn(Vec::new(), later).await;
    bridge.turn(vec![published(3)], later).await;
    assert_eq!(bridge.deferred, closing(3));
    bridge.turn(vec![ended(4, later)], later).await;
    assert!(bridge.deferred.is_empty() && bridge.deferred_until.is_none());
}
