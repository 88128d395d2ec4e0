//! The limits to simulate: those of a configuration file, and flags that go before them.

use super::Options;
use crate::config::{self, Limits};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why there are no limits to simulate.
#[derive(Debug)]
pub(super) enum LimitsError {
    File { path: PathBuf, error: io::Error },
    Toml { path: PathBuf, error: Box<toml::de::Error> },
    Problems(config::Problems),
    Reserve { text: String },
}

impl fmt::Display for LimitsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Toml { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Problems(problems) => write!(f, "the limits are wrong: {problems}"),
            Self::Reserve { text } => write!(f, "--corp-reserve {text:?} must be a share such as 2%"),
        }
    }
}

/// What every configuration must have beside its limits.
const REST: &str = "\n[[senders]]\nname = \"simulated\"\nurl = \"http://127.0.0.1\"\napi_key = \"none\"\n";

/// Reads `[limits]` of a file, which may be a whole configuration, and puts the flags before it.
pub(super) fn read(options: &Options) -> Result<Limits, LimitsError> {
    let table = match &options.limits {
        Some(path) => limits_of(path)?,
        None => toml::Table::new(),
    };
    let mut whole = toml::Table::new();
    whole.insert("limits".to_owned(), toml::Value::Table(table));
    let text = format!("{whole}{REST}");
    let source = options.limits.as_deref().unwrap_or(Path::new("defaults"));
    // The environment is about the real service.
    let loaded = config::load(source, [], &|_: &Path| Ok(text.clone().into_bytes()));
    let mut limits = loaded.map_err(LimitsError::Problems)?.config.limits;
    if let Some(interval) = options.account_interval {
        limits.account_interval = interval;
        limits.accounts.clear();
    }
    if let Some(per_hour) = options.corp_per_hour {
        limits.corp.per_hour = per_hour;
        limits.corp.burst = limits.corp.burst.map(|burst| burst.min(per_hour));
        limits.corps.clear();
    }
    if let Some(text) = &options.corp_reserve {
        let share = text.strip_suffix('%').unwrap_or(text).trim().parse().ok().filter(|share| *share <= 99_u8);
        limits.corp.reserve = share.ok_or_else(|| LimitsError::Reserve { text: text.clone() })?;
        for limit in limits.corps.values_mut() {
            limit.reserve = limits.corp.reserve;
        }
    }
    Ok(limits)
}

fn limits_of(path: &Path) -> Result<toml::Table, LimitsError> {
    let text = std::fs::read_to_string(path).map_err(|error| LimitsError::File { path: path.to_owned(), error })?;
    let table: toml::Table =
        text.parse().map_err(|error| LimitsError::Toml { path: path.to_owned(), error: Box::new(error) })?;
    Ok(match table.get("limits") {
        Some(toml::Value::Table(limits)) => limits.clone(),
        // A configuration that leaves its limits out has the defaults; otherwise the file is the table itself.
        Some(_) | None if ["mqtt", "senders", "store"].iter().any(|own| table.contains_key(*own)) => toml::Table::new(),
        Some(_) | None => table,
    })
}
