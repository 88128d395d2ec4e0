//! Who waits for a forecast that is played elsewhere.

use super::{FRESH, Forecast, Play, STALE, Watch};
use crate::engine::Engine;
use crate::model::{Action, Code, Command, CommandOrigin, Fault, MessagesReport, Reply, Seq, State, Time};
use std::collections::BTreeSet;

/// Questions that wait for a forecast, at most.
const ASKS_MAX: usize = 256;
/// For each second that a play takes, so many pass before the next one that nobody asked for.
const REST: u32 = 4;

/// A question that is answered with the next forecast.
#[derive(Debug)]
pub(in crate::engine) enum Ask {
    /// About accounts or companies.
    Question { origin: CommandOrigin, command: Command },
    /// About messages, as the journal knows them.
    Reports { origin: CommandOrigin, states: Vec<State>, is_list: bool, reports: MessagesReport },
}

impl Ask {
    fn messages(&self) -> &[crate::model::MessageReport] {
        match self {
            Self::Question { .. } => &[],
            Self::Reports { reports, .. } => &reports.messages,
        }
    }
}

impl Engine {
    /// What is to be played now, on whatever thread, and brought back to [`handle_forecast`](Self::handle_forecast).
    /// `None` while there is nothing to play, and until the last one is back.
    pub fn poll_play(&mut self, now: Time) -> Option<Box<Play>> {
        self.set_now(now);
        self.play_due().filter(|due| *due <= self.now)?;
        let asks = std::mem::take(&mut self.forecasts.asks);
        let seqs: BTreeSet<Seq> = asks.iter().flat_map(Ask::messages).map(|report| Seq(report.seq)).collect();
        self.forecasts.playing = Some((self.now, asks));
        Some(Box::new(Play::new(self, Watch::These(seqs))))
    }

    /// When [`poll_play`](Self::poll_play) has something to play even if nothing happens.
    pub fn play_due(&self) -> Option<Time> {
        if self.forecasts.playing.is_some() {
            return None;
        }
        if !self.forecasts.asks.is_empty() {
            return Some(self.now);
        }
        let is_current = self.forecasts.kept().changes == self.changes;
        (self.many_wait() && !is_current && !self.stopping).then_some(self.forecasts.again_at)
    }

    /// What a play told; `None` when it failed, and then whoever waits for it is told what is known without.
    pub fn handle_forecast(&mut self, forecast: Option<Forecast>, now: Time) {
        self.set_now(now);
        self.at_hand = None;
        let Some((since, asks)) = self.forecasts.playing.take() else { return };
        let rest = if self.board_is_on() { FRESH } else { STALE };
        self.forecasts.again_at = self.now + rest.max(self.now.since(since) * REST);
        match forecast {
            Some(forecast) => drop(self.forecasts.keep(forecast)),
            None => self.forecasts.again_at = self.now + STALE,
        }
        for ask in asks {
            match ask {
                Ask::Question { origin, command } => self.answer_now(origin, command),
                Ask::Reports { origin, states, is_list, reports } => {
                    let result = self.complete(reports, &states, is_list);
                    self.act(Action::Reply(Reply { origin, result }));
                }
            }
        }
    }

    /// Whether the forecast at hand tells of a moment before the last change, and a newer one takes its time.
    pub(in crate::engine) fn must_wait_for_forecast(&self) -> bool {
        self.many_wait() && !self.stopping && self.forecasts.kept().changes != self.changes
    }

    /// The same for what is asked about single messages: the forecast at hand noted others.
    pub(in crate::engine) fn must_play_for_messages(&self) -> bool {
        self.many_wait() && !self.stopping
    }

    pub(in crate::engine) fn wait_for_forecast(&mut self, ask: Ask) {
        if self.forecasts.asks.len() < ASKS_MAX {
            return self.forecasts.asks.push(ask);
        }
        let (Ask::Question { origin, .. } | Ask::Reports { origin, .. }) = ask;
        let message =
            "too many questions wait for a forecast: ask again, and wait for one reply before the next question";
        self.act(Action::Reply(Reply { origin, result: Err(Fault::new(Code::QueueFull, message)) }));
    }
}
