//! WebSocket, encrypted or not, to TCP: what brokers with WebSockets have built in.

use async_tungstenite::tokio::accept_hdr_async;
use async_tungstenite::tungstenite::Message;
use async_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use async_tungstenite::tungstenite::http::HeaderValue;
use futures_util::StreamExt;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

pub struct Gateway {
    port: u16,
    accepting: JoinHandle<()>,
}

impl Gateway {
    /// Forwards to `target` on 127.0.0.1; encrypted when there is an `identity`, the PEM of a certificate and its key.
    pub async fn start(target: u16, identity: Option<(String, String)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let acceptor = identity.map(|(certificate, key)| acceptor(&certificate, &key));
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                match acceptor.clone() {
                    None => drop(tokio::spawn(forward(client, target))),
                    Some(acceptor) => drop(tokio::spawn(async move {
                        if let Ok(client) = acceptor.accept(client).await {
                            forward(client, target).await;
                        }
                    })),
                }
            }
        });
        Self { port, accepting }
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn acceptor(certificate: &str, key: &str) -> TlsAcceptor {
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("an identity");
    TlsAcceptor::from(Arc::new(config))
}

async fn forward<S: AsyncRead + AsyncWrite + Unpin>(client: S, target: u16) {
    #[allow(clippy::result_large_err, reason = "the trait wants it")]
    let name_protocol = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        assert_eq!(request.uri().path(), "/mqtt");
        response.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static("mqtt"));
        Ok(response)
    };
    let Ok(mut client) = accept_hdr_async(client, name_protocol).await else { return };
    let Ok(mut broker) = TcpStream::connect(("127.0.0.1", target)).await else { return };
    let mut bytes = vec![0; 4096];
    loop {
        tokio::select! {
            message = client.next() => {
                let Some(Ok(message)) = message else { return };
                if broker.write_all(&message.into_data()).await.is_err() {
                    return;
                }
            }
            read = broker.read(&mut bytes) => {
                let Ok(count @ 1..) = read else { return };
                if client.send(Message::binary(bytes[..count].to_vec())).await.is_err() {
                    return;
                }
            }
        }
    }
}
