//! What only the journal can tell: asked for by number, and completed with what only the engine knows.
//!
//! The loop never looks through messages. The journal's reader does, on a thread of its own, so many rows at
//! a time; what it finds may be older than what the engine knows, so the engine has the last word on all that is live.

use super::Engine;
use super::accept::id_key;
use super::command::Order;
use super::forecast::Ask;
use super::tables::{AccountKey, IdKey, Phase, Rank};
use crate::model::{
    Account, Action, Code, CommandOrigin, Fault, Findings, Found, Hold, HoldReason, LOOKUPS_MAX, Lookup, MessageId,
    MessageReport, MessagesReport, Page, PauseReport, Question, Reply, Selection, Seq, State,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Who waits for an answer of the journal.
#[derive(Debug)]
pub(super) enum Asker {
    /// A question about messages, of which those in one of the states are shown; all where there is none.
    Reports {
        origin: CommandOrigin,
        states: Vec<State>,
        is_list: bool,
    },
    Retry(Retrying),
}

/// An order to send a message again.
#[derive(Debug)]
pub(super) struct Retrying {
    pub(super) order: Order,
    /// Its repeats since.
    pub(super) joined: Vec<Order>,
    pub(super) id: MessageId,
    pub(super) account: Option<Account>,
    /// A message of its id was taken since the journal was asked: what it finds may be older than that.
    pub(super) is_outdated: bool,
    /// How often the journal was asked again.
    pub(super) rounds: u32,
}

/// Questions that wait for the journal.
#[derive(Debug, Default)]
pub(super) struct Lookups {
    last: u64,
    open: BTreeMap<u64, Asker>,
}

impl Lookups {
    /// The order that this one repeats, while it waits.
    pub(super) fn retrying(&mut self, origin: &CommandOrigin) -> Option<&mut Retrying> {
        self.open.values_mut().find_map(|asker| match asker {
            Asker::Retry(retrying)
                if retrying.order.origin.name == origin.name
                    && retrying.order.origin.transaction == origin.transaction =>
            {
                Some(retrying)
            }
            Asker::Retry(_) | Asker::Reports { .. } => None,
        })
    }
}

impl Engine {
    /// A message of this id was taken.
    pub(super) fn outdate_retries(&mut self, id: IdKey) {
        for asker in self.lookups.open.values_mut() {
            if let Asker::Retry(retrying) = asker {
                retrying.is_outdated |= id_key(&retrying.id) == id;
            }
        }
    }

    pub(super) fn get_message(&mut self, origin: CommandOrigin, id: MessageId, account: Option<Account>) {
        let known = self.known_with_id(&id, account.as_ref());
        let asker = Asker::Reports { origin, states: Vec::new(), is_list: false };
        self.ask_for_reports(asker, Question::Get { id, account, known });
    }

    pub(super) fn list_messages(
        &mut self,
        origin: CommandOrigin,
        selection: Selection,
        states: Vec<State>,
        page: Page,
    ) {
        let corp = selection.corp.as_ref().and_then(|name| self.corp_keys.get(name)).copied();
        let members: BTreeSet<Account> = match corp {
            Some(corp) => {
                let of_corp = self.accounts.iter().filter(|account| account.corp == Some(corp));
                of_corp.map(|account| account.name.clone()).collect()
            }
            None => BTreeSet::new(),
        };
        let asker = Asker::Reports { origin, states: states.clone(), is_list: true };
        self.ask_for_reports(asker, Question::List { selection, members, states, page });
    }

    fn ask_for_reports(&mut self, asker: Asker, question: Question) {
        if let Some((Asker::Reports { origin, .. }, fault)) = self.look_up(asker, question) {
            self.act(Action::Reply(Reply { origin, result: Err(fault) }));
        }
    }

    /// Asks the journal, unless too many wait for it: then gives the asker back, with what to tell it.
    pub(super) fn look_up(&mut self, asker: Asker, question: Question) -> Option<(Asker, Fault)> {
        if self.lookups.open.len() >= LOOKUPS_MAX {
            let message =
                "too many questions wait for the journal: ask again, and wait for one reply before the next question";
            return Some((asker, Fault::new(Code::QueueFull, message)));
        }
        self.lookups.last += 1;
        let number = self.lookups.last;
        self.lookups.open.insert(number, asker);
        self.act(Action::Lookup(Lookup { number, question }));
        None
    }

    pub(super) fn handle_found(&mut self, found: Found) {
        let Found { number, result } = found;
        match (self.lookups.open.remove(&number), result) {
            (None, _) => {}
            (Some(Asker::Reports { origin, states, is_list }), Ok(Findings::Reports(reports))) => {
                if reports.messages.iter().any(|report| self.waits(report)) && self.must_play_for_messages() {
                    return self.wait_for_forecast(Ask::Reports { origin, states, is_list, reports });
                }
                let result = self.complete(reports, &states, is_list);
                self.act(Action::Reply(Reply { origin, result }));
            }
            (Some(Asker::Reports { origin, .. }), Err(fault)) => {
                self.act(Action::Reply(Reply { origin, result: Err(fault) }));
            }
            (Some(Asker::Reports { origin, .. }), Ok(Findings::Kept { .. })) => {
                self.act(Action::Reply(Reply { origin, result: Err(wrong_answer()) }));
            }
            (Some(Asker::Retry(retrying)), Ok(Findings::Kept { kept, gone })) => {
                self.found_to_retry(retrying, kept, gone);
            }
            (Some(Asker::Retry(retrying)), Ok(Findings::Reports(_))) => self.end_retry(retrying, Err(wrong_answer())),
            (Some(Asker::Retry(retrying)), Err(fault)) => self.end_retry(retrying, Err(fault)),
        }
    }

    fn waits(&self, report: &MessageReport) -> bool {
        self.live.get(&Seq(report.seq)).is_some_and(|live| live.state() == State::Queued)
    }

    /// Adds what the engine knows, and leaves out what it knows to be in another state than wanted.
    pub(super) fn complete(
        &self,
        mut reports: MessagesReport,
        states: &[State],
        is_list: bool,
    ) -> Result<Value, Fault> {
        if reports.messages.is_empty() && !is_list {
            let message = "no message with this id is known: check it; the outcomes of older ones are deleted after \
                 store.retention";
            return Err(Fault::of_field(Code::NotFound, "id", message));
        }
        for report in &mut reports.messages {
            self.complete_one(report);
        }
        self.count_positions(&mut reports.messages);
        reports.messages.retain(|report| states.is_empty() || states.contains(&report.state));
        serde_json::to_value(&reports).map_err(|_| wrong_answer())
    }

    fn complete_one(&self, report: &mut MessageReport) {
        let seq = Seq(report.seq);
        if let Some(past) = self.past.get(&seq) {
            // It may have ended, or been corrected, since the journal was read.
            report.state = past.state;
            report.possibly_duplicate |= past.possibly_duplicate;
        }
        let Some(live) = self.live.get(&seq) else { return };
        report.state = live.state();
        report.attempts = u32::from(live.attempts);
        report.possibly_duplicate |= live.possibly_duplicate;
        report.priority = Some(live.priority);
        report.expires_at = Some(live.expires_at);
        match live.phase {
            Phase::Queued | Phase::Scheduled => {
                if let Some((reason, until)) = self.waiting_for(seq) {
                    report.reason = Some(reason.as_str().to_owned());
                    report.until = until;
                    if let HoldReason::Paused(hold) = reason {
                        report.hold = Some(hold.0);
                        report.paused = self.holds.get(hold).map(pause_report);
                    }
                }
                report.expected_at = self.expected_at(seq);
            }
            Phase::InDoubt => report.until = Some(live.doubt_until().unwrap_or(live.expires_at)),
            Phase::Sending => {}
        }
    }

    /// Counts places from the head of each queue, once per account.
    fn count_positions(&self, reports: &mut [MessageReport]) {
        let mut wanted: BTreeMap<AccountKey, BTreeMap<Rank, usize>> = BTreeMap::new();
        for (index, report) in reports.iter().enumerate() {
            let seq = Seq(report.seq);
            if let Some(live) = self.live.get(&seq).filter(|live| live.phase == Phase::Queued) {
                wanted.entry(live.account).or_default().insert(live.rank(seq), index);
            }
        }
        for (account, wanted) in wanted {
            for (rank, position) in self.account(account).queue.positions(wanted.keys().copied()) {
                reports[wanted[&rank]].position = Some(position);
            }
        }
    }
}

fn pause_report(hold: &Hold) -> PauseReport {
    PauseReport {
        reason: hold.reason.as_ref().to_owned(),
        by: hold.by.as_deref().map(str::to_owned),
        since: hold.since,
        until: hold.until,
    }
}

fn wrong_answer() -> Fault {
    Fault::new(Code::Internal, "the journal answered another question: report it")
}
