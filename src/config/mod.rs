//! The configuration: what was written, checked whole, as a [`Config`] or as every mistake at once.
//!
//! ```text
//! file --toml--> raw tree, each value with its line --environment laid over--> raw tree
//!      --schema: unknown keys--> --read: types, ranges, contradictions--> Config
//! ```
//!
//! Invariants:
//! - One pass finds every mistake; a syntax error alone stops it, because what follows one is guesswork.
//! - A mistake names its line or variable, its key, the rule, and what to do.
//! - No secret is in a report, in `Debug`, or in the effective configuration.
//! - Every key is in the `schema`, in `config/sendbridge.toml` with its default, and in the effective configuration;
//!   tests hold the three together.

mod problem;
mod settings;

mod raw;

mod schema;

mod environment;

mod section;

mod read;

mod address;

mod files;

mod units;

mod words;

mod effective;

pub use effective::{effective, effective_json};
pub use problem::{Origin, Problem, Problems};
pub use settings::{
    AccountOf, Broker, Callback, CallbackKind, CallbackOf, ClientCertificate, Config, CorpLimit, Events, Format, Http,
    IdConflict, Level, Limits, Log, MeasuredFrom, Messages, Mqtt, Pem, Secret, Sender, SenderKind, Sign, Store, Topics,
};

use section::Section;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

/// The exit code for a configuration that cannot be used: `EX_CONFIG` of sysexits.
pub const EXIT_CODE: u8 = 78;

/// No configuration, key or certificate is larger; a device or a log given by mistake is.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// How files are read: the configuration itself, secrets and certificates. [`read_file`], except in tests.
pub type ReadFile<'a> = dyn Fn(&Path) -> io::Result<Vec<u8>> + 'a;

/// A configuration that can be used, and what is odd about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    pub warnings: Vec<Problem>,
}

/// Reads a configuration file and the environment, which goes before the file.
///
/// `environment` may be all of [`std::env::vars_os`]; what is not ours is ignored.
///
/// # Errors
/// Every mistake in it, with the warnings.
pub fn load(
    path: &Path,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    read: &ReadFile<'_>,
) -> Result<Loaded, Problems> {
    let file: Arc<str> = Arc::from(path.display().to_string());
    let origin = Origin::File { file: Arc::clone(&file), line: None };
    let mut problems = Problems::default();
    let text = match text(path, read) {
        Ok(text) => text,
        Err(message) => {
            problems.error(origin, String::new(), message);
            return Err(problems);
        }
    };
    let mut root = match raw::parse(&file, &text) {
        Ok(root) => root,
        Err(errors) => return Err(Problems { errors, warnings: Vec::new() }),
    };
    environment::overlay(&mut root, environment, &mut problems);
    schema::check(&root, schema::ROOT, "", &mut problems);
    let config = read::config(&Section::root(&root, origin), read, &mut problems);
    problems.sort();
    if problems.errors.is_empty() { Ok(Loaded { config, warnings: problems.warnings }) } else { Err(problems) }
}

fn text(path: &Path, read: &ReadFile<'_>) -> Result<String, String> {
    let bytes = read(path).map_err(|error| format!("cannot read it: {error}; check the path and its permissions"))?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..valid].iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("line {line} is not UTF-8; save the file as UTF-8")
    })
}

/// Reads a file whole.
///
/// # Errors
/// What the system says, or that the file is larger than 4 MiB.
pub fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 4MiB"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
