//! The files in `deploy/`, tried with the programs they are for.
//!
//! Where Mosquitto or systemd is not installed these tests say so and pass: they are about those programs.

use crate::mosquitto::free_port;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;
use tempfile::TempDir;

/// Far above what anything here takes; only a hang reaches it.
const DEADLINE: Duration = Duration::from_secs(30);

fn deploy(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The program's path; distributions put brokers where only root looks.
fn program(name: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&folders).collect();
    folders.extend(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    let found = folders.into_iter().map(|folder| folder.join(name)).find(|path| path.is_file());
    if found.is_none() {
        eprintln!("skipped: {name} is not installed");
    }
    found
}

/// A broker of our own, which ends with the test.
struct Broker {
    process: Child,
    port: u16,
    /// Its log; the sender ends when the broker does.
    log: Receiver<String>,
    folder: TempDir,
}

impl Broker {
    /// Starts one with a file of `deploy/` in which only port and paths are exchanged. `None` without Mosquitto.
    fn start(file: &str, users: &[&str]) -> Option<Self> {
        let mosquitto = program("mosquitto")?;
        let folder = tempfile::tempdir().expect("a folder");
        // One of those that the system gives away could be gone before the broker has it, or while it restarts.
        let port = free_port();
        let configuration = configuration(file, port, folder.path());
        fs::write(folder.path().join("mosquitto.conf"), configuration).expect("write");
        fs::write(folder.path().join("acl"), deploy("mosquitto/acl")).expect("write");
        for (index, user) in users.iter().enumerate() {
            let create: &[&str] = if index == 0 { &["-c", "-b"] } else { &["-b"] };
            let made = Command::new(program("mosquitto_passwd")?)
                .args(create)
                .arg(folder.path().join("passwd"))
                .args([user, &format!("password of {user}")[..]])
                .status();
            assert!(made.expect("mosquitto_passwd").success());
        }
        let (process, log) = spawn(&mosquitto, folder.path());
        let broker = Self { process, port, log, folder };
        broker.wait_for(" running");
        Some(broker)
    }

    /// Stops it as a service manager would, and starts it again. Only after it has served somebody: Mosquitto forgets
    /// a signal that comes between its "running" and its first turn.
    fn restart(&mut self) {
        let id = nix::unistd::Pid::from_raw(i32::try_from(self.process.id()).expect("an id"));
        nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM).expect("SIGTERM");
        self.wait_for(" terminating");
        self.process.wait().expect("its end");
        let mosquitto = program("mosquitto").expect("it was there before");
        (self.process, self.log) = spawn(&mosquitto, self.folder.path());
        self.wait_for(" running");
    }

    fn wait_for(&self, words: &str) {
        loop {
            let line = self.log.recv_timeout(DEADLINE);
            let line = line.unwrap_or_else(|error| panic!("mosquitto did not say {words:?}: {error}"));
            assert!(!line.contains("Error"), "{line}");
            if line.contains(words) {
                return;
            }
        }
    }

    fn run(&self, program: &str, user: Option<&str>, arguments: &[&str]) -> Output {
        let mut command = Command::new(program);
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-V", "mqttv5", "-q", "1"]);
        if let Some(user) = user {
            command.args(["-u", user, "-P", &format!("password of {user}")]);
        }
        command.args(arguments).output().expect(program)
    }

    /// Whether the broker took a message; MQTT 5 is told.
    fn may_publish(&self, user: &str, topic: &str) -> bool {
        let output = self.run("mosquitto_pub", Some(user), &["-t", topic, "-m", topic]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.is_empty() || said.contains("Not authorized"), "{said}");
        said.is_empty()
    }

    /// Leaves a session behind that keeps what comes on `filter`.
    fn subscribe(&self, user: &str, filter: &str) {
        let output = self.run("mosquitto_sub", Some(user), &[SESSION, &["-i", user, "-t", filter, "-E"]].concat());
        assert!(output.status.success(), "{output:?}");
    }

    /// The first message that `user`'s session has kept.
    fn first_message(&self, user: &str, filter: &str) -> String {
        let deadline = DEADLINE.as_secs().to_string();
        let arguments = [SESSION, &["-i", user, "-t", filter, "-C", "1", "-W", &deadline, "-F", "%p"]].concat();
        let output = self.run("mosquitto_sub", Some(user), &arguments);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Whether of two messages, the first forbidden and the second allowed, only the second reaches `user`.
    fn may_not_read(&self, user: &str, writer: &str, forbidden: &str, allowed: &str) -> bool {
        self.subscribe(user, "#");
        assert!(self.may_publish(writer, forbidden), "{writer} on {forbidden}");
        assert!(self.may_publish(writer, allowed), "{writer} on {allowed}");
        self.first_message(user, "#") == allowed
    }

    fn is_up(&mut self) -> bool {
        self.process.try_wait().expect("its state").is_none()
    }
}

/// A session that outlives its connection, so that nothing has to be waited for.
const SESSION: &[&str] = &["-c", "-x", "600"];

impl Drop for Broker {
    fn drop(&mut self) {
        // Nothing to be done about a broker that has ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The file of `deploy/`, moved into a folder and to a port of our own.
fn configuration(file: &str, port: u16, folder: &Path) -> String {
    let text = deploy(file);
    let listener = "listener 1883 127.0.0.1";
    assert_eq!(text.lines().filter(|line| line.starts_with("listener")).collect::<Vec<_>>(), [listener]);
    let folder = folder.display();
    let text = text
        .replace(listener, &format!("listener {port} 127.0.0.1"))
        .replace("\npassword_file /etc/mosquitto/passwd", &format!("\npassword_file {folder}/passwd"))
        .replace("\nacl_file /etc/mosquitto/acl", &format!("\nacl_file {folder}/acl"));
    // Started by root it would become another user, who may not read the folder of this test.
    let root = if nix::unistd::Uid::effective().is_root() { "user root\n" } else { "" };
    // Debian's own file has these two, and the snippet for service relies on them.
    let persistence = match text.lines().any(|line| line.starts_with("persistence ")) {
        true => String::new(),
        false => format!("persistence true\npersistence_location {folder}/\n"),
    };
    format!("{text}\n{root}{persistence}log_dest stderr\n")
}

fn spawn(mosquitto: &Path, folder: &Path) -> (Child, Receiver<String>) {
    let mut command = Command::new(mosquitto);
    command.arg("-c").arg(folder.join("mosquitto.conf")).stderr(Stdio::piped());
    let mut process = command.spawn().expect("mosquitto");
    let log = lines(process.stderr.take().expect("its log"));
    (process, log)
}

/// The lines of a stream as they come. The bound is far above what a broker says in a test; then it would wait.
fn lines(stream: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = sync_channel(10_000);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

#[test]
fn the_first_try_broker_serves_everybody_on_this_machine() {
    let Some(mut broker) = Broker::start("mosquitto/standalone.conf", &[]) else { return };
    let kept = [SESSION, &["-i", "first", "-t", "SendMessage", "-E"]].concat();
    assert!(broker.run("mosquitto_sub", None, &kept).status.success());
    assert!(broker.run("mosquitto_pub", None, &["-t", "SendMessage", "-m", "hello"]).status.success());
    let arguments = [SESSION, &["-i", "first", "-t", "SendMessage", "-C", "1", "-W", "30"]].concat();
    assert_eq!(broker.run("mosquitto_sub", None, &arguments).stdout, b"hello\n");
    assert!(broker.is_up());
}

const USERS: &[&str] = &["sendbridge", "operator", "legacy", "shop", "other"];

#[test]
fn the_bridge_hears_publishers_and_answers_them() {
    let Some(mut broker) = Broker::start("mosquitto/sendbridge.conf", USERS) else { return };
    broker.subscribe("sendbridge", "SendMessage/+");
    assert!(broker.may_publish("shop", "SendMessage/shop"));
    assert_eq!(broker.first_message("sendbridge", "SendMessage/+"), "SendMessage/shop");

    broker.subscribe("sendbridge", "SendMessage");
    assert!(broker.may_publish("legacy", "SendMessage"));
    assert_eq!(broker.first_message("sendbridge", "SendMessage"), "SendMessage");

    broker.subscribe("sendbridge", "sendbridge/request/#");
    assert!(broker.may_publish("operator", "sendbridge/request/pause"));
    assert_eq!(broker.first_message("sendbridge", "sendbridge/request/#"), "sendbridge/request/pause");

    for topic in ["SendMessageResp", "SendMessageResp/shop", "reply/shop/1", "sendbridge/state"] {
        assert!(broker.may_publish("sendbridge", topic), "{topic}");
    }
    assert!(broker.is_up());
}

#[test]
fn nobody_speaks_for_another() {
    let Some(broker) = Broker::start("mosquitto/sendbridge.conf", USERS) else { return };
    let forbidden = [
        ("shop", "SendMessage/other"),
        ("shop", "SendMessage"),
        ("shop", "SendMessageResp/shop"),
        ("shop", "sendbridge/request/pause"),
        ("shop", "sendbridge/state"),
        ("legacy", "SendMessage/shop"),
        ("operator", "SendMessage"),
        ("operator", "sendbridge/state"),
        ("sendbridge", "SendMessage"),
    ];
    for (user, topic) in forbidden {
        assert!(!broker.may_publish(user, topic), "{user} may publish on {topic}");
    }
    let stranger = broker.run("mosquitto_pub", None, &["-t", "SendMessage", "-m", "x"]);
    assert!(!stranger.status.success(), "somebody without a name was let in");
}

#[test]
fn nobody_reads_anothers_answers() {
    let Some(broker) = Broker::start("mosquitto/sendbridge.conf", USERS) else { return };
    for (reader, forbidden, allowed) in [
        ("shop", "SendMessageResp/other", "SendMessageResp/shop"),
        ("shop", "SendMessageResp", "SendMessageResp/shop"),
        ("shop", "sendbridge/event/send/sent", "SendMessageResp/shop"),
        ("shop", "reply/other/1", "reply/shop/1"),
        ("other", "reply/shop/1", "SendMessageResp/other"),
        ("legacy", "SendMessageResp/shop", "SendMessageResp"),
        ("operator", "SendMessageResp/shop", "sendbridge/event/send/sent"),
    ] {
        assert!(broker.may_not_read(reader, "sendbridge", forbidden, allowed), "{reader} reads {forbidden}");
    }
}

/// What came while the bridge was away is still there after the broker was stopped and started.
#[test]
fn a_restart_of_the_broker_keeps_what_waits() {
    let Some(mut broker) = Broker::start("mosquitto/sendbridge.conf", USERS) else { return };
    broker.subscribe("sendbridge", "SendMessage/+");
    assert!(broker.may_publish("shop", "SendMessage/shop"));
    broker.restart();
    assert_eq!(broker.first_message("sendbridge", "SendMessage/+"), "SendMessage/shop");
}

/// 15 is 1.5 of 10; what is left above zero is the network, which is the bridge's work.
#[test]
fn the_unit_is_hardened() {
    let Some(analyze) = program("systemd-analyze") else { return };
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/sendbridge.service");
    let output = Command::new(analyze)
        .args(["security", "--offline=true", "--threshold=15"])
        .arg(unit)
        .output()
        .expect("systemd-analyze");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Keys that systemd does not know are ignored by it with a warning, and with them what they protect.
#[test]
fn the_unit_has_no_unknown_key() {
    let Some(analyze) = program("systemd-analyze") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let unit = folder.path().join("sendbridge.service");
    // Only the binary is not installed where this runs.
    let text = deploy("sendbridge.service").replace("/usr/bin/sendbridge run", "/bin/true run");
    fs::write(&unit, text).expect("write");
    let output = Command::new(analyze).args(["verify", "--man=no"]).arg(&unit).output().expect("systemd-analyze");
    let said = String::from_utf8_lossy(&output.stderr);
    let about_us: Vec<&str> = said.lines().filter(|line| line.contains("sendbridge.service")).collect();
    assert_eq!(about_us, [""; 0]);
}
