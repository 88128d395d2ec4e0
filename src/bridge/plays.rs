//! Forecasts are played beside the loop, one at a time: a long one takes seconds.

use super::{Bridge, BridgeError, poison};
use crate::contain;
use crate::engine::{Forecast, Play};
use crate::model::Time;
use crate::telemetry;
use std::thread;
use tokio::sync::oneshot;

/// The play that is under way, if there is one. It is not waited for at a stop: its thread ends with the process.
#[derive(Default)]
pub(super) struct Plays {
    under_way: Option<oneshot::Receiver<Forecast>>,
}

impl Plays {
    fn begin(&mut self, play: Box<Play>) {
        let (told, tells) = oneshot::channel();
        self.under_way = Some(tells);
        // Where there is no thread for it, or it panics, nothing is told: the loop hears that as well.
        let play = move || {
            if let Some(forecast) = contain::contained(|| play.run()) {
                // A loop that is gone needs none.
                let _ = told.send(forecast);
            }
        };
        let _ = thread::Builder::new().name("forecast".to_owned()).spawn(play);
    }

    /// What the play told; `None` when it failed. Never returns while there is none under way.
    pub(super) async fn next(&mut self) -> Option<Forecast> {
        let Some(under_way) = &mut self.under_way else { return std::future::pending().await };
        let told = under_way.await.ok();
        self.under_way = None;
        if told.is_none() {
            telemetry::forecast_failed();
        }
        told
    }
}

impl Bridge {
    pub(super) async fn take_forecast(&mut self, forecast: Option<Forecast>) -> Result<(), BridgeError> {
        let now = self.clock.now();
        match contain::contained(|| self.engine.handle_forecast(forecast, now)) {
            Some(()) => Ok(()),
            None => Err(self.accuse(poison::Name::Nobody).await),
        }
    }

    /// Begins what the engine wants to know, and says when it will want to know more.
    pub(super) async fn play(&mut self, now: Time) -> Result<Option<Time>, BridgeError> {
        match contain::contained(|| self.engine.poll_play(now)) {
            Some(Some(play)) => self.plays.begin(play),
            Some(None) => {}
            None => return Err(self.accuse(poison::Name::Nobody).await),
        }
        Ok(self.engine.play_due())
    }
}
