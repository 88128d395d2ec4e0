//! Peers that behave as no real broker can be made to.

use super::{Inbox, Outbox, settings};
use sendbridge::clock::Clock;
use sendbridge::mqtt::{Incoming, Lost, OutgoingEvent, Publish, Qos, Refused, Settings, Stored};
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

/// The broker takes the second one's word for who has the id. Coming back at once would throw that one out, and so on.
#[tokio::test]
async fn whoever_was_taken_over_comes_back_no_sooner_than_after_half_of_the_longest_wait() {
    let peer = Peer::new().await;
    let mut settings = peer.settings();
    settings.retry_delay_max = Duration::from_secs(3600);
    let mut inbox = Inbox::open(&settings, "SendMessage");
    let clock = Clock::start();
    // A connection that is closed for another reason is made anew soon, so it is the reason that counts.
    for (reason, waits) in [(0x8B, false), (0x8E, true)] {
        let mut socket = peer.accept().await;
        socket.write_all(&CONNACK).await.expect("written");
        inbox.connected().await;
        let closed_at = clock.now();
        socket.write_all(&[0xE0, 2, reason, 0]).await.expect("written");
        assert_eq!(inbox.disconnected().await == Lost::TakenOver, waits);
        if waits {
            // From here on time passes by itself whenever all wait.
            tokio::time::pause();
            let longest = settings.retry_delay_max + Duration::from_secs(1);
            // The connection is what the other process would feel, whatever is said over it.
            let next = tokio::time::timeout(longest, peer.listener.accept()).await;
            next.expect("it does come back").expect("a connection");
            let waited = clock.now().since(closed_at);
            assert!(waited >= settings.retry_delay_max / 2, "it came back after {waited:?}");
        }
    }
}

/// A connection over which two publishes are under way.
async fn two_under_way(peer: &Peer, outbox: &mut Outbox) -> TcpStream {
    let mut socket = peer.accept().await;
    socket.write_all(&CONNACK).await.expect("written");
    outbox.connected().await;
    for (token, payload) in [(10, b'1'), (20, b'2')] {
        assert_eq!(outbox.outlet.publish(outbox.connection, Publish::new("b", vec![payload]), token), Ok(()));
    }
    for (id, payload) in [(1, b'1'), (2, b'2')] {
        assert_eq!(read_packet(&mut socket).await, [0x32, 0, 1, b'b', 0, id, 0, payload]);
    }
    socket
}

/// What a broker may not say while the packets 1 and 2 are under way. None of it settles either.
fn lies() -> Vec<(&'static str, Vec<u8>)> {
    let puback = |id: u16| [&[0x40, 2][..], &id.to_be_bytes()].concat();
    vec![
        ("an id that was never used", puback(3)),
        ("no id", puback(0)),
        ("an id beyond all that are ever used", puback(7777)),
        ("the acknowledgement of another QoS, for an id that was never used", vec![0x50, 2, 0, 9]),
        ("the acknowledgement of another QoS", vec![0x50, 2, 0, 1]),
        ("a reason that nobody knows, for an id that was never used", vec![0x40, 3, 0, 9, 0x95]),
        ("a reason that nobody knows, in another packet", vec![0x50, 3, 0, 1, 0x95]),
        ("what begins like an acknowledgement", b"HTTP/1.1 400 Bad Request\r\n".repeat(4)),
        ("a second CONNACK", CONNACK.to_vec()),
        ("a packet of a kind that there is not", vec![0x00, 0]),
        ("a length that does not end", vec![0x40, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]),
        ("another protocol", b"220 mail.example ESMTP ready\r\n".repeat(4)),
        ("an AUTH that nobody began", vec![0xF0, 2, 0x18, 0]),
        ("what only clients send", vec![0xC0, 0]),
        ("a second CONNACK that refuses", vec![0x20, 3, 0, 0x87, 0]),
    ]
}

fn is_a_lie_found(why: &Lost) -> bool {
    matches!(why, Lost::Broken { .. } | Lost::Inconsistent | Lost::UnreadableReason { .. })
}

/// Published again, it would end the next connection too.
#[tokio::test]
async fn a_reason_that_nobody_knows_refuses_the_publish_that_it_is_about_and_no_other() {
    let peer = Peer::new().await;
    let mut outbox = Outbox::open(&peer.settings());
    let mut socket = two_under_way(&peer, &mut outbox).await;
    socket.write_all(&[0x40, 3, 0, 2, 0x95]).await.expect("written");
    let event = outbox.event().await;
    let OutgoingEvent::Acknowledged { token: 20, refusal: Some(refusal), .. } = &event else { panic!("{event:?}") };
    assert_eq!((refusal.reason.as_str(), refusal.retryable), ("PacketTooLarge", false));
    assert!(matches!(outbox.event().await, OutgoingEvent::Disconnected { .. }));
}

#[tokio::test]
async fn a_peer_that_lies_is_left_and_what_was_under_way_goes_out_again() {
    for (what, lie) in lies() {
        let peer = Peer::new().await;
        let mut outbox = Outbox::open(&peer.settings());
        let mut socket = two_under_way(&peer, &mut outbox).await;
        socket.write_all(&lie).await.expect("written");
        // Neither is taken for acknowledged, which would be an event before this one.
        let event = outbox.event().await;
        let OutgoingEvent::Disconnected { why } = &event else { panic!("{what}: {event:?}") };
        assert!(is_a_lie_found(why), "{what}: {why:?}");

        // A new connection, over which both are published again, and now acknowledged: the second one first.
        let mut socket = two_under_way(&peer, &mut outbox).await;
        socket.write_all(&[0x40, 2, 0, 2, 0x40, 2, 0, 1]).await.expect("written");
        for token in [20, 10] {
            let acknowledged = OutgoingEvent::Acknowledged { token, refusal: None, is_unheard: false };
            assert_eq!(outbox.event().await, acknowledged, "{what}");
        }
    }
}

#[tokio::test]
async fn a_packet_that_is_acknowledged_twice_counts_once_and_ends_the_connection() {
    let peer = Peer::new().await;
    let mut outbox = Outbox::open(&peer.settings());
    let mut socket = two_under_way(&peer, &mut outbox).await;
    socket.write_all(&[0x40, 2, 0, 1, 0x40, 2, 0, 1]).await.expect("written");
    let acknowledged = OutgoingEvent::Acknowledged { token: 10, refusal: None, is_unheard: false };
    assert_eq!(outbox.event().await, acknowledged);
    let event = outbox.event().await;
    assert!(matches!(event, OutgoingEvent::Disconnected { why: Lost::Broken { .. } }), "{event:?}");
    two_under_way(&peer, &mut outbox).await;
}

/// The session is the broker's memory of what was not acknowledged: it must be asked for, and not begun anew.
#[tokio::test]
async fn a_peer_that_sends_garbage_to_the_session_is_left_and_the_session_asked_for_again() {
    let peer = Peer::new().await;
    let mut inbox = Inbox::open(&peer.settings(), "SendMessage");
    for (round, (what, lie)) in (1..).zip(lies()) {
        let (mut socket, _) = peer.listener.accept().await.expect("a connection");
        let connect = read_packet(&mut socket).await;
        // Behind the name and the version of the protocol; its second bit would begin a session anew.
        assert_eq!((connect[0], connect[8] & 0b10), (0x10, 0), "{what}: {connect:?}");
        socket.write_all(&CONNACK).await.expect("written");
        assert_eq!(read_packet(&mut socket).await[0], 0x82);
        socket.write_all(&[0x32, 6, 0, 1, b'a', 0, 7, 0]).await.expect("written");
        let packet = inbox.packet().await;
        let ticket = packet.ticket.expect("QoS 1");
        assert_eq!(ticket.generation, round, "{what}: one connection more");
        socket.write_all(&lie).await.expect("written");
        let why = inbox.disconnected().await;
        assert!(is_a_lie_found(&why), "{what}: {why:?}");
    }
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

/// Somebody who looks for what is stored, up to the SUBACK, and what it was told.
async fn looking(peer: &Peer) -> (Outbox, TcpStream, tokio::sync::mpsc::Receiver<String>) {
    let (told, topics) = tokio::sync::mpsc::channel(10);
    let stored = Stored::new(vec!["s/+".to_owned()], move |topic| told.try_send(topic.to_owned()).expect("room"));
    let mut outbox = Outbox::open_looking_for(&peer.settings(), stored);
    let mut socket = peer.accept().await;
    socket.write_all(&CONNACK).await.expect("written");
    outbox.connected().await;
    let subscribe = read_packet(&mut socket).await;
    // At QoS 0, everything stored, and nothing of "no local".
    assert_eq!((subscribe[0], &subscribe[4..]), (0x82, &[0, 3, b's', b'/', b'+', 0][..]), "{subscribe:?}");
    socket.write_all(&[0x90, 4, subscribe[1], subscribe[2], 0, 0]).await.expect("written");
    (outbox, socket, topics)
}

/// What is stored may come some time after the SUBACK, and our own publishes come back meanwhile.
#[tokio::test]
async fn stored_messages_are_listened_for_until_a_second_passes_without_one() {
    let peer = Peer::new().await;
    let (outbox, mut socket, mut topics) = looking(&peer).await;
    for (first, name, payload) in [(0x31, b'a', b'1'), (0x30, b'b', b'1'), (0x31, b'c', b'1')] {
        socket.write_all(&[first, 7, 0, 3, b's', b'/', name, 0, payload]).await.expect("written");
    }
    // A stored message without payload is none.
    socket.write_all(&[0x31, 6, 0, 3, b's', b'/', b'd', 0]).await.expect("written");
    assert_eq!(topics.recv().await.as_deref(), Some("s/a"));
    assert_eq!(topics.recv().await.as_deref(), Some("s/c"));

    tokio::time::pause();
    let clock = Clock::start();
    let begun = clock.now();
    assert_eq!(read_packet(&mut socket).await, [0xC0], "a ping, because some came");
    // One more came before it is answered, so a second is waited for once more.
    socket.write_all(&[0x31, 7, 0, 3, b's', b'/', b'e', 0, b'1', 0xD0, 0]).await.expect("written");
    assert_eq!(topics.recv().await.as_deref(), Some("s/e"));
    assert_eq!(read_packet(&mut socket).await, [0xC0], "a ping, because one more came");
    let waited = clock.now().since(begun);
    assert!(waited < peer.settings().keep_alive / 2, "{waited:?}");
    tokio::time::resume();

    // What of ours comes back lacks the mark, and is nobody's business.
    socket.write_all(&[0x30, 7, 0, 3, b's', b'/', b'g', 0, b'1', 0xD0, 0]).await.expect("written");
    let unsubscribe = read_packet(&mut socket).await;
    assert_eq!((unsubscribe[0], &unsubscribe[4..]), (0xA2, &[0, 3, b's', b'/', b'+'][..]), "{unsubscribe:?}");
    let publish = Publish::new("b", "1");
    assert_eq!(outbox.outlet.publish(outbox.connection, publish, 7), Ok(()));
    assert_eq!(read_packet(&mut socket).await[0], 0x32);
    assert!(topics.try_recv().is_err());
}

/// The end of a subscription takes a packet id, which must not be that of a publish under way.
#[tokio::test]
async fn publishes_wait_for_the_end_of_a_subscription_but_not_for_a_broker_that_owes_something() {
    for does_acknowledge in [true, false] {
        let peer = Peer::new().await;
        let (mut outbox, mut socket, mut topics) = looking(&peer).await;
        let connection = outbox.connection;
        let publish = |content: &'static str| Publish::new("b", content);
        assert_eq!(outbox.outlet.publish(connection, publish("1"), 7), Ok(()));
        assert_eq!(read_packet(&mut socket).await[0], 0x32);
        tokio::time::pause();
        assert_eq!(read_packet(&mut socket).await, [0xC0]);
        // What follows the answer tells that it was read.
        socket.write_all(&[0xD0, 0, 0x31, 7, 0, 3, b's', b'/', b'f', 0, b'1']).await.expect("written");
        assert_eq!(topics.recv().await.as_deref(), Some("s/f"));
        assert_eq!(outbox.outlet.publish(connection, publish("2"), 8), Err(Refused::Full));
        let unnumbered = Publish { qos: Qos::AtMostOnce, ..publish("3") };
        assert_eq!(outbox.outlet.publish(connection, unnumbered, 0), Ok(()));
        assert_eq!(read_packet(&mut socket).await[0], 0x30);
        if does_acknowledge {
            socket.write_all(&[0x40, 2, 0, 2]).await.expect("written");
            assert_eq!(read_packet(&mut socket).await[0], 0xA2, "the end of the subscription");
            let acknowledged = OutgoingEvent::Acknowledged { token: 7, refusal: None, is_unheard: false };
            assert_eq!(outbox.event().await, acknowledged);
        } else {
            assert_eq!(read_packet(&mut socket).await, [0xC0], "a second later");
            socket.write_all(&[0xD0, 0]).await.expect("written");
        }
        assert_eq!(outbox.event().await, OutgoingEvent::Room);
        assert_eq!(outbox.outlet.publish(connection, publish("2"), 8), Ok(()));
        assert_eq!(read_packet(&mut socket).await[0], 0x32);
        tokio::time::resume();
    }
}
