//! The client against real sockets: each fault gives its verdict, and the server saw exactly one request.

use super::scripted::{Scripted, Seen, Step, answer, sent};
use super::*;
use crate::model::{Doubt, NotSent};
use std::io::{Read, Write};
use std::sync::Arc;
use std::task::Poll;
use tokio::task::JoinSet;

mod idle;
mod packed;

const BODY: &[u8] = r#"{"wxId":"1688850407900545","content":"你好","n":9007199254740993,"x":1.0}"#.as_bytes();

/// Long enough for a slow machine wherever the test does not wait for it to run out.
const PATIENT: Duration = Duration::from_secs(20);

/// For tests that wait for the time-out itself.
const SHORT: Duration = Duration::from_millis(150);

fn settings(url: &str) -> Settings {
    let mut settings = Settings::new(SenderName::new("main"), url, SecretString::from("key-1"));
    settings.timeout = PATIENT;
    settings.connect_timeout = PATIENT / 2;
    settings
}

fn sender(settings: &Settings) -> Sender {
    Sender::new(settings, Clock::start()).expect("valid settings")
}

async fn send(sender: &Sender, seq: u64) -> Verdict {
    sender.perform(Seq(seq), 1, "text", Bytes::from_static(BODY)).await
}

fn doubt(verdict: &Verdict) -> Option<Doubt> {
    match verdict {
        Verdict::Unknown { why, .. } => Some(*why),
        Verdict::Confirmed { .. } | Verdict::Refused { .. } | Verdict::NotSent { .. } => None,
    }
}

fn not_sent(verdict: &Verdict) -> Option<NotSent> {
    match verdict {
        Verdict::NotSent { why, .. } => Some(*why),
        Verdict::Confirmed { .. } | Verdict::Refused { .. } | Verdict::Unknown { .. } => None,
    }
}

fn confirmed(msg_id: &str) -> Verdict {
    Verdict::Confirmed { msg_id: Some(Box::from(msg_id)) }
}

/// The verdict on one send that meets `step`; the server must have seen exactly `requests`.
async fn verdict_on(step: Step, timeout: Duration, requests: usize) -> Verdict {
    let server = Scripted::start([step]).await;
    let mut settings = settings(&server.url());
    settings.timeout = timeout;
    settings.connect_timeout = timeout / 2;
    let verdict = send(&sender(&settings), 7).await;
    assert_eq!(server.requests().len(), requests, "{:?}", server.log());
    verdict
}

#[tokio::test]
async fn the_request_leaves_as_it_was_given() {
    let server = Scripted::start([Step::Answer(sent("a"))]).await;
    let verdict = sender(&settings(&server.url())).perform(Seq(42), 3, "roomAt", Bytes::from_static(BODY)).await;
    assert_eq!(verdict, confirmed("a"));
    let [Seen::Request { head, body, .. }] = &server.log()[..] else { panic!("{:?}", server.log()) };
    assert_eq!(body, BODY);
    assert!(head.starts_with("POST /gnapi/open/msg/roomAt HTTP/1.1\r\n"), "{head}");
    let mut headers: Vec<&str> = head.lines().skip(1).filter(|line| !line.is_empty()).collect();
    headers.sort_unstable();
    let length = format!("content-length: {}", BODY.len());
    let host = format!("host: {}", server.address);
    let expected = ["apikey: key-1", &length, "content-type: application/json", &host, "x-request-id: 42-3"];
    assert_eq!(headers, expected);
}

#[tokio::test]
async fn answers_are_classified() {
    let verdict = verdict_on(Step::Answer(answer("429 Too Many", "retry-after: 7\r\n", "")), PATIENT, 1).await;
    assert_eq!(not_sent(&verdict), Some(NotSent::TooFrequent { retry_after: Some(Duration::from_secs(7)) }));
    let verdict = verdict_on(Step::Answer(answer("401 Unauthorized", "", "no")), PATIENT, 1).await;
    assert_eq!(not_sent(&verdict), Some(NotSent::Unauthorized));
    let verdict = verdict_on(Step::Answer(answer("500 Oops", "", "")), PATIENT, 1).await;
    assert_eq!(doubt(&verdict), Some(Doubt::Status(500)));
    // Without a length the end of the connection is the end of the body, and a whole JSON text is whole.
    let endless = b"HTTP/1.1 200 OK\r\n\r\n{\"code\":0,\"data\":{\"msgId\":\"a\"}}".to_vec();
    assert_eq!(verdict_on(Step::AnswerAndClose(endless), PATIENT, 1).await, confirmed("a"));
    let interim = [b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(), sent("a")].concat();
    assert_eq!(verdict_on(Step::Answer(interim), PATIENT, 1).await, confirmed("a"));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    for location in ["/gnapi/open/msg/text", "http://127.0.0.1:1/"] {
        let header = format!("location: {location}\r\n");
        let verdict = verdict_on(Step::Answer(answer("307 Temporary Redirect", &header, "")), PATIENT, 1).await;
        assert_eq!(doubt(&verdict), Some(Doubt::Status(307)));
    }
}

#[tokio::test]
async fn a_connection_that_breaks_is_a_doubt() {
    let broken = [
        Step::AnswerAndClose(Vec::new()),
        Step::AnswerAndReset(Vec::new()),
        Step::AnswerAndClose(b"HTTP/1.1 200 O".to_vec()),
        Step::AnswerAndClose(b"HTTP/1.1 200 OK\r\ncontent-le".to_vec()),
        Step::AnswerAndClose(b"hello, this is not HTTP\r\n\r\n".to_vec()),
        Step::AnswerAndClose(b"{\"code\":0}\r\n".to_vec()),
    ];
    for step in broken {
        let name = format!("{step:?}");
        assert_eq!(doubt(&verdict_on(step, PATIENT, 1).await), Some(Doubt::Reset), "{name}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_a_doubt() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 30\r\n\r\n{\"code\":0}".to_vec();
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\na\r\n{\"code\":0}\r\n".to_vec();
    for step in [Step::AnswerAndClose(head.clone()), Step::AnswerAndReset(head), Step::AnswerAndClose(chunked)] {
        let name = format!("{step:?}");
        let verdict = verdict_on(step, PATIENT, 1).await;
        assert!(matches!(doubt(&verdict), Some(Doubt::Unreadable | Doubt::Reset)), "{name}: {verdict:?}");
    }
}

#[tokio::test]
async fn a_request_that_breaks_off_is_a_doubt() {
    let server = Scripted::start([Step::ResetAfterHead]).await;
    let body = Bytes::from(vec![b'x'; 8 * 1024 * 1024]);
    let verdict = sender(&settings(&server.url())).perform(Seq(7), 1, "text", body).await;
    assert_eq!(doubt(&verdict), Some(Doubt::Reset), "{verdict:?}");
    assert_eq!(server.requests(), Vec::<usize>::new());
}

/// Whatever part of it the server read, nobody can say what it made of that.
#[tokio::test]
async fn a_request_that_is_read_up_to_any_of_its_bytes_is_a_doubt() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let sender = sender(&settings(&format!("http://{}/gnapi/open", listener.local_addr().expect("bound"))));
    // Reads so many bytes, or else a whole request, and resets the connection.
    let read = async |bytes: Option<usize>| {
        let (mut stream, _) = listener.accept().await.expect("a client");
        let mut received = Vec::new();
        while !received.ends_with(BODY) && bytes != Some(received.len()) {
            received.push(tokio::io::AsyncReadExt::read_u8(&mut stream).await.expect("a byte"));
        }
        let _ = stream.set_zero_linger();
        received.len()
    };
    let (verdict, length) = tokio::join!(send(&sender, 7), read(None));
    assert_eq!(doubt(&verdict), Some(Doubt::Reset), "{verdict:?}");
    for bytes in 1..length {
        let (verdict, _) = tokio::join!(send(&sender, 7), read(Some(bytes)));
        assert_eq!(doubt(&verdict), Some(Doubt::Reset), "{bytes} of {length} bytes: {verdict:?}");
    }
}

#[tokio::test]
async fn an_answer_without_end_is_cut_at_the_cap() {
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let verdict = verdict_on(Step::AnswerWithout(chunked, b"4\r\n    \r\n"), PATIENT, 1).await;
    assert_eq!(doubt(&verdict), Some(Doubt::Unreadable));
    let announced = b"HTTP/1.1 200 OK\r\ncontent-length: 65537\r\n\r\n".to_vec();
    let verdict = verdict_on(Step::AnswerAndHold(announced), PATIENT, 1).await;
    assert_eq!(doubt(&verdict), Some(Doubt::Unreadable));
    let header = b"HTTP/1.1 200 OK\r\nx: ".to_vec();
    let verdict = verdict_on(Step::AnswerWithout(header, &[b'x'; 1024]), PATIENT, 1).await;
    assert_eq!(doubt(&verdict), Some(Doubt::Reset));
}

#[tokio::test]
async fn an_answer_at_the_cap_is_read() {
    let json = r#"{"code":0,"data":{"msgId":"a"}}"#;
    let body = format!("{json}{}", " ".repeat(ANSWER_BYTES_MAX - json.len()));
    assert_eq!(verdict_on(Step::Answer(answer("200 OK", "", &body)), PATIENT, 1).await, confirmed("a"));
    let more = format!("{body} ");
    let verdict = verdict_on(Step::Answer(answer("200 OK", "", &more)), PATIENT, 1).await;
    assert_eq!(doubt(&verdict), Some(Doubt::Unreadable));
}

#[tokio::test]
async fn the_total_time_out_covers_everything_until_the_last_byte() {
    let silent = [
        Step::AnswerAndHold(Vec::new()),
        Step::AnswerAndHold(b"HTTP/1.1 200 OK\r\ncontent".to_vec()),
        Step::AnswerAndHold(b"HTTP/1.1 200 OK\r\ncontent-length: 30\r\n\r\n{\"code\":0}".to_vec()),
        Step::AnswerWithout(Vec::new(), b"HTTP/1.1 100 Continue\r\n\r\n"),
    ];
    for step in silent {
        let name = format!("{step:?}");
        assert_eq!(doubt(&verdict_on(step, SHORT, 1).await), Some(Doubt::Timeout), "{name}");
    }
}

#[tokio::test]
async fn a_connection_with_a_doubt_is_not_used_again() {
    let late = Step::AnswerAndHold(b"HTTP/1.1 200 OK\r\n".to_vec());
    let server = Scripted::start([late, Step::Answer(sent("b"))]).await;
    let mut settings = settings(&server.url());
    settings.reuse_idle = PATIENT;
    settings.timeout = SHORT;
    settings.connect_timeout = SHORT / 2;
    let sender = sender(&settings);
    assert_eq!(doubt(&send(&sender, 1).await), Some(Doubt::Timeout));
    assert_eq!(send(&sender, 2).await, confirmed("b"));
    assert_eq!(server.requests(), [0, 1]);
}

#[tokio::test]
async fn an_answer_too_many_is_never_taken_for_the_next_one() {
    for _ in 0..20 {
        let twice = [sent("a"), sent("forged")].concat();
        let server = Scripted::start([Step::Answer(twice), Step::Answer(sent("b"))]).await;
        let mut settings = settings(&server.url());
        settings.reuse_idle = PATIENT;
        let sender = sender(&settings);
        assert_eq!(send(&sender, 1).await, confirmed("a"));
        assert_eq!(send(&sender, 2).await, confirmed("b"));
        assert_eq!(server.requests(), [0, 1]);
    }
}

#[tokio::test]
async fn idle_connections_are_used_again_only_within_their_time() {
    let connections = |reuse_idle| async move {
        let server = Scripted::start([]).await;
        let mut settings = settings(&server.url());
        settings.reuse_idle = reuse_idle;
        let sender = sender(&settings);
        for seq in 0..20 {
            assert_eq!(send(&sender, seq).await, confirmed("beyond-the-script"));
        }
        let requests = server.requests();
        assert_eq!(requests.len(), 20);
        requests.last().copied().expect("twenty") + 1
    };
    // A connection may come back to the pool just after the next request left, so not all need share one.
    assert!(connections(PATIENT).await < 20);
    assert_eq!(connections(Duration::from_nanos(1)).await, 20);
    assert_eq!(connections(Duration::ZERO).await, 20);
}

#[tokio::test]
async fn a_server_that_announces_how_long_it_keeps_connections_is_believed() {
    let connections = |keep_alive: &'static str, reuse_idle| async move {
        let step = Step::Answer(answer("200 OK", keep_alive, r#"{"code":0}"#));
        let server = Scripted::start(std::iter::repeat_n(step, 20)).await;
        let mut settings = settings(&server.url());
        settings.reuse_idle = reuse_idle;
        let sender = sender(&settings);
        for seq in 0..20 {
            assert_eq!(send(&sender, seq).await, Verdict::Confirmed { msg_id: None });
        }
        server.requests().last().copied().expect("twenty") + 1
    };
    let hardly = Duration::from_nanos(1);
    assert_eq!(connections("", hardly).await, 20);
    assert_eq!(connections("keep-alive: timeout=20, max=100\r\n", hardly).await, 1);
    assert_eq!(connections("keep-alive: timeout=0\r\n", PATIENT).await, 20);
    assert_eq!(connections("keep-alive: timeout=20\r\n", Duration::ZERO).await, 20, "never is never");
}

#[tokio::test]
async fn a_server_that_closes_after_each_answer_makes_no_doubt() {
    let closing = || Step::AnswerAndClose(answer("200 OK", "connection: close\r\n", r#"{"code":0}"#));
    let silently = || Step::AnswerAndClose(answer("200 OK", "", r#"{"code":0}"#));
    for (step, reuse_idle) in [(closing(), PATIENT), (silently(), Duration::ZERO)] {
        let server = Scripted::start(std::iter::repeat_n(step, 50)).await;
        let mut settings = settings(&server.url());
        settings.reuse_idle = reuse_idle;
        let sender = sender(&settings);
        for seq in 0..50 {
            assert_eq!(send(&sender, seq).await, Verdict::Confirmed { msg_id: None });
        }
        assert_eq!(server.requests().len(), 50);
    }
}

#[tokio::test]
async fn no_more_requests_at_once_than_connections() {
    let server = Scripted::start([Step::AnswerAndHold(Vec::new()), Step::Answer(sent("b"))]).await;
    let mut settings = settings(&server.url());
    settings.connections = 1;
    settings.timeout = SHORT;
    settings.connect_timeout = SHORT / 2;
    let sender = sender(&settings);
    let ended = std::sync::Mutex::new(Vec::new());
    let send_and_note = async |seq| {
        let verdict = send(&sender, seq).await;
        ended.lock().expect("not poisoned").push(seq);
        verdict
    };
    let (first, second) = tokio::join!(biased; send_and_note(1), send_and_note(2));
    // The second is answered at once, so it can only end last because it began when the first had run out of time.
    assert_eq!(ended.into_inner().expect("not poisoned"), [1, 2]);
    assert_eq!(doubt(&first), Some(Doubt::Timeout));
    assert_eq!(second, confirmed("b"));
    assert_eq!(server.requests(), [0, 1]);
}

#[tokio::test]
async fn what_never_connects_is_proven_without_effect() {
    let vacant = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound");
    for url in [format!("http://{vacant}/"), "http://no-such-host.invalid/".to_owned()] {
        let verdict = send(&sender(&settings(&url)), 7).await;
        assert_eq!(not_sent(&verdict), Some(NotSent::Connect), "{url}: {verdict:?}");
    }
}

#[tokio::test]
async fn a_handshake_that_fails_or_never_ends_is_proven_without_effect() {
    // Listens and never accepts: TCP is up, TLS waits.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mut settings = settings(&format!("https://{}/", silent.local_addr().expect("bound")));
    settings.connect_timeout = SHORT;
    let verdict = send(&sender(&settings), 7).await;
    assert_eq!(not_sent(&verdict), Some(NotSent::Connect), "{verdict:?}");

    // Speaks, but not TLS.
    let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("https://{}/", plain.local_addr().expect("bound"));
    let speaking = tokio::spawn(async move {
        let (mut stream, _) = plain.accept().await.expect("a client");
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    });
    let verdict = send(&sender(&self::settings(&url)), 7).await;
    assert_eq!(not_sent(&verdict), Some(NotSent::Connect), "{verdict:?}");
    speaking.await.expect("no panic");
}

/// A server that never says a word, so that each connection to it is being opened until its time is over; and many sends.
async fn sends_to_the_silent(connect_timeout: Duration) -> (tokio::net::TcpListener, JoinSet<Verdict>) {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let mut settings = settings(&format!("https://{}/", silent.local_addr().expect("bound")));
    settings.connect_timeout = connect_timeout;
    let sender = Arc::new(sender(&settings));
    let mut sends = JoinSet::new();
    for seq in 0..200 {
        let sender = Arc::clone(&sender);
        sends.spawn(async move { send(&sender, seq).await });
    }
    (silent, sends)
}

#[tokio::test]
async fn a_few_connections_are_opened_at_once_and_the_others_as_room_comes() {
    let (silent, mut sends) = sends_to_the_silent(PATIENT / 2).await;
    let mut opened = Vec::new();
    for _ in 0..64 {
        opened.push(silent.accept().await.expect("a client"));
    }
    // Every task has its turns on this thread, and connecting to an address of this machine takes none.
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    let one_more = std::future::poll_fn(|cx| Poll::Ready(silent.poll_accept(cx).is_ready())).await;
    assert!(!one_more, "more are being opened at once");
    opened.pop();
    let failed = sends.join_next().await.expect("a send").expect("no panic");
    assert_eq!(not_sent(&failed), Some(NotSent::Connect), "{failed:?}");
    silent.accept().await.expect("the next one");
}

#[tokio::test]
async fn who_waits_for_a_connection_too_long_is_proven_without_effect() {
    let (_silent, mut sends) = sends_to_the_silent(SHORT).await;
    while let Some(verdict) = sends.join_next().await {
        let verdict = verdict.expect("no panic");
        assert_eq!(not_sent(&verdict), Some(NotSent::Connect), "{verdict:?}");
    }
}

/// Serves TLS connections with a fresh certificate for `localhost` until the process ends; each gets one answer.
fn tls_server() -> (std::net::SocketAddr, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a key that fits");
    let config = Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        while let Ok((mut socket, _)) = listener.accept() {
            let mut tls = rustls::ServerConnection::new(Arc::clone(&config)).expect("a connection");
            let mut stream = rustls::Stream::new(&mut tls, &mut socket);
            let mut received = Vec::new();
            let mut buffer = [0; 1024];
            while !received.ends_with(BODY) {
                match stream.read(&mut buffer) {
                    Ok(read @ 1..) => received.extend_from_slice(&buffer[..read]),
                    Ok(0) | Err(_) => break,
                }
            }
            let _ = stream.write_all(&sent("tls"));
        }
    });
    (address, made.cert.pem())
}

#[tokio::test]
async fn tls_is_checked_against_the_given_authorities() {
    let (address, pem) = tls_server();
    let named = format!("https://localhost:{}/", address.port());
    let mut trusted = settings(&named);
    trusted.ca_pem = Some(pem.clone().into_bytes());
    assert_eq!(send(&sender(&trusted), 7).await, confirmed("tls"));

    let public_only = send(&sender(&settings(&named)), 7).await;
    assert_eq!(not_sent(&public_only), Some(NotSent::Connect), "{public_only:?}");

    let mut misnamed = settings(&format!("https://{address}/"));
    misnamed.ca_pem = Some(pem.into_bytes());
    let verdict = send(&sender(&misnamed), 7).await;
    assert_eq!(not_sent(&verdict), Some(NotSent::Connect), "{verdict:?}");
}

#[tokio::test]
async fn the_account_list_is_read_and_its_absence_is_told() {
    let body = r#"{"msg":"","code":0,"data":[{"wxId":"1","corp_id":"2","Status":0}]}"#;
    let large = format!("{}{body}", " ".repeat(1024 * 1024));
    let script = [
        Step::Answer(answer("200 OK", "", &large)),
        Step::Answer(answer("403 No", "", "")),
        Step::AnswerAndClose(vec![]),
    ];
    let server = Scripted::start(script).await;
    let sender = sender(&settings(&server.url()));
    let entries = sender.directory().await.expect("a list");
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].account.as_str(), "1");
    assert_eq!(sender.directory().await, Err(SenderTrouble::Unauthorized));
    assert_eq!(sender.directory().await, Err(SenderTrouble::Unreachable));
    let Some(Seen::Request { head, .. }) = server.log().into_iter().next() else { panic!("no request") };
    assert!(head.starts_with("GET /gnapi/open/inner/user/wx/list?IsOnline=false HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("apikey: key-1\r\n"), "{head}");
}

#[tokio::test]
async fn an_unknown_type_is_refused_without_a_request() {
    let server = Scripted::start([]).await;
    let sender = sender(&settings(&server.url()));
    assert!(!sender.knows("Text") && sender.knows("text"));
    let verdict = sender.perform(Seq(7), 1, "Text", Bytes::from_static(BODY)).await;
    assert!(matches!(verdict, Verdict::Refused { sender: model::Sender { http: 0, code: None, .. } }), "{verdict:?}");
    assert_eq!(server.log(), []);
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused() {
    let refused = |change: &dyn Fn(&mut Settings)| {
        let mut settings = settings("http://127.0.0.1:1/");
        change(&mut settings);
        Sender::new(&settings, Clock::start()).map(|_| ()).expect_err("refused").to_string()
    };
    let equal = refused(&|settings| settings.connect_timeout = settings.timeout);
    assert_eq!(equal, "connect_timeout (20s) must be above zero and below timeout (20s)");
    assert!(refused(&|settings| settings.connections = 0).starts_with("connections must be"));
    assert!(refused(&|settings| settings.ca_pem = Some(b"no".to_vec())).contains("no certificate in it"));
    let secret = refused(&|settings| settings.url = "http://user:hidden@host/".to_owned());
    assert!(!secret.contains("hidden"), "{secret}");
}
