//! What publishers get back, and what the sender gets.

use super::{Scene, server, text, words};
use crate::canary;
use crate::publisher::{Heard, Message, Publisher, TOPICS};
use bytes::Bytes;
use sendbridge::cli::pretend::{Behaviour, Faults, MessageKey, Rule, Settings};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::path::Path;

/// The token by which a server that goes by digests knows a body.
fn digest(body: &str) -> String {
    let digest = Sha256::digest(body);
    digest[..16].iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a string grows");
        hex
    })
}

const ACCOUNT: &str = "1688854355261234";

fn by_digest() -> Settings {
    Settings { message_key: MessageKey::Digest, ..server(&[ACCOUNT]) }
}

/// The members of an answer that says "sent".
fn assert_sent(heard: &Heard, id: &str) {
    let answer = heard.json();
    let msg_id = answer["msgId"].as_str().unwrap_or_else(|| panic!("{answer}"));
    assert_eq!(heard.text(), format!(r#"{{"id":{id},"msgId":"{msg_id}"}}"#));
}

/// Marks every text of a message, so that it is noticed wherever it turns up.
fn with_canaries(message: &str) -> String {
    let names = ["\"wxId\"", "\"WxId\"", "\"conversationId\"", "\"type\"", "\"id\""];
    let marked = |line: &str| match line.strip_suffix("\",") {
        Some(text) if !names.iter().any(|name| line.trim_start().starts_with(name)) => {
            format!("{text}{}\",\n", canary::TEXT)
        }
        Some(_) | None => format!("{line}\n"),
    };
    message.lines().map(marked).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_type_is_sent_verbatim_and_answered() {
    let scene = Scene::start(by_digest(), |config| config).await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/requests");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("the requests") {
        let path = entry.expect("a file").path();
        let kind = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let written = with_canaries(&std::fs::read_to_string(&path).expect("text"));
        let id = format!("\"{kind} \\u4f60\\\"\"");
        // Members beyond those of the type, the way only a client that goes by bytes keeps them.
        let extra = r#""z":9007199254740993,"a":1.10,"Ünknown":{"b": [1,2 ],"a":"\u00e9\/"},"n":-0.0"#;
        let message = written.replace("\"1234567\"", &format!("{id},{extra}"));
        let open = message.trim_start_matches(|first: char| first == '{' || first.is_whitespace());
        scene.publisher.send(message.clone()).await;
        scene.publisher.answer(&id).await;
        assert_sent(&scene.publisher.seen().answers[&id][0], &id);
        let expected = expected_body(open, &id);
        assert_eq!(scene.effects(&digest(&expected)), 1, "{kind}: {expected}\n{:#?}", scene.sender.ledger().messages);
        count += 1;
    }
    assert_eq!(count, 14);
    scene.health().await;
}

/// The body that must arrive: the members as they were written, without `id` and `type`.
fn expected_body(open: &str, id: &str) -> String {
    let members = open.trim_end().trim_end_matches('}').trim_end();
    let mut body = String::new();
    for line in members.lines() {
        let line = line.trim();
        if line.starts_with("\"type\"") {
            continue;
        }
        let line = line.strip_suffix(',').unwrap_or(line);
        let line = match line.strip_prefix("\"id\": ") {
            Some(rest) => rest.strip_prefix(id).expect("the id").trim_start_matches(',').to_owned(),
            // Between name and value nothing stands, whatever the publisher wrote there.
            None => line.replacen("\": ", "\":", 1),
        };
        body.push(if body.is_empty() { '{' } else { ',' });
        body.push_str(&line);
    }
    body + "}"
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_are_echoed_as_they_came() {
    let scene = Scene::start(by_digest(), |config| config).await;
    for id in ["1", "-7", "1.10", "9007199254740993", "1e3", r#""1""#, r#""é 😀 \" \\ \/ \u00e9""#, r#""<&>""#] {
        let message =
            format!(r#"{{"WXID":"{ACCOUNT}","ConversationId":"S:1_2","content":"hi","TYPE":"Text","id":{id}}}"#);
        scene.publisher.send(message).await;
        scene.publisher.answer(id).await;
        assert_sent(&scene.publisher.seen().answers[id][0], id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_go_where_they_were_asked_for_and_nowhere_else() {
    let topics: &[&str] = &["SendMessageResp/#", "reply/#", "forbidden/#", "SendMessage/#"];
    let scene = Scene::start(server(&["1"]), |config| config).await;
    let listener = Publisher::connect(scene.broker.port(), topics).await;
    let correlation = Some(Bytes::from_static(b"\x00\xffcorrelation"));

    listener.publish(Message::new("SendMessage/crm", text("1", "suffix", "suffix"))).await;
    let asked = |topic: &str, id: &str| Message {
        response_topic: Some(topic.to_owned()),
        correlation: correlation.clone(),
        ..Message::send(text("1", id, id))
    };
    listener.publish(asked("reply/here", "asked")).await;
    listener.publish(asked("SendMessageResp/own", "below")).await;
    listener.publish(asked("SendMessageResp", "same")).await;
    listener.publish(asked("forbidden/topic", "forbidden")).await;
    listener.publish(asked("SendMessage", "loop")).await;
    for id in ["suffix", "asked", "below", "same", "forbidden", "loop"] {
        listener.answer_to(id).await;
        listener
            .find(id, |heard| heard.topic.contains("Resp").then(|| heard.text().contains(id)).filter(|is| *is))
            .await;
    }
    listener.find("the answer on reply/here", |heard| (heard.topic == "reply/here").then_some(())).await;
    // Everything published before this one has been delivered when its answer is.
    listener.send(text("1", "last", "last")).await;
    listener.answer_to("last").await;

    let seen = listener.seen();
    let heard = |id: &str| -> Vec<(String, bool)> {
        let text = format!(r#"{{"id":"{id}","#);
        let of_id = seen.all.iter().filter(|heard| heard.text().starts_with(&text) && heard.text().contains("msgId"));
        let mut found: Vec<(String, bool)> =
            of_id.map(|heard| (heard.topic.clone(), heard.correlation == correlation)).collect();
        found.sort();
        found
    };
    let at = |topic: &str, correlated: bool| (topic.to_owned(), correlated);
    assert_eq!(heard("suffix"), [at("SendMessageResp/crm", false)]);
    assert_eq!(heard("asked"), [at("SendMessageResp", false), at("reply/here", true)]);
    assert_eq!(heard("below"), [at("SendMessageResp", false), at("SendMessageResp/own", true)]);
    assert_eq!(heard("same"), [at("SendMessageResp", true)]);
    assert_eq!(heard("forbidden"), [at("SendMessageResp", false)]);
    assert_eq!(heard("loop"), [at("SendMessageResp", false)]);
    assert_eq!(scene.sender.ledger().effects, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_publishers_and_qos_0_are_served_too() {
    let scene = Scene::start(server(&["1"]), |config| config).await;
    let old = Publisher::connect_three(scene.broker.port(), &["SendMessageResp", "sendbridge/event/#"]).await;
    old.publish(Message { weak: true, ..Message::send(text("1", "weak", "weak")) }).await;
    old.send(text("1", "old", "old")).await;
    for id in ["weak", "old"] {
        assert!(old.answer_to(id).await["msgId"].is_string());
        assert_eq!(scene.effects(id), 1);
    }
    let weak = old
        .find("the weak event", |heard| {
            (heard.topic == "sendbridge/event/send/queued").then(|| heard.json()).filter(|event| event["id"] == "weak")
        })
        .await;
    assert_eq!(weak["weak"], true);
}

/// The publisher's handshake is with the broker alone, which delivers with the QoS that the bridge has subscribed with.
#[tokio::test(flavor = "multi_thread")]
async fn qos_2_is_taken_like_qos_1_whether_the_bridge_is_there_or_not() {
    const HEARD: &[&str] = &["SendMessageResp", "sendbridge/event/send/queued"];
    let mut scene = Scene::start(server(&["1"]), |config| config).await;
    let port = scene.broker.port();
    let publishers = [Publisher::connect_three(port, HEARD).await, Publisher::connect(port, HEARD).await];
    for (life, is_there) in [("there", true), ("away", false)] {
        if !is_there {
            // In order: what the journal has not closed would be answered again.
            assert!(scene.bridge.terminate().success());
        }
        for (version, publisher) in ["three", "five"].iter().zip(&publishers) {
            let id = format!("{life}-{version}");
            let acknowledged = publisher.look(|seen| seen.acknowledged);
            publisher.publish(Message { exactly_once: true, ..Message::send(text("1", &id, &id)) }).await;
            publisher.wait("the end of the handshake", |seen| seen.acknowledged == acknowledged + 1).await;
        }
        if !is_there {
            scene.bridge.start_again().await;
        }
        for id in ["three", "five"].map(|version| format!("{life}-{version}")) {
            assert!(scene.publisher.answer_to(&id).await["msgId"].is_string());
            let queued = |heard: &Heard| {
                (heard.topic == "sendbridge/event/send/queued" && heard.json()["id"] == *id).then(|| heard.json())
            };
            let queued = publishers[0].find("its event", queued).await;
            assert_ne!(queued["weak"], true, "{queued}");
        }
    }
    scene.publisher.ask_until("health", json!({}), |health| health["answersOpen"] == 0).await;
    for (id, answers) in scene.publisher.seen().answers {
        assert_eq!(answers.len(), 1, "{id}");
    }
    let ledger = scene.sender.ledger();
    assert_eq!((ledger.arrivals, ledger.effects, ledger.repeated().count()), (4, 4, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_is_answered_again_and_sent_once() {
    let scene = Scene::start(server(&["1", "2"]), |config| config).await;
    let publisher = &scene.publisher;
    publisher.send(text("1", "a", "first")).await;
    let first = publisher.answer_to("a").await;
    for index in 1..4 {
        publisher.send(text("1", "a", "first")).await;
        assert_eq!(publisher.nth_answer(r#""a""#, index).await, first);
    }
    assert_eq!((scene.effects("first"), scene.arrivals("first")), (1, 1));

    publisher.send(text("1", "a", "another")).await;
    let conflict = publisher.nth_answer(r#""a""#, 4).await;
    assert_eq!(conflict["error"]["code"], "ID_CONFLICT", "{conflict}");
    assert_eq!(conflict["error"]["retryable"], false);
    // The key is topic suffix, account and id: elsewhere the same id is another message.
    publisher.send(text("2", "a", "other account")).await;
    publisher.publish(Message::new("SendMessage/x", text("1", "a", "other suffix"))).await;
    publisher.wait("all answers", |seen| seen.answers[r#""a""#].len() >= 7).await;
    for (content, effects) in [("first", 1), ("another", 0), ("other account", 1), ("other suffix", 1)] {
        assert_eq!(scene.effects(content), effects, "{content}");
    }
    let health = scene.health().await;
    assert_eq!([&health["received"], &health["duplicate"], &health["rejected"], &health["accepted"]], [7, 3, 1, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_after_a_restart_is_known() {
    let mut scene = Scene::start(server(&["1"]), |config| config).await;
    scene.publisher.send(text("1", "a", "once")).await;
    let first = scene.publisher.answer_to("a").await;
    // Known to be closed only when the journal has it: ask until the broker's word is there too.
    scene.publisher.ask_until("message/get", json!({ "id": "a" }), |data| data.to_string().contains(r#""sent""#)).await;
    scene.bridge.kill();
    scene.publisher.send(text("1", "a", "once")).await;
    scene.bridge.start_again().await;
    let count = || scene.publisher.seen().answers[r#""a""#].len();
    super::eventually("another answer", || count() > 1).await;
    let answers: Vec<Value> = scene.publisher.seen().answers[r#""a""#].iter().map(Heard::json).collect();
    assert!(answers.iter().all(|answer| *answer == first), "{answers:?}");
    assert_eq!(scene.arrivals("once"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribers_of_the_answer_topic_need_no_more_than_mqtt_3() {
    let scene = Scene::start(server(&["1"]), |config| config).await;
    let old = Publisher::connect_three(scene.broker.port(), TOPICS).await;
    scene.publisher.send(text("1", "shared", "shared")).await;
    assert_eq!(old.answer_to("shared").await, scene.publisher.answer_to("shared").await);
}

/// The search at the end of a whole run looks for the same on every topic and in every log.
#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_quotes_a_request_in_its_complaint_tells_nothing_of_it() {
    let complaint = |id: &str| format!("{} with key {} is not good", words(id), canary::API_KEY);
    let scene = Scene::start(server(&["1"]), |config| config).await;
    scene.sender.set_faults(Faults::Rules(vec![Rule::always(Behaviour::code(-7, &complaint("quoted")))]));
    scene.publisher.send(text("1", "quoted", "quoted")).await;
    let answer = scene.publisher.answer_to("quoted").await;
    assert_eq!(answer["error"]["sender"]["msg"], "… with key … is not good", "{answer}");
    let kept = scene.publisher.ask("message/get", json!({ "id": "quoted" })).await.to_string();
    assert!(kept.contains("… with key … is not good") && !kept.contains(canary::TEXT), "{kept}");
}
