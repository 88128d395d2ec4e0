//! `sendbridge watch`: a live view of a bridge, made from its topics alone, on this machine or another.
//!
//! ```text
//!  broker --> viewer --topics--> model <--keys-- terminal
//!     ^                          |   '--draw--> screen
//!     '-------- commands --------'
//! ```
//!
//! # Invariants
//!
//! - The model and the drawing are pure; this file and `terminal.rs` are all that waits, reads a clock or writes.
//! - Nothing is ordered unless a person pressed a key for it and confirmed it.
//! - What strangers chose reaches the terminal only through `draw/row.rs`, which leaves its control characters behind.

mod draw;
mod model;
mod options;
#[cfg(test)]
mod scripted;
mod terminal;

pub use options::Options;

use super::broker::FileError;
use super::stop::StopSignals;
use super::{print, print_error};
use crate::app::AppError;
use crate::clock::{Clock, random_uuid};
use crate::config::{self, Problems};
use crate::mqtt::topics::Unfit;
use crate::mqtt::{Publish, Qos, TlsError, ViewOutlet, Viewed, connect_viewer};
use draw::Theme;
use model::{Effect, Model, Watching};
use options::Place;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use std::fmt;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;
use terminal::{FromTerminal, Taken};
use tokio::sync::mpsc;

/// Topics that wait to be taken in; the connection waits when there are more.
const VIEWED_MAX: usize = 4_096;
/// Between two drawings while topics keep coming.
const DRAW_INTERVAL: Duration = Duration::from_millis(100);
/// Ages grow although nothing comes.
const TICK: Duration = Duration::from_secs(1);
const CLOSE_WAIT: Duration = Duration::from_millis(500);
/// A terminal that takes nothing any more must not keep the process.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// The exit code when standard output is no terminal: something else was meant.
const EXIT_USAGE: u8 = 2;
/// The exit code when no bridge answers (EX_UNAVAILABLE).
const EXIT_UNAVAILABLE: u8 = 69;

/// Why there is nothing to watch.
#[derive(Debug)]
pub(super) enum WatchError {
    NoTerminal,
    Configuration(Problems),
    Broker(AppError),
    Base {
        base: String,
        why: Unfit,
    },
    File(FileError),
    Tls(TlsError),
    Signals(io::Error),
    Terminal(io::Error),
    /// With `--once`: how long was waited, and what is known about why.
    NoAnswer {
        wait: Duration,
        known: String,
    },
}

impl WatchError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::NoTerminal => EXIT_USAGE,
            Self::Configuration(_) | Self::Broker(_) | Self::Base { .. } | Self::File(_) | Self::Tls(_) => {
                config::EXIT_CODE
            }
            Self::Signals(_) | Self::Terminal(_) => 1,
            Self::NoAnswer { .. } => EXIT_UNAVAILABLE,
        }
    }
}

impl fmt::Display for WatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTerminal => f.write_str(
                "standard output is no terminal: run it in one, or use --once, which prints what is known as text",
            ),
            Self::Configuration(problems) => problems.fmt(f),
            Self::Broker(error) => error.fmt(f),
            Self::Base { base, why } => write!(f, "--base {base:?} {why}"),
            Self::File(error) => error.fmt(f),
            Self::Tls(error) => error.fmt(f),
            Self::Signals(error) => write!(f, "signals cannot be listened to: {error}"),
            Self::Terminal(error) => write!(f, "the terminal cannot be used: {error}"),
            Self::NoAnswer { wait, known } => {
                write!(f, "no bridge answered within {}: {known}", humantime::format_duration(*wait))
            }
        }
    }
}

impl std::error::Error for WatchError {}

/// Watches until it is told to stop: 0 then. 2 without a terminal, 69 when `--once` finds no bridge, 78 when the
/// configuration or a file is wrong.
pub async fn run(options: Options) -> ExitCode {
    let watched = if options.once { once(&options).await } else { live(&options).await };
    match watched {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(&format!("sendbridge watch: {}\n", error.to_string().trim_end()));
            ExitCode::from(error.exit_code())
        }
    }
}

/// What both ways of watching are made of.
struct Watch {
    model: Model,
    clock: Clock,
    viewer: crate::mqtt::Viewer,
    viewed: mpsc::Receiver<Viewed>,
    /// Of the present connection.
    outlet: Option<ViewOutlet>,
}

impl Watch {
    fn start(options: &Options) -> Result<Self, WatchError> {
        let Place { settings, topics } = Place::of(options)?;
        let clock = Clock::start();
        let watching = Watching {
            url: settings.url.to_string(),
            topics: topics.clone(),
            by: options::by(),
            session: format!("watch-{}", random_uuid().simple()),
            zone: jiff::tz::TimeZone::system(),
        };
        let (events, viewed) = mpsc::channel(VIEWED_MAX);
        let viewer = connect_viewer(&settings, topics.subscriptions(), events).map_err(WatchError::Tls)?;
        Ok(Self { model: Model::new(watching, clock.now()), clock, viewer, viewed, outlet: None })
    }

    /// Takes in one thing that happened on the connection.
    fn view(&mut self, viewed: Viewed) {
        let now = self.clock.now();
        match viewed {
            Viewed::Connected(outlet) => {
                self.outlet = Some(outlet);
                self.model.connected(now);
            }
            Viewed::Subscribed { refused } => self.model.subscribed(refused),
            Viewed::Message { topic, payload, stored } => self.model.hear(&topic, &payload, stored, now),
            Viewed::Disconnected { why, wait } => {
                self.outlet = None;
                self.model.disconnected(why.to_string(), now + wait, now);
            }
        }
    }

    /// Takes in what waits, but no more than fits the channel, so that keys and drawings have their turn.
    fn view_waiting(&mut self) {
        for _ in 0..VIEWED_MAX {
            let Ok(viewed) = self.viewed.try_recv() else { return };
            self.view(viewed);
        }
    }

    /// Does what a key asked for. True when that was to quit.
    fn perform(&mut self, effect: Effect) -> bool {
        match effect {
            Effect::Quit => true,
            Effect::Publish { topic, payload, transaction } => {
                let publish = Publish { qos: Qos::AtMostOnce, ..Publish::new(topic, payload) };
                if !self.outlet.as_ref().is_some_and(|outlet| outlet.publish(publish)) {
                    self.model.not_sent(&transaction);
                }
                false
            }
        }
    }
}

async fn live(options: &Options) -> Result<(), WatchError> {
    if !io::stdout().is_terminal() {
        return Err(WatchError::NoTerminal);
    }
    let mut stop = StopSignals::listen().map_err(WatchError::Signals)?;
    let mut watch = Watch::start(options)?;
    let theme = Theme { colours: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) };
    let taken = Taken::take().map_err(WatchError::Terminal)?;
    let backend = CrosstermBackend::new(io::stdout());
    let mut terminal = Terminal::new(backend).map_err(WatchError::Terminal)?;
    let mut keys = terminal::read_keys().map_err(WatchError::Terminal)?;
    let mut draw_at = watch.clock.now();
    loop {
        tokio::select! {
            () = stop.requested() => break,
            Some(key) = keys.recv() => match key {
                FromTerminal::Key(key) => {
                    watch.model.tick(watch.clock.now());
                    let effect = watch.model.press(&key);
                    if effect.is_some_and(|effect| watch.perform(effect)) {
                        break;
                    }
                    draw_at = watch.clock.now();
                }
                FromTerminal::Resized => draw_at = watch.clock.now(),
                // Nobody can see it or end it any more.
                FromTerminal::Gone => break,
            },
            Some(viewed) = watch.viewed.recv() => {
                watch.view(viewed);
                watch.view_waiting();
                draw_at = draw_at.min(watch.clock.now() + DRAW_INTERVAL);
            }
            () = watch.clock.sleep_until(Some(draw_at)) => {
                watch.model.tick(watch.clock.now());
                let drawn = terminal.draw(|frame| draw::draw(&watch.model, theme, frame.buffer_mut()));
                if drawn.is_err() {
                    break;
                }
                draw_at = watch.clock.now() + TICK;
            }
        }
    }
    end_in_time();
    drop(taken);
    watch.viewer.close(CLOSE_WAIT).await;
    Ok(())
}

/// Ends the process should giving the terminal back hang, as it does where nobody reads what is written.
fn end_in_time() {
    tokio::spawn(async {
        tokio::time::sleep(STOP_PATIENCE).await;
        std::process::exit(1);
    });
}

async fn once(options: &Options) -> Result<(), WatchError> {
    let mut watch = Watch::start(options)?;
    let deadline = watch.clock.now() + options.wait;
    let mut question: Option<String> = None;
    loop {
        // A broker hands over what is stored as soon as it grants the subscription, so it is here before the reply.
        if question.as_deref().is_some_and(|question| watch.model.is_answered(question)) {
            break;
        }
        tokio::select! {
            biased;
            Some(viewed) = watch.viewed.recv() => {
                let is_subscribed = matches!(viewed, Viewed::Subscribed { .. });
                watch.view(viewed);
                if is_subscribed {
                    question = ask(&mut watch);
                }
            }
            () = watch.clock.sleep_until(Some(deadline)) => {
                return Err(WatchError::NoAnswer { wait: options.wait, known: known(&watch.model) });
            }
        }
    }
    watch.model.tick(watch.clock.now());
    for line in draw::snapshot(&watch.model) {
        print(&format!("{line}\n"));
    }
    watch.viewer.close(CLOSE_WAIT).await;
    Ok(())
}

/// Asks the bridge for a sign of life.
fn ask(watch: &mut Watch) -> Option<String> {
    let (effect, transaction) = watch.model.ask_for_health()?;
    watch.perform(effect);
    Some(transaction)
}

/// Why there may have been no answer.
fn known(model: &Model) -> String {
    match (&model.link, &model.bridge) {
        (model::Link::Down { why, .. }, _) => format!("no connection to {}: {why}", model.url),
        (model::Link::Connecting, _) => format!("no connection to {} yet", model.url),
        (model::Link::Up, Some(model::BridgeState::Offline)) => "it is offline, says the broker".to_owned(),
        (model::Link::Up, Some(model::BridgeState::Stopped)) => "it was stopped".to_owned(),
        (model::Link::Up, _) => {
            format!(
                "the broker is there; is the base {:?} right, and may we write to its request topics?",
                model.base()
            )
        }
    }
}
