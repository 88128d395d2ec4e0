//! Makes the requests. Pure: everything that can be wrong with an address or a key is found once, at start.

use crate::model::{BUILT_IN_KINDS, CallJob, Method as CallMethod, Seq};
use bytes::Bytes;
use http_body_util::Full;
use hyper::http::uri::Scheme;
use hyper::http::{HeaderMap, HeaderName, HeaderValue, header};
use hyper::{Method, Request, Uri};
use secrecy::{ExposeSecret, SecretString};
use std::collections::BTreeMap;
use std::fmt::Write;

use super::SettingsError;

/// All accounts, not only those online.
const DIRECTORY_PATH: &str = "/inner/user/wx/list?IsOnline=false";

const API_KEY: HeaderName = HeaderName::from_static("apikey");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Every address of one server, ready to be requested.
pub struct Routes {
    sends: BTreeMap<Box<str>, Uri>,
    directory: Uri,
    /// Without a slash at its end.
    base: Box<str>,
    /// What every request carries.
    headers: HeaderMap,
    /// What every send carries.
    send_headers: HeaderMap,
}

impl Routes {
    /// `paths` maps further types (or the known ones, differently) to paths below `base_url`.
    ///
    /// # Errors
    /// When an address or the key could not be used in any request.
    pub fn new(
        base_url: &str,
        api_key: &SecretString,
        paths: &BTreeMap<String, String>,
    ) -> Result<Self, SettingsError> {
        let base = checked_base(base_url)?;
        let mut sends = BTreeMap::new();
        for (kind, path) in BUILT_IN_KINDS {
            sends.insert(Box::from(kind), join(base, path)?);
        }
        for (kind, path) in paths {
            sends.insert(Box::from(kind.as_str()), join(base, path)?);
        }
        // A key that was read from a file ends with a line break that is not part of it.
        let key = api_key.expose_secret().trim();
        let mut key = HeaderValue::from_str(key).map_err(|_| SettingsError::ApiKey)?;
        if key.is_empty() {
            return Err(SettingsError::ApiKey);
        }
        key.set_sensitive(true);
        let headers = HeaderMap::from_iter([(API_KEY, key), (header::HOST, host(base)?)]);
        let mut send_headers = headers.clone();
        send_headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        send_headers.insert(REQUEST_ID, HeaderValue::from_static(""));
        Ok(Self { sends, directory: join(base, DIRECTORY_PATH)?, base: Box::from(base), headers, send_headers })
    }

    /// The key that every request carries.
    pub fn key(&self) -> &str {
        self.headers.get(API_KEY).and_then(|key| key.to_str().ok()).unwrap_or_default()
    }

    pub fn knows(&self, kind: &str) -> bool {
        self.sends.contains_key(kind)
    }

    /// The request of one attempt, or `None` for a type that has no path.
    pub fn send(&self, seq: Seq, attempt: u32, kind: &str, body: Bytes) -> Option<Request<Full<Bytes>>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.sends.get(kind)?.clone();
        let headers = request.headers_mut();
        headers.clone_from(&self.send_headers);
        // The server ignores it; its log and ours can be laid side by side with it.
        if let Ok(id) = HeaderValue::try_from(format!("{seq}-{attempt}")) {
            headers.insert(REQUEST_ID, id);
        }
        Some(request)
    }

    /// The request of a call, or `None` where path and query make no address.
    pub fn call(&self, job: &CallJob, body: Bytes, content_type: Option<String>) -> Option<Request<Full<Bytes>>> {
        let mut address = format!("{}{}", self.base, job.path);
        for (index, (name, value)) in job.content.query.iter().enumerate() {
            address.push(if index == 0 { '?' } else { '&' });
            push_escaped(&mut address, name);
            address.push('=');
            push_escaped(&mut address, value);
        }
        let is_empty = body.is_empty();
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = match job.method {
            CallMethod::Get => Method::GET,
            CallMethod::Post => Method::POST,
            CallMethod::Put => Method::PUT,
            CallMethod::Delete => Method::DELETE,
        };
        *request.uri_mut() = address.parse().ok()?;
        let headers = request.headers_mut();
        headers.clone_from(&self.headers);
        if is_empty && job.method != CallMethod::Get {
            // Some servers refuse what could have a body and does not say that it has none.
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        if let Some(content_type) = content_type {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(&content_type).ok()?);
        }
        headers.insert(REQUEST_ID, HeaderValue::from_str(&format!("call-{}", job.number)).ok()?);
        Some(request)
    }

    /// The request for the account list.
    pub fn directory(&self) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::default());
        *request.uri_mut() = self.directory.clone();
        request.headers_mut().clone_from(&self.headers);
        request
    }
}

/// Everything that could mean something in a query is escaped.
fn push_escaped(address: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            address.push(char::from(byte));
        } else {
            // A string takes everything.
            let _ = write!(address, "%{byte:02X}");
        }
    }
}

fn checked_base(base_url: &str) -> Result<&str, SettingsError> {
    let wrong = |rule| SettingsError::Url { url: Box::from(base_url), rule };
    let uri: Uri = base_url.parse().map_err(|_| wrong("is not a URL"))?;
    if uri.scheme() != Some(&Scheme::HTTP) && uri.scheme() != Some(&Scheme::HTTPS) {
        return Err(wrong("must begin with http:// or https://"));
    }
    if uri.authority().is_none_or(|authority| authority.as_str().contains('@')) {
        return Err(SettingsError::UrlWithCredentials);
    }
    if uri.query().is_some() || base_url.contains('#') {
        return Err(wrong("must end with a path: requests append theirs to it"));
    }
    Ok(base_url.trim_end_matches('/'))
}

/// The host and, unless the scheme implies it, the port.
fn host(base: &str) -> Result<HeaderValue, SettingsError> {
    let wrong = || SettingsError::Url { url: Box::from(base), rule: "must name a host" };
    let uri: Uri = base.parse().map_err(|_| wrong())?;
    let host = uri.host().ok_or_else(wrong)?;
    let implied = if uri.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
    let text = match uri.port_u16().filter(|port| *port != implied) {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    HeaderValue::from_str(&text).map_err(|_| wrong())
}

fn join(base: &str, path: &str) -> Result<Uri, SettingsError> {
    let path = path.trim_start_matches('/');
    let wrong = || SettingsError::Path { path: Box::from(path) };
    if path.is_empty() || path.contains('#') {
        return Err(wrong());
    }
    format!("{base}/{path}").parse().map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(base_url: &str) -> Result<Routes, SettingsError> {
        let paths = BTreeMap::from([("location".to_owned(), "msg/location".to_owned())]);
        Routes::new(base_url, &SecretString::from(" key-1\n"), &paths)
    }

    #[test]
    fn every_type_has_its_address_whatever_the_base_ends_with() {
        for base in ["http://127.0.0.1:8080/gnapi/open", "http://127.0.0.1:8080/gnapi/open//"] {
            let routes = routes(base).expect("valid");
            let address = |kind| {
                let request = routes.send(Seq(7), 1, kind, Bytes::new())?;
                Some(request.uri().to_string())
            };
            let of = |path: &str| Some(format!("http://127.0.0.1:8080/gnapi/open{path}"));
            for kind in ["text", "image", "personCard", "link", "file", "video", "miniProgram", "roomAt", "gif"] {
                assert_eq!(address(kind), of(&format!("/msg/{kind}")));
            }
            for kind in ["videoNum", "voice", "quote"] {
                assert_eq!(address(kind), of(&format!("/msg/{kind}")));
            }
            assert_eq!(address("miniProgramById"), of("/miniProgram/send"));
            assert_eq!(address("videoNumById"), of("/videonum/send"));
            assert_eq!(address("location"), of("/msg/location"));
            assert_eq!(address("Text"), None);
            assert_eq!(Some(routes.directory().uri().to_string()), of("/inner/user/wx/list?IsOnline=false"));
        }
        let bare = routes("https://sender.example").expect("valid");
        let request = bare.send(Seq(7), 1, "text", Bytes::new()).expect("known");
        assert_eq!(request.uri(), "https://sender.example/msg/text");
    }

    #[test]
    fn a_request_carries_key_type_and_number() {
        let request =
            routes("http://h/open").expect("valid").send(Seq(42), 3, "text", Bytes::from("{}")).expect("known");
        assert_eq!(request.method(), Method::POST);
        assert_eq!(request.headers()["apikey"], "key-1");
        assert_eq!(request.headers()["content-type"], "application/json");
        assert_eq!(request.headers()["x-request-id"], "42-3");
        assert!(!format!("{request:?}").contains("key-1"), "the key must not be printable");
    }

    #[test]
    fn what_could_never_be_requested_is_refused_at_start() {
        let bad = [
            "",
            "sender",
            "/gnapi",
            "ftp://h/open",
            "http://u:p@h/open",
            "http://h/open?a=1",
            "http://h/a b",
            "http://h/#a",
        ];
        for url in bad {
            assert!(routes(url).is_err(), "{url}");
        }
        let key = |key: &str| Routes::new("http://h", &SecretString::from(key), &BTreeMap::new());
        assert!(matches!(key("a\nb").map(|_| ()), Err(SettingsError::ApiKey)));
        assert!(matches!(key(" ").map(|_| ()), Err(SettingsError::ApiKey)));
        let path = BTreeMap::from([("x".to_owned(), "/a b".to_owned())]);
        let refused = Routes::new("http://h", &SecretString::from("k"), &path).map(|_| ());
        assert!(matches!(refused, Err(SettingsError::Path { .. })));
    }
}
