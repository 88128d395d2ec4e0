//! The platform's own limits, and an hour's outage of a server through which more is to be sent than they let through:
//! a hundred thousand messages, and nothing between the engine and the receiver that looks at them. What arrives is held
//! against the best that the limits allow.

use super::promises::{HOUR, Promise, Receiver, Violation, broken};
use super::scenario::{Mood, START, corp, request, sender_name};
use crate::engine::{Engine, Sabotage};
use crate::golden::default_settings;
use crate::model::{
    Account, Action, DirectoryEntry, Doubt, Input, LastNumbers, Lifetime, Message, NotSent, Outcome, Outgoing, Record,
    Seq, State, Time, Verdict,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

const INTERVAL: Duration = Duration::from_millis(500);
/// Places of the hour that are not reserved.
const ROOM: usize = 49_000;
/// Accounts of the company whose server is away; of the other one there are [`OTHERS`].
const ACCOUNTS: u64 = 12;
const OTHERS: u64 = 2;
/// From a request to its answer. The receiver sees it somewhere in between.
const ANSWER: Duration = Duration::from_millis(50);
const TIME_OUT: Duration = Duration::from_secs(10);

const AWAY_FROM: Duration = Duration::from_secs(600);
const BACK: Duration = Duration::from_secs(600 + 3600);
/// Until then everybody publishes: twenty a second, and half as many once the server is back.
const ENDS: Duration = Duration::from_secs(600 + 3600 + 600);
/// Of so many messages one is not worth sending after [`TTL`], and comes with one for each account of the other company.
const RARE: u64 = 101;
const TTL: Duration = Duration::from_secs(900);

struct Site {
    engine: Engine,
    mood: Mood,
    now: Time,
    receiver: Receiver,
    published: u64,
    /// What is not over, and what of it waits, by account.
    live: BTreeMap<Seq, Arc<Message>>,
    waiting: BTreeMap<Account, u64>,
    /// Attempts under way by when they end.
    ends: BTreeMap<(Time, Seq), (u32, Verdict)>,
    /// What the receiver has yet to see, by when it does.
    arrivals: BTreeMap<(Time, Seq), Account>,
    sent: BTreeSet<Seq>,
    last: BTreeMap<Account, Seq>,
    expired: u64,
    /// Of the company whose server was away: ends that count in its hour, and requests since it is back.
    counted: Vec<Time>,
    starts: Vec<Time>,
    /// When the first of its accounts had nothing to send any more.
    gone: Option<Time>,
}

fn account(number: u64) -> Account {
    Account::new(&format!("account{number:02}"))
}

fn is_away(account: &Account) -> bool {
    *account < self::account(ACCOUNTS)
}

impl Site {
    fn new(mood: Mood, sabotage: Option<Sabotage>) -> Self {
        let mut settings = default_settings();
        settings.senders = (0..2)
            .map(|index| {
                let mut sender = settings.senders[0].clone();
                (sender.name, sender.connections) = (sender_name(index), 64);
                sender
            })
            .collect();
        settings.messages.queue_messages = 1_000_000;
        settings.messages.queue_bytes = u64::MAX;
        settings.publish_window = 1000;
        let mut engine = Engine::new(settings, START, LastNumbers::default());
        engine.sabotage(sabotage);
        engine.start(START);
        engine.handle(Input::Connected(true), START);
        for (index, numbers) in [0..ACCOUNTS, ACCOUNTS..ACCOUNTS + OTHERS].into_iter().enumerate() {
            let entry =
                |number| DirectoryEntry { account: account(number), corp: Some(corp(index)), online: Some(true) };
            let entries = numbers.map(entry).collect();
            engine.handle(Input::Directory { sender: sender_name(index), entries }, START);
        }
        Self {
            engine,
            mood,
            now: START,
            receiver: Receiver::new(INTERVAL, 50_000, true),
            published: 0,
            live: BTreeMap::new(),
            waiting: BTreeMap::new(),
            ends: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            sent: BTreeSet::new(),
            last: BTreeMap::new(),
            expired: 0,
            counted: Vec::new(),
            starts: Vec::new(),
            gone: None,
        }
    }

    /// Runs until nobody publishes any more and everything is over.
    fn run(&mut self) -> Result<(), Violation> {
        loop {
            self.turn()?;
            let next = [self.publish_at(), self.ends.first_key_value().map(|((at, _), _)| *at)].into_iter().flatten();
            let Some(next) = next.chain(self.engine.poll_timeout().filter(|_| !self.live.is_empty())).min() else {
                break;
            };
            self.now = next.max(self.now);
            while let Some(end) = self.ends.first_entry().filter(|end| end.key().0 <= self.now) {
                let ((at, seq), (attempt, verdict)) = end.remove_entry();
                self.engine.handle(Input::Ended { seq, attempt, at, verdict }, self.now);
            }
            while self.publish_at().is_some_and(|at| at <= self.now) {
                self.publish();
            }
        }
        if let Err(what) = self.engine.account_for_everything() {
            return broken(Promise::Seen, what);
        }
        let all = self.published + self.published.div_ceil(RARE) * OTHERS;
        let over = self.engine.counters().states;
        let over = over.get(State::Sent) + over.get(State::Expired) + over.get(State::Unresolved);
        if over != all {
            return broken(Promise::Kept, format!("{over} of {all} messages are over"));
        }
        assert!(self.expired > 100, "only {} expire", self.expired);
        self.the_hour_is_used()
    }

    /// When the next message comes.
    fn publish_at(&self) -> Option<Time> {
        let while_away = BACK.as_millis() as u64 / 50;
        let later = self.published.saturating_sub(while_away);
        let at = Duration::from_millis(50) * self.published.min(while_away) as u32;
        Some(at + Duration::from_millis(100) * later as u32).filter(|at| *at < ENDS).map(|at| START + at)
    }

    fn publish(&mut self) {
        let number = self.published;
        let is_rare = number.is_multiple_of(RARE);
        let mut message = request(&account(number % ACCOUNTS), number, 0);
        message.options.lifetime = is_rare.then_some(Lifetime::For(TTL));
        self.engine.handle(Input::Request { ticket: None, request: Box::new(message) }, self.now);
        for other in 0..if is_rare { OTHERS } else { 0 } {
            let message = request(&account(ACCOUNTS + other), number, 1);
            self.engine.handle(Input::Request { ticket: None, request: Box::new(message) }, self.now);
        }
        self.published += 1;
    }

    fn turn(&mut self) -> Result<(), Violation> {
        while let Some(arrival) = self.arrivals.first_entry().filter(|arrival| arrival.key().0 <= self.now) {
            let ((at, _), account) = arrival.remove_entry();
            self.receiver.arrive(&account, &corp(usize::from(!is_away(&account))), at)?;
        }
        let ready = self.engine.poll_ready(self.now);
        for record in ready.records {
            match record {
                Record::Accepted(message) => {
                    *self.waiting.entry(message.request.account.clone()).or_default() += 1;
                    self.live.insert(message.seq, message);
                }
                Record::Finished { seq, outcome } => self.finished(seq, &outcome)?,
                Record::Ended { seq, at, verdict, .. } => self.ended(seq, at, &verdict),
                _ => {}
            }
        }
        for action in ready.actions {
            match action {
                Action::Send { seq, attempt, at, .. } => self.send(seq, attempt, at)?,
                Action::Publish(what @ Outgoing::Answer(_)) => {
                    self.engine.handle(Input::Published { what, refused: None }, self.now);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn send(&mut self, seq: Seq, attempt: u32, at: Time) -> Result<(), Violation> {
        let Some(message) = self.live.get(&seq) else {
            return broken(Promise::True, format!("{seq} is sent, and it is over"));
        };
        let (account, received_at, expires_at) =
            (message.request.account.clone(), message.received_at, message.expires_at);
        if at > expires_at {
            return broken(Promise::True, format!("{seq} is sent after {expires_at}"));
        }
        let (since_start, is_away) = (at.since(START), is_away(&account));
        if !is_away && at != received_at {
            return broken(Promise::Prompt, format!("{seq} waits {:?} for no reason", at.since(received_at)));
        }
        if let Some(waiting) = self.waiting.get_mut(&account) {
            *waiting -= 1;
            if is_away && *waiting == 0 && since_start > BACK {
                self.gone.get_or_insert(at);
            }
        }
        let mood = if is_away && (AWAY_FROM..BACK).contains(&since_start) { self.mood } else { Mood::Up };
        let not_sent = |why| Verdict::NotSent { why, detail: Box::default() };
        let (lasts, arrives, works, verdict) = match mood {
            Mood::Up | Mood::Unauthorized => (ANSWER, true, true, Verdict::Confirmed { msg_id: None }),
            Mood::Down => (Duration::from_millis(1), false, false, not_sent(NotSent::Connect)),
            Mood::Busy => (ANSWER, true, false, not_sent(NotSent::Busy { retry_after: None })),
            Mood::Silent => {
                let arrives = seq.0.is_multiple_of(2);
                (TIME_OUT, arrives, arrives, Verdict::Unknown { why: Doubt::Timeout, detail: Box::default() })
            }
        };
        self.ends.insert((at + lasts, seq), (attempt, verdict));
        if is_away && since_start >= BACK {
            self.starts.push(at);
        }
        if arrives {
            let after = Duration::from_millis(seq.0 * 7 % ANSWER.as_millis() as u64);
            self.arrivals.insert((at + after, seq), account.clone());
        }
        if works && !self.sent.insert(seq) {
            return broken(Promise::Once, format!("{seq} is sent twice"));
        }
        if works && self.last.insert(account, seq).is_some_and(|last| last > seq) {
            return broken(Promise::Ordered, format!("{seq} is sent after one that came later"));
        }
        Ok(())
    }

    fn ended(&mut self, seq: Seq, at: Time, verdict: &Verdict) {
        let Some(message) = self.live.get(&seq) else { return };
        if !is_away(&message.request.account) {
            return;
        }
        if !matches!(verdict, Verdict::NotSent { why: NotSent::Connect, .. }) {
            self.counted.push(at);
        }
        if matches!(verdict, Verdict::NotSent { .. }) {
            *self.waiting.entry(message.request.account.clone()).or_default() += 1;
        }
    }

    fn finished(&mut self, seq: Seq, outcome: &Outcome) -> Result<(), Violation> {
        let Some(message) = self.live.remove(&seq) else {
            return broken(Promise::Kept, format!("{seq} ends and is not under way"));
        };
        let worked = self.sent.contains(&seq);
        let is_true = match outcome.state {
            State::Sent => worked,
            // An attempt that began in time ends first.
            State::Expired => !worked && (message.expires_at..=message.expires_at + ANSWER).contains(&outcome.at),
            State::Unresolved => self.mood == Mood::Silent,
            _ => false,
        };
        if !is_true {
            return broken(Promise::True, format!("{seq} is called {:?} at {}", outcome.state, outcome.at));
        }
        if outcome.state == State::Expired {
            self.expired += 1;
            *self.waiting.entry(message.request.account.clone()).or_default() -= 1;
        }
        Ok(())
    }

    /// While every account had something to send, nearly as much was sent as can be.
    fn the_hour_is_used(&mut self) -> Result<(), Violation> {
        let back = START + BACK;
        let until = self.gone.unwrap_or(self.now);
        assert!(until > back + HOUR + HOUR / 4, "the hour hardly binds: all is sent at {until}");
        let mut ends: Vec<Time> = self.counted.iter().copied().filter(|at| *at <= back).collect();
        let mut best: Vec<Time> = Vec::new();
        loop {
            // The send before of the same account, and the one whose place in the hour this one takes.
            let before = best.len().checked_sub(ACCOUNTS as usize).map(|index| best[index] + ANSWER + INTERVAL);
            let place = ends.len().checked_sub(ROOM).map(|index| ends[index] + HOUR);
            let at = before.max(place).map_or(back, |at| at.max(back));
            if at > until {
                break;
            }
            best.push(at);
            ends.push(at + ANSWER);
        }
        let sent = self.starts.iter().filter(|at| **at <= until).count();
        let hour = |starts: &[Time]| starts.iter().filter(|at| **at <= back + HOUR).count();
        let (first, first_at_best) = (hour(&self.starts), hour(&best));
        if sent * 100 < best.len() * 99 || first * 100 < first_at_best * 99 {
            let what =
                format!("{first} of {first_at_best} in the first hour, and {sent} of {} until {until}", best.len());
            return broken(Promise::Used, what);
        }
        Ok(())
    }
}

#[test]
fn fifty_thousand_an_hour_are_used_after_an_hour_away() {
    for mood in [Mood::Down, Mood::Silent, Mood::Busy] {
        Site::new(mood, None).run().unwrap_or_else(|violation| panic!("{mood:?}: {violation}"));
    }
}

#[test]
fn mistakes_about_fifty_thousand_an_hour_are_noticed() {
    for (mistake, promise) in [
        (Sabotage::AwayHoldsUpOthers, Promise::Prompt),
        (Sabotage::PlainQuota, Promise::Limits),
        (Sabotage::RarerAndRarer, Promise::Used),
        (Sabotage::SpacingFromRequest, Promise::Limits),
    ] {
        let violation = Site::new(Mood::Down, Some(mistake)).run().expect_err(&format!("{mistake:?} is noticed"));
        assert_eq!(violation.promise, promise, "{mistake:?}: {violation}");
    }
}
