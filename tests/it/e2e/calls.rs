//! Calls of the sender's API over a command: which are made, once, and never in the way of a send.

use super::{LOOSE, Scene, eventually, server, text};
use crate::canary;
use crate::publisher::Message;
use sendbridge::cli::pretend::Settings;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// The code of a reply.
fn code(reply: &Value) -> &str {
    reply["error"]["code"].as_str().unwrap_or("ok")
}

impl Scene {
    async fn call(&self, order: Value) -> Value {
        self.publisher.command("sender/call", order).await
    }

    /// How often the server was called there.
    fn called(&self, call: &str) -> u64 {
        self.sender.with_ledger(|ledger| ledger.calls.get(call).copied().unwrap_or_default())
    }
}

/// How often the journal notes something about calls.
fn journaled(scene: &Scene, what: &str) -> usize {
    let journal = rusqlite::Connection::open_with_flags(
        scene.bridge.path("journal.db"),
        rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY,
    );
    let journal = journal.expect("the journal");
    let sql = "SELECT by, reply FROM command WHERE name = 'sender/call'";
    let mut statement = journal.prepare(sql).expect("a table");
    let row =
        |row: &rusqlite::Row<'_>| Ok(format!("{:?} {}", row.get::<_, Option<String>>(0)?, row.get::<_, String>(1)?));
    let rows: Vec<String> = statement.query_map([], row).expect("rows").map(|row| row.expect("a row")).collect();
    rows.iter().filter(|row| row.contains(what)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_api_knows_can_be_asked_and_changed_once() {
    let mut scene = Scene::start(server(&["1", "2"]), |config| config).await;
    let list = scene.publisher.ask("sender/call", json!({ "path": "/inner/user/wx/list" })).await;
    assert_eq!((&list["http"], &list["code"]), (&json!(200), &json!(0)), "{list}");
    assert_eq!(list["data"].as_array().map(Vec::len), Some(2), "{list}");
    let groups = scene.publisher.ask("sender/call", json!({ "path": "group/list", "query": { "WXID": "1" } })).await;
    assert_eq!(groups["data"][0]["create_user_id"], "1", "{groups}");
    let ids = json!({ "path": "/contact/externalUserId", "body": { "wxId": "1", "ContactUserId": "788" } });
    assert_eq!(scene.publisher.ask("sender/call", ids).await["data"]["ExternalUserId"], "wm_pretend");
    assert_eq!(journaled(&scene, ""), 0, "what only reads is not journaled");

    let body = json!({ "wxId": "1", "contactId": "788", "remark": canary::CALLED });
    let remark = json!({ "path": "/contact/remark", "body": body, "by": "li" });
    let done = scene.publisher.ask("sender/call", remark.clone()).await;
    assert_eq!(done, json!({ "http": 200, "code": 0, "msg": "", "data": null }));
    assert_eq!((journaled(&scene, "/contact/remark"), journaled(&scene, "li")), (1, 2));
    let refused = scene.call(json!({ "path": "/contact/remark", "body": { "wxId": "1" } })).await;
    assert_eq!(code(&refused), "REFUSED", "{refused}");
    let words = json!({ "http": 200, "code": 400, "msg": "contactId is missing" });
    assert_eq!(refused["error"]["sender"], words, "{refused}");
    let failed = r#"sendbridge_calls_total{result="failed"} 1"#;
    let (_, metrics) = super::metrics::showing(&scene, "*/*", failed).await;
    assert!(metrics.contains(r#"sendbridge_calls_total{result="done"} 4"#), "{metrics}");

    // The same transaction again, also in another life: told, and not made.
    let mut repeated = remark;
    repeated["transaction"] = json!("mine");
    let calls = scene.called("PUT /contact/remark");
    for life in 0..2 {
        for _ in 0..2 {
            let order = Message::new("sendbridge/request/sender/call", repeated.to_string());
            let heard = scene.publisher.seen().on("sendbridge/response/sender/call").count();
            scene.publisher.publish(order).await;
            scene.publisher.wait("the reply", |seen| seen.on("sendbridge/response/sender/call").count() > heard).await;
        }
        assert_eq!(scene.called("PUT /contact/remark"), calls + 1, "life {life}");
        scene.bridge.kill();
        scene.bridge.start_again().await;
        scene.bridge.ready().await;
    }
    let log = scene.bridge.log().join("\n");
    for secret in [canary::CALLED, canary::API_KEY] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
    assert!(log.contains("call ended"), "calls are logged");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_of_sending_is_refused_however_it_is_written() {
    let configure = |config: crate::bridge::Config| {
        config.with("senders.calls", r#"["documented", "/*"]"#).with("senders.types", r#"{ note = "/note/out" }"#)
    };
    let scene = Scene::start(server(&["1"]), configure).await;
    let body = json!({ "wxId": "1", "conversationId": canary::RECIPIENT, "content": canary::CALLED });
    for path in [
        "/msg/text",
        "msg/text",
        "/MSG/Text",
        "//msg//text/",
        "/contact/../msg/text",
        "/%6dsg/text",
        "/%256dsg/%2e/text",
        "/msg/text?x=1",
        "/msg\\text",
        "/msg;a/text",
        "/gnapi/open/msg/text",
        "/miniProgram/send",
        "/VIDEONUM/send/",
        "/Note/Out",
    ] {
        let reply = scene.call(json!({ "path": path, "method": "POST", "body": body })).await;
        assert_eq!(code(&reply), "SEND_PATH", "{path}: {reply}");
        assert!(reply["error"]["message"].as_str().is_some_and(|text| text.contains("SendMessage")), "{reply}");
    }
    let address = format!("{}/msg/text", scene.sender.url());
    assert_eq!(code(&scene.call(json!({ "path": address, "body": body })).await), "SEND_PATH");
    for path in
        ["/contact//remark", "/contact/./remark", "/contact/remark/", "http://h/contact", "/c?a=b", "/%63ontact"]
    {
        let reply = scene.call(json!({ "path": path, "body": body })).await;
        assert_eq!(code(&reply), "INVALID_FIELD", "{path}: {reply}");
    }
    // All that was allowed is still a call, whether the server knows it or not.
    assert_eq!(code(&scene.call(json!({ "path": "/no/such" })).await), "REFUSED");
    assert_eq!(scene.sender.ledger().arrivals, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_decides_what_may_be_called() {
    let allow = r#"["documented", "!/container/*", "GET /report/daily"]"#;
    let scene = Scene::start(server(&["1"]), |config| config.with("senders.calls", allow)).await;
    for (order, wanted) in [
        (json!({ "path": "/miniprogram/list" }), "ok"),
        (json!({ "path": "/container/memory" }), "PATH_NOT_ALLOWED"),
        (json!({ "path": "/container/stop", "body": {} }), "PATH_NOT_ALLOWED"),
        (json!({ "path": "/report/daily", "body": {} }), "PATH_NOT_ALLOWED"),
        (json!({ "path": "/report/daily" }), "REFUSED"),
        (json!({ "path": "/miniprogram/list", "sender": "other" }), "NOT_FOUND"),
        (json!({ "path": "/miniprogram/list", "sender": "main" }), "ok"),
        (json!({ "path": "/group/list", "query": { "wxId": "9" } }), "REFUSED"),
    ] {
        let reply = scene.call(order.clone()).await;
        assert_eq!(code(&reply), wanted, "{order} {reply}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_calls_wait_for_each_other_and_delay_no_send() {
    let scene = Scene::start(Settings { limits: LOOSE, ..server(&["1"]) }, |config| {
        config.with("senders.call_connections", "2").with("senders.connections", "1")
    })
    .await;
    let slow = |number: u32| {
        let query = json!({ "delayMs": 60_000 });
        let order = json!({ "path": "/videonum/list", "query": query, "transaction": number, "timeout": "4m" });
        Message::new("sendbridge/request/sender/call", order.to_string())
    };
    // Two under way, 64 waiting, and one too many.
    for number in 0..67 {
        scene.publisher.publish(slow(number)).await;
    }
    eventually("two calls", || scene.called("GET /videonum/list") == 2).await;
    let busy = scene
        .publisher
        .find("the one too many", |heard| (heard.topic == "sendbridge/response/sender/call").then(|| heard.json()))
        .await;
    assert_eq!(code(&busy), "BUSY", "{busy}");
    for number in 0..20 {
        scene.still_sends("1", &format!("m{number}")).await;
    }
    assert_eq!(scene.called("GET /videonum/list"), 2, "no call ended while all of them were sent");
    assert_eq!(scene.health().await["states"]["sent"], 20);
    let replies = scene.publisher.seen().on("sendbridge/response/sender/call").count();
    assert_eq!(replies, 1, "the others still wait");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_says_whether_it_may_have_had_an_effect() {
    let mut scene = Scene::start(server(&["1"]), |config| config.with("senders.connect_timeout", r#""500ms""#)).await;
    let slow = json!({ "delayMs": 60_000 });
    let read = scene.call(json!({ "path": "/videonum/list", "query": slow, "timeout": "1s" })).await;
    assert_eq!(code(&read), "TIMEOUT", "{read}");
    let change = json!({ "path": "/batchmsg/confirm", "query": slow, "body": { "wxId": "1" }, "timeout": "1s" });
    let reply = scene.call(change).await;
    assert_eq!(code(&reply), "UNRESOLVED", "{reply}");
    assert!(reply["error"]["message"].as_str().is_some_and(|text| text.contains("may have had its effect")), "{reply}");

    // A crash in the middle: the repeat is told that nobody knows, and calls nothing.
    let order = json!({
        "path": "/group", "query": slow, "body": { "wxId": "1", "memberWxIds": "2,3" }, "transaction": "group-1",
    });
    let publish = || Message::new("sendbridge/request/sender/call", order.to_string());
    scene.publisher.publish(publish()).await;
    eventually("the call", || scene.called("POST /group") == 1).await;
    scene.bridge.kill();
    scene.bridge.start_again().await;
    scene.bridge.ready().await;
    scene.publisher.publish(publish()).await;
    let told = scene
        .publisher
        .find("what became of it", |heard| {
            let reply = (heard.topic == "sendbridge/response/sender/call").then(|| heard.json())?;
            (reply["transaction"] == "group-1").then_some(reply)
        })
        .await;
    assert_eq!(code(&told), "UNRESOLVED", "{told}");
    assert_eq!(scene.called("POST /group"), 1);

    scene.sender.go_down().await;
    let away = scene.call(json!({ "path": "/group", "body": { "wxId": "1", "memberWxIds": "2,3" } })).await;
    assert_eq!(code(&away), "UNREACHABLE", "{away}");
    scene.sender.come_up().await.expect("the same port");
    let back = scene.call(json!({ "path": "/group", "body": { "wxId": "1", "memberWxIds": "2,3" } })).await;
    assert_eq!(code(&back), "ok", "{back}");
}

/// Gives everybody the same file, until it is dropped.
async fn file_server(bytes: &'static [u8]) -> (u16, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let serving = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await.is_ok_and(|read| read > 0) {}
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", bytes.len());
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.write_all(bytes).await;
        }
    });
    (port, serving)
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_uploaded_inline_and_from_an_address() {
    /// The first half of SHA-256 of `hello`.
    const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e";
    let (port, serving) = file_server(b"hello").await;
    let scene = Scene::start(server(&["1"]), |config| {
        config.with("senders.private_file_hosts", r#"["localhost"]"#).with("senders.call_file_max", r#""1KiB""#)
    })
    .await;
    let upload = |file: Value| scene.call(json!({ "path": "/file/upload", "file": file }));
    let done = upload(json!({ "name": "你好.txt", "base64": "aGVsbG8=" })).await;
    assert_eq!(done["data"]["data"], format!("/gnapi/Files/20240101/{HELLO}/你好.txt"), "{done}");
    let done = upload(json!({ "url": format!("http://localhost:{port}/a/%E4%BD%A0.png?x=1") })).await;
    assert_eq!(done["data"]["data"], format!("/gnapi/Files/20240101/{HELLO}/你.png"), "{done}");
    for (file, wanted) in [
        (json!({ "url": format!("http://127.0.0.1:{port}/a") }), "FILE_UNAVAILABLE"),
        (json!({ "url": format!("http://[::1]:{port}/a") }), "FILE_UNAVAILABLE"),
        (json!({ "url": format!("http://2130706433:{port}/a") }), "FILE_UNAVAILABLE"),
        (json!({ "url": "http://169.254.169.254/latest/meta-data" }), "FILE_UNAVAILABLE"),
        (json!({ "url": "http://localhost:1/a" }), "FILE_UNAVAILABLE"),
        (json!({ "url": "file:///etc/passwd" }), "INVALID_FIELD"),
        (json!({ "name": "large", "base64": "AAAA".repeat(400) }), "TOO_LARGE"),
    ] {
        let reply = upload(file.clone()).await;
        assert_eq!(code(&reply), wanted, "{file}: {reply}");
    }
    assert_eq!(scene.called("POST /file/upload"), 2);
    // What was answered can be sent.
    let image = text("1", "i", "i").replace(r#""type":"text""#, r#""type":"image","fileUrl":"/gnapi/Files/a.png""#);
    scene.publisher.send(image).await;
    assert!(scene.publisher.answer_to("i").await["msgId"].is_string());
    serving.abort();
}
