//! A real Mosquitto of one test: own port, own directory, persistence on.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(20);
/// Before a signal to stop is given again.
const STOP_LOOK: Duration = Duration::from_millis(500);
/// Another process may take the port between our choice and Mosquitto's start.
const PORT_ATTEMPTS: usize = 20;

/// A broker on 127.0.0.1, killed by its process id when dropped.
pub struct Mosquitto {
    directory: TempDir,
    port: u16,
    process: Option<Process>,
}

struct Process {
    child: Child,
    log: Arc<Log>,
}

/// The lines that the process wrote so far, and whether it has ended.
#[derive(Default)]
struct Log {
    lines: Mutex<(Vec<String>, bool)>,
    grown: Condvar,
}

impl Mosquitto {
    /// Starts a broker whose configuration is a listener, anonymous access, persistence without autosave, large
    /// queues, and then `lines`, which win where they name the same option.
    pub fn start(lines: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().expect("a directory"), lines)
    }

    /// The same, in a directory that already holds the files that `lines` name.
    pub fn start_in(directory: TempDir, lines: &[&str]) -> Self {
        for _ in 0..PORT_ATTEMPTS {
            let port = free_port();
            write_config(directory.path(), port, lines);
            if let Ok(process) = Process::start(directory.path()) {
                return Self { directory, port, process: Some(process) };
            }
        }
        panic!("Mosquitto did not start with {lines:?} on any of {PORT_ATTEMPTS} ports");
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// `mqtt://127.0.0.1:<port>`
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// Ends it in order (SIGTERM): what persists is saved.
    pub fn stop(&mut self) {
        // It says that it is running before it listens to signals, and forgets one that comes too early.
        let looks = DEADLINE.as_millis() / STOP_LOOK.as_millis();
        for _ in 0..looks {
            self.signal(Signal::SIGTERM);
            if self.process.as_mut().expect("running").ends_within(STOP_LOOK) {
                self.process = None;
                return;
            }
        }
        panic!("Mosquitto does not stop");
    }

    /// Ends it like a crash (SIGKILL): nothing is saved.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.process.take().expect("running").wait();
    }

    /// Starts it on the same port with the same directory.
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "it is running");
        self.process = Some(Process::start(self.directory.path()).expect("the port is still free"));
    }

    /// Stops and starts it.
    pub fn restart(&mut self) {
        self.stop();
        self.start_again();
    }

    /// Asks it to save what persists (SIGUSR1). It has when it answers anything sent after the return.
    pub fn save(&self) {
        let log = &self.process.as_ref().expect("running").log;
        let saved = log.count("Saving in-memory database");
        self.signal(Signal::SIGUSR1);
        assert!(log.wait_until(|lines| count(lines, "Saving in-memory database") > saved), "it did not save");
    }

    /// Asks it to read its password and ACL files again (SIGHUP).
    pub fn reload(&self) {
        let log = &self.process.as_ref().expect("running").log;
        let reloaded = log.count("Reloading config");
        self.signal(Signal::SIGHUP);
        assert!(log.wait_until(|lines| count(lines, "Reloading config") > reloaded), "it did not reload");
    }

    /// How many lines of its log hold `text`, since its last start.
    pub fn count_log(&self, text: &str) -> usize {
        self.process.as_ref().expect("running").log.count(text)
    }

    fn signal(&self, signal: Signal) {
        let id = self.process.as_ref().expect("running").child.id();
        kill(Pid::from_raw(i32::try_from(id).expect("a process id")), signal).expect("it is ours");
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Its end is certain, so there is nothing to do about an error.
            let _ = process.child.kill();
            let _ = process.child.wait();
        }
    }
}

impl Process {
    /// Returns when it accepts connections; an error when it ended instead.
    fn start(directory: &Path) -> Result<Self, ()> {
        let mut child = Command::new("mosquitto")
            .arg("-c")
            .arg(directory.join("mosquitto.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("these tests need Mosquitto: apt install mosquitto");
        let log = Arc::new(Log::default());
        let stderr = child.stderr.take().expect("piped");
        std::thread::spawn({
            let log = Arc::clone(&log);
            move || log.read(stderr)
        });
        let is_running = log.wait_until(|lines| count(lines, " running") > 0);
        let mut process = Self { child, log };
        if is_running {
            return Ok(process);
        }
        let _ = process.child.kill();
        process.wait();
        Err(())
    }

    /// Its log ends with it.
    fn ends_within(&mut self, span: Duration) -> bool {
        let lines = self.log.lines.lock().expect("the log");
        let (lines, _) = self.log.grown.wait_timeout_while(lines, span, |(_, ended)| !*ended).expect("the log");
        let ended = lines.1;
        drop(lines);
        if ended {
            self.wait();
        }
        ended
    }

    fn wait(&mut self) {
        self.child.wait().expect("it is ours");
    }
}

impl Log {
    fn read(&self, stderr: ChildStderr) {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            self.lines.lock().expect("the log").0.push(line);
            self.grown.notify_all();
        }
        self.lines.lock().expect("the log").1 = true;
        self.grown.notify_all();
    }

    fn count(&self, text: &str) -> usize {
        count(&self.lines.lock().expect("the log").0, text)
    }

    /// False when the process ended, or the deadline passed, before `is_there`.
    fn wait_until(&self, is_there: impl Fn(&[String]) -> bool) -> bool {
        let lines = self.lines.lock().expect("the log");
        let (lines, _) = self
            .grown
            .wait_timeout_while(lines, DEADLINE, |(lines, ended)| !is_there(lines) && !*ended)
            .expect("the log");
        is_there(&lines.0)
    }
}

fn count(lines: &[String], text: &str) -> usize {
    lines.iter().filter(|line| line.contains(text)).count()
}

/// A port below those that the system gives to outgoing connections: while a server is down, nobody takes its port,
/// and no client of it can connect to itself.
pub fn free_port() -> u16 {
    loop {
        let draw = sendbridge::clock::random_uuid().as_u128() % 20_000;
        let port = 12_000 + u16::try_from(draw).expect("below 20,000");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn write_config(directory: &Path, port: u16, lines: &[&str]) {
    let persistence_location = format!("persistence_location {}/", directory.display());
    let defaults = [
        // It would change to a user who cannot read the directory, when root runs the tests.
        "user root",
        "log_dest stderr",
        "log_type all",
        "allow_anonymous true",
        "persistence true",
        persistence_location.as_str(),
        "autosave_interval 0",
        "max_queued_messages 100000",
        "set_tcp_nodelay true",
    ];
    let option = |line: &str| line.split_whitespace().next().unwrap_or_default().to_owned();
    let named: Vec<String> = lines.iter().map(|line| option(line)).collect();
    let mut config = String::new();
    for line in defaults.iter().filter(|line| !named.contains(&option(line))) {
        writeln!(config, "{line}").expect("a string grows");
    }
    writeln!(config, "listener {port} 127.0.0.1").expect("a string grows");
    for line in lines {
        writeln!(config, "{line}").expect("a string grows");
    }
    std::fs::write(directory.join("mosquitto.conf"), config).expect("the configuration");
}
