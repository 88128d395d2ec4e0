//! Arguments, configuration, logging, runtime, exit code; nothing else.

use clap::{Parser, Subcommand};
use sendbridge::app::{self, App};
use sendbridge::cli::stop::StopSignals;
use sendbridge::config::{self, Config};
use sendbridge::supervisor::Supervisor;
use sendbridge::{cli, dump, telemetry};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The bridge between services that want a chat message sent and the API that sends it.
#[derive(Parser)]
#[command(version, about, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the service.
    Run {
        /// The configuration file; see config/sendbridge.toml for every key.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Prove the promises from the journal, also beside a running bridge: exit code 0 only if they held.
    Audit {
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Everything, every account and company included, as JSON.
        #[arg(long)]
        json: bool,
        /// What the receiving end saw, as the sandbox tells it under /sandbox/requests: compared while the bridge is
        /// stopped.
        #[arg(long, value_name = "FILE")]
        ledger: Option<PathBuf>,
    },
    /// Show every mistake in a configuration, or what it comes to.
    Check {
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Ask the bridge that runs with it whether it lives: 0, or 69 when it does not answer within 3 s.
        #[arg(long)]
        live: bool,
    },
    /// Publish one message, or a CSV or JSONL file of many, and tell what became of each.
    ///
    /// Exit code 0: all sent; 1: some were not; 65: the bridge would refuse a message, so none was published; 69: no
    /// broker; 75: no answer yet, run it again; 130: interrupted.
    Send(Box<cli::send::Options>),
    /// Replay what a journal saw arrive, with other limits: when would everything have been sent?
    Simulate(cli::simulate::Options),
    /// Show everything in one process, with faults, in half a minute: nothing is needed, and nothing is left behind.
    Demo,
    /// Watch a bridge live in the terminal, from its topics alone; p and r pause and resume.
    Watch(cli::watch::Options),
    /// Print what is said on topics, for programs to read: an AsyncAPI 3.0 document with JSON Schemas.
    Schema {
        /// Write the document and each schema by itself into this folder instead.
        #[arg(long, value_name = "FOLDER")]
        into: Option<PathBuf>,
    },
    /// A broker, a pretend sender and the bridge, to develop a publisher against.
    Sandbox {
        /// Where the built-in broker listens; it lets everybody in.
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:1883")]
        mqtt: SocketAddr,
        /// Where the pretend sender listens, and takes orders: POST /sandbox/fault and /sandbox/event.
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
        http: SocketAddr,
        /// Where the bridge's own HTTP server listens, and takes callbacks.
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8790")]
        listen: SocketAddr,
        /// Where the pretend sender posts its callbacks; left out, to this sandbox's own bridge.
        #[arg(long, value_name = "URL")]
        callback: Option<String>,
        /// Where the journal is kept; left out, it goes with the sandbox.
        #[arg(long, value_name = "FOLDER")]
        data: Option<PathBuf>,
    },
}

/// The exit code when the bridge had to end at once: a restart recovers from the journal.
const EXIT_FAILED: u8 = 70;

fn main() -> ExitCode {
    end_on_panic();
    if let Err(error) = dump::forbid() {
        cli::print_error(&format!("warning: a crash may write memory to disk, secrets included: {error}\n"));
    }
    match Arguments::parse().command {
        Command::Run { config } => run(&config),
        Command::Audit { config, json, ledger } => {
            let (report, code) = cli::audit::audit(&config, json, ledger.as_deref(), std::env::vars_os());
            cli::print(&report);
            ExitCode::from(code)
        }
        Command::Check { config, live } => {
            let ask = if live { cli::check::live } else { cli::check::check };
            let (report, code) = ask(&config, &mut std::env::vars_os());
            cli::print(&report);
            ExitCode::from(code)
        }
        Command::Send(options) => block_on(cli::send::run(*options)),
        Command::Simulate(options) => {
            let (report, code) = cli::simulate::simulate(&options);
            if code == 0 {
                cli::print(&report)
            } else {
                cli::print_error(&report)
            }
            ExitCode::from(code)
        }
        Command::Schema { into } => {
            let (report, code) = cli::schema::run(into.as_deref());
            cli::print(&report);
            ExitCode::from(code)
        }
        Command::Demo => block_on(cli::demo::run()),
        Command::Watch(options) => block_on(cli::watch::run(options)),
        Command::Sandbox { mqtt, http, listen, callback, data } => {
            block_on(cli::sandbox::run(cli::sandbox::Options { mqtt, http, listen, callback, data }))
        }
    }
}

/// A part that panicked must not leave the others running: half a bridge is worse than none.
fn end_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        if !sendbridge::contain::is_contained() {
            std::process::abort();
        }
    }));
}

fn run(path: &std::path::Path) -> ExitCode {
    let loaded = match config::load(path, std::env::vars_os(), &config::read_file) {
        Ok(loaded) => loaded,
        Err(problems) => {
            cli::print_error(&problems.to_string());
            return ExitCode::from(config::EXIT_CODE);
        }
    };
    telemetry::init(loaded.config.log.level.as_str(), loaded.config.log.format == config::Format::Json);
    telemetry::starting(env!("CARGO_PKG_VERSION"));
    for warning in &loaded.warnings {
        telemetry::configuration_warning(&warning.to_string());
    }
    if let Err(scarce) = app::check_resources() {
        telemetry::failed(&scarce);
        return ExitCode::from(EXIT_FAILED);
    }
    block_on(serve(loaded.config))
}

async fn serve(config: Config) -> ExitCode {
    // From the first moment on, because a stop may come while the journal is read back.
    let signals = match StopSignals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            telemetry::failed(&format!("cannot listen to signals: {error}"));
            return ExitCode::from(EXIT_FAILED);
        }
    };
    let supervisor = match Supervisor::find(|name| std::env::var_os(name), std::process::id()) {
        Ok(supervisor) => supervisor,
        Err(error) => {
            telemetry::failed(&format!("NOTIFY_SOCKET names no socket: {error}"));
            return ExitCode::from(EXIT_FAILED);
        }
    };
    let ended = match App::start(config, supervisor).await {
        Ok(app) => app.run_until(stop_requested(signals)).await,
        Err(error) => Err(error),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            telemetry::failed(&error.to_string());
            ExitCode::from(if error.is_configuration() { config::EXIT_CODE } else { EXIT_FAILED })
        }
    }
}

/// Returns at the first signal to stop. The second one ends the process at once: no message is lost by it, but requests
/// in flight become doubts.
async fn stop_requested(mut signals: StopSignals) {
    signals.requested().await;
    tokio::spawn(async move {
        signals.requested().await;
        telemetry::failed("a second signal to stop came: requests in flight become doubts");
        std::process::exit(EXIT_FAILED.into());
    });
}

fn block_on(work: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => {
            cli::print_error(&format!("no runtime: {error}"));
            ExitCode::from(EXIT_FAILED)
        }
    }
}
