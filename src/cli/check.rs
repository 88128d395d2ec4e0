//! `sendbridge check`: is this configuration right, what does it come to, and does the bridge that runs with it live?

use crate::config;
use std::ffi::OsString;
use std::fmt::Write;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

/// The exit code when no bridge answers: `EX_UNAVAILABLE` of sysexits.
const EXIT_DEAD: u8 = 69;
/// What a bridge that lives answers in is far below.
const LIVE_WAIT: Duration = Duration::from_secs(3);

/// Variables of the environment.
pub type Environment<'a> = dyn Iterator<Item = (OsString, OsString)> + 'a;

/// Checks a configuration file together with the environment.
///
/// Answers what to print and the exit code: every mistake and 78, or the effective configuration without secrets and
/// 0. Warnings stand in front as comments, so that the output is a configuration all the same.
pub fn check(path: &Path, environment: &mut Environment<'_>) -> (String, u8) {
    let loaded = match config::load(path, environment, &config::read_file) {
        Ok(loaded) => loaded,
        Err(problems) => return (problems.to_string(), config::EXIT_CODE),
    };
    let mut report = String::new();
    for warning in &loaded.warnings {
        // Writing to a String cannot fail.
        let _ = writeln!(report, "# warning: {warning}");
    }
    report.push_str(config::effective(&loaded.config).trim_start());
    (report, 0)
}

/// Asks the bridge that runs with this configuration whether it lives, as a container's health check does.
///
/// Answers what to print and the exit code: 0, 69 where it does not answer, or 78 with every mistake.
pub fn live(path: &Path, environment: &mut Environment<'_>) -> (String, u8) {
    let listen = match config::load(path, environment, &config::read_file) {
        Ok(loaded) => loaded.config.http.listen,
        Err(problems) => return (problems.to_string(), config::EXIT_CODE),
    };
    match ask(listen) {
        Ok(true) => ("up\n".to_owned(), 0),
        Ok(false) => (format!("{listen} answers, and not as a bridge that lives\n"), EXIT_DEAD),
        Err(error) => (format!("{listen} does not answer: {error}\n"), EXIT_DEAD),
    }
}

fn ask(listen: SocketAddr) -> io::Result<bool> {
    let host = match listen.ip() {
        IpAddr::V4(ip) => IpAddr::V4(if ip.is_unspecified() { Ipv4Addr::LOCALHOST } else { ip }),
        IpAddr::V6(ip) => IpAddr::V6(if ip.is_unspecified() { Ipv6Addr::LOCALHOST } else { ip }),
    };
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(host, listen.port()), LIVE_WAIT)?;
    stream.set_read_timeout(Some(LIVE_WAIT))?;
    stream.set_write_timeout(Some(LIVE_WAIT))?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: bridge\r\nconnection: close\r\n\r\n")?;
    let mut status = [0; "HTTP/1.1 200".len()];
    stream.read_exact(&mut status)?;
    Ok(&status == b"HTTP/1.1 200")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_text(text: &str) -> (String, u8) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("sendbridge.toml");
        std::fs::write(&path, text).expect("a file");
        check(&path, &mut std::iter::empty())
    }

    const SENDER: &str = "[[senders]]\nname = \"main\"\nurl = \"http://127.0.0.1/\"\napi_key = \"canary\"\n";

    #[test]
    fn shows_the_configuration_without_its_secret() {
        let (report, code) = check_text(SENDER);
        assert_eq!(code, 0);
        assert!(report.starts_with("[mqtt]\n"), "{report}");
        assert!(report.contains("api_key = \"<secret>\""), "{report}");
        assert!(!report.contains("canary"), "{report}");
    }

    #[test]
    fn warnings_leave_it_loadable() {
        let (report, code) = check_text(&format!("{SENDER}[limits]\naccount_interval = \"100ms\"\n"));
        assert_eq!(code, 0);
        assert!(report.starts_with("# warning: "), "{report}");
        assert_eq!(check_text(&report).1, 0);
    }

    #[test]
    fn reports_every_mistake() {
        let (report, code) = check_text("[mqtt]\nulr = 1\nkeep_alive = 30\n");
        assert_eq!(code, 78);
        assert_eq!(report.lines().count(), 3, "{report}");
    }

    #[test]
    fn whether_a_bridge_lives_is_told_by_its_answer_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("sendbridge.toml");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        std::fs::write(&path, format!("{SENDER}[http]\nlisten = \"0.0.0.0:{port}\"\n")).expect("a file");
        let answers = ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 503 no\r\n\r\n", "SSH-2.0"];
        let server = std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().expect("a guest");
                let _ = stream.read(&mut [0; 1024]).expect("a request");
                stream.write_all(answer.as_bytes()).expect("it reads");
            }
        });
        let ask = || live(&path, &mut std::iter::empty());
        assert_eq!(ask(), ("up\n".to_owned(), 0));
        assert_eq!([ask().1, ask().1], [EXIT_DEAD; 2]);
        server.join().expect("it served all");
        assert_eq!(ask().1, EXIT_DEAD, "nobody listens");
        assert_eq!(live(Path::new("/nowhere"), &mut std::iter::empty()).1, 78);
    }

    #[test]
    fn a_missing_file_is_a_report() {
        let (report, code) = check(Path::new("/nowhere/sendbridge.toml"), &mut std::iter::empty());
        assert_eq!(code, 78);
        assert!(report.starts_with("/nowhere/sendbridge.toml: cannot read it: "), "{report}");
    }
}
