//! The whole bridge against a plain program, on this machine, now.
//!
//! Both are measured by turns in every round, with the same broker, sender and load, because a figure alone says more
//! about what else the machine was doing. Nothing is asserted: it prints ratios, with their range. See README.md.

#![allow(clippy::disallowed_methods, reason = "a measurement reads the real clock")]
#![allow(clippy::print_stdout, reason = "its result is what it prints")]

mod accuracy;
mod backlog;
mod baseline;
mod client;
mod kill;
mod load;
mod picture;
mod proc;
mod programs;
mod report;
mod sender;
mod timers;

use clap::Parser;
use load::Pace;
use programs::{Program, Rig};
use report::Round;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Enough that none of them is ever the limit: each has one request under way at most.
const ACCOUNTS: u32 = 2000;
/// Out of the way of every measurement of speed.
const NO_LIMITS: &str = "account_interval = \"1ms\"\nmeasured_from = \"request\"\ncorp_per_hour = 10000000";
/// Messages without an answer in the closed loop.
const OUTSTANDING: usize = 1000;

#[derive(Parser)]
struct Arguments {
    /// Rounds; each measures every program once.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// About a minute: one short round, so without a range.
    #[arg(long)]
    quick: bool,
    /// Further bridges to compare with, as paths of their binaries.
    #[arg(long, value_name = "BINARY")]
    also: Vec<PathBuf>,
    /// Only the plain program and the bridge with its defaults.
    #[arg(long)]
    plain: bool,
    /// Only a closed loop against the bridge, of so many seconds, for a profiler; prints its process id first. With
    /// `--plain` it is against the plain program.
    #[arg(long, value_name = "SECONDS")]
    profile: Option<u64>,
    /// With `--profile`: so many messages a second in place of the closed loop.
    #[arg(long, value_name = "MESSAGES", requires = "profile")]
    per_second: Option<u32>,
    /// With `--profile`: messages without an answer in the closed loop.
    #[arg(long, value_name = "MESSAGES", requires = "profile", default_value_t = OUTSTANDING)]
    outstanding: usize,
    /// With `--profile`: what the sender takes for each request.
    #[arg(long, value_name = "MILLISECONDS", requires = "profile", default_value_t = 0)]
    sender_takes: u64,
    /// With `--profile`: after a closed loop of so many seconds, so that every account is known.
    #[arg(long, value_name = "SECONDS", requires = "profile")]
    after_load: Option<u64>,
    /// Also draws the ratios into this file.
    #[arg(long, value_name = "SVG")]
    picture: Option<PathBuf>,
    /// Only what each loses when it is killed with work in hand.
    #[arg(long)]
    kill: bool,
    /// Only the bridge with so many messages queued.
    #[arg(long, value_name = "MESSAGES")]
    backlog: Option<u64>,
    /// Only how late messages are where every account always has one waiting.
    #[arg(long)]
    accuracy: bool,
    /// Only latencies, so that many rounds take little time.
    #[arg(long, conflicts_with = "picture")]
    latency: bool,
    /// Also what somebody would write in other languages, as far as Node.js and Python are there.
    #[arg(long)]
    peers: bool,
    /// Also the plain program with two syncs a message and nothing else: what the aim for p50 at 50 a second is.
    #[arg(long)]
    synced: bool,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("sender") => sender::run(),
        Some("listener") => load::listen_to_events(arguments[1].parse().expect("a port")),
        Some("plain") => {
            let log = arguments.get(3).map(Path::new);
            baseline::run(arguments[1].parse().expect("a port"), &arguments[2], log);
        }
        Some("timers") => {
            timers::run(&arguments[1], Duration::from_millis(arguments[2].parse().expect("milliseconds")));
        }
        Some("load") => load::run(&programs::from_arguments(&arguments[1..])),
        Some("held") => {
            backlog::publish(arguments[1].parse().expect("a port"), arguments[2].parse().expect("a number"));
        }
        Some("burst") => kill::publish(arguments[1].parse().expect("a port"), arguments[2].parse().expect("a number")),
        Some(_) | None => compare(Arguments::parse()),
    }
}

/// How long each part of a round takes.
#[derive(Clone, Copy)]
struct Spans {
    warm_up: Duration,
    /// Zero for none.
    closed: Duration,
    open: Duration,
    fdatasync: Duration,
}

fn compare(arguments: Arguments) {
    let seconds = Duration::from_secs;
    let full =
        Spans { warm_up: seconds(1), closed: seconds(5), open: seconds(5), fdatasync: Duration::from_millis(500) };
    let short = Spans { closed: seconds(2), open: seconds(2), fdatasync: Duration::from_millis(200), ..full };
    let (rounds, spans) = if arguments.quick { (1, short) } else { (arguments.rounds.max(1), full) };
    let spans = if arguments.latency { Spans { closed: Duration::ZERO, ..spans } } else { spans };
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-{}", std::process::id()));
    let bridge = |binary: &Path| Program::Bridge {
        binary: binary.to_path_buf(),
        topics: "",
        limits: NO_LIMITS,
        is_heard: false,
    };
    let own = Path::new(env!("CARGO_BIN_EXE_sendbridge"));
    if let Some(span) = arguments.profile {
        let binary = arguments.also.first().map_or(own, PathBuf::as_path);
        let mut rig = Rig::start(&if arguments.plain { Program::Plain } else { bridge(binary) }, &directory);
        println!("pid {}", rig.program_id());
        rig.set_sender_wait(Duration::from_millis(arguments.sender_takes), Duration::ZERO);
        let closed = Pace::Closed { outstanding: arguments.outstanding };
        if let Some(span) = arguments.after_load {
            rig.load(Pace::Closed { outstanding: OUTSTANDING }, Duration::ZERO, seconds(span));
        }
        let pace = arguments.per_second.map_or(closed, |per_second| Pace::Open { per_second });
        println!("{}", rig.load(pace, seconds(1), seconds(span)));
    } else if let Some(messages) = arguments.backlog {
        backlog::run(&bridge(arguments.also.first().map_or(own, PathBuf::as_path)), messages, &directory);
    } else if arguments.accuracy {
        let binary = arguments.also.first().map_or(own, PathBuf::as_path).to_path_buf();
        let limits = "corp_per_hour = 10000000";
        let limited = Program::Bridge { binary, topics: "", limits, is_heard: false };
        accuracy::run(&limited, &directory);
    } else {
        let mut programs = vec![("plain program".to_owned(), Program::Plain), ("bridge".to_owned(), bridge(own))];
        programs.extend(arguments.also.iter().map(|path| (path.display().to_string(), bridge(path))));
        if !arguments.plain {
            let (binary, topics) = (own.to_path_buf(), "events = \"off\"");
            let heard = Program::Bridge { binary: binary.clone(), topics: "", limits: NO_LIMITS, is_heard: true };
            programs.push(("bridge, events heard".to_owned(), heard));
            let without_events = Program::Bridge { binary, topics, limits: NO_LIMITS, is_heard: false };
            programs.push(("bridge, events off".to_owned(), without_events));
        }
        if arguments.synced {
            programs.push(("plain program, two syncs a message".to_owned(), Program::Synced));
        }
        if arguments.peers {
            programs.extend(peers());
        }
        if arguments.kill {
            println!("{}", kill::table(&programs, rounds, &directory));
        } else {
            let results = measure_all(&programs, rounds, spans, &directory);
            println!("{}", report::table(&results));
            if let Some(path) = arguments.picture {
                std::fs::write(path, picture::svg(&results)).expect("a file");
            }
        }
    }
    let _ = std::fs::remove_dir_all(directory);
}

/// Installs what they need, below `target`.
fn peers() -> Vec<(String, Program)> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let installed = std::process::Command::new(project.join("benches/peers/install")).status();
    assert!(installed.is_ok_and(|status| status.success()), "the peers cannot be installed");
    let peers = project.join("target/peers");
    let node = ("Node.js, mqtt.js and fetch", [PathBuf::from("node"), peers.join("peer.mjs")]);
    let python =
        ("Python, aiomqtt and aiohttp", [peers.join("python/bin/python3"), project.join("benches/peers/peer.py")]);
    let there = |(_, [runtime, script]): &(&str, [PathBuf; 2])| {
        script.exists() && (runtime.exists() || runtime.components().count() == 1)
    };
    let named = |(name, command): (&str, [PathBuf; 2])| (name.to_owned(), Program::Peer { command });
    [node, python].into_iter().filter(there).map(named).collect()
}

fn measure_all(
    programs: &[(String, Program)],
    rounds: u32,
    spans: Spans,
    directory: &Path,
) -> Vec<(String, Vec<Round>)> {
    let mut results: Vec<(String, Vec<Round>)> = programs.iter().map(|(name, _)| (name.clone(), vec![])).collect();
    for number in 0..rounds {
        for turn in 0..programs.len() {
            // Another one begins each round, so that nobody always follows the same.
            let position = (turn + number as usize) % programs.len();
            let (name, program) = &programs[position];
            let round = measure(program, spans, directory);
            let Round { rate_0_ms, p50_at_50, wrong, .. } = &round;
            eprintln!("round {}, {name}: {rate_0_ms:.0} msg/s, p50 {p50_at_50:.2} ms, wrong {wrong}", number + 1);
            results[position].1.push(round);
        }
    }
    results
}

fn measure(program: &Program, spans: Spans, directory: &Path) -> Round {
    let mut rig = Rig::start(program, directory);
    let mut round =
        Round { fdatasync_us: micros(proc::fdatasync_cost(directory, spans.fdatasync)), ..Round::default() };
    round.rss_rest = proc::counts(rig.program_id()).rss_kib as f64 / 1024.0;
    if !spans.closed.is_zero() {
        measure_closed(&mut rig, spans, &mut round);
    }
    let at_50 = Line(rig.load(Pace::Open { per_second: 50 }, spans.warm_up, spans.open));
    let at_500 = Line(rig.load(Pace::Open { per_second: 500 }, spans.warm_up, spans.open));
    round.commits_idle = at_50.of_each("commits");
    round.p50_at_50 = at_50.value("p50_us") / 1000.0;
    round.p99_at_50 = at_50.value("p99_us") / 1000.0;
    round.p50_at_500 = at_500.value("p50_us") / 1000.0;
    round.p99_at_500 = at_500.value("p99_us") / 1000.0;
    for line in [at_50, at_500] {
        round.wrong += line.wrong();
    }
    round
}

/// As fast as it goes, with a sender that answers at once and with one that takes its time.
fn measure_closed(rig: &mut Rig, spans: Spans, round: &mut Round) {
    let closed = Pace::Closed { outstanding: OUTSTANDING };
    let at_0_ms = Line(rig.load(closed, spans.warm_up, spans.closed));
    rig.set_sender_wait(Duration::from_millis(20), Duration::ZERO);
    let at_20_ms = Line(rig.load(closed, spans.warm_up, spans.closed));
    rig.set_sender_wait(Duration::ZERO, Duration::ZERO);
    round.rate_0_ms = at_0_ms.value("messages") / at_0_ms.value("seconds");
    round.rate_20_ms = at_20_ms.value("messages") / at_20_ms.value("seconds");
    // Milliseconds per message are tens of seconds per 10,000.
    round.cpu_s = at_0_ms.of_each("cpu_ms") * 10.0;
    round.broker_cpu_s = at_0_ms.of_each("broker_cpu_ms") * 10.0;
    round.commits_busy = at_0_ms.of_each("commits");
    round.rss_peak = at_20_ms.value("peak_kib") / 1024.0;
    for line in [at_0_ms, at_20_ms] {
        round.wrong += line.wrong();
    }
}

/// What the load generator printed: `name=value`, separated by spaces.
struct Line(String);

impl Line {
    fn value(&self, name: &str) -> f64 {
        let value = self.0.split_whitespace().find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {:?}", self.0))
    }

    /// A figure by the number of messages.
    fn of_each(&self, name: &str) -> f64 {
        self.value(name) / self.value("messages")
    }

    /// Messages without exactly one good answer.
    fn wrong(&self) -> u64 {
        (self.value("errors") + self.value("unanswered")) as u64
    }
}

fn micros(span: Duration) -> f64 {
    span.as_secs_f64() * 1e6
}

/// The account with a number, as the pretend sender and the load both know it.
fn account(number: u32) -> String {
    (1_688_850_407_900_000 + u64::from(number)).to_string()
}

/// Runs on this thread alone: the load and the sender are to take as little of the machine as they can.
fn run_alone(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(work);
}
