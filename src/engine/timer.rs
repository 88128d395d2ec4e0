//! What is due.

use super::Engine;
use super::sabotage::Sabotage;
use super::tables::{Phase, Timer};
use crate::model::{HoldId, Seq, Time};
use std::time::Duration;

impl Engine {
    /// Does everything that is due by now, in the order in which it became due.
    pub(super) fn fire_timers(&mut self) {
        while let Some((at, timer)) = self.timers.first().copied() {
            if at > self.now {
                break;
            }
            self.timers.pop_first();
            self.at_hand = None;
            match timer {
                Timer::Account(account) => self.place(account),
                Timer::CoolDown(account) => self.touch(account),
                Timer::Corp(corp) => self.reopen_hour(corp),
                Timer::Sender(sender) => self.wake_sender(sender),
                Timer::Scheduled(seq) => {
                    self.at_hand = Some(seq);
                    self.scheduled_comes_due(seq);
                }
                Timer::Doubt(seq) => {
                    self.at_hand = Some(seq);
                    self.doubt_ends(seq);
                }
                Timer::Grace(account) => self.grace_ends(account),
                Timer::Hold(hold) => {
                    let _ = self.release(HoldId(hold), None) || self.unblock(HoldId(hold), None);
                }
                Timer::Limits => self.limits_end(),
                Timer::LogLevel => self.log_level_ends(),
                Timer::Sweep => self.sweep(),
            }
        }
        while let Some((at, seq)) = self.deadlines.first() {
            if at > self.now {
                break;
            }
            self.deadlines.remove(&(at, seq));
            self.at_hand = Some(seq);
            self.deadline_passes(seq);
        }
        self.at_hand = None;
        self.forget();
    }

    fn scheduled_comes_due(&mut self, seq: Seq) {
        let Some(live) = self.live.get_mut(&seq) else { return };
        if live.phase != Phase::Scheduled {
            return;
        }
        live.phase = Phase::Queued;
        let (account, rank, earliest) = (live.account, live.rank(seq), live.earliest());
        let state = self.account_mut(account);
        state.scheduled.remove(&(earliest, seq));
        state.queue.insert(rank, ());
        self.touch(account);
        self.place_for(account, rank);
        self.expect_directory(account);
    }

    /// The broker has an answer. The first one counts where it is clearly later than the end, and any that is later
    /// than the window of deduplication: that window begins anew, and its beginning is returned. Who did not hear that
    /// a message was taken did not hear of its end either, and brings it again.
    pub(super) fn close_answer(&mut self, seq: Seq) -> Option<Time> {
        let (window, forgets) = (self.settings.messages.dedup_window, self.sabotaged(Sabotage::LateAnswerForgotten));
        let past = self.past.get_mut(&seq)?;
        past.answered = true;
        let is_first = !std::mem::replace(&mut past.told, true);
        if forgets {
            return None;
        }
        let is_late = (is_first && self.now > past.at + LATE_ANSWER) || self.now >= past.at + window;
        is_late.then(|| self.count_from(seq, self.now))
    }

    /// Lets a message be known for a whole window from `at` on.
    pub(super) fn count_from(&mut self, seq: Seq, at: Time) -> Time {
        if let Some(past) = self.past.get_mut(&seq) {
            past.at = at;
            self.forgetting.push_back((at, seq));
        }
        at
    }

    /// Forgets messages whose deduplication window is over.
    pub(super) fn forget(&mut self) {
        let window = self.settings.messages.dedup_window;
        while let Some((at, seq)) = self.forgetting.front().copied() {
            if at + window > self.now {
                break;
            }
            self.forgetting.pop_front();
            match self.past.get(&seq) {
                // It was corrected since, or answered late, and stands in the line once more.
                Some(past) if past.at > at => {}
                // The broker was away for the whole window: it stays known, and comes into the line with its answer.
                Some(past) if !past.answered => {}
                Some(past) => {
                    self.ids.remove(past.dedup, seq);
                    self.past.remove(&seq);
                    self.ledger.forgotten += 1;
                }
                None => {}
            }
        }
        self.transactions.forget(self.now);
        self.forget_evidence();
    }
}

/// An answer that is closed so much after the end is late. Less would write of each answer of a busy hour when it came.
const LATE_ANSWER: Duration = Duration::from_secs(30);
