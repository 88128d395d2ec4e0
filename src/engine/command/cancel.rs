//! `message/cancel`: by id at once, by anything else as a sweep over everything that waits, a slice per turn.
//!
//! A sweep goes from the oldest message to the newest that there was when it was ordered. What came later is not its
//! business: `blockFor` refuses it.

use super::Order;
use crate::engine::Engine;
use crate::engine::accept::{conversation_key, id_key, tag_key};
use crate::engine::sabotage::Sabotage;
use crate::engine::tables::{AccountKey, CorpKey, IdKey, Live, Phase, Timer};
use crate::model::{Code, Fault, HoldId, Selection, Seq, State};
use serde_json::{Value, json};
use std::time::Duration;

/// Messages that one turn looks at, and that it cancels, at most. Tests are to see a sweep in many turns.
const LOOKS_PER_TURN: usize = if cfg!(test) { 16 } else { 20_000 };
const CANCELS_PER_TURN: usize = if cfg!(test) { 3 } else { 1_000 };
/// The wait between two turns, in which others have theirs.
const PAUSE: Duration = Duration::from_millis(1);
/// Sweeps under way, at most.
const SWEEPS_MAX: usize = 100;
/// Repeats of an order that wait for its end, at most: more are refused.
const REPEATS_MAX: usize = 100;
/// Messages that a reply names, at most.
const SAMPLE_MAX: usize = 100;

/// A selection in the words of [`Live`]. `None` is every one.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    id: Option<IdKey>,
    account: Option<AccountKey>,
    conversation: Option<u64>,
    corp: Option<CorpKey>,
    tag: Option<u64>,
}

/// A cancellation under way.
#[derive(Debug)]
pub(in crate::engine) struct Sweep {
    order: Order,
    /// The same order, come again before it was done: told what the first one is told.
    repeats: Vec<Order>,
    dry_run: bool,
    /// `None` where nothing can meet the selection: it names an account or a company that nobody knows.
    wanted: Option<Wanted>,
    /// Where to go on, and where to stop.
    next: Seq,
    last: Seq,
    block: Option<HoldId>,
    /// Waiting messages that met the selection, and those of them that were cancelled.
    found: u64,
    cancelled: u64,
    sending: u64,
    in_doubt: u64,
    sample: Vec<Seq>,
}

impl Engine {
    pub(super) fn cancel(
        &mut self,
        order: Order,
        selection: Selection,
        dry_run: bool,
        block_for: Option<Duration>,
        reason: Option<Box<str>>,
    ) {
        let block_for = block_for.filter(|_| !dry_run);
        let (next, last) = match self.range_of(&selection, block_for.is_some()) {
            Ok(range) => range,
            Err(fault) => return self.refuse_command(order.ticket, order.origin, fault),
        };
        if self.sweeps.len() >= SWEEPS_MAX {
            let message = format!("{SWEEPS_MAX} cancellations are under way: wait for their replies, and try again");
            return self.refuse_command(order.ticket, order.origin, Fault::new(Code::QueueFull, message));
        }
        let wanted = self.wanted(&selection);
        let block = block_for.map(|span| {
            let (by, until) = (order.origin.by.clone(), self.now + span);
            self.block(selection, reason, by, until)
        });
        let block = match block.transpose() {
            Ok(block) => block,
            Err(fault) => return self.refuse_command(order.ticket, order.origin, fault),
        };
        let sweep = Sweep {
            order,
            repeats: Vec::new(),
            dry_run,
            wanted,
            next,
            last,
            block,
            found: 0,
            cancelled: 0,
            sending: 0,
            in_doubt: 0,
            sample: Vec::new(),
        };
        self.sweeps.push_back(sweep);
        if self.sweeps.len() == 1 {
            self.sweep();
        }
    }

    /// Which messages a sweep has to look at: those between the first and the last of an id, or all.
    fn range_of(&self, selection: &Selection, blocks: bool) -> Result<(Seq, Seq), Fault> {
        let Some(id) = &selection.id else { return Ok((Seq(0), self.last.seq)) };
        let found = self.live_with_id(id, selection.account.as_ref());
        let (Some(first), Some(last)) = (found.first(), found.last()) else {
            // Nothing is there to look at, and what is to come is refused.
            return if blocks { Ok((Seq(1), Seq(0))) } else { Err(self.nothing_to_cancel(id)) };
        };
        let account = |seq: &Seq| self.live.get(seq).map(|live| live.account);
        if selection.account.is_none() && found.iter().any(|seq| account(seq) != account(first)) {
            let message = "several accounts have a message with this id; name the account";
            return Err(Fault::of_field(Code::InvalidField, "account", message));
        }
        Ok((*first, *last))
    }

    fn wanted(&self, selection: &Selection) -> Option<Wanted> {
        let account = selection.account.as_ref().map(|name| self.account_keys.get(name).copied());
        let corp = selection.corp.as_ref().map(|name| self.corp_keys.get(name).copied());
        if account == Some(None) || corp == Some(None) {
            return None;
        }
        Some(Wanted {
            id: selection.id.as_ref().map(id_key),
            account: account.flatten(),
            conversation: selection.conversation.as_deref().map(conversation_key),
            corp: corp.flatten(),
            tag: selection.tag.as_deref().map(tag_key),
        })
    }

    fn is_wanted(&self, wanted: &Wanted, live: &Live) -> bool {
        let Wanted { id, account, conversation, corp, tag } = *wanted;
        id.is_none_or(|id| id == live.dedup.id)
            && account.is_none_or(|account| account == live.account)
            && conversation.is_none_or(|conversation| conversation == live.conversation)
            && corp.is_none_or(|corp| self.account(live.account).corp == Some(corp))
            && tag.is_none_or(|tag| tag == live.rare().tag)
    }

    /// Does one slice of the first sweep, and replies when that was its last one.
    pub(in crate::engine) fn sweep(&mut self) {
        let Some(mut sweep) = self.sweeps.pop_front() else { return };
        if self.stopping {
            // Without an acknowledgement the broker keeps the order for the next start.
            return self.sweeps.push_front(sweep);
        }
        if self.sweep_slice(&mut sweep) {
            let reply = self.describe_sweep(&sweep);
            for repeat in sweep.repeats {
                self.tell(repeat, Ok(reply.clone()));
            }
            if sweep.dry_run {
                self.tell(sweep.order, Ok(reply));
            } else {
                self.conclude(sweep.order, Ok(reply));
            }
        } else {
            self.sweeps.push_front(sweep);
        }
        if !self.sweeps.is_empty() {
            self.timers.insert((self.now + PAUSE, Timer::Sweep));
        }
    }

    /// Returns true at the end of the sweep.
    fn sweep_slice(&mut self, sweep: &mut Sweep) -> bool {
        let Some(wanted) = sweep.wanted.filter(|_| sweep.next <= sweep.last) else { return true };
        let mut due = Vec::new();
        let mut is_over = true;
        let rest = self.live.iter_from(sweep.next).take_while(|(seq, _)| **seq <= sweep.last);
        for (looks, (seq, live)) in rest.enumerate() {
            if looks == LOOKS_PER_TURN || due.len() == CANCELS_PER_TURN {
                sweep.next = *seq;
                is_over = false;
                break;
            }
            if !self.is_wanted(&wanted, live) {
                continue;
            }
            match live.phase {
                Phase::Queued | Phase::Scheduled => due.push(*seq),
                Phase::Sending if self.sabotaged(Sabotage::CancelWhileSending) => due.push(*seq),
                Phase::Sending => sweep.sending += 1,
                Phase::InDoubt => sweep.in_doubt += 1,
            }
        }
        sweep.found += due.len() as u64;
        sweep.sample.extend(due.iter().take(SAMPLE_MAX - sweep.sample.len()));
        if !sweep.dry_run || self.sabotaged(Sabotage::RehearsalCancels) {
            sweep.cancelled += due.len() as u64;
            for seq in due {
                self.at_hand = Some(seq);
                let fault = Fault::new(Code::Cancelled, "the message was cancelled by a command before it was sent");
                self.finish(seq, State::Cancelled, None, Some(fault));
            }
            self.at_hand = None;
        }
        is_over || self.sabotaged(Sabotage::SweepStopsEarly)
    }

    fn describe_sweep(&self, sweep: &Sweep) -> Value {
        let mut data = json!({
            "dryRun": sweep.dry_run,
            "found": sweep.found,
            "cancelled": sweep.cancelled,
            "sending": sweep.sending,
            "inDoubt": sweep.in_doubt,
            "sample": sweep.sample.iter().map(|seq| seq.0).collect::<Vec<_>>(),
        });
        if let (Some(id), Some(object)) = (sweep.block, data.as_object_mut()) {
            object.insert("block".to_owned(), json!(id.0));
            let until = self.blocks.get(&id).map(|block| block.until.to_string());
            object.insert("blockedUntil".to_owned(), json!(until));
        }
        data
    }

    /// Keeps an order that is under way already and came once more, because its acknowledgement is not due yet. Gives
    /// back any other order, and whether its transaction is in use.
    pub(super) fn join_sweep(&mut self, order: Order) -> Option<(Order, bool)> {
        let is_same = |sweep: &&mut Sweep| {
            let under_way = &sweep.order.origin;
            !sweep.dry_run
                && order.origin.transaction.is_some()
                && under_way.transaction == order.origin.transaction
                && under_way.name == order.origin.name
        };
        match self.sweeps.iter_mut().find(is_same) {
            Some(sweep) if sweep.order.fingerprint == order.fingerprint && sweep.repeats.len() < REPEATS_MAX => {
                sweep.repeats.push(order);
                None
            }
            Some(_) => Some((order, true)),
            None => Some((order, false)),
        }
    }

    fn nothing_to_cancel(&self, id: &crate::model::MessageId) -> Fault {
        let past = self.with_id(id_key(id)).find_map(|seq| self.past.get(&seq));
        match past {
            Some(past) => {
                let message = format!("the message is {} already", past.state.as_str());
                Fault::of_field(Code::NotFound, "id", message)
            }
            None => Fault::of_field(
                Code::NotFound,
                "id",
                "no waiting message has this id: message/get tells of those that are over",
            ),
        }
    }
}
