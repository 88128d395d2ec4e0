//! The load generator: publishes messages, waits for their answers, and reports what it saw in one line.

use crate::client;
use crate::proc::{self, Counts};
use rumqttc::{AsyncClient, Event, EventLoop, Packet, QoS};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc};

/// How long answers are waited for when nothing is published any more.
const DRAIN_MAX: Duration = Duration::from_secs(15);
/// How often a message is published before the program under test has answered its first.
const PROBE_INTERVAL: Duration = Duration::from_millis(100);
/// Longer than any program under test needs to start.
const PROBE_MAX: Duration = Duration::from_secs(30);

/// Messages that are due and wait for a late loop: a minute of them at 500 a second.
const DUES_MAX: usize = 30_000;

/// What to publish.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// Messages until one is answered.
    Probe,
    /// So many messages unanswered at any time.
    Closed { outstanding: usize },
    /// The same, after a first message for each account, one after the other over so long.
    Spread { outstanding: usize, over: Duration },
    /// So many messages a second, whatever is answered.
    Open { per_second: u32 },
}

/// For whose accounts messages are.
#[derive(Clone, Copy, Debug)]
pub enum Who {
    All,
    /// The first half of the companies.
    Held,
    /// The second half.
    Free,
}

impl Who {
    pub const fn word(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Held => "held",
            Self::Free => "free",
        }
    }

    pub fn parse(word: &str) -> Self {
        let known = [Self::All, Self::Held, Self::Free].into_iter().find(|who| who.word() == word);
        known.unwrap_or_else(|| panic!("{word:?} are no companies"))
    }

    /// The account of a message, by its number. Account and company go by the same number.
    fn account(self, number: u64) -> u32 {
        let (accounts, corps) = (u64::from(crate::ACCOUNTS), u64::from(crate::sender::CORPS));
        let half = corps / 2;
        let number = match self {
            Self::All => number,
            Self::Held => number / half * corps + number % half,
            Self::Free => number / half * corps + number % half + half,
        };
        (number % accounts) as u32
    }
}

/// One run of the load generator.
#[derive(Clone, Debug)]
pub struct Load {
    pub broker_port: u16,
    pub pace: Pace,
    pub who: Who,
    /// How long it runs before anything counts.
    pub warm_up: Duration,
    /// How long it counts.
    pub window: Duration,
    /// Ids begin with it, so that no two runs use one twice.
    pub name: String,
    /// The program under test and the broker.
    pub watched: [u32; 2],
    /// The journal whose commits are counted.
    pub journal: String,
}

/// What both tasks share.
struct Desk {
    name: String,
    who: Who,
    slots: Semaphore,
    /// When each message was due, by its number.
    due: Mutex<Vec<Option<Instant>>>,
    published: AtomicU64,
    answered: AtomicU64,
    errors: AtomicU64,
    /// When each answer came, and how long it took.
    latencies: Mutex<Vec<(Instant, Duration)>>,
}

/// Runs the load and prints one line for [`crate::measure`].
pub fn run(load: &Load) {
    crate::run_alone(async {
        let id = format!("load-{}", load.name);
        let (client, event_loop) = client::connect(client::options(&id, load.broker_port, 2000));
        let outstanding = match load.pace {
            Pace::Closed { outstanding } | Pace::Spread { outstanding, .. } => outstanding,
            Pace::Probe | Pace::Open { .. } => 0,
        };
        let desk = Arc::new(Desk {
            name: load.name.clone(),
            who: load.who,
            slots: Semaphore::new(outstanding),
            due: Mutex::default(),
            published: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            latencies: Mutex::default(),
        });
        let (subscribed, seen) = tokio::sync::oneshot::channel();
        let listening = tokio::spawn(listen(event_loop, Arc::clone(&desk), subscribed));
        client.subscribe("SendMessageResp", QoS::AtLeastOnce).await.expect("room in the queue");
        seen.await.expect("the broker takes it");
        match load.pace {
            Pace::Probe => probe(&client, &desk).await,
            Pace::Closed { .. } | Pace::Spread { .. } | Pace::Open { .. } => measure(load, &client, &desk).await,
        }
        listening.abort();
    });
}

/// Subscribes to every event, and reads them until the process is ended.
pub fn listen_to_events(broker_port: u16) {
    crate::run_alone(async {
        let (client, mut event_loop) = client::connect(client::options("listener", broker_port, 100));
        client.subscribe("sendbridge/event/#", QoS::AtMostOnce).await.expect("room in the queue");
        loop {
            if let Event::Incoming(Packet::SubAck(_)) = event_loop.poll().await.expect("the broker stays") {
                println!("ready");
            }
        }
    });
}

async fn listen(mut event_loop: EventLoop, desk: Arc<Desk>, subscribed: tokio::sync::oneshot::Sender<()>) {
    let mut subscribed = Some(subscribed);
    loop {
        match event_loop.poll().await.expect("the broker stays") {
            Event::Incoming(Packet::SubAck(_)) => {
                if let Some(subscribed) = subscribed.take() {
                    let _ = subscribed.send(());
                }
            }
            Event::Incoming(Packet::Publish(answer)) => desk.take_answer(&answer.payload),
            Event::Incoming(_) | Event::Outgoing(_) => {}
        }
    }
}

impl Desk {
    fn take_answer(&self, answer: &[u8]) {
        let now = Instant::now();
        let answer = std::str::from_utf8(answer).expect("UTF-8");
        // Answers to an earlier run's messages are none of ours.
        let Some((_, rest)) = answer.split_once(&format!("\"{}-", self.name)) else { return };
        let number: usize = rest.split('"').next().and_then(|number| number.parse().ok()).expect("our id");
        let Some(due) = self.due.lock().expect("not poisoned").get_mut(number).and_then(Option::take) else {
            self.errors.fetch_add(1, Ordering::Relaxed);
            return;
        };
        if !answer.contains("\"msgId\"") {
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
        self.answered.fetch_add(1, Ordering::Relaxed);
        self.latencies.lock().expect("not poisoned").push((now, now - due));
        self.slots.add_permits(1);
    }

    async fn publish(&self, client: &AsyncClient, due: Instant) {
        let number = self.published.fetch_add(1, Ordering::Relaxed);
        {
            let mut dues = self.due.lock().expect("not poisoned");
            dues.push(Some(due));
        }
        let body = message(&self.name, number, self.who);
        client.publish("SendMessage", QoS::AtLeastOnce, false, body).await.expect("a running loop");
    }
}

/// About 280 bytes.
pub fn message(name: &str, number: u64, who: Who) -> String {
    let account = crate::account(who.account(number));
    format!(
        r#"{{"wxId":"{account}","conversationId":"S:{account}_7881301954974667","content":"订单已经发货，请注意查收。Your order has been shipped and will reach you within three working days; thank you.","type":"text","note":"{number:032}","id":"{name}-{number}"}}"#
    )
}

async fn probe(client: &AsyncClient, desk: &Desk) {
    let started = Instant::now();
    while desk.answered.load(Ordering::Relaxed) == 0 {
        assert!(started.elapsed() < PROBE_MAX, "the program under test does not answer");
        desk.publish(client, Instant::now()).await;
        tokio::time::sleep(PROBE_INTERVAL).await;
    }
    println!("ready");
}

async fn measure(load: &Load, client: &AsyncClient, desk: &Arc<Desk>) {
    let publishing = tokio::spawn(publish(load.pace, client.clone(), Arc::clone(desk)));
    tokio::time::sleep(load.warm_up).await;
    let before = Reading::take(load);
    tokio::time::sleep(load.window).await;
    let after = Reading::take(load);
    publishing.abort();
    let _ = publishing.await;
    let draining = Instant::now();
    let open = || desk.published.load(Ordering::Relaxed) - desk.answered.load(Ordering::Relaxed);
    while open() > 0 && draining.elapsed() < DRAIN_MAX {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let within = before.at..after.at;
    let latencies = desk.latencies.lock().expect("not poisoned");
    // What counts is by when the message was due: in the open loop a late answer must not fall out of the window.
    let counts_in = |answered: &Instant, took: &Duration| match load.pace {
        Pace::Open { .. } => within.contains(&(*answered - *took)),
        Pace::Probe | Pace::Closed { .. } | Pace::Spread { .. } => within.contains(answered),
    };
    let mut counted: Vec<Duration> =
        latencies.iter().filter(|(at, took)| counts_in(at, took)).map(|(_, took)| *took).collect();
    counted.sort_unstable();
    let percentile = |percent: usize| {
        counted.get((counted.len() * percent / 100).min(counted.len().saturating_sub(1))).map_or(0, Duration::as_micros)
    };
    println!(
        "messages={} seconds={} p50_us={} p99_us={} errors={} unanswered={} cpu_ms={} broker_cpu_ms={} commits={} rss_kib={} peak_kib={}",
        counted.len(),
        (after.at - before.at).as_secs_f64(),
        percentile(50),
        percentile(99),
        desk.errors.load(Ordering::Relaxed),
        open(),
        after.program.cpu_ms - before.program.cpu_ms,
        after.broker.cpu_ms - before.broker.cpu_ms,
        after.commits.wrapping_sub(before.commits),
        after.program.rss_kib,
        after.program.peak_kib,
    );
}

async fn publish(pace: Pace, client: AsyncClient, desk: Arc<Desk>) {
    match pace {
        Pace::Probe => {}
        Pace::Closed { .. } => refill(&client, &desk).await,
        Pace::Spread { over, .. } => {
            let begun = Instant::now();
            for account in 0..crate::ACCOUNTS {
                tokio::time::sleep_until((begun + over * account / crate::ACCOUNTS).into()).await;
                desk.slots.acquire().await.expect("never closed").forget();
                desk.publish(&client, Instant::now()).await;
            }
            refill(&client, &desk).await;
        }
        Pace::Open { per_second } => {
            let mut dues = clock(Duration::from_secs(1) / per_second);
            while let Some(due) = dues.recv().await {
                // Counted from when it was due, not from when a late loop came to it.
                desk.publish(&client, due).await;
            }
        }
    }
}

/// Says when a message is due, every `interval` from now on, on a thread of its own: the runtime's timer counts in
/// milliseconds and rounds up, by as much for every message of a run, because all are due in the same part of a
/// millisecond. Ends when nobody listens.
fn clock(interval: Duration) -> mpsc::Receiver<Instant> {
    let (sender, dues) = mpsc::channel(DUES_MAX);
    std::thread::spawn(move || {
        let mut due = Instant::now();
        while sender.blocking_send(due).is_ok() {
            due += interval;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    });
    dues
}

/// Publishes another message for each that is answered.
async fn refill(client: &AsyncClient, desk: &Desk) {
    loop {
        desk.slots.acquire().await.expect("never closed").forget();
        desk.publish(client, Instant::now()).await;
    }
}

struct Reading {
    at: Instant,
    program: Counts,
    broker: Counts,
    commits: u32,
}

impl Reading {
    fn take(load: &Load) -> Self {
        let [program, broker] = load.watched.map(proc::counts);
        Self { at: Instant::now(), program, broker, commits: proc::commits(&load.journal) }
    }
}
