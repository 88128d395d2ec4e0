//! How often each kind of thing that makes a promise hard to keep has happened. A promise that holds shows nothing
//! about a fault that nobody makes any more.

use super::scenario::{AccountTruth, FaultKind, Mood, Payload, START};
use super::server::Fate;
use crate::model::{Command, Doubt, NotSent, Verdict};
use std::fmt;

macro_rules! kinds {
    ($($kind:ident,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kind {
            $($kind,)*
        }

        impl Kind {
            pub const ALL: &[Self] = &[$(Self::$kind,)*];
        }
    };
}

kinds! {
    // The process and its clocks.
    Crash,
    CommitDurableAtCrash,
    AnotherBoot,
    ClockSetBack,
    ClockSetAhead,
    StorageLow,
    // The broker.
    IncomingDropped,
    OutgoingDropped,
    PublishRefused,
    // The servers and the accounts.
    ServerDown,
    ServerBusy,
    ServerUnauthorized,
    AccountOffline,
    AccountMoved,
    AccountListedLate,
    AccountNeverListed,
    // Requests.
    NoConnection,
    AnswerBusy,
    AnswerTooFrequent,
    AnswerTemporary,
    AnswerOffline,
    AnswerUnauthorized,
    AnswerRefused,
    TimeOutAndDone,
    TimeOutAndNotDone,
    TimeOutAndDoneLater,
    ResetAndDone,
    ResetAndNotDone,
    StatusAndDone,
    StatusAndNotDone,
    AnswerContradicted,
    // What publishers do.
    MessageWeak,
    MessageAgain,
    MessageWithOtherContent,
    MessageUnreadable,
    // What operators do.
    Paused,
    Resumed,
    Cancelled,
    CancelRehearsed,
    Blocked,
    LimitSet,
    Drained,
    Retried,
    Resolved,
    // What the platform reports.
    CallbackNever,
    CallbackLate,
    CallbackAgain,
    CallbackInAnotherEnvelope,
    CallbackForged,
    CallbackBroughtAgain,
    SomebodyWrote,
    LoginReported,
    LogoutReported,
}

/// How often each kind happened.
#[derive(Clone, Copy, Debug)]
pub struct Counts([u64; Kind::ALL.len()]);

impl Default for Counts {
    fn default() -> Self {
        Self([0; Kind::ALL.len()])
    }
}

impl Counts {
    pub fn count(&mut self, kind: Kind) {
        self.0[kind as usize] += 1;
    }

    pub fn add(&mut self, other: &Self) {
        for (sum, more) in self.0.iter_mut().zip(other.0) {
            *sum += more;
        }
    }

    /// What never happened.
    pub fn missing(&self) -> Vec<Kind> {
        Kind::ALL.iter().copied().filter(|kind| self.0[*kind as usize] == 0).collect()
    }

    pub fn fault(&mut self, fault: &FaultKind) {
        let kind = match fault {
            FaultKind::DropIncoming => Kind::IncomingDropped,
            FaultKind::DropOutgoing => Kind::OutgoingDropped,
            FaultKind::Server(_, Mood::Down) => Kind::ServerDown,
            FaultKind::Server(_, Mood::Busy) => Kind::ServerBusy,
            FaultKind::Server(_, Mood::Unauthorized) => Kind::ServerUnauthorized,
            FaultKind::Online(_, false) => Kind::AccountOffline,
            FaultKind::Move(..) => Kind::AccountMoved,
            FaultKind::StorageLow(true) => Kind::StorageLow,
            // A crash counts when it comes. A server is silent, and the broker away, in long outages only. What ends a fault is none.
            FaultKind::Crash(_)
            | FaultKind::BrokerAway(_)
            | FaultKind::Server(_, Mood::Silent | Mood::Up)
            | FaultKind::Online(_, true)
            | FaultKind::StorageLow(false) => return,
        };
        self.count(kind);
    }

    pub fn fate(&mut self, fate: &Fate) {
        if fate.echo.is_some() {
            self.count(Kind::AnswerContradicted);
        }
        let done = fate.effect;
        let kind = match &fate.verdict {
            Verdict::NotSent { why: NotSent::Connect, .. } => Kind::NoConnection,
            Verdict::NotSent { why: NotSent::Busy { .. }, .. } => Kind::AnswerBusy,
            Verdict::NotSent { why: NotSent::TooFrequent { .. }, .. } => Kind::AnswerTooFrequent,
            Verdict::NotSent { why: NotSent::Temporary { .. }, .. } => Kind::AnswerTemporary,
            Verdict::NotSent { why: NotSent::Offline, .. } => Kind::AnswerOffline,
            Verdict::NotSent { why: NotSent::Unauthorized, .. } => Kind::AnswerUnauthorized,
            Verdict::Refused { .. } => Kind::AnswerRefused,
            Verdict::Unknown { why: Doubt::Timeout, .. } if !done => Kind::TimeOutAndNotDone,
            Verdict::Unknown { why: Doubt::Timeout, .. } if fate.arrives_after > Some(fate.ends_after) => {
                Kind::TimeOutAndDoneLater
            }
            Verdict::Unknown { why: Doubt::Timeout, .. } => Kind::TimeOutAndDone,
            Verdict::Unknown { why: Doubt::Reset, .. } if done => Kind::ResetAndDone,
            Verdict::Unknown { why: Doubt::Reset, .. } => Kind::ResetAndNotDone,
            Verdict::Unknown { why: Doubt::Status(_), .. } if done => Kind::StatusAndDone,
            Verdict::Unknown { why: Doubt::Status(_), .. } => Kind::StatusAndNotDone,
            _ => return,
        };
        self.count(kind);
    }

    /// Something that the broker delivers; `is_known` where a message of this id is on disk.
    pub fn delivered(&mut self, payload: &Payload, is_known: bool) {
        let kind = match payload {
            Payload::Request { request, weak } => {
                if *weak {
                    self.count(Kind::MessageWeak);
                }
                if request.fingerprint[0] != 0 {
                    self.count(Kind::MessageWithOtherContent);
                }
                if !is_known {
                    return;
                }
                Kind::MessageAgain
            }
            Payload::Bad(_) => Kind::MessageUnreadable,
            Payload::Command { command, .. } => match command {
                Command::Pause { .. } => Kind::Paused,
                Command::Resume { .. } => Kind::Resumed,
                Command::MessageCancel { dry_run: true, .. } => Kind::CancelRehearsed,
                Command::MessageCancel { block_for: Some(_), .. } => Kind::Blocked,
                Command::MessageCancel { .. } => Kind::Cancelled,
                Command::LimitsSet { .. } => Kind::LimitSet,
                Command::Drain { on: true } => Kind::Drained,
                Command::MessageRetry { .. } => Kind::Retried,
                Command::MessageResolve { .. } => Kind::Resolved,
                _ => return,
            },
        };
        self.count(kind);
    }

    pub fn accounts(&mut self, accounts: &[AccountTruth]) {
        for truth in accounts {
            match truth.listed_at {
                None => self.count(Kind::AccountNeverListed),
                Some(at) if at > START => self.count(Kind::AccountListedLate),
                Some(_) => {}
            }
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, kind) in Kind::ALL.iter().enumerate() {
            let before = if index == 0 { "" } else { ", " };
            write!(f, "{before}{kind:?} {}", self.0[index])?;
        }
        Ok(())
    }
}

#[test]
fn what_never_happened_is_named() {
    let mut counts = Counts::default();
    assert_eq!(counts.missing(), Kind::ALL);
    for kind in &Kind::ALL[1..] {
        counts.count(*kind);
    }
    let mut sums = counts;
    sums.add(&counts);
    assert_eq!(sums.missing(), [Kind::ALL[0]]);
    let told = sums.to_string();
    assert!(told.starts_with("Crash 0, CommitDurableAtCrash 2, ") && told.ends_with(", LogoutReported 2"), "{told}");
}
