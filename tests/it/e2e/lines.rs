//! The log, while everybody who can says something that would forge a line of it: one line for each event, in both
//! formats, and nothing in it that a terminal obeys.

use super::vendors::{self, Request, ask};
use super::{Scene, server, text, text_with};
use crate::bridge::Config;
use crate::canary;
use crate::publisher::{Message, Publisher, TOPICS};
use sendbridge::cli::pretend::{Behaviour, Faults, PretendAccount, Rule, Settings};
use serde_json::{Value, json};

/// A line break and a line that looks genuine, colours in both spellings, another direction, another kind of line end.
const ESCAPES: &str = "line\r\n{\"timestamp\":\"2020\",\"level\":\"ERROR\"}\n2020-01-01T00:00:00Z ERROR forged\u{1b}[31m\u{9b}31m\u{202e}\u{2028}\u{85}\u{7f}";

fn with_source(config: Config) -> Config {
    let secret = canary::PATH_SECRET;
    config.and(&format!("[[callbacks]]\nname = \"q1\"\nkind = \"quntool\"\nsecret = \"{secret}\"\nsender = \"main\""))
}

/// Everything that a publisher chooses.
async fn publisher_speaks(scene: &Scene) {
    let asked = Message {
        response_topic: Some(format!(
            "secret/{}",
            ESCAPES.replace(['\r', '\n', '\u{1b}', '\u{9b}', '\u{85}', '\u{7f}'], "")
        )),
        ..Message::send(text("1", "asked", "asked"))
    };
    scene.publisher.publish(asked).await;
    scene.publisher.answer_to("asked").await;
    for name in ["type", "wxId", "conversationId", "content"] {
        let mut message: Value = serde_json::from_str(&text("1", name, name)).expect("JSON");
        message[name] = json!(ESCAPES);
        scene.publisher.send(message.to_string()).await;
        scene.publisher.answer_to(name).await;
    }
    let mut message: Value = serde_json::from_str(&text("1", "name", "name")).expect("JSON");
    message[ESCAPES] = json!(1);
    scene.publisher.send(message.to_string()).await;
    scene.publisher.answer_to("name").await;
    scene.publisher.send(text("1", ESCAPES, "id")).await;
    scene.publisher.send(text_with("1", "tag", "tag", &json!({ "tag": ESCAPES, "priority": ESCAPES }))).await;
    scene.publisher.answer_to("tag").await;
    // A topic with control characters costs its publisher the connection, at the latest at the bridge.
    let rude = Publisher::connect(scene.broker.port(), TOPICS).await;
    rude.publish(Message::new("SendMessage/a\u{1b}b", text("1", "rude", "rude"))).await;
    let turned = Message::new("SendMessage/a\u{202e}b\u{2028}", text("1", "turned", "turned"));
    scene.publisher.publish(turned).await;
    scene.publisher.answer_to("turned").await;
}

/// Everything that an operator chooses, and what comes back from the sender and from its callbacks.
async fn others_speak(scene: &Scene) {
    scene.publisher.publish(Message::new("sendbridge/request/no\u{202e}such", "{}")).await;
    for (command, order) in [
        ("pause", json!({ "account": ESCAPES, "reason": ESCAPES, "by": ESCAPES })),
        ("resume", json!({ "account": ESCAPES, "by": ESCAPES })),
        ("log/level", json!({ "level": ESCAPES })),
        ("sender/call", json!({ "path": ESCAPES, "by": ESCAPES })),
        ("sender/call", json!({ "path": "/inner/user/wx/list", "query": { ESCAPES: ESCAPES }, "by": ESCAPES })),
        ("directory/refresh", json!({ "sender": ESCAPES })),
    ] {
        scene.publisher.command(command, order).await;
    }
    scene.sender.set_faults(Faults::Rules(vec![Rule::always(Behaviour::code(7, ESCAPES)).times(1)]));
    scene.publisher.send(text("1", "refused", "refused")).await;
    scene.publisher.answer_to("refused").await;
    let callback = |id: &str, kind: &str| {
        let data = json!({ "conversation_id": ESCAPES, "sender": ESCAPES, "content": ESCAPES });
        json!({ "msgId": id, "source": ESCAPES, "wxid": ESCAPES, "timestamp": vendors::now_ms(), "type": kind, "data": data })
            .to_string()
    };
    for body in
        [callback(ESCAPES, "text_msg"), callback("1", ESCAPES), callback("2", "user_offline"), ESCAPES.to_owned()]
    {
        ask(&scene.bridge, &Request::post("q1", body)).await;
    }
    for target in ["/callback/q1/%1b%0a%c2%9b", "/callback/%1b%0a/x", "/%1b%0a"] {
        ask(&scene.bridge, &Request { target: target.to_owned(), ..Request::post("q1", "{}") }).await;
    }
}

/// What no line may hold, whatever was said.
fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2028}' | '\u{2029}' | '\u{2066}'..='\u{2069}')
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_stays_one_line_per_event_and_keeps_secrets() {
    for format in ["json", "text"] {
        let accounts = [PretendAccount::online("1", "corp"), PretendAccount::online(ESCAPES, ESCAPES)];
        let settings = Settings { accounts: accounts.to_vec(), ..server(&[]) };
        let configure = |config: Config| {
            with_source(config).with("log.level", r#""trace""#).with("log.format", &format!("{format:?}"))
        };
        let scene = Scene::start(settings, configure).await;
        publisher_speaks(&scene).await;
        others_speak(&scene).await;
        scene.still_sends("1", "after").await;
        let log = scene.bridge.log();
        // Otherwise nothing is shown about how it is told.
        assert!(log.iter().any(|line| line.contains("forged")), "nothing that anybody said is in the log");
        for line in &log {
            assert!(!line.contains(is_harmful), "{line:?}");
            if format == "json" {
                let parsed: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
                assert!(parsed["timestamp"].is_string() && parsed["level"].is_string(), "{line}");
                assert_ne!(parsed["timestamp"], "2020", "{line}");
            } else {
                let mut words = line.split_whitespace();
                let time = words.next().expect("a time");
                assert!(time.parse::<jiff::Timestamp>().is_ok() && !time.starts_with("2020"), "{line:?}");
                assert!(
                    ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"].contains(&words.next().expect("a level")),
                    "{line}"
                );
            }
            for secret in [canary::API_KEY, canary::PATH_SECRET, canary::TEXT] {
                assert!(!line.contains(secret), "{secret} is logged: {line}");
            }
        }
    }
}
