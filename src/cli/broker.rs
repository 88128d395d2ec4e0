//! The flags that say which broker, and as whom.

use crate::mqtt::{BrokerUrl, ClientIdentity, Settings, TlsSettings};
use clap::Args;
use secrecy::SecretString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// How the bridge is reached.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Broker")]
pub struct BrokerOptions {
    /// The bridge's broker: mqtt://, mqtts://, ws:// or wss://.
    #[arg(long, value_name = "URL", default_value = "mqtt://127.0.0.1:1883")]
    pub url: BrokerUrl,
    #[arg(long, value_name = "NAME")]
    pub username: Option<String>,
    /// A file whose one line is the password, so that no list of processes shows it.
    #[arg(long, value_name = "FILE", requires = "username")]
    pub password_file: Option<PathBuf>,
    /// Who may vouch for the broker, in place of the public authorities (PEM).
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// The certificate to show to the broker (PEM).
    #[arg(long, value_name = "FILE", requires = "client_key_file")]
    pub client_cert_file: Option<PathBuf>,
    /// Its key (PEM).
    #[arg(long, value_name = "FILE", requires = "client_cert_file")]
    pub client_key_file: Option<PathBuf>,
    /// What the bridge's own topics begin with.
    #[arg(long, value_name = "TOPIC", default_value = "sendbridge")]
    pub base: String,
}

/// A file that cannot be read, or not as text where it must be.
#[derive(Debug)]
pub struct FileError {
    pub path: PathBuf,
    pub error: io::Error,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot read {}: {}", self.path.display(), self.error)
    }
}

impl BrokerOptions {
    /// How to connect, under this name.
    ///
    /// # Errors
    /// [`FileError`] of the first file that cannot be read.
    pub(super) fn settings(&self, client_id: String) -> Result<Settings, FileError> {
        let password = self.password_file.as_deref().map(read_text).transpose()?;
        let ca_pem = self.ca_file.as_deref().map(read_text).transpose()?.map(String::into_bytes);
        let cert_pem = self.client_cert_file.as_deref().map(read_text).transpose()?;
        let key_pem = self.client_key_file.as_deref().map(read_text).transpose()?;
        let client = cert_pem.zip(key_pem).map(|(cert_pem, key_pem)| ClientIdentity {
            cert_pem: cert_pem.into_bytes(),
            key_pem: SecretString::from(key_pem),
        });
        Ok(Settings {
            username: self.username.clone(),
            password: password.map(|text| SecretString::from(text.trim_end_matches(['\r', '\n']).to_owned())),
            tls: TlsSettings { ca_pem, client },
            ..Settings::new(self.url.clone(), client_id)
        })
    }
}

fn read_text(path: &Path) -> Result<String, FileError> {
    std::fs::read_to_string(path).map_err(|error| FileError { path: path.to_owned(), error })
}
