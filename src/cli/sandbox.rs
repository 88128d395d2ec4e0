//! `sendbridge sandbox`: built-in broker, pretend sender and bridge at fixed addresses, to develop a publisher against.

mod callbacks;

use super::pretend::{self, CallbackSettings, MessageKey, Pretend, PretendAccount};
use super::stop::StopSignals;
use super::workbench::{self, Bench, TemporaryFolder};
use super::{print, print_error};
use crate::app::{App, AppError};
use crate::config::Problems;
use crate::mqtt::broker::Broker;
use crate::supervisor::Supervisor;
use crate::telemetry;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Where the sandbox listens, and where it keeps its journal.
#[derive(Clone, Debug)]
pub struct Options {
    pub mqtt: SocketAddr,
    /// Of the pretend sender.
    pub http: SocketAddr,
    /// Of the bridge's own HTTP server.
    pub listen: SocketAddr,
    /// Where the pretend sender posts its callbacks; `None` for the sandbox's own bridge.
    pub callback: Option<String>,
    /// `None` for a temporary folder.
    pub data: Option<PathBuf>,
}

/// Why the sandbox could not start or go on.
#[derive(Debug)]
enum SandboxError {
    Signals(io::Error),
    Folder(io::Error),
    Listen { flag: &'static str, address: SocketAddr, error: io::Error },
    Callback { url: String, error: io::Error },
    Configuration(Problems),
    Bridge(AppError),
}

impl fmt::Display for SandboxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signals(error) => write!(f, "signals cannot be listened to: {error}"),
            Self::Folder(error) => write!(f, "no temporary folder, name a folder with --data: {error}"),
            Self::Listen { flag, address, error } if error.kind() == io::ErrorKind::AddrInUse => {
                write!(
                    f,
                    "cannot listen on {address}: it is in use, perhaps by another sandbox, a Mosquitto or a bridge; end \
                     that one, or choose another address with {flag}, such as {flag} {}:{}",
                    address.ip(),
                    address.port().checked_add(10_000).unwrap_or(18_830)
                )
            }
            Self::Listen { flag, address, error } => {
                write!(f, "cannot listen on {address}: {error}; choose another address with {flag}")
            }
            Self::Callback { url, error } => write!(f, "--callback {url:?}: {error}"),
            Self::Configuration(problems) => write!(f, "the sandbox's own configuration is wrong: {problems}"),
            Self::Bridge(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SandboxError {}

/// Runs until it is told to stop: 0 then, 1 when it could not start or go on.
pub async fn run(options: Options) -> ExitCode {
    telemetry::init("info", false);
    match serve(options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(&format!("sendbridge sandbox: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

async fn serve(options: Options) -> Result<(), SandboxError> {
    if let Some(url) = &options.callback {
        pretend::callback::target(url).map_err(|error| SandboxError::Callback { url: url.clone(), error })?;
    }
    let mut stop = StopSignals::listen().map_err(SandboxError::Signals)?;
    let listen = |flag, address| move |error| SandboxError::Listen { flag, address, error };
    let (folder, temporary) = match options.data {
        Some(folder) => (folder, None),
        None => {
            let temporary = TemporaryFolder::new("sandbox").map_err(SandboxError::Folder)?;
            (temporary.path().to_owned(), Some(temporary))
        }
    };
    let broker = Broker::start(options.mqtt).await.map_err(listen("--mqtt", options.mqtt))?;
    let sender = Pretend::start(sender_settings(options.http)).await.map_err(listen("--http", options.http))?;
    let bench = Bench {
        broker: broker.address(),
        sender_url: &sender.url(),
        http: options.listen,
        journal: &folder.join("sendbridge.db"),
    };
    let sender_lines = format!("default_corp = \"{CORP}\"\n");
    let config =
        workbench::configuration(&bench, &sender_lines, &callbacks::sections()).map_err(SandboxError::Configuration)?;
    let mut app = App::start(config, Supervisor::default()).await.map_err(|error| {
        if let AppError::Http { listen: address, error } = error {
            return SandboxError::Listen { flag: "--listen", address, error };
        }
        SandboxError::Bridge(error)
    })?;
    let url = options.callback.unwrap_or_else(|| callbacks::url(app.http_address(), "pretend"));
    sender.set_callback_url(&url).map_err(|error| SandboxError::Callback { url, error })?;
    sender.set_others(callbacks::others(app.http_address()));
    let told_to_stop = tokio::select! {
        () = app.ready() => false,
        () = stop.requested() => true,
    };
    if !told_to_stop {
        print(&instructions(broker.address(), sender.address(), app.http_address()));
        print(&callback_instructions(sender.address(), app.http_address()));
    }
    let stopped = app.run_until(async {
        if !told_to_stop {
            stop.requested().await;
        }
    });
    stopped.await.map_err(SandboxError::Bridge)?;
    // Until here the bridge needed them.
    drop((sender, broker, temporary));
    Ok(())
}

const ACCOUNT: &str = "1688850000000001";
/// The company of every account, also of those that are not listed: a publisher can use its own.
const CORP: &str = "1970325000000001";

fn sender_settings(listen: SocketAddr) -> pretend::Settings {
    let account = |account: &str| PretendAccount::online(account, CORP);
    pretend::Settings {
        listen,
        api_key: workbench::API_KEY.to_owned(),
        accounts: vec![account(ACCOUNT), account("1688850000000002"), account("1688850000000003")],
        default_corp: Some(Box::from(CORP)),
        message_key: MessageKey::Digest,
        latency: Duration::from_millis(20)..=Duration::from_millis(60),
        admin: true,
        callbacks: CallbackSettings {
            latency: Duration::from_millis(200)..=Duration::from_millis(800),
            ..CallbackSettings::default()
        },
        ..pretend::Settings::default()
    }
}

fn instructions(broker: SocketAddr, sender: SocketAddr, bridge: SocketAddr) -> String {
    let (host, port) = (broker.ip(), broker.port());
    format!(
        "\
sendbridge sandbox: a broker on {broker}, a pretend sender on {sender}, the bridge in between.
Nothing is really sent. The limits are the real ones: 500 ms per account, 50,000 per company and hour.

Hear the answers, in a terminal of their own:
  mosquitto_sub -h {host} -p {port} -t 'SendMessageResp/#' -v
Publish a message (accounts {ACCOUNT}, …02 and …03):
  mosquitto_pub -h {host} -p {port} -q 1 -t SendMessage -m '{{\"id\":\"1\",\"type\":\"text\",\"wxId\":\"{ACCOUNT}\",\"conversationId\":\"S:customer\",\"content\":\"hello\"}}'
Let the next two requests fail, the message arriving all the same:
  curl -d '{{\"faults\":[{{\"act\":\"reset\",\"effect\":true,\"times\":2}}]}}' http://{sender}/sandbox/fault
  (act: answer, code, tooFrequent, offline, status, html, cut, silence, reset; {{\"faults\":[]}} ends them)
See what the sender saw, and whether the bridge is ready:
  curl http://{sender}/sandbox/ledger
  curl http://{bridge}/readyz
Watch everything that the bridge says:
  mosquitto_sub -h {host} -p {port} -t 'sendbridge/#' -v
"
    )
}

fn callback_instructions(sender: SocketAddr, bridge: SocketAddr) -> String {
    let section: String = callbacks::section().lines().map(|line| format!("  {line}\n")).collect();
    format!(
        "
The sender reports by callback what it sent. Let a message get no answer, and its callback come after 5 s:
  curl -d '{{\"faults\":[{{\"act\":\"reset\",\"effect\":true,\"times\":1,\"callback\":{{\"lateMs\":5000}}}}]}}' http://{sender}/sandbox/fault
Let the next message be taken, and fail afterwards:
  curl -d '{{\"faults\":[{{\"times\":1,\"callback\":{{\"errorCode\":-1000999,\"errorMessage\":\"too frequent\"}}}}]}}' http://{sender}/sandbox/fault
Let an account go offline, and log in again:
  curl -d '{{\"event\":\"offline\",\"account\":\"{ACCOUNT}\"}}' http://{sender}/sandbox/event
  curl -d '{{\"event\":\"login\",\"account\":\"{ACCOUNT}\"}}' http://{sender}/sandbox/event
Let a message come in:
  curl -d '{{\"event\":\"received\",\"account\":\"{ACCOUNT}\",\"from\":\"7881300000000001\",\"text\":\"hello\"}}' http://{sender}/sandbox/event
See what became of the callbacks (README, Sandbox: all events, faults and other systems):
  curl http://{sender}/sandbox/callbacks
The bridge takes them at {url}, because its configuration has this:
{section}
Ctrl-C ends it.
",
        url = callbacks::url(bridge, "pretend"),
    )
}
