//! Who asks is told at once where few wait, and with the next forecast where many do.

use super::world::START;
use super::{World, settings};
use crate::engine::Settings;
use crate::engine::forecast::{AT_ONCE_MAX, FRESH, STALE};
use crate::engine::settings::{MessageSettings, StatusSettings};
use crate::model::{
    Account, Action, Command, Doubt, Findings, Found, Input, MessageId, MessagesReport, OnDoubt, Options, Seq, Time,
    Verdict,
};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

/// Questions that may wait for one forecast.
const ASKS_MAX: usize = 256;

fn account_get(account: &str) -> Command {
    Command::AccountGet { account: Account::new(account) }
}

fn replies(world: &mut World) -> Vec<serde_json::Value> {
    let actions = std::mem::take(&mut world.actions);
    let mut replies = Vec::new();
    for (_, action) in actions {
        if let Action::Reply(reply) = action {
            replies.push(reply.result.expect("it knows the answer"));
        }
    }
    replies
}

fn busy_world(messages: usize) -> World {
    let mut world = World::new(settings(), Duration::from_millis(20));
    world.list("main", &[("a".to_owned(), "corp".to_owned())]);
    world.advance(Duration::from_secs(2));
    for _ in 0..messages {
        world.request("a", "", Options::default());
    }
    world.poll();
    world.actions.clear();
    world
}

#[test]
fn where_few_wait_a_question_is_answered_at_once() {
    let mut world = busy_world(AT_ONCE_MAX);
    world.command(account_get("a"));
    world.poll();
    let replies = replies(&mut world);
    assert!(replies[0]["nextSendAt"].is_string() && replies[0]["drainEta"].is_string(), "{replies:?}");
}

#[test]
fn where_many_wait_a_question_is_answered_with_the_next_forecast() {
    let mut world = busy_world(AT_ONCE_MAX + 1);
    world.command(account_get("a"));
    world.poll();
    let play = world.engine.poll_play(world.now).expect("somebody asked");
    world.command(account_get("a"));
    assert!(world.engine.poll_play(world.now).is_none(), "one play at a time");
    assert!(replies(&mut world).is_empty());

    // Meanwhile two more are sent, and those who asked first are told what comes then.
    world.advance(Duration::from_millis(1100));
    world.engine.handle_forecast(Some(play.run()), world.now);
    world.poll();
    let first = replies(&mut world);
    assert_eq!(first.len(), 1, "the second question came after the copy");
    let next = Time::parse_rfc3339(first[0]["nextSendAt"].as_str().expect("a time")).expect("a time");
    assert!(next >= world.now && next <= world.now + Duration::from_millis(521), "{next} {}", world.now);

    let play = world.engine.poll_play(world.now).expect("somebody still waits");
    world.engine.handle_forecast(Some(play.run()), world.now);
    world.command(account_get("a"));
    world.poll();
    assert_eq!(replies(&mut world).len(), 2, "nothing changed since: the forecast at hand does");
    assert!(world.engine.poll_play(world.now).is_none());
}

/// Asks for message `seq`, and hands over what the journal saw of it a while ago.
fn ask_for_message(world: &mut World, seq: u64) {
    let id = MessageId::from_json(&seq.to_string());
    world.command(Command::MessageGet { id, account: None });
    world.poll();
    let number = world
        .actions
        .drain(..)
        .find_map(|(_, action)| if let Action::Lookup(lookup) = action { Some(lookup.number) } else { None });
    let seen = serde_json::json!({ "seq": seq, "id": seq, "account": "a", "type": "text", "receivedAt": START,
        "state": "queued", "attempts": 0, "possiblyDuplicate": false });
    let messages = vec![serde_json::from_value(seen).expect("a report")];
    let result = Ok(Findings::Reports(MessagesReport { messages, complete: true, next: None }));
    let number = number.expect("the journal was asked");
    world.handle(Input::Found(Box::new(Found { number, result })));
    world.poll();
}

#[test]
fn a_message_is_shown_at_once_unless_it_waits_among_many() {
    let shown = |world: &mut World| replies(world).first().map(|reply| reply["messages"][0].clone());
    let mut few = busy_world(AT_ONCE_MAX);
    ask_for_message(&mut few, 3);
    assert!(shown(&mut few).expect("a reply")["expectedAt"].is_string());

    let mut many = busy_world(AT_ONCE_MAX + 2);
    ask_for_message(&mut many, 1);
    assert_eq!(shown(&mut many).expect("a reply")["state"], "sending");
    ask_for_message(&mut many, 3);
    assert_eq!(shown(&mut many), None);
    let play = many.engine.poll_play(many.now).expect("somebody waits for it");
    many.engine.handle_forecast(Some(play.run()), many.now);
    many.poll();
    assert!(shown(&mut many).expect("a reply")["expectedAt"].is_string());
    // Who stops foretells nothing.
    many.handle(Input::Stop);
    ask_for_message(&mut many, 3);
    assert_eq!(shown(&mut many).expect("a reply")["state"], "queued");
}

/// The journal was read before its last attempt.
#[test]
fn a_message_is_shown_as_it_is_by_now() {
    let settings = settings();
    let messages = MessageSettings { on_doubt: OnDoubt::Resend, dedup_window: DAY, ..settings.messages };
    let mut world = World::new(Settings { messages, ..settings }, Duration::from_secs(1));
    world.list("main", &[("a".to_owned(), "corp".to_owned())]);
    world.request("a", "", Options::default());
    world.poll();
    let verdict = Verdict::Unknown { why: Doubt::Timeout, detail: Box::default() };
    world.handle(Input::Ended { seq: Seq(1), attempt: 1, at: world.now, verdict });
    world.advance(Duration::from_secs(30));
    ask_for_message(&mut world, 1);
    let reply = &replies(&mut world)[0]["messages"][0];
    assert_eq!((&reply["state"], &reply["possiblyDuplicate"]), (&"sent".into(), &true.into()));
}

#[test]
fn so_many_may_wait_for_a_forecast_and_the_next_is_told_to_ask_again() {
    let mut world = busy_world(AT_ONCE_MAX + 1);
    for asked in 1..=ASKS_MAX + 1 {
        world.command(account_get("a"));
        world.poll();
        let refused = world.actions.drain(..).filter(|(_, action)| matches!(action, Action::Reply(_))).count();
        assert_eq!(refused, usize::from(asked > ASKS_MAX), "{asked}");
    }
}

/// Status topics want a newer one soon; without them half a minute will do.
#[test]
fn how_soon_the_next_forecast_is_made_hangs_on_who_is_shown_it() {
    for (per_second, rest) in [(0, STALE), (1, FRESH)] {
        let settings = settings();
        let status = StatusSettings { per_second, ..settings.status };
        let mut world = World::new(Settings { status, ..settings }, Duration::from_millis(20));
        world.list("main", &[("a".to_owned(), "corp".to_owned())]);
        for _ in 0..AT_ONCE_MAX + 5 {
            world.request("a", "", Options::default());
        }
        world.engine.poll_ready(world.now);
        let play = world.engine.poll_play(world.now).expect("many wait");
        world.engine.handle_forecast(Some(play.run()), world.now);
        world.request("a", "", Options::default());
        assert_eq!(world.engine.play_due(), Some(world.now + rest));
        // One that takes long is made less often.
        world.now = world.now + rest;
        let play = world.engine.poll_play(world.now).expect("it is due");
        world.now = world.now + Duration::from_secs(100);
        world.engine.handle_forecast(Some(play.run()), world.now);
        world.request("a", "", Options::default());
        assert_eq!(world.engine.play_due(), Some(world.now + Duration::from_secs(400)));
    }
}

#[test]
fn a_forecast_that_fails_leaves_nobody_without_an_answer() {
    let mut world = busy_world(AT_ONCE_MAX + 1);
    world.command(account_get("a"));
    world.poll();
    let _ = world.engine.poll_play(world.now).expect("somebody asked");
    world.engine.handle_forecast(None, world.now);
    world.poll();
    let replies = replies(&mut world);
    assert!(replies[0]["queued"].as_u64() > Some(10) && replies[0]["nextSendAt"].is_null(), "{replies:?}");
    assert!(world.engine.play_due().is_some_and(|due| due > world.now), "it is tried again, and not at once");
}

#[test]
fn status_topics_have_a_new_forecast_and_not_too_often() {
    let mut world = busy_world(200);
    let mut plays = 0;
    for _ in 0..100 {
        world.advance(Duration::from_millis(500));
        if let Some(play) = world.engine.poll_play(world.now) {
            plays += 1;
            // It takes two seconds.
            world.advance(Duration::from_secs(2));
            world.engine.handle_forecast(Some(play.run()), world.now);
        }
    }
    // Without status topics every half a minute is enough; the last messages are played at once.
    assert!((2..=4).contains(&plays), "{plays}");
}
