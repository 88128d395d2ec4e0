//! The configuration file, with `# env NAME=value` lines for its environment.

use sendbridge::config::{Loaded, Problems, effective, effective_json, load};
use sendbridge::mqtt::BrokerUrl;
use sendbridge::mqtt::topics::Topics;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;

pub const WORDS: &str = r#"
    [mqtt] [topics] [messages] [[senders]] [[accounts]] [limits] [[limits.corp]] [[limits.account]] [store] [http]
    [[callbacks]] [broker] [log] url client_id keep_alive receive_maximum username password password_file ca_file send
    answer base reply_topics events health_interval max_message ttl dedup_window id_conflict on_doubt doubt_window
    queue_messages queue_bytes queue_time name kind api_key api_key_file timeout connect_timeout connections
    busy_means_not_done temporary offline unknown default_corp types calls call_timeout private_file_hosts account
    corp
    sender account_interval corp_per_hour corp_reserve corp_burst measured_from path retention listen secret
    secret_file
    app_key app_secret token aes_key aes_key_file receivers personal_data tolerance level format interval per_hour =
    "=" "
    "500ms" "24h" "256KiB" "2%" "off" "all" "mqtt://127.0.0.1:1883" "wss://[::1]:443/mqtt"
    "http://127.0.0.1:8080/gnapi"
    "SendMessage/+" "a/#" "$SYS" "quntool" "guid" "yunxin" "wecom" "api-key" "aes-key" "<secret>" "documented"
    "!GET␠/a/*"
    true false 1 0 -1 1.5 0x7f 1979-05-27 {} [] """ ''' # \n \u0000 #␠env␠SENDBRIDGE__MQTT__URL= #␠env␠SENDBRIDGE__
    __SENDERS__MAIN__API_KEY= __SENDERS__0__NAME= __ACCOUNTS__0__
"#;

/// Stands in every secret; no output may contain it.
const CANARY: &str = "canary-0123456789";

/// Keys whose value is a secret.
const SECRETS: [&str; 6] = ["password", "api_key", "secret", "app_secret", "token", "aes_key"];

/// What other tests have: every mistake, the documented file, and one with every key.
pub fn seeds() -> Vec<Vec<u8>> {
    let root = Path::new(crate::ROOT);
    let is_toml = |path: &Path| path.extension().is_some_and(|ending| ending == "toml");
    let fixtures = super::files(&root.join("tests/data/config")).into_iter().filter(|(path, _)| is_toml(path));
    let whole = ["tests/data/config-full.toml", "config/sendbridge.toml"];
    let whole = whole.into_iter().map(|path| fs::read(root.join(path)).expect("a readable file"));
    fixtures.map(|(_, text)| text).chain(whole).collect()
}

/// The files that a configuration may point to.
fn files(path: &Path) -> io::Result<Vec<u8>> {
    let text = match path.to_str().unwrap_or_default() {
        "api-key" | "/etc/sendbridge/api-key" => format!("{CANARY}\n"),
        "two-lines" => format!("{CANARY}\n{CANARY}\n"),
        "aes-key" => "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C\n".to_owned(),
        "cert.pem" => "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n".to_owned(),
        "key.pem" => format!("-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----\n"),
        "binary" => return Ok(vec![0xff, 0xfe]),
        _ => return Err(io::ErrorKind::NotFound.into()),
    };
    Ok(text.into_bytes())
}

fn load_bytes(bytes: &[u8]) -> Result<Loaded, Problems> {
    let text = String::from_utf8_lossy(bytes);
    let variables = text.lines().filter_map(|line| line.strip_prefix("# env ")?.split_once('='));
    let environment = variables.map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let read = |path: &Path| match path.to_str() {
        Some("sendbridge.toml") => Ok(bytes.to_vec()),
        Some(_) | None => files(path),
    };
    load(Path::new("sendbridge.toml"), environment, &read)
}

pub fn check(input: &[u8]) {
    let loaded = load_bytes(input);
    match (&loaded, load_bytes(input)) {
        (Ok(one), Ok(other)) => assert_eq!(format!("{one:?}"), format!("{other:?}"), "read twice, and differently"),
        (Err(one), Err(other)) => assert_eq!(*one, other, "read twice, and differently"),
        (Ok(_), Err(_)) | (Err(_), Ok(_)) => panic!("read twice, and differently"),
    }
    let has_canary = |bytes: &[u8]| bytes.windows(CANARY.len()).any(|part| part == CANARY.as_bytes());
    match &loaded {
        Ok(loaded) => check_loaded(loaded),
        Err(problems) => check_problems(problems, input.len()),
    }
    if !has_canary(input) {
        let said = |loaded: &Result<Loaded, Problems>| match loaded {
            Ok(Loaded { config, warnings }) => {
                format!("{config:?}{warnings:?}{}{}", effective(config), effective_json(config))
            }
            Err(problems) => format!("{problems}{problems:?}"),
        };
        assert!(!said(&loaded).contains(CANARY), "a secret of a file is shown");
        if let Some(planted) = planted(input) {
            assert!(!said(&load_bytes(&planted)).contains(CANARY), "a secret is shown");
        }
    }
}

/// What is in force can be written down and loaded again.
fn check_loaded(loaded: &Loaded) {
    let config = &loaded.config;
    let shown = effective(config);
    let again = load_bytes(shown.as_bytes()).unwrap_or_else(|problems| panic!("{problems}\n{shown}"));
    assert_eq!(effective(&again.config), shown, "written and loaded again");
    assert_eq!(effective_json(&again.config), effective_json(config));
    BrokerUrl::parse(&config.mqtt.url).unwrap_or_else(|error| panic!("{}: {error}", config.mqtt.url));
    let topics = &config.topics;
    Topics::new(&topics.send, &topics.answer, &topics.base, &topics.reply_topics).expect("topics that were checked");
}

/// One line for each, with its place and what is wrong; no more than one can read.
fn check_problems(problems: &Problems, bytes: usize) {
    assert!(!problems.errors.is_empty(), "refused, and nobody knows why");
    for problem in problems.errors.iter().chain(&problems.warnings) {
        assert!(!problem.message.is_empty() && problem.key.len() <= 2 * bytes + 100);
        let line = problem.to_string();
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
    let said = problems.to_string();
    assert_eq!(said.lines().count(), problems.errors.len() + problems.warnings.len(), "one line for each: {said}");
}

/// The same with the canary in every secret that stands on a line of its own, in a table that has secrets. `None` where
/// that cannot be told line by line.
fn planted(input: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(input).ok()?;
    let mut in_table = false;
    let mut is_planted = false;
    let mut made = String::new();
    if ["\"\"\"", "'''", "{", "types", "\\"].iter().any(|hard| text.contains(hard)) {
        return None;
    }
    for line in text.lines() {
        if line.trim_start().starts_with('[') {
            in_table = ["[mqtt]", "[[senders]]", "[[callbacks]]"].contains(&line.trim());
        }
        let key = line.split('=').next().unwrap_or_default().trim();
        let is_whole = line.matches('"').count() == 2 && line.trim_end().ends_with('"');
        if in_table && is_whole && SECRETS.contains(&key) {
            made.push_str(&format!("{key} = \"{CANARY}\"\n"));
            is_planted = true;
        } else {
            made.push_str(line);
            made.push('\n');
        }
    }
    is_planted.then(|| made.into_bytes())
}
