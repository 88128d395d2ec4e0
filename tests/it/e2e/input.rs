//! What nobody should send, and some do.

use super::{Scene, server, text};
use crate::publisher::Message;
use serde_json::json;

/// Publishes a payload, and returns the code of the answer that has no id.
async fn refused(scene: &Scene, payload: impl Into<bytes::Bytes>) -> String {
    let before = scene.publisher.seen().answers.get("null").map_or(0, Vec::len);
    scene.publisher.send(payload).await;
    let answer = scene.publisher.nth_answer("null", before).await;
    answer["error"]["code"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_is_refused_and_does_no_harm() {
    let scene = Scene::start(server(&["1"]), |config| config).await;
    let nested = format!("{}1{}", "[".repeat(20_000), "]".repeat(20_000));
    let nested_member =
        format!(r#"{{"id":"deep","wxId":"1","conversationId":"S:1_2","type":"text","content":"x","z":{nested}}}"#);
    let invalid_utf8 = [&br#"{"id":"1","content":""#[..], &[0xff, 0xfe], &br#""}"#[..]].concat();
    let payloads: Vec<(&str, Vec<u8>)> = vec![
        ("empty", Vec::new()),
        ("garbage", (0..=255).collect()),
        ("text", b"hello".to_vec()),
        ("open", br#"{"id":"1","content":"#.to_vec()),
        ("more", br#"{"id":"1"} {"id":"2"}"#.to_vec()),
        ("invalid UTF-8", invalid_utf8),
        ("byte order mark", [&b"\xef\xbb\xbf"[..], text("1", "bom", "bom").as_bytes()].concat()),
        ("nested", nested.into_bytes()),
        ("not an object", br#"["id"]"#.to_vec()),
    ];
    for (number, (what, payload)) in payloads.into_iter().enumerate() {
        assert_eq!(refused(&scene, payload).await, "INVALID_JSON", "{what}");
        scene.still_sends("1", &format!("after{number}")).await;
    }
    // One member that nobody reads may be as deep as it likes, or is refused: it must only do no harm.
    scene.publisher.send(nested_member).await;
    let is_answered = |seen: &crate::publisher::Seen| {
        seen.answers.contains_key(r#""deep""#) || seen.answers.get("null").is_some_and(|answers| answers.len() == 10)
    };
    scene.publisher.wait("an answer to the deep one", is_answered).await;
    scene.still_sends("1", "last").await;
    scene.health().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_the_sender_might_read_differently_are_refused() {
    let scene = Scene::start(server(&["1"]), |config| config).await;
    let messages = [
        r#"{"wxId":"1","wxid":"2","conversationId":"S:1_2","content":"a","type":"text","id":"case"}"#,
        r#"{"wxId":"1","wxId":"2","conversationId":"S:1_2","content":"a","type":"text","id":"twice"}"#,
        r#"{"wxId":"1","conversationId":"S:1_2","content":"a","CONTENT":"b","type":"text","id":"content"}"#,
        r#"{"wxId":"1","conversationId":"S:1_2","content":"a","x":1,"X":2,"type":"text","id":"unknown"}"#,
    ];
    for (message, id) in messages.into_iter().zip(["case", "twice", "content", "unknown"]) {
        scene.publisher.send(message).await;
        let answer = scene.publisher.answer_to(id).await;
        assert!(
            ["INVALID_FIELD", "INVALID_JSON"].contains(&answer["error"]["code"].as_str().expect("a code")),
            "{answer}"
        );
    }
    assert_eq!(scene.sender.ledger().arrivals, 0);
    let ids = [r#""a\r\nb""#, r#""\u001b[31m""#, r#""\u0000""#, r#"{"a":1}"#, "null", "true", r#""""#];
    for id in ids {
        let message = format!(r#"{{"wxId":"1","conversationId":"S:1_2","content":"a","type":"text","id":{id}}}"#);
        assert_eq!(refused(&scene, message).await, "INVALID_FIELD", "{id}");
    }
    let long = "x".repeat(129);
    assert_eq!(refused(&scene, text("1", &long, "a")).await, "INVALID_FIELD");
    scene.still_sends("1", &"y".repeat(128)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_messages_go_through_and_larger_ones_are_refused() {
    let scene = Scene::start(server(&["1"]), |config| config).await;
    let of_size = |id: &str, bytes: usize| {
        let short = text("1", id, id);
        let padding = format!(r#","padding":"{}"}}"#, "x".repeat(bytes - short.len() - r#","padding":"""#.len()));
        short.trim_end_matches('}').to_owned() + &padding
    };
    for (id, bytes) in [("11 KB", 11_000), ("200 KB", 200_000), ("limit", 256 * 1024)] {
        scene.publisher.send(of_size(id, bytes)).await;
        let answer = scene.publisher.answer_to(id).await;
        assert!(answer["msgId"].is_string(), "{answer}");
    }
    for (id, bytes) in [("limit + 1", 256 * 1024 + 1), ("900 KB", 900_000)] {
        scene.publisher.send(of_size(id, bytes)).await;
        let answer = scene.publisher.answer_to(id).await;
        assert_eq!(answer["error"]["code"], "TOO_LARGE", "{answer}");
    }
    // What is beyond the connection's packets the broker withholds; the connection must survive it.
    scene.publisher.send(of_size("2 MB", 2_000_000)).await;
    scene.still_sends("1", "after").await;
    assert!(!scene.publisher.seen().answers.contains_key(r#""2 MB""#));
    let connected = scene.bridge.log().iter().filter(|line| line.contains("connected to the broker")).count();
    assert_eq!(connected, 3, "a connection was lost");
    scene.health().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retained_message_is_refused_and_never_comes_back() {
    let mut scene = Scene::start(server(&["1"]), |config| config.with("mqtt.receive_maximum", "1")).await;
    scene.publisher.publish(Message { retain: true, ..Message::send(text("1", "kept", "kept")) }).await;
    let answer = scene.publisher.answer_to("kept").await;
    assert_eq!(answer["error"]["code"], "RETAINED", "{answer}");
    // The answer and the acknowledgement leave over two connections, and what a kill kept from being acknowledged comes
    // again, as it must. The broker delivers one at a time here: it has the word about the last one when it sends another.
    scene.still_sends("1", "behind").await;
    for restart in 0..2 {
        if restart == 0 {
            scene.bridge.kill();
            scene.bridge.start_again().await;
        } else {
            let subscribed = scene.publisher.seen().subscribed;
            tokio::task::block_in_place(|| scene.broker.restart());
            scene.publisher.wait("a new subscription", |seen| seen.subscribed > subscribed).await;
        }
        scene.bridge.ready().await;
        scene.publisher.ask_until("health", json!({}), |_| true).await;
        scene.still_sends("1", &format!("after{restart}")).await;
    }
    assert_eq!(scene.arrivals("kept"), 0);
    let last = scene.health().await;
    assert_eq!(last["rejected"], 0, "it was delivered again: {last}");
}
