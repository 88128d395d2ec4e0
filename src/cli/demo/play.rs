//! Performs the plan and the story, and collects the answers.

use super::DemoError;
use super::judge::{Answer, Published, read_answer};
use super::keeper::{Keeper, Report};
use super::plan::{MEMBERS, NO_ID, Planned, Wave, plan};
use super::story::{STEPS, Step};
use super::view::{Board, Screen};
use crate::cli::client::Client;
use crate::cli::pretend::{Ledger, Pretend};
use crate::cli::stop::StopSignals;
use crate::clock::Clock;
use crate::model::Time;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;

/// When the demo ends even if answers are missing.
const OVERDUE: Duration = Duration::from_secs(50);
/// How many messages each step of repeats publishes again.
const REPEATS: usize = 3;

/// How the performance ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Every message is answered.
    Complete,
    /// Answers are missing, and the time is over.
    Overdue,
    Interrupted,
}

/// What there is to judge.
pub struct Outcome {
    pub published: BTreeMap<Box<str>, Published>,
    pub answers: BTreeMap<Box<str>, Vec<Answer>>,
    pub ledger: Ledger,
    pub took: Duration,
}

pub struct Play {
    clock: Clock,
    started: Time,
    sender: Pretend,
    client: Client,
    keeper: Keeper,
    screen: Screen,
    plan: Vec<Planned>,
    published: BTreeMap<Box<str>, Published>,
    answers: BTreeMap<Box<str>, Vec<Answer>>,
    steps_done: usize,
    /// The bridge was stopped, and runs again.
    restarted: bool,
}

impl Play {
    pub fn new(sender: Pretend, client: Client, keeper: Keeper, is_terminal: bool) -> Self {
        let clock = Clock::start();
        Self {
            clock,
            started: clock.now(),
            sender,
            client,
            keeper,
            screen: Screen::new(is_terminal),
            plan: plan(),
            published: BTreeMap::new(),
            answers: BTreeMap::new(),
            steps_done: 0,
            restarted: false,
        }
    }

    /// Plays until everything is answered.
    ///
    /// # Errors
    /// When the bridge or the broker did not run.
    pub async fn perform(&mut self, stop: &mut StopSignals) -> Result<Ending, DemoError> {
        let clock = self.clock;
        let begun = clock.now();
        tokio::select! {
            begun = self.begin() => begun?,
            () = clock.sleep_until(Some(begun + OVERDUE)) => return Err(DemoError::Connection("it does not come about".to_owned())),
            () = stop.requested() => return Ok(Ending::Interrupted),
        }
        self.started = self.clock.now();
        self.tell("publisher: publishes the first messages, three of them with mistakes");
        self.publish(Wave::Burst);
        let mut draw_at = self.started;
        while !self.is_complete() {
            let step_at = STEPS.get(self.steps_done).map(|(after, _)| self.started + *after);
            tokio::select! {
                payload = self.client.answer() => self.take_answer(&payload),
                Some(report) = self.keeper.reports.recv() => self.take_report(report)?,
                () = clock.sleep_until(step_at) => self.next_step().await?,
                () = clock.sleep_until(Some(draw_at)) => {
                    self.draw();
                    draw_at = self.clock.now() + self.screen.interval();
                }
                () = clock.sleep_until(Some(begun + OVERDUE)) => return Ok(Ending::Overdue),
                () = stop.requested() => return Ok(Ending::Interrupted),
            }
        }
        self.draw();
        Ok(Ending::Complete)
    }

    /// Ends everything in order: after the bridge no request can come, so the ledger is the last word.
    pub async fn close(self) -> Outcome {
        let took = self.clock.now().since(self.started);
        self.keeper.end().await;
        self.client.close().await;
        Outcome { published: self.published, answers: self.answers, ledger: self.sender.stop().await, took }
    }

    /// Returns when the bridge takes messages and we can hear its answers.
    async fn begin(&mut self) -> Result<(), DemoError> {
        match self.keeper.reports.recv().await {
            Some(Report::Failed(error)) => return Err(DemoError::Bridge(error)),
            Some(Report::Up | Report::Down) | None => {}
        }
        self.client.ready().await;
        Ok(())
    }

    fn is_complete(&self) -> bool {
        let answers = |id| self.answers.get(id).map_or(0, Vec::len);
        self.steps_done == STEPS.len()
            && self.restarted
            && self.client.unacknowledged() == 0
            && self.published.iter().all(|(id, published)| answers(id) >= published.times)
    }

    async fn next_step(&mut self) -> Result<(), DemoError> {
        let Some((_, step)) = STEPS.get(self.steps_done) else { return Ok(()) };
        self.steps_done += 1;
        self.tell(step.says());
        if let Some(faults) = step.faults() {
            self.sender.set_faults(faults);
        }
        match step {
            Step::Busy | Step::Breaks | Step::Refusals => {}
            Step::SecondWave => self.publish(Wave::Second),
            Step::Repeats | Step::LateRepeats => self.repeat(),
            Step::Outage => self.sender.go_down().await,
            Step::Back => self.sender.come_up().await.map_err(DemoError::Sender)?,
            Step::BridgeStops | Step::BridgeStarts => self.keeper.turn(),
        }
        Ok(())
    }

    fn take_report(&mut self, report: Report) -> Result<(), DemoError> {
        match report {
            Report::Up => {
                self.restarted = true;
                self.tell("bridge: runs again, and the broker hands it what came meanwhile");
            }
            Report::Down => {
                self.tell("bridge: is stopped; the last messages are published now");
                self.publish(Wave::WhileDown);
            }
            Report::Failed(error) => return Err(DemoError::Bridge(error)),
        }
        Ok(())
    }

    fn publish(&mut self, wave: Wave) {
        for planned in self.plan.iter().filter(|planned| planned.wave == wave) {
            let published = Published { token: planned.token.clone(), times: 1 };
            self.published.insert(planned.id.clone(), published);
            self.client.publish("SendMessage", planned.payload.clone());
        }
    }

    /// Publishes some messages again that are answered already, byte for byte.
    fn repeat(&mut self) {
        let mut left = REPEATS;
        for planned in &self.plan {
            let Some(published) = self.published.get_mut(&planned.id) else { continue };
            let is_first = published.times == 1 && published.token.is_some();
            if left > 0 && is_first && self.answers.contains_key(&planned.id) {
                left -= 1;
                published.times += 1;
                self.client.publish("SendMessage", planned.payload.clone());
            }
        }
    }

    fn take_answer(&mut self, payload: &Bytes) {
        // What nobody can read is no answer, and its message counts as lost.
        let Some((id, answer)) = read_answer(payload) else {
            let shown = String::from_utf8_lossy(payload);
            return self.tell(&format!("publisher: cannot read {shown:?}"));
        };
        let id = id.unwrap_or_else(|| Box::from(NO_ID));
        let is_mistake = self.published.get(&id).is_some_and(|published| published.token.is_none());
        if is_mistake {
            self.tell(&format!("answer: {}", shortened(&String::from_utf8_lossy(payload))));
        }
        self.answers.entry(id).or_default().push(answer);
    }

    fn tell(&mut self, what: &str) {
        self.screen.tell(self.clock.now().since(self.started), what);
    }

    fn draw(&mut self) {
        let mut board = Board { elapsed: self.clock.now().since(self.started), ..Board::default() };
        self.sender.with_ledger(|ledger| {
            for member in &MEMBERS {
                let smallest_gap = ledger.accounts.get(member.account).and_then(|entry| entry.smallest_gap);
                board.rows.entry(member.account).or_default().smallest_gap = smallest_gap;
            }
        });
        for planned in &self.plan {
            let Some(account) = planned.account else { continue };
            let row = board.rows.entry(account).or_default();
            row.published += usize::from(self.published.contains_key(&planned.id));
            match self.answers.get(&planned.id).and_then(|answers| answers.last()) {
                Some(Answer::Sent { .. }) => row.sent += 1,
                Some(Answer::Unresolved | Answer::NotSent { .. }) => row.other += 1,
                None => {}
            }
        }
        self.screen.draw(&board);
    }
}

/// The beginning, where the whole would fill the screen.
fn shortened(text: &str) -> String {
    const CHARS_MAX: usize = 130;
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
