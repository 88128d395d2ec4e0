//! What the engine does, as dialogues: `tests/data/engine/*.txt`.
//!
//! A line at the margin is something that happens; the lines indented below it are what the engine decides: first the
//! records, then the actions with an arrow. `SENDBRIDGE_REWRITE=1` writes the files anew; read the difference.

#![allow(clippy::wildcard_enum_match_arm, reason = "a check picks the few cases that it is about")]

mod parse;
mod print;

pub(crate) use parse::{default_settings, plain_event, request_of};

use crate::engine::{Engine, Settings};
use crate::model::{
    Action, BrokerFact, CallbackTicket, Code, Command, CommandOrigin, CommandRequest, Fault, Found, Input, Link,
    Origin, Outgoing, Question, Ready, Refusal, SenderName, SenderTrouble, Seq, Ticket, Time, Verdict,
};
use crate::simulation::disk::Disk;
use bytes::Bytes;
use parse::{Line, duration, number};
use print::Printer;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::sync::Arc;
use std::time::Duration;

const START: Time = Time::from_millis(1_700_000_000_000);

struct Dialogue {
    settings: Settings,
    engine: Option<Engine>,
    disk: Disk,
    now: Time,
    packet: u16,
    /// Over which messages come: another one after each opening of intake.
    connection: u64,
    attempts: BTreeMap<Seq, u32>,
    /// Requests that `serve` confirms, by the time of their answer.
    serving: Option<Duration>,
    answers: BTreeSet<(Time, Seq)>,
    /// What it acknowledges at once.
    published: Vec<Outgoing>,
    /// What the journal found, as it was when it was asked: `found` hands it over.
    found: VecDeque<Found>,
    /// The same for what is only shown, which is answered at once.
    at_once: Vec<Found>,
    printer: Printer,
    output: Vec<String>,
}

/// Plays a script and returns it with what the engine really decided.
fn play(script: &str) -> String {
    let mut dialogue = Dialogue {
        settings: parse::default_settings(),
        engine: None,
        disk: Disk::default(),
        now: START,
        packet: 0,
        connection: 1,
        attempts: BTreeMap::new(),
        serving: None,
        answers: BTreeSet::new(),
        published: Vec::new(),
        found: VecDeque::new(),
        at_once: Vec::new(),
        printer: Printer { start: START },
        output: Vec::new(),
    };
    let mut played = String::new();
    for text in script.lines().filter(|line| !line.starts_with(' ')) {
        played += text;
        played += "\n";
        if !text.is_empty() && !text.starts_with('#') {
            dialogue.happen(text);
        }
        for line in dialogue.output.drain(..) {
            played += &format!("    {line}\n");
        }
    }
    played
}

impl Dialogue {
    fn happen(&mut self, text: &str) {
        let (text, goes_on) = text.strip_suffix(" &").map_or((text, false), |text| (text, true));
        let line = Line::new(text);
        if line.word(0) == "config" {
            return parse::configure(&mut self.settings, &line);
        }
        if self.engine.is_none() {
            self.restart(Duration::ZERO);
        }
        match line.word(0) {
            "advance" => return self.advance(duration(line.word(1))),
            // Nobody asks the engine meanwhile: what happens next comes before what was due.
            "busy" => return self.now = self.now + duration(line.word(1)),
            "serve" => {
                self.serving = line.duration("latency");
                let open = self.disk.messages.iter().filter(|(_, kept)| kept.open_attempt().is_some());
                self.answers.extend(open.map(|(seq, _)| (self.now, *seq)));
                self.advance(duration(line.word(1)));
                self.serving = None;
                return;
            }
            "look" => return self.look(),
            // After store.body_retention.
            "erased" => {
                let kept = self.disk.messages.get_mut(&Seq(number(line.word(1)))).expect("the journal has it");
                return Arc::make_mut(&mut kept.message).request.body = Bytes::new();
            }
            "crash" => {
                // Whose clock was set back meanwhile.
                self.now = self.now - line.duration("before").unwrap_or_default();
                return self.restart(line.duration("after").unwrap_or(Duration::from_secs(5)));
            }
            "requests" => {
                for number in 1..=number(line.word(1)) {
                    let mut line = Line::new(text);
                    let id = format!("\"{}{number}\"", line.value("account").unwrap_or_default());
                    line.values.insert("id", &id);
                    let request = Box::new(parse::request(&line, self.now));
                    self.handle(Input::Request { ticket: None, request });
                }
            }
            _ => {
                let input = self.input(&line);
                self.handle(input);
            }
        }
        if !goes_on {
            self.poll();
        }
    }

    fn input(&mut self, line: &Line<'_>) -> Input {
        self.packet += 1;
        // What was under way on the connection before comes late.
        let generation = self.connection - u64::from(line.words.contains(&"late"));
        let ticket = (!line.words.contains(&"qos0")).then_some(Ticket { generation, packet: self.packet });
        match line.word(0) {
            "request" => Input::Request { ticket, request: Box::new(parse::request(line, self.now)) },
            "unreadable" => {
                let fault = Fault::new(Code::InvalidJson, "the payload is no JSON");
                let refusal = Refusal { id: None, account: None, origin: Origin::default(), fault };
                Input::Refused { ticket, refusal: Box::new(refusal) }
            }
            "ended" => {
                let (seq, attempt) = line.word(1).split_once('/').unwrap_or((line.word(1), ""));
                let seq = Seq(number(seq));
                let attempt = if attempt.is_empty() {
                    self.attempts.get(&seq).copied().unwrap_or_default()
                } else {
                    number(attempt) as u32
                };
                let at = self.now - line.duration("ago").unwrap_or_default();
                Input::Ended { seq, attempt, at, verdict: parse::verdict(line, line.word(2)) }
            }
            "published" => Input::Published { what: outgoing(line), refused: line.value("refused").map(Box::from) },
            "callback" => Input::Callback {
                ticket: CallbackTicket(self.packet.into()),
                callback: Box::new(parse::callback(line, self.now)),
            },
            "publish_again" => Input::PublishAgain { what: outgoing(line) },
            "connected" => Input::Connected(true),
            "disconnected" => Input::Connected(false),
            "directory" => {
                let sender = if line.words.len() > 1 { line.word(1) } else { "main" };
                Input::Directory { sender: SenderName::new(sender), entries: parse::entries(line) }
            }
            "directory_failed" => {
                let unauthorized = line.words.contains(&"unauthorized");
                let trouble = if unauthorized { SenderTrouble::Unauthorized } else { SenderTrouble::Unreachable };
                Input::DirectoryFailed { sender: SenderName::new("main"), trouble }
            }
            "storage" => Input::StorageLow(line.word(1) == "low"),
            "link" => {
                let which = if line.word(1) == "incoming" { Link::Incoming } else { Link::Commands };
                Input::Link { which, up: line.word(2) == "up" }
            }
            "broker" => Input::Broker(broker_fact(line)),
            "stop" => Input::Stop,
            "called" => called(line),
            "found" => Input::Found(Box::new(self.found.pop_front().expect("the journal was asked"))),
            "command" => self.command(line, ticket),
            other => panic!("nothing is called {other}"),
        }
    }

    fn command(&mut self, line: &Line<'_>, ticket: Option<Ticket>) -> Input {
        let command = parse::command(line, self.now);
        let (transaction, by) = (line.value("transaction").map(Box::from), line.value("by").map(Box::from));
        let name = command.name().into();
        if let Command::MessageResolve { id, settled, .. } = &command {
            self.disk.words.push((id.clone(), settled.clone()));
        }
        let origin = CommandOrigin { name, reply_to: None, transaction, by };
        // Two of the same words ask for the same thing.
        let mut fingerprint = [1_u8; 16];
        for (index, byte) in format!("{command:?}").bytes().enumerate() {
            fingerprint[index % 16] = fingerprint[index % 16].rotate_left(3) ^ byte;
        }
        let expires_at = line.duration("expires").map(|after| self.now + after);
        let message_expiry = line.duration("expiry");
        let is_redelivered = line.words.contains(&"again");
        let request = CommandRequest::new(origin, Ok(command));
        let request = CommandRequest { expires_at, message_expiry, fingerprint, is_redelivered, ..request };
        Input::Command { ticket, request: Box::new(request) }
    }

    fn engine(&mut self) -> &mut Engine {
        self.engine.as_mut().expect("the engine runs")
    }

    /// What an operator sees who asks right now: the health report, the gauges, and what the bridge asks at its end.
    fn look(&mut self) {
        let engine = self.engine();
        let lines = [
            format!("= health {}", serde_json::to_string(&engine.health()).expect("a report is JSON")),
            format!(
                "= drained {} in flight {} doubts held {} next look {}",
                engine.is_drained(),
                engine.in_flight(),
                engine.held_doubts(),
                engine.poll_timeout().map_or("never".to_owned(), |at| at.to_string()),
            ),
        ];
        self.output.extend(lines);
        for rows in 0..=2 {
            for gauges in self.engine().corp_gauges(rows) {
                self.output.push(print::gauges_line(rows, &gauges));
            }
        }
    }

    fn handle(&mut self, input: Input) {
        let now = self.now;
        self.engine().handle(input, now);
        self.engine().account_for_everything().expect("all is accounted for");
    }

    fn poll(&mut self) {
        let now = self.now;
        let ready = self.engine().poll_ready(now);
        if let Some(at) = self.engine().poll_timeout() {
            assert!(at > now, "it would be asked again at once");
        }
        self.take(&ready);
        while let Some(play) = self.engine().poll_play(now) {
            self.engine().handle_forecast(Some(play.run()), now);
            let ready = self.engine().poll_ready(now);
            self.take(&ready);
        }
        if !self.published.is_empty() {
            for what in std::mem::take(&mut self.published) {
                self.handle(Input::Published { what, refused: None });
            }
            self.poll();
        }
        if !self.at_once.is_empty() {
            for found in std::mem::take(&mut self.at_once) {
                self.handle(Input::Found(Box::new(found)));
            }
            self.poll();
        }
    }

    fn take(&mut self, ready: &Ready) {
        for record in &ready.records {
            if let Err(violation) = self.disk.append(record.clone(), self.settings.messages.dedup_window, self.now) {
                panic!("{record:?}: {violation}\n{:#?}", self.output);
            }
            if self.serving.is_none() {
                self.output.push(self.printer.record(record));
            }
        }
        for action in &ready.actions {
            if let Action::Send { seq, attempt, .. } = action {
                self.attempts.insert(*seq, *attempt);
                if let Some(latency) = self.serving {
                    self.answers.insert((self.now + latency, *seq));
                    let account = &self.disk.messages[seq].message.request.account;
                    self.output.push(format!("{} {account} sends {seq}/{attempt}", self.printer.time(self.now)));
                }
            }
            if let Action::Intake { open: true } = action {
                self.connection += 1;
            }
            if let Action::Lookup(lookup) = action {
                let found = self.disk.answer(lookup);
                match &lookup.question {
                    Question::Retry { .. } => self.found.push_back(found),
                    Question::Get { .. } | Question::List { .. } => self.at_once.push(found),
                }
            }
            match action {
                Action::Publish(what) if self.serving.is_some() => self.published.push(*what),
                _ if self.serving.is_some() => {}
                _ => self.output.push(format!("-> {}", self.printer.action(action, self.now))),
            }
        }
    }

    /// Lets time pass, with a stop at every moment at which the engine wants to be asked.
    fn advance(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let timeout = self.engine().poll_timeout();
            let answer = self.answers.first().map(|(at, _)| *at);
            let Some(at) = timeout.into_iter().chain(answer).min().filter(|at| *at <= end) else { break };
            self.now = self.now.max(at);
            while let Some((_, seq)) = self.answers.first().copied().filter(|(at, _)| *at <= self.now) {
                self.answers.pop_first();
                let verdict = Verdict::Confirmed { msg_id: None };
                let attempt = self.attempts[&seq];
                self.handle(Input::Ended { seq, attempt, at: self.now, verdict });
            }
            let before = self.output.len();
            self.poll();
            if self.serving.is_none() && self.output.len() > before {
                self.output.insert(before, self.printer.time(self.now));
            }
        }
        self.now = end;
        self.poll();
    }

    /// Starts from the disk, which is empty the first time.
    fn restart(&mut self, after: Duration) {
        self.now = self.now + after;
        let mut engine = Engine::new(self.settings.clone(), self.now, self.disk.numbers());
        for record in self.disk.replay(self.now, self.settings.messages.dedup_window) {
            engine.replay(record);
        }
        engine.start(self.now);
        engine.handle(Input::Connected(true), self.now);
        self.engine = Some(engine);
        self.answers.clear();
        self.found.clear();
        self.poll();
    }
}

fn outgoing(line: &Line<'_>) -> Outgoing {
    match line.word(1) {
        "answer" => Outgoing::Answer(Seq(number(line.word(2)))),
        "event" => Outgoing::Event(number(line.word(2))),
        _ => Outgoing::Refusal(number(line.word(2))),
    }
}

/// How a call of the sender's API ended.
fn called(line: &Line<'_>) -> Input {
    let result = match line.word(2) {
        "ok" => Ok(serde_json::json!({ "http": 200, "code": 0, "msg": "", "data": line.value("data") })),
        word => Err(Fault::new(Code::parse(word).expect("a code"), "as the edge says")),
    };
    Input::Called { number: number(line.word(1)), result: Box::new(result) }
}

#[test]
fn the_engine_decides_as_written() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/engine");
    let mut scripts: Vec<_> = fs::read_dir(directory)
        .expect("the scripts are there")
        .map(|entry| entry.expect("a directory can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    scripts.sort();
    assert!(!scripts.is_empty(), "no scripts in {directory}");
    let mut different = Vec::new();
    for path in scripts {
        let script = fs::read_to_string(&path).expect("a script can be read");
        let played = play(&script);
        assert_eq!(played, play(&played), "{}: the same inputs give the same outputs", path.display());
        if played == script {
            continue;
        }
        if std::env::var_os("SENDBRIDGE_REWRITE").is_some() {
            fs::write(&path, played).expect("a script can be written");
        } else {
            different.push(format!("{}\n{}", path.display(), first_difference(&script, &played)));
        }
    }
    assert!(different.is_empty(), "{}\nSENDBRIDGE_REWRITE=1 writes them anew", different.join("\n"));
}

fn broker_fact(line: &Line<'_>) -> BrokerFact {
    match line.word(1) {
        "version" => BrokerFact::Version(Box::from(line.word(2))),
        "dropped" => BrokerFact::Dropped(number(line.word(2))),
        "stored" => BrokerFact::Stored(number(line.word(2))),
        "retained" => BrokerFact::Retained(number(line.word(2))),
        "clients" => BrokerFact::Clients(number(line.word(2))),
        "heap" => BrokerFact::HeapBytes(number(line.word(2))),
        "session" => BrokerFact::NewSession,
        _ => BrokerFact::Shortcomings(line.words[2..].iter().copied().map(Box::from).collect()),
    }
}

fn first_difference(script: &str, played: &str) -> String {
    let mut lines = script.lines().zip(played.lines()).enumerate();
    match lines.find(|(_, (wanted, got))| wanted != got) {
        Some((index, (wanted, got))) => format!("  line {}:\n  - {wanted}\n  + {got}", index + 1),
        None => "  one of them ends early".to_owned(),
    }
}

/// Who writes the same twice under two ids wants it twice. That a message comes again, its id alone says.
#[test]
fn one_content_under_two_ids_is_sent_twice_and_under_one_id_once() {
    let mut engine = Engine::new(parse::default_settings(), START, crate::model::LastNumbers::default());
    engine.start(START);
    let account = crate::model::Account::new("a");
    let corp = Some(crate::model::Corp::new("c"));
    let entries = vec![crate::model::DirectoryEntry { account, corp, online: Some(true) }];
    engine.handle(Input::Directory { sender: SenderName::new("main"), entries }, START);
    let (first, other, again) = (request_of("a", 1), request_of("a", 2), request_of("a", 1));
    assert_eq!((&first.body, first.fingerprint, first.shown), (&other.body, other.fingerprint, other.shown));
    for request in [first, other, again] {
        engine.handle(Input::Request { ticket: None, request: Box::new(request) }, START);
    }
    let (mut now, mut accepted, mut sent) = (START, Vec::new(), Vec::new());
    // Far more rounds than two messages take, so that a third one would be seen.
    for _ in 0..50 {
        let ready = engine.poll_ready(now);
        accepted.extend(ready.records.iter().filter_map(|record| match record {
            crate::model::Record::Accepted(message) => Some((message.seq, message.request.id.as_json().to_owned())),
            _ => None,
        }));
        for action in ready.actions {
            if let Action::Send { seq, attempt, .. } = action {
                sent.push(seq);
                let verdict = Verdict::Confirmed { msg_id: None };
                engine.handle(Input::Ended { seq, attempt, at: now, verdict }, now);
            }
        }
        now = now + Duration::from_millis(100);
    }
    assert_eq!(accepted, [(Seq(1), "1".to_owned()), (Seq(2), "2".to_owned())]);
    assert_eq!(sent, [Seq(1), Seq(2)]);
}

/// One decision takes every account into view without looking at each: only that it works is asserted here.
#[test]
fn a_hundred_thousand_accounts_are_served_in_turn() {
    const ACCOUNTS: usize = 100_000;
    let mut settings = parse::default_settings();
    settings.senders[0].connections = 1000;
    settings.messages.queue_messages = 2 * ACCOUNTS;
    settings.messages.queue_bytes = u64::MAX;
    settings.events = crate::engine::EventLevel::Off;
    let mut engine = Engine::new(settings, START, crate::model::LastNumbers::default());
    engine.start(START);
    let name = |index: usize| format!("account{index}");
    let entries = (0..ACCOUNTS).map(|index| crate::model::DirectoryEntry {
        account: crate::model::Account::new(&name(index)),
        corp: Some(crate::model::Corp::new(&format!("corp{}", index % 500))),
        online: Some(true),
    });
    engine.handle(Input::Directory { sender: SenderName::new("main"), entries: entries.collect() }, START);
    for id in 0..2 {
        for index in 0..ACCOUNTS {
            let text = format!("request id={id} account={}", name(index));
            let request = Box::new(parse::request(&Line::new(&text), START));
            engine.handle(Input::Request { ticket: None, request }, START);
        }
    }
    let (mut now, mut sent) = (START, Vec::new());
    while sent.len() < 2 * ACCOUNTS {
        let sends = engine.poll_ready(now).actions.into_iter().filter_map(|action| match action {
            Action::Send { seq, attempt, .. } => Some((seq, attempt)),
            _ => None,
        });
        let sends: Vec<_> = sends.collect();
        assert!(sends.len() == 1000, "the server is used to its cap: {}", sends.len());
        now = now + Duration::from_millis(10);
        for (seq, attempt) in sends {
            engine.handle(Input::Ended { seq, attempt, at: now, verdict: Verdict::Confirmed { msg_id: None } }, now);
            sent.push(seq);
        }
    }
    let first: BTreeSet<Seq> = sent[..ACCOUNTS].iter().copied().collect();
    assert_eq!(first.last(), Some(&Seq(ACCOUNTS as u64)), "every account sends once before any sends twice");
    assert!(engine.counters().is_balanced());
}
