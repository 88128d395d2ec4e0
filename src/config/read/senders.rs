use super::{DAY, MINUTE, SECOND};
use crate::config::ReadFile;
use crate::config::address;
use crate::config::files;
use crate::config::problem::Problems;
use crate::config::raw::{Node, Raw};
use crate::config::section::{Section, text_of};
use crate::config::settings::{AccountOf, Secret, Sender, SenderKind, Sign, choices};
use crate::config::words;
use crate::model::{Account, BUILT_IN_KINDS, Corp, SenderName};
use secrecy::SecretString;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The default, where `timeout` is longer than it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

pub(super) const SCHEMES: &[&str] = &["http", "https"];

pub(super) fn read(root: &Section<'_>, read: &ReadFile<'_>, problems: &mut Problems) -> Vec<Sender> {
    let sections = root.sections("senders");
    if sections.is_empty() && !problems.blames("senders") {
        root.missing("senders", "add at least one [[senders]] with name, url and api_key_file", problems);
    }
    let mut senders: Vec<Sender> = Vec::new();
    for section in &sections {
        let sender = sender(section, read, problems);
        if section.has("name") && senders.iter().any(|other| other.name == sender.name) {
            section.error(
                "name",
                format!("{:?} is the name of another sender too; rename one", sender.name.as_str()),
                problems,
            );
        }
        senders.push(sender);
    }
    senders
}

fn sender(section: &Section<'_>, read: &ReadFile<'_>, problems: &mut Problems) -> Sender {
    let timeout = section.duration("timeout", 10 * SECOND, SECOND / 5..=5 * MINUTE, problems);
    // Who only shortens timeout has not asked for a contradiction.
    let unless_said = if timeout > CONNECT_TIMEOUT { CONNECT_TIMEOUT } else { timeout / 2 };
    let connect_timeout = section.duration("connect_timeout", unless_said, SECOND / 10..=MINUTE, problems);
    if connect_timeout >= timeout {
        // Only while it is shorter does its end prove that nothing was sent.
        let message = "must be shorter than timeout, or a time-out while connecting could not be told from a doubt; \
                       shorten it or lengthen timeout";
        section.contradiction("connect_timeout", "timeout", message, problems);
    }
    let lists = ["temporary", "offline", "unknown"].map(|name| signs(section, name, problems));
    check_lists(section, &lists, problems);
    let [temporary, offline, unknown] = lists;
    Sender {
        name: SenderName::new(&name(section, problems)),
        kind: section.choice("kind", choices::SENDER_KIND, SenderKind::Quntool, problems),
        url: url(section, problems),
        api_key: api_key(section, read, problems),
        ca: certificate_authorities(section, read, problems),
        timeout,
        connect_timeout,
        connections: section.count("connections", 320, 1..=1024, problems),
        reuse_idle: section.duration("reuse_idle", SECOND / 20, Duration::ZERO..=MINUTE, problems),
        directory_refresh: section.duration("directory_refresh", 5 * MINUTE, 10 * SECOND..=DAY, problems),
        busy_means_not_done: section.flag("busy_means_not_done", false, problems),
        default_corp: section.text("default_corp", problems).map(|corp| Corp::new(&corp)),
        temporary,
        offline,
        unknown,
        types: types(section, problems),
        calls: super::calls::read(section, connect_timeout, timeout, problems),
    }
}

/// Part of topics and metrics, so it is kept plain.
pub(super) fn name(section: &Section<'_>, problems: &mut Problems) -> String {
    if !section.has("name") {
        section.missing("name", "add name = \"main\"", problems);
    }
    let text = section.text_or("name", "", problems);
    if !text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')) || text.len() > 64 {
        section.error("name", format!("{text:?} cannot be used; use at most 64 of A-Z a-z 0-9 . _ -"), problems);
    }
    text
}

fn url(section: &Section<'_>, problems: &mut Problems) -> String {
    if !section.has("url") {
        section.missing("url", "add url = \"http://<host of quntool>/gnapi/open\"", problems);
        return String::new();
    }
    let Some(text) = section.text("url", problems) else { return String::new() };
    match address::parse(&text, SCHEMES) {
        Ok(_) => (),
        Err(message) if text.contains('@') => section.error("url", message, problems),
        Err(message) => section.error("url", format!("{text:?} is not the address of a sender: {message}"), problems),
    }
    text.trim_end_matches('/').to_owned()
}

fn api_key(section: &Section<'_>, read: &ReadFile<'_>, problems: &mut Problems) -> Secret {
    if !section.has("api_key") && !section.has("api_key_file") {
        section.missing("api_key", "add api_key_file = \"/etc/sendbridge/api-key\", or api_key", problems);
    }
    let found = files::secret(section, "api_key", read, problems);
    if found.as_ref().is_some_and(|key| !files::is_visible_ascii(key)) {
        let name = if section.has("api_key") { "api_key" } else { "api_key_file" };
        section.error(name, "the key has characters that no HTTP header can carry; copy it again", problems);
    }
    found.unwrap_or_else(|| Secret { value: SecretString::from(String::new()), file: None })
}

fn certificate_authorities(
    section: &Section<'_>,
    read: &ReadFile<'_>,
    problems: &mut Problems,
) -> Option<crate::config::settings::Pem> {
    let plain = section.text("url", &mut Problems::default()).is_some_and(|url| url.starts_with("http://"));
    if plain && section.has("ca_file") {
        section.error("ca_file", "has no use with http://; write https:// in url, or remove it", problems);
    }
    files::certificates(section, "ca_file", read, problems)
}

/// A list of codes and words.
fn signs(section: &Section<'_>, name: &str, problems: &mut Problems) -> Vec<Sign> {
    let Some(nodes) = section.nodes(name) else {
        if section.has(name) {
            let message = "expected a list of codes and words, such as [-1001, \"系统繁忙\"]";
            section.error(name, message, problems);
        }
        return Vec::new();
    };
    let mut found = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        match sign(node) {
            Ok(sign) => found.push(sign),
            Err(message) => problems.error(node.origin.clone(), format!("{}[{index}]", section.key(name)), message),
        }
    }
    found
}

fn sign(node: &Node) -> Result<Sign, String> {
    match &node.value {
        Raw::Integer(0) => Err("code 0 is the sender's word that it worked; remove it".to_owned()),
        Raw::Integer(code) => match i64::try_from(*code) {
            Ok(code) => Ok(Sign::Code(code)),
            Err(_) => Err("no code is that large; remove it".to_owned()),
        },
        Raw::Text(_)
        | Raw::Variable(_)
        | Raw::Float
        | Raw::Boolean(_)
        | Raw::Datetime
        | Raw::List(_)
        | Raw::Table(_) => text_of(node, "a code or a word").map(|word| Sign::Word(word.to_owned())),
    }
}

fn check_lists(section: &Section<'_>, lists: &[Vec<Sign>; 3], problems: &mut Problems) {
    let names = ["temporary", "offline", "unknown"];
    for (index, name) in names.iter().enumerate() {
        for sign in &lists[index] {
            if let Some(other) = (0..index).find(|other| lists[*other].contains(sign)) {
                let shown = match sign {
                    Sign::Code(code) => code.to_string(),
                    Sign::Word(word) => format!("{word:?}"),
                };
                let message = format!("{shown} is listed as {} too, and means one thing; keep one", names[other]);
                section.error(name, message, problems);
            }
        }
    }
}

fn types(section: &Section<'_>, problems: &mut Problems) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (name, path) in section.free("types", problems) {
        let inner = section.section("types");
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if BUILT_IN_KINDS.iter().any(|(kind, _)| *kind == name) {
            inner.error(&name, "is built in already; choose another name", problems);
        } else if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
            inner.error(&name, "cannot be the name of a type; use at most 64 of A-Z a-z 0-9 . _ -", problems);
        } else if !path.starts_with('/') || !path.chars().all(|c| plain(c) || c == '/') || path.contains("..") {
            let message = format!("{path:?} is not a path below url; begin it with a slash, as in \"/msg/note\"");
            inner.error(&name, message, problems);
        }
        found.insert(name, path);
    }
    found
}

pub(super) fn accounts(root: &Section<'_>, senders: &[Sender], problems: &mut Problems) -> Vec<AccountOf> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for section in root.sections("accounts") {
        for name in ["account", "corp"] {
            if !section.has(name) {
                section.missing(name, "each [[accounts]] says which account belongs to which corp", problems);
            }
        }
        let account = Account::new(&section.text_or("account", "", problems));
        let corp = Corp::new(&section.text_or("corp", "", problems));
        if section.has("account") && !seen.insert(account.clone()) {
            section.error("account", format!("{:?} is there twice; keep one", account.as_str()), problems);
        }
        let sender = sender_of(&section, senders, problems);
        found.push(AccountOf { account, corp, sender });
    }
    found
}

/// The sender that `sender` names; where there is only one, it need not be named.
pub(super) fn sender_of(section: &Section<'_>, senders: &[Sender], problems: &mut Problems) -> SenderName {
    let named = section.text("sender", problems);
    match (named, senders) {
        (Some(name), _) => {
            let names = || senders.iter().map(|sender| sender.name.as_str());
            if !names().any(|known| known == name) {
                let shown: BTreeSet<&str> = names().collect();
                let shown: Vec<&str> = shown.into_iter().collect();
                let meant = match words::nearest(&name, names()) {
                    Some(near) => format!("did you mean {near:?}?"),
                    None => format!("there is {}", shown.join(", ")),
                };
                section.error("sender", format!("no [[senders]] is called {name:?}; {meant}"), problems);
            }
            SenderName::new(&name)
        }
        (None, [only]) => only.name.clone(),
        (None, [] | [_, ..]) => {
            if !section.has("sender") && !senders.is_empty() {
                section.missing("sender", "there are several [[senders]], so name one of them", problems);
            }
            SenderName::new("")
        }
    }
}
