//! What operators order, and what has to be so from then on.

use super::promises::{Promise, Violation, broken};
use super::scenario::Payload;
use super::world::World;
use crate::engine::MeasuredFrom;
use crate::model::{
    Account, Block, Code, Command, CommandOrigin, CommandRequest, Corp, Fingerprint, LimitChange, LimitScope, Record,
    Reply, Request, Selection, Seq, State, Time,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// What the world remembers of orders.
#[derive(Default)]
pub(super) struct Orders {
    /// The last message on disk when an order was delivered for the first time.
    delivered: BTreeMap<usize, Seq>,
    /// Whether the order of this life to take no more messages is on disk.
    drains: bool,
    /// In which life, and when by its clock, the spacing of an account began to count.
    spaced: BTreeMap<Account, (u32, Time)>,
}

impl Orders {
    pub(super) fn delivered(&mut self, packet: usize, last: Seq) {
        self.delivered.entry(packet).or_insert(last);
    }

    /// A restart ends a drain.
    pub(super) fn restart(&mut self) {
        self.drains = false;
    }
}

/// A command as its packet says it. Who asks is the packet, so that its reply tells which one it was.
pub(super) fn order(packet: usize, command: Command, transaction: Option<Box<str>>) -> CommandRequest {
    let by = Some(Box::from(packet.to_string()));
    let origin = CommandOrigin { name: Box::from(command.name()), reply_to: None, transaction, by };
    let mut fingerprint = Fingerprint::default();
    for (index, byte) in format!("{command:?}").bytes().enumerate() {
        let slot = &mut fingerprint[index % 16];
        *slot = slot.rotate_left(3) ^ byte;
    }
    CommandRequest { fingerprint, ..CommandRequest::new(origin, Ok(command)) }
}

fn meets(selection: &Selection, request: &Request, corp: Option<&Corp>) -> bool {
    let Selection { id, account, conversation, corp: of_corp, tag } = selection;
    id.as_ref().is_none_or(|id| *id == request.id)
        && account.as_ref().is_none_or(|account| *account == request.account)
        && conversation.as_ref().is_none_or(|conversation| *conversation == request.conversation)
        && tag.as_ref().is_none_or(|tag| request.options.tag.as_ref() == Some(tag))
        && of_corp.as_ref().is_none_or(|of_corp| Some(of_corp) == corp)
}

impl World {
    /// The company of an account, as far as the bridge was told.
    fn corp_of(&self, account: &Account) -> Option<&Corp> {
        let pinned = self.settings.accounts.iter().find(|own| own.account == *account);
        let listed = || self.disk.located.get(account).map(|(corp, _, _)| corp);
        pinned.and_then(|own| own.corp.as_ref()).or_else(listed)
    }

    fn blocks_on(&self, request: &Request, at: Time) -> impl Iterator<Item = &Block> {
        let corp = self.corp_of(&request.account);
        self.disk.blocks.values().filter(move |block| block.until > at && meets(&block.selection, request, corp))
    }

    /// How many sends a company may have in an hour now, and how many of them are kept for what is urgent.
    pub(super) fn hour_in_force(&self, corp: &Corp, reserve: usize) -> (usize, usize) {
        match self.disk.limits.get(&LimitScope::Corp(corp.clone())).map(|set| set.change) {
            Some(LimitChange::PerHour(per_hour)) => {
                let per_hour = per_hour as usize;
                (per_hour.min(self.receiver.per_hour), reserve * per_hour / self.receiver.per_hour)
            }
            _ => (self.receiver.per_hour, reserve),
        }
    }

    /// What an order that is on disk forbids.
    pub(super) fn check_order(&mut self, record: &Record) -> Result<(), Violation> {
        match record {
            Record::Accepted(message) => {
                if self.orders.drains {
                    return broken(Promise::Held, format!("{} is taken in spite of a drain", message.seq));
                }
                if let Some(block) = self.blocks_on(&message.request, message.received_at).next() {
                    let id = block.id.0;
                    return broken(Promise::Held, format!("{} is taken in spite of block {id}", message.seq));
                }
            }
            Record::Refused { at, refusal, .. } if refusal.fault.code == Code::Blocked => {
                let is_it = |payload: &Payload| match payload {
                    Payload::Request { request, .. } => {
                        Some(&request.id) == refusal.id.as_ref() && self.blocks_on(request, *at).next().is_some()
                    }
                    _ => false,
                };
                if !self.packets.iter().any(|(_, payload)| is_it(payload)) {
                    return broken(Promise::True, format!("{:?} is called blocked and is not", refusal.id));
                }
            }
            Record::Commanded { origin, reply, .. } if &*origin.name == "drain" => {
                self.orders.drains = reply.contains("drain");
            }
            Record::Commanded { origin, .. } if &*origin.name == "message/cancel" => {
                return self.check_nothing_waits(origin);
            }
            Record::Finished { seq, outcome } if outcome.state == State::Cancelled => {
                return self.check_cancelled(*seq);
            }
            Record::Attempted { seq, account, at, .. } => return self.check_spacing(*seq, account, *at),
            Record::Ended { seq, at, .. } if self.settings.limits.measured_from == MeasuredFrom::Response => {
                if let Some(kept) = self.disk.messages.get(seq) {
                    self.orders.spaced.insert(kept.message.request.account.clone(), (self.life, *at));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A longer interval holds from the moment at which it is set.
    fn check_spacing(&mut self, seq: Seq, account: &Account, at: Time) -> Result<(), Violation> {
        let interval = match self.disk.limits.get(&LimitScope::Account(account.clone())).map(|set| set.change) {
            Some(LimitChange::Interval(interval)) => interval,
            _ => Duration::ZERO,
        };
        if let Some((life, since)) = self.orders.spaced.get(account)
            && *life == self.life
            && at < *since + interval
        {
            return broken(Promise::Limits, format!("{seq} is sent {:?} after the last one", at.since(*since)));
        }
        if self.settings.limits.measured_from == MeasuredFrom::Request {
            self.orders.spaced.insert(account.clone(), (self.life, at));
        }
        Ok(())
    }

    /// Somebody ordered it, and not as a rehearsal.
    fn check_cancelled(&self, seq: Seq) -> Result<(), Violation> {
        let Some(kept) = self.disk.messages.get(&seq) else { return Ok(()) };
        let request = &kept.message.request;
        let ordered = |packet: &usize| match &self.packets[*packet].1 {
            Payload::Command { command: Command::MessageCancel { selection, dry_run: false, .. }, .. } => {
                // An account may have belonged to the company when it was ordered.
                meets(&Selection { corp: None, ..selection.clone() }, request, None)
            }
            _ => false,
        };
        if self.orders.delivered.keys().any(ordered) {
            return Ok(());
        }
        broken(Promise::True, format!("{seq} is cancelled, and nobody ordered it"))
    }

    /// What a reply says is so.
    pub(super) fn check_reply(&self, reply: &Reply) -> Result<(), Violation> {
        let Ok(data) = &reply.result else { return Ok(()) };
        // Within one turn more may have come after it was so, or the drain may have ended again.
        let (unfinished, unanswered) =
            (self.disk.unfinished.min(self.before.0), self.disk.unanswered.min(self.before.1));
        if self.orders.drains && data["state"] == "drained" && (unfinished > 0 || unanswered > 0) {
            return broken(Promise::True, format!("drained with {unfinished} unfinished and {unanswered} unanswered"));
        }
        Ok(())
    }

    /// When a cancellation is done, nothing waits that was there when it came. A repeat by transaction does nothing.
    fn check_nothing_waits(&self, origin: &CommandOrigin) -> Result<(), Violation> {
        let packet = origin.by.as_deref().and_then(|by| by.parse::<usize>().ok());
        let Some((packet, payload)) = packet.and_then(|packet| Some((packet, &self.packets.get(packet)?.1))) else {
            return Ok(());
        };
        let Payload::Command { command: Command::MessageCancel { selection, dry_run: false, .. }, .. } = payload else {
            return Ok(());
        };
        let last = self.orders.delivered.get(&packet).copied().unwrap_or_default();
        // An account may have come to the company while it was done, and a message may be back from an attempt.
        let left_behind = self.disk.messages.range(..=last).find(|(_, kept)| {
            let waits = kept.outcome.is_none() && kept.attempts.is_empty();
            waits && selection.corp.is_none() && meets(selection, &kept.message.request, None)
        });
        match left_behind {
            Some((seq, _)) => broken(Promise::True, format!("{seq} still waits after it was cancelled")),
            None => Ok(()),
        }
    }
}
