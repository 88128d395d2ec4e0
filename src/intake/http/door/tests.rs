//! Time is paused and the wire is in memory, so that the slowest guest takes no time at all.

use super::*;
use crate::clock::Clock;
use crate::model::Time;
use axum::routing::{get, post};
use tokio::io::{DuplexStream, duplex};

const WIRE_BYTES: usize = 1024 * 1024;

fn router() -> Router {
    let refuse = || async { axum::http::StatusCode::PAYLOAD_TOO_LARGE };
    let never = || async { std::future::pending::<&'static str>().await };
    let large = || async { "x".repeat(4 * WIRE_BYTES) };
    Router::new()
        .route("/", get(|| async { "here" }))
        .route("/refuse", post(refuse))
        .route("/never", get(never))
        .route("/large", get(large))
}

/// A lobby, and what tells its guests that the door closes.
struct House {
    lobby: Arc<Lobby>,
    closing: watch::Sender<bool>,
}

impl House {
    fn new() -> Self {
        Self { lobby: Arc::default(), closing: watch::Sender::new(false) }
    }

    /// The guest's end of a new connection, and the end of the connection.
    fn visit(&self) -> (DuplexStream, JoinHandle<()>) {
        let (ours, theirs) = duplex(WIRE_BYTES);
        let place = self.lobby.enter().expect("a place");
        (theirs, tokio::spawn(entertain(ours, place, router(), self.closing.subscribe())))
    }
}

async fn write(guest: &mut DuplexStream, text: &str) {
    guest.write_all(text.as_bytes()).await.expect("it listens");
}

/// What is said until the connection ends.
async fn rest(guest: &mut DuplexStream) -> String {
    let mut said = Vec::new();
    // A wire that is cut says what it has said.
    let _ = guest.read_to_end(&mut said).await;
    String::from_utf8(said).expect("text")
}

/// One answer of which this is the end.
async fn until(guest: &mut DuplexStream, end: &str) -> String {
    let mut said = String::new();
    while !said.ends_with(end) {
        said.push(char::from(guest.read_u8().await.expect("more")));
    }
    said
}

/// A clock that follows paused time, and what it shows.
fn started() -> (Clock, Time) {
    let clock = Clock::start();
    (clock, clock.now())
}

const HERE: &str = "GET / HTTP/1.1\r\nhost: h\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn a_connection_answers_several_requests_and_is_closed_when_idle() {
    let house = House::new();
    let (mut guest, end) = house.visit();
    for _ in 0..3 {
        write(&mut guest, HERE).await;
        assert!(until(&mut guest, "here").await.starts_with("HTTP/1.1 200 OK"));
    }
    let (clock, begun) = started();
    assert_eq!(rest(&mut guest).await, "");
    let took = clock.now().since(begun);
    assert!((HEAD_WAIT..HEAD_WAIT + LINGER_WAIT).contains(&took), "{took:?}");
    end.await.expect("it ends");
    assert_eq!(house.lobby.rows().inside, 0);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_trickles_in_is_cut_off() {
    let house = House::new();
    for pace in [Duration::from_millis(100), Duration::from_secs(60)] {
        let (mut guest, end) = house.visit();
        let (clock, begun) = started();
        let trickle = async {
            // A head that never ends.
            for byte in HERE.trim_end().bytes().chain("\r\nx: ".bytes().cycle()) {
                if guest.write_u8(byte).await.is_err() {
                    return;
                }
                tokio::time::sleep(pace).await;
            }
        };
        tokio::select! {
            () = trickle => {}
            ended = end => ended.expect("it ends"),
        }
        let took = clock.now().since(begun);
        assert!(took <= HEAD_WAIT + LINGER_WAIT + pace.min(LINGER_WAIT), "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn heads_are_bounded_in_bytes_and_in_fields() {
    let house = House::new();
    let fields: String = (0..=HEAD_FIELDS_MAX).map(|number| format!("x-{number}: y\r\n")).collect();
    for head in [
        format!("GET / HTTP/1.1\r\nhost: h\r\n{fields}\r\n"),
        format!("GET / HTTP/1.1\r\nhost: h\r\nx: {}\r\n\r\n", "y".repeat(HEAD_BYTES_MAX)),
        format!("GET /{} HTTP/1.1\r\nhost: h\r\n\r\n", "y".repeat(HEAD_BYTES_MAX)),
    ] {
        let (mut guest, _) = house.visit();
        write(&mut guest, &head).await;
        let said = rest(&mut guest).await;
        assert!(said.starts_with("HTTP/1.1 4"), "{said}");
        assert!(said.starts_with("HTTP/1.1 431") || said.starts_with("HTTP/1.1 414"), "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_does_not_read_and_whoever_is_never_answered_goes() {
    let house = House::new();
    let (mut deaf, deaf_end) = house.visit();
    write(&mut deaf, "GET /large HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let (mut patient, patient_end) = house.visit();
    write(&mut patient, "GET /never HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let (clock, begun) = started();
    deaf_end.await.expect("it ends");
    patient_end.await.expect("it ends");
    let took = clock.now().since(begun);
    assert!(took <= 2 * STALL_WAIT, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_refuses_a_body_arrives_although_the_body_goes_on() {
    let house = House::new();
    let (mut guest, end) = house.visit();
    write(&mut guest, "POST /refuse HTTP/1.1\r\nhost: h\r\ncontent-length: 4000000\r\n\r\n").await;
    // More than the wire holds: it is read, or this waits for ever.
    write(&mut guest, &"x".repeat(4_000_000)).await;
    let said = rest(&mut guest).await;
    assert!(said.starts_with("HTTP/1.1 413"), "{said}");
    drop(guest);
    end.await.expect("it ends");
}

#[tokio::test(start_paused = true)]
async fn slow_guests_give_way_to_newcomers_and_those_being_answered_do_not() {
    let house = House::new();
    let (mut served, _served_end) = house.visit();
    write(&mut served, "GET /never HTTP/1.1\r\nhost: h\r\n\r\n").await;
    // It is being answered once it does not wait any more.
    while !house.lobby.rows().waiting.is_empty() {
        tokio::task::yield_now().await;
    }
    let mut slow = Vec::new();
    for _ in 0..3 * GUESTS_MAX {
        let (mut guest, end) = house.visit();
        write(&mut guest, "GET / HTTP/1.1\r\nx: ").await;
        slow.push((guest, end));
        // Who gave way goes at once.
        while house.lobby.rows().inside > GUESTS_MAX {
            tokio::task::yield_now().await;
        }
    }
    let (mut newcomer, _) = house.visit();
    write(&mut newcomer, HERE).await;
    assert!(until(&mut newcomer, "here").await.starts_with("HTTP/1.1 200 OK"));
    let ended = slow.iter().filter(|(_, end)| end.is_finished()).count();
    assert_eq!(ended, 2 * GUESTS_MAX + 2, "the oldest ones, and no more than needed");
    assert!(slow.iter().take(ended).all(|(_, end)| end.is_finished()));
    let mut byte = [0];
    let nothing = tokio::time::timeout(Duration::from_millis(1), served.read(&mut byte)).await;
    assert!(nothing.is_err(), "it is still being answered");
}

#[tokio::test(start_paused = true)]
async fn when_all_are_being_answered_nobody_else_comes_in() {
    let lobby: Arc<Lobby> = Arc::default();
    let places: Vec<Place> = (0..GUESTS_MAX).map(|_| lobby.enter().expect("a place")).collect();
    for place in &places {
        place.is_answered();
    }
    assert!(lobby.enter().is_none());
    places[7].waits();
    assert!(lobby.enter().is_some());
    drop(places);
    let rows = lobby.rows();
    assert_eq!((rows.inside, rows.waiting.len()), (0, 0));
}

#[tokio::test]
async fn closing_waits_for_answers_and_takes_nobody_in() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (asked, was_asked) = tokio::sync::oneshot::channel();
    let (go, goes) = tokio::sync::oneshot::channel::<()>();
    let once = Arc::new(Mutex::new(Some((asked, goes))));
    let slow = move || {
        let once = Arc::clone(&once);
        async move {
            let (asked, goes) = once.lock().expect("not poisoned").take().expect("asked once");
            asked.send(()).expect("somebody waits");
            goes.await.expect("somebody tells");
            "at last"
        }
    };
    let door = Door::open(listener, Router::new().route("/slow", get(slow)));
    let mut guest = tokio::net::TcpStream::connect(address).await.expect("it listens");
    guest.write_all(b"GET /slow HTTP/1.1\r\nhost: h\r\n\r\n").await.expect("it reads");
    was_asked.await.expect("it is asked");
    let idle = tokio::net::TcpStream::connect(address).await.expect("it listens");
    let closing = tokio::spawn(door.close());
    // Once nobody listens any more it is closing.
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    go.send(()).expect("it waits");
    let mut said = String::new();
    guest.read_to_string(&mut said).await.expect("an answer");
    assert!(said.starts_with("HTTP/1.1 200 OK") && said.ends_with("at last"), "{said}");
    drop(idle);
    closing.await.expect("it closes");
}
