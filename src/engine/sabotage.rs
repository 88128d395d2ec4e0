//! Deliberate mistakes, one place each, by which the simulation proves that it would notice.
//!
//! Outside of unit tests no mistake can be chosen, and the compiler removes every question about one.

use super::Engine;
use super::accept::id_key;
use super::tables::IdKey;
use crate::model::MessageId;

/// A mistake that somebody could make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sabotage {
    /// A message is acknowledged and not recorded.
    AcceptWithoutRecord,
    /// An answer counts as delivered as soon as it is published.
    AnswerClosedEarly,
    /// A message whose doubt is settled is counted where it was and where it is.
    CorrectionCountsTwice,
    /// A doubt that is settled after its answer is not answered again.
    CorrectionUnanswered,
    /// What waits longest holds up what came later, also while its server is away and the other one is not.
    AwayHoldsUpOthers,
    /// A restart forgets which arrivals are refused.
    BlocksForgotten,
    /// Arrivals are refused whatever their tag: a selection by account and tag blocks the account.
    BlockForgetsTag,
    /// A message that was seen belongs to its answer, and proves another one too.
    ClaimedTwice,
    /// What is on its way can be cancelled.
    CancelWhileSending,
    /// The engine panics when the message with the id [`POISON`] is to be sent. No promise is broken by it.
    CrashOnAttempt,
    /// The same when it comes.
    CrashOnRequest,
    /// A restart tries again what was under way.
    CrashRetries,
    /// What is over is not known when it comes again.
    DedupSkipsPast,
    /// What a doubt lies behind may still be called failed, expired or cancelled.
    DoubtForgotten,
    /// A drain closes intake and takes what is still in it.
    DrainTakesMessages,
    /// A resend is not flagged.
    FlagForgotten,
    /// A restart forgets what was paused.
    HoldsForgotten,
    /// A restart forgets the sends of the last hour.
    HourForgotten,
    /// A message is known for a window from its end alone, however late its answer came.
    LateAnswerForgotten,
    /// A limit that is set holds from the next start on.
    LimitAtNextStart,
    /// A restart forgets which limits were set.
    LimitsForgotten,
    /// An account's messages stay in the books of its old company.
    MoveForgetsCounts,
    /// An account takes nothing along into its new company.
    MoveForgetsSends,
    /// An attempt leaves no trace before its request.
    NoAttemptRecord,
    /// A plain quota per hour, which lets through nearly twice its number within an hour.
    PlainQuota,
    /// A message waits twice as long after each attempt that found no server, without an end.
    RarerAndRarer,
    /// Every failed attempt gives its place in the hour back.
    RefundEveryFailure,
    /// A rehearsed cancellation cancels.
    RehearsalCancels,
    /// What a person writes in the client proves that a message was sent.
    PeopleCount,
    /// A time-out is tried again.
    RetryAfterTimeout,
    /// An order to send a message again is done twice when it is repeated before the journal has answered.
    RetryTwice,
    /// A message that is sent again by hand forgets that it may have been sent before.
    RetryUnflagged,
    /// A message that is tried again goes behind those that came later.
    RetryToTail,
    /// Spacing counts from the request, whatever the answer takes.
    SpacingFromRequest,
    /// A cancellation is over after its first turn.
    SweepStopsEarly,
    /// A message is taken although one that came before it over the same connection was left with the broker.
    TakesOutOfOrder,
    /// A message that waits for its answer for ever is told that it was sent.
    TimeoutIsSuccess,
    /// A message is sent while another one that cannot be told from it is in doubt.
    TwinsDispatched,
    /// One message that was seen proves each of several that it may have been.
    TwinsIgnored,
}

/// The id that the deliberate crashes are about.
const POISON: &str = "\"poison\"";

/// Panics when it is about that id.
pub(super) fn crash_over(id: Option<IdKey>) {
    assert!(id != Some(id_key(&MessageId::from_json(POISON))), "a deliberate crash");
}

impl Sabotage {
    /// Those that break a promise.
    #[cfg(test)]
    pub const ALL: [Self; 37] = [
        Self::AcceptWithoutRecord,
        Self::AnswerClosedEarly,
        Self::AwayHoldsUpOthers,
        Self::BlocksForgotten,
        Self::BlockForgetsTag,
        Self::CancelWhileSending,
        Self::ClaimedTwice,
        Self::CorrectionCountsTwice,
        Self::CorrectionUnanswered,
        Self::CrashRetries,
        Self::DedupSkipsPast,
        Self::DoubtForgotten,
        Self::DrainTakesMessages,
        Self::FlagForgotten,
        Self::HoldsForgotten,
        Self::HourForgotten,
        Self::LateAnswerForgotten,
        Self::LimitAtNextStart,
        Self::LimitsForgotten,
        Self::MoveForgetsCounts,
        Self::MoveForgetsSends,
        Self::NoAttemptRecord,
        Self::PeopleCount,
        Self::PlainQuota,
        Self::RarerAndRarer,
        Self::RefundEveryFailure,
        Self::RehearsalCancels,
        Self::RetryAfterTimeout,
        Self::RetryToTail,
        Self::RetryTwice,
        Self::RetryUnflagged,
        Self::SpacingFromRequest,
        Self::SweepStopsEarly,
        Self::TakesOutOfOrder,
        Self::TimeoutIsSuccess,
        Self::TwinsDispatched,
        Self::TwinsIgnored,
    ];
}

#[cfg(test)]
impl Engine {
    /// Makes this mistake from now on.
    pub(crate) fn sabotage(&mut self, sabotage: Option<Sabotage>) {
        self.sabotage = sabotage;
        self.evidence.sabotage(sabotage);
    }

    pub(super) fn sabotaged(&self, sabotage: Sabotage) -> bool {
        self.sabotage == Some(sabotage)
    }
}

#[cfg(not(test))]
impl Engine {
    #[allow(clippy::unused_self, reason = "asked like its counterpart in unit tests")]
    pub(super) const fn sabotaged(&self, _: Sabotage) -> bool {
        false
    }
}
