//! Peers that behave as no real broker can be made to.

use super::{Inbox, Outbox, settings};
use sendbridge::mqtt::{Incoming, Lost, Publish, Refused, Settings, Stored};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const CONNACK: [u8; 5] = [0x20, 3, 0, 0, 0];

/// A broker whose answers the test writes.
struct Peer {
    listener: TcpListener,
}

impl Peer {
    async fn new() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.expect("a port") }
    }

    fn settings(&self) -> Settings {
        settings(&format!("mqtt://{}", self.listener.local_addr().expect("its address")), "bridge")
    }

    /// Takes the next connection and its CONNECT.
    async fn accept(&self) -> TcpStream {
        let (mut socket, _) = self.listener.accept().await.expect("a connection");
        assert_eq!(read_packet(&mut socket).await[0], 0x10);
        socket
    }
}

/// The first byte and what follows the length, which must be below 128.
async fn read_packet(socket: &mut TcpStream) -> Vec<u8> {
    let first = socket.read_u8().await.expect("a packet");
    let length = socket.read_u8().await.expect("its length");
    assert!(length < 128, "a short packet");
    let mut packet = vec![0; usize::from(length) + 1];
    packet[0] = first;
    socket.read_exact(&mut packet[1..]).await.expect("its rest");
    packet
}

/// Mosquitto 2.0.11 closes a connection that is taken over without a word, others say so.
#[tokio::test]
async fn a_client_id_is_left_to_whoever_took_it_over() {
    let peer = Peer::new().await;
    let mut settings = peer.settings();
    settings.retry_delay_max = Duration::from_secs(3600);
    let mut inbox = Inbox::open(&settings, "SendMessage");
    let mut socket = peer.accept().await;
    socket.write_all(&CONNACK).await.expect("written");
    // DISCONNECT with the reason 0x8E.
    socket.write_all(&[0xE0, 2, 0x8E, 0]).await.expect("written");
    assert_eq!(inbox.disconnected().await, Lost::TakenOver);
    inbox.close().await;
}

#[tokio::test]
async fn a_refused_subscription_is_told_and_asked_for_again() {
    let peer = Peer::new().await;
    let mut inbox = Inbox::open(&peer.settings(), "SendMessage");
    let mut socket = peer.accept().await;
    socket.write_all(&CONNACK).await.expect("written");
    let subscribe = read_packet(&mut socket).await;
    assert_eq!(subscribe[0], 0x82);
    // At QoS 1, as published, never the stored ones; beside it the broker's version, stored and at QoS 0.
    let filter = b"SendMessage";
    let at = subscribe.windows(filter.len()).position(|window| window == filter).expect("the filter");
    assert_eq!(subscribe[at + filter.len()], 0b10_1001);
    assert!(subscribe.ends_with(b"$SYS/broker/version\0"));
    socket.write_all(&[0x90, 5, subscribe[1], subscribe[2], 0, 0x87, 0x87]).await.expect("written");
    assert_eq!(inbox.event().await, Incoming::Connected { generation: 1, session_present: false });
    let refused = Incoming::SubscribeRefused { filter: "SendMessage".into(), reason: "NotAuthorized".into() };
    assert_eq!(inbox.event().await, refused);

    // From here on time passes by itself whenever all wait.
    tokio::time::pause();
    assert_eq!(read_packet(&mut socket).await, [0xC0], "the ping of the keep-alive");
    socket.write_all(&[0xD0, 0]).await.expect("written");
    let subscribe = read_packet(&mut socket).await;
    socket.write_all(&[0x90, 5, subscribe[1], subscribe[2], 0, 1, 0x87]).await.expect("written");
    assert_eq!(inbox.event().await, Incoming::Subscribed);
}

#[tokio::test]
async fn a_peer_that_stops_reading_is_left_and_all_is_open_again() {
    const MESSAGES: u64 = 64;
    let peer = Peer::new().await;
    let mut outbox = Outbox::open(&peer.settings());
    let mut socket = peer.accept().await;
    socket.write_all(&CONNACK).await.expect("written");
    outbox.connected().await;
    let old = outbox.connection;
    // More than the buffers of both sockets hold.
    for token in 0..MESSAGES {
        let publish = Publish::new("a", vec![b'x'; 1 << 20]);
        assert_eq!(outbox.outlet.publish(old, publish, token), Ok(()));
    }
    tokio::time::pause();
    assert_eq!(outbox.disconnected().await, Lost::Silent);
    assert_eq!(outbox.outlet.publish(old, Publish::new("a", "1"), 1), Err(Refused::NotConnected));
    tokio::time::resume();

    // The next connection carries nothing but what it is given, even when the peer claims to know the session.
    let mut socket = peer.accept().await;
    socket.write_all(&[0x20, 3, 1, 0, 0]).await.expect("written");
    outbox.connected().await;
    assert_eq!(outbox.outlet.publish(outbox.connection, Publish::new("b", "2"), 2), Ok(()));
    assert_eq!(read_packet(&mut socket).await, [0x32, 0, 1, b'b', 0, 1, 0, b'2']);
}

#[tokio::test]
async fn acknowledgements_leave_in_the_order_given() {
    let peer = Peer::new().await;
    let mut inbox = Inbox::open(&peer.settings(), "SendMessage");
    let mut socket = peer.accept().await;
    socket.write_all(&CONNACK).await.expect("written");
    assert_eq!(read_packet(&mut socket).await[0], 0x82);
    // More than the queue inside holds.
    let mut packets = Vec::new();
    for id in 1..=600_u16 {
        let [high, low] = id.to_be_bytes();
        socket.write_all(&[0x32, 6, 0, 1, b'a', high, low, 0]).await.expect("written");
        packets.push(inbox.packet().await);
    }
    packets.reverse();
    for packet in &packets {
        inbox.acknowledge(packet);
    }
    for id in (1..=600_u16).rev() {
        let [high, low] = id.to_be_bytes();
        assert_eq!(read_packet(&mut socket).await, [0x40, high, low]);
    }
}

/// What is stored may come some time after the SUBACK, and our own publishes come back meanwhile.
#[tokio::test]
async fn stored_messages_are_listened_for_until_a_ping_is_answered() {
    let (told, mut topics) = tokio::sync::mpsc::channel(10);
    let peer = Peer::new().await;
    let stored = Stored::new(vec!["s/+".to_owned()], move |topic| told.try_send(topic.to_owned()).expect("room"));
    let mut outbox = Outbox::open_looking_for(&peer.settings(), stored);
    let mut socket = peer.accept().await;
    socket.write_all(&CONNACK).await.expect("written");
    outbox.connected().await;
    let subscribe = read_packet(&mut socket).await;
    // At QoS 0, everything stored, and nothing of "no local".
    assert_eq!((subscribe[0], &subscribe[4..]), (0x82, &[0, 3, b's', b'/', b'+', 0][..]), "{subscribe:?}");
    socket.write_all(&[0x90, 4, subscribe[1], subscribe[2], 0, 0]).await.expect("written");
    for (first, name, payload) in [(0x31, b'a', b'1'), (0x30, b'b', b'1'), (0x31, b'c', b'1')] {
        socket.write_all(&[first, 7, 0, 3, b's', b'/', name, 0, payload]).await.expect("written");
    }
    // A stored message without payload is none.
    socket.write_all(&[0x31, 6, 0, 3, b's', b'/', b'd', 0]).await.expect("written");
    assert_eq!(topics.recv().await.as_deref(), Some("s/a"));
    assert_eq!(topics.recv().await.as_deref(), Some("s/c"));

    tokio::time::pause();
    assert_eq!(read_packet(&mut socket).await, [0xC0], "the ping of the keep-alive");
    socket.write_all(&[0xD0, 0]).await.expect("written");
    let unsubscribe = read_packet(&mut socket).await;
    assert_eq!((unsubscribe[0], &unsubscribe[4..]), (0xA2, &[0, 3, b's', b'/', b'+'][..]), "{unsubscribe:?}");
    assert!(topics.try_recv().is_err());
}
