//! Mutation testing with one binary of all mutants, of which an environment variable brings one to life: compiling them
//! takes minutes, where compiling one after the other takes days. The few that cannot share it are compiled alone.
//!
//!     mutation ROOMS ALL ACCEPTED JOBS [--missed | PART OF A NAME…]
//!
//! ROOMS is the package with the source and `mutants.json` beside it; ALL, a copy of it that gets all mutants; ACCEPTED,
//! the page that lists what may survive. Leaves `outcomes.txt` beside ROOMS, and ends with 1 if more survives.

mod compile;
mod list;
mod rewrite;
mod tries;

use compile::{Compiled, compile, compile_alone};
use list::Mutant;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use tries::{Outcome, Tries};

/// What became of each mutant, by its number.
type Outcomes = BTreeMap<usize, Outcome>;

const WORDS: [(Outcome, &str); 4] = [
    (Outcome::Caught, "caught"),
    (Outcome::TimedOut, "timed-out"),
    (Outcome::Missed, "missed"),
    (Outcome::Unviable, "unviable"),
];

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [rooms, all, accepted, jobs, parts @ ..] = &arguments[..] else {
        eprintln!("mutation ROOMS ALL ACCEPTED JOBS [--missed | PART OF A NAME…]");
        return ExitCode::from(2);
    };
    let (rooms, all, jobs) = (Path::new(rooms), Path::new(all), jobs.parse().expect("the jobs are a number"));
    let mutants = list::read(&read(&rooms.with_file_name("mutants.json")), rooms);
    let kept = rooms.with_file_name("outcomes.txt");
    let (mut outcomes, wanted): (Outcomes, Vec<&Mutant>) = if parts == ["--missed"] {
        let before = read_outcomes(&read(&kept), &mutants);
        let wanted = mutants.iter().filter(|mutant| before.get(&mutant.number) == Some(&Outcome::Missed)).collect();
        (before, wanted)
    } else {
        let is_wanted = |mutant: &&Mutant| parts.is_empty() || parts.iter().any(|part| mutant.name.contains(part));
        (Outcomes::new(), mutants.iter().filter(is_wanted).collect())
    };

    fs::write(all.join("src/mutant.rs"), include_str!("switch.rs")).expect("the switch is written");
    let compiled = compile(rooms, all, &mutants);
    let tries = Tries::new(&compiled.binary, all, jobs);
    let seconds: f64 = tries.tests.iter().map(|test| test.time.as_secs_f64()).sum();
    eprintln!("{} tests pass without a mutant, in {seconds:.0} s", tries.tests.len());
    outcomes.extend(try_all(&tries, &compiled, rooms, &wanted));
    // Whatever else went wrong meanwhile, it was not that they fail by themselves.
    assert_eq!(Tries::new(&compiled.binary, all, jobs).tests.len(), tries.tests.len());

    let word = |outcome: Outcome| WORDS.iter().find(|(one, _)| *one == outcome).expect("each has a word").1;
    let named = mutants.iter().filter_map(|mutant| Some((word(*outcomes.get(&mutant.number)?), mutant)));
    let lines: String = named.map(|(word, mutant)| format!("{word} {}\n", mutant.name)).collect();
    if outcomes.len() == mutants.len() {
        fs::write(kept, lines).expect("the outcomes are written");
    }
    report(&mutants, &outcomes, &read(Path::new(accepted)))
}

/// What an earlier run left. Its mutants have to be those of now: tests may be others, the program may not.
fn read_outcomes(text: &str, mutants: &[Mutant]) -> Outcomes {
    let numbers: BTreeMap<&str, usize> = mutants.iter().map(|mutant| (&*mutant.name, mutant.number)).collect();
    let outcome = |line: &str| {
        let (word, name) = line.split_once(' ')?;
        Some((*numbers.get(name)?, WORDS.iter().find(|(_, one)| *one == word)?.0))
    };
    let before: Option<Outcomes> = text.lines().map(outcome).collect();
    before.filter(|before| before.len() == mutants.len()).expect("an earlier run tried all mutants of this source")
}

fn try_all(tries: &Tries, compiled: &Compiled, rooms: &Path, wanted: &[&Mutant]) -> Outcomes {
    let done = AtomicUsize::new(0);
    let say = |mutant: &Mutant, outcome: Outcome| {
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if outcome == Outcome::Missed {
            eprintln!("{done} of {}: missed {}", wanted.len(), mutant.name);
        }
    };
    let is_alone =
        |mutant: &&&Mutant| !compiled.sites.contains_key(&mutant.number) && !compiled.unviable.contains(&mutant.number);
    let (alone, together): (Vec<&Mutant>, Vec<&Mutant>) = wanted.iter().partition(is_alone);
    eprintln!("{} are compiled alone", alone.len());
    let tried = tries.each(&together, |mutant| {
        let site = compiled.sites.get(&mutant.number);
        let outcome = site.map_or(Outcome::Unviable, |site| tries.try_one_of_all(mutant.number, *site));
        say(mutant, outcome);
        (mutant.number, outcome)
    });
    // They are compiled in one folder, one after the other; the next one while those before it are tried.
    let compiler = Mutex::new(());
    let tried_alone = tries.each(&alone, |mutant| {
        let binary = {
            let _turn = compiler.lock().expect("compiling does not panic");
            compile_alone(rooms, mutant)
        };
        let outcome = binary.as_deref().map_or(Outcome::Unviable, |binary| tries.try_alone(binary));
        if let Some(binary) = binary {
            fs::remove_file(binary).expect("the binary of a mutant is its own");
        }
        say(mutant, outcome);
        (mutant.number, outcome)
    });
    tried.into_iter().chain(tried_alone).collect()
}

fn report(mutants: &[Mutant], outcomes: &Outcomes, accepted: &str) -> ExitCode {
    let accepted: BTreeSet<&str> = accepted.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    let mut is_listed = true;
    for mutant in mutants {
        match (outcomes.get(&mutant.number), accepted.contains(&*mutant.lasting_name)) {
            (Some(Outcome::Missed), false) => {
                is_listed = false;
                println!("survives, and is not listed with a reason: {}", mutant.lasting_name);
            }
            (Some(Outcome::Caught | Outcome::TimedOut), true) => {
                println!("listed, and noticed: {}", mutant.lasting_name)
            }
            _ => {}
        }
    }
    let count = |wanted: Outcome| outcomes.values().filter(|outcome| **outcome == wanted).count();
    let (caught, timed_out, missed) = (count(Outcome::Caught), count(Outcome::TimedOut), count(Outcome::Missed));
    let tried = caught + timed_out + missed;
    println!("figure: mutants-in-all = {}", mutants.len());
    println!("figure: mutants-tried = {tried}");
    println!("figure: mutants-caught = {caught}");
    println!("figure: mutants-timed-out = {timed_out}");
    println!("figure: mutants-missed = {missed}");
    println!("figure: mutants-unviable = {}", count(Outcome::Unviable));
    // One that never ends is noticed too: its tests hang.
    println!("figure: mutants-caught-percent = {:.1}", (tried - missed) as f64 * 100.0 / tried.max(1) as f64);
    ExitCode::from(u8::from(!is_listed))
}
