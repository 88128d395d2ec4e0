//! A real Mosquitto of one test: own port, own directory, persistence on.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::watch;

const DEADLINE: Duration = Duration::from_secs(20);
/// Another process may take the port between our choice and Mosquitto's start.
const PORT_ATTEMPTS: usize = 20;
const SIGNAL_ATTEMPTS: usize = 100;
const SIGNAL_PATIENCE: Duration = Duration::from_millis(300);
/// Below the ports that the system gives to whoever asks for any, so that a stopped broker's is not taken.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// Brokers of all tests that ever took connections.
static STARTED: LazyLock<watch::Sender<u64>> = LazyLock::new(watch::Sender::default);

/// Changes whenever a broker begins to take connections: there is no use in trying to connect before.
pub fn started() -> watch::Receiver<u64> {
    STARTED.subscribe()
}

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
            match Process::start(directory.path()) {
                Ok(process) => return Self { directory, port, process: Some(process) },
                Err(log) if log.iter().any(|line| line.contains("Address already in use")) => {}
                Err(log) => panic!("Mosquitto did not start: {log:#?}"),
            }
        }
        panic!("Mosquitto did not find a port of its own in {PORT_ATTEMPTS} attempts");
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// `mqtt://127.0.0.1:<port>`
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// Ends it in order (SIGTERM): what persists is saved.
    pub fn stop(&mut self) {
        // It says that it runs a moment before it does, and forgets a signal of that moment.
        for _ in 0..SIGNAL_ATTEMPTS {
            self.signal(Signal::SIGTERM);
            let log = &self.process.as_ref().expect("running").log;
            if log.wait_until(SIGNAL_PATIENCE, |lines| count(lines, " terminating") > 0) {
                break;
            }
        }
        self.process.take().expect("running").wait();
    }

    /// Ends it like a crash (SIGKILL): nothing is saved.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.process.take().expect("running").wait();
    }

    /// Stops it in the middle of whatever it does (SIGSTOP): its connections stay, and nothing comes of them.
    #[allow(dead_code, reason = "not for the tests that need root")]
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets it go on.
    #[allow(dead_code, reason = "not for the tests that need root")]
    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
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
        assert!(log.wait_until(DEADLINE, |lines| count(lines, "Saving in-memory database") > saved), "it did not save");
    }

    /// Returns once it has told this of its present run. It logs every packet of everybody.
    pub fn wait_for(&self, text: &str) {
        let log = &self.process.as_ref().expect("running").log;
        assert!(log.wait_until(DEADLINE, |lines| count(lines, text) > 0), "it never said {text:?}");
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
    /// Returns when it accepts connections; its log when it ended instead.
    fn start(directory: &Path) -> Result<Self, Vec<String>> {
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
        let is_running = log.wait_until(DEADLINE, |lines| count(lines, " running") > 0);
        let mut process = Self { child, log };
        if is_running {
            STARTED.send_modify(|started| *started += 1);
            return Ok(process);
        }
        let _ = process.child.kill();
        process.wait();
        let lines = process.log.lines.lock().expect("the log").0.clone();
        Err(lines)
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

    /// False when the process ended, or `patience` did, before `is_there`.
    fn wait_until(&self, patience: Duration, is_there: impl Fn(&[String]) -> bool) -> bool {
        let lines = self.lines.lock().expect("the log");
        let (lines, _) = self
            .grown
            .wait_timeout_while(lines, patience, |(lines, ended)| !is_there(lines) && !*ended)
            .expect("the log");
        is_there(&lines.0)
    }
}

fn count(lines: &[String], text: &str) -> usize {
    lines.iter().filter(|line| line.contains(text)).count()
}

/// A port that no other broker of this process has, and nobody else has now.
pub fn free_port() -> u16 {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    loop {
        let offset = GIVEN.fetch_add(1, Ordering::Relaxed) as u32 + std::process::id() * 61;
        let port = PORTS.start + (offset % PORTS.len() as u32) as u16;
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
