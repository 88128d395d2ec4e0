//! What demo and sandbox stand on: a folder of their own, and a configuration that joins the bridge to the built-in
//! broker and to the pretend sender.

use crate::clock;
use crate::config::{self, Config, Problems};
use std::fs::DirBuilder;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// A folder that only this user can read, and that goes when this does.
#[derive(Debug)]
pub struct TemporaryFolder {
    path: PathBuf,
}

impl TemporaryFolder {
    /// Makes one where the system keeps temporary files (`TMPDIR`).
    ///
    /// # Errors
    /// When it cannot be made there; the message names the path.
    pub fn new(purpose: &str) -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("sendbridge-{purpose}-{}", clock::random_uuid()));
        let made = DirBuilder::new().mode(0o700).create(&path);
        match made {
            Ok(()) => Ok(Self { path }),
            Err(error) => Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        // What cannot be removed is the system's to clear: it lies among its temporary files.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Where a bridge finds everything on a workbench.
#[derive(Clone, Debug)]
pub struct Bench<'a> {
    pub broker: SocketAddr,
    /// `url` of the sender.
    pub sender_url: &'a str,
    pub http: SocketAddr,
    pub journal: &'a Path,
}

/// The key that the pretend sender asks for. No secret: it guards nothing.
pub const API_KEY: &str = "pretend";

/// The default configuration on a workbench. `sender_lines` go into `[[senders]]`, `lines` after everything.
///
/// # Errors
/// What is wrong with `lines`, or with a path that TOML cannot say.
pub fn configuration(bench: &Bench<'_>, sender_lines: &str, lines: &str) -> Result<Config, Problems> {
    let Bench { broker, sender_url, http, journal } = bench;
    let text = format!(
        "[mqtt]\nurl = \"mqtt://{broker}\"\n\n\
         [[senders]]\nname = \"pretend\"\nurl = \"{sender_url}\"\napi_key = \"{API_KEY}\"\n{sender_lines}\n\
         [store]\npath = {}\n\n[http]\nlisten = \"{http}\"\n\n{lines}",
        toml::Value::from(journal.display().to_string())
    );
    // The environment is about the real service, and must not lead a demonstration to its broker or its sender.
    let read = |_: &Path| Ok(text.clone().into_bytes());
    config::load(Path::new("sendbridge.toml"), [], &read).map(|loaded| loaded.config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_folder_goes_with_all_that_is_in_it() {
        let folder = TemporaryFolder::new("test").expect("a folder");
        let path = folder.path().to_owned();
        let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        std::fs::create_dir(path.join("inner")).expect("a folder");
        std::fs::write(path.join("inner").join("file"), "x").expect("a file");
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn the_configuration_has_the_defaults_and_the_lines() {
        let bench = Bench {
            broker: SocketAddr::from(([127, 0, 0, 1], 1883)),
            sender_url: "http://127.0.0.1:8080/gnapi/open",
            http: SocketAddr::from(([127, 0, 0, 1], 0)),
            journal: Path::new("/tmp/a \"quoted\" folder/journal.db"),
        };
        let lines = "[[limits.corp]]\ncorp = \"small\"\nper_hour = 40\n";
        let config = configuration(&bench, "temporary = [\"later\"]\n", lines).expect("a configuration");
        assert_eq!(config.store.path, bench.journal);
        assert_eq!(config.limits.corp.per_hour, 50_000);
        assert_eq!(config.limits.corps.len(), 1);
        assert_eq!(config.senders[0].temporary.len(), 1);
        assert!(configuration(&bench, "", "[nonsense]\n").is_err());
    }
}
