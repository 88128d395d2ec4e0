//! A request that has become too late is not made.

use super::*;
use crate::model::{Seq, Time};
use crate::sender;
use bytes::Bytes;
use secrecy::SecretString;

const START: Time = Time::from_millis(1_700_000_000_000);

/// How a request ends that is to be made before `expires_at`, at a server that nobody runs.
async fn ended(expires_at: Time) -> Verdict {
    let clock = Clock::start_at(START);
    let name = SenderName::new("main");
    let settings = sender::Settings::new(name.clone(), "http://127.0.0.1:1/gnapi/open", SecretString::from("key"));
    let sender = Arc::new(Sender::new(&settings, clock).expect("valid settings"));
    let (refresh, _) = mpsc::channel(1);
    let (inputs, mut inputs_due) = mpsc::channel(1);
    let (took, _) = mpsc::channel(1);
    let mut perform = perform_sends(&BTreeMap::from([(name.clone(), (sender, refresh))]), inputs, clock, took);
    let (kind, body) = (Arc::from("text"), Bytes::from_static(b"{}"));
    perform(Job { seq: Seq(1), attempt: 1, sender: name, kind, body, at: START, expires_at });
    match inputs_due.recv().await {
        Some(Input::Ended { verdict, .. }) => verdict,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_message_whose_time_was_over_before_its_request_is_not_sent() {
    let late = ended(START).await;
    assert!(matches!(late, Verdict::NotSent { why: NotSent::Expired, .. }), "{late:?}");
    let in_time = ended(START + Duration::from_secs(3600)).await;
    assert!(matches!(in_time, Verdict::NotSent { why: NotSent::Connect, .. }), "{in_time:?}");
}
