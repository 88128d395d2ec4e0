//! Mutation testing with one binary of all mutants, of which an environment variable brings one to life: compiling them
//! takes minutes, where compiling one after the other takes days. The few that cannot share it are compiled alone.
//!
//!     mutation ROOMS ALL ACCEPTED JOBS [PART OF A NAME…]
//!
//! ROOMS is the package with the source and `mutants.json` beside it; ALL, a copy of it that gets all mutants; ACCEPTED,
//! the page that lists what may survive. Leaves `outcomes.txt` beside ROOMS, and ends with 1 if more survives.

mod compile;
mod list;
mod rewrite;
mod tries;

use compile::{Compiled, compile, compile_alone};
use list::Mutant;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use tries::{Outcome, Tries};

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [rooms, all, accepted, jobs, parts @ ..] = &arguments[..] else {
        eprintln!("mutation ROOMS ALL ACCEPTED JOBS [PART OF A NAME…]");
        return ExitCode::from(2);
    };
    let (rooms, all, jobs) = (Path::new(rooms), Path::new(all), jobs.parse().expect("the jobs are a number"));
    let mutants = list::read(&read(&rooms.with_file_name("mutants.json")), rooms);
    fs::write(all.join("src/mutant.rs"), include_str!("switch.rs")).expect("the switch is written");
    let compiled = compile(rooms, all, &mutants);
    let tries = Tries::new(&compiled.binary, all, jobs);
    let seconds: f64 = tries.tests.iter().map(|test| test.time.as_secs_f64()).sum();
    eprintln!("{} tests pass without a mutant, in {seconds:.0} s", tries.tests.len());

    let is_wanted = |mutant: &&Mutant| parts.is_empty() || parts.iter().any(|part| mutant.name.contains(part));
    let wanted: Vec<&Mutant> = mutants.iter().filter(is_wanted).collect();
    let outcomes = try_all(&tries, &compiled, rooms, &wanted);
    // Whatever else went wrong meanwhile, it was not that.
    assert_eq!(Tries::new(&compiled.binary, all, jobs).tests.len(), tries.tests.len());
    report(&outcomes, mutants.len(), rooms, &read(Path::new(accepted)))
}

/// What became of each; nothing of what is no program.
fn try_all<'a>(
    tries: &Tries,
    compiled: &Compiled,
    rooms: &Path,
    wanted: &[&'a Mutant],
) -> Vec<(&'a Mutant, Option<Outcome>)> {
    let done = AtomicUsize::new(0);
    let say = |mutant: &Mutant, outcome: &Option<Outcome>| {
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if *outcome == Some(Outcome::Missed) || done.is_multiple_of(100) {
            eprintln!("{done} of {}: {outcome:?} {}", wanted.len(), mutant.name);
        }
    };
    let is_alone =
        |mutant: &&&Mutant| !compiled.sites.contains_key(&mutant.number) && !compiled.unviable.contains(&mutant.number);
    let (alone, together): (Vec<&'a Mutant>, Vec<&'a Mutant>) = wanted.iter().partition(is_alone);
    let mut outcomes = tries.each(&together, |mutant| {
        let site = compiled.sites.get(&mutant.number);
        let outcome = site.map(|site| tries.try_one_of_all(mutant.number, *site));
        say(mutant, &outcome);
        (*mutant, outcome)
    });
    for mutant in alone {
        let outcome = compile_alone(rooms, mutant).map(|binary| tries.try_alone(&binary));
        say(mutant, &outcome);
        outcomes.push((mutant, outcome));
    }
    outcomes.sort_by_key(|(mutant, _)| mutant.number);
    outcomes
}

fn report(outcomes: &[(&Mutant, Option<Outcome>)], in_all: usize, rooms: &Path, accepted: &str) -> ExitCode {
    let listed: String = outcomes.iter().map(|(mutant, outcome)| format!("{outcome:?} {}\n", mutant.name)).collect();
    fs::write(rooms.with_file_name("outcomes.txt"), listed).expect("the outcomes are written");
    let accepted: BTreeSet<&str> = accepted.lines().filter_map(|line| line.strip_prefix("    src/")).collect();
    let is_accepted =
        |mutant: &Mutant| mutant.lasting_name.strip_prefix("src/").is_some_and(|name| accepted.contains(name));
    let mut unlisted = false;
    for (mutant, outcome) in outcomes {
        match outcome {
            Some(Outcome::Missed) if !is_accepted(mutant) => {
                unlisted = true;
                println!("survives, and is not listed with a reason: {}", mutant.lasting_name);
            }
            Some(Outcome::Caught(_) | Outcome::TimedOut) if is_accepted(mutant) => {
                println!("is listed, and noticed: {}", mutant.lasting_name);
            }
            Some(_) | None => {}
        }
    }
    let count =
        |is_so: &dyn Fn(&Option<Outcome>) -> bool| outcomes.iter().filter(|(_, outcome)| is_so(outcome)).count();
    let tried = count(&|outcome| outcome.is_some());
    let timed_out = count(&|outcome| *outcome == Some(Outcome::TimedOut));
    let missed = count(&|outcome| *outcome == Some(Outcome::Missed));
    println!("figure: mutants-in-all = {in_all}");
    println!("figure: mutants-tried = {tried}");
    println!("figure: mutants-caught = {}", tried - missed - timed_out);
    println!("figure: mutants-timed-out = {timed_out}");
    println!("figure: mutants-missed = {missed}");
    println!("figure: mutants-unviable = {}", outcomes.len() - tried);
    // One that never ends is noticed too: its tests hang.
    println!("figure: mutants-caught-percent = {:.1}", (tried - missed) as f64 * 100.0 / tried.max(1) as f64);
    ExitCode::from(u8::from(unlisted))
}
