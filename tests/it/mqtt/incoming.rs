use super::{Inbox, Outbox, number, settings};
use crate::mosquitto::Mosquitto;
use crate::proxy::Proxy;
use sendbridge::mqtt::{Incoming, Lost, Publish};
use std::collections::BTreeSet;

#[tokio::test]
async fn messages_survive_while_the_client_is_away() {
    let broker = Mosquitto::start(&[]);
    let settings = settings(&broker.url(), "bridge");
    let mut inbox = Inbox::open(&settings, "SendMessage/+");
    assert!(!inbox.connected().await.1, "the first session");
    inbox.subscribed().await;
    inbox.close().await;

    let mut outbox = Outbox::open_connected(&settings).await;
    outbox.send_numbers("SendMessage/a", 0..50).await;

    let mut inbox = Inbox::open(&settings, "SendMessage/+");
    assert!(inbox.connected().await.1, "the session is kept");
    for expected in 0..50 {
        let packet = inbox.packet().await;
        assert_eq!((number(&packet), packet.topic.as_str(), packet.qos), (expected, "SendMessage/a", 1));
        inbox.acknowledge(&packet);
    }
}

#[tokio::test]
async fn carries_every_property() {
    let broker = Mosquitto::start(&[]);
    let settings = settings(&broker.url(), "bridge");
    let mut inbox = Inbox::open(&settings, "#");
    inbox.subscribed().await;
    let mut outbox = Outbox::open_connected(&settings).await;
    let publish = Publish {
        retain: true,
        utf8: true,
        correlation: Some(bytes::Bytes::from_static(&[0, 255])),
        content_type: Some("application/json".into()),
        expiry: Some(std::time::Duration::from_secs(60)),
        ..Publish::new("a/b", "{}")
    };
    assert_eq!(outbox.send(publish).await, None);
    let packet = inbox.packet().await;
    assert!(packet.retain && !packet.duplicate, "a fresh message keeps the flag");
    assert_eq!(packet.correlation.as_deref(), Some(&[0, 255][..]));
    assert!(packet.expiry.is_some_and(|left| left.as_secs() > 30));
}

#[tokio::test]
async fn a_stored_message_does_not_come_with_a_subscription() {
    let broker = Mosquitto::start(&[]);
    let settings = settings(&broker.url(), "bridge");
    let mut outbox = Outbox::open_connected(&settings).await;
    let stored = Publish { retain: true, ..Publish::new("SendMessage", "stored") };
    assert_eq!(outbox.send(stored).await, None);
    let mut inbox = Inbox::open(&settings, "SendMessage");
    inbox.subscribed().await;
    outbox.send_numbers("SendMessage", 7..8).await;
    assert_eq!(number(&inbox.packet().await), 7);
}

#[tokio::test]
async fn what_was_not_acknowledged_comes_again_after_a_drop_and_old_tickets_are_void() {
    let broker = Mosquitto::start(&[]);
    let settings = settings(&broker.url(), "bridge");
    let mut inbox = Inbox::open(&settings, "SendMessage");
    inbox.subscribed().await;
    let mut outbox = Outbox::open_connected(&settings).await;
    outbox.send_numbers("SendMessage", 0..10).await;
    let mut packets = Vec::new();
    for _ in 0..10 {
        packets.push(inbox.packet().await);
    }
    for packet in &packets[..4] {
        inbox.acknowledge(packet);
    }
    // In order, so that the four are with the broker before the connection ends.
    inbox.close().await;

    let mut inbox = Inbox::open(&settings, "SendMessage");
    let (generation, session_present) = inbox.connected().await;
    assert!(session_present);
    let mut again = Vec::new();
    for expected in 4..10 {
        let packet = inbox.packet().await;
        assert_eq!(number(&packet), expected);
        assert!(packet.duplicate);
        again.push(packet);
    }
    // A ticket of another connection acknowledges nothing, though its packet id is in use again.
    let mut old = again[0].ticket.expect("QoS 1");
    old.generation = generation + 1;
    inbox.acknowledger.acknowledge(old);
    old.generation = generation - 1;
    inbox.acknowledger.acknowledge(old);
    inbox.acknowledge(&again[1]);
    // Twice is once.
    inbox.acknowledge(&again[1]);
    inbox.close().await;

    let mut inbox = Inbox::open(&settings, "SendMessage");
    for expected in [4, 6, 7, 8, 9] {
        assert_eq!(number(&inbox.packet().await), expected);
    }
}

#[tokio::test]
async fn what_was_not_acknowledged_comes_again_after_the_broker_was_killed() {
    let mut broker = Mosquitto::start(&[]);
    let settings = settings(&broker.url(), "bridge");
    let mut inbox = Inbox::open(&settings, "SendMessage");
    inbox.subscribed().await;
    let mut outbox = Outbox::open_connected(&settings).await;
    outbox.send_numbers("SendMessage", 0..20).await;
    let mut old = Vec::new();
    for _ in 0..20 {
        old.push(inbox.packet().await);
    }
    broker.save();
    // Answered only after the save is done.
    outbox.send_numbers("elsewhere", 0..1).await;
    broker.kill();
    inbox.disconnected().await;
    broker.start_again();

    assert!(inbox.connected().await.1, "the session was saved");
    for packet in &old {
        inbox.acknowledge(packet);
    }
    let mut numbers = Vec::new();
    for _ in 0..20 {
        let packet = inbox.packet().await;
        numbers.push(number(&packet));
        inbox.acknowledge(&packet);
    }
    assert_eq!(numbers, (0..20).collect::<Vec<_>>());
    inbox.close().await;

    // All were acknowledged by the new tickets and none by the old ones, or packets would be missing above.
    let mut inbox = Inbox::open(&settings, "SendMessage");
    inbox.subscribed().await;
    outbox.connected().await;
    outbox.send_numbers("SendMessage", 99..100).await;
    assert_eq!(number(&inbox.packet().await), 99);
}

#[tokio::test]
async fn subscribes_again_when_the_broker_forgot_the_session() {
    let mut broker = Mosquitto::start(&["persistence false"]);
    let settings = settings(&broker.url(), "bridge");
    let mut inbox = Inbox::open(&settings, "SendMessage");
    inbox.subscribed().await;
    broker.restart();
    assert!(!inbox.connected().await.1, "forgotten");
    inbox.subscribed().await;
    let mut outbox = Outbox::open_connected(&settings).await;
    outbox.send_numbers("SendMessage", 1..2).await;
    assert_eq!(number(&inbox.packet().await), 1);
}

#[tokio::test]
async fn a_burst_of_acknowledgements_is_neither_lost_nor_waits() {
    let broker = Mosquitto::start(&[]);
    let mut settings = settings(&broker.url(), "bridge");
    settings.receive_maximum = 5000;
    let mut inbox = Inbox::open(&settings, "SendMessage");
    inbox.subscribed().await;
    let mut outbox = Outbox::open_connected(&settings).await;
    outbox.send_numbers("SendMessage", 0..3000).await;
    let mut packets = Vec::new();
    for _ in 0..3000 {
        packets.push(inbox.packet().await);
    }
    // Without a pause, so that the queue inside fills.
    for packet in &packets {
        inbox.acknowledge(packet);
    }
    inbox.close().await;
    let mut inbox = Inbox::open(&settings, "SendMessage");
    inbox.subscribed().await;
    outbox.send_numbers("SendMessage", 3000..3001).await;
    assert_eq!(number(&inbox.packet().await), 3000, "nothing of before came again");
}

/// Mosquitto 2.0.11 delivers up to a window more for every acknowledgement, and all of it again to a connection that
/// ends: one that ended for lack of room would never take more than its room.
#[tokio::test]
async fn more_than_there_is_room_for_waits_with_the_broker() {
    const MESSAGES: u64 = 5000;
    let broker = Mosquitto::start(&["max_queued_messages 100000"]);
    let mut settings = settings(&broker.url(), "bridge");
    settings.receive_maximum = 100;
    let mut inbox = Inbox::open(&settings, "SendMessage");
    inbox.subscribed().await;
    inbox.close().await;
    let mut outbox = Outbox::open_connected(&settings).await;
    outbox.send_numbers("SendMessage", 0..MESSAGES).await;

    let mut inbox = Inbox::open_with_room(&settings, "SendMessage", 20);
    let mut seen = BTreeSet::new();
    while seen.len() < MESSAGES as usize {
        match inbox.event().await {
            Incoming::Packet(packet) => {
                assert!(seen.insert(number(&packet)), "once, over one connection");
                inbox.acknowledge(&packet);
            }
            Incoming::Connected { .. } | Incoming::Subscribed => {}
            event @ (Incoming::SubscribeRefused { .. } | Incoming::Disconnected { .. }) => panic!("{event:?}"),
        }
    }
}

#[tokio::test]
async fn large_messages_pass_and_too_large_ones_harm_nobody() {
    let broker = Mosquitto::start(&[]);
    let settings = settings(&broker.url(), "bridge");
    let mut inbox = Inbox::open(&settings, "SendMessage");
    inbox.subscribed().await;
    let mut outbox = Outbox::open_connected(&settings).await;
    for size in [11_000, 200_000, 2 << 20, 1] {
        assert_eq!(outbox.send(Publish::new("SendMessage", vec![b'x'; size])).await, None);
    }
    for size in [11_000, 200_000, 1] {
        let packet = inbox.packet().await;
        assert_eq!(packet.payload.len(), size);
        inbox.acknowledge(&packet);
    }
}

#[tokio::test]
async fn every_message_arrives_over_a_connection_that_is_cut_again_and_again() {
    const CUTS: usize = 50;
    const MESSAGES: u64 = 2000;
    let broker = Mosquitto::start(&[]);
    let proxy = Proxy::start(broker.port(), CUTS, 8000, 0x5EED).await;
    let mut direct = settings(&broker.url(), "bridge");
    direct.receive_maximum = 100;
    let mut inbox = Inbox::open(&direct, "SendMessage");
    inbox.subscribed().await;
    inbox.close().await;
    let mut outbox = Outbox::open_connected(&direct).await;
    for number in 0..MESSAGES {
        assert_eq!(outbox.send(Publish::new("SendMessage", format!("{number:>100}"))).await, None);
    }

    let mut through_proxy = settings(&proxy.url(), "bridge");
    through_proxy.receive_maximum = 100;
    let mut inbox = Inbox::open(&through_proxy, "SendMessage");
    let mut seen = BTreeSet::new();
    let mut generations = BTreeSet::new();
    while seen.len() < MESSAGES as usize {
        match inbox.event().await {
            Incoming::Packet(packet) => {
                seen.insert(number(&packet));
                inbox.acknowledge(&packet);
            }
            Incoming::Connected { generation, .. } => assert!(generations.insert(generation), "never twice"),
            Incoming::Disconnected { why } => assert_ne!(why, Lost::Silent),
            Incoming::Subscribed | Incoming::SubscribeRefused { .. } => {}
        }
    }
    assert!(proxy.cuts() >= 40, "only {} cuts", proxy.cuts());
}
