//! A message that is over is sent again because a person says so: a new life under the old id.
//!
//! The journal has its text, the engine knows what happened since. So the question goes to the journal, the decision
//! is made when the answer comes, on what is known then.

use super::Engine;
use super::accept::dedup_key;
use super::command::Order;
use super::correct::several;
use super::lookup::{Asker, Retrying};
use super::sabotage::Sabotage;
use super::tables::{MessageKey, half};
use crate::model::{Account, Code, Fault, Kept, Lifetime, MessageId, Question, Request, Retry, Seq, State};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Repeats of one order that wait for its end together.
const JOINED_MAX: usize = 16;

/// How often the journal is asked again because something changed meanwhile.
const ROUNDS_MAX: u32 = 3;

/// What was found.
enum Choice {
    /// This one, in this state.
    One(Box<Kept>, State),
    Refused(Fault),
    /// Something happened since the journal was read.
    Changed,
}

impl Engine {
    pub(super) fn retry(&mut self, order: Order, id: MessageId, account: Option<Account>) {
        if let Some(fault) = self.takes_nothing() {
            return self.conclude(order, Err(fault));
        }
        self.ask_for_retry(Retrying { order, joined: Vec::new(), id, account, is_outdated: false, rounds: 0 });
    }

    fn ask_for_retry(&mut self, retrying: Retrying) {
        let Retrying { id, account, .. } = &retrying;
        let known = self.known_with_id(id, account.as_ref());
        let question = Question::Retry { id: id.clone(), account: account.clone(), known };
        if let Some((Asker::Retry(retrying), fault)) = self.look_up(Asker::Retry(retrying), question) {
            self.end_retry(retrying, Err(fault));
        }
    }

    /// A repeat of an order that waits for the journal waits with it. Gives back one that is new.
    pub(super) fn join_retry(&mut self, order: Order) -> Option<Order> {
        if order.origin.transaction.is_none() || self.sabotaged(Sabotage::RetryTwice) {
            return Some(order);
        }
        let Some(first) = self.lookups.retrying(&order.origin) else { return Some(order) };
        let fault = if first.order.fingerprint != order.fingerprint {
            let message = "transaction was used for another command of this name: use a new one for a new command, or \
                 repeat the first one unchanged";
            Fault::of_field(Code::IdConflict, "transaction", message)
        } else if first.joined.len() >= JOINED_MAX {
            Fault::new(Code::QueueFull, "this command is being done: wait for its reply before you repeat it")
        } else {
            first.joined.push(order);
            return None;
        };
        self.conclude(order, Err(fault));
        None
    }

    /// Why no message is taken at all, if that is so.
    fn takes_nothing(&self) -> Option<Fault> {
        if self.storage_low {
            let message = "the disk is nearly full, so nothing new is taken: make room, or cancel what is not needed";
            return Some(Fault::new(Code::StorageLow, message));
        }
        let message =
            "the bridge is draining or stopping, so nothing new is taken: end the drain, or ask again when it is back";
        (self.stopping || self.drain.is_some()).then(|| Fault::new(Code::Blocked, message))
    }

    /// The journal has answered.
    pub(super) fn found_to_retry(&mut self, mut retrying: Retrying, kept: Vec<Kept>, gone: bool) {
        let result = match self.choose(kept, gone, &retrying) {
            Choice::Changed if retrying.rounds < ROUNDS_MAX => {
                retrying.rounds += 1;
                retrying.is_outdated = false;
                return self.ask_for_retry(retrying);
            }
            Choice::Changed => {
                Err(Fault::new(Code::Internal, "the message changed while the journal was read: ask again"))
            }
            Choice::Refused(fault) => Err(fault),
            Choice::One(kept, state) => self.begin_again(&kept, state),
        };
        self.end_retry(retrying, result);
    }

    pub(super) fn end_retry(&mut self, retrying: Retrying, result: Result<Value, Fault>) {
        let Retrying { order, joined, .. } = retrying;
        self.conclude(order, result.clone());
        for repeat in joined {
            self.tell(repeat, result.clone());
        }
    }

    /// Finds the one message that is meant, by what the engine knows now.
    fn choose(&self, kept: Vec<Kept>, gone: bool, retrying: &Retrying) -> Choice {
        // That message may be over and forgotten by now, and the journal was read before it came.
        if retrying.is_outdated {
            return Choice::Changed;
        }
        let key = |kept: &Kept| (dedup_key(&kept.message.request), half(kept.message.request.fingerprint));
        let mut newest: BTreeMap<MessageKey, Kept> = kept.into_iter().map(|kept| (key(&kept), kept)).collect();
        let mut others: Vec<State> = Vec::new();
        for (key, seq) in self.newest_with_id(&retrying.id, retrying.account.as_ref()) {
            if let Some(live) = self.live.get(&seq) {
                others.push(live.state());
                newest.remove(&key);
                continue;
            }
            let seen = newest.get(&key).filter(|kept| kept.message.seq == seq);
            let state = seen.and_then(|kept| Some(kept.outcome.as_ref()?.state));
            if state.is_none() || state != self.state_of(seq) {
                return Choice::Changed;
            }
        }
        let mut over: Vec<(Kept, State)> = Vec::new();
        for kept in newest.into_values() {
            match kept.outcome.as_ref().map(|outcome| outcome.state) {
                Some(state @ (State::Failed | State::Expired | State::Unresolved)) => over.push((kept, state)),
                Some(state) => others.push(state),
                // It was live when the journal was read, and is forgotten already.
                None => return Choice::Changed,
            }
        }
        let account = |one: &(Kept, State)| one.0.message.request.account.clone();
        if over.len() > 1 {
            return Choice::Refused(several(over.windows(2).all(|pair| account(&pair[0]) == account(&pair[1]))));
        }
        match over.pop() {
            Some((kept, _)) if !kept.has_body() => Choice::Refused(body_erased()),
            Some((kept, state)) => Choice::One(Box::new(kept), state),
            None => Choice::Refused(nothing_to_retry(&others, gone)),
        }
    }

    /// Takes a message once more, under all the usual checks.
    fn begin_again(&mut self, kept: &Kept, state: State) -> Result<Value, Fault> {
        if let Some(fault) = self.takes_nothing() {
            return Err(fault);
        }
        let of = kept.message.seq;
        let request = self.fresh(&kept.message.request);
        if let Some(fault) = self.refusal_of(&request) {
            return Err(fault);
        }
        let flagged = kept.outcome.as_ref().is_some_and(|outcome| outcome.possibly_duplicate);
        let retry = Retry {
            of,
            possibly_duplicate: (state == State::Unresolved || flagged || kept.doubted)
                && !self.sabotaged(Sabotage::RetryUnflagged),
            in_doubt: state == State::Unresolved,
        };
        let dedup = dedup_key(&request);
        self.count_received();
        let seq: Seq = self.accept(request, dedup, Some(retry));
        Ok(json!({
            "seq": seq.0,
            "of": of.0,
            "account": kept.message.request.account.as_str(),
            "possiblyDuplicate": retry.possibly_duplicate,
        }))
    }

    /// The request as if it came now: what was a length of time begins again, and a moment that has passed is none.
    fn fresh(&self, request: &Request) -> Request {
        let mut request = request.clone();
        let options = &mut request.options;
        options.message_expiry = None;
        options.not_before = options.not_before.filter(|at| *at > self.now);
        options.lifetime = options.lifetime.filter(|lifetime| match lifetime {
            Lifetime::For(_) => true,
            Lifetime::Until(at) => *at > self.now,
        });
        request
    }
}

fn body_erased() -> Fault {
    let message = "the message's text was erased store.body_retention after its end, so it cannot be sent again from here: \
         publish it again";
    Fault::of_field(Code::NotFound, "id", message)
}

fn nothing_to_retry(others: &[State], gone: bool) -> Fault {
    if others.is_empty() {
        if gone {
            return body_erased();
        }
        return Fault::of_field(Code::NotFound, "id", "no message with this id is known: publish it again");
    }
    let states: Vec<&str> = others.iter().map(|state| state.as_str()).collect();
    let message = format!(
        "only a message that is failed, expired or unresolved can be sent again; this one is {}",
        states.join(", another is ")
    );
    Fault::of_field(Code::WrongState, "id", message)
}
