//! Where to watch, and as whom: from the flags, or from the configuration of a bridge.

use super::WatchError;
use crate::app;
use crate::cli::broker::BrokerOptions;
use crate::clock;
use crate::config;
use crate::mqtt::Settings;
use crate::mqtt::topics::StatusTopics;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest wait between two attempts to connect: a person is looking.
const RETRY_DELAY_MAX: Duration = Duration::from_secs(5);
const RETRY_DELAY_MIN: Duration = Duration::from_millis(250);

/// What the command line says.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub broker: BrokerOptions,
    /// Broker, credentials and base as in the configuration of the bridge.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["url", "base", "username", "password_file", "ca_file", "client_cert_file", "client_key_file"]
    )]
    pub config: Option<PathBuf>,
    /// Print what is known as text, and end: 0, or 69 when no bridge answers.
    #[arg(long)]
    pub once: bool,
    /// How long --once waits for the bridge.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    pub wait: Duration,
}

/// Where to connect to and what to listen to.
pub(super) struct Place {
    pub(super) settings: Settings,
    pub(super) topics: StatusTopics,
}

impl Place {
    /// # Errors
    /// What is wrong with the configuration, the base, or a file.
    pub(super) fn of(options: &Options) -> Result<Self, WatchError> {
        let (settings, base) = match &options.config {
            Some(path) => configured(path)?,
            None => (options.broker.settings(String::new()).map_err(WatchError::File)?, options.broker.base.clone()),
        };
        let topics = StatusTopics::new(&base).map_err(|why| WatchError::Base { base, why })?;
        let settings = Settings {
            // Several people may watch, and none of them may be taken for the bridge.
            client_id: format!("sendbridge-{}", short_id()),
            retry_delay_min: RETRY_DELAY_MIN,
            retry_delay_max: RETRY_DELAY_MAX,
            ..settings
        };
        Ok(Self { settings, topics })
    }
}

fn configured(path: &Path) -> Result<(Settings, String), WatchError> {
    let loaded = config::load(path, std::env::vars_os(), &config::read_file).map_err(WatchError::Configuration)?;
    let base = loaded.config.topics.base.clone();
    let settings = app::mqtt_settings(loaded.config.mqtt).map_err(WatchError::Broker)?;
    Ok((settings, base))
}

/// Random, and short enough to be read in a log.
pub(super) fn short_id() -> String {
    clock::random_uuid().simple().to_string().chars().take(12).collect()
}

/// What the bridge notes about who ordered something: `watch@` and this machine's name.
pub(super) fn by() -> String {
    const NAME_CHARS_MAX: usize = 64;
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let host = host.filter(|host| !host.trim().is_empty()).or_else(|| std::env::var("USER").ok());
    let host = host.unwrap_or_else(|| "unknown".to_owned());
    let is_kept = |character: &char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.');
    format!("watch@{}", host.trim().chars().filter(is_kept).take(NAME_CHARS_MAX).collect::<String>())
}
