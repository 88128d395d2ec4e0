//! Runs the bridge, stops it and starts it again on the same journal.

use crate::app::{App, AppError};
use crate::config::Config;
use crate::supervisor::Supervisor;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// What became of the bridge.
#[derive(Debug)]
pub enum Report {
    /// It runs, and the broker delivers to it.
    Up,
    /// It stopped in order, all its answers given.
    Down,
    Failed(AppError),
}

/// A bridge that is started and stopped by turns.
pub struct Keeper {
    turns: mpsc::Sender<()>,
    pub reports: mpsc::Receiver<Report>,
    task: JoinHandle<()>,
}

/// A stop takes 15 s at most, and the start behind it is short.
const END_WAIT: Duration = Duration::from_secs(20);

impl Keeper {
    /// Starts the bridge.
    pub fn start(config: Config) -> Self {
        let (turns, turns_due) = mpsc::channel(2);
        let (reporting, reports) = mpsc::channel(4);
        Self { turns, reports, task: tokio::spawn(keep(config, turns_due, reporting)) }
    }

    /// Stops a bridge that runs, starts one that is stopped. A report follows.
    pub fn turn(&self) {
        // Two turns at most wait, and the demo takes no more than two.
        let _ = self.turns.try_send(());
    }

    /// Stops the bridge if it runs. False when it did not stop in time.
    pub async fn end(self) -> bool {
        let Self { turns, reports, mut task } = self;
        drop((turns, reports));
        let ended = tokio::time::timeout(END_WAIT, &mut task).await.is_ok();
        task.abort();
        ended
    }
}

async fn keep(config: Config, mut turns: mpsc::Receiver<()>, reports: mpsc::Sender<Report>) {
    loop {
        let ended = match App::start(config.clone(), Supervisor::default()).await {
            Ok(app) => run(app, &mut turns, &reports).await,
            Err(error) => Err(error),
        };
        // Without a listener there is nobody left to tell.
        match ended {
            Ok(()) => drop(reports.send(Report::Down).await),
            Err(error) => return drop(reports.send(Report::Failed(error)).await),
        }
        if turns.recv().await.is_none() {
            return;
        }
    }
}

async fn run(mut app: App, turns: &mut mpsc::Receiver<()>, reports: &mpsc::Sender<Report>) -> Result<(), AppError> {
    let told_to_stop = tokio::select! {
        () = app.ready() => false,
        _ = turns.recv() => true,
    };
    let stop = async {
        if !told_to_stop {
            let _ = reports.send(Report::Up).await;
            let _ = turns.recv().await;
        }
    };
    app.run_until(stop).await
}
