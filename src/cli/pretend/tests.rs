//! The server over real sockets, with a client of a few lines that sees exactly what came.

use super::*;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Limits that no test meets by being slow or quick.
const LOOSE: Limits =
    Limits { account_interval: Duration::ZERO, corp_limit: u64::MAX, corp_window: Duration::from_secs(3600) };

fn settings() -> Settings {
    let offline = PretendAccount { online: false, ..PretendAccount::online("2", "c") };
    Settings {
        api_key: "key-1".to_owned(),
        accounts: vec![PretendAccount::online("1", "c"), offline],
        limits: LOOSE,
        ..Settings::default()
    }
}

async fn start(settings: Settings) -> Pretend {
    Pretend::start(settings).await.expect("a free port")
}

/// Everything that came back until the connection ended, and how it ended.
async fn exchange(pretend: &Pretend, request: String) -> (String, std::io::Result<()>) {
    let mut stream = TcpStream::connect(pretend.address()).await.expect("listening");
    stream.write_all(request.as_bytes()).await.expect("open");
    let mut received = Vec::new();
    let ended = stream.read_to_end(&mut received).await.map(|_| ());
    (String::from_utf8(received).expect("text"), ended)
}

fn request(method: &str, path: &str, key: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\napikey: {key}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The status and the body of the answer to a message of `account`.
async fn send(pretend: &Pretend, account: &str, content: &str) -> (u16, String) {
    let body = format!(r#"{{"WXID":"{account}","conversationId":"S:1_2","content":"{content}"}}"#);
    let (answer, _) = exchange(pretend, request("POST", "/gnapi/open/msg/text", "key-1", &body)).await;
    split(&answer)
}

fn split(answer: &str) -> (u16, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let status = head.get(9..12).and_then(|digits| digits.parse().ok()).unwrap_or_default();
    (status, body.to_owned())
}

#[tokio::test]
async fn answers_like_the_api() {
    let pretend = start(settings()).await;
    for path in ["/msg/text", "/msg/roomAt", "/miniProgram/send", "/videonum/send"] {
        let body = r#"{"wxId":1,"conversationId":"R:1","content":"hello"}"#;
        let (answer, _) = exchange(&pretend, request("POST", &format!("/gnapi/open{path}"), "key-1", body)).await;
        let (status, body) = split(&answer);
        assert_eq!(status, 200, "{answer}");
        let id =
            body.strip_prefix(r#"{"msg":"","code":0,"data":{"msgId":""#).and_then(|rest| rest.strip_suffix(r#""}}"#));
        let id = id.unwrap_or_else(|| panic!("{body}"));
        assert!(id.len() == 36 && !id.contains(char::is_uppercase), "{id}");
    }
    for path in ["/gnapi/open/msg/", "/gnapi/open/msg/a/b", "/gnapi/open/contact", "/gnapi/msg/text", "/sandbox/fault"]
    {
        let (answer, _) = exchange(&pretend, request("POST", path, "key-1", "{}")).await;
        assert_eq!(split(&answer).0, 404, "{path}");
    }
    let ledger = pretend.stop().await;
    assert_eq!((ledger.arrivals, ledger.effects, ledger.in_flight_max), (4, 4, 1));
    assert_eq!(ledger.messages["hello"], MessageEntry { arrivals: 4, effects: 4 });
    assert_eq!(ledger.accounts["1"].history.len(), 4);
    assert_eq!(ledger.corps["c"].largest_window, 4);
}

#[tokio::test]
async fn a_wrong_key_is_no_arrival() {
    let pretend = start(settings()).await;
    let body = r#"{"wxId":"1","conversationId":"R:1"}"#;
    let (answer, _) = exchange(&pretend, request("POST", "/gnapi/open/msg/text", "key-2", body)).await;
    assert_eq!(split(&answer).0, 401);
    pretend.set_api_key("key-2");
    assert_eq!(send(&pretend, "1", "x").await.0, 401);
    assert_eq!(pretend.ledger(), Ledger { unauthorized: 2, in_flight_max: 0, ..Ledger::default() });
}

#[tokio::test]
async fn lists_accounts() {
    let pretend = start(settings()).await;
    let list = async |query: &str| {
        let path = format!("/gnapi/open/inner/user/wx/list{query}");
        let (answer, _) = exchange(&pretend, request("GET", &path, "key-1", "")).await;
        let list: serde_json::Value = serde_json::from_str(&split(&answer).1).expect("JSON");
        let field = |entry: &serde_json::Value, name: &str| entry[name].to_string();
        let entries = list["data"].as_array().expect("a list").iter();
        entries.map(|entry| [field(entry, "wxId"), field(entry, "corp_id"), field(entry, "Status")].join(" ")).collect()
    };
    let (online, all): (Vec<String>, Vec<String>) = (list("").await, list("?IsOnline=false").await);
    assert_eq!(online, [r#""1" "c" 0"#]);
    assert_eq!(all, [r#""1" "c" 0"#, r#""2" "c" 1"#]);
    pretend.set_account(PretendAccount::online("2", "c"));
    assert_eq!(list("?isonline=FALSE").await, [r#""1" "c" 0"#, r#""2" "c" 0"#]);
}

#[tokio::test]
async fn a_client_that_breaks_a_limit_is_caught() {
    let hour = Duration::from_secs(3600);
    let spacing = Limits { account_interval: hour, corp_limit: 9, corp_window: hour };
    let quota = Limits { account_interval: Duration::ZERO, corp_limit: 1, corp_window: hour };
    for limits in [spacing, quota] {
        let pretend = start(Settings { limits, ..settings() }).await;
        assert!(send(&pretend, "1", "first").await.1.contains(r#""code":0"#));
        let (status, body) = send(&pretend, "1", "second").await;
        assert_eq!(status, 200);
        assert!(body.contains(r#""code":-1000999"#) && body.contains("Abnormal request frequency"), "{body}");
        let ledger = pretend.ledger();
        assert_eq!(ledger.violations(), 1);
        assert_eq!((ledger.messages["first"].effects, ledger.messages["second"].effects), (1, 0));
    }
}

#[tokio::test]
async fn accounts_that_cannot_send() {
    let pretend = start(settings()).await;
    assert!(send(&pretend, "2", "x").await.1.contains("企微不在线"));
    assert!(send(&pretend, "3", "x").await.1.contains("账号不存在"));
    let (answer, _) = exchange(&pretend, request("POST", "/gnapi/open/msg/text", "key-1", "not json")).await;
    assert!(answer.contains(r#""code":400"#));
    assert_eq!((pretend.ledger().arrivals, pretend.ledger().effects), (2, 0));
    let open = start(Settings { default_corp: Some(Box::from("d")), ..settings() }).await;
    assert!(send(&open, "3", "x").await.1.contains(r#""code":0"#));
    assert_eq!(open.ledger().corps["d"].arrivals, 1);
}

#[tokio::test]
async fn each_fault_is_what_it_says_with_and_without_the_effect() {
    let pretend = start(settings()).await;
    let busy = || Act::Status { status: 503, retry_after: Some(Box::from("5")) };
    let acts = [busy(), Act::Html, Act::Cut, Act::Reset, Act::Code { code: 7, msg: Box::from("no") }];
    for act in acts {
        for effect in [false, true] {
            let name = format!("{act:?} {effect}");
            pretend.set_faults(Faults::Rules(vec![Rule::always(Behaviour {
                delay: Duration::ZERO,
                effect,
                act: act.clone(),
                report: Report::USUAL,
            })]));
            let body = format!(r#"{{"wxId":"1","conversationId":"R:1","content":"{name}"}}"#);
            let body = body.replace("\"5\"", "5").replace("\"no\"", "no");
            let before = pretend.ledger().effects;
            let (answer, ended) = exchange(&pretend, request("POST", "/gnapi/open/msg/text", "key-1", &body)).await;
            assert_eq!(pretend.ledger().effects - before, u64::from(effect), "{name}");
            match &act {
                Act::Status { .. } => {
                    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 5\r\n"), "{answer}");
                }
                Act::Html => assert!(answer.contains("<!DOCTYPE html>"), "{answer}"),
                Act::Cut => {
                    let (status, body) = split(&answer);
                    let half =
                        r#"{"msg":"","code":0,"data":{"msgId":"00000000-0000-0000-0000-000000000000"}}"#.len() / 2;
                    assert_eq!((status, body.len()), (200, half), "{answer}");
                    assert!(answer.contains(&format!("content-length: {}\r\n", half * 2 + 1)), "{answer}");
                }
                Act::Reset => {
                    assert_eq!(answer, "");
                    assert_eq!(ended.expect_err("a reset").kind(), io::ErrorKind::ConnectionReset);
                }
                Act::Code { .. } => assert!(answer.contains(r#""code":7"#), "{answer}"),
                Act::Answer | Act::Silence => unreachable!("not in the list"),
            }
        }
    }
}

#[tokio::test]
async fn silence_lasts_until_the_client_goes() {
    let pretend = start(settings()).await;
    let (arrived, mut arrivals) = tokio::sync::mpsc::channel(1);
    pretend.set_faults(Faults::script(move |request| {
        arrived.try_send(request.clone()).expect("one at a time");
        Behaviour::despite(Act::Silence)
    }));
    let body = r#"{"wxId":"1","conversationId":"R:1","content":"quiet"}"#;
    {
        let waiting = exchange(&pretend, request("POST", "/gnapi/open/msg/text", "key-1", body));
        tokio::select! {
            (answer, _) = waiting => panic!("{answer}"),
            request = arrivals.recv() => {
                let request = request.expect("the script is alive");
                assert_eq!((&*request.account, &*request.path, &*request.message), ("1", "/msg/text", "quiet"));
            }
        }
    }
    assert_eq!(pretend.ledger().messages["quiet"].effects, 1);
    pretend.set_faults(Faults::None);
    assert!(send(&pretend, "1", "x").await.1.contains(r#""code":0"#));
}

#[tokio::test]
async fn the_ledger_survives_an_outage() {
    let mut pretend = start(settings()).await;
    send(&pretend, "1", "before").await;
    pretend.go_down().await;
    let refused = TcpStream::connect(pretend.address()).await.expect_err("down");
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    pretend.come_up().await.expect("the same address");
    send(&pretend, "1", "after").await;
    assert_eq!(pretend.stop().await.messages.len(), 2);
}

#[tokio::test]
async fn faults_are_ordered_over_http_where_that_is_allowed() {
    let pretend = start(Settings { admin: true, ..settings() }).await;
    let order = r#"{"faults":[{"act":"status","status":500,"times":1}]}"#;
    let (answer, _) = exchange(&pretend, request("POST", "/sandbox/fault", "", order)).await;
    assert_eq!(split(&answer), (200, r#"{"status":"ok"}"#.to_owned()));
    assert_eq!(send(&pretend, "1", "x").await.0, 500);
    assert_eq!(send(&pretend, "1", "x").await.0, 200);
    let (answer, _) =
        exchange(&pretend, request("POST", "/sandbox/fault", "", r#"{"faults":[{"act":"status"}]}"#)).await;
    assert!(split(&answer).0 == 400 && answer.contains("faults[0]"), "{answer}");
    let (answer, _) = exchange(&pretend, request("GET", "/sandbox/ledger", "", "")).await;
    assert!(answer.contains(r#""arrivals":2"#) && answer.contains(r#""effects":1"#), "{answer}");
}
