//! Mistakes that somebody could make: the exploration has to find each of them out, by the promise that it breaks.

use super::promises::Promise;

/// What the publisher wants done after a doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Policy {
    Report,
    Resend,
    Hold,
}

impl Policy {
    pub const ALL: [Self; 3] = [Self::Report, Self::Resend, Self::Hold];
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mistake {
    /// A copy is acknowledged before it is on disk.
    AcknowledgedBeforeCommit,
    /// A request leaves before its attempt is on disk.
    RequestBeforeCommit,
    /// An answer leaves before the end that it tells is on disk.
    AnswerBeforeCommit,
    /// A system is told that its report is kept before it is on disk.
    CallbackTakenBeforeCommit,
    /// An answer counts as delivered once it is published.
    AnswerClosedOnPublish,
    /// The acknowledgement of an older answer closes the correction.
    FirstCopyClosesSecond,
    /// What was published over a connection that is gone is not published again.
    AnswerLostWithConnection,
    /// What is due is known in memory only.
    OutboxForgotten,
    /// A copy of a known message is a new message.
    CopiesNotKnown,
    /// A copy of a message that is over is not answered again.
    CopyNotAnswered,
    /// A restart tries again what was under way.
    RestartRetries,
    /// A restart takes what is in doubt for queued.
    RestartForgetsDoubt,
    /// A time-out is tried again.
    TimeoutRetries,
    /// A time-out is a success.
    TimeoutIsSuccess,
    /// A time-out is a failure.
    TimeoutIsFailure,
    /// A doubt that nobody settled is called a failure.
    DoubtIsFailure,
    /// A message is held, and sent again all the same.
    HoldResends,
    /// A resend carries no flag.
    ResendUnflagged,
    /// The flag is kept in memory until the end.
    FlagNotWithAttempt,
    /// Whether a message is sent again is decided once more after a restart, by the time that it is then.
    ResendJudgedAnew,
    /// A refusal is called a failure in spite of an earlier doubt.
    RefusedDespiteDoubt,
    /// A message expires in spite of an earlier doubt.
    ExpiredDespiteDoubt,
    /// A message is cancelled in spite of an earlier doubt.
    CancelledDespiteDoubt,
    /// What is on its way can be cancelled.
    CancelledWhileSending,
    /// A proof settles only what was answered already.
    EvidenceComesTooEarly,
    /// A doubt that is settled after its answer is not answered again.
    CorrectionUnanswered,
    /// What an operator has sent again carries no flag.
    RetryUnflagged,
    /// What an operator has sent again can fail in spite of a doubt in its life before.
    RetryForgetsDoubt,
    /// One effect that was seen proves each of two lives.
    TwinsIgnored,
}

/// Every mistake, a policy under which it shows, and the promise that it breaks first.
pub const MISTAKES: [(Mistake, Policy, Promise); 29] = [
    (Mistake::AcknowledgedBeforeCommit, Policy::Report, Promise::Kept),
    (Mistake::RequestBeforeCommit, Policy::Report, Promise::Once),
    (Mistake::AnswerBeforeCommit, Policy::Report, Promise::True),
    (Mistake::CallbackTakenBeforeCommit, Policy::Resend, Promise::NoNeedlessResend),
    (Mistake::AnswerClosedOnPublish, Policy::Report, Promise::Answered),
    (Mistake::FirstCopyClosesSecond, Policy::Report, Promise::Answered),
    (Mistake::AnswerLostWithConnection, Policy::Report, Promise::Answered),
    (Mistake::OutboxForgotten, Policy::Report, Promise::Answered),
    (Mistake::CopiesNotKnown, Policy::Report, Promise::OneEnd),
    (Mistake::CopyNotAnswered, Policy::Report, Promise::Answered),
    (Mistake::RestartRetries, Policy::Report, Promise::Once),
    (Mistake::RestartForgetsDoubt, Policy::Report, Promise::Once),
    (Mistake::TimeoutRetries, Policy::Report, Promise::Once),
    (Mistake::TimeoutIsSuccess, Policy::Report, Promise::True),
    (Mistake::TimeoutIsFailure, Policy::Report, Promise::True),
    (Mistake::DoubtIsFailure, Policy::Report, Promise::True),
    (Mistake::HoldResends, Policy::Hold, Promise::Once),
    (Mistake::ResendUnflagged, Policy::Resend, Promise::Flagged),
    (Mistake::FlagNotWithAttempt, Policy::Resend, Promise::Flagged),
    (Mistake::ResendJudgedAnew, Policy::Resend, Promise::Flagged),
    (Mistake::RefusedDespiteDoubt, Policy::Resend, Promise::True),
    (Mistake::ExpiredDespiteDoubt, Policy::Resend, Promise::True),
    (Mistake::CancelledDespiteDoubt, Policy::Resend, Promise::True),
    (Mistake::CancelledWhileSending, Policy::Report, Promise::True),
    (Mistake::EvidenceComesTooEarly, Policy::Resend, Promise::NoNeedlessResend),
    (Mistake::CorrectionUnanswered, Policy::Report, Promise::Answered),
    (Mistake::RetryUnflagged, Policy::Report, Promise::Flagged),
    (Mistake::RetryForgetsDoubt, Policy::Report, Promise::True),
    (Mistake::TwinsIgnored, Policy::Report, Promise::True),
];
