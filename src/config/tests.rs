//! The configuration against its fixtures, its documentation and its own output.

use super::*;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

/// Where `config/` and `tests/` are.
const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// Set to rewrite what the fixtures expect.
const REWRITE: &str = "SENDBRIDGE_REWRITE_FIXTURES";
/// Stands in every secret of the fixtures; no output may contain it.
const CANARY: &str = "canary-0123456789";
const SENDER: &str = "[[senders]]\nname = \"main\"\nurl = \"http://127.0.0.1:8080/gnapi/open\"\n\
                      api_key_file = \"/etc/sendbridge/api-key\"\n";

/// The files that a configuration under test may point to.
fn files(path: &Path) -> io::Result<Vec<u8>> {
    let text = match path.to_str().unwrap_or("") {
        "api-key" | "/etc/sendbridge/api-key" => format!("{CANARY}\n"),
        "two-lines" => format!("{CANARY}\n{CANARY}\n"),
        "short" => "0123456789".to_owned(),
        "umlaut" => "schlüssel-0123456789".to_owned(),
        "empty" => "\n".to_owned(),
        "aes-key" => "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C\n".to_owned(),
        "cert.pem" => "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n".to_owned(),
        "key.pem" => format!("-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----\n"),
        "binary" => return Ok(vec![0xff, 0xfe]),
        _ => return Err(io::ErrorKind::NotFound.into()),
    };
    Ok(text.into_bytes())
}

fn load_text(text: &str, environment: &[(&str, &str)]) -> Result<Loaded, Problems> {
    let environment = environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let read = |path: &Path| match path.to_str() {
        Some("sendbridge.toml") => Ok(text.as_bytes().to_vec()),
        Some(_) | None => files(path),
    };
    load(Path::new("sendbridge.toml"), environment, &read)
}

fn loaded(text: &str) -> Config {
    load_text(text, &[]).unwrap_or_else(|problems| panic!("{problems}")).config
}

/// What `check` would say; `# env NAME=value` lines of a fixture are its environment.
fn report(text: &str) -> String {
    let lines = text.lines().filter_map(|line| line.strip_prefix("# env ")?.split_once('='));
    match load_text(text, &lines.collect::<Vec<_>>()) {
        Ok(loaded) => Problems { errors: Vec::new(), warnings: loaded.warnings }.to_string(),
        Err(problems) => problems.to_string(),
    }
}

#[test]
fn every_mistake_has_its_message() {
    let folder = Path::new(ROOT).join("tests/data/config");
    let mut fixtures: Vec<PathBuf> =
        fs::read_dir(&folder).expect("fixtures").map(|entry| entry.expect("entry").path()).collect();
    fixtures.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    fixtures.sort();
    assert!(fixtures.len() >= 30, "only {} fixtures", fixtures.len());
    let rewrite = std::env::var_os(REWRITE).is_some();
    let mut differences = String::new();
    for fixture in fixtures {
        let found = report(&fs::read_to_string(&fixture).expect("a fixture"));
        assert!(!found.contains(CANARY), "{} shows a secret", fixture.display());
        assert!(!found.is_empty(), "{} has no mistake", fixture.display());
        let expectation = fixture.with_extension("txt");
        if rewrite {
            fs::write(&expectation, &found).expect("write");
        }
        let expected = fs::read_to_string(&expectation).unwrap_or_default();
        if found != expected {
            let _ = writeln!(differences, "{}\nexpected:\n{expected}found:\n{found}", fixture.display());
        }
    }
    assert!(differences.is_empty(), "{differences}\nset {REWRITE}=1 to accept");
}

/// A missing table and a written default must be the same thing.
#[test]
fn the_documented_file_is_the_default() {
    let text = fs::read_to_string(Path::new(ROOT).join("config/sendbridge.toml")).expect("the documented file");
    let documented = load_text(&text, &[]).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(documented.warnings, []);
    assert_eq!(effective(&documented.config), effective(&loaded(SENDER)));
    assert_eq!(format!("{:?}", documented.config), format!("{:?}", loaded(SENDER)));
}

/// Also where a key has no default and is therefore commented out.
#[test]
fn the_documented_file_has_every_key() {
    let text = fs::read_to_string(Path::new(ROOT).join("config/sendbridge.toml")).expect("the documented file");
    let mut written = Vec::new();
    let mut table = String::new();
    for line in text.lines() {
        let line = line.strip_prefix("# ").unwrap_or(line).trim_start();
        if let Some(name) = line.strip_prefix("[[").and_then(|line| line.split_once("]]")) {
            table = format!("{}[]", name.0);
        } else if let Some(name) = line.strip_prefix('[').and_then(|line| line.split_once(']')) {
            table = name.0.to_owned();
        } else if let Some((key, _)) = line.split_once(" = ") {
            written.push(format!("{table}.{key}"));
        }
    }
    for path in schema::paths(schema::ROOT, "") {
        assert!(written.contains(&path), "{path} is not documented in config/sendbridge.toml");
    }
}

/// What the commented-out lines show must work when somebody removes the `# `.
#[test]
fn the_documented_file_works_uncommented() {
    let text = fs::read_to_string(Path::new(ROOT).join("config/sendbridge.toml")).expect("the documented file");
    let known = |path: &str| schema::paths(schema::ROOT, "").iter().any(|key| key.rsplit('.').next() == Some(path));
    let mut live = String::new();
    for line in text.lines() {
        let bare = line.strip_prefix("# ").unwrap_or(line);
        let is_key = bare.split_once(" = ").is_some_and(|(key, _)| known(key));
        let _ = writeln!(live, "{}", if is_key || bare.starts_with("[[") { bare } else { line });
    }
    // Files that are not there, keys that exclude each other and TLS without a TLS address are all that may be wrong.
    let problems = load_text(&live, &[]).expect_err("keys that exclude each other");
    let mut found: Vec<&str> = problems.errors.iter().map(|problem| problem.key.as_str()).collect();
    found.dedup();
    let expected = [
        "mqtt.password",
        "mqtt.ca_file",
        "mqtt.client_cert_file",
        "mqtt.client_key_file",
        "senders[0].api_key",
        "senders[0].ca_file",
        "callbacks[0].secret",
        "callbacks[1].secret_file",
        "callbacks[1].app_secret",
        "callbacks[2].secret_file",
        "callbacks[2].token",
        "callbacks[2].aes_key",
    ];
    assert_eq!(found, expected, "{problems}");
}

/// Every key is read by somebody: a date, which no key takes, is refused under each.
#[test]
fn every_key_is_read() {
    for path in schema::paths(schema::ROOT, "") {
        let (table, key) = path.rsplit_once('.').expect("a table");
        let header = match table.strip_suffix("[]") {
            Some(list) => format!("[[{list}]]"),
            None => format!("[{table}]"),
        };
        let problems = load_text(&format!("{header}\n{key} = 1979-05-27\n"), &[]).expect_err(&path);
        let expected = path.replace("[]", "[0]");
        assert!(problems.errors.iter().any(|problem| problem.key == expected), "{path} is not read: {problems}");
    }
}

#[test]
fn the_effective_configuration_loads_again() {
    let text = fs::read_to_string(Path::new(ROOT).join("tests/data/config-full.toml")).expect("the full file");
    let config = loaded(&text);
    let shown = effective(&config);
    assert_eq!(effective(&loaded(&shown)), shown);
    assert_eq!(effective_json(&loaded(&shown)), effective_json(&config));
    // The full file is written in the effective form, so a key that is read wrongly or not shown differs here.
    let written: String = text.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect();
    assert_eq!(shown.trim(), written.trim());
}

/// The full file leaves out only what excludes what it has.
#[test]
fn the_full_file_has_every_key() {
    let text = fs::read_to_string(Path::new(ROOT).join("tests/data/config-full.toml")).expect("the full file");
    for path in schema::paths(schema::ROOT, "") {
        let key = path.rsplit('.').next().expect("a key");
        let excluded = [
            "mqtt.password",
            "senders[].api_key",
            "callbacks[].secret",
            "callbacks[].app_secret",
            "callbacks[].token",
            "callbacks[].aes_key",
        ]
        .contains(&path.as_str());
        assert!(excluded || text.lines().any(|line| line.starts_with(&format!("{key} = "))), "{path}");
    }
}

/// The fixtures show what is wrong; this shows that what is next to it is right.
#[test]
fn right_up_to_the_edge() {
    for text in [
        "[mqtt]\nkeep_alive = \"5s\"\nreceive_maximum = 65535",
        "[mqtt]\nkeep_alive = \"65535s\"\nreceive_maximum = 1",
        "[mqtt]\nurl = \"ws://[::1]:9001/mqtt\"",
        "[mqtt]\nurl = \"mqtt://127.0.0.1:1883/\"\nclient_id = \"bridge-1b0c4a6f\"\nusername = \"me\"\npassword_file = \"api-key\"",
        "[mqtt]\nurl = \"mqtt://127.0.0.2:1885\"",
        "[messages]\nmax_message = \"960KiB\"\nqueue_bytes = \"1MiB\"\nqueue_time = \"off\"\ndoubt_window = \"0s\"",
        "[messages]\ndedup_window = \"7d\"\n[store]\nbody_retention = \"7d\"",
        "[limits]\ncorp_burst = 50000\ncorp_reserve = \"50%\"\ncool_down = \"5m\"",
        "[topics]\nsend = [\"a/+/b\", \"c\"]\nanswer = \"answers\"\nreply_topics = []",
        "[http]\nlisten = \"[::1]:0\"\n[broker]\nlisten = \"127.0.0.1:1883\"",
        "[[accounts]]\naccount = \"1\"\ncorp = \"2\"",
        "[[callbacks]]\nname = \"x\"\nsecret = \"0123456789abcdef\"",
        "[[callbacks]]\nname = \"w\"\nkind = \"wecom\"\nsecret_file = \"api-key\"\ntoken = \"t\"\n\
         aes_key_file = \"aes-key\"\nreceivers = [\"\"]",
    ] {
        let loaded =
            load_text(&format!("{SENDER}{text}\n"), &[]).unwrap_or_else(|problems| panic!("{text}\n{problems}"));
        assert_eq!(loaded.warnings, [], "{text}");
    }
    let times = |timeouts: &str| {
        let config = loaded(&format!("{SENDER}{timeouts}\n"));
        (config.senders[0].timeout.as_millis(), config.senders[0].connect_timeout.as_millis())
    };
    assert_eq!(times("timeout = \"1s\"\nconnect_timeout = \"100ms\""), (1000, 100));
    assert_eq!(times("timeout = \"5m\""), (300_000, 3000));
    assert_eq!(times("timeout = \"3001ms\""), (3001, 3000));
    // Shortened alone, to where it would contradict the other's default, it takes that along.
    assert_eq!(times("timeout = \"3s\""), (3000, 1500));
    assert_eq!(times("timeout = \"2s\""), (2000, 1000));
    assert_eq!(times("timeout = \"200ms\""), (200, 100));
}

#[test]
fn one_server_is_meant_where_there_is_one() {
    let config = loaded(&format!("{SENDER}[[accounts]]\naccount = \"1\"\ncorp = \"2\"\n"));
    assert_eq!(config.accounts[0].sender.as_str(), "main");
}

/// A company with a smaller hour has a smaller burst too.
#[test]
fn overrides_fill_in_from_all() {
    let limits = "[limits]\ncorp_burst = 1000\ncorp_reserve = \"5%\"\n[[limits.corp]]\ncorp = \"1\"\nper_hour = 100\n";
    let config = loaded(&format!("{SENDER}{limits}"));
    let corp = config.limits.corps.values().next().copied();
    assert_eq!(corp, Some(CorpLimit { per_hour: 100, reserve: 5, burst: Some(100) }));
}

#[test]
fn secrets_are_nowhere() {
    let text = format!(
        "[mqtt]\nusername = \"me\"\npassword = \"{CANARY}\"\n\
         [[senders]]\nname = \"main\"\nurl = \"http://127.0.0.1/\"\napi_key = \"{CANARY}\"\n\
         [[callbacks]]\nname = \"main\"\nsecret = \"{CANARY}\"\n"
    );
    let config = loaded(&text);
    for shown in [effective(&config), effective_json(&config).to_string(), format!("{config:?}")] {
        assert!(!shown.contains(CANARY), "{shown}");
    }
    assert_eq!(effective(&config).matches("<secret>").count(), 3);
    let again = load_text(&effective(&config), &[]).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(again.warnings.len(), 3, "each secret that is missing is named");
    assert_eq!(effective(&again.config), effective(&config));
}

#[test]
fn the_environment_goes_before_the_file() {
    let environment = [
        ("SENDBRIDGE__MQTT__URL", "mqtts://broker.example:8883"),
        ("SENDBRIDGE__MQTT__RECEIVE_MAXIMUM", "20"),
        ("SENDBRIDGE__TOPICS__SEND", "[\"a\", \"b/+\"]"),
        ("SENDBRIDGE__SENDERS__MAIN__API_KEY", CANARY),
        ("SENDBRIDGE__SENDERS__0__BUSY_MEANS_NOT_DONE", "true"),
        ("SENDBRIDGE__SENDERS__0__UNKNOWN", "[-5, \"x\"]"),
        ("SENDBRIDGE__SENDERS__0__TYPES__NOTE", "/msg/note"),
        ("SENDBRIDGE__SENDERS__1__NAME", "second"),
        ("SENDBRIDGE__SENDERS__1__URL", "https://quntool.example/gnapi/open"),
        ("SENDBRIDGE__SENDERS__1__API_KEY_FILE", "api-key"),
        ("SENDBRIDGE__LIMITS__ACCOUNT__0__ACCOUNT", "1688850407900545"),
        ("SENDBRIDGE__LIMITS__ACCOUNT__1688850407900545__INTERVAL", "2s"),
        ("SENDBRIDGE_PORT", "tcp://10.0.0.1:8790"),
        ("PATH", "/bin"),
    ];
    let loaded = load_text(SENDER, &environment).unwrap_or_else(|problems| panic!("{problems}"));
    let Config { mqtt, topics, senders, limits, .. } = &loaded.config;
    assert_eq!((mqtt.url.as_str(), mqtt.receive_maximum), ("mqtts://broker.example:8883", 20));
    assert_eq!(topics.send, ["a", "b/+"]);
    assert_eq!(senders[0].api_key.file, None, "the variable replaces the file's api_key_file");
    assert!(senders[0].busy_means_not_done);
    assert_eq!(senders[0].unknown, [Sign::Code(-5), Sign::Word("x".to_owned())]);
    assert_eq!(senders[0].types.get("note").map(String::as_str), Some("/msg/note"));
    assert_eq!(senders[1].name.as_str(), "second");
    assert_eq!(limits.accounts.values().map(|span| span.as_secs()).collect::<Vec<_>>(), [2]);
}

/// Every secret of a callback may come by itself where the file names another file.
#[test]
fn a_secret_of_the_environment_replaces_the_file_of_any() {
    const KEY: &str = "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C";
    let text = format!(
        "{SENDER}[[callbacks]]\nname = \"w\"\nkind = \"wecom\"\nsecret_file = \"gone\"\ntoken_file = \"gone\"\n\
         aes_key_file = \"gone\"\nreceivers = [\"\"]\n[[callbacks]]\nname = \"y\"\nkind = \"yunxin\"\n\
         secret_file = \"gone\"\napp_key = \"k\"\napp_secret_file = \"gone\"\n"
    );
    let environment = [
        ("SENDBRIDGE__CALLBACKS__W__SECRET", CANARY),
        ("SENDBRIDGE__CALLBACKS__W__TOKEN", CANARY),
        ("SENDBRIDGE__CALLBACKS__W__AES_KEY", KEY),
        ("SENDBRIDGE__CALLBACKS__Y__SECRET", CANARY),
        ("SENDBRIDGE__CALLBACKS__Y__APP_SECRET", CANARY),
    ];
    let loaded = load_text(&text, &environment).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(loaded.config.callbacks.len(), 2);
}

/// The tenth element comes after the second, whatever the order of the names.
#[test]
fn the_environment_can_append_many() {
    let mut environment = Vec::new();
    for index in 0..12 {
        environment.push((format!("SENDBRIDGE__ACCOUNTS__{index}__ACCOUNT"), format!("a{index}")));
        environment.push((format!("SENDBRIDGE__ACCOUNTS__{index}__CORP"), "c".to_owned()));
    }
    let environment: Vec<_> = environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let loaded = load_text(SENDER, &environment).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(loaded.config.accounts.len(), 12);
    assert_eq!(loaded.config.accounts[10].account.as_str(), "a10");
}

#[test]
fn bytes_that_are_no_text_are_a_report() {
    let read = |_: &Path| Ok(b"[mqtt]\nurl = \"\xff\"\n".to_vec());
    let problems = load(Path::new("sendbridge.toml"), [], &read).expect_err("not UTF-8");
    assert_eq!(problems.to_string(), "sendbridge.toml: line 2 is not UTF-8; save the file as UTF-8\n");
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_no_text_is_a_report() {
    use std::os::unix::ffi::OsStringExt;
    let environment = [(OsString::from("SENDBRIDGE__MQTT__URL"), OsString::from_vec(vec![0xff]))];
    let read = |_: &Path| Ok(SENDER.as_bytes().to_vec());
    let problems =
        load(Path::new("x"), environment, &|path| if path == Path::new("x") { read(path) } else { files(path) })
            .expect_err("not UTF-8");
    assert_eq!(problems.to_string(), "SENDBRIDGE__MQTT__URL: its value is not UTF-8\n");
}

#[test]
fn a_report_is_one_line_for_each_mistake() {
    let text = format!("{SENDER}\"a\\nb\\u001b[2J\" = 1\n");
    assert_eq!(report(&text).lines().count(), 1);
    assert!(!report(&text).contains('\u{1b}'));
}

#[test]
fn a_huge_file_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("huge");
    File::create(&path).and_then(|file| file.set_len(FILE_BYTES_MAX + 1)).expect("a sparse file");
    assert_eq!(read_file(&path).expect_err("too large").kind(), io::ErrorKind::FileTooLarge);
}

proptest::proptest! {
    #[test]
    fn never_panics(text in "(\\[\\[?(mqtt|senders|limits\\.corp|accounts)\\]?\\]\n|(url|name|temporary|corp|types) = (1|\"\\PC{0,8}\"|\\[1, \"\"\\]|\\{\\})\n|\\PC{0,6}){0,8}") {
        let _ = report(&text);
    }

    #[test]
    fn no_variable_panics(name in "[A-Z0-9_]{0,24}", table in "(MQTT|SENDERS|LIMITS|ACCOUNTS|STORE)?", value in "\\PC{0,12}") {
        let _ = load_text(SENDER, &[(&format!("SENDBRIDGE__{table}{name}"), &value)]);
    }
}

/// Both have their own numbers, because a sender can be made without a file.
#[test]
fn what_is_not_said_of_a_server_is_what_a_sender_takes_by_itself() {
    use crate::sender::Settings;
    let read = &loaded(SENDER).senders[0];
    assert_eq!(read.timeout, Settings::TIMEOUT_DEFAULT);
    assert_eq!(read.connect_timeout, Settings::CONNECT_TIMEOUT_DEFAULT);
    assert_eq!(usize::from(read.connections), Settings::CONNECTIONS_DEFAULT);
    assert_eq!(read.reuse_idle, Settings::REUSE_IDLE_DEFAULT);
}
