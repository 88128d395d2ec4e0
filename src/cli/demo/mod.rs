//! `sendbridge demo`: everything in one process, with faults, shown live and judged at the end.
//!
//! ```text
//!  client --SendMessage--> built-in broker --> the real bridge --HTTP--> pretend sender
//!     ^                        |                (own journal)                |
//!     '----SendMessageResp-----'                                           ledger
//!     |                                                                      |
//!     '--------------------------> judge <----------------------------------'
//! ```
//!
//! - The judgement knows only what a stranger could know: the answers, and what arrived at the sender.
//! - Everything listens on this machine, at ports that the system chooses, and the journal is in a folder that goes.

mod judge;
mod keeper;
mod plan;
mod play;
mod story;
mod summary;
mod view;

use super::client::Client;
use super::stop::StopSignals;
use super::workbench::{self, Bench, TemporaryFolder};
use super::{pretend, print, print_error};
use crate::app::AppError;
use crate::config::Problems;
use crate::mqtt::broker::Broker;
use crate::mqtt::{self, BrokerUrl};
use judge::Evidence;
use keeper::Keeper;
use plan::{MEMBERS, SMALL_CORP, SMALL_CORP_PER_HOUR};
use play::{Ending, Play};
use pretend::{MessageKey, Pretend, PretendAccount};
use std::fmt;
use std::io::{self, IsTerminal};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

/// The exit code when the demo was interrupted: 128 and the number of SIGINT, as shells have it.
const EXIT_INTERRUPTED: u8 = 130;

/// Why the demo could not be shown to its end.
#[derive(Debug)]
enum DemoError {
    Folder(io::Error),
    Signals(io::Error),
    Broker(io::Error),
    Sender(io::Error),
    Configuration(Problems),
    Connection(String),
    Bridge(AppError),
}

impl fmt::Display for DemoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(error) => write!(f, "no temporary folder, set TMPDIR to one that can be written: {error}"),
            Self::Signals(error) => write!(f, "signals cannot be listened to: {error}"),
            Self::Broker(error) => write!(f, "the built-in broker did not start: {error}"),
            Self::Sender(error) => write!(f, "the pretend sender did not start: {error}"),
            Self::Configuration(problems) => write!(f, "the demo's own configuration is wrong: {problems}"),
            Self::Connection(error) => write!(f, "no connection to the built-in broker: {error}"),
            Self::Bridge(error) => write!(f, "the bridge ended: {error}"),
        }
    }
}

impl std::error::Error for DemoError {}

/// Shows the demo: 0 when the promises held, 1 when one did not or the demo could not be shown, 130 when interrupted.
pub async fn run() -> ExitCode {
    match show().await {
        Ok(code) => code,
        Err(error) => {
            print_error(&format!("sendbridge demo: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

async fn show() -> Result<ExitCode, DemoError> {
    let mut stop = StopSignals::listen().map_err(DemoError::Signals)?;
    let folder = TemporaryFolder::new("demo").map_err(DemoError::Folder)?;
    let broker = Broker::start(any_port()).await.map_err(DemoError::Broker)?;
    let sender = Pretend::start(sender_settings()).await.map_err(DemoError::Sender)?;
    let bench = Bench {
        broker: broker.address(),
        sender_url: &sender.url(),
        http: any_port(),
        journal: &folder.path().join("journal.db"),
    };
    let sender_lines = format!("temporary = [\"{}\"]\n", story::TEMPORARY_WORDS);
    let lines = format!("[[limits.corp]]\ncorp = \"{SMALL_CORP}\"\nper_hour = {SMALL_CORP_PER_HOUR}\n");
    let config = workbench::configuration(&bench, &sender_lines, &lines).map_err(DemoError::Configuration)?;
    let keeper = Keeper::start(config);
    print(INTRODUCTION);
    let url = BrokerUrl::parse(&format!("mqtt://{}", broker.address()))
        .map_err(|error| DemoError::Connection(error.to_string()))?;
    let client = Client::connect(&mqtt::Settings::new(url, "demo"), vec!["SendMessageResp".to_owned()])
        .map_err(|error| DemoError::Connection(error.to_string()))?;
    let mut play = Play::new(sender, client, keeper, io::stdout().is_terminal());
    let ending = play.perform(&mut stop).await;
    // A second signal ends the waiting for an orderly stop; the folder goes either way.
    let outcome = tokio::select! {
        outcome = play.close() => Some(outcome),
        () = stop.requested() => None,
    };
    let ending = ending?;
    let (Ending::Complete | Ending::Overdue, Some(outcome)) = (ending, outcome) else {
        print("\nInterrupted: nothing is judged, and nothing is left behind.\n");
        return Ok(ExitCode::from(EXIT_INTERRUPTED));
    };
    let findings = judge::judge(&Evidence {
        published: &outcome.published,
        answers: &outcome.answers,
        ledger: &outcome.ledger,
        account_interval: Duration::from_millis(500),
        corp_per_hour: 50_000,
        small_corp_per_hour: SMALL_CORP_PER_HOUR.into(),
    });
    print(&summary::summary(&findings, outcome.took));
    Ok(if findings.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

const INTRODUCTION: &str = "\
sendbridge demo: a broker, a pretend sender and the bridge in one process, for
half a minute. Messages of 12 accounts in 3 companies are published. No account
may send twice within 500 ms, no company more than 50,000 in an hour (kiosk: 40,
so that it can be seen). And things go wrong on order.

";

fn any_port() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

fn sender_settings() -> pretend::Settings {
    pretend::Settings {
        api_key: workbench::API_KEY.to_owned(),
        accounts: MEMBERS.iter().map(|member| PretendAccount::online(member.account, member.corp)).collect(),
        message_key: MessageKey::Field(Box::from(plan::TOKEN_FIELD)),
        latency: Duration::from_millis(5)..=Duration::from_millis(25),
        ..pretend::Settings::default()
    }
}
