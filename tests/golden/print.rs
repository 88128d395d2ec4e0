//! Records and actions as one line each, short enough to read a dialogue at a glance.

use crate::engine::CorpGauges;
use crate::model::{
    Action, Corp, HealthReport, Outcome, Outgoing, Question, Record, Scope, Seq, Status, Time, Verdict,
};

pub struct Printer {
    pub start: Time,
}

fn flag(set: bool, word: &str) -> String {
    if set { format!(" {word}") } else { String::new() }
}

impl Printer {
    pub fn time(&self, at: Time) -> String {
        if at < self.start {
            return format!("-{:.3}s", self.start.since(at).as_secs_f64());
        }
        format!("+{:.3}s", at.since(self.start).as_secs_f64())
    }

    pub fn record(&self, record: &Record) -> String {
        match record {
            Record::Accepted(message) => {
                let not_before = message.not_before.map(|at| format!(" notBefore={}", self.time(at)));
                let retry = message.retry.map(|retry| {
                    let (duplicate, in_doubt) =
                        (flag(retry.possibly_duplicate, "duplicate"), flag(retry.in_doubt, "in doubt"));
                    format!(" retry of {}{duplicate}{in_doubt}", retry.of)
                });
                format!(
                    "accepted {} id={} account={} priority={} expires={}{}{}",
                    message.seq,
                    message.request.id.as_json(),
                    message.request.account,
                    message.priority,
                    self.time(message.expires_at),
                    not_before.unwrap_or_default(),
                    retry.unwrap_or_default()
                )
            }
            Record::Attempted { seq, attempt, account, corp, possibly_duplicate, .. } => {
                format!("attempted {seq}/{attempt} {account} of {corp}{}", flag(*possibly_duplicate, "duplicate"))
            }
            Record::Ended { seq, attempt, verdict, .. } => format!("ended {seq}/{attempt} {}", verdict_line(verdict)),
            Record::Finished { seq, outcome } => format!("finished {seq} {}", outcome_line(outcome)),
            Record::Readdressed { seq, reply_to, again } => {
                let to = reply_to.as_ref().map(|to| format!(" to {}", to.topic)).unwrap_or_default();
                format!("readdressed {seq}{to}{}", flag(*again, "again"))
            }
            Record::Answered { seq, known_from: None } => format!("answered {seq}"),
            Record::Answered { seq, known_from: Some(at) } => format!("answered {seq} late: known from {at}"),
            Record::Refused { number, refusal, .. } => {
                format!("refused {number} {} {:?}", refusal.fault.code.as_str(), refusal.fault.message)
            }
            Record::RefusalAnswered { number } => format!("refusal answered {number}"),
            Record::Held(hold) => {
                let until = hold.until.map(|at| format!(" until {}", self.time(at))).unwrap_or_default();
                format!("held {} {}{until}", hold.id.0, scope_line(&hold.scope))
            }
            Record::Released { hold, .. } => format!("released {}", hold.0),
            Record::Blocked(block) => format!("blocked {} until {}", block.id.0, self.time(block.until)),
            Record::Unblocked { block, .. } => format!("unblocked {}", block.0),
            Record::LimitSet(set) => format!("limit {:?} {:?}", set.scope, set.change),
            Record::Located { account, corp, sender, .. } => format!("located {account} of {corp} at {sender}"),
            Record::Commanded { origin, reply, .. } => format!("commanded {} {reply}", origin.name),
            Record::Reported { number, callback, .. } => {
                let words: Vec<_> = callback.events.iter().map(|event| event.event).collect();
                format!("reported {number} [{}]", words.join(" "))
            }
            Record::EventPublished { number } => format!("event {number} published"),
            Record::EventOpen { number } => format!("event {number} open"),
            Record::Receipt { seq, receipt } => format!("receipt {seq} {} {}", receipt.state.as_str(), receipt.error),
            Record::Proven { seq, msg_id, .. } => format!("proven {seq} {}", msg_id.as_deref().unwrap_or("-")),
            Record::Presence { account, online, .. } => {
                format!("{account} is {}", if *online { "online" } else { "offline" })
            }
            Record::CooledDown { account, until, times, .. } => {
                format!("{account} cools down until {} the {times}. time", self.time(*until))
            }
            Record::Spent { account, corp, .. } => format!("spent {account} of {corp}"),
        }
    }

    pub fn action(&self, action: &Action, now: Time) -> String {
        match action {
            Action::Acknowledge(ticket) => format!("acknowledge {}", ticket.packet),
            Action::Send { seq, attempt, sender, at } if *at > now => {
                format!("send {seq}/{attempt} to {sender} at {}", self.time(*at))
            }
            Action::Send { seq, attempt, sender, .. } => format!("send {seq}/{attempt} to {sender}"),
            Action::Publish(Outgoing::Answer(seq)) => format!("publish answer {seq}"),
            Action::Publish(Outgoing::Refusal(number)) => format!("publish refusal {number}"),
            Action::Publish(Outgoing::Event(number)) => format!("publish event {number}"),
            Action::CallbackTaken(ticket) => format!("callback {} taken", ticket.0),
            Action::CallbackRefused(ticket) => format!("callback {} refused", ticket.0),
            Action::Event(event) => {
                let seq = event.seq.map_or("-".to_owned(), |seq| seq.to_string());
                let state = event.state.map_or("rejected", |state| state.as_str());
                let fault = event.outcome.as_ref().and_then(|outcome| outcome.fault.as_ref());
                let code = fault.map(|fault| format!(" {}", fault.code.as_str())).unwrap_or_default();
                format!("event {seq} {state}{code}{}", flag(event.possibly_duplicate, "duplicate"))
            }
            Action::Reply(reply) => match &reply.result {
                Ok(data) => format!("reply {} {data}", reply.origin.name),
                Err(fault) => format!("reply {} error {fault}", reply.origin.name),
            },
            Action::Lookup(lookup) => {
                let known = |known: &[Seq]| known.iter().map(Seq::to_string).collect::<Vec<_>>().join(" ");
                match &lookup.question {
                    Question::Get { id, known: seqs, .. } => format!("look up {} [{}]", id.as_json(), known(seqs)),
                    Question::List { page, .. } => format!("look up {} messages", page.limit),
                    Question::Retry { id, known: seqs, .. } => {
                        format!("look up {} to retry [{}]", id.as_json(), known(seqs))
                    }
                }
            }
            Action::Holds(holds, blocks) => {
                let holds: Vec<_> = holds.iter().map(|hold| hold.id.0).collect();
                let blocks: Vec<_> = blocks.iter().map(|block| block.id.0).collect();
                if blocks.is_empty() {
                    format!("holds {holds:?}")
                } else {
                    format!("holds {holds:?} blocks {blocks:?}")
                }
            }
            Action::Status(status) => status_line(status),
            Action::LogLevel(level) => format!("log {}", level.map_or("as configured", |level| level.as_str())),
            Action::Alarm(alarm) => format!("alarm {} {}", alarm.what, alarm.about),
            Action::RefreshDirectory { sender } => format!("refresh directory of {sender}"),
            Action::Intake { open } => format!("intake {}", if *open { "open" } else { "closed" }),
            Action::Call(job) => {
                format!("call {} {} {} of {}", job.number, job.method.as_str(), job.path, job.sender)
            }
        }
    }
}

/// What a dialogue is about: the rest of the report is the same as in the reply to `health`.
fn health_line(report: &HealthReport) -> String {
    let counts = &report.counts;
    let states: Vec<String> = counts
        .states
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(state, count)| format!("{state}={count}"))
        .collect();
    let senders: Vec<String> =
        report.senders.iter().map(|sender| format!("{} {:?}", sender.name, sender.state)).collect();
    let broker = &report.broker;
    format!(
        "health {:?} received={} accepted={} restored={} [{}]{} senders [{}] links {:?} {:?} {:?}{}",
        report.mode,
        counts.received,
        counts.accepted,
        counts.restored,
        states.join(" "),
        if counts.balanced { "" } else { " UNBALANCED" },
        senders.join(", "),
        broker.incoming,
        broker.outgoing,
        broker.commands,
        flag(report.storage_low, "storage low"),
    )
}

/// A row of the metrics, of so many as there are asked for.
pub fn gauges_line(rows: usize, gauges: &CorpGauges) -> String {
    let CorpGauges { corp, queued, sending, in_doubt, hour_used, hour_limit } = gauges;
    let corp = corp.as_ref().map_or("the others", Corp::as_str);
    format!("= {rows} rows: {corp} queued {queued} sending {sending} in doubt {in_doubt} hour {hour_used}/{hour_limit}")
}

fn status_line(status: &Status) -> String {
    let (topic, report) = match status {
        Status::Account(name, report) => (format!("account/{name}"), report.as_ref().map(serde_json::to_string)),
        Status::Corp(name, report) => (format!("corp/{name}"), report.as_ref().map(serde_json::to_string)),
        Status::Health(report) => return health_line(report),
    };
    match report {
        Some(report) => format!("status {topic} {}", report.expect("a report is JSON")),
        None => format!("status {topic} cleared"),
    }
}

fn verdict_line(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Confirmed { msg_id } => format!("confirmed {}", msg_id.as_deref().unwrap_or("-")),
        Verdict::Refused { sender } => format!("refused {:?}", sender.msg),
        Verdict::NotSent { why, .. } => format!("not sent: {}", why.as_str()),
        Verdict::Unknown { why, .. } => format!("unknown: {}", why.as_str()),
    }
}

fn outcome_line(outcome: &Outcome) -> String {
    let msg_id = outcome.msg_id.as_ref().map(|id| format!(" {id}")).unwrap_or_default();
    let code = outcome.fault.as_ref().map(|fault| format!(" {}", fault.code.as_str())).unwrap_or_default();
    let sender = outcome.fault.as_ref().and_then(|fault| fault.sender.as_ref());
    let code = code + &sender.map(|sender| format!(" (sender: {:?})", sender.msg)).unwrap_or_default();
    let duplicate = flag(outcome.possibly_duplicate, "duplicate");
    format!("{}{msg_id}{code} attempts={}{duplicate}", outcome.state.as_str(), outcome.attempts)
}

fn scope_line(scope: &Scope) -> String {
    match scope {
        Scope::All => "all".to_owned(),
        Scope::Sender(name) => format!("sender:{name}"),
        Scope::Corp(name) => format!("corp:{name}"),
        Scope::Account(name) => format!("account:{name}"),
        Scope::Conversation(name, conversation) => format!("conversation:{name}/{conversation}"),
    }
}
