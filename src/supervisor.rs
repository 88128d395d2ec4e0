//! Tells whoever supervises the process, as systemd does, that it has started, that its loop goes on, and that it
//! stops: each a datagram to the socket that `NOTIFY_SOCKET` names. Without that variable nobody is told.
//!
//! - The loop alone says that it goes on. So when it is stuck, or waits for a journal that is, nobody says so any more,
//!   and the supervisor ends the process: the next one recovers.
//! - Nobody who listens slowly holds up the loop: what there is no room for is left out, and is said again.

use crate::model::Time;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// How often it is said that the loop goes on, within the time after which it is missed.
const BEATS: u32 = 3;

/// How long somebody who listens slowly is waited for, when the process has started or stops.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whom the process tells, if anybody.
#[derive(Debug, Default)]
pub struct Supervisor {
    listener: Option<SocketAddr>,
    /// The time after which somebody misses the loop.
    missed_after: Option<Duration>,
}

/// Says that the loop goes on, as often as it has to be said.
#[derive(Debug)]
pub struct Heart {
    listener: Option<(UnixDatagram, SocketAddr)>,
    interval: Duration,
    due: Time,
}

impl Supervisor {
    /// Reads what systemd puts into the environment. `process` is our own number: a variable that was inherited is
    /// about somebody else.
    ///
    /// # Errors
    /// When there is a socket and its name is none.
    pub fn find(read: impl Fn(&str) -> Option<OsString>, process: u32) -> io::Result<Self> {
        let listener = read("NOTIFY_SOCKET").map(|name| address(&name)).transpose()?;
        let number = |variable| read(variable).and_then(|text| text.to_str()?.parse::<u64>().ok());
        let is_ours = number("WATCHDOG_PID").is_none_or(|id| id == u64::from(process));
        let missed_after = number("WATCHDOG_USEC").filter(|_| is_ours).map(Duration::from_micros);
        Ok(Self { listener, missed_after })
    }

    /// # Errors
    /// When it could not be told: then it takes this for a start that hangs.
    pub fn ready(&self) -> io::Result<()> {
        self.tell("READY=1")
    }

    /// # Errors
    /// When it could not be told.
    pub fn stopping(&self) -> io::Result<()> {
        self.tell("STOPPING=1")
    }

    fn tell(&self, what: &str) -> io::Result<()> {
        let Some(listener) = &self.listener else { return Ok(()) };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.send_to_addr(what.as_bytes(), listener).map(drop)
    }

    /// For the loop.
    ///
    /// # Errors
    /// When the system gives no socket.
    pub fn heart(&self) -> io::Result<Heart> {
        let (Some(listener), Some(missed_after)) = (self.listener.clone(), self.missed_after) else {
            return Ok(Heart { listener: None, interval: Duration::MAX, due: Time::MAX });
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Heart { listener: Some((socket, listener)), interval: missed_after / BEATS, due: Time::default() })
    }
}

impl Heart {
    /// To be called in every turn of the loop.
    pub fn beat(&mut self, now: Time) {
        if now < self.due {
            return;
        }
        if let Some((socket, listener)) = &self.listener
            && socket.send_to_addr(b"WATCHDOG=1", listener).is_ok()
        {
            self.due = now + self.interval;
        }
    }
}

/// A path, or a name that is in no folder, which begins with `@`.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Variables as systemd sets them.
    fn supervisor(socket: &OsStr, others: &[(&str, &str)]) -> Supervisor {
        let read = |name: &str| match name {
            "NOTIFY_SOCKET" => Some(socket.to_owned()),
            _ => others.iter().find(|(other, _)| *other == name).map(|(_, value)| OsString::from(value)),
        };
        Supervisor::find(read, 7).expect("a name")
    }

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).expect("a datagram");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    fn second(number: u64) -> Time {
        Time::from_millis(1000 * number)
    }

    #[test]
    fn somebody_who_listens_hears_of_the_start_the_loop_and_the_stop() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let listener = UnixDatagram::bind(&path).expect("a socket");
        let supervisor = supervisor(path.as_os_str(), &[("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", "7")]);
        let mut heart = supervisor.heart().expect("a socket");
        supervisor.ready().expect("told");
        for turn in 1..=21 {
            heart.beat(second(turn));
        }
        supervisor.stopping().expect("told");
        let all: Vec<String> = (0..5).map(|_| heard(&listener)).collect();
        // In the first turn, and then after ten seconds each.
        assert_eq!(all, ["READY=1", "WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1", "STOPPING=1"]);
    }

    #[test]
    fn a_name_that_is_in_no_folder_is_found() {
        let name = format!("sendbridge-test-{}", crate::clock::random_uuid());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let listener = UnixDatagram::bind_addr(&address).expect("a socket");
        supervisor(OsStr::new(&format!("@{name}")), &[]).ready().expect("told");
        assert_eq!(heard(&listener), "READY=1");
    }

    #[test]
    fn nobody_is_told_where_nobody_asks_and_one_who_is_gone_is_an_error() {
        let nobody = Supervisor::default();
        nobody.ready().and_then(|()| nobody.stopping()).expect("nothing to do");
        nobody.heart().expect("nothing to do").beat(second(1));
        let directory = tempfile::tempdir().expect("a directory");
        let gone = supervisor(directory.path().join("gone").as_os_str(), &[("WATCHDOG_USEC", "3")]);
        assert!(gone.ready().is_err() && gone.stopping().is_err());
        gone.heart().expect("a socket").beat(second(1));
        let too_long = OsString::from("x".repeat(200));
        assert!(Supervisor::find(|_| Some(too_long.clone()), 7).is_err());
    }

    /// No time to be missed after, or one that is about another process.
    #[test]
    fn the_loop_says_nothing_where_nobody_waits_for_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let listener = UnixDatagram::bind(&path).expect("a socket");
        for others in [&[][..], &[("WATCHDOG_USEC", "3000000"), ("WATCHDOG_PID", "8")]] {
            supervisor(path.as_os_str(), others).heart().expect("a socket").beat(second(1));
        }
        listener.set_nonblocking(true).expect("a socket");
        assert_eq!(listener.recv(&mut [0; 64]).map_err(|error| error.kind()), Err(io::ErrorKind::WouldBlock));
    }

    #[test]
    fn one_who_does_not_read_holds_up_nobody_and_is_told_when_there_is_room() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let listener = UnixDatagram::bind(&path).expect("a socket");
        let mut heart = supervisor(path.as_os_str(), &[("WATCHDOG_USEC", "3000000")]).heart().expect("a socket");
        // Far more than wait in any socket.
        for turn in 1..=10_000 {
            heart.beat(second(turn));
        }
        listener.set_nonblocking(true).expect("a socket");
        while listener.recv(&mut [0; 64]).is_ok() {}
        // The one that found no room was not put off.
        heart.beat(second(10_000));
        assert_eq!(heard(&listener), "WATCHDOG=1");
    }
}
