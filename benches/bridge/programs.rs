//! Starts what a measurement consists of, each in its own process on 127.0.0.1, and ends them by their ids.

use crate::load::{Load, Pace, Who};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(20);
/// What the logs of the programs go to, in the directory of one measurement.
const LOG: &str = "log";

/// A process that ends with its owner.
pub struct Process {
    child: Child,
}

impl Process {
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing of it is wanted any more, so there is nothing to do about an error.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program that is measured.
#[derive(Clone, Debug)]
pub enum Program {
    Plain,
    /// The same with two syncs a message.
    Synced,
    /// Only timers and requests: no messages come in or go out. Accounts begin one after the other over so long.
    Timers {
        over: Duration,
    },
    /// What somebody would write in another language: its command, which the broker's port and the sender's address
    /// follow.
    Peer {
        command: [PathBuf; 2],
    },
    /// The bridge: its binary, and lines that replace defaults, per table of its configuration.
    Bridge {
        binary: PathBuf,
        topics: &'static str,
        limits: &'static str,
        /// Whether somebody subscribes to its events.
        is_heard: bool,
    },
}

/// A broker, a sender and a program under test.
pub struct Rig {
    broker_port: u16,
    sender_port: u16,
    directory: PathBuf,
    program: Program,
    running: Process,
    broker: Process,
    _sender: Process,
    _listener: Option<Process>,
    runs: u32,
}

impl Rig {
    /// Returns when the program under test has answered a first message.
    pub fn start(program: &Program, directory: &Path) -> Self {
        // What a killed run left behind.
        let _ = std::fs::remove_dir_all(directory);
        std::fs::create_dir_all(directory).expect("a directory");
        let (broker, broker_port) = start_broker(directory);
        let (sender, mut output) = start_self(&["sender"], directory);
        let sender_port = read_line(&mut output).trim().parse().expect("a port");
        let url = format!("http://127.0.0.1:{sender_port}/gnapi/open");
        let is_heard = matches!(program, Program::Bridge { is_heard: true, .. });
        let listener = is_heard.then(|| {
            let (listener, mut output) = start_self(&["listener", &broker_port.to_string()], directory);
            read_line(&mut output);
            listener
        });
        let running = start_program(program, broker_port, &url, directory);
        let (program, directory) = (program.clone(), directory.to_path_buf());
        let mut rig = Self {
            broker_port,
            sender_port,
            directory,
            program,
            running,
            broker,
            _sender: sender,
            _listener: listener,
            runs: 0,
        };
        if !matches!(rig.program, Program::Timers { .. }) {
            rig.load(Pace::Probe, Duration::ZERO, Duration::ZERO);
        }
        rig
    }

    /// The id of the program under test.
    pub fn program_id(&self) -> u32 {
        self.running.id()
    }

    /// From now on each send takes `least`, and up to `more` on top of it.
    pub fn set_sender_wait(&self, least: Duration, more: Duration) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.sender_port)).expect("the sender runs");
        let (least, more) = (least.as_micros(), more.as_micros());
        write!(stream, "POST /wait/{least}+{more} HTTP/1.1\r\n\r\n").expect("the sender reads");
        let mut answer = [0; 15];
        stream.read_exact(&mut answer).expect("an answer");
    }

    /// Ends the program under test as a crash does, in the middle of whatever it does.
    pub fn kill(&mut self) {
        self.running.child.kill().expect("it runs");
        self.running.child.wait().expect("it is ours");
    }

    /// Starts it again, from what it left behind.
    pub fn start_again(&mut self) {
        let url = format!("http://127.0.0.1:{}/gnapi/open", self.sender_port);
        self.running = start_program(&self.program, self.broker_port, &url, &self.directory);
    }

    /// How many messages of a burst the sender has, and how many of them more than once. Counts from the first call on.
    pub fn ledger(&self) -> (u64, u64) {
        let body = self.sender().ask("/ledger");
        let (arrived, twice) = body.split_once(' ').expect("two numbers");
        (arrived.parse().expect("a number"), twice.parse().expect("a number"))
    }

    pub fn sender(&self) -> Sender {
        Sender(self.sender_port)
    }

    /// Starts a part of a measurement that publishes. [`end_of`] waits for its report.
    pub fn start_child(&self, what: &str, messages: u64) -> Publishing {
        Publishing(start_self(&[what, &self.broker_port.to_string(), &messages.to_string()], &self.directory))
    }

    /// Runs a load to its end and returns the line that it reports.
    pub fn load(&mut self, pace: Pace, warm_up: Duration, window: Duration) -> String {
        self.load_of(pace, Who::All, warm_up, window)
    }

    /// The same with messages for some of the companies.
    pub fn load_of(&mut self, pace: Pace, who: Who, warm_up: Duration, window: Duration) -> String {
        self.runs += 1;
        let load = Load {
            broker_port: self.broker_port,
            pace,
            who,
            warm_up,
            window,
            name: format!("m{}", self.runs),
            watched: [self.running.id(), self.broker.id()],
            journal: self.directory.join("sendbridge.db").display().to_string(),
        };
        let arguments = to_arguments(&load);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let (_generator, mut output) = start_self(&arguments, &self.directory);
        read_line(&mut output)
    }
}

/// The pretend sender, to be asked what it saw.
#[derive(Clone, Copy)]
pub struct Sender(u16);

impl Sender {
    /// How late messages were since the last call. Counts from the first call on.
    pub fn lateness(self) -> String {
        self.ask("/lateness")
    }

    fn ask(self, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.0)).expect("the sender runs");
        write!(stream, "GET {path} HTTP/1.1\r\n\r\n").expect("the sender reads");
        stream.shutdown(std::net::Shutdown::Write).expect("an open connection");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned()
    }
}

/// A part of a measurement under way.
pub struct Publishing((Process, BufReader<ChildStdout>));

/// Waits for its end, and returns the line that it reports.
pub fn end_of(publishing: Publishing) -> String {
    let (_process, mut output) = publishing.0;
    read_line(&mut output)
}

fn start_program(program: &Program, broker_port: u16, url: &str, directory: &Path) -> Process {
    match program {
        Program::Plain => start_self(&["plain", &broker_port.to_string(), url], directory).0,
        Program::Timers { over } => start_self(&["timers", url, &over.as_millis().to_string()], directory).0,
        Program::Synced => {
            let log = directory.join("synced").display().to_string();
            start_self(&["plain", &broker_port.to_string(), url, &log], directory).0
        }
        Program::Peer { command: [runtime, script] } => {
            let mut command = Command::new(runtime);
            command.arg(script).arg(broker_port.to_string()).arg(url);
            spawn(command.stdin(Stdio::null()).stdout(log(directory)).stderr(log(directory)))
        }
        Program::Bridge { binary, topics, limits, is_heard: _ } => {
            let config = directory.join("sendbridge.toml");
            let text = bridge_config(directory, broker_port, url, [topics, limits]);
            std::fs::write(&config, text).expect("a file");
            let mut command = Command::new(binary);
            command.arg("run").arg("--config").arg(config);
            spawn(command.stdin(Stdio::null()).stdout(log(directory)).stderr(log(directory)))
        }
    }
}

fn to_arguments(load: &Load) -> Vec<String> {
    let (pace, number, over) = match load.pace {
        Pace::Probe => ("probe", 0, Duration::ZERO),
        Pace::Closed { outstanding } => ("closed", outstanding, Duration::ZERO),
        Pace::Spread { outstanding, over } => ("spread", outstanding, over),
        Pace::Open { per_second } => ("open", per_second as usize, Duration::ZERO),
    };
    let mut arguments = vec!["load".to_owned(), pace.to_owned()];
    let numbers = [number, load.broker_port.into(), load.watched[0] as usize, load.watched[1] as usize];
    arguments.extend(numbers.iter().map(ToString::to_string));
    arguments.extend([over, load.warm_up, load.window].map(|span| span.as_millis().to_string()));
    arguments.extend([load.name.clone(), load.journal.clone(), load.who.word().to_owned()]);
    arguments
}

/// Reads what [`Rig::load`] wrote.
pub fn from_arguments(arguments: &[String]) -> Load {
    let [pace, number, port, program, broker, over, warm_up, window, name, journal, who] = arguments else {
        panic!("{arguments:?} are not the arguments of a load")
    };
    let number: usize = number.parse().expect("a number");
    let span = |text: &String| Duration::from_millis(text.parse().expect("milliseconds"));
    let pace = match pace.as_str() {
        "probe" => Pace::Probe,
        "closed" => Pace::Closed { outstanding: number },
        "spread" => Pace::Spread { outstanding: number, over: span(over) },
        "open" => Pace::Open { per_second: u32::try_from(number).expect("a rate") },
        other => panic!("{other:?} is no pace"),
    };
    Load {
        broker_port: port.parse().expect("a port"),
        pace,
        who: Who::parse(who),
        warm_up: span(warm_up),
        window: span(window),
        name: name.clone(),
        watched: [program, broker].map(|id| id.parse().expect("a process id")),
        journal: journal.clone(),
    }
}

fn start_self(arguments: &[&str], directory: &Path) -> (Process, BufReader<ChildStdout>) {
    let own = std::env::current_exe().expect("our own path");
    let mut command = Command::new(own);
    let mut process = spawn(command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log(directory)));
    let output = process.child.stdout.take().expect("piped");
    (process, BufReader::new(output))
}

fn spawn(command: &mut Command) -> Process {
    Process { child: command.spawn().unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}")) }
}

fn log(directory: &Path) -> Stdio {
    let file = std::fs::OpenOptions::new().create(true).append(true).open(directory.join(LOG));
    Stdio::from(file.expect("a file"))
}

fn read_line(output: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    output.read_line(&mut line).expect("text");
    assert!(!line.is_empty(), "a process of the measurement failed: see `{LOG}` in its directory below target/tmp");
    line
}

fn start_broker(directory: &Path) -> (Process, u16) {
    let port = free_port();
    let config = directory.join("mosquitto.conf");
    let text = format!(
        "listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\nmax_inflight_messages 1000\n\
         max_queued_messages 200000\npersistence false\nlog_type warning\nlog_type error\n"
    );
    std::fs::write(&config, text).expect("a file");
    let mut command = Command::new("mosquitto");
    command.arg("-c").arg(config).stdin(Stdio::null()).stdout(log(directory)).stderr(log(directory));
    let broker = spawn(&mut command);
    let started = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(started.elapsed() < DEADLINE, "Mosquitto does not listen");
        std::thread::sleep(Duration::from_millis(10));
    }
    (broker, port)
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").port()
}

/// Every default but for the limits, which are what the bridge is for and would be all that is measured.
fn bridge_config(directory: &Path, broker_port: u16, url: &str, [topics, limits]: [&str; 2]) -> String {
    let mut text = String::new();
    let store = directory.join("sendbridge.db");
    write!(
        text,
        "[mqtt]\nurl = \"mqtt://127.0.0.1:{broker_port}\"\n[topics]\n{topics}\n\
         [[senders]]\nname = \"main\"\nkind = \"quntool\"\nurl = \"{url}\"\napi_key = \"key\"\n\
         [limits]\n{limits}\n\
         [store]\npath = \"{}\"\n[http]\nlisten = \"127.0.0.1:{}\"\n",
        store.display(),
        free_port(),
    )
    .expect("a string grows");
    text
}
