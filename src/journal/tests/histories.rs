//! The journal against the model: any valid history, through commits, prunings, restarts and crashes, replays the same.

use super::model::{Life, Model};
use super::{START, copy_as_after_a_crash, directory, generate, replayed, settings};
use crate::journal::{Anchor, Batch, Journal};
use crate::model::{
    Account, Block, Callback, CommandOrigin, Corp, Fingerprint, Hold, HoldId, LimitChange, LimitOverride, LimitScope,
    Message, Outcome, Receipt, Record, Refusal, ReplyTo, Scope, SenderName, Seq, Time, Verdict,
};
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// Something that may happen; `usize` chooses among what it may happen to.
#[derive(Clone, Debug)]
enum Step {
    Accept(Box<Message>),
    Attempt(usize, Account, Corp, bool),
    End(usize, Verdict),
    Finish(usize, Box<Outcome>),
    Readdress(usize, Option<ReplyTo>, bool),
    Answer(usize),
    Refuse(Box<Refusal>),
    AnswerRefusal(usize),
    Hold(Scope, Box<str>, Option<Box<str>>, Option<Time>),
    Release(usize),
    /// The end of a hold is moved.
    HoldUntil(usize, Option<Time>),
    Block(Box<Block>),
    Unblock(usize),
    SetLimit(LimitScope, u32, Option<Box<str>>, Option<Time>),
    Locate(Account, Corp, SenderName),
    Command(Box<CommandOrigin>, Fingerprint, Box<str>),
    Report(Box<Callback>),
    PublishEvent(usize),
    Receive(usize, Receipt),
    Prove(usize, Option<Box<str>>),
    Presence(Account, bool),
    CoolDown(Account, Duration, u32),
    Pass(Duration),
    Commit,
    Prune,
    Restart,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let which = any::<usize>;
    prop_oneof![
        6 => generate::message().prop_map(|message| Step::Accept(Box::new(message))),
        6 => (which(), generate::account(), generate::corp(), any::<bool>())
            .prop_map(|(which, account, corp, flag)| Step::Attempt(which, account, corp, flag)),
        6 => (which(), generate::verdict()).prop_map(|(which, verdict)| Step::End(which, verdict)),
        4 => (which(), generate::outcome()).prop_map(|(which, outcome)| Step::Finish(which, Box::new(outcome))),
        2 => (which(), generate::reply_to(), any::<bool>())
            .prop_map(|(which, reply_to, again)| Step::Readdress(which, reply_to, again)),
        4 => which().prop_map(Step::Answer),
        1 => generate::refusal().prop_map(|refusal| Step::Refuse(Box::new(refusal))),
        1 => which().prop_map(Step::AnswerRefusal),
        1 => generate::hold().prop_map(|(scope, reason, by, until)| Step::Hold(scope, reason, by, until)),
        1 => which().prop_map(Step::Release),
        1 => (which(), generate::maybe_time()).prop_map(|(which, until)| Step::HoldUntil(which, until)),
        1 => generate::block().prop_map(|block| Step::Block(Box::new(block))),
        1 => which().prop_map(Step::Unblock),
        1 => (generate::limit_scope(), 0..3_u32, generate::maybe_text(), generate::maybe_time())
            .prop_map(|(scope, limit, by, until)| Step::SetLimit(scope, limit, by, until)),
        1 => (generate::account(), generate::corp(), generate::sender_name())
            .prop_map(|(account, corp, sender)| Step::Locate(account, corp, sender)),
        1 => (generate::command_origin(), any::<[u8; 16]>(), generate::text())
            .prop_map(|(origin, fingerprint, reply)| Step::Command(Box::new(origin), fingerprint, reply)),
        2 => generate::callback().prop_map(|callback| Step::Report(Box::new(callback))),
        2 => which().prop_map(Step::PublishEvent),
        1 => (which(), generate::receipt()).prop_map(|(which, receipt)| Step::Receive(which, receipt)),
        1 => (which(), generate::maybe_text()).prop_map(|(which, msg_id)| Step::Prove(which, msg_id)),
        1 => (generate::account(), any::<bool>()).prop_map(|(account, online)| Step::Presence(account, online)),
        1 => (generate::account(), 0..60_000_u64, 0..4_u32).prop_map(|(account, millis, times)| {
            Step::CoolDown(account, Duration::from_millis(millis), times)
        }),
        4 => (0..2_400_000_u64).prop_map(|millis| Step::Pass(Duration::from_millis(millis))),
        3 => Just(Step::Commit),
        2 => Just(Step::Prune),
        1 => Just(Step::Restart),
        1 => Just(Step::Crash),
    ]
}

/// A journal and the model that it has to agree with.
struct Bench {
    directory: TempDir,
    journal: Journal,
    model: Model,
    records: Vec<Record>,
    now: Time,
}

impl Bench {
    fn new() -> Self {
        let directory = directory();
        let journal = super::open(directory.path());
        Self { directory, journal, model: Model::default(), records: Vec::new(), now: START }
    }

    async fn perform(&mut self, step: Step) {
        match step {
            Step::Pass(span) => self.now = self.now + span,
            Step::Commit => self.commit().await,
            Step::Prune => {
                self.commit().await;
                self.journal.prune(self.now).await.expect("a pass");
                self.model.prune(self.now, settings(self.directory.path()).body_retention);
                self.compare();
            }
            Step::Restart => self.restart().await,
            Step::Crash => {
                self.commit().await;
                let copy = directory();
                copy_as_after_a_crash(self.directory.path(), copy.path());
                self.journal = super::open(copy.path());
                self.directory = copy;
                assert!(!self.journal.was_clean());
                self.compare();
            }
            Step::Accept(_)
            | Step::Attempt(..)
            | Step::End(..)
            | Step::Finish(..)
            | Step::Readdress(..)
            | Step::Answer(_)
            | Step::Refuse(_)
            | Step::AnswerRefusal(_)
            | Step::Hold(..)
            | Step::Release(_)
            | Step::HoldUntil(..)
            | Step::Block(_)
            | Step::Unblock(_)
            | Step::SetLimit(..)
            | Step::Locate(..)
            | Step::Command(..)
            | Step::Report(_)
            | Step::PublishEvent(_)
            | Step::Receive(..)
            | Step::Prove(..)
            | Step::Presence(..)
            | Step::CoolDown(..) => {
                if let Some(record) = self.record(step) {
                    self.model.apply(&record);
                    self.records.push(record);
                }
            }
        }
    }

    async fn restart(&mut self) {
        self.commit_with(true).await;
        let elsewhere = directory();
        let journal = std::mem::replace(&mut self.journal, super::open(elsewhere.path()));
        journal.close().await.expect("a clean end");
        self.journal = super::open(self.directory.path());
        assert!(self.journal.was_clean());
        self.compare();
    }

    /// Commits what waits and asks for every body. As in the bridge, time is noted with some commits and not with others.
    async fn commit(&mut self) {
        self.commit_with(self.model.last.seq.0.is_multiple_of(2)).await;
    }

    async fn commit_with(&mut self, is_anchored: bool) {
        let (boot_id, since_boot) = ("boot".to_owned(), Duration::from_secs(9));
        let anchor = Anchor { time: self.now, boot_id, since_boot, wall: self.now };
        let window = settings(self.directory.path()).dedup_window;
        let live: Vec<&Life> = self.model.lives.values().filter(|life| life.is_live(self.now, window)).collect();
        let load: Vec<Seq> = live.iter().rev().map(|life| life.message.seq).collect();
        let records = std::mem::take(&mut self.records);
        let anchor = is_anchored.then_some(anchor);
        let batch = Batch { records, load, load_answers: Vec::new(), load_events: Vec::new(), anchor };
        let committed = self.journal.commit(batch).await.expect("a commit");
        let expected: Vec<Message> =
            live.iter().rev().filter(|life| !life.body_erased).map(|life| life.message.clone()).collect();
        assert_eq!(committed.messages, expected);
    }

    fn compare(&self) {
        let window = settings(self.directory.path()).dedup_window;
        assert_eq!(replayed(&self.journal, self.now), self.model.replay(self.now, window));
    }

    /// The same for what callbacks are about.
    fn record_of_callback(&self, step: Step) -> Option<Record> {
        let at = self.now;
        #[allow(clippy::wildcard_enum_match_arm, reason = "all others have a record of their own")]
        match step {
            Step::Report(callback) => {
                Some(Record::Reported { number: self.model.last.event + 1, at, callback: Arc::from(callback) })
            }
            Step::PublishEvent(which) => {
                let number = *nth(self.model.open_events.iter().collect(), which)?;
                Some(Record::EventPublished { number })
            }
            Step::Receive(which, mut receipt) => {
                let life = self.pick(which, |life| self.is_known(life) && life.outcome.is_some())?;
                receipt.at = at;
                Some(Record::Receipt { seq: life.message.seq, receipt })
            }
            Step::Prove(which, msg_id) => {
                let life = self.pick(which, |life| self.is_known(life))?;
                Some(Record::Proven { seq: life.message.seq, at, msg_id })
            }
            Step::Presence(account, online) => Some(Record::Presence { account, at, online }),
            Step::CoolDown(account, wait, times) => Some(Record::CooledDown { account, at, until: at + wait, times }),
            _ => None,
        }
    }

    /// The record of a step, if there is anything that it can happen to.
    fn record(&self, step: Step) -> Option<Record> {
        let at = self.now;
        match step {
            Step::Accept(mut message) => {
                message.seq = Seq(self.model.last.seq.0 + 1);
                message.received_at = at;
                Some(Record::Accepted(Arc::from(message)))
            }
            Step::Attempt(which, account, corp, possibly_duplicate) => {
                let life = self.pick(which, |life| life.outcome.is_none() && !life.has_open_attempt())?;
                let attempt = u32::try_from(life.attempts.len()).ok()? + 1;
                Some(Record::Attempted { seq: life.message.seq, attempt, at, account, corp, possibly_duplicate })
            }
            Step::End(which, verdict) => {
                let life = self.pick(which, Life::has_open_attempt)?;
                let attempt = u32::try_from(life.attempts.len()).ok()?;
                Some(Record::Ended { seq: life.message.seq, attempt, at, verdict })
            }
            Step::Finish(which, mut outcome) => {
                let life = self.pick(which, |life| self.is_known(life))?;
                outcome.at = at;
                Some(Record::Finished { seq: life.message.seq, outcome: *outcome })
            }
            Step::Readdress(which, reply_to, again) => {
                let life = self.pick(which, |life| self.is_known(life) && (!again || life.outcome.is_some()))?;
                Some(Record::Readdressed { seq: life.message.seq, reply_to, again })
            }
            Step::Answer(which) => {
                let life = self.pick(which, |life| life.outcome.is_some() && !life.answered)?;
                Some(Record::Answered { seq: life.message.seq, known_from: which.is_multiple_of(2).then_some(at) })
            }
            Step::Refuse(refusal) => {
                Some(Record::Refused { number: self.model.last.refusal + 1, at, refusal: Arc::from(refusal) })
            }
            Step::AnswerRefusal(which) => {
                let number = *nth(self.model.refusals.keys().collect(), which)?;
                Some(Record::RefusalAnswered { number })
            }
            Step::Hold(scope, reason, by, until) => {
                let id = HoldId(self.model.last.hold + 1);
                Some(Record::Held(Hold { id, scope, reason, by, since: at, until }))
            }
            Step::Release(which) => {
                let hold = HoldId(*nth(self.model.holds.keys().collect(), which)?);
                Some(Record::Released { hold, at, by: Some(Box::from("somebody")) })
            }
            Step::Locate(account, corp, sender) => Some(Record::Located { account, corp, sender, at }),
            Step::HoldUntil(which, until) => {
                let hold = (*nth(self.model.holds.values().collect(), which)?).clone();
                Some(Record::Held(Hold { until, ..hold }))
            }
            Step::Block(mut block) => {
                block.id = HoldId(self.model.last.hold + 1);
                Some(Record::Blocked(*block))
            }
            Step::Unblock(which) => {
                let block = HoldId(*nth(self.model.blocks.keys().collect(), which)?);
                Some(Record::Unblocked { block, at, by: None })
            }
            Step::SetLimit(scope, limit, by, until) => Some(limit_set(scope, limit, by, at, until)),
            Step::Report(_)
            | Step::PublishEvent(_)
            | Step::Receive(..)
            | Step::Prove(..)
            | Step::Presence(..)
            | Step::CoolDown(..) => self.record_of_callback(step),
            Step::Command(origin, fingerprint, reply) => {
                Some(Record::Commanded { at, origin: *origin, fingerprint, reply })
            }
            Step::Pass(_) | Step::Commit | Step::Prune | Step::Restart | Step::Crash => None,
        }
    }

    /// Whether the engine still knows a message, and so may say something about it.
    fn is_known(&self, life: &Life) -> bool {
        life.is_live(self.now, settings(self.directory.path()).dedup_window)
    }

    fn pick(&self, which: usize, may: impl Fn(&Life) -> bool) -> Option<&Life> {
        nth(self.model.lives.values().filter(|life| may(life)).collect(), which)
    }
}

/// Zero is what the configuration says.
fn limit_set(scope: LimitScope, limit: u32, by: Option<Box<str>>, since: Time, until: Option<Time>) -> Record {
    let change = match (&scope, limit) {
        (_, 0) => LimitChange::Configured,
        (LimitScope::Account(_), _) => LimitChange::Interval(Duration::from_millis(limit.into())),
        (LimitScope::Corp(_), _) => LimitChange::PerHour(limit),
    };
    Record::LimitSet(LimitOverride { scope, change, by, since, until })
}

fn nth<T>(mut candidates: Vec<T>, which: usize) -> Option<T> {
    let count = candidates.len();
    if count == 0 { None } else { Some(candidates.swap_remove(which % count)) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn any_history_replays_as_the_model_says(steps in proptest::collection::vec(step(), 1..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let mut bench = Bench::new();
            for step in steps {
                bench.perform(step).await;
            }
            bench.restart().await;
            assert_eq!(bench.journal.last_numbers(), bench.model.last);
            assert_eq!(bench.journal.anchor().map(|anchor| anchor.time), Some(bench.now));
        });
    }
}
