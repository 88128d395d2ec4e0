//! The words of a script.

use crate::engine::{
    AccountLimits, AccountSettings, BrokerLimits, CallSettings, CorpLimits, EventLevel, IdConflict, LimitSettings,
    MeasuredFrom, MessageSettings, SenderSettings, Settings, StatusSettings,
};
use crate::model::{
    Account, AccountState, Call, CallContent, CallRule, Callback, Command, Corp, DirectoryEntry, Doubt, EVENTS, Event,
    HoldFilter, HoldId, Lifetime, LimitChange, LimitScope, LogLevel, MessageId, Method, NotSent, OnDoubt, Options,
    Origin, Page, ReplyTo, Request, Scope, Seen, Selection, Sender, SenderName, Settled, Signal, State, System, Time,
    Verdict,
};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A line of a script: words, of which some are `key=value`.
pub struct Line<'a> {
    pub words: Vec<&'a str>,
    pub values: BTreeMap<&'a str, &'a str>,
}

impl<'a> Line<'a> {
    pub fn new(text: &'a str) -> Self {
        let (values, words): (Vec<_>, Vec<_>) = text.split_whitespace().partition(|word| word.contains('='));
        Self { words, values: values.iter().filter_map(|word| word.split_once('=')).collect() }
    }

    pub fn word(&self, index: usize) -> &'a str {
        self.words.get(index).copied().unwrap_or_default()
    }

    pub fn value(&self, key: &str) -> Option<&'a str> {
        self.values.get(key).copied()
    }

    pub fn duration(&self, key: &str) -> Option<Duration> {
        self.value(key).map(duration)
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.value(key).map(number)
    }
}

pub fn duration(text: &str) -> Duration {
    humantime::parse_duration(text).unwrap_or_else(|error| panic!("{text:?} is no duration: {error}"))
}

pub fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|error| panic!("{text:?} is no number: {error}"))
}

pub fn default_settings() -> Settings {
    Settings {
        senders: vec![SenderSettings {
            name: SenderName::new("main"),
            connections: 8,
            callbacks: false,
            doubt_window: Duration::ZERO,
            default_corp: None,
            calls: CallSettings::default(),
        }],
        accounts: Vec::new(),
        limits: LimitSettings {
            account: AccountLimits { interval: Duration::from_millis(500) },
            corp: CorpLimits { per_hour: 50_000, reserve: 1000, burst: None },
            accounts: Vec::new(),
            corps: Vec::new(),
            measured_from: MeasuredFrom::Response,
            cool_down: Duration::from_secs(2),
            cool_down_max: Duration::from_secs(60),
            ahead: Duration::ZERO,
        },
        messages: MessageSettings {
            ttl: Duration::from_secs(86_400),
            dedup_window: Duration::from_secs(3600),
            id_conflict: IdConflict::Reject,
            on_doubt: OnDoubt::Report,
            resends_max: 1,
            queue_messages: 1000,
            queue_bytes: 1_000_000,
            queue_time: None,
            unknown_account_grace: Duration::from_secs(300),
        },
        events: EventLevel::Final,
        publish_window: 100,
        info: serde_json::json!({ "version": "test" }),
        health_interval: None,
        broker_backlog_alarm: 50_000,
        broker_limits: BrokerLimits::default(),
        // Only the scripts about them want them.
        status: StatusSettings { per_second: 0, accounts_max: 10_000, idle: Duration::from_secs(600) },
    }
}

/// `account:corp:sender`
fn account_settings(text: &str) -> AccountSettings {
    let mut parts = text.split(':');
    AccountSettings {
        account: Account::new(parts.next().unwrap_or_default()),
        corp: parts.next().map(Corp::new),
        sender: parts.next().map(SenderName::new),
    }
}

pub fn configure(settings: &mut Settings, line: &Line<'_>) {
    for (key, value) in &line.values {
        let limits = &mut settings.limits;
        let messages = &mut settings.messages;
        match *key {
            "senders" => {
                let first = settings.senders[0].clone();
                let named = |name| SenderSettings { name: SenderName::new(name), ..first.clone() };
                settings.senders = value.split(',').map(named).collect();
            }
            "connections" => settings.senders.iter_mut().for_each(|one| one.connections = number(value) as usize),
            "callbacks" => settings.senders.iter_mut().for_each(|one| one.callbacks = *value == "yes"),
            "doubt_window" => settings.senders.iter_mut().for_each(|one| one.doubt_window = duration(value)),
            "call_connections" => {
                settings.senders.iter_mut().for_each(|one| one.calls.connections = number(value) as usize);
            }
            "calls" => {
                let rules = value.split(',').map(|entry| CallRule::parse(entry).expect("a rule"));
                settings.senders[0].calls.rules.rules = rules.collect();
            }
            "default_corp" => settings.senders[0].default_corp = Some(Corp::new(value)),
            "accounts" => settings.accounts = value.split(',').map(account_settings).collect(),
            "interval" => limits.account.interval = duration(value),
            "per_hour" => limits.corp.per_hour = number(value) as u32,
            "reserve" => limits.corp.reserve = number(value) as u32,
            "burst" => limits.corp.burst = Some(number(value) as u32),
            "ahead" => limits.ahead = duration(value),
            "measured_from" if *value == "request" => limits.measured_from = MeasuredFrom::Request,
            "ttl" => messages.ttl = duration(value),
            "dedup_window" => messages.dedup_window = duration(value),
            "id_conflict" if *value == "accept" => messages.id_conflict = IdConflict::Accept,
            "resends_max" => messages.resends_max = number(value) as u32,
            "queue_messages" => messages.queue_messages = number(value) as usize,
            "queue_bytes" => messages.queue_bytes = number(value),
            "queue_time" => messages.queue_time = Some(duration(value)),
            "grace" => messages.unknown_account_grace = duration(value),
            "status_per_second" => settings.status.per_second = number(value) as usize,
            "status_accounts" => settings.status.accounts_max = number(value) as usize,
            "status_idle" => settings.status.idle = duration(value),
            "publish_window" => settings.publish_window = number(value) as usize,
            "health" => settings.health_interval = Some(duration(value)),
            "backlog" => settings.broker_backlog_alarm = number(value),
            "clients" => settings.broker_limits.clients = number(value),
            "heap" => settings.broker_limits.heap_bytes = number(value),
            "events" if *value == "all" => settings.events = EventLevel::All,
            "events" if *value == "off" => settings.events = EventLevel::Off,
            other => panic!("config does not know {other}={value}"),
        }
    }
}

/// A text message as a publisher would send it.
pub fn request_of(account: &str, id: u64) -> Request {
    request(&Line::new(&format!("request id={id} account={account}")), Time::default())
}

pub fn request(line: &Line<'_>, now: Time) -> Request {
    let text = line.value("body").unwrap_or("hello");
    let fingerprint = bytes_of(text);
    let reply_to = line.value("reply").map(|topic| ReplyTo { topic: topic.into(), correlation: None });
    let on_doubt = line.value("onDoubt").map(|word| match word {
        "report" => OnDoubt::Report,
        "resend" => OnDoubt::Resend,
        "hold" => OnDoubt::Hold,
        other => panic!("onDoubt is not {other}"),
    });
    Request {
        id: MessageId::from_json(line.value("id").expect("a request has an id")),
        kind: Arc::from(line.value("type").unwrap_or("text")),
        account: Account::new(line.value("account").expect("a request has an account")),
        conversation: line.value("conversation").unwrap_or("S:1").into(),
        origin: Origin { suffix: line.value("suffix").map(Box::from), reply_to, weak: line.words.contains(&"qos0") },
        options: Options {
            priority: line.number("priority").map(|number| number as u8),
            not_before: line.duration("notBefore").map(|after| now + after),
            lifetime: line
                .duration("ttl")
                .map(Lifetime::For)
                .or(line.duration("until").map(|after| Lifetime::Until(now + after))),
            message_expiry: line.duration("expiry"),
            on_doubt,
            tag: line.value("tag").map(Box::from),
        },
        fingerprint,
        shown: (!line.words.contains(&"unseen")).then_some(fingerprint),
        body: Bytes::from(text.to_owned()),
    }
}

fn bytes_of(text: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (slot, byte) in bytes.iter_mut().zip(text.bytes()) {
        *slot = byte;
    }
    bytes
}

/// `callback seen id=X account=a body=hello at=-2s error=-1000999 gui`, `callback offline account=a`,
/// `callback online account=a corp=c`, `callback event account=a word=account/kicked`; with `key=` of its own, and
/// `foreign` for a source that is about no server of ours.
pub fn callback(line: &Line<'_>, now: Time) -> Callback {
    let account = Account::new(line.value("account").unwrap_or_default());
    let (word, signal) = match line.word(1) {
        "seen" => {
            let at = line.value("at").unwrap_or("0s");
            let at = at.strip_prefix('-').map_or_else(|| now + duration(at), |before| now - duration(before));
            let error: i64 = line.value("error").map_or(0, |error| error.parse().expect("a number"));
            let seen = Seen {
                account: account.clone(),
                conversation: Some(line.value("conversation").unwrap_or("S:1").into()),
                send_msg_id: line.value("id").map(Box::from),
                by_api: !line.words.contains(&"gui"),
                shown: (!line.words.contains(&"unseen")).then(|| bytes_of(line.value("body").unwrap_or("hello"))),
                error,
                error_text: (error != 0).then(|| Box::from("too often")),
                at,
            };
            (if error == 0 { "message/sent" } else { "message/failed" }, Some(Signal::Seen(seen)))
        }
        "online" => {
            let corp = line.value("corp").map(Corp::new);
            ("account/login", Some(Signal::Online { account: account.clone(), corp }))
        }
        "offline" => ("account/logout", Some(Signal::Offline { account: account.clone() })),
        _ => {
            let word = line.value("word").expect("a word");
            (EVENTS.into_iter().find(|event| *event == word).expect("an event"), None)
        }
    };
    let id = line.value("key").unwrap_or("key").to_owned();
    let event = Event { account: Some(account.as_str().to_owned()), ..plain_event(word, id, now) };
    let key = line.value("key").or(line.value("id")).or(line.value("word")).unwrap_or(line.word(1));
    let sender = (!line.words.contains(&"foreign")).then(|| SenderName::new("main"));
    Callback { sender, key: bytes_of(key), events: vec![event], signals: signal.into_iter().collect() }
}

/// What a callback of quntool says that says nothing else.
pub fn plain_event(event: &'static str, id: String, at: Time) -> Event {
    Event {
        event,
        phase: None,
        source: "main".to_owned(),
        system: System::Quntool,
        id,
        at,
        received_at: at,
        instance: None,
        account: None,
        corp: None,
        conversation: None,
        actor: None,
        targets: Vec::new(),
        original_type: String::new(),
        data: serde_json::Value::Null,
        withheld: Vec::new(),
    }
}

pub fn verdict(line: &Line<'_>, word: &str) -> Verdict {
    let not_sent = |why| Verdict::NotSent { why, detail: Box::default() };
    let unknown = |why| Verdict::Unknown { why, detail: Box::default() };
    let retry_after = line.duration("retryAfter");
    match word {
        "confirmed" => Verdict::Confirmed { msg_id: line.value("msgId").map(Box::from) },
        "refused" => Verdict::Refused {
            sender: Sender { http: 200, code: Some(-1), msg: line.value("msg").unwrap_or_default().into() },
        },
        "connect" => not_sent(NotSent::Connect),
        "busy" => not_sent(NotSent::Busy { retry_after }),
        "too_frequent" => not_sent(NotSent::TooFrequent { retry_after }),
        "temporary" => not_sent(NotSent::Temporary { retry_after }),
        "offline" => not_sent(NotSent::Offline),
        "unauthorized" => not_sent(NotSent::Unauthorized),
        "expired" => not_sent(NotSent::Expired),
        "timeout" => unknown(Doubt::Timeout),
        "reset" => unknown(Doubt::Reset),
        "unreadable" => unknown(Doubt::Unreadable),
        "unavailable" => unknown(Doubt::Status(503)),
        other => panic!("no attempt ends {other}"),
    }
}

fn account_state(word: &str) -> AccountState {
    serde_json::from_value(word.into()).unwrap_or_else(|error| panic!("no account is {word}: {error}"))
}

fn scope(text: &str) -> Scope {
    let (kind, name) = text.split_once(':').unwrap_or((text, ""));
    match kind {
        "all" => Scope::All,
        "sender" => Scope::Sender(SenderName::new(name)),
        "corp" => Scope::Corp(Corp::new(name)),
        "account" => Scope::Account(Account::new(name)),
        "conversation" => {
            let (account, conversation) = name.split_once('/').expect("account/conversation");
            Scope::Conversation(Account::new(account), conversation.into())
        }
        other => panic!("nothing is held by {other}"),
    }
}

fn hold_filter(line: &Line<'_>) -> HoldFilter {
    HoldFilter {
        sender: line.value("sender").map(SenderName::new),
        corp: line.value("corp").map(Corp::new),
        account: line.value("account").map(Account::new),
    }
}

pub fn command(line: &Line<'_>, now: Time) -> Command {
    let account = line.value("account").map(Account::new);
    let id = || MessageId::from_json(line.value("id").expect("an id"));
    let corp = line.value("corp").map(Corp::new);
    let limit_scope = || account.clone().map(LimitScope::Account).or_else(|| corp.clone().map(LimitScope::Corp));
    let limit = line.number("limit").map_or(100, |limit| limit as usize);
    let page = Page { limit, after: line.value("after").map(Box::from) };
    match line.word(1) {
        "pause" => Command::Pause {
            scope: scope(line.word(2)),
            reason: line.value("reason").unwrap_or("test").into(),
            duration: line.duration("duration"),
            until: line.duration("until").map(|after| now + after),
        },
        "resume" => match line.word(2).strip_prefix("hold:") {
            Some(hold) => Command::ResumeHold { hold: HoldId(number(hold)) },
            None => Command::Resume { scope: scope(line.word(2)) },
        },
        "cancel" => Command::MessageCancel {
            selection: Selection {
                id: line.value("id").map(MessageId::from_json),
                account,
                conversation: line.value("conversation").map(Box::from),
                corp,
                tag: line.value("tag").map(Box::from),
            },
            dry_run: line.words.contains(&"dry"),
            block_for: line.duration("blockFor"),
            reason: line.value("reason").map(Box::from),
        },
        "accounts" => Command::AccountList { corp, state: line.value("state").map(account_state), page },
        "corps" => Command::CorpList { page },
        "corp" => Command::CorpGet { corp: Corp::new(line.word(2)) },
        "holds" => Command::HoldList { filter: hold_filter(line), page },
        "info" => Command::Info,
        "limits" => Command::LimitsGet { scope: limit_scope() },
        "limit" => Command::LimitsSet {
            scope: limit_scope().expect("an account or a corp"),
            change: match (line.duration("interval"), line.number("perHour")) {
                (Some(interval), _) => LimitChange::Interval(interval),
                (None, Some(per_hour)) => LimitChange::PerHour(per_hour as u32),
                (None, None) => LimitChange::Configured,
            },
            duration: line.duration("duration"),
            until: line.duration("until").map(|after| now + after),
        },
        "refresh" => Command::DirectoryRefresh { sender: line.value("sender").map(SenderName::new) },
        "drain" => Command::Drain { on: line.word(2) != "off" },
        "log" => Command::LogLevel {
            level: LogLevel::ALL.into_iter().find(|level| level.as_str() == line.word(2)).expect("a level"),
            duration: line.duration("duration"),
        },
        "get" => Command::MessageGet { id: id(), account },
        "list" => Command::MessageList {
            selection: Selection { account, corp, ..Selection::default() },
            states: line.value("state").into_iter().filter_map(State::parse).collect(),
            page,
        },
        "retry" => Command::MessageRetry { id: id(), account },
        "resolve" => Command::MessageResolve { id: id(), account, settled: settled(line) },
        "account" => Command::AccountGet { account: Account::new(line.word(2)) },
        "call" => Command::SenderCall(Box::new(Call {
            sender: line.value("sender").map(SenderName::new),
            method: Method::parse(line.word(2)),
            path: line.word(3).into(),
            content: CallContent::default(),
            timeout: line.duration("timeout"),
        })),
        other => panic!("there is no command {other}"),
    }
}

fn settled(line: &Line<'_>) -> Settled {
    match line.word(2) {
        "sent" => Settled::Sent { msg_id: line.value("msgId").map(Box::from) },
        "failed" => Settled::Failed { reason: line.value("reason").map(Box::from) },
        other => panic!("nothing is settled {other}"),
    }
}

pub fn entries(line: &Line<'_>) -> Vec<DirectoryEntry> {
    let entry = |(account, value): (&&str, &&str)| {
        let (corp, status) = value.split_once(':').unwrap_or((value, "online"));
        DirectoryEntry {
            account: Account::new(account),
            corp: (!corp.is_empty()).then(|| Corp::new(corp)),
            online: (status != "unknown").then_some(status == "online"),
        }
    };
    line.values.iter().map(entry).collect()
}
