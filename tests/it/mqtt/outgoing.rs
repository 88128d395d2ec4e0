use super::{Inbox, Outbox, number, settings};
use crate::mosquitto::Mosquitto;
use crate::proxy::Proxy;
use sendbridge::mqtt::{OutgoingEvent, Publish, PublishRefusal, Qos, Refused};
use std::collections::BTreeSet;

/// A publish that grows to `bytes` of payload.
fn publish(topic: &str, number: u64, bytes: usize) -> Publish {
    Publish::new(topic, format!("{number:>bytes$}"))
}

#[tokio::test]
async fn no_token_is_acknowledged_falsely_over_a_connection_that_is_cut_again_and_again() {
    const CUTS: usize = 60;
    const TOKENS: u64 = 2000;
    let broker = Mosquitto::start(&["max_inflight_messages 1000"]);
    let proxy = Proxy::start(broker.port(), CUTS, 7000, 0xC0FFEE).await;
    let mut inbox = Inbox::open(&settings(&broker.url(), "watcher"), "answers");
    inbox.subscribed().await;
    let mut outbox = Outbox::open(&settings(&proxy.url(), "bridge"));

    let mut open: BTreeSet<u64> = (0..TOKENS).collect();
    let mut under_way = BTreeSet::new();
    while !open.is_empty() {
        match outbox.event().await {
            OutgoingEvent::Connected { .. } => under_way.clear(),
            OutgoingEvent::Disconnected { .. } => continue,
            OutgoingEvent::Acknowledged { token, refusal, .. } => {
                assert_eq!(refusal, None);
                assert!(open.remove(&token), "acknowledged twice: {token}");
                assert!(under_way.remove(&token), "not under way on this connection: {token}");
            }
            OutgoingEvent::Room | OutgoingEvent::Broker(_) => {}
        }
        for &token in &open {
            if under_way.contains(&token) {
                continue;
            }
            match outbox.outlet.publish(outbox.connection, publish("answers", token, 100), token) {
                Ok(()) => assert!(under_way.insert(token)),
                Err(Refused::Full | Refused::NotConnected) => break,
                Err(refused @ (Refused::TooLarge { .. } | Refused::Invalid)) => panic!("{refused:?}"),
            }
        }
    }
    assert!(proxy.cuts() >= 40, "only {} cuts", proxy.cuts());

    // Each was published until it was acknowledged, so a false acknowledgement would be a hole here.
    let mut arrived = BTreeSet::new();
    while arrived.len() < TOKENS as usize {
        let packet = inbox.packet().await;
        arrived.insert(number(&packet));
        inbox.acknowledge(&packet);
    }
}

/// The next acknowledgements of so many publishes, and how often room was told of until both are there.
async fn acknowledged_and_room(outbox: &mut Outbox, publishes: usize) -> (Vec<u64>, usize) {
    let (mut tokens, mut rooms) = (Vec::new(), 0);
    while tokens.len() < publishes || rooms < 1 {
        match outbox.event().await {
            OutgoingEvent::Acknowledged { token, .. } => tokens.push(token),
            OutgoingEvent::Room => rooms += 1,
            event @ (OutgoingEvent::Connected { .. }
            | OutgoingEvent::Disconnected { .. }
            | OutgoingEvent::Broker(_)) => panic!("{event:?}"),
        }
    }
    (tokens, rooms)
}

#[tokio::test]
async fn a_full_window_is_refused_and_room_is_told() {
    for wanted in [1_u16, 5] {
        let broker = Mosquitto::start(&[&format!("max_inflight_messages {wanted}")]);
        let mut outbox = Outbox::open(&settings(&broker.url(), "bridge"));
        let OutgoingEvent::Connected { window, .. } = outbox.event().await else { panic!("not connected") };
        assert_eq!(window, wanted);
        let size = u64::from(window);
        // Again and again, because the same packet ids are used again.
        for first in [0, size, 2 * size] {
            let tokens = first..first + size;
            // The task that would make room runs on this thread, and does not until we wait.
            for token in tokens.clone() {
                assert_eq!(outbox.outlet.publish(outbox.connection, publish("a", token, 1), token), Ok(()));
            }
            let too_many = first + size;
            let refused = outbox.outlet.publish(outbox.connection, publish("a", too_many, 1), too_many);
            assert_eq!(refused, Err(Refused::Full));
            let seen = acknowledged_and_room(&mut outbox, window.into()).await;
            assert_eq!(seen, (tokens.collect(), 1), "a window of {window}");
        }
    }
}

#[tokio::test]
async fn qos_0_needs_no_window_and_has_no_acknowledgement() {
    let broker = Mosquitto::start(&[]);
    let settings = settings(&broker.url(), "bridge");
    let mut inbox = Inbox::open(&settings, "events");
    inbox.subscribed().await;
    let mut outbox = Outbox::open_connected(&settings).await;
    for token in 0..100 {
        let event = Publish { qos: Qos::AtMostOnce, ..publish("events", token, 1) };
        assert_eq!(outbox.outlet.publish(outbox.connection, event, token), Ok(()));
    }
    assert_eq!(outbox.send(publish("events", 100, 1)).await, None);
    for expected in 0..100 {
        let packet = inbox.packet().await;
        assert_eq!((number(&packet), packet.qos, packet.ticket), (expected, 0, None));
    }
    assert_eq!(inbox.packet().await.qos, 1);
}

#[tokio::test]
async fn a_connection_of_before_is_refused() {
    let mut broker = Mosquitto::start(&[]);
    let mut outbox = Outbox::open_connected(&settings(&broker.url(), "bridge")).await;
    let old = outbox.connection;
    broker.restart();
    outbox.connected().await;
    assert_eq!(outbox.outlet.publish(old, publish("a", 1, 1), 1), Err(Refused::NotConnected));
    assert_eq!(outbox.send(publish("a", 1, 1)).await, None);
}

#[tokio::test]
async fn a_denied_topic_is_reported_and_harms_nobody() {
    let directory = tempfile::tempdir().expect("a directory");
    let acl = directory.path().join("acl");
    std::fs::write(&acl, "topic write answers\n").expect("the ACL");
    let broker = Mosquitto::start_in(directory, &[&format!("acl_file {}", acl.display())]);
    let mut outbox = Outbox::open_connected(&settings(&broker.url(), "bridge")).await;
    let refusal = PublishRefusal { reason: "NotAuthorized".into(), retryable: false };
    assert_eq!(outbox.send(publish("secret", 1, 1)).await, Some(refusal));
    assert_eq!(outbox.send(publish("answers", 2, 1)).await, None);
}

#[tokio::test]
async fn a_payload_over_the_brokers_limit_is_reported_once_and_ends_no_second_connection() {
    let broker = Mosquitto::start(&["message_size_limit 1000"]);
    let mut outbox = Outbox::open_connected(&settings(&broker.url(), "bridge")).await;
    let connection = outbox.connection;
    for (token, bytes) in [(1, 10), (2, 2000), (3, 10)] {
        outbox.outlet.publish(connection, publish("a", token, bytes), token).expect("room");
    }
    let too_large = PublishRefusal { reason: "PacketTooLarge".into(), retryable: false };
    // Nobody subscribes to it, and the broker says so.
    let taken = OutgoingEvent::Acknowledged { token: 1, refusal: None, is_unheard: true };
    assert_eq!(outbox.event().await, taken);
    let refused = OutgoingEvent::Acknowledged { token: 2, refusal: Some(too_large), is_unheard: false };
    assert_eq!(outbox.event().await, refused);
    outbox.connected().await;
    assert_eq!(outbox.send(publish("a", 3, 10)).await, None);
    assert_eq!(outbox.connection, connection + 1);
}

#[tokio::test]
async fn what_the_broker_says_it_does_not_take_is_not_sent() {
    let broker = Mosquitto::start(&["max_packet_size 1000"]);
    let mut outbox = Outbox::open(&settings(&broker.url(), "bridge"));
    let OutgoingEvent::Connected { packet_bytes_max, .. } = outbox.event().await else { panic!("not connected") };
    assert_eq!(packet_bytes_max, Some(1000));
    let connection = outbox.connection;
    // Fixed header 3, topic 3, packet id 2, properties 1.
    let refused = outbox.outlet.publish(connection, publish("a", 1, 992), 1);
    assert_eq!(refused, Err(Refused::TooLarge { packet_bytes: 1001, packet_bytes_max: 1000 }));
    assert_eq!(outbox.send(publish("a", 1, 991)).await, None);
    assert_eq!(outbox.connection, connection, "the same connection");
}

#[tokio::test]
async fn a_topic_that_would_end_the_connection_is_not_sent() {
    let broker = Mosquitto::start(&[]);
    let mut outbox = Outbox::open_connected(&settings(&broker.url(), "bridge")).await;
    let connection = outbox.connection;
    for topic in ["", "a/#", "a\u{1}", &"/".repeat(201)] {
        assert_eq!(outbox.outlet.publish(connection, publish(topic, 1, 1), 1), Err(Refused::Invalid));
    }
    for topic in ["/", "账号/1", &"/".repeat(200)] {
        assert_eq!(outbox.send(publish(topic, 1, 1)).await, None);
    }
    assert_eq!(outbox.connection, connection, "the same connection");
}

#[tokio::test]
async fn the_will_is_published_after_a_crash_and_not_after_a_stop() {
    let broker = Mosquitto::start(&[]);
    let mut inbox = Inbox::open(&settings(&broker.url(), "watcher"), "state");
    inbox.subscribed().await;

    let mut outbox = Outbox::open_connected(&settings(&broker.url(), "bridge")).await;
    let state = |payload| Publish { retain: true, ..Publish::new("state", payload) };
    assert_eq!(outbox.send(state("online")).await, None);
    drop(outbox);
    assert_eq!(inbox.packet().await.payload, "online");
    assert_eq!(inbox.packet().await.payload, "offline");

    let mut outbox = Outbox::open_connected(&settings(&broker.url(), "bridge")).await;
    assert_eq!(outbox.send(state("stopped")).await, None);
    assert!(outbox.task.disconnect(super::DEADLINE).await);
    // Behind the will, if there were one.
    let mut outbox = Outbox::open_connected(&settings(&broker.url(), "bridge")).await;
    assert_eq!(outbox.send(state("online")).await, None);
    assert_eq!(inbox.packet().await.payload, "stopped");
    assert_eq!(inbox.packet().await.payload, "online");
}
