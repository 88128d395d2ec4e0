//! How much of what it may send a company sends in a day of which every moment has work, with the default limits.

use crate::{decisions, settings};
use sendbridge::engine::{AccountSettings, Engine};
use sendbridge::model::{Account, Action, Corp, Input, LastNumbers, Outgoing, Record, SenderName, Seq, Time, Verdict};
use std::collections::BTreeMap;
use std::time::Duration;

const INTERVAL: Duration = Duration::from_millis(500);
const PER_HOUR: u32 = 50_000;
/// Kept for messages of a higher priority, of which there are none here.
const RESERVE: u32 = 1000;
/// From the request to its answer.
const ANSWER: Duration = Duration::from_millis(50);
/// Accounts of each company. Seven do not reach the hour's limit, the others do.
const ACCOUNTS: [u32; 6] = [1, 7, 8, 20, 100, 500];
const HOURS: u32 = 24;

/// Prints a Markdown table, a row for each company. The day is simulated: it takes a minute.
pub fn run() {
    let start = Time::from_millis(1_700_000_000_000);
    let end = start + Duration::from_secs(3600) * HOURS;
    let owners: Vec<usize> =
        ACCOUNTS.iter().enumerate().flat_map(|(corp, accounts)| (0..*accounts).map(move |_| corp)).collect();
    let mut settings = settings::engine(0, 1, INTERVAL, PER_HOUR);
    settings.accounts = owners.iter().zip(0..).map(|(corp, number)| account(*corp, number)).collect();
    let mut engine = Engine::new(settings, start, LastNumbers::default());
    engine.start(start);
    engine.handle(Input::Connected(true), start);
    let mut number = 0;
    let mut queue = |engine: &mut Engine, account: u32, now: Time| {
        number += 1;
        engine.handle(decisions::request(account, number), now);
    };
    // One that goes, and one behind it.
    for account in (0..).take(owners.len()).chain((0..).take(owners.len())) {
        queue(&mut engine, account, start);
    }
    let mut account_of: BTreeMap<Seq, u32> = BTreeMap::new();
    let mut ends: BTreeMap<(Time, Seq), u32> = BTreeMap::new();
    let mut sends = [0_u64; ACCOUNTS.len()];
    let mut now = start;
    while now < end {
        let ready = engine.poll_ready(now);
        for record in ready.records {
            if let Record::Accepted(message) = record {
                account_of.insert(message.seq, settings::number(message.request.account.as_str()));
            }
        }
        for action in ready.actions {
            match action {
                Action::Send { seq, attempt, .. } => {
                    sends[owners[account_of[&seq] as usize]] += 1;
                    ends.insert((now + ANSWER, seq), attempt);
                }
                Action::Publish(what @ Outgoing::Answer(_)) => {
                    engine.handle(Input::Published { what, refused: None }, now);
                }
                _ => {}
            }
        }
        let next_end = ends.first_key_value().map(|((at, _), _)| *at);
        now = [engine.poll_timeout(), next_end].into_iter().flatten().min().unwrap_or(end).max(now);
        while let Some(entry) = ends.first_entry().filter(|entry| entry.key().0 <= now) {
            let ((at, seq), attempt) = entry.remove_entry();
            engine.handle(Input::Ended { seq, attempt, at, verdict: Verdict::Confirmed { msg_id: None } }, now);
            let account = account_of.remove(&seq).expect("accepted before");
            queue(&mut engine, account, now);
        }
    }
    println!("| accounts | may send in the day | because of | sent | used |\n|---|---|---|---|---|");
    for (accounts, sent) in ACCOUNTS.into_iter().zip(sends) {
        let by_accounts = f64::from(accounts * HOURS * 3600) / (INTERVAL + ANSWER).as_secs_f64();
        let by_hour = f64::from((PER_HOUR - RESERVE) * HOURS);
        let (most, why) =
            if by_accounts < by_hour { (by_accounts, "its accounts' interval") } else { (by_hour, "its hour") };
        println!("| {accounts} | {most:.0} | {why} | {sent} | {:.2} % |", sent as f64 / most * 100.0);
    }
}

fn account(corp: usize, number: u32) -> AccountSettings {
    AccountSettings {
        account: Account::new(&settings::account(number)),
        corp: Some(Corp::new(&format!("197032505708{corp:04}"))),
        sender: Some(SenderName::new(settings::SENDER)),
    }
}
