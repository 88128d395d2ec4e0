use super::senders::{name, sender_of};
use super::{DAY, HOUR, MIB};
use crate::config::ReadFile;
use crate::config::files;
use crate::config::problem::Problems;
use crate::config::section::Section;
use crate::config::settings::{
    Broker, Callback, CallbackKind, Format, Http, Level, Log, Secret, Sender, Store, choices,
};
use secrecy::{ExposeSecret, SecretString};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Shorter could be guessed, and a forged "it was sent" is a lost message.
const SECRET_LENGTH_LEAST: usize = 16;

/// What one turn of the bridge and the log of the journal may take between two looks at the disk, and then something.
const LOW_SPACE_LEAST: u64 = 16 * MIB;

pub(super) fn store(section: &Section<'_>, problems: &mut Problems) -> Store {
    let store = Store {
        path: PathBuf::from(section.text_or("path", "data/sendbridge.db", problems)),
        retention: section.duration("retention", 7 * DAY, HOUR..=3650 * DAY, problems),
        body_retention: section.duration("body_retention", HOUR, Duration::ZERO..=3650 * DAY, problems),
        low_space: section.size("low_space", 64 * MIB, LOW_SPACE_LEAST..=1024 * 1024 * MIB, problems),
    };
    if store.path.as_os_str().to_string_lossy().ends_with('/') {
        section.error("path", "is a folder; name a file in it, such as \"data/sendbridge.db\"", problems);
    }
    if store.body_retention > store.retention {
        let message = "is longer than retention, and a body does not outlive its message; shorten it";
        section.contradiction("body_retention", "retention", message, problems);
    }
    store
}

pub(super) fn http(section: &Section<'_>, problems: &mut Problems) -> Http {
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, 8790));
    let listen = section.address("listen", problems).unwrap_or(default);
    if !listen.ip().is_loopback() {
        let message = "can be reached from other machines, and health asks for no password; \
                       keep it on 127.0.0.1 behind a proxy, or fence it off";
        section.warn("listen", message, problems);
    }
    Http { listen }
}

pub(super) fn callbacks(
    root: &Section<'_>,
    senders: &[Sender],
    read: &ReadFile<'_>,
    problems: &mut Problems,
) -> Vec<Callback> {
    let mut found: Vec<Callback> = Vec::new();
    for section in root.sections("callbacks") {
        let name = name(&section, problems);
        if section.has("name") && found.iter().any(|other| other.name == name) {
            section.error("name", format!("{name:?} is the name of another callback too; rename one"), problems);
        }
        found.push(Callback {
            name,
            kind: section.choice("kind", choices::CALLBACK_KIND, CallbackKind::Quntool, problems),
            secret: callback_secret(&section, read, problems),
            sender: sender_of(&section, senders, problems),
        });
    }
    found
}

fn callback_secret(section: &Section<'_>, read: &ReadFile<'_>, problems: &mut Problems) -> Secret {
    if !section.has("secret") && !section.has("secret_file") {
        let message = "add secret_file with a random text, without which anybody could report a message as sent";
        section.missing("secret_file", message, problems);
    }
    let found = files::secret(section, "secret", read, problems);
    let short = |secret: &Secret| secret.value.expose_secret().len() < SECRET_LENGTH_LEAST && !files::is_hidden(secret);
    if found.as_ref().is_some_and(|secret| short(secret) || !files::is_visible_ascii(secret)) {
        let name = if section.has("secret") { "secret" } else { "secret_file" };
        section.error(name, "the secret must have at least 16 visible ASCII characters; make a random one", problems);
    }
    found.unwrap_or_else(|| Secret { value: SecretString::from(String::new()), file: None })
}

pub(super) fn broker(section: &Section<'_>, problems: &mut Problems) -> Broker {
    Broker { listen: section.address("listen", problems) }
}

pub(super) fn log(section: &Section<'_>, problems: &mut Problems) -> Log {
    Log {
        level: section.choice("level", choices::LEVEL, Level::Info, problems),
        format: section.choice("format", choices::FORMAT, Format::Json, problems),
    }
}
