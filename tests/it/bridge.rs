//! The real program, as one test runs it: own configuration, own journal, own log.

use crate::canary::{self, Way};
use crate::mosquitto::Mosquitto;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sendbridge::cli::pretend::Pretend;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

/// No test needs it; a broken one ends by it.
pub const DEADLINE: Duration = Duration::from_secs(60);
const ENDS: &str = "the process ends in time";
/// Between two looks at what can only be asked.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// Lines of the log that a failed test shows.
const SHOWN_LINES: usize = 80;

/// A configuration file: `table.key = value`, and whole tables after them.
#[derive(Clone)]
pub struct Config {
    keys: BTreeMap<String, BTreeMap<String, String>>,
    tables: String,
}

impl Config {
    /// Limits out of the way, port of the system's choice, everything logged.
    pub fn new(broker: &Mosquitto, sender: &Pretend) -> Self {
        let config = Self { keys: BTreeMap::new(), tables: String::new() };
        config
            .with("mqtt.url", &format!("{:?}", broker.url()))
            .with("senders.name", r#""main""#)
            .with("senders.url", &format!("{:?}", sender.url()))
            .with("senders.api_key", &format!("{:?}", canary::API_KEY))
            .with("limits.account_interval", r#""1ms""#)
            .with("http.listen", r#""127.0.0.1:0""#)
            .with("log.level", r#""debug""#)
    }

    /// Sets a key; `value` is TOML.
    pub fn with(mut self, key: &str, value: &str) -> Self {
        let (table, key) = key.split_once('.').expect("table.key");
        self.keys.entry(table.to_owned()).or_default().insert(key.to_owned(), value.to_owned());
        self
    }

    /// Adds tables, such as `[[accounts]]`.
    pub fn and(mut self, tables: &str) -> Self {
        self.tables.push_str(tables);
        self.tables.push('\n');
        self
    }

    pub fn text(&self) -> String {
        let mut text = String::new();
        for (table, keys) in &self.keys {
            let head = if table == "senders" { "[[senders]]".to_owned() } else { format!("[{table}]") };
            writeln!(text, "{head}").expect("a string grows");
            for (key, value) in keys {
                writeln!(text, "{key} = {value}").expect("a string grows");
            }
        }
        text + &self.tables
    }
}

/// A bridge that was started. Killed when dropped; its log is shown when the test fails.
pub struct Bridge {
    directory: TempDir,
    launcher: Launcher,
    process: Option<Process>,
    log: watch::Sender<Vec<String>>,
    /// Whether the end of the log is closed after its next line.
    deaf: Arc<AtomicBool>,
}

/// What the program is started by, and with: nothing, but for tests of what the system does to it.
#[derive(Clone, Debug, Default)]
pub struct Launcher {
    /// A program and its arguments, which must replace itself with the program behind them.
    pub before: Vec<String>,
    pub environment: Vec<(String, String)>,
}

struct Process {
    child: Child,
    reading: std::thread::JoinHandle<()>,
    http: SocketAddr,
}

impl Bridge {
    /// Starts it, and returns when its journal is restored and its HTTP server listens. The broker may be away.
    pub async fn start(config: &Config) -> Self {
        let mut bridge = Self::prepare(config, Launcher::default());
        bridge.start_again().await;
        bridge
    }

    /// Writes its configuration and does not start it yet.
    pub fn prepare(config: &Config, launcher: Launcher) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let log = watch::Sender::new(Vec::new());
        let bridge = Self { directory, launcher, process: None, log, deaf: Arc::default() };
        bridge.configure(config);
        bridge
    }

    /// Writes another configuration for its next start, on the same journal.
    pub fn configure(&self, config: &Config) {
        let mut config = config.clone();
        if !config.keys.get("store").is_some_and(|store| store.contains_key("path")) {
            config = config.with("store.path", &format!("{:?}", self.path("journal.db").display().to_string()));
        }
        let text = config.text();
        canary::feed(text.as_bytes());
        std::fs::write(self.path("bridge.toml"), text).expect("the configuration");
    }

    /// From its next start on.
    pub fn launch_by(&mut self, launcher: Launcher) {
        self.launcher = launcher;
    }

    /// The same, and waits for readiness.
    pub async fn start_ready(config: &Config) -> Self {
        let bridge = Self::start(config).await;
        bridge.ready().await;
        bridge
    }

    /// Starts it on the same configuration and journal.
    pub async fn start_again(&mut self) {
        let ended = self.start_or_end().await;
        assert!(ended.is_none(), "it ended instead of starting: {ended:?}");
    }

    /// The same for one that may end instead of starting: then this is how.
    pub async fn start_or_end(&mut self) -> Option<ExitStatus> {
        let earlier = self.log.borrow().len();
        let (mut child, reading) = self.spawn(&mut self.command());
        let listens = self.logged(earlier, |line| {
            let Ok(line) = serde_json::from_str::<serde_json::Value>(line) else {
                // In the text format.
                return line.split_once("address=")?.1.split_whitespace().next()?.parse().ok();
            };
            line["fields"]["address"].as_str()?.parse().ok()
        });
        let ended = async {
            let mut looks = tokio::time::interval(LOOK_INTERVAL);
            loop {
                looks.tick().await;
                if let Some(status) = child.try_wait().expect("it is ours") {
                    return status;
                }
            }
        };
        let http = tokio::select! {
            http = listens => Ok(http),
            status = ended => Err(status),
        };
        match http {
            Ok(http) => {
                canary::keep_process(child.id());
                self.process = Some(Process { child, reading, http });
                None
            }
            Err(status) => {
                tokio::task::block_in_place(|| reading.join().expect("its log is read to the end"));
                Some(status)
            }
        }
    }

    /// Starts it to end at a crash point, by the variable that says how. It listens on `http`, which its configuration
    /// says.
    #[allow(dead_code, reason = "not for the tests that need root")]
    pub fn start_to_end(&mut self, points: &[(&str, &str)], http: SocketAddr) {
        let (child, reading) = self.spawn(self.command().envs(points.iter().copied()));
        self.process = Some(Process { child, reading, http });
    }

    fn spawn(&self, command: &mut Command) -> (Child, std::thread::JoinHandle<()>) {
        assert!(self.process.is_none(), "it is running");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program");
        let stdout = child.stdout.take().expect("piped");
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                canary::keep(Way::Log, "stdout", line.as_bytes());
            }
        });
        let stderr = child.stderr.take().expect("piped");
        let reading = std::thread::spawn({
            let (log, deaf) = (self.log.clone(), Arc::clone(&self.deaf));
            move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    canary::keep(Way::Log, "", line.as_bytes());
                    log.send_modify(|lines| lines.push(line));
                    if deaf.load(Ordering::Relaxed) {
                        return;
                    }
                }
            }
        });
        (child, reading)
    }

    /// Closes our end of its log after the next line, as a log collector does that ends.
    pub fn stop_reading_its_log(&self) {
        self.deaf.store(true, Ordering::Relaxed);
    }

    /// Whether nobody reads its log any more.
    pub fn is_unread(&self) -> bool {
        self.process.as_ref().expect("running").reading.is_finished()
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.process.as_ref().expect("running").child.id()
    }

    /// Waits for a line of the log, from line `start` on, that `find` finds something in.
    pub async fn logged<T>(&self, start: usize, find: impl Fn(&str) -> Option<T>) -> T {
        let mut log = self.log.subscribe();
        let seen = log.wait_for(|lines| lines[start..].iter().any(|line| find(line).is_some()));
        let lines = tokio::time::timeout(DEADLINE, seen).await.expect("it is logged in time").expect("we hold the log");
        lines[start..].iter().find_map(|line| find(line)).expect("waited for")
    }

    fn command(&self) -> Command {
        let program = env!("CARGO_BIN_EXE_sendbridge").to_owned();
        let mut words = self.launcher.before.iter().chain([&program]);
        let mut command = Command::new(words.next().expect("at least the program"));
        command.args(words).args(["run", "--config"]).arg(self.path("bridge.toml"));
        command.envs(self.launcher.environment.clone()).env_remove("RUST_LOG").stdin(Stdio::null());
        command
    }

    /// Starts a second process on the same configuration, which must end by itself. Returns how, and what it said.
    pub fn start_second(&self) -> (ExitStatus, String) {
        let output = self.command().output().expect("the program");
        canary::keep(Way::Log, "", &output.stderr);
        (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The lines logged so far, by all processes together.
    pub fn log(&self) -> Vec<String> {
        self.log.borrow().clone()
    }

    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.child.try_wait().expect("it is ours").is_none())
    }

    /// Returns when `/readyz` says so.
    pub async fn ready(&self) {
        self.answers("/readyz", 200).await;
    }

    /// Returns when a path is answered with this status.
    pub async fn answers(&self, path: &str, status: u16) {
        let mut looks = tokio::time::interval(LOOK_INTERVAL);
        let asking = async {
            while self.get(path).await.0 != status {
                looks.tick().await;
            }
        };
        tokio::time::timeout(DEADLINE, asking).await.unwrap_or_else(|_| panic!("{path} never was {status}"));
    }

    /// Where its HTTP server listens.
    pub fn http(&self) -> SocketAddr {
        self.process.as_ref().expect("running").http
    }

    /// Status and body of a path of its HTTP server.
    pub async fn get(&self, path: &str) -> (u16, String) {
        let (status, _, body) = self.get_as(path, "*/*").await;
        (status, body)
    }

    /// Status, head and body of a path, for somebody who accepts this.
    pub async fn get_as(&self, path: &str, accept: &str) -> (u16, String, String) {
        let address = self.http();
        let mut stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
        let request = format!("GET {path} HTTP/1.1\r\nhost: bridge\r\naccept: {accept}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("text");
        canary::keep(Way::Http, path.split('/').nth(1).unwrap_or_default(), answer.as_bytes());
        let status = answer.get(9..12).and_then(|digits| digits.parse().ok()).expect("a status");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        (status, head.to_ascii_lowercase(), body.to_owned())
    }

    /// The status of a callback that is brought to this path.
    pub async fn post(&self, path: &str, body: &str) -> u16 {
        canary::feed(body.as_bytes());
        let mut stream = tokio::net::TcpStream::connect(self.http()).await.expect("it listens");
        let length = body.len();
        let request =
            format!("POST {path} HTTP/1.1\r\nhost: bridge\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
        stream.write_all(format!("{request}{body}").as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("text");
        canary::keep(Way::Http, path.split('/').nth(1).unwrap_or_default(), answer.as_bytes());
        answer.get(9..12).and_then(|digits| digits.parse().ok()).expect("a status")
    }

    /// The most memory that it ever had resident, in KiB.
    pub fn memory_peak_kib(&self) -> u64 {
        self.status_kib("VmHWM:")
    }

    /// The memory that it has resident now, in KiB.
    #[allow(dead_code, reason = "not for the tests that need root")]
    pub fn memory_kib(&self) -> u64 {
        self.status_kib("VmRSS:")
    }

    fn status_kib(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line of it");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Ends it like a crash (SIGKILL).
    pub fn kill(&mut self) {
        let status = self.end(Signal::SIGKILL);
        assert!(!status.success(), "it ended by itself before it was killed: {status}");
    }

    /// Ends it in order (SIGTERM), and returns how it ended.
    pub fn terminate(&mut self) -> ExitStatus {
        self.end(Signal::SIGTERM)
    }

    /// Sends a signal and does not wait.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.id()).expect("a process id")), signal).expect("it is ours");
    }

    fn end(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        self.wait()
    }

    /// Waits until it has ended.
    pub fn wait(&mut self) -> ExitStatus {
        let Process { child, reading, .. } = self.process.take().expect("running");
        let status = tokio::task::block_in_place(|| wait_bounded(child)).expect(ENDS);
        reading.join().expect("its log is read to the end");
        status
    }
}

/// Waits for a process. Nothing when it had to be killed, because it did not end.
pub fn wait_bounded(mut child: Child) -> Option<ExitStatus> {
    let id = Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
    let (ended, end_seen) = std::sync::mpsc::sync_channel(1);
    // Whoever waits for a process cannot be told to stop, so a thread does it.
    let waiting = std::thread::spawn(move || ended.send(child.wait()));
    let Ok(status) = end_seen.recv_timeout(DEADLINE) else {
        // Its number is still its own: nobody has been told of its end.
        kill(id, Signal::SIGKILL).expect("it is ours");
        let _ = waiting.join();
        return None;
    };
    Some(status.expect("it is ours"))
}

impl Drop for Bridge {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // Its end is certain, so there is nothing to do about an error.
            let _ = process.child.kill();
            let _ = process.child.wait();
        }
        if std::thread::panicking() {
            let lines = self.log.borrow();
            let shown = lines.len().saturating_sub(SHOWN_LINES);
            eprintln!("--- the end of the bridge's log\n{}\n---", lines[shown..].join("\n"));
        }
    }
}

/// Runs the program with a configuration that is no use; returns how it ended and what it said.
pub fn run_with(config: &str) -> (ExitStatus, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("bridge.toml");
    std::fs::write(&path, config).expect("the configuration");
    let mut child = Command::new(env!("CARGO_BIN_EXE_sendbridge"))
        .args(["run", "--config"])
        .arg(path)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program");
    let mut stderr = child.stderr.take().expect("piped");
    let status = wait_bounded(child).expect(ENDS);
    let mut said = String::new();
    stderr.read_to_string(&mut said).expect("text");
    canary::keep(Way::Log, "", said.as_bytes());
    (status, said)
}
