use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// Where the broker is: `mqtt://host:1883`, `mqtts://`, `ws://host:8083/mqtt` or `wss://`.
///
/// Holds no secret, so it may be logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerUrl {
    scheme: Scheme,
    /// A name or an address, an IPv6 address without its brackets.
    host: String,
    port: u16,
    /// Begins with a slash; empty for the schemes without a path.
    path: String,
}

/// How the packets travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Mqtt,
    Mqtts,
    Ws,
    Wss,
}

impl Scheme {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::Mqtts => "mqtts",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }

    const fn default_port(self) -> u16 {
        match self {
            Self::Mqtt => 1883,
            Self::Mqtts => 8883,
            Self::Ws => 80,
            Self::Wss => 443,
        }
    }

    /// Whether the connection is encrypted.
    pub const fn is_tls(self) -> bool {
        matches!(self, Self::Mqtts | Self::Wss)
    }

    const fn is_websocket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }
}

/// Why a text is no broker URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UrlError {
    NoScheme,
    UnknownScheme { scheme: String },
    UserInfo,
    NoHost,
    BadHost { host: String },
    BadIpv6 { host: String },
    UnbracketedIpv6,
    BadPort { port: String },
    PathNotAllowed { scheme: Scheme },
    BadPath,
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoScheme => f.write_str("the scheme is missing: write mqtt://host:1883, mqtts://, ws:// or wss://"),
            Self::UnknownScheme { scheme } => {
                write!(f, "the scheme {scheme:?} is unknown: use mqtt, mqtts, ws or wss")
            }
            Self::UserInfo => {
                f.write_str("credentials do not belong into the URL, which is logged: use username and password_file")
            }
            Self::NoHost => f.write_str("the host is missing"),
            Self::BadHost { host } => write!(
                f,
                "the host {host:?} is neither a name nor an address: use letters, digits, '-', '_' and '.', \
                 punycode for other alphabets"
            ),
            Self::BadIpv6 { host } => write!(f, "the host {host:?} is no IPv6 address"),
            Self::UnbracketedIpv6 => f.write_str("an IPv6 address needs brackets: mqtt://[::1]:1883"),
            Self::BadPort { port } => write!(f, "the port {port:?} is no number from 1 to 65535"),
            Self::PathNotAllowed { scheme } => {
                write!(f, "{}:// takes no path: end the URL after the port, or use ws:// or wss://", scheme.as_str())
            }
            Self::BadPath => f.write_str("the path holds a character that must be percent-encoded, or a fragment"),
        }
    }
}

impl std::error::Error for UrlError {}

impl BrokerUrl {
    /// Reads a URL. The port and, for WebSockets, the path (`/mqtt`) may be left out.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::NoScheme)?;
        // Before anything that repeats a part of the text: a password must not get into an error.
        if text.contains('@') {
            return Err(UrlError::UserInfo);
        }
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "mqtt" | "tcp" => Scheme::Mqtt,
            "mqtts" | "ssl" => Scheme::Mqtts,
            "ws" => Scheme::Ws,
            "wss" => Scheme::Wss,
            _ => return Err(UrlError::UnknownScheme { scheme: scheme.to_owned() }),
        };
        let authority_length = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(authority_length);
        let (host, port) = parse_authority(authority)?;
        let port = match port {
            None => scheme.default_port(),
            Some(port) => parse_port(port)?,
        };
        Ok(Self { scheme, host, port, path: parse_path(scheme, path)? })
    }

    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The name or address, an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    pub const fn port(&self) -> u16 {
        self.port
    }
}

/// The URL in full, its port and path included.
impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, host, port, path } = self;
        let scheme = scheme.as_str();
        if host.contains(':') {
            write!(f, "{scheme}://[{host}]:{port}{path}")
        } else {
            write!(f, "{scheme}://{host}:{port}{path}")
        }
    }
}

impl FromStr for BrokerUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        Self::parse(text)
    }
}

fn parse_authority(authority: &str) -> Result<(String, Option<&str>), UrlError> {
    if let Some(bracketed) = authority.strip_prefix('[') {
        let bad = || UrlError::BadIpv6 { host: authority.to_owned() };
        let (host, rest) = bracketed.split_once(']').ok_or_else(bad)?;
        let address: Ipv6Addr = host.parse().map_err(|_| bad())?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((address.to_string(), Some(port))),
            None if rest.is_empty() => Ok((address.to_string(), None)),
            None => Err(bad()),
        };
    }
    let (host, port) = match authority.split_once(':') {
        None => (authority, None),
        Some((_, port)) if port.contains(':') => return Err(UrlError::UnbracketedIpv6),
        Some((host, port)) => (host, Some(port)),
    };
    if host.is_empty() {
        return Err(UrlError::NoHost);
    }
    let is_name_character = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if host.len() > 253 || !host.chars().all(is_name_character) || host.starts_with(['-', '.']) {
        return Err(UrlError::BadHost { host: host.to_owned() });
    }
    Ok((host.to_owned(), port))
}

fn parse_port(port: &str) -> Result<u16, UrlError> {
    let bad = || UrlError::BadPort { port: port.to_owned() };
    if !port.chars().all(|c| c.is_ascii_digit()) {
        return Err(bad());
    }
    match port.parse() {
        Ok(0) | Err(_) => Err(bad()),
        Ok(port) => Ok(port),
    }
}

fn parse_path(scheme: Scheme, path: &str) -> Result<String, UrlError> {
    if !scheme.is_websocket() {
        return if matches!(path, "" | "/") { Ok(String::new()) } else { Err(UrlError::PathNotAllowed { scheme }) };
    }
    let is_allowed =
        |c: char| c.is_ascii_graphic() && !matches!(c, '#' | '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}');
    if !path.chars().all(is_allowed) {
        return Err(UrlError::BadPath);
    }
    match path {
        "" => Ok("/mqtt".to_owned()),
        path if path.starts_with('/') => Ok(path.to_owned()),
        query => Ok(format!("/mqtt{query}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fills_in_ports_and_paths() {
        for (text, full) in [
            ("mqtt://broker", "mqtt://broker:1883"),
            ("mqtt://broker/", "mqtt://broker:1883"),
            ("tcp://10.0.0.1:1884", "mqtt://10.0.0.1:1884"),
            ("MQTTS://b-1.example.com", "mqtts://b-1.example.com:8883"),
            ("ws://h:8083/mqtt", "ws://h:8083/mqtt"),
            ("ws://h", "ws://h:80/mqtt"),
            ("ws://h/", "ws://h:80/"),
            ("wss://h?token=1", "wss://h:443/mqtt?token=1"),
            ("mqtt://[::1]", "mqtt://[::1]:1883"),
            ("mqtts://[fe80:0::1]:1", "mqtts://[fe80::1]:1"),
        ] {
            let url = BrokerUrl::parse(text).expect(text);
            assert_eq!(url.to_string(), full);
            assert_eq!(BrokerUrl::parse(full).as_ref(), Ok(&url), "the full form reads the same");
        }
        assert_eq!(BrokerUrl::parse("mqtt://[::1]:5").map(|url| url.host().to_owned()), Ok("::1".to_owned()));
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, error) in [
            ("broker:1883", UrlError::NoScheme),
            ("", UrlError::NoScheme),
            ("http://h", UrlError::UnknownScheme { scheme: "http".into() }),
            ("mqtt://me:secret@h", UrlError::UserInfo),
            ("mqtt://me:sec/ret@h", UrlError::UserInfo),
            ("mqtt://", UrlError::NoHost),
            ("mqtt://:1883", UrlError::NoHost),
            ("mqtt://a b", UrlError::BadHost { host: "a b".into() }),
            ("mqtt://主机", UrlError::BadHost { host: "主机".into() }),
            ("mqtt://::1:1883", UrlError::UnbracketedIpv6),
            ("mqtt://[::1", UrlError::BadIpv6 { host: "[::1".into() }),
            ("mqtt://[::1]x", UrlError::BadIpv6 { host: "[::1]x".into() }),
            ("mqtt://[fe80::1%eth0]", UrlError::BadIpv6 { host: "[fe80::1%eth0]".into() }),
            ("mqtt://h:0", UrlError::BadPort { port: "0".into() }),
            ("mqtt://h:+1", UrlError::BadPort { port: "+1".into() }),
            ("mqtt://h:65536", UrlError::BadPort { port: "65536".into() }),
            ("mqtt://h:", UrlError::BadPort { port: String::new() }),
            ("mqtt://h/mqtt", UrlError::PathNotAllowed { scheme: Scheme::Mqtt }),
            ("ws://h/a b", UrlError::BadPath),
            ("ws://h/#x", UrlError::BadPath),
        ] {
            assert_eq!(BrokerUrl::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_password_gets_into_no_error() {
        for text in ["mqtt://me:hunter2@h", "mqtt://me:hunt:er2@[", "mqtt://h:1/hunter2@x"] {
            let error = BrokerUrl::parse(text).expect_err(text).to_string();
            assert!(!error.contains("hunt"), "{error}");
            assert!(error.contains("password_file"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn never_panics_and_reads_what_it_prints(text in "(mqtt|mqtts|ws|wss)://\\PC{0,40}") {
            if let Ok(url) = BrokerUrl::parse(&text) {
                prop_assert_eq!(BrokerUrl::parse(&url.to_string()), Ok(url));
            }
        }
    }
}
