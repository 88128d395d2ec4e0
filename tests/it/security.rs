//! SECURITY.md names tests that there are and leaves no point out; and what it says of the process and of dependencies.

use crate::faults::{is_dialogue, mistakes_about_dialogues, quoted, tests_below};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const POINTS: usize = 16;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn every_row_names_tests_that_there_are() {
    let mut tests = BTreeSet::new();
    tests_below(&root().join("src"), &mut tests);
    tests_below(&root().join("tests"), &mut tests);
    let text = read("SECURITY.md");
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| ")).collect();
    let mut points = Vec::new();
    for row in rows.into_iter().filter(|row| !row.contains("| shown by |")) {
        let shown = row.trim_end_matches(" |").rsplit(" | ").next().expect("a cell");
        assert_eq!(mistakes_about_dialogues(shown), [""; 0], "{row}");
        let named = quoted(shown).filter(|name| !is_dialogue(name));
        let missing: Vec<&str> = named.filter(|name| !tests.contains(*name)).collect();
        assert!(missing.is_empty(), "{row}\nnames what is no test: {missing:?}");
        assert!(quoted(shown).next().is_some(), "{row}\nnames no test");
        points.extend(row.strip_prefix("| S").and_then(|rest| rest.split_once(' ')?.0.parse::<usize>().ok()));
    }
    assert_eq!(points, (1..=POINTS).collect::<Vec<_>>());
    for outsider in ["A publisher", "The broker", "The sender", "A caller of callbacks"] {
        assert!(text.contains(&format!("### {outsider}")), "{outsider}");
    }
}

/// The versions of a crate in the lock file, and whoever needs each of them.
fn locked(name: &str) -> Vec<(Vec<u64>, Vec<String>)> {
    let lock = read("Cargo.lock");
    let packages: Vec<toml::Table> =
        lock.split("[[package]]\n").skip(1).map(|package| toml::from_str(package).expect("a package")).collect();
    let text = |package: &toml::Table, key: &str| package[key].as_str().expect("text").to_owned();
    let needs = |package: &toml::Table, version: &str, is_only: bool| {
        let dependencies = package.get("dependencies").and_then(toml::Value::as_array);
        dependencies
            .into_iter()
            .flatten()
            .filter_map(toml::Value::as_str)
            .any(|dependency| dependency == format!("{name} {version}") || (is_only && dependency == name))
    };
    let versions: Vec<String> = packages
        .iter()
        .filter(|package| text(package, "name") == name)
        .map(|package| text(package, "version"))
        .collect();
    let of = |version: &String| {
        let users = packages.iter().filter(|package| needs(package, version, versions.len() == 1));
        let numbers = version.split('.').map(|part| part.parse().expect("a number")).collect();
        (numbers, users.map(|package| text(package, "name")).collect())
    };
    versions.iter().map(of).collect()
}

/// rumqttc links an old verifier for the name of one of its errors; nobody else does, and it verifies nothing.
#[test]
fn tls_is_verified_by_nothing_old() {
    let verifiers = locked("rustls-webpki");
    assert!(!verifiers.is_empty());
    for (version, users) in verifiers {
        if version < vec![0, 103, 13] {
            assert_eq!(users, ["rumqttc"], "{version:?}");
        }
    }
    for (name, least) in [("rustls", [0, 23, 18]), ("time", [0, 3, 47]), ("tracing-subscriber", [0, 3, 20])] {
        assert!(locked(name).iter().all(|(version, _)| version[..] >= least[..]), "{name}");
    }
    for absent in ["openssl", "openssl-sys", "native-tls", "h2"] {
        assert_eq!(locked(absent), [], "{absent}");
    }
    let settings = read("src/mqtt/tls.rs");
    assert!(settings.contains("builder_with_provider") && !settings.contains("dangerous"), "who verifies?");
}

#[test]
fn there_is_no_unsafe_code() {
    assert!(read("Cargo.toml").contains("unsafe_code = \"forbid\""));
    assert!(read("src/lib.rs").contains("#![forbid(unsafe_code)]"));
}

/// What the unit hands over is what the program reads: a credential for every secret that has a file, by its path.
#[test]
fn secrets_come_from_the_service_managers_credentials() {
    let unit = read("deploy/sendbridge.service");
    let of = |key: &str| -> Vec<String> {
        unit.lines().filter_map(|line| line.strip_prefix(key)).map(str::to_owned).collect()
    };
    let credentials = of("LoadCredential=");
    assert!(!credentials.is_empty());
    for credential in credentials {
        let (name, _) = credential.split_once(':').expect("a name and a path");
        let variables = of("Environment=");
        let variable = variables.iter().find(|variable| variable.ends_with(&format!("=%d/{name}")));
        let (variable, _) =
            variable.unwrap_or_else(|| panic!("{name} is handed over to nobody")).split_once('=').expect("both");
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join(name);
        std::fs::write(&file, "from-a-credential\n").expect("a file");
        let config = folder.path().join("sendbridge.toml");
        std::fs::write(&config, "[[senders]]\nname = \"main\"\nurl = \"http://127.0.0.1/\"\n").expect("a file");
        let (shown, code) = check(&config, variable, &file);
        assert_eq!(code, Some(0), "{shown}");
        assert!(shown.contains(&file.display().to_string()) && !shown.contains("from-a-credential"), "{shown}");
    }
}

fn check(config: &Path, variable: &str, value: &Path) -> (String, Option<i32>) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_sendbridge"))
        .args(["check", "--config"])
        .arg(config)
        .env(variable, value)
        .output()
        .expect("the binary");
    (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code())
}
