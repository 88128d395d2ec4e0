//! The container's file, as far as it can be checked without an engine: it copies what there is and needs, runs as
//! nobody, and asks the binary what the binary understands.

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The instructions, each on one line, as word and rest.
fn instructions() -> Vec<(String, String)> {
    let text = read("deploy/Dockerfile");
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let joined = lines.join("\n").replace("\\\n", " ");
    let split = |line: &str| {
        let (word, rest) = line.split_once(' ').unwrap_or_else(|| panic!("no instruction: {line}"));
        (word.to_owned(), rest.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    joined.lines().filter(|line| !line.is_empty()).map(split).collect()
}

/// Those of the last stage, which is what runs.
fn last_stage() -> Vec<(String, String)> {
    let all = instructions();
    let begin = all.iter().rposition(|(word, _)| word == "FROM").expect("a base");
    all[begin..].to_vec()
}

fn only(word: &str) -> String {
    let found: Vec<String> =
        last_stage().into_iter().filter(|(found, _)| found == word).map(|(_, rest)| rest).collect();
    assert_eq!(found.len(), 1, "{word}: {found:?}");
    found.into_iter().next().expect("one")
}

/// What an instruction runs, in the form that needs no shell.
fn words(rest: &str) -> Vec<String> {
    let list = &rest[rest.find('[').unwrap_or_else(|| panic!("it needs a shell: {rest}"))..];
    serde_json::from_str(list).expect("a list of words")
}

#[test]
fn the_container_copies_what_there_is_and_lets_nothing_else_in() {
    let let_in: Vec<String> = read("deploy/Dockerfile.dockerignore")
        .lines()
        .filter_map(|line| line.strip_prefix('!'))
        .map(str::to_owned)
        .collect();
    assert!(read("deploy/Dockerfile.dockerignore").lines().any(|line| line == "*"));
    let mut copied = Vec::new();
    for (_, rest) in instructions().into_iter().filter(|(word, rest)| word == "COPY" && !rest.starts_with("--from=")) {
        let mut sources: Vec<String> = rest.split(' ').map(str::to_owned).collect();
        sources.pop();
        copied.extend(sources);
    }
    for source in &copied {
        assert!(root().join(source).exists(), "{source}");
    }
    assert_eq!(copied, let_in);
    for needed in ["Cargo.toml", "Cargo.lock", "src"] {
        assert!(copied.iter().any(|source| source == needed), "{needed}");
    }
    assert!(!read("deploy/Dockerfile").contains("ADD "), "it fetches or unpacks something");
}

#[test]
fn the_container_runs_as_nobody_on_one_volume() {
    assert_eq!(only("USER"), "65532:65532");
    assert!(only("FROM").starts_with("gcr.io/distroless/"), "a base with a shell");
    assert!(!last_stage().iter().any(|(word, _)| word == "RUN"), "nothing there can run");
    let volume = words(&only("VOLUME"));
    assert_eq!(volume, ["/var/lib/sendbridge"]);
    let variable = only("ENV");
    let journal = Path::new(variable.strip_prefix("SENDBRIDGE__STORE__PATH=").expect("the journal's place"));
    assert_eq!(journal.parent(), Some(Path::new(&volume[0])));
    // The folder from which the volume is made is nobody else's.
    assert!(
        instructions().iter().any(|(word, rest)| word == "RUN" && rest.contains("-m 0700 -o 65532 -g 65532 /volume"))
    );
    assert!(
        last_stage()
            .iter()
            .any(|(word, rest)| word == "COPY" && rest.contains("--chown=65532:65532 /volume /var/lib/sendbridge"))
    );
    let secret = ["KEY=", "PASSWORD=", "SECRET=", "TOKEN="];
    assert!(!secret.iter().any(|name| read("deploy/Dockerfile").contains(name)), "a secret in a layer");
}

/// A wrong argument is exit code 2; a configuration that is not there is 78.
#[test]
fn the_container_asks_the_binary_what_it_understands() {
    let entry = words(&only("ENTRYPOINT"));
    let run = words(&only("CMD"));
    let health = words(&only("HEALTHCHECK"));
    assert_eq!(entry, ["/usr/bin/sendbridge"]);
    assert_eq!(health[0], entry[0]);
    assert!(health.contains(&"--live".to_owned()), "{health:?}");
    for arguments in [&run[..], &health[1..]] {
        let missing = arguments.iter().map(|word| word.replace("/etc/sendbridge/", "/nowhere/"));
        let output = Command::new(env!("CARGO_BIN_EXE_sendbridge")).args(missing).output().expect("the binary");
        assert_eq!(output.status.code(), Some(78), "{arguments:?}: {output:?}");
    }
}
