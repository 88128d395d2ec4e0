//! How the cost of a decision grows with the accounts that have work.

use crate::settings;
use bytes::Bytes;
use sendbridge::engine::Engine;
use sendbridge::model::{
    Account, Action, Input, LastNumbers, MessageId, Options, Origin, Outgoing, Record, Request, Seq, Time, Verdict,
};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_millis(500);
/// Requests under way, at most.
const IN_FLIGHT: usize = 256;
/// So many decisions are measured, after as many that are not.
const DECISIONS: usize = 200_000;
const ACCOUNTS_PER_CORP: u32 = 100;

/// Prints a Markdown table for 100 accounts, 1,000, and so on up to `accounts_max`.
pub fn run(accounts_max: u32) {
    println!("| accounts with work | companies | a decision | the whole turn of a message | the most used company |");
    println!("|---|---|---|---|---|");
    let mut accounts = 100;
    while accounts <= accounts_max {
        let Figures { decision, turn, corps, spread } = measure(accounts);
        println!(
            "| {accounts} | {corps} | {:.2} us | {:.2} us | {spread:.3} x the least used |",
            decision.as_secs_f64() * 1e6,
            turn.as_secs_f64() * 1e6
        );
        accounts *= 10;
    }
}

struct Figures {
    /// From "somebody may be due" to the message that goes, per message.
    decision: Duration,
    /// The same, and what the engine does at the end of the attempt and of its answer.
    turn: Duration,
    corps: u32,
    /// Sends of the company with the most by those of the one with the least.
    spread: f64,
}

fn measure(accounts: u32) -> Figures {
    let corps = accounts.div_ceil(ACCOUNTS_PER_CORP);
    let mut now = Time::from_millis(1_700_000_000_000);
    let mut engine = Engine::new(settings::engine(accounts, corps, INTERVAL, 100_000_000), now, LastNumbers::default());
    engine.start(now);
    engine.handle(Input::Connected(true), now);
    let mut of_corp: BTreeMap<Seq, u32> = BTreeMap::new();
    // Each account has its next message queued behind the one that goes, always.
    let mut number: u64 = 0;
    let mut queue = |engine: &mut Engine, account: u32, now: Time| {
        number += 1;
        engine.handle(request(account, number), now);
    };
    for account in 0..accounts {
        queue(&mut engine, account, now);
        queue(&mut engine, account, now);
    }
    let mut sends_of_corp = vec![0_u64; corps as usize];
    let mut accounts_of: BTreeMap<Seq, u32> = BTreeMap::new();
    let mut under_way: VecDeque<(Seq, u32)> = VecDeque::new();
    let (mut decisions, mut in_decisions, mut in_rest) = (0_usize, Duration::ZERO, Duration::ZERO);
    let step = INTERVAL / accounts.max(IN_FLIGHT as u32);
    while decisions < 2 * DECISIONS {
        let counts = decisions >= DECISIONS;
        now = now + step;
        let before = Instant::now();
        let ready = engine.poll_ready(now);
        let took = before.elapsed();
        note_accepted(&ready.records, corps, &mut accounts_of, &mut of_corp);
        let sent = ready.actions.iter().filter(|action| matches!(action, Action::Send { .. })).count();
        decisions += sent;
        if counts {
            in_decisions += took;
        }
        let published = take(ready.actions, &mut under_way);
        let before = Instant::now();
        for what in published {
            engine.handle(Input::Published { what, refused: None }, now);
        }
        let ends: Vec<(Seq, u32)> = if sent == 0 || under_way.len() >= IN_FLIGHT / 2 {
            under_way.drain(..under_way.len().min(IN_FLIGHT / 4)).collect()
        } else {
            Vec::new()
        };
        for (seq, attempt) in &ends {
            let verdict = Verdict::Confirmed { msg_id: None };
            engine.handle(Input::Ended { seq: *seq, attempt: *attempt, at: now, verdict }, now);
        }
        if counts {
            in_rest += before.elapsed();
        }
        for (seq, _) in ends {
            let account = accounts_of.remove(&seq).expect("accepted before");
            let corp = of_corp.remove(&seq).expect("accepted before");
            if counts {
                sends_of_corp[corp as usize] += 1;
            }
            queue(&mut engine, account, now);
        }
    }
    let per = |span: Duration| span / DECISIONS as u32;
    let most = sends_of_corp.iter().max().copied().unwrap_or_default() as f64;
    let least = sends_of_corp.iter().min().copied().unwrap_or_default().max(1) as f64;
    Figures { decision: per(in_decisions), turn: per(in_decisions + in_rest), corps, spread: most / least }
}

/// Remembers whose the new messages are.
fn note_accepted(records: &[Record], corps: u32, accounts: &mut BTreeMap<Seq, u32>, of_corp: &mut BTreeMap<Seq, u32>) {
    for record in records {
        if let Record::Accepted(message) = record {
            let account = settings::number(message.request.account.as_str());
            accounts.insert(message.seq, account);
            of_corp.insert(message.seq, account % corps);
        }
    }
}

/// Lets requests begin, and returns the answers to be published. Nothing else asks for an answer.
fn take(actions: Vec<Action>, under_way: &mut VecDeque<(Seq, u32)>) -> Vec<Outgoing> {
    let mut published = Vec::new();
    for action in actions {
        match action {
            Action::Send { seq, attempt, .. } => under_way.push_back((seq, attempt)),
            Action::Publish(what @ Outgoing::Answer(_)) => published.push(what),
            _ => {}
        }
    }
    published
}

pub fn request(account: u32, number: u64) -> Input {
    let body = Bytes::from_static(b"{\"wxId\":\"1\",\"content\":\"text\"}");
    let mut fingerprint = [0; 16];
    fingerprint[..8].copy_from_slice(&number.to_le_bytes());
    Input::Request {
        ticket: None,
        request: Box::new(Request {
            id: MessageId::from_json(&number.to_string()),
            kind: Arc::from("text"),
            account: Account::new(&settings::account(account)),
            conversation: Box::from("S:1_2"),
            origin: Origin::default(),
            options: Options::default(),
            fingerprint,
            shown: None,
            body,
        }),
    }
}
