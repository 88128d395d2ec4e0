//! Runs the tests: without a mutant, to see which sites each reaches, and with one, until a test notices it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The first tests that take less than this together are run as one, then those that take less than four times as much,
/// and so on: most mutants are noticed at once, and by which test is no matter.
const TOGETHER: Duration = Duration::from_millis(100);
/// How many times what they take without a mutant tests may take with one, and how many seconds more, of processor time.
const SLOWER: u32 = 10;
const SECONDS_MORE: u64 = 5;
/// Tests that wait for ever use no processor: then this ends them.
const WALL_SECONDS_MAX: u64 = 300;
/// What a mutant may take of the memory, in KiB.
const MEMORY_KIB_MAX: u64 = 4 << 20;

pub struct Test {
    pub name: String,
    /// Of the processor, without a mutant.
    pub time: Duration,
    pub sites: BTreeSet<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Caught,
    TimedOut,
    Missed,
    /// It is no program.
    Unviable,
}

pub struct Tries {
    binary: PathBuf,
    folder: PathBuf,
    jobs: usize,
    pub tests: Vec<Test>,
}

impl Tries {
    /// Runs every test without a mutant; all have to pass.
    pub fn new(binary: &Path, folder: &Path, jobs: usize) -> Self {
        let listed = Command::new(binary).args(["--list", "--format", "terse"]).current_dir(folder).output();
        let listed = String::from_utf8(listed.expect("the tests list themselves").stdout).expect("names are text");
        let names: Vec<&str> = listed.lines().filter_map(|line| line.strip_suffix(": test")).collect();
        let mut tries = Self { binary: binary.into(), folder: folder.into(), jobs, tests: Vec::new() };
        tries.tests = tries.each(&names, |name| tries.look(name));
        tries.tests.sort_by_key(|test| test.time);
        tries
    }

    /// Does something for each, as many at once as there are jobs.
    pub fn each<T: Sync, R: Send>(&self, items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
        let next = AtomicUsize::new(0);
        let worker = || {
            let mine = std::iter::from_fn(|| items.get(next.fetch_add(1, Ordering::Relaxed)));
            mine.map(&work).collect::<Vec<R>>()
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..self.jobs).map(|_| scope.spawn(worker)).collect();
            workers.into_iter().flat_map(|worker| worker.join().expect("a worker ends")).collect()
        })
    }

    fn look(&self, name: &str) -> Test {
        let report = |what: &str| self.folder.join("target").join(format!("{}-{what}", name.replace("::", "-")));
        let (sites, times) = (report("sites"), report("times"));
        let _ = std::fs::remove_file(&sites);
        let script = r#""$0" -q --exact --test-threads=1 "$2" && times > "$1""#;
        let mut command = self.command(script, &self.binary);
        command.arg(&times).arg(name).env("MUTANT_SITES", &sites);
        assert!(command.status().expect("a test runs").success(), "without a mutant {name} fails");
        let sites = std::fs::read_to_string(sites).unwrap_or_default();
        let sites = sites.lines().map(|line| line.parse().expect("a site is a number")).collect();
        let times = std::fs::read_to_string(times).expect("the shell says how long it took");
        let time = times.lines().nth(1).expect("the second line is about what it ran").split(' ').map(time).sum();
        Test { name: name.to_owned(), time, sites }
    }

    /// Runs the tests that reach the site, until one notices the mutant.
    pub fn try_one_of_all(&self, mutant: usize, site: usize) -> Outcome {
        self.run_until_noticed(&self.binary, mutant, &|test| test.sites.contains(&site))
    }

    /// Runs all tests of a mutant that has a binary of its own.
    pub fn try_alone(&self, binary: &Path) -> Outcome {
        self.run_until_noticed(binary, 0, &|_| true)
    }

    fn run_until_noticed(&self, binary: &Path, mutant: usize, is_wanted: &dyn Fn(&Test) -> bool) -> Outcome {
        let mut wanted = self.tests.iter().filter(|test| is_wanted(test)).peekable();
        let mut most = TOGETHER;
        while let Some(first) = wanted.next() {
            let (mut together, mut time) = (vec![first], first.time);
            while let Some(test) = wanted.next_if(|test| time + test.time < most) {
                together.push(test);
                time += test.time;
            }
            let outcome = self.run(binary, mutant, &together, time);
            if outcome != Outcome::Missed {
                return outcome;
            }
            most *= 4;
        }
        Outcome::Missed
    }

    fn run(&self, binary: &Path, mutant: usize, tests: &[&Test], time: Duration) -> Outcome {
        let seconds = (time * SLOWER).as_secs() + SECONDS_MORE;
        let script =
            r#"ulimit -t "$1" -v "$2"; shift 2; exec timeout -s KILL "$1" "$0" -q --exact --test-threads=1 "${@:2}""#;
        let mut command = self.command(script, binary);
        command.args([seconds, MEMORY_KIB_MAX, WALL_SECONDS_MAX].map(|number| number.to_string()));
        let status = command.args(tests.iter().map(|test| &test.name)).env("MUTANT", mutant.to_string()).status();
        // 124 and 137 are what `timeout` says, 152 is a processor limit.
        match status.expect("tests run").code() {
            Some(0) => Outcome::Missed,
            Some(124 | 137 | 152) | None => Outcome::TimedOut,
            Some(_) => Outcome::Caught,
        }
    }

    /// A script of bash about a binary, with the same choice of random inputs in every run.
    fn command(&self, script: &str, binary: &Path) -> Command {
        let mut command = Command::new("bash");
        command.args(["-c", script]).arg(binary).current_dir(&self.folder);
        command.env("PROPTEST_RNG_SEED", "1").env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1");
        command.env_remove("MUTANT").env_remove("MUTANT_SITES").env("RUST_BACKTRACE", "0");
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}

/// `0m1.250s`, as the shell writes it.
fn time(text: &str) -> Duration {
    let (minutes, seconds) = text.trim_end_matches('s').split_once('m').expect("minutes and seconds");
    let minutes: u64 = minutes.parse().expect("minutes are a number");
    Duration::from_secs(minutes * 60) + Duration::from_secs_f64(seconds.parse().expect("seconds are a number"))
}
