//! Calls against real sockets: what leaves, and what came of it.

use crate::clock::Clock;
use crate::model::{CallContent, CallFile, CallJob, Code, Fault, JsonText, Method, SenderName};
use crate::sender::scripted::{Scripted, Seen, Step, answer};
use crate::sender::{Sender, Settings};
use bytes::Bytes;
use secrecy::SecretString;
use serde_json::{Value, json};
use std::time::Duration;

fn sender(url: &str, private_hosts: &[&str]) -> Sender {
    let mut settings = Settings::new(SenderName::new("main"), url, SecretString::from("key-1"));
    settings.calls.private_file_hosts = private_hosts.iter().map(|host| (*host).to_owned()).collect();
    settings.calls.file_bytes_max = 1000;
    settings.calls.answer_bytes_max = 200;
    Sender::new(&settings, Clock::start()).expect("valid settings")
}

fn job(method: Method, path: &str, content: CallContent) -> CallJob {
    let changes = method != Method::Get;
    CallJob {
        number: 7,
        sender: SenderName::new("main"),
        method,
        path: Box::from(path),
        content,
        timeout: None,
        changes,
    }
}

fn upload(file: CallFile) -> CallJob {
    job(Method::Post, "/file/upload", CallContent { file: Some(file), ..CallContent::default() })
}

fn done(data: &str) -> Step {
    Step::Answer(answer("200 OK", "", &format!(r#"{{"msg":"","code":0,"data":{data}}}"#)))
}

fn requests(server: &Scripted) -> Vec<(String, Vec<u8>)> {
    let seen = server.log().into_iter();
    seen.filter_map(|seen| match seen {
        Seen::Request { head, body, .. } => Some((head, body)),
        Seen::Closed { .. } => None,
    })
    .collect()
}

fn code(result: Result<Value, Fault>) -> Code {
    result.expect_err("a fault").code
}

#[tokio::test]
async fn a_call_leaves_as_it_was_asked_for() {
    let server = Scripted::start([done("1"), done("2"), done("3")]).await;
    let sender = sender(&server.url(), &[]);
    let query = vec![
        (Box::from("wxId"), Box::from("1688&x=1")),
        (Box::from("keyword"), Box::from("你 +")),
        (Box::from("HostName[]"), Box::from("a~b-c_d.e")),
    ];
    let list = job(Method::Get, "/contact/search", CallContent { query, ..CallContent::default() });
    let data = sender.call(list).await.expect("data");
    assert_eq!(data, json!({ "http": 200, "code": 0, "msg": "", "data": 1 }));
    let body = JsonText(Bytes::from_static(br#"{"wxId" : 10890000000000001.0}"#));
    let remark = job(Method::Put, "/contact/remark", CallContent { body: Some(body), ..CallContent::default() });
    sender.call(remark).await.expect("data");
    sender.call(job(Method::Post, "/group/list", CallContent::default())).await.expect("data");
    let [(list, nothing), (remark, body), (bare, empty)] = &requests(&server)[..] else { panic!("three") };
    let line =
        "GET /gnapi/open/contact/search?wxId=1688%26x%3D1&keyword=%E4%BD%A0%20%2B&HostName%5B%5D=a~b-c_d.e HTTP/1.1";
    assert_eq!(list.lines().next(), Some(line));
    assert!(list.contains("apikey: key-1\r\n") && list.contains("x-request-id: call-7\r\n"), "{list}");
    assert!(nothing.is_empty() && !list.contains("content-type"), "{list}");
    assert!(remark.starts_with("PUT /gnapi/open/contact/remark HTTP/1.1\r\n"), "{remark}");
    assert!(remark.contains("content-type: application/json\r\n"), "{remark}");
    assert_eq!(body, br#"{"wxId" : 10890000000000001.0}"#);
    assert!(bare.starts_with("POST ") && bare.contains("content-length: 0\r\n") && empty.is_empty(), "{bare}");
}

#[tokio::test]
async fn a_file_is_uploaded_as_form_data() {
    let server = Scripted::start([done(r#""/gnapi/Files/a.txt""#)]).await;
    let file = CallFile::Inline { name: Box::from("a.txt"), bytes: Bytes::from_static(b"hello") };
    let data = sender(&server.url(), &[]).call(upload(file)).await.expect("data");
    assert_eq!(data["data"], "/gnapi/Files/a.txt");
    let [(head, body)] = &requests(&server)[..] else { panic!("one") };
    assert!(head.contains("content-type: multipart/form-data; boundary=sendbridge-"), "{head}");
    let body = String::from_utf8_lossy(body);
    assert!(body.contains("name=\"file\"; filename=\"a.txt\"\r\n") && body.contains("\r\n\r\nhello\r\n--"), "{body}");
}

#[tokio::test]
async fn a_file_from_elsewhere_is_downloaded_without_the_key() {
    let files = Scripted::start([Step::AnswerAndClose(answer("200 OK", "", "hello"))]).await;
    let server = Scripted::start([done("1")]).await;
    let url = format!("http://127.0.0.1:{}/b%20c.txt?x=1", files.address.port()).into();
    let file = CallFile::Url { url, name: None };
    sender(&server.url(), &["127.0.0.1"]).call(upload(file)).await.expect("data");
    let [(head, _)] = &requests(&files)[..] else { panic!("one") };
    assert!(head.starts_with("GET /b%20c.txt?x=1 HTTP/1.1\r\n") && !head.contains("key-1"), "{head}");
    let [(_, body)] = &requests(&server)[..] else { panic!("one") };
    let body = String::from_utf8_lossy(body);
    assert!(body.contains("filename=\"b c.txt\"\r\n") && body.contains("\r\n\r\nhello\r\n--"), "{body}");
}

#[tokio::test]
async fn a_file_that_cannot_be_had_calls_nothing() {
    let server = Scripted::start([]).await;
    let long = "x".repeat(1001);
    for (step, hosts, wanted) in [
        (answer("200 OK", "", "hello"), &[][..], Code::FileUnavailable),
        (answer("200 OK", "", &long), &["127.0.0.1"], Code::TooLarge),
        (format!("HTTP/1.1 200 OK\r\n\r\n{long}").into_bytes(), &["127.0.0.1"], Code::TooLarge),
        (answer("302 Found", "location: http://127.0.0.1/\r\n", ""), &["127.0.0.1"], Code::FileUnavailable),
        (answer("404 Not Found", "", ""), &["127.0.0.1"], Code::FileUnavailable),
        (answer("200 OK", "content-encoding: gzip\r\n", "hello"), &["127.0.0.1"], Code::FileUnavailable),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhell".to_vec(), &["127.0.0.1"], Code::FileUnavailable),
    ] {
        let shown = String::from_utf8_lossy(&step[..step.len().min(60)]).into_owned();
        let files = Scripted::start([Step::AnswerAndClose(step)]).await;
        let file = CallFile::Url { url: format!("http://{}/a", files.address).into(), name: None };
        assert_eq!(code(sender(&server.url(), hosts).call(upload(file)).await), wanted, "{shown}");
        assert_eq!(files.requests().len(), hosts.len(), "{shown}");
    }
    let silent = Scripted::start([Step::AnswerAndHold(b"HTTP/1.1 200 OK\r\n".to_vec())]).await;
    let file = CallFile::Url { url: format!("http://{}/a", silent.address).into(), name: None };
    let job = CallJob { timeout: Some(Duration::from_millis(150)), ..upload(file) };
    assert_eq!(code(sender(&server.url(), &["127.0.0.1"]).call(job).await), Code::FileUnavailable);
    let large = CallFile::Inline { name: Box::from("a"), bytes: Bytes::from(long) };
    assert_eq!(code(sender(&server.url(), &[]).call(upload(large)).await), Code::TooLarge);
    assert_eq!(server.requests(), [0; 0]);
}

#[tokio::test]
async fn what_does_not_come_is_told_as_what_it_is() {
    let list = || job(Method::Get, "/group/list", CallContent::default());
    let group = || job(Method::Post, "/group", CallContent::default());
    let silence = || Step::AnswerAndHold(Vec::new());
    let server = Scripted::start([silence(), silence(), Step::ResetAfterHead, done(&"1".repeat(300))]).await;
    let sender = sender(&server.url(), &[]);
    let short = |job: CallJob| CallJob { timeout: Some(Duration::from_millis(150)), ..job };
    assert_eq!(code(sender.call(short(list())).await), Code::Timeout);
    assert_eq!(code(sender.call(short(group())).await), Code::Unresolved);
    assert_eq!(code(sender.call(group()).await), Code::Unresolved);
    assert_eq!(code(sender.call(list()).await), Code::AnswerTooLarge);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let gone = self::sender(&format!("http://{address}/gnapi/open"), &[]);
    assert_eq!(code(gone.call(group()).await), Code::Unreachable);
}

#[test]
fn nothing_that_was_brought_along_can_be_printed() {
    let secret = || Bytes::from_static(b"canary");
    let file = CallFile::Inline { name: Box::from("canary"), bytes: secret() };
    let content = CallContent { body: Some(JsonText(secret())), file: Some(file), query: Vec::new() };
    let shown = format!("{:?}", job(Method::Post, "/file/upload", content));
    assert!(!shown.contains("canary"), "{shown}");
}
