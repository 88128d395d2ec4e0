//! A list of messages: read, checked, and delivered.

use super::compose::Recipe;
use super::delivery::{Delivery, Ending, Parts};
use super::dispatch::Dispatch;
use super::forecast::Forecast;
use super::plan::{Item, Planner, hex};
use super::progress::{Progress, outcomes};
use super::results::{Known, Results, SENT};
use super::state::{Header, State};
use super::table::{Flaw, Format, Table};
use super::{
    EXIT_DATA, EXIT_INTERRUPTED, EXIT_NOT_SENT, EXIT_TEMPORARY, EXIT_UNAVAILABLE, Options, SESSION_EXPIRY, SendError,
    intake_settings, mqtt_settings, read_bytes, read_text, topics,
};
use crate::cli::client::Client;
use crate::cli::print_error;
use crate::cli::stop::StopSignals;
use crate::clock::Clock;
use crate::mqtt::topics::Topics;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Flaws that are shown one by one.
const FLAWS_SHOWN: usize = 20;
const ROWS_SHOWN: usize = 10;
const WAIT_LIST: Duration = Duration::from_secs(600);

/// A list that may be sent.
struct Checked {
    items: Vec<Item>,
    flaws: Vec<Flaw>,
    suffix: String,
    input: String,
    file_name: String,
    topics: Arc<Topics>,
    send_topic: String,
}

pub(super) async fn send(options: &Options, file: &Path) -> Result<u8, SendError> {
    let checked = check(options, file)?;
    tell_flaws(&checked.flaws);
    let (good, bad) = (checked.items.len(), checked.flaws.len());
    if options.list.check || (bad > 0 && !options.list.skip_invalid) {
        print_error(&format!("{good} rows can be sent, {bad} cannot; nothing was published\n"));
        return Ok(if bad > 0 { EXIT_DATA } else { 0 });
    }
    let results = options.list.results.clone().unwrap_or_else(|| {
        let mut name = file.as_os_str().to_owned();
        name.push(".results.csv");
        PathBuf::from(name)
    });
    let (ending, counts) = deliver(options, &checked, &results).await?;
    Ok(conclude(&ending, &counts, &checked))
}

fn check(options: &Options, file: &Path) -> Result<Checked, SendError> {
    let delimiter = match options.list.delimiter.as_bytes() {
        b"tab" | b"\\t" => b'\t',
        [one] if one.is_ascii() && !matches!(one, b'"' | b'\r' | b'\n') => *one,
        _ => return Err(SendError::Delimiter { text: options.list.delimiter.clone() }),
    };
    let bytes = read_bytes(file)?;
    let template = options.message.template.as_deref().map(read_text).transpose()?;
    let table = Table::read(&bytes, Format::of(file, delimiter)).map_err(SendError::List)?;
    let recipe = Recipe::new(&options.message, template.as_deref(), &options.list.map, table.columns)
        .map_err(SendError::Compose)?;
    let input = digest(&bytes, &recipe);
    let suffix = options.topics.suffix.clone().unwrap_or_else(|| format!("list-{}", &input[..16]));
    let (topics, send_topic) = topics(options, &suffix)?;
    let intake = intake_settings(&options.message, &topics);
    let file_name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let planner = Planner { recipe: &recipe, intake: &intake, suffix: &suffix, file_name: &file_name };
    let (items, mut flaws) = planner.plan(&table.rows);
    flaws.extend(table.flaws);
    flaws.sort_by_key(|flaw| flaw.number);
    Ok(Checked { items, flaws, suffix, input, file_name, topics, send_topic })
}

/// Of everything that the messages are made of.
fn digest(bytes: &[u8], recipe: &Recipe) -> String {
    let mut digest = Sha256::new();
    digest.update((bytes.len() as u64).to_le_bytes());
    digest.update(bytes);
    recipe.digest_into(&mut digest);
    hex(&digest.finalize())
}

fn tell_flaws(flaws: &[Flaw]) {
    for flaw in flaws.iter().take(FLAWS_SHOWN) {
        print_error(&format!("{flaw}\n"));
    }
    if flaws.len() > FLAWS_SHOWN {
        print_error(&format!("… and {} more rows that cannot be sent\n", flaws.len() - FLAWS_SHOWN));
    }
}

async fn deliver(
    options: &Options,
    checked: &Checked,
    path: &Path,
) -> Result<(Ending, BTreeMap<String, usize>), SendError> {
    let list = &options.list;
    let mut stop = StopSignals::listen().map_err(SendError::Signals)?;
    let clock = Clock::start();
    if list.resume && !State::path_for(path).exists() {
        return Err(SendError::NothingToResume { path: path.to_owned() });
    }
    let header = Header::new(
        checked.input.clone(),
        checked.file_name.clone(),
        checked.suffix.clone(),
        checked.items.len(),
        clock.now(),
    );
    let new_file = |error| SendError::File { path: path.to_owned(), error };
    if !State::path_for(path).exists() && path.exists() {
        let error = io::Error::new(io::ErrorKind::AlreadyExists, "there already, and not by a run that could go on");
        return Err(new_file(error));
    }
    let state = State::open(path, &header).map_err(SendError::State)?;
    let (results, known) = match Results::create(path) {
        Ok(results) => (results, Known::new()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Results::reopen(path).map_err(new_file)?,
        Err(error) => return Err(new_file(error)),
    };
    let items = &checked.items;
    let dispatch = remaining(items, &known, &state, list.window as usize);
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for word in items.iter().filter_map(|item| known.get(&item.row)) {
        *counts.entry(word.clone()).or_default() += 1;
    }
    let accounts: BTreeSet<&str> = items.iter().map(|item| item.account.as_str()).collect();
    let forecast = Forecast::new(&checked.topics, &accounts, clock.now());
    let filters = Delivery::filters(&checked.topics, &checked.suffix, &forecast);
    let mqtt = mqtt_settings(options, client_id(&checked.suffix, path), SESSION_EXPIRY)?;
    let progress = Progress::new(io::stderr().is_terminal(), items.len());
    if state.is_resumed {
        progress.tell(&format!(
            "going on: {} of {} rows have their answer",
            counts.values().sum::<usize>(),
            items.len()
        ));
    }
    let client = Client::connect(&mqtt, filters).map_err(SendError::Tls)?;
    let parts = Parts {
        items,
        topics: &checked.topics,
        suffix: &checked.suffix,
        send_topic: checked.send_topic.clone(),
        dispatch,
        client,
        forecast,
        results,
        state,
        progress,
        clock,
        outcomes: counts,
        wait: options.wait.unwrap_or(WAIT_LIST),
        dedup_window: list.dedup_window,
        force: list.force,
    };
    Delivery::new(parts).run(&mut stop).await.map_err(SendError::Delivery)
}

/// What has no final answer yet: noted rows may be with the bridge, the others were never published.
fn remaining(items: &[Item], known: &Known, state: &State, window: usize) -> Dispatch {
    let open = |position: &usize| !known.contains_key(&items[*position].row);
    let noted = |position: &usize| state.published_at(items[*position].row).is_some();
    let mut dispatch =
        Dispatch::new(items, (0..items.len()).filter(|position| open(position) && !noted(position)), window);
    for position in (0..items.len()).filter(|position| open(position) && noted(position)) {
        dispatch.add_unanswered(position);
    }
    dispatch
}

/// The same for every run with these results, so that the broker keeps our answers between two of them; and another one
/// for other results of the same list, because two clients of one name would throw each other out.
fn client_id(suffix: &str, results: &Path) -> String {
    let path = std::path::absolute(results).unwrap_or_else(|_| results.to_owned());
    let digest = Sha256::digest(format!("{suffix}\0{}", path.display()));
    format!("send-{}", hex(&digest[..8]))
}

fn conclude(ending: &Ending, counts: &BTreeMap<String, usize>, checked: &Checked) -> u8 {
    let answered: usize = counts.values().sum();
    let sent = counts.get(SENT).copied().unwrap_or_default();
    let total = checked.items.len();
    let how = format!("{answered} of {total} answered: {}", outcomes(counts));
    match ending {
        Ending::Complete { unsettled } if !unsettled.is_empty() => {
            let rows: Vec<String> = unsettled.iter().take(ROWS_SHOWN).map(ToString::to_string).collect();
            let more = if unsettled.len() > ROWS_SHOWN { ", …" } else { "" };
            print_error(&format!(
                "{how}. {} rows were published longer ago than the bridge remembers, and it cannot tell what became of \
                 them: row {}{more}. Look them up; --force publishes them again\n",
                unsettled.len(),
                rows.join(", ")
            ));
            EXIT_TEMPORARY
        }
        Ending::Complete { .. } => {
            let skipped = checked.flaws.len();
            let left_out = if skipped > 0 { format!("; {skipped} rows could not be sent") } else { String::new() };
            print_error(&format!("{how}{left_out}\n"));
            if sent == total && skipped == 0 { 0 } else { EXIT_NOT_SENT }
        }
        Ending::Interrupted => {
            print_error(&format!("interrupted: {how}; the same command goes on\n"));
            EXIT_INTERRUPTED
        }
        Ending::NoBroker { why } => {
            print_error(&format!("no broker: {why}. {how}; the same command goes on\n"));
            EXIT_UNAVAILABLE
        }
        Ending::NoBridge => {
            print_error(&format!("nothing heard of the bridge. {how}; the same command goes on\n"));
            EXIT_TEMPORARY
        }
        Ending::Refused { topic, reason } => {
            print_error(&format!("the broker refuses {topic}: {reason}. {how}; the same command goes on\n"));
            EXIT_UNAVAILABLE
        }
    }
}
