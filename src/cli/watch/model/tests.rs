use super::{ACCOUNTS_MAX, Asking, BridgeState, Effect, Key, Model, Pane};
use crate::cli::watch::scripted::{after, empty, perform, press, time};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::time::Duration;

/// The topic and the payload of the one command that the keys led to.
fn command(effects: &[Effect]) -> (String, Value) {
    let [Effect::Publish { topic, payload, transaction }] = effects else { panic!("not one command: {effects:?}") };
    let payload: Value = serde_json::from_str(payload).expect("JSON");
    assert_eq!(payload["transaction"], json!(transaction));
    (topic.clone(), payload)
}

fn notice(model: &Model) -> &str {
    model.notice.as_ref().map_or("", |notice| &notice.text)
}

fn account(name: &str, queued: u64) -> String {
    format!(
        r#"{{"at":"2026-03-02T06:30:00Z","account":"{name}","corp":null,"sender":null,"state":"waiting","queued":{queued},"sending":0,"inDoubt":0,"nextSendAt":null,"drainEta":null,"sentLastHour":0,"intervalMs":500}}"#
    )
}

#[test]
fn a_pause_asks_for_a_reason_and_a_duration_and_shows_the_reply() {
    let mut model = after("bridge.topics");
    assert_eq!(press(&mut model, "pthe phone is lostt<Backspace><Enter>10m"), []);
    let (topic, payload) = command(&press(&mut model, "<Enter>"));
    assert_eq!(topic, "sendbridge/request/pause");
    let expected = json!({"account":"1688850000000001","reason":"the phone is lost","duration":"10m",
        "transaction":"watch-test-1","by":"watch@test"});
    assert_eq!(payload, expected);
    assert_eq!(notice(&model), "pause account 1688850000000001: sent, waiting for the reply");
    // Somebody else's reply, and one without a transaction, are not ours.
    for foreign in [r#""transaction":"watch-other-1""#, r#""transaction":1"#, r#""x":1"#] {
        perform(&mut model, &format!(r#"live sendbridge/response/pause {{"status":"ok","data":{{}},{foreign}}}"#));
        assert!(notice(&model).ends_with("waiting for the reply"), "{}", notice(&model));
    }
    let reply = r#"{"status":"ok","data":{"hold":9,"until":"2026-03-02T06:40:09.000Z"},"transaction":"watch-test-1"}"#;
    perform(&mut model, &format!("live sendbridge/response/pause {reply}"));
    assert_eq!(notice(&model), "pause account 1688850000000001: done, hold 9 until 2026-03-02T06:40:09.000Z");
    // A second copy of the reply is nobody's.
    model.press(&Key::Escape);
    perform(&mut model, &format!("live sendbridge/response/pause {reply}"));
    assert_eq!((notice(&model), model.malformed), ("", 0));
}

#[test]
fn a_pause_without_a_reason_or_left_with_escape_orders_nothing() {
    let mut model = after("bridge.topics");
    assert_eq!(press(&mut model, "p   <Enter>"), []);
    assert!(matches!(model.asking, Some(Asking::Reason { .. })), "{:?}", model.asking);
    assert!(notice(&model).starts_with("a pause needs a reason"));
    assert_eq!(press(&mut model, "why<Enter><Esc>"), []);
    assert_eq!(model.asking, None);
    // In a line every letter is a letter.
    assert_eq!(press(&mut model, "pqrs?/<Esc>rn"), []);
    assert!(!model.help && model.asking.is_none());
}

#[test]
fn a_company_is_paused_as_a_whole_and_without_a_duration_until_resumed() {
    let mut model = after("bridge.topics");
    let (_, payload) = command(&press(&mut model, "<BackTab><Down>pstock taking<Enter><Enter>"));
    assert_eq!((&payload["corp"], &payload["duration"]), (&json!("杭州云杉科技有限公司"), &Value::Null));
    press(&mut model, "<Tab><Tab><Tab>");
    assert_eq!(press(&mut model, "pr"), []);
    assert!(notice(&model).starts_with("go to an account or a company"), "{}", notice(&model));
}

#[test]
fn a_refusal_and_a_missing_reply_are_shown() {
    let mut model = after("bridge.topics");
    press(&mut model, "px<Enter>soon<Enter>");
    let reply = r#"{"status":"error","error":{"code":"INVALID_FIELD","message":"duration is no time"},"data":{},"transaction":"watch-test-1"}"#;
    perform(&mut model, &format!("live sendbridge/response/pause {reply}"));
    assert_eq!(notice(&model), "pause account 1688850000000001: refused, INVALID_FIELD: duration is no time");
    press(&mut model, "c");
    assert!(model.details.is_some());
    model.tick(model.now + Duration::from_secs(9));
    assert!(model.details.is_some());
    model.tick(model.now + Duration::from_secs(1));
    assert!(model.details.is_none(), "no reply, no details");
    assert!(notice(&model).contains("no reply within 10 s, it may or may not have been done"), "{}", notice(&model));
    let (_, payload) = command(&press(&mut model, "c"));
    model.not_sent(payload["transaction"].as_str().expect("text"));
    assert!(notice(&model).contains("the connection did not take it"), "{}", notice(&model));
    assert!(model.details.is_none());
}

#[test]
fn nothing_is_sent_to_a_bridge_that_is_not_there() {
    let mut model = after("bridge.topics");
    perform(&mut model, "stored sendbridge/state {\"state\":\"offline\"}");
    assert_eq!(model.bridge, Some(BridgeState::Offline));
    assert_eq!(press(&mut model, "c"), []);
    assert!(notice(&model).ends_with("not sent, the bridge is offline") && model.is_stale(), "{}", notice(&model));
    perform(&mut model, "stored sendbridge/state {\"state\":\"online\"}\ndisconnected 3 refused");
    assert_eq!(press(&mut model, "px<Enter><Enter>"), []);
    assert!(notice(&model).ends_with("there is no connection to the broker"), "{}", notice(&model));
}

#[test]
fn a_resume_asks_first_and_names_a_wider_hold() {
    let mut model = after("bridge.topics");
    let (topic, payload) = command(&press(&mut model, "<Down>ry"));
    assert_eq!((topic.as_str(), &payload["account"]), ("sendbridge/request/resume", &json!("1688850000000002")));
    let reply = r#"{"status":"ok","data":{"released":[6]},"transaction":"watch-test-1"}"#;
    perform(&mut model, &format!("live sendbridge/response/resume {reply}"));
    assert!(notice(&model).ends_with("done, released hold 6"), "{}", notice(&model));
    press(&mut model, "/kiosk-1<Enter>");
    assert_eq!(press(&mut model, "ry"), [], "its company is held, not the account");
    assert_eq!(notice(&model), "");
    press(&mut model, "r");
    assert_eq!(notice(&model), "hold 7 is about corp kiosk: resume it among the holds");
    let (_, payload) = command(&press(&mut model, "<Tab><Down>r<Enter>"));
    assert_eq!((&payload["hold"], &payload["account"]), (&json!(7), &Value::Null));
    let (_, payload) = command(&press(&mut model, "<End>ry"));
    assert_eq!(payload["hold"], json!(8), "a block ends like a hold");
}

#[test]
fn the_cursor_stays_on_its_account_while_the_order_changes() {
    let mut model = empty();
    model.connected(model.now);
    for (name, queued) in [("a", 30), ("b", 20), ("c", 10)] {
        model.hear(&format!("sendbridge/account/{name}"), account(name, queued).as_bytes(), true, model.now);
    }
    press(&mut model, "<Down>");
    assert_eq!(model.account_at_cursor().map(|report| report.account.as_str()), Some("b"));
    model.hear("sendbridge/account/b", account("b", 1).as_bytes(), false, model.now);
    let window = model.accounts_window(10);
    let names: Vec<&str> = window.rows.iter().map(|report| report.account.as_str()).collect();
    assert_eq!((names, window.selected), (vec!["a", "c", "b"], 2));
    // A cleared topic takes its account away, and the cursor to the top.
    model.hear("sendbridge/account/b", b"", false, model.now);
    assert_eq!(model.account_at_cursor().map(|report| report.account.as_str()), Some("a"));
    assert_eq!((model.accounts.len(), model.malformed), (2, 0));
    press(&mut model, "<End>");
    assert_eq!(model.account_at_cursor().map(|report| report.account.as_str()), Some("c"));
    model.connected(model.now);
    assert_eq!(model.accounts.len(), 0, "after a new connection only what the broker still has");
}

#[test]
fn a_paste_outside_of_a_line_is_no_keys() {
    let mut model = after("bridge.topics");
    assert_eq!(model.press(&Key::Paste("pq\nr".to_owned())), None);
    assert_eq!((model.asking.is_none(), model.help), (true, false));
    press(&mut model, "p");
    assert_eq!(model.press(&Key::Paste(format!("two\nlines\x1b[2J{}", "x".repeat(1000)))), None);
    let Some(Asking::Reason { text, .. }) = &model.asking else { panic!("{:?}", model.asking) };
    assert!(text.starts_with("twolines[2Jx") && text.chars().count() == 200, "{text}");
    assert_eq!(press(&mut model, "<Ctrl-C>"), [Effect::Quit]);
    assert_eq!(press(&mut empty(), "q"), [Effect::Quit]);
}

#[test]
fn what_cannot_be_read_is_counted_and_changes_nothing() {
    let mut model = after("bridge.topics");
    let health = model.health.as_ref().map(|health| health.value.clone());
    for (topic, payload) in [
        ("health", "{}"),
        ("state", "online"),
        ("account/1", "null"),
        ("corp/kiosk", "[1]"),
        ("hold", r#"{"holds":{}}"#),
        ("alarm", "{"),
        ("event/send/sent", "\u{fffd}"),
        ("response/pause", "no"),
        ("info", "7"),
    ] {
        model.hear(&format!("sendbridge/{topic}"), payload.as_bytes(), false, model.now);
    }
    let long = account(&"x".repeat(20_000), 1);
    model.hear("sendbridge/account/long", long.as_bytes(), false, model.now);
    assert_eq!((model.malformed, model.malformed_topic.as_deref()), (10, Some("sendbridge/account/long")));
    assert_eq!(model.health.as_ref().map(|health| health.value.clone()), health);
    assert_eq!((model.accounts.len(), model.corps.len(), model.holds().count()), (9, 3, 3));
    model.hear("other/health", b"{}", false, model.now);
    assert_eq!(model.malformed, 10);
}

#[test]
fn the_tail_is_bounded_and_can_be_frozen() {
    let mut model = empty();
    for number in 0..1_500 {
        model.hear("sendbridge/event/send/sent", format!("{{\"id\":{number}}}").as_bytes(), false, model.now);
    }
    assert_eq!((model.tail().count(), model.events_heard), (1_000, 1_500));
    press(&mut model, " ");
    model.hear("sendbridge/event/send/sent", b"{\"id\":\"new\"}", false, model.now);
    assert_eq!(model.events_since_freeze(), Some(1));
    assert_eq!(model.tail().next().map(|line| &*line.rest), Some("id 1499"));
    press(&mut model, " ");
    assert_eq!(model.tail().next().map(|line| &*line.rest), Some("id new"));
    let long = format!("{{\"account\":\"{}\",\"id\":\"{}\"}}", "a".repeat(9_999), "b".repeat(9_999));
    model.hear("sendbridge/event/send/sent", long.as_bytes(), false, model.now);
    let line = model.tail().next().expect("a line");
    assert!(line.rest.len() <= 240 && line.account.as_ref().is_some_and(|account| account.len() <= 128));
    for _ in 0..500 {
        model.hear("sendbridge/alarm", b"{\"what\":\"x\"}", false, model.now);
    }
    assert_eq!((model.alarms.len(), model.alarms_heard), (100, 500));
    assert_eq!(ACCOUNTS_MAX, 100_000);
}

#[test]
fn only_what_is_said_live_tells_of_the_bridges_clock() {
    let mut model = after("bridge.topics");
    let difference = model.clock_difference();
    let stored = account("z", 1).replace("06:30:00Z", "01:00:00Z");
    model.hear("sendbridge/account/z", stored.as_bytes(), true, model.now);
    assert_eq!(model.clock_difference(), difference);
    model.hear("sendbridge/account/z", account("z", 1).as_bytes(), false, model.now);
    assert_eq!(model.clock_difference(), Some((Duration::from_secs(9), false)));
    assert_eq!(model.bridge_now(), time("2026-03-02T06:30:00Z"));
    assert_eq!((model.health_age(), model.is_stale()), (Some(Duration::from_secs(9)), false));
    model.tick(model.now + Duration::from_secs(67));
    assert_eq!((model.health_age(), model.is_stale()), (Some(Duration::from_secs(76)), true));
}

#[test]
fn panes_follow_each_other_in_both_directions() {
    let mut model = empty();
    assert_eq!(model.focus, Pane::Accounts);
    press(&mut model, "<Tab><Tab><Tab><Tab>");
    assert_eq!(model.focus, Pane::Companies);
    press(&mut model, "<BackTab>");
    assert_eq!(model.focus, Pane::Events);
    // Nothing is there, and every key is harmless.
    for _ in Pane::ALL {
        assert_eq!(press(&mut model, "<Up><Down><PageDown><Home><End>sr<Esc>p<Esc>c<Tab>"), []);
    }
}

proptest! {
    #[test]
    fn no_payload_and_no_key_makes_it_panic(
        said in prop::collection::vec((0_usize..9, prop::collection::vec(any::<u8>(), 0..60), any::<bool>()), 0..20),
        keys in "[a-z /?\\n]{0,40}",
    ) {
        let topics = ["state", "info", "health", "account/a", "corp/c", "hold", "alarm", "event/send/x", "response/p"];
        let mut model = after("bridge.topics");
        for (topic, payload, stored) in &said {
            model.hear(&format!("sendbridge/{}", topics[*topic]), payload, *stored, model.now);
        }
        press(&mut model, &keys.replace('\n', "<Enter>"));
        let mut buffer = ratatui::buffer::Buffer::empty(ratatui::layout::Rect::new(0, 0, 80, 24));
        crate::cli::watch::draw::draw(&model, crate::cli::watch::draw::Theme { colours: true }, &mut buffer);
    }
}
