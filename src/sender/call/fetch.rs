//! Downloads a file that somebody named, and nothing that somebody must not see.
//!
//! - Only public addresses are connected to, and the address that was judged is the one that is connected to: a name
//!   that leads elsewhere a moment later changes nothing. Hosts that the operator lists may lead anywhere.
//! - No redirects, no credentials, no cookies, no proxy, no decompression; bounded in bytes and in time.
//! - The API key of the server is nowhere near.

use super::address::is_public;
use crate::model::{Code, Fault};
use crate::sender::SettingsError;
use crate::sender::classify::AnswerBody;
use crate::sender::client::{HEAD_BYTES_MAX, read_body, tls_config};
use bytes::Bytes;
use http_body_util::Empty;
use hyper::http::header;
use hyper::{Request, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioExecutor;
use std::fmt::Write;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tower_service::Service;

/// Gets files by their addresses.
pub(super) struct Fetcher {
    client: Client<HttpsConnector<HttpConnector<Guard>>, Empty<Bytes>>,
    guard: Guard,
    bytes_max: usize,
}

impl Fetcher {
    /// # Errors
    /// When TLS cannot be set up.
    pub(super) fn new(private_hosts: &[String], bytes_max: usize) -> Result<Self, SettingsError> {
        let guard = Guard::new(private_hosts);
        let mut tcp = HttpConnector::new_with_resolver(guard.clone());
        tcp.enforce_http(false);
        let tls = tls_config(None)?;
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .http1_max_buf_size(HEAD_BYTES_MAX)
            .build(connector);
        Ok(Self { client, guard, bytes_max })
    }

    /// The file, within `timeout`.
    ///
    /// # Errors
    /// `FILE_UNAVAILABLE` or `TOO_LARGE`; nothing was asked of the sender's API then.
    pub(super) async fn fetch(&self, url: &str, timeout: Duration) -> Result<Bytes, Fault> {
        let uri = checked(url, &self.guard)?;
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = uri;
        // An answer in another encoding would be uploaded as it is.
        request.headers_mut().insert(header::ACCEPT_ENCODING, header::HeaderValue::from_static("identity"));
        request.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
        match tokio::time::timeout(timeout, self.download(request)).await {
            Ok(result) => result,
            Err(_) => Err(unavailable(&format!("file.url gave no file within {timeout:?}"))),
        }
    }

    async fn download(&self, request: Request<Empty<Bytes>>) -> Result<Bytes, Fault> {
        let answer = self.client.request(request).await.map_err(|error| no_answer(&error))?;
        let (head, body) = answer.into_parts();
        match head.status.as_u16() {
            200 => {}
            300..=399 => return Err(unavailable("file.url leads elsewhere, and redirects are not followed")),
            status => return Err(unavailable(&format!("file.url answered HTTP {status}"))),
        }
        let encoding = head.headers.get(header::CONTENT_ENCODING);
        if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
            return Err(unavailable("file.url gives the file compressed, although it was asked not to"));
        }
        match read_body(body, self.bytes_max).await {
            AnswerBody::Whole(bytes) => Ok(bytes),
            AnswerBody::TooLarge => Err(too_large(self.bytes_max)),
            AnswerBody::Cut { .. } => Err(unavailable("file.url broke off in the middle of the file")),
        }
    }
}

/// The address of a file that somebody named, as it would be connected to, where only these hosts may be private. Pure:
/// a name is not asked for, which is when it is judged for good.
///
/// # Errors
/// Which rule it breaks, or that it leads to a private network.
pub fn read_address(url: &str, private_hosts: &[String]) -> Result<Uri, Fault> {
    checked(url, &Guard::new(private_hosts))
}

fn checked(url: &str, guard: &Guard) -> Result<Uri, Fault> {
    let uri = address(url)?;
    guard.check_literal(&uri)?;
    Ok(uri)
}

/// Reads the address. What is not ASCII after the host is escaped, as browsers do.
fn address(url: &str) -> Result<Uri, Fault> {
    let wrong = |rule: &str| Fault::of_field(Code::InvalidField, "file.url", format!("file.url {rule}: correct it"));
    let mut escaped = String::with_capacity(url.len());
    for c in url.split('#').next().unwrap_or_default().chars() {
        if c.is_ascii() {
            escaped.push(c);
            continue;
        }
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            // A string takes everything.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    let uri: Uri = escaped.parse().map_err(|_| wrong("is not an address"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(wrong("must begin with http:// or https://"));
    }
    match uri.authority() {
        Some(authority) if authority.as_str().contains(['@', '%']) => {
            Err(wrong("must have a plain host, without a user or a password"))
        }
        Some(authority) if authority.port_u16().is_none() && authority.as_str() != authority.host() => {
            Err(wrong("must have a port from 1 to 65535, or none"))
        }
        Some(authority) if !authority.host().is_empty() => Ok(uri),
        Some(_) | None => Err(wrong("must name a host")),
    }
}

/// Finds the addresses of a host, and lets through only those that may be connected to.
#[derive(Clone)]
struct Guard {
    /// In lower case.
    private_hosts: Arc<[String]>,
}

impl Guard {
    fn new(private_hosts: &[String]) -> Self {
        Self { private_hosts: private_hosts.iter().map(|host| host.to_ascii_lowercase()).collect() }
    }

    fn trusts(&self, host: &str) -> bool {
        self.private_hosts.iter().any(|own| own.eq_ignore_ascii_case(host))
    }

    /// An address in place of a name is connected to without asking for it, so it is judged here.
    fn check_literal(&self, uri: &Uri) -> Result<(), Fault> {
        let host = uri.host().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        match bare.parse::<IpAddr>() {
            Ok(address) if !is_public(address) && !self.trusts(bare) => Err(private()),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

impl Service<Name> for Guard {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let is_trusted = self.trusts(name.as_str());
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            permitted(found, is_trusted).map(Vec::into_iter)
        })
    }
}

/// What is left of a host's addresses.
///
/// # Errors
/// When all of them were private.
fn permitted(mut found: Vec<SocketAddr>, is_trusted: bool) -> io::Result<Vec<SocketAddr>> {
    let was_found = !found.is_empty();
    found.retain(|address| is_trusted || is_public(address.ip()));
    if found.is_empty() && was_found {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, Private));
    }
    Ok(found)
}

/// A name that leads to private addresses only.
#[derive(Debug)]
struct Private;

impl std::fmt::Display for Private {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the host has private addresses only")
    }
}

impl std::error::Error for Private {}

fn no_answer(error: &hyper_util::client::legacy::Error) -> Fault {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if inner.is_some_and(|inner| inner.is::<Private>()) {
            return private();
        }
        cause = error.source();
    }
    // Which of the many ways it is would tell whoever asks what there is to connect to.
    unavailable("file.url cannot be reached")
}

fn private() -> Fault {
    let message = "file.url leads to this machine or to a private network: list its host in senders.private_file_hosts \
         if it may be read from";
    Fault::of_field(Code::FileUnavailable, "file.url", message)
}

fn unavailable(what: &str) -> Fault {
    Fault::of_field(Code::FileUnavailable, "file.url", format!("{what}; nothing was uploaded"))
}

/// The file is larger than it may be.
pub(super) fn too_large(bytes_max: usize) -> Fault {
    let message = format!("the file is larger than {bytes_max} bytes (senders.call_file_max); nothing was uploaded");
    Fault::of_field(Code::TooLarge, "file", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart_once() {
        for (url, wanted) in [
            ("http://h/a.png", "http://h/a.png"),
            ("HTTPS://H:8443/a?b=c#d", "https://H:8443/a?b=c"),
            ("http://h/你.png", "http://h/%E4%BD%A0.png"),
            ("http://[::1]:80/a", "http://[::1]:80/a"),
        ] {
            assert_eq!(address(url).expect(url).to_string(), wanted);
        }
        for url in
            ["", "/a", "h/a", "ftp://h/a", "http://", "http:///a", "http://u:p@h/a", "http://你/a", "http://h:x/a"]
        {
            let fault = address(url).expect_err(url);
            assert_eq!((fault.code, fault.field.as_deref()), (Code::InvalidField, Some("file.url")), "{url}");
        }
    }

    #[test]
    fn only_public_addresses_are_left_and_they_are_the_ones_connected_to() {
        let at = |text: &str| -> SocketAddr { text.parse().expect("an address") };
        let (public, private) = (at("1.1.1.1:0"), at("10.0.0.1:0"));
        assert_eq!(permitted(vec![private, public], false).expect("one is left"), [public]);
        assert_eq!(permitted(vec![private, public], true).expect("both are"), [private, public]);
        assert_eq!(permitted(vec![], false).expect("none is none"), []);
        for address in ["127.0.0.1:0", "[::1]:0", "[::ffff:10.0.0.1]:0", "169.254.169.254:0"] {
            let refused = permitted(vec![at(address)], false).expect_err(address);
            assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        }
    }

    /// The ways to write this machine that resolvers know: none of them connects.
    #[tokio::test]
    async fn this_machine_is_not_reached_however_it_is_written() {
        let fetcher = Fetcher::new(&[], 1000).expect("a client");
        let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        for host in [
            "127.0.0.1",
            "localhost",
            "LOCALHOST",
            "localhost.",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "0.0.0.0",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "127.0.0.2",
        ] {
            let fault = fetcher.fetch(&format!("http://{host}:{port}/a"), Duration::from_secs(20)).await;
            assert_eq!(fault.expect_err(host).code, Code::FileUnavailable, "{host}");
        }
        let nobody = tokio::time::timeout(Duration::ZERO, listener.accept()).await;
        assert!(nobody.is_err(), "somebody connected");
    }
}
