use super::{DAY, HOUR, MIB};
use crate::config::problem::Problems;
use crate::config::section::Section;
use crate::config::settings::{Broker, Format, Http, Level, Log, Store, choices};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

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

pub(super) fn broker(section: &Section<'_>, problems: &mut Problems) -> Broker {
    Broker { listen: section.address("listen", problems) }
}

pub(super) fn log(section: &Section<'_>, problems: &mut Problems) -> Log {
    Log {
        level: section.choice("level", choices::LEVEL, Level::Info, problems),
        format: section.choice("format", choices::FORMAT, Format::Json, problems),
    }
}
