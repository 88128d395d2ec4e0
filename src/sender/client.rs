//! Makes one HTTP exchange and reports what was seen of it, in words that are provable.
//!
//! - "Connect failed" is only what came before there was a connection to write to.
//! - Redirects, decompression, cookies and retries of anything that may have left do not exist here.
//! - A connection is used again only while it was idle for less than `reuse_idle`, or half the time that its server
//!   announces: a server that closes idle connections could otherwise close one just as a request leaves on it, and
//!   that request would be in doubt.

use super::SettingsError;
use super::classify::{AnswerBody, Observed};
use super::connection::{BoundedConnector, Line};
use super::idle::{Idle, announced};
use crate::model::Doubt;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::http::response::Parts;
use hyper::http::{HeaderValue, header};
use hyper::{Request, Uri};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

/// Longest head of an answer, in bytes.
pub(super) const HEAD_BYTES_MAX: usize = 64 * 1024;

/// How to reach one server.
pub struct Reach<'a> {
    /// From the start of an exchange to the last byte of its answer.
    pub timeout: Duration,
    /// For name resolution, TCP and TLS together. Shorter than `timeout`, so that a connection that does not come
    /// about is seen as that and not as a doubt.
    pub connect_timeout: Duration,
    /// Most idle connections that are kept.
    pub connections: usize,
    /// How long an idle connection may be used again whose server does not say how long it keeps it; zero for never,
    /// whatever it says.
    pub reuse_idle: Duration,
    /// The only certificate authorities to trust, instead of the public ones.
    pub ca_pem: Option<&'a [u8]>,
}

/// The connections to one server.
pub struct Exchanger {
    connector: BoundedConnector,
    idle: Arc<Idle>,
    timeout: Duration,
    /// Whether to tell the server that a connection is not used again.
    single_use: bool,
}

impl Exchanger {
    /// # Errors
    /// When the certificates cannot be read or the time-outs contradict each other.
    pub fn new(reach: &Reach<'_>) -> Result<Self, SettingsError> {
        if reach.connect_timeout.is_zero() || reach.connect_timeout >= reach.timeout {
            return Err(SettingsError::Timeouts { connect: reach.connect_timeout, total: reach.timeout });
        }
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let tls = tls_config(reach.ca_pem)?;
        let inner =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(tcp);
        Ok(Self {
            connector: BoundedConnector::new(inner, reach.connect_timeout),
            idle: Arc::new(Idle::new(reach.connections, reach.reuse_idle)),
            timeout: reach.timeout,
            single_use: reach.reuse_idle.is_zero(),
        })
    }

    /// Makes `request` and reads at most `body_max` bytes of the answer's body.
    ///
    /// Dropping the future closes the connection; the request may have had its effect by then.
    pub async fn exchange(&self, request: Request<Full<Bytes>>, body_max: usize) -> Observed {
        self.exchange_within(request, body_max, self.timeout).await
    }

    /// The same, with a time limit of its own. The request's address is a whole one, and its headers name the host.
    pub async fn exchange_within(
        &self,
        mut request: Request<Full<Bytes>>,
        body_max: usize,
        timeout: Duration,
    ) -> Observed {
        if self.single_use {
            request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        let deadline = tokio::time::sleep(timeout);
        tokio::pin!(deadline);
        let mut head = None;
        let seen = tokio::select! {
            biased;
            seen = self.attempt(request, body_max, &mut head) => seen,
            // Leaving here drops the exchange, which closes its connection: no late answer can meet another request.
            () = &mut deadline => Err(Observed::TimedOut),
        };
        match (seen, head) {
            (Ok(body), Some(head)) => answered(&head, body),
            (Err(Observed::TimedOut), Some(head)) => {
                let detail = Box::from("the answer did not end within the time-out");
                answered(&head, AnswerBody::Cut { why: Doubt::Timeout, detail })
            }
            // Nothing has a body without a head.
            (Ok(_), None) => Observed::TimedOut,
            (Err(observed), _) => observed,
        }
    }

    /// Makes the exchange over a connection that was idle or a new one, and leaves the head of the answer as soon as it
    /// is there.
    async fn attempt(
        &self,
        mut request: Request<Full<Bytes>>,
        body_max: usize,
        head: &mut Option<Parts>,
    ) -> Result<AnswerBody, Observed> {
        let address = request.uri().clone();
        if let Some(path) = address.path_and_query() {
            *request.uri_mut() = Uri::from(path.clone());
        }
        // Takes another connection when the idle one turns out to be closed. It cannot send twice: the request comes
        // back only while it still waits in the connection's queue, that is, before a byte of it was written. Without
        // this such a request would be a doubt without reason.
        while let Some(mut line) = self.idle.take().await {
            match line.exchange(request, body_max, head).await {
                Ok(body) => {
                    self.keep(line, head.as_ref()).await;
                    return Ok(body);
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(Observed::Broken { detail: causes(&error.into_error()) }),
                },
            }
        }
        let mut line = Line::open(self.connector.clone(), address).await?;
        let body = line.exchange(request, body_max, head).await;
        let body = body.map_err(|error| Observed::Broken { detail: causes(&error.into_error()) })?;
        self.keep(line, head.as_ref()).await;
        Ok(body)
    }

    async fn keep(&self, line: Box<Line>, head: Option<&Parts>) {
        if !self.single_use {
            self.idle.put(line, head.and_then(|head| announced(&head.headers))).await;
        }
    }
}

fn answered(head: &Parts, body: AnswerBody) -> Observed {
    let retry_after = head.headers.get(header::RETRY_AFTER).map(|value| Bytes::copy_from_slice(value.as_bytes()));
    Observed::Answer { status: head.status.as_u16(), retry_after, body }
}

/// The body, as far as `max` bytes go.
pub(super) async fn read_body(mut body: Incoming, max: usize) -> AnswerBody {
    if body.size_hint().lower() > max as u64 {
        return AnswerBody::TooLarge;
    }
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => return AnswerBody::Cut { why: Doubt::Unreadable, detail: causes(&error) },
        };
        // Trailers say nothing that counts here.
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > max {
            return AnswerBody::TooLarge;
        }
        whole.extend_from_slice(&data);
    }
    AnswerBody::Whole(Bytes::from(whole))
}

/// The error with everything that caused it, because the outermost one only says where it was noticed.
pub(super) fn causes(error: &dyn Error) -> Box<str> {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text.into_boxed_str()
}

pub(super) fn tls_config(ca_pem: Option<&[u8]>) -> Result<ClientConfig, SettingsError> {
    let unusable = |reason: String| SettingsError::Certificates { reason: reason.into_boxed_str() };
    let mut roots = RootCertStore::empty();
    match ca_pem {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
                roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(unusable("no certificate in it".to_owned()));
            }
        }
    }
    // The provider is named, because a process-wide default could be another one or none.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(error.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
