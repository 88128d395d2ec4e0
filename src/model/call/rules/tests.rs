use super::*;
use crate::model::{CallFile, JsonText};
use bytes::Bytes;

fn rules(entries: &[&str]) -> CallRules {
    let rules = entries.iter().map(|entry| CallRule::parse(entry).unwrap_or_else(|error| panic!("{entry}: {error}")));
    CallRules { rules: rules.collect(), sends: vec![Box::from("/note/Out")] }
}

fn with_body() -> CallContent {
    CallContent { body: Some(JsonText(Bytes::from_static(b"{}"))), ..CallContent::default() }
}

fn with_file() -> CallContent {
    let file = CallFile::Inline { name: Box::from("a"), bytes: Bytes::new() };
    CallContent { file: Some(file), ..CallContent::default() }
}

fn plan(rules: &CallRules, method: &str, path: &str, content: &CallContent) -> String {
    match rules.plan(Method::parse(method), path, content) {
        Ok(Planned { method, path, changes }) => {
            format!("{} {path}{}", method.as_str(), if changes { " changes" } else { "" })
        }
        Err(fault) => format!("{} {}", fault.code.as_str(), fault.field.as_deref().unwrap_or("-")),
    }
}

#[test]
fn a_path_of_sending_is_refused_in_every_disguise() {
    let everything = rules(&["documented", "/*"]);
    for path in [
        "/msg/text",
        "msg/text",
        "/MSG/TEXT",
        "/msg",
        "/msg/whatever/comes",
        "/msg/text/",
        "//msg/text",
        "/msg//text",
        "///msg///text//",
        "/./msg/text",
        "/contact/../msg/text",
        "/../../msg/text",
        "/%6dsg/text",
        "/%6Dsg%2Ftext",
        "/%256dsg/text",
        "%25252525%32%66msg/text",
        "/contact/%2e%2e/msg/text",
        "/contact/%2E./msg/text",
        "/msg%2ftext",
        "/msg/text?x=1",
        "/msg/text#x",
        "/msg/text%3fx",
        "/msg;x=1/text",
        "\\msg\\text",
        "/contact\\..\\msg\\text",
        " /msg/text",
        "/msg /text",
        "/msg%00/text",
        "/msg./text",
        "\t/msg/text\n",
        "http://127.0.0.1:8080/gnapi/open/msg/text",
        "https://user@h/msg/text",
        "//h/msg/text",
        "/gnapi/open/msg/text",
        "gnapi/open/msg/text",
        "/GNAPI/Open/Msg/Text",
        "/gnapi/open//msg/text",
        "/miniProgram/send",
        "/miniprogram/SEND",
        "/miniProgram/send/",
        "/videonum/send",
        "/VideoNum/send?",
        "/x/../videonum/send",
        "/note/out",
        "/note//out",
        "/NOTE/%6Fut",
    ] {
        for method in ["GET", "POST", ""] {
            assert_eq!(plan(&everything, method, path, &with_body()), "SEND_PATH path", "{method} {path:?}");
        }
    }
    let fault = everything.plan(None, "/msg/text", &with_body()).expect_err("refused");
    assert!(fault.message.contains("publish it to SendMessage"), "{fault}");
}

#[test]
fn a_path_that_is_not_plain_is_refused_whatever_is_allowed() {
    let everything = rules(&["/*"]);
    for path in [
        "",
        "/",
        "//",
        "/contact/",
        "//contact/remark",
        "/contact//remark",
        "/contact/./remark",
        "/contact/../group",
        "/contact/.hidden",
        "/contact/remark.",
        "/contact/remark?wxId=1",
        "/contact/remark#a",
        "/contact/%72emark",
        "/contact/re mark",
        "/contact/r\u{e9}mark",
        "/contact;a/remark",
        "\\contact\\remark",
        "http://h/contact/remark",
        "/contact/remark\n",
        &format!("/{}", "a".repeat(256)),
    ] {
        assert_eq!(plan(&everything, "", path, &CallContent::default()), "INVALID_FIELD path", "{path:?}");
    }
}

#[test]
fn everything_documented_may_be_called_and_nothing_else() {
    let default = CallRules::default();
    for own in OFFERED {
        let content = match own.path {
            UPLOAD_PATH => with_file(),
            _ => CallContent::default(),
        };
        let changes = if own.changes { " changes" } else { "" };
        let wanted = format!("{} {}{changes}", own.method.as_str(), own.path);
        assert_eq!(plan(&default, own.method.as_str(), own.path, &content), wanted);
        assert_eq!(plan(&default, own.method.as_str(), &own.path.to_uppercase(), &content), wanted);
        assert_eq!(plan(&default, own.method.as_str(), &own.path[1..], &content), wanted);
        assert!(!is_send(own.path, &[]), "{}", own.path);
    }
    for (method, path) in [
        ("GET", "/nothing"),
        ("GET", "/contact"),
        ("GET", "/contact/remark/more"),
        ("POST", "/gnapi/open/group"),
        ("GET", "/miniProgram"),
    ] {
        assert_eq!(plan(&default, method, path, &CallContent::default()), "PATH_NOT_ALLOWED path", "{path}");
    }
    assert_eq!(plan(&default, "DELETE", "/group/list", &CallContent::default()), "PATH_NOT_ALLOWED method");
}

#[test]
fn every_path_is_there_once() {
    for (index, own) in OFFERED.iter().enumerate() {
        assert_eq!(check_plain(own.path), Ok(()));
        let is_other = |other: &Offered| other.method != own.method || !other.path.eq_ignore_ascii_case(own.path);
        assert!(OFFERED[..index].iter().all(is_other), "{}", own.path);
    }
}

#[test]
fn the_method_that_is_left_out_is_the_only_one_or_goes_by_what_is_sent() {
    let some = rules(&["documented", "/other"]);
    let nothing = CallContent::default();
    for (path, content, wanted) in [
        ("/contact/remark", &nothing, "PUT /contact/remark changes"),
        ("/inner/user/wx/list", &nothing, "GET /inner/user/wx/list"),
        ("/contact/external/query", &with_body(), "POST /contact/external/query"),
        ("/group", &nothing, "POST /group changes"),
        ("/group/member", &with_body(), "POST /group/member changes"),
        // GET is none of the two that it has.
        ("/group/member", &nothing, "PATH_NOT_ALLOWED method"),
        ("/other", &nothing, "GET /other"),
        ("/other", &with_body(), "POST /other changes"),
    ] {
        assert_eq!(plan(&some, "", path, content), wanted, "{path}");
    }
}

#[test]
fn what_goes_with_a_call_must_fit() {
    let default = CallRules::default();
    let both = CallContent { file: with_file().file, ..with_body() };
    for (method, path, content, wanted) in [
        ("POST", "/file/upload", CallContent::default(), "INVALID_FIELD file"),
        ("POST", "/file/upload", with_body(), "INVALID_FIELD file"),
        ("POST", "/file/upload", both, "INVALID_FIELD body"),
        ("POST", "/file/upload", with_file(), "POST /file/upload changes"),
        ("POST", "/group", with_file(), "INVALID_FIELD file"),
        ("GET", "/group/list", with_body(), "INVALID_FIELD body"),
        ("DELETE", "/group/member", with_body(), "DELETE /group/member changes"),
    ] {
        assert_eq!(plan(&default, method, path, &content), wanted, "{method} {path} {content:?}");
    }
}

#[test]
fn the_operator_decides() {
    let nothing = CallContent::default();
    for (entries, method, path, wanted) in [
        (&[][..], "GET", "/group/list", "PATH_NOT_ALLOWED path"),
        (&["/group/list"], "GET", "/group/list", "GET /group/list"),
        (&["/group/list"], "GET", "/label/all", "PATH_NOT_ALLOWED path"),
        (&["GET /group/*"], "GET", "/group/list", "GET /group/list"),
        (&["GET /group/*"], "GET", "/group/member/list", "GET /group/member/list"),
        (&["GET /group/*"], "POST", "/group/member", "PATH_NOT_ALLOWED path"),
        (&["GET /group/*"], "POST", "/group", "PATH_NOT_ALLOWED path"),
        (&["documented", "!/container/*"], "POST", "/container/stop", "PATH_NOT_ALLOWED path"),
        (&["documented", "!/container/*"], "GET", "/label/all", "GET /label/all"),
        (&["!POST /group", "documented"], "POST", "/group", "PATH_NOT_ALLOWED path"),
        (&["documented", "/new/one"], "GET", "/New/One", "GET /New/One"),
        (&["documented", "/new/one"], "PUT", "/new/one", "PUT /new/one changes"),
        (&["/new/*"], "GET", "/new", "PATH_NOT_ALLOWED path"),
        (&["/*"], "DELETE", "/a/b.c", "DELETE /a/b.c changes"),
        (&["/*", "!documented"], "GET", "/label/all", "PATH_NOT_ALLOWED path"),
    ] {
        assert_eq!(plan(&rules(entries), method, path, &nothing), wanted, "{entries:?} {method} {path}");
    }
}

#[test]
fn an_entry_that_means_nothing_says_so() {
    for (entry, said) in [
        ("", "must be made of"),
        ("contact", "must begin with a slash"),
        ("/contact*", "must be made of"),
        ("/contact/", "must be made of"),
        ("/a//b", "must be made of"),
        ("/a?b", "must not have a question mark"),
        ("HEAD /a", "is no method"),
        ("http://h/a", "below senders.url"),
        ("/msg/text", "path of sending"),
        ("/msg/*", "path of sending"),
        ("POST /miniprogram/send", "path of sending"),
    ] {
        let refusal = CallRule::parse(entry).expect_err(entry);
        assert!(refusal.contains(said), "{entry}: {refusal}");
    }
    assert!(CallRule::parse("!/msg/*").is_ok(), "to forbid it is no mistake");
}

proptest::proptest! {
    /// Whatever is planned is plain, and sends nothing.
    #[test]
    fn a_plan_is_never_a_path_of_sending(path in "[/a-zA-Z%.0-9;? ]{0,20}|/?(msg|MSG|%6dsg)[/%.a-z0-9]{0,8}") {
        if let Ok(planned) = rules(&["/*"]).plan(None, &path, &CallContent::default()) {
            proptest::prop_assert!(!planned.path.to_lowercase().starts_with("/msg/"));
            let mut parts = planned.path[1..].split('/');
            proptest::prop_assert!(parts.all(|part| !part.is_empty() && part != "." && part != ".."));
            proptest::prop_assert!(!planned.path.contains('%'));
        }
    }
}
