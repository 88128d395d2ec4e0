//! The virtual edges: broker, publishers and account lists, and what every action does to them.

use super::deliveries::Deliveries;
use super::disk::may_resend;
use super::kinds::Kind;
use super::promises::{Promise, Violation, broken};
use super::scenario::{FaultKind, Mood, Payload, sender_name};
use super::server::{Sent, fate};
use super::world::{Event, World};
use crate::model::{Action, DirectoryEntry, Input, Outgoing, Reply, SendEvent, SenderTrouble, Seq, Time, Verdict};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// What a request of a life before may still need to arrive without being called late.
const ON_ITS_WAY: Duration = Duration::from_millis(400);

#[derive(Default)]
pub(super) struct Broker {
    pub(super) deliveries: Deliveries,
    outgoing_up: bool,
    /// Before then nothing connects.
    back_at: Time,
    outgoing: u64,
    /// Answers that reached their publisher, and how often.
    pub(super) answers: BTreeMap<Outgoing, u32>,
    /// What the broker has said to have, or to refuse for good.
    pub(super) acknowledged: BTreeSet<Outgoing>,
    refused: BTreeSet<Outgoing>,
}

impl Broker {
    pub(super) fn lose_connections(&mut self) {
        self.deliveries.end_all();
        self.outgoing_up = false;
        self.outgoing += 1;
    }
}

impl World {
    pub(super) fn happen(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Packet(packet) => self.packet(packet),
            Event::Deliver { number, packet } if self.is_connected(number, packet) => self.deliver(number, packet),
            Event::AckArrives { number, packet } if self.is_connected(number, packet) => {
                self.broker.deliveries.unacknowledged.remove(&packet);
            }
            Event::IncomingUp { number } => self.incoming_up(number),
            Event::IntakeCloses { life } if life == self.life && self.bridge.is_some() => self.close_intake(),
            Event::OutgoingUp { generation } if generation == self.broker.outgoing => {
                self.broker.outgoing_up = true;
                self.input(Input::Connected(true));
            }
            Event::PublishArrives { generation, what } if generation == self.broker.outgoing => {
                self.publish_arrives(generation, what);
            }
            Event::Published { generation, what, refused } if generation == self.broker.outgoing => {
                self.broker.acknowledged.insert(what);
                self.input(Input::Published { what, refused: refused.then(|| "not authorised".into()) });
            }
            Event::Callback(callback) => self.deliver_callback(callback),
            Event::Fault(fault) => self.fault(fault),
            Event::Arrival(request) => return self.arrival(request),
            Event::Answer { request, echo } => self.answer(request, echo),
            Event::DirectoryTick { life } if life == self.life => {
                for sender in 0..self.moods.len() {
                    self.ask_directory(sender);
                }
                self.schedule(Duration::from_secs(60), Event::DirectoryTick { life });
            }
            Event::DirectoryAnswer { life, sender } if life == self.life => self.directory_answer(sender),
            Event::Found { life, found } if life == self.life => self.input(Input::Found(found)),
            Event::Foreseen { life, forecast } if life == self.life => {
                if let Some(bridge) = &mut self.bridge {
                    bridge.foreseen = Some(forecast);
                }
            }
            Event::CommitDone { life } if life == self.life => return self.commit_done(),
            Event::Restart => return self.restart(),
            Event::Deliver { .. }
            | Event::AckArrives { .. }
            | Event::IntakeCloses { .. }
            | Event::OutgoingUp { .. }
            | Event::PublishArrives { .. }
            | Event::Published { .. }
            | Event::Found { .. }
            | Event::Foreseen { .. }
            | Event::DirectoryTick { .. }
            | Event::DirectoryAnswer { .. }
            | Event::CommitDone { .. }
            | Event::Wake => {}
        }
        Ok(())
    }

    pub(super) fn reconnect(&mut self) {
        self.connect_incoming();
        let outgoing = self.random.millis(1, 300);
        self.schedule_connection(outgoing, Event::OutgoingUp { generation: self.broker.outgoing });
    }

    /// So much later, but not before the broker is back.
    pub(super) fn schedule_connection(&mut self, after: Duration, event: Event) {
        self.schedule_at((self.now + after).max(self.broker.back_at + after), event);
    }

    fn publish_arrives(&mut self, generation: u64, what: Outgoing) {
        let refused = !self.calm && self.random.percent(2);
        if refused {
            self.trace.counts.count(Kind::PublishRefused);
            self.broker.refused.insert(what);
        } else {
            *self.broker.answers.entry(what).or_default() += 1;
        }
        let after = self.random.millis(0, 30);
        self.schedule(after, Event::Published { generation, what, refused });
    }

    fn fault(&mut self, fault: FaultKind) {
        self.trace.line(self.now, || format!("fault {fault:?}"));
        self.trace.counts.fault(&fault);
        match fault {
            FaultKind::Crash(steps) => self.crash_soon(steps),
            FaultKind::DropIncoming => {
                let away = self.random.seconds(0, 5);
                self.drop_incoming(away);
            }
            FaultKind::DropOutgoing => {
                let away = self.random.seconds(0, 20);
                self.drop_outgoing(away);
            }
            FaultKind::BrokerAway(away) => {
                self.broker.back_at = self.now + away;
                let (incoming, outgoing) = (self.random.seconds(0, 40), self.random.seconds(0, 40));
                self.drop_incoming(incoming);
                self.drop_outgoing(outgoing);
            }
            FaultKind::Server(server, mood) => self.moods[server] = mood,
            FaultKind::Online(account, online) => {
                self.accounts[account].online = online;
                self.report_presence(account);
            }
            FaultKind::Move(account, corp) => {
                self.accounts[account].corp = corp;
                self.ask_directory(self.accounts[account].sender);
            }
            FaultKind::StorageLow(low) => self.input(Input::StorageLow(low)),
        }
    }

    fn drop_outgoing(&mut self, away: Duration) {
        self.broker.outgoing += 1;
        self.broker.outgoing_up = false;
        self.input(Input::Connected(false));
        self.schedule_connection(away, Event::OutgoingUp { generation: self.broker.outgoing });
    }

    fn arrival(&mut self, request: usize) -> Result<(), Violation> {
        self.server.under_way -= 1;
        self.server.requests[request].arrived = true;
        if self.server.requests[request].fate.effect {
            let Sent { seq, attempt, .. } = self.server.requests[request];
            self.report_effect(seq, attempt);
        }
        let Sent { seq, life, ref account, ref corp, ref fate, .. } = self.server.requests[request];
        let is_over = life != self.life && self.lived_since + ON_ITS_WAY < self.now && self.bridge.is_some();
        if fate.effect {
            let requests = &self.server.by_message[&seq];
            let effects = requests.iter().filter(|index| self.server.requests[**index].fate.effect).count();
            if effects > 1 && !self.disk.messages.get(&seq).is_some_and(may_resend) {
                return broken(Promise::Once, format!("{seq} has {effects} effects"));
            }
        }
        if is_over || self.server.requests[request].is_late() {
            return Ok(());
        }
        self.receiver.arrive(account, corp, self.now)?;
        self.arrivals.push((self.now, account.clone(), corp.clone()));
        Ok(())
    }

    fn answer(&mut self, request: usize, echo: bool) {
        let Sent { seq, attempt, life, ref fate, .. } = self.server.requests[request];
        if life != self.life {
            return;
        }
        let verdict = match &fate.echo {
            Some((_, verdict)) if echo => verdict.clone(),
            _ => fate.verdict.clone(),
        };
        let at = self.clock();
        self.input(Input::Ended { seq, attempt, at, verdict });
    }

    fn ask_directory(&mut self, sender: usize) {
        let after = self.random.millis(1, 500);
        self.schedule(after, Event::DirectoryAnswer { life: self.life, sender });
    }

    fn directory_answer(&mut self, sender: usize) {
        let name = sender_name(sender);
        let trouble = match self.moods[sender] {
            Mood::Unauthorized => Some(SenderTrouble::Unauthorized),
            Mood::Down | Mood::Silent => Some(SenderTrouble::Unreachable),
            Mood::Up | Mood::Busy => None,
        };
        if let Some(trouble) = trouble {
            return self.input(Input::DirectoryFailed { sender: name, trouble });
        }
        let now = self.now;
        let entries = self.accounts.iter().filter(|truth| truth.sender == sender);
        let entries = entries.filter(|truth| truth.listed_at.is_some_and(|at| at <= now)).map(|truth| DirectoryEntry {
            account: truth.name.clone(),
            corp: Some(truth.corp.clone()),
            online: Some(truth.online),
        });
        let entries = entries.collect();
        self.input(Input::Directory { sender: name, entries });
    }

    pub(super) fn perform(&mut self, action: Action) -> Result<(), Violation> {
        match action {
            Action::Acknowledge(ticket) => return self.acknowledge(ticket),
            Action::Send { seq, attempt, sender, at } => {
                let sender = (0..self.moods.len()).find(|index| sender_name(*index) == sender).unwrap_or_default();
                return self.send(seq, attempt, sender, at.since(self.clock()));
            }
            Action::Publish(what) => return self.publish(what),
            Action::Event(event) => return self.check_event(&event),
            Action::RefreshDirectory { sender } => {
                let sender = (0..self.moods.len()).find(|index| sender_name(*index) == sender);
                self.ask_directory(sender.unwrap_or_default());
            }
            Action::Intake { open } => self.steer_intake(open),
            Action::Lookup(lookup) => {
                // It may be old by the time it comes.
                let found = Box::new(self.disk.answer(&lookup));
                let after =
                    if self.random.percent(20) { self.random.millis(0, 20_000) } else { self.random.millis(0, 20) };
                self.schedule(after, Event::Found { life: self.life, found });
            }
            Action::Reply(reply) => {
                self.check_reply(&reply)?;
                return self.reply(reply);
            }
            Action::CallbackTaken(ticket) => return self.answer_callback(ticket, true),
            Action::CallbackRefused(ticket) => return self.answer_callback(ticket, false),
            Action::Holds(..) | Action::Status(_) | Action::LogLevel(_) | Action::Alarm(_) | Action::Call(_) => {}
        }
        Ok(())
    }

    /// What was done once is told the same to everybody who repeats it.
    fn reply(&mut self, reply: Reply) -> Result<(), Violation> {
        let by_hand = matches!(&*reply.origin.name, "message/retry" | "message/resolve");
        let Some(transaction) = reply.origin.transaction.filter(|_| by_hand) else { return Ok(()) };
        let key = (reply.origin.name, transaction);
        match (self.replies.get(&key), reply.result) {
            (None, Ok(data)) => {
                self.replies.insert(key, data);
                Ok(())
            }
            (Some(first), Ok(data)) if *first == data => Ok(()),
            (Some(first), result) => broken(Promise::Once, format!("{key:?} was {first}, and then {result:?}")),
            (None, Err(_)) => Ok(()),
        }
    }

    fn send(&mut self, seq: Seq, attempt: u32, sender: usize, waits: Duration) -> Result<(), Violation> {
        let kept = self.disk.messages.get(&seq);
        let Some((kept, open)) = kept.and_then(|kept| Some((kept, kept.open_attempt()?))) else {
            return broken(Promise::Durable, format!("{seq} is requested without an attempt on disk"));
        };
        if open.number != attempt {
            return broken(Promise::Durable, format!("attempt {attempt} of {seq} is not the one on disk"));
        }
        let (flagged, corp) = (open.flagged, open.corp.clone());
        let doubts = kept.attempts.iter().filter(|one| matches!(one.end, Some((_, Verdict::Unknown { .. })))).count();
        if doubts > 0 && !may_resend(kept) {
            return broken(Promise::Once, format!("{seq} is requested again after a doubt"));
        }
        if (doubts > 0 || self.disk.inherits_doubt(seq)) && !flagged {
            return broken(Promise::Once, format!("{seq} is requested again without a flag"));
        }
        if doubts > self.settings.messages.resends_max as usize {
            return broken(Promise::Once, format!("{seq} is requested again after {doubts} doubts"));
        }
        let account = kept.message.request.account.clone();
        let online = self.accounts.iter().find(|truth| truth.name == account).is_none_or(|truth| truth.online);
        let faultless = self.calm || self.now > self.ends;
        let fate = fate(&mut self.random, seq, attempt, self.moods[sender], online, faultless);
        self.trace.line(self.now, || format!("fate {fate:?}"));
        self.trace.counts.fate(&fate);
        let request = self.server.requests.len();
        if let Some(after) = fate.arrives_after {
            self.server.under_way += 1;
            self.schedule(waits + after, Event::Arrival(request));
        }
        let ends_after = waits + fate.ends_after;
        self.schedule(ends_after, Event::Answer { request, echo: false });
        if let Some((after, _)) = fate.echo {
            self.schedule(ends_after + after, Event::Answer { request, echo: true });
        }
        self.server.by_message.entry(seq).or_default().push(request);
        self.server.requests.push(Sent { seq, attempt, life: self.life, account, corp, fate, arrived: false });
        self.somebody_writes(seq);
        Ok(())
    }

    fn publish(&mut self, what: Outgoing) -> Result<(), Violation> {
        match what {
            Outgoing::Answer(seq) => {
                let Some(outcome) = self.disk.messages.get(&seq).and_then(|kept| kept.outcome.as_ref()) else {
                    return broken(Promise::Durable, format!("the answer of {seq} is published and not on disk"));
                };
                self.check_flag(seq, usize::MAX, outcome.possibly_duplicate)?;
            }
            Outgoing::Refusal(number) if !self.disk.refusals.contains_key(&number) => {
                return broken(Promise::Durable, format!("refusal {number} is published and not on disk"));
            }
            Outgoing::Event(number) if !self.disk.reports.open.contains(&number) => {
                return broken(Promise::Durable, format!("event {number} is published and not on disk"));
            }
            Outgoing::Refusal(_) | Outgoing::Event(_) => {}
        }
        if self.broker.outgoing_up {
            let after = self.random.millis(0, 30);
            self.schedule(after, Event::PublishArrives { generation: self.broker.outgoing, what });
        }
        Ok(())
    }

    /// Every end is said once, in the order in which the commit before has it.
    fn check_event(&mut self, event: &SendEvent) -> Result<(), Violation> {
        let Some(seq) = event.seq else { return Ok(()) };
        if let Some(state) = event.state.filter(|state| state.is_final()) {
            let durable = self.unsaid.get_mut(&seq).and_then(VecDeque::pop_front);
            if durable != Some(state) {
                return broken(Promise::True, format!("{seq} is said to be {state:?}, and next is {durable:?}"));
            }
            self.unsaid.retain(|_, states| !states.is_empty());
        }
        self.check_flag(seq, event.attempt as usize, event.possibly_duplicate)
    }

    /// After a request that followed a doubt, everything that is said of this or a later attempt carries the flag.
    fn check_flag(&self, seq: Seq, attempt: usize, flagged: bool) -> Result<(), Violation> {
        let Some(kept) = self.disk.messages.get(&seq) else { return Ok(()) };
        let unknown = |verdict: &Verdict| matches!(verdict, Verdict::Unknown { .. });
        let doubt = kept.attempts.iter().position(|one| one.end.as_ref().is_some_and(|(_, verdict)| unknown(verdict)));
        if doubt.is_some_and(|first| first + 1 < kept.attempts.len().min(attempt)) && !flagged {
            return broken(Promise::Once, format!("{seq} was sent again, and it is not said"));
        }
        Ok(())
    }

    /// Everything that was acknowledged is over and answered, at the publisher.
    pub(super) fn look_back(&self) -> Result<(), Violation> {
        let reached = |what: Outgoing| self.broker.answers.contains_key(&what) || self.broker.refused.contains(&what);
        for (seq, kept) in &self.disk.messages {
            if kept.outcome.is_none() || !reached(Outgoing::Answer(*seq)) {
                return broken(Promise::Kept, format!("{seq} is not answered"));
            }
        }
        for number in self.disk.refusals.keys() {
            if !reached(Outgoing::Refusal(*number)) {
                return broken(Promise::Kept, format!("refusal {number} is not answered"));
            }
        }
        if let Some(number) = self.disk.reports.open.first() {
            return broken(Promise::Kept, format!("event {number} is not published"));
        }
        for (_, payload) in &self.packets {
            if let Payload::Request { request, weak: false } = payload
                && self.disk.same_as(request).next().is_none()
                && !self.disk.refusals.values().any(|kept| kept.refusal.id.as_ref() == Some(&request.id))
            {
                return broken(Promise::Kept, format!("{:?} is lost", request.id));
            }
        }
        Ok(())
    }
}
