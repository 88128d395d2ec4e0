//! Calls of the API that send nothing: one request each, and what came of it.
//!
//! ```text
//! call --> download (fetch) --> form (pure) --> client (sockets) --> answer (pure) --> data or fault
//! ```
//!
//! - Nothing here is shared with sends: neither connections nor the places of requests under way.
//! - One call makes at most one request that can reach the server, and none at all when its file cannot be had.
//! - How many are under way at once is up to the engine; how long each takes, and how much it reads, is bounded here.

mod address;

pub mod answer;

pub mod fetch;

mod form;

use super::SettingsError;
use super::classify::Rules;
use super::client::{Exchanger, Reach};
use super::request::Routes;
use crate::model::{CallFile, CallJob, Code, Fault};
use answer::Question;
use bytes::Bytes;
use fetch::Fetcher;
use serde_json::Value;
use std::time::Duration;

/// How the API of one server is called.
#[derive(Clone, Debug)]
pub struct CallSettings {
    /// Most idle connections. How many are under way at once is the engine's.
    pub connections: usize,
    /// For one request, unless the call says so itself. Longer than connecting may take.
    pub timeout: Duration,
    /// Longest answer that is read, in bytes.
    pub answer_bytes_max: usize,
    /// Largest file that is uploaded, in bytes.
    pub file_bytes_max: usize,
    /// Hosts of file addresses that may lead to this machine and to private networks.
    pub private_file_hosts: Vec<String>,
}

impl Default for CallSettings {
    fn default() -> Self {
        Self {
            connections: 4,
            timeout: Duration::from_secs(30),
            answer_bytes_max: 960 * 1024,
            file_bytes_max: 20 * 1024 * 1024,
            private_file_hosts: Vec::new(),
        }
    }
}

/// Calls the API of one server.
pub(super) struct Caller {
    exchanger: Exchanger,
    fetcher: Fetcher,
    timeout: Duration,
    answer_bytes_max: usize,
    file_bytes_max: usize,
}

impl Caller {
    /// `reach` is how sends reach the server.
    ///
    /// # Errors
    /// When the certificates cannot be read or the time-outs contradict each other.
    pub(super) fn new(settings: &CallSettings, reach: &Reach<'_>) -> Result<Self, SettingsError> {
        let CallSettings { connections, timeout, answer_bytes_max, file_bytes_max, private_file_hosts } = settings;
        let exchanger = Exchanger::new(&Reach {
            timeout: *timeout,
            connect_timeout: reach.connect_timeout,
            connections: *connections,
            reuse_idle: reach.reuse_idle,
            ca_pem: reach.ca_pem,
        })?;
        Ok(Self {
            exchanger,
            fetcher: Fetcher::new(private_file_hosts, *file_bytes_max)?,
            timeout: *timeout,
            answer_bytes_max: *answer_bytes_max,
            file_bytes_max: *file_bytes_max,
        })
    }

    /// Makes the call. A file from elsewhere may take as long again as the request.
    ///
    /// # Errors
    /// Why there is no data, with a code that says whether the call may have had an effect.
    pub(super) async fn call(&self, routes: &Routes, rules: &Rules, job: CallJob) -> Result<Value, Fault> {
        let timeout = job.timeout.unwrap_or(self.timeout);
        let (body, content_type) = match (&job.content.file, &job.content.body) {
            (Some(file), _) => {
                let (name, bytes) = self.file(file, timeout).await?;
                let form = form::form(&name, &bytes);
                (form.body, Some(form.content_type))
            }
            (None, Some(json)) => (json.0.clone(), Some("application/json".to_owned())),
            (None, None) => (Bytes::new(), None),
        };
        let request = routes.call(&job, body, content_type).ok_or_else(not_an_address)?;
        let observed = self.exchanger.exchange_within(request, self.answer_bytes_max, timeout).await;
        let question = Question { changes: job.changes, timeout, answer_bytes_max: self.answer_bytes_max };
        answer::read(observed, &question, rules)
    }

    async fn file(&self, file: &CallFile, timeout: Duration) -> Result<(Box<str>, Bytes), Fault> {
        match file {
            CallFile::Inline { bytes, .. } if bytes.len() > self.file_bytes_max => {
                Err(fetch::too_large(self.file_bytes_max))
            }
            CallFile::Inline { name, bytes } => Ok((name.clone(), bytes.clone())),
            CallFile::Url { url, name } => {
                let bytes = self.fetcher.fetch(url, timeout).await?;
                Ok((name.clone().unwrap_or_else(|| form::name_of(url)), bytes))
            }
        }
    }
}

/// Only plain paths are planned, so a base that was good at the start is good with each of them.
fn not_an_address() -> Fault {
    Fault::of_field(Code::InvalidField, "path", "path and query make no address: correct them")
}

#[cfg(test)]
mod tests;
