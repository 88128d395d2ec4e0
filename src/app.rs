//! Takes the configuration apart, makes the channels, starts and stops the parts.

use crate::bridge::metrics::Format;
use crate::bridge::{self, Bridge, BridgeError, Edges, MetricsWindow};
use crate::clock::Clock;
use crate::config::Config;
use crate::crash;
use crate::intake::callback::http as callbacks;
use crate::intake::http::{self, Readiness};
use crate::intake::mqtt::{Acknowledgements, Intake, tell_link};
use crate::journal::{self, Journal};
use crate::model::{
    CallJob, CallbackTicket, Input, Job, LOOKUPS_MAX, Link, Lookup, NotSent, Publication, SenderName, Verdict,
};
use crate::mqtt::broker::Broker;
use crate::publisher::{self, Publisher};
use crate::sender::Sender;
use crate::supervisor::Supervisor;
use crate::{mqtt, telemetry};
use axum::Router;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

mod info;

mod parts;

mod resources;

#[cfg(test)]
mod sends_tests;

pub(crate) use parts::limit_settings;
pub use parts::mqtt_settings;
pub use resources::check_resources;

/// Answers published and not yet acknowledged by the broker, at most.
const PUBLISH_WINDOW: usize = 1000;

/// How long a stop waits for the bridge, which has bounds of its own. Only a commit that finds no room on the disk goes
/// beyond them.
const BRIDGE_STOP_MAX: Duration = Duration::from_secs(12);

/// A callback may be so large. The largest of the vendors' samples have some kilobytes.
const CALLBACK_BYTES_MAX: usize = 1024 * 1024;

/// The wait before an account list that could not be had is asked for again.
const DIRECTORY_RETRY: Duration = Duration::from_secs(5);

/// A running bridge with all its parts.
pub struct App {
    inputs: mpsc::Sender<Input>,
    publisher: publisher::Running,
    bridge: JoinHandle<Result<(), BridgeError>>,
    http: http::Server,
    intake_end: oneshot::Sender<()>,
    intake: JoinHandle<()>,
    commands: Intake,
    subscribed: watch::Receiver<bool>,
    commanded: watch::Receiver<bool>,
    publishing: watch::Receiver<bool>,
    supervisor: Supervisor,
    // Ends last: the other parts speak through it.
    _broker: Option<Broker>,
}

/// Why the bridge could not start, or could not go on.
#[derive(Debug)]
pub enum AppError {
    Topics(Vec<mqtt::topics::TopicError>),
    /// The `EncodingAESKey` of this callback is none.
    CallbackKey(String),
    BrokerUrl(mqtt::UrlError),
    Tls(mqtt::TlsError),
    Sender(SenderName, crate::sender::SettingsError),
    Journal(journal::OpenError),
    Restore(journal::ReadError),
    Broker {
        listen: SocketAddr,
        error: std::io::Error,
    },
    Http {
        listen: SocketAddr,
        error: std::io::Error,
    },
    Thread(std::io::Error),
    Supervisor(std::io::Error),
    Bridge(BridgeError),
    /// A stop could not write the last of what happened: the next start finds its attempts without an end.
    StopWithoutRoom,
}

impl AppError {
    /// Whether a person has to change something before another start can succeed. What may pass by itself, such as a
    /// lock or an address that the process before has not let go of yet, is not.
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Topics(_) | Self::CallbackKey(_) | Self::BrokerUrl(_) | Self::Tls(_) | Self::Sender(..) => true,
            Self::Journal(error) => error.is_lasting(),
            Self::Restore(_)
            | Self::Broker { .. }
            | Self::Http { .. }
            | Self::Thread(_)
            | Self::Supervisor(_)
            | Self::Bridge(_)
            | Self::StopWithoutRoom => false,
        }
    }
}

impl fmt::Display for AppError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topics(errors) => {
                let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
                write!(f, "topics: {}", errors.join("; "))
            }
            Self::CallbackKey(name) => write!(f, "callbacks: the aes_key of {name} is not 43 characters of base64"),
            Self::BrokerUrl(error) => write!(f, "mqtt.url: {error}"),
            Self::Tls(error) => write!(f, "mqtt: {error}"),
            Self::Sender(name, error) => write!(f, "sender {name}: {error}"),
            Self::Journal(error) => write!(f, "journal: {error}"),
            Self::Restore(error) => write!(f, "the journal cannot be read back: {error}"),
            Self::Broker { listen, error } => write!(f, "the built-in broker cannot listen on {listen}: {error}"),
            Self::Http { listen, error } => write!(f, "http.listen: cannot listen on {listen}: {error}"),
            Self::Thread(error) => write!(f, "no thread for questions to the journal: {error}"),
            Self::Supervisor(error) => write!(f, "no socket to whoever supervises the process: {error}"),
            Self::Bridge(error) => error.fmt(f),
            Self::StopWithoutRoom => f.write_str(
                "the journal could not be closed in time, because the disk has no room; what was acknowledged is kept",
            ),
        }
    }
}

impl std::error::Error for AppError {}

impl App {
    /// Starts everything. Returns once the journal is restored and the parts run; the broker may still be away.
    ///
    /// # Errors
    /// [`AppError`], and then nothing runs.
    pub async fn start(config: Config, supervisor: Supervisor) -> Result<Self, AppError> {
        let settings = parts::Settings::from(config)?;
        let broker = start_broker(settings.broker).await?;
        let journal = Journal::open(settings.journal).map_err(AppError::Journal)?;
        let clock = bridge::start_clock(&journal).await.map_err(BridgeError::Commit).map_err(AppError::Bridge)?;
        let (engine, refusals) =
            bridge::restore(&journal, settings.engine, clock.now()).await.map_err(AppError::Bridge)?;
        telemetry::restored(&engine.counters());
        crash::at("restored");
        let (inputs, inputs_due) = mpsc::channel(settings.inputs_max);
        let senders = start_senders(settings.senders, clock, &inputs)?;
        let (connected_set, publishing) = watch::channel(false);
        let topics = Arc::clone(&settings.intake.topics);
        let (publisher, running) =
            publisher::start(&settings.mqtt, topics, settings.info, PUBLISH_WINDOW, inputs.clone(), connected_set)
                .map_err(AppError::Tls)?;
        let (subscribed_set, subscribed) = watch::channel(false);
        let (commanded_set, commanded) = watch::channel(false);
        // A broker may deliver all that it has under way at once, whatever window it was given.
        let (orders, orders_due) = mpsc::channel(settings.inputs_max);
        let reading = Arc::new(settings.intake);
        let mut commands =
            Intake::new(Link::Commands, settings.mqtt.clone(), Arc::clone(&reading), orders.clone(), commanded_set);
        commands.open().map_err(AppError::Tls)?;
        let mut intake = Intake::new(Link::Incoming, settings.mqtt, reading, inputs.clone(), subscribed_set);
        intake.open().map_err(AppError::Tls)?;
        tokio::spawn(tell_link(Link::Incoming, subscribed.clone(), inputs.clone()));
        tokio::spawn(tell_link(Link::Commands, commanded.clone(), inputs.clone()));
        let acknowledgements = Acknowledgements::new(&intake, &commands);
        let (intake_switch, intake_wanted) = watch::channel(Wanted { open: true, closings: 0 });
        let (intake_end, intake_ended) = oneshot::channel();
        let counted = publisher.clone();
        let (watchers, took, metrics) = bridge::watch(clock, move || counted.dropped());
        let taken = callbacks::Taken::default();
        let mut heart = supervisor.heart().map_err(AppError::Supervisor)?;
        let edges = Edges {
            acknowledge: Box::new(move |ticket| acknowledgements.acknowledge(ticket)),
            send: perform_sends(&senders, inputs.clone(), clock, took),
            publish: publish_through(publisher),
            answer_callback: answer_callbacks(taken.clone()),
            look_up: look_up_in(&journal, orders.clone())?,
            call: make_calls(&senders, orders.clone()),
            refresh_directory: refresh_through(senders),
            set_log_level: Box::new(telemetry::log_from),
            open_intake: switch_intake(intake_switch),
            beat: Box::new(move |now| heart.beat(now)),
        };
        let readiness =
            Readiness { subscribed: subscribed.clone(), commanded: commanded.clone(), publishing: publishing.clone() };
        let callbacks = callbacks::routes(settings.callbacks, CALLBACK_BYTES_MAX, inputs.clone(), clock, taken);
        let http = serve_http(settings.http, readiness, metrics, callbacks).await?;
        let bridge = Bridge::new(engine, journal, clock, inputs_due, orders_due, edges, refusals).watched_by(watchers);
        Ok(Self {
            inputs,
            publisher: running,
            bridge: tokio::spawn(bridge.run()),
            http,
            intake_end,
            intake: tokio::spawn(keep_intake(intake, intake_wanted, intake_ended)),
            commands,
            subscribed,
            commanded,
            publishing,
            supervisor,
            _broker: broker,
        })
    }

    /// Where the HTTP server listens.
    pub fn http_address(&self) -> SocketAddr {
        self.http.address()
    }

    /// Returns when the broker delivers and takes answers: at once if it does already.
    pub async fn ready(&mut self) {
        // The senders of all live as long as this does.
        let _ = self.subscribed.wait_for(|subscribed| *subscribed).await;
        let _ = self.commanded.wait_for(|commanded| *commanded).await;
        let _ = self.publishing.wait_for(|publishing| *publishing).await;
    }

    /// Returns when `stop` does and everything has been stopped after it, or when the bridge cannot go on.
    ///
    /// A stop takes no more messages, lets requests in flight end, gives the broker the answers, says `stopped`, and
    /// closes the journal: 25 s at most.
    ///
    /// # Errors
    /// [`AppError::Bridge`] when the process has to end at once, [`AppError::StopWithoutRoom`] when a full disk kept it
    /// from a clean stop.
    pub async fn run_until(mut self, stop: impl Future<Output = ()>) -> Result<(), AppError> {
        telemetry::told(self.supervisor.ready());
        tokio::select! {
            ended = &mut self.bridge => return bridge_ended(ended),
            () = stop => {}
        }
        telemetry::stopping();
        telemetry::told(self.supervisor.stopping());
        // The bridge closes intake itself, once what it took is acknowledged. A bridge that is gone has said why.
        let stopped = async {
            let _ = self.inputs.send(Input::Stop).await;
            (&mut self.bridge).await
        };
        let Ok(ended) = tokio::time::timeout(BRIDGE_STOP_MAX, stopped).await else {
            return Err(AppError::StopWithoutRoom);
        };
        // An intake that is gone is closed.
        let _ = self.intake_end.send(());
        let _ = self.intake.await;
        // Behind the acknowledgements of all that the bridge did.
        self.commands.close().await;
        tokio::join!(self.publisher.stop(), self.http.stop());
        bridge_ended(ended)
    }
}

fn bridge_ended(ended: Result<Result<(), BridgeError>, tokio::task::JoinError>) -> Result<(), AppError> {
    match ended {
        Ok(result) => result.map_err(AppError::Bridge),
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// What the bridge wants of intake.
#[derive(Clone, Copy)]
struct Wanted {
    open: bool,
    /// How often it was to be closed. What came meanwhile was not acknowledged, and comes again over a new connection
    /// only; so none may be missed, however soon intake was to be opened again.
    closings: u64,
}

fn switch_intake(switch: watch::Sender<Wanted>) -> Box<dyn FnMut(bool) + Send> {
    Box::new(move |open| {
        telemetry::intake_switched(open);
        switch.send_modify(|wanted| {
            wanted.open = open;
            wanted.closings += u64::from(!open);
        });
    })
}

async fn start_broker(listen: Option<SocketAddr>) -> Result<Option<Broker>, AppError> {
    let Some(listen) = listen else { return Ok(None) };
    Broker::start(listen).await.map(Some).map_err(|error| AppError::Broker { listen, error })
}

fn start_senders(
    settings: Vec<(crate::sender::Settings, Duration)>,
    clock: Clock,
    inputs: &mpsc::Sender<Input>,
) -> Result<Senders, AppError> {
    let start = |(settings, refresh_interval): (crate::sender::Settings, Duration)| {
        let name = settings.name.clone();
        let sender = Sender::new(&settings, clock).map_err(|error| AppError::Sender(name.clone(), error))?;
        let sender = Arc::new(sender);
        let refresh = spawn_directory(Arc::clone(&sender), refresh_interval, inputs.clone());
        Ok((name, (sender, refresh)))
    };
    settings.into_iter().map(start).collect()
}

fn refresh_through(senders: Senders) -> Box<dyn FnMut(SenderName) + Send> {
    Box::new(move |name| {
        if let Some((_, refresh)) = senders.get(&name) {
            // One that waits already is as good.
            let _ = refresh.try_send(());
        }
    })
}

/// Opens and closes intake as the bridge wants it, until `end`: from then on it is closed whatever the bridge wants.
async fn keep_intake(mut intake: Intake, mut wanted: watch::Receiver<Wanted>, mut end: oneshot::Receiver<()>) {
    let mut closed = 0;
    loop {
        let Wanted { open, closings } = *wanted.borrow_and_update();
        if std::mem::replace(&mut closed, closings) != closings {
            intake.close().await;
        }
        if open && let Err(error) = intake.open() {
            // The same certificates were good at the start.
            telemetry::intake_not_opened(&error);
        }
        let goes_on = tokio::select! {
            biased;
            _ = &mut end => false,
            changed = wanted.changed() => changed.is_ok(),
        };
        if !goes_on {
            return intake.close().await;
        }
    }
}

async fn serve_http(
    listen: SocketAddr,
    readiness: Readiness,
    metrics: MetricsWindow,
    callbacks: Router,
) -> Result<http::Server, AppError> {
    let http = http::serve(listen, readiness, metrics_page(metrics), callbacks)
        .await
        .map_err(|error| AppError::Http { listen, error })?;
    telemetry::http_listening(http.address());
    Ok(http)
}

fn metrics_page(window: MetricsWindow) -> http::Metrics {
    http::Metrics::new(move |open_metrics| {
        let window = window.clone();
        let format = if open_metrics { Format::OpenMetrics } else { Format::Plain };
        Box::pin(async move { window.text(format).await })
    })
}

type Senders = BTreeMap<SenderName, (Arc<Sender>, mpsc::Sender<()>)>;

fn perform_sends(
    senders: &Senders,
    inputs: mpsc::Sender<Input>,
    clock: Clock,
    took: mpsc::Sender<Duration>,
) -> Box<dyn FnMut(Job) + Send> {
    let senders: BTreeMap<SenderName, Arc<Sender>> =
        senders.iter().map(|(name, (sender, _))| (name.clone(), Arc::clone(sender))).collect();
    Box::new(move |job| {
        let Job { seq, attempt, sender, kind, body, at, expires_at } = job;
        let Some(sender) = senders.get(&sender).map(Arc::clone) else { return };
        let (inputs, took) = (inputs.clone(), took.clone());
        tokio::spawn(async move {
            // A timer of tokio takes up to a millisecond even where its moment is over.
            if at > clock.now() {
                clock.sleep_until(Some(at)).await;
            }
            let begun_at = clock.now();
            let (verdict, at) = if begun_at < expires_at {
                // In a box, because a task is copied whole, at its start and at its end.
                let verdict = Box::pin(sender.perform(seq, attempt, &kind, body)).await;
                let at = clock.now();
                // Where there is no room it is not measured.
                let _ = took.try_send(at.since(begun_at));
                (verdict, at)
            } else {
                let detail = Box::from("its time was over before the request");
                (Verdict::NotSent { why: NotSent::Expired, detail }, begun_at)
            };
            // Without a bridge the attempt stays open in the journal, which is the truth about it.
            let _ = inputs.send(Input::Ended { seq, attempt, at, verdict }).await;
        });
    })
}

/// Ends come with the commands, which never wait for messages.
fn make_calls(senders: &Senders, ends: mpsc::Sender<Input>) -> Box<dyn FnMut(CallJob) + Send> {
    let senders: BTreeMap<SenderName, Arc<Sender>> =
        senders.iter().map(|(name, (sender, _))| (name.clone(), Arc::clone(sender))).collect();
    Box::new(move |job| {
        let Some(sender) = senders.get(&job.sender).map(Arc::clone) else { return };
        let ends = ends.clone();
        tokio::spawn(async move {
            let number = job.number;
            let result = Box::new(sender.call(job).await);
            // Without a bridge the journal says that nobody knows, which is the truth about it.
            let _ = ends.send(Input::Called { number, result }).await;
        });
    })
}

fn answer_callbacks(taken: callbacks::Taken) -> Box<dyn FnMut(CallbackTicket, bool) + Send> {
    Box::new(move |ticket, is_taken| if is_taken { taken.tell(ticket) } else { taken.refuse(ticket) })
}

fn publish_through(publisher: Publisher) -> Box<dyn FnMut(Publication) + Send> {
    Box::new(move |publication| publisher.publish(publication))
}

/// Questions wait in line for one thread that may block. The line has room for all that the engine lets wait.
fn look_up_in(journal: &Journal, answers: mpsc::Sender<Input>) -> Result<Box<dyn FnMut(Lookup) + Send>, AppError> {
    let reader = journal.reader().map_err(AppError::Restore)?;
    let (questions, questions_due) = std::sync::mpsc::sync_channel::<Lookup>(LOOKUPS_MAX);
    std::thread::Builder::new()
        .name("look-up".to_owned())
        .spawn(move || {
            while let Ok(lookup) = questions_due.recv() {
                if answers.blocking_send(Input::Found(Box::new(reader.answer(&lookup)))).is_err() {
                    return;
                }
            }
        })
        .map_err(AppError::Thread)?;
    Ok(Box::new(move |lookup| {
        if questions.try_send(lookup).is_err() {
            telemetry::question_lost();
        }
    }))
}

/// Reads the account list at start, every `interval`, and when asked.
fn spawn_directory(sender: Arc<Sender>, interval: Duration, inputs: mpsc::Sender<Input>) -> mpsc::Sender<()> {
    let (refresh, mut asked) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let name = sender.name().clone();
            let (input, wait) = match sender.directory().await {
                Ok(entries) => (Input::Directory { sender: name, entries }, interval),
                Err(trouble) => (Input::DirectoryFailed { sender: name, trouble }, interval.min(DIRECTORY_RETRY)),
            };
            if inputs.send(input).await.is_err() {
                return;
            }
            tokio::select! {
                asked = asked.recv() => if asked.is_none() { return },
                () = tokio::time::sleep(wait) => {}
            }
        }
    });
    refresh
}
