use super::*;
use proptest::prelude::*;

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

fn build(send: &[&str], answer: &str, base: &str, reply_topics: &[&str]) -> Result<Topics, Vec<String>> {
    Topics::new(&owned(send), answer, base, &owned(reply_topics))
        .map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

fn topics() -> Topics {
    build(&["SendMessage", "SendMessage/+"], "SendMessageResp", "sendbridge", &["SendMessageResp/#", "reply/#"])
        .expect("the defaults are valid")
}

#[test]
fn subscribes_to_messages_and_commands() {
    assert_eq!(topics().message_filters(), ["SendMessage", "SendMessage/+"]);
    assert_eq!(topics().command_filter(), "sendbridge/request/#");
}

#[test]
fn classifies_what_comes_in() {
    let topics = topics();
    let send = |suffix| Incoming::Send { suffix };
    let command = |name| Incoming::Command { name };
    for (topic, meaning) in [
        ("SendMessage", send(None)),
        ("SendMessage/app1", send(Some("app1"))),
        ("SendMessage/", send(Some(""))),
        ("SendMessage/a/b", Incoming::Other),
        ("sendmessage", Incoming::Other),
        ("SendMessageResp", Incoming::Other),
        ("sendbridge/request/health", command("health")),
        ("sendbridge/request/message/get", command("message/get")),
        ("sendbridge/request/", command("")),
        ("sendbridge/request", command("")),
        ("sendbridge/requests", Incoming::Other),
        ("sendbridge/state", Incoming::Other),
        ("sendbridgex/request/health", Incoming::Other),
        ("", Incoming::Other),
    ] {
        assert_eq!(topics.classify(topic), meaning, "{topic}");
    }
    let deep = build(&["in/#"], "out", "b", &[]).expect("valid");
    assert_eq!(deep.classify("in"), send(None));
    assert_eq!(deep.classify("in/a/b"), send(Some("a/b")));
}

#[test]
fn builds_what_goes_out() {
    let topics = topics();
    assert_eq!(topics.answer(None), "SendMessageResp");
    assert_eq!(topics.answer(Some("app1")), "SendMessageResp/app1");
    assert_eq!(topics.answer(Some(&"x".repeat(65_523))), "SendMessageResp");
    assert_eq!(topics.answer(Some(&"x".repeat(65_519))).len(), 65_535);
    assert_eq!(topics.response("message/get"), "sendbridge/response/message/get");
    assert_eq!(topics.response(""), "sendbridge/response");
    assert_eq!(topics.response(&"x".repeat(65_516)), "sendbridge/response");
    assert_eq!(topics.response(&"x".repeat(65_515)).len(), 65_535);
    assert_eq!(topics.state(), "sendbridge/state");
    assert_eq!(topics.info(), "sendbridge/info");
    assert_eq!(topics.health(), "sendbridge/health");
    assert_eq!(topics.hold(), "sendbridge/hold");
    assert_eq!(topics.alarm(), "sendbridge/alarm");
    assert_eq!(topics.send_event("in_doubt"), "sendbridge/event/send/in_doubt");
    assert_eq!(topics.account("1688850407900545"), "sendbridge/account/1688850407900545");
    assert_eq!(topics.account("a/+#%\0\n"), "sendbridge/account/a%2F%2B%23%25%00%0A");
    assert_eq!(topics.corp("企业\u{FFFF}"), "sendbridge/corp/企业%EF%BF%BF");
}

#[test]
fn tells_whose_status_a_topic_is() {
    let topics = topics();
    let account = |id| Some(StatusTopic::Account(Account::new(id)));
    for (topic, status) in [
        ("sendbridge/account/1688", account("1688")),
        ("sendbridge/account/a%2F%2B%23%25%00%0A", account("a/+#%\0\n")),
        ("sendbridge/account/%EF%BF%BF", account("\u{FFFF}")),
        ("sendbridge/account/", account("")),
        ("sendbridge/corp/%2F", Some(StatusTopic::Corp(Corp::new("/")))),
        // None of these is what the bridge would write for any id.
        ("sendbridge/account/%2f", None),
        ("sendbridge/account/%41", None),
        ("sendbridge/account/%", None),
        ("sendbridge/account/%FF", None),
        ("sendbridge/account/a/b", None),
        ("sendbridge/account", None),
        ("sendbridge/hold/1", None),
        ("other/account/1", None),
    ] {
        assert_eq!(topics.status_of(topic), status, "{topic}");
    }
    assert_eq!(topics.status_filters(), ["sendbridge/account/+", "sendbridge/corp/+"]);
}

#[test]
fn names_all_of_them() {
    let report = serde_json::to_value(topics().report()).expect("JSON");
    assert_eq!(report["send"], serde_json::json!(["SendMessage", "SendMessage/+"]));
    assert_eq!(report["account"], "sendbridge/account/{wxId}");
    assert_eq!(report["sendEvent"], "sendbridge/event/send/{state}");
    assert_eq!(report["event"], "sendbridge/event/{event}");
}

#[test]
fn a_publisher_with_a_suffix_is_answered_below_it_alone() {
    let own = ["SendMessageResp/shop", "SendMessageResp/shop/1", "reply/shop", "reply/shop/1/2"];
    let others =
        ["SendMessageResp", "SendMessageResp/other", "reply", "reply/other/1", "reply/shopping", "reply/x/shop"];
    let suffix = Some("shop");
    for topic in own {
        assert!(topics().may_reply_to(topic, suffix), "{topic}");
    }
    for topic in others {
        assert!(!topics().may_reply_to(topic, suffix), "{topic}");
    }
    // More levels than the broker takes would only be refused later, once for each message.
    assert!(topics().may_reply_to(&format!("reply/shop{}", "/".repeat(199)), suffix));
    assert!(!topics().may_reply_to(&format!("reply/shop{}", "/".repeat(200)), suffix));
    let inner = build(&["SendMessage/+"], "SendMessageResp", "sendbridge", &["a/+/b", "all"]).expect("valid");
    assert!(inner.may_reply_to("a/shop/b", suffix) && !inner.may_reply_to("a/other/b", suffix));
    assert!(inner.may_reply_to("all", suffix), "a topic without a wildcard was named by the operator");
    // One level of a name that is longer in characters than in levels, and bytes that are no boundary.
    let open = build(&["SendMessage/+"], "SendMessageResp", "sendbridge", &["#", "你/+"]).expect("valid");
    assert!(open.may_reply_to("你/shop", suffix) && open.may_reply_to("shop/x", suffix));
    assert!(!open.may_reply_to("你好", suffix) && !open.may_reply_to("other", suffix));

    let strict = build(&["SendMessage", "SendMessage/+"], "SendMessageResp", "sendbridge", &["reply/{publisher}/#"]);
    let strict = strict.expect("valid");
    assert!(strict.may_reply_to("reply/shop/1", suffix) && !strict.may_reply_to("reply/other/1", suffix));
    for topic in ["reply/shop/1", "reply/{publisher}/1", "reply"] {
        assert!(!strict.may_reply_to(topic, None), "{topic}");
    }
}

#[test]
fn replies_only_where_it_may() {
    let topics = topics();
    for topic in ["SendMessageResp", "SendMessageResp/a/b", "reply/x", "reply"] {
        assert!(topics.may_reply_to(topic, None), "{topic}");
    }
    let too_long = format!("reply/{}", "x".repeat(65_530));
    for topic in [
        "",
        "other",
        "reply/+",
        "reply/#",
        "reply/\0",
        "$SYS/reply",
        "SendMessage",
        "reply/\u{1b}",
        "reply/\u{ffff}",
        &too_long,
    ] {
        assert!(!topics.may_reply_to(topic, None), "{topic}");
    }
    let open = build(&["SendMessage/+"], "SendMessageResp", "sendbridge", &["#"]).expect("valid");
    for topic in ["anything", "SendMessage", "sendbridge", "sendbridge/response/pause", "sendbridge/other"] {
        assert!(open.may_reply_to(topic, None), "{topic}");
    }
    for topic in ["SendMessage/x", "sendbridge/request/pause", "sendbridge/request", "sendbridge/state", "$SYS/x"] {
        assert!(!open.may_reply_to(topic, None), "{topic}");
    }
}

#[test]
fn names_every_wrong_setting() {
    let errors = build(&["a/#/b", "$share/g/a", ""], "a+", "$b", &["x#"]).expect_err("all are wrong");
    assert_eq!(
        errors,
        [
            r##"topics.send "a/#/b" must have + and # alone in their level, and # in the last one only"##,
            r#"topics.send "$share/g/a" must not begin with $: such topics belong to the broker"#,
            r#"topics.send "" must not be empty"#,
            r##"topics.reply_topics "x#" must have + and # alone in their level, and # in the last one only"##,
            r#"topics.answer "a+" must not contain + or #: it is published to"#,
            r#"topics.base "$b" must not begin with $: such topics belong to the broker"#,
        ]
    );
    let long = "x".repeat(1025);
    let errors = build(&[], "a\0", &long, &[]).expect_err("all are wrong");
    assert_eq!(errors[0], r#"topics.send "" needs at least one entry"#);
    assert_eq!(errors[1], r#"topics.answer "a\0" must not contain the NUL character"#);
    assert!(errors[2].ends_with("is 1025 bytes long, at most 1024 are allowed"));
}

#[test]
fn refuses_names_that_would_feed_the_bridge_with_its_own_words() {
    for (send, answer, base, at_fault) in [
        ("in/+", "in/answers", "b", "topics.send"),
        ("in/#", "in", "b", "topics.send"),
        ("in", "in", "b", "topics.send"),
        ("in/x", "in", "b", "topics.send"),
        ("b/#", "out", "b", "topics.send"),
        ("b/request/send", "out", "b", "topics.send"),
        ("in", "b", "b", "topics.answer"),
        ("in", "b", "b/c", "topics.answer"),
        ("in", "b/state", "b", "topics.answer"),
        ("in", "b/request/x", "b", "topics.answer"),
        ("#", "out", "b", "topics.send"),
        ("+", "out", "b", "topics.send"),
        ("+/in", "out", "b", "topics.send"),
        ("a/+/+", "out", "b", "topics.send"),
    ] {
        let errors = build(&[send], answer, base, &[]).expect_err("they are not apart");
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].starts_with(at_fault), "{errors:?}");
    }
    for (send, answer, base) in [("in/+", "in", "b"), ("in/+/", "out", "b")] {
        assert!(build(&[send], answer, base, &[]).is_err());
    }
    assert!(build(&["b/in/+"], "b/out", "b", &[]).is_ok(), "other words below the base are free");
    assert!(build(&["in"], "inside", "b", &[]).is_ok());
}

/// The rules of matching, written as they are told: one level after the other, from the left.
fn oracle(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        ([], []) | (["#"], _) => true,
        (["+", filter @ ..], [_, topic @ ..]) => oracle(filter, topic),
        ([name, filter @ ..], [level, topic @ ..]) => name == level && oracle(filter, topic),
        ([], _) | (_, []) => false,
    }
}

fn levels(words: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(prop::sample::select(words), 1..5)
}

proptest! {
    #[test]
    fn matches_like_the_oracle(filter in levels(&["a", "b", "", "+", "#"]), topic in levels(&["a", "b", "", "$"])) {
        let is_valid = !filter[..filter.len() - 1].contains(&"#") && filter != [""];
        let parsed = Filter::parse(&filter.join("/"));
        prop_assert_eq!(parsed.is_ok(), is_valid);
        if let Ok(parsed) = parsed {
            let wanted = topic[0] != "$" && oracle(&filter, &topic);
            prop_assert_eq!(parsed.matches(&topic.join("/")), wanted);
        }
    }

    #[test]
    fn overlaps_whenever_one_topic_matches_both(
        one in levels(&["a", "b", "+", "#"]),
        two in levels(&["a", "b", "+", "#"]),
        topic in levels(&["a", "b"]),
    ) {
        if let (Ok(one), Ok(two)) = (Filter::parse(&one.join("/")), Filter::parse(&two.join("/"))) {
            let topic = topic.join("/");
            prop_assert!(!(one.matches(&topic) && two.matches(&topic)) || one.overlaps(&two));
            prop_assert_eq!(one.overlaps(&two), two.overlaps(&one));
        }
    }

    #[test]
    fn any_id_makes_one_level_and_comes_back(id in any::<String>()) {
        let topic = topics().account(&id);
        let level = topic.strip_prefix("sendbridge/account/").expect("the base");
        prop_assert!(!level.contains(['/', '+', '#', '\0']) && !level.chars().any(char::is_control));
        prop_assert_eq!(decode_level(level), Some(id.clone()));
        prop_assert_eq!(topics().status_of(&topic), Some(StatusTopic::Account(Account::new(&id))));
        let corp = topics().corp(&id);
        prop_assert_eq!(topics().status_of(&corp), Some(StatusTopic::Corp(Corp::new(&id))));
    }

    #[test]
    fn any_topic_is_a_status_only_if_it_is_exactly_the_one_that_would_be_made(topic in any::<String>(), level in "[%0-9A-Fa-f/a]{0,12}") {
        for topic in [topic, format!("sendbridge/account/{level}"), format!("sendbridge/corp/{level}")] {
            match topics().status_of(&topic) {
                Some(StatusTopic::Account(account)) => prop_assert_eq!(topics().account(account.as_str()), topic),
                Some(StatusTopic::Corp(corp)) => prop_assert_eq!(topics().corp(corp.as_str()), topic),
                None => {}
            }
        }
    }

    #[test]
    fn any_text_is_classified_and_never_replied_to_where_the_bridge_listens(topic in any::<String>()) {
        let open = build(&["SendMessage/+"], "SendMessageResp", "sendbridge", &["#"]).expect("valid");
        if open.classify(&topic) != Incoming::Other {
            prop_assert!(!open.may_reply_to(&topic, None));
        }
    }
}
