//! The search, in the clear and in the forms that programs give to bytes.

use super::{CANARIES, Class, WAYS, Way, folder};
use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

/// Characters of what leaked that a report shows on each side.
const SHOWN_CHARS: usize = 120;
/// A report names so many leaks and counts the rest.
const LEAKS_SHOWN: usize = 20;
/// Of each way out a whole run keeps more lines by far; fewer mean that it was not looked at.
const LINES_LEAST: usize = 20;

#[derive(Deserialize)]
struct Line {
    topic: String,
    said: String,
}

/// What was looked through.
#[derive(Debug, Default)]
struct Searched {
    lines: [usize; WAYS.len()],
    bytes: usize,
    fed: BTreeSet<String>,
    leaks: Vec<String>,
}

/// Whether something of this class may be there.
fn may_be(class: Class, way: Way, topic: &str) -> bool {
    let is_topic = way == Way::Topic;
    match class {
        Class::Secret | Class::Route => false,
        Class::Said => is_topic && topic.contains("/event/") && !topic.contains("/event/send/"),
        Class::Called => is_topic && topic.ends_with("/response/sender/call"),
        Class::Words => is_topic,
        Class::Recipient | Class::Note => {
            is_topic && !["/health", "/info", "/state", "/alarm"].iter().any(|end| topic.ends_with(end))
        }
        Class::Account => way != Way::Http,
    }
}

/// The forms in which bytes get printed.
fn forms(text: &str) -> Vec<String> {
    let hex = text.bytes().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a string grows");
        hex
    });
    let mut forms = vec![text.to_owned(), hex.to_uppercase(), hex];
    forms.push(text.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", "));
    // Within other bytes it begins at any of three places of a group, and what mixes with its neighbours is cut off.
    for before in 0..3 {
        let encoded = STANDARD_NO_PAD.encode([&vec![0; before], text.as_bytes()].concat());
        let first = (before * 8).div_ceil(6);
        let last = (before + text.len()) * 8 / 6;
        forms.push(encoded[first..last].to_owned());
    }
    forms
}

fn search(folder: &Path) -> Searched {
    let wanted: Vec<(String, &str, Class)> = CANARIES
        .iter()
        .flat_map(|(canary, class)| forms(canary).into_iter().map(move |form| (form, *canary, *class)))
        .collect();
    let searcher = AhoCorasick::new(wanted.iter().map(|(form, _, _)| form)).expect("few and short");
    let mut searched = Searched::default();
    for entry in std::fs::read_dir(folder).expect("something was kept") {
        let path = entry.expect("an entry").path();
        let lines = BufReader::new(File::open(&path).expect("a file")).lines().map(|line| line.expect("text"));
        let extension = path.extension().and_then(|extension| extension.to_str());
        let Some(way) = WAYS.into_iter().find(|way| Some(way.as_str()) == extension) else {
            searched.fed.extend(lines);
            continue;
        };
        for line in lines {
            searched.lines[way as usize] += 1;
            searched.bytes += line.len();
            // Most lines hold none, and need not be read.
            if !searcher.is_match(&line) {
                continue;
            }
            let Line { topic, said } = serde_json::from_str(&line).expect("a line of ours");
            for found in searcher.find_overlapping_iter(&said) {
                let (_, canary, class) = &wanted[found.pattern().as_usize()];
                if !may_be(*class, way, &topic) {
                    let around = around(&said, found.start(), found.end());
                    searched.leaks.push(format!("{canary} in {} {topic}: {around}", way.as_str()));
                }
            }
        }
    }
    searched
}

fn around(text: &str, start: usize, end: usize) -> String {
    let before: String = text[..start].chars().rev().take(SHOWN_CHARS).collect();
    let before: String = before.chars().rev().collect();
    let after: String = text[end..].chars().take(SHOWN_CHARS).collect();
    format!("{before}[{}]{after}", &text[start..end])
}

/// Why a run proves nothing, or what leaked; `Ok` says how much was looked through.
fn judge(searched: &Searched) -> Result<String, String> {
    let missing: Vec<&str> =
        CANARIES.iter().map(|(canary, _)| *canary).filter(|canary| !searched.fed.contains(*canary)).collect();
    if !missing.is_empty() {
        return Err(format!("no bridge was ever given {missing:?}: the search shows nothing about them"));
    }
    for way in WAYS {
        let lines = searched.lines[way as usize];
        if lines < LINES_LEAST {
            return Err(format!("only {lines} lines of {} were kept: nothing is shown about it", way.as_str()));
        }
    }
    if !searched.leaks.is_empty() {
        let shown: Vec<&str> = searched.leaks.iter().take(LEAKS_SHOWN).map(String::as_str).collect();
        return Err(format!("{} leaks\n{}", searched.leaks.len(), shown.join("\n")));
    }
    let lines: usize = searched.lines.iter().sum();
    Ok(format!("{} canaries, {lines} lines, {} bytes, no leak", CANARIES.len(), searched.bytes))
}

/// Looks through what all tests before it have kept, so it must run alone and last.
#[test]
#[ignore = "needs a whole run before it, see tests/run"]
fn nothing_leaked_in_the_whole_run() {
    match judge(&search(&folder())) {
        Ok(report) => eprintln!("{report}"),
        Err(why) => panic!("{why}"),
    }
}

/// Keeps what a run would, with `said` on its ways out.
fn kept(said: &[(Way, &str, &str)]) -> tempfile::TempDir {
    use std::io::Write as _;
    let folder = tempfile::tempdir().expect("a folder");
    let open = |name: &str| File::options().create(true).append(true).open(folder.path().join(name)).expect("a file");
    for (canary, _) in CANARIES {
        writeln!(open("1.fed"), "{canary}").expect("written");
    }
    for way in WAYS {
        for _ in 0..LINES_LEAST {
            writeln!(open(&format!("1.{}", way.as_str())), r#"{{"topic":"t","said":"harmless"}}"#).expect("written");
        }
    }
    for (way, topic, said) in said {
        let line = serde_json::json!({ "topic": topic, "said": said });
        writeln!(open(&format!("2.{}", way.as_str())), "{line}").expect("written");
    }
    folder
}

#[test]
fn a_leak_is_found_on_every_way_out_and_in_every_form() {
    assert!(judge(&search(kept(&[]).path())).is_ok());
    for (canary, class) in CANARIES {
        for way in WAYS {
            for form in forms(canary) {
                let said = format!("before{form}after");
                let verdict = judge(&search(kept(&[(way, "sendbridge/health", &said)]).path()));
                assert_eq!(verdict.is_err(), !may_be(class, way, "sendbridge/health"), "{canary} {way:?} {form}");
            }
        }
    }
    // Bytes as programs print them, within others.
    let bytes = format!("{:?}", format!("ab{}cd", super::PASSWORD).as_bytes());
    assert!(judge(&search(kept(&[(Way::Log, "", &bytes)]).path())).is_err());
    let encoded = STANDARD_NO_PAD.encode(format!("a{}z", super::API_KEY));
    assert!(judge(&search(kept(&[(Way::Topic, "x", &encoded)]).path())).is_err());
}

#[test]
fn what_may_be_said_is_no_leak() {
    use super::{BY, CALLED, CORRELATION, HEARD, REASON, RECIPIENT, REPLY, TAG, TEXT, TRANSACTION, WORDS};
    for (topic, canary) in [
        ("sendbridge/event/message/received", HEARD),
        ("sendbridge/event/message/sent", TEXT),
        ("sendbridge/response/sender/call", CALLED),
        ("SendMessageResp/shop", WORDS),
        ("sendbridge/hold", RECIPIENT),
        ("sendbridge/hold", REASON),
        ("sendbridge/hold", BY),
        ("sendbridge/event/send/queued", TAG),
        ("sendbridge/response/pause", TRANSACTION),
    ] {
        assert!(judge(&search(kept(&[(Way::Topic, topic, canary)]).path())).is_ok(), "{canary} on {topic}");
    }
    for (topic, canary) in [
        ("sendbridge/event/send/queued", HEARD),
        ("sendbridge/response/message/get", CALLED),
        ("sendbridge/event/send/failed", TEXT),
        ("SendMessageResp", TEXT),
        ("sendbridge/health", RECIPIENT),
        ("sendbridge/alarm", REASON),
        ("sendbridge/health", BY),
        ("sendbridge/event/send/queued", REPLY),
        ("SendMessageResp", CORRELATION),
    ] {
        assert!(judge(&search(kept(&[(Way::Topic, topic, canary)]).path())).is_err(), "{canary} on {topic}");
    }
}

#[test]
fn a_run_that_looked_at_nothing_shows_nothing() {
    let without = |name: &str| {
        let folder = kept(&[]);
        std::fs::remove_file(folder.path().join(name)).expect("it is there");
        judge(&search(folder.path())).expect_err("nothing was looked at")
    };
    assert!(without("1.fed").contains("no bridge was ever given"));
    for way in WAYS {
        assert!(without(&format!("1.{}", way.as_str())).contains("were kept"));
    }
}
