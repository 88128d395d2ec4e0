//! A light look at URLs: scheme, host and port. Who connects takes them apart for good.

use std::net::IpAddr;

/// The parts of `scheme://host:port/rest`.
#[derive(Debug)]
pub(super) struct Url<'a> {
    pub scheme: &'a str,
    /// Without the brackets of an IPv6 address.
    pub host: &'a str,
    pub port: Option<u16>,
    /// From the first slash after the host on; may be empty.
    pub path: &'a str,
}

impl Url<'_> {
    /// Whether it can only lead to this machine.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

/// Reads a URL with one of the given schemes.
///
/// # Errors
/// What is wrong with it and what to do; never quotes what may be a password.
pub(super) fn parse<'a>(text: &'a str, schemes: &[&str]) -> Result<Url<'a>, String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(format!("it has no scheme; begin it with {}", listed(schemes)));
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.contains('@') || scheme.contains('@') {
        return Err("it contains credentials, which would be shown with it; take them out".to_owned());
    }
    if !schemes.contains(&scheme) {
        return Err(format!("scheme {scheme:?} is not known; begin it with {}", listed(schemes)));
    }
    if path.contains(['?', '#']) {
        return Err("it must not have a query or a fragment; end it with its path".to_owned());
    }
    if text.contains(char::is_whitespace) {
        return Err("it must not contain spaces".to_owned());
    }
    let (host, port) = host_and_port(authority)?;
    Ok(Url { scheme, host, port, path })
}

fn host_and_port(authority: &str) -> Result<(&str, Option<u16>), String> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or("the bracket of its IPv6 address is not closed")?;
        if host.parse::<IpAddr>().is_err() {
            return Err(format!("{host:?} is not an IPv6 address"));
        }
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port_of(port)?))),
            None if after.is_empty() => Ok((host, None)),
            None => Err("only a port may follow its IPv6 address".to_owned()),
        };
    }
    let (host, port) = match authority.split_once(':') {
        Some((_, port)) if port.contains(':') => {
            return Err("an IPv6 address needs brackets, as in mqtt://[::1]:1883".to_owned());
        }
        Some((host, port)) => (host, Some(port_of(port)?)),
        None => (authority, None),
    };
    if host.is_empty() {
        return Err("it has no host".to_owned());
    }
    if !host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')) {
        return Err(format!("{host:?} is not a host name"));
    }
    Ok((host, port))
}

fn port_of(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(port) if port > 0 => Ok(port),
        Ok(_) | Err(_) => Err(format!("{text:?} is not a port; 1 to 65535")),
    }
}

fn listed(schemes: &[&str]) -> String {
    let shown: Vec<String> = schemes.iter().map(|scheme| format!("{scheme}://")).collect();
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MQTT: &[&str] = &["mqtt", "mqtts"];

    #[test]
    fn reads_hosts_and_ports() {
        let url = parse("mqtt://[::1]:1884", MQTT).expect("a url");
        assert_eq!((url.host, url.port, url.is_loopback()), ("::1", Some(1884), true));
        let url = parse("mqtts://broker.example/path", MQTT).expect("a url");
        assert_eq!((url.scheme, url.host, url.port, url.path), ("mqtts", "broker.example", None, "/path"));
        assert!(!url.is_loopback());
    }

    #[test]
    fn never_quotes_credentials() {
        let message = parse("mqtt://me:canary@broker", MQTT).expect_err("an error");
        assert!(!message.contains("canary"));
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,40}") {
            let _ = parse(&format!("mqtt://{text}"), MQTT);
            let _ = parse(&text, MQTT);
        }
    }
}
