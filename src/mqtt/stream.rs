//! The way to the broker under the packets: TCP, and over it TLS, WebSocket, or both.

use super::lost::Lost;
use rumqttc::v5::MqttOptions;
use rumqttc::{TlsConfiguration, Transport};
use rustls::pki_types::ServerName;
use std::error::Error;
use std::io;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use ws_stream_tungstenite::WsStream;

use async_tungstenite::tungstenite::client::IntoClientRequest;
use async_tungstenite::tungstenite::http::{HeaderValue, Uri};

/// What a broker must agree to speak over a WebSocket.
const SUBPROTOCOL: &str = "mqtt";
const SUBPROTOCOL_HEADER: &str = "Sec-WebSocket-Protocol";

/// Bytes to and from the broker.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects as the options say.
///
/// # Errors
/// What the network, TLS or the WebSocket's handshake has to say. Bounded by nothing: the caller sets a time limit.
pub(super) async fn open(options: &MqttOptions) -> Result<Box<dyn Stream>, Lost> {
    let (address, port) = options.broker_address();
    match options.transport() {
        Transport::Tcp => Ok(Box::new(tcp(&address, port).await?)),
        Transport::Tls(config) => {
            let socket = tcp(&address, port).await?;
            Ok(Box::new(tls(&address, config, socket).await?))
        }
        Transport::Ws => {
            let (host, port) = host_and_port(&address, port)?;
            web_socket(&address, tcp(&host, port).await?).await
        }
        Transport::Wss(config) => {
            let (host, port) = host_and_port(&address, port)?;
            let socket = tcp(&host, port).await?;
            web_socket(&address, tls(&host, config, socket).await?).await
        }
        Transport::Unix => Err(unusable("a path of a socket is no address of a broker")),
    }
}

async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let socket = TcpStream::connect((host, port)).await?;
    // Acknowledgements are small: with Nagle's algorithm each waits for the one before.
    socket.set_nodelay(true)?;
    Ok(socket)
}

async fn tls<S: Stream>(
    host: &str,
    config: TlsConfiguration,
    socket: S,
) -> Result<tokio_rustls::client::TlsStream<S>, Lost> {
    let TlsConfiguration::Rustls(config) = config else {
        return Err(unusable("TLS is configured by another library than ours"));
    };
    let name = ServerName::try_from(host.to_owned()).map_err(|error| broken("TLS", &error))?;
    let connector = TlsConnector::from(config);
    connector.connect(name, socket).await.map_err(|error| broken("TLS", &error))
}

/// `url` is all of it, which the broker may want to see.
async fn web_socket<S: Stream + 'static>(url: &str, socket: S) -> Result<Box<dyn Stream>, Lost> {
    let mut request = url.into_client_request().map_err(|error| broken("WebSocket", &error))?;
    request.headers_mut().insert(SUBPROTOCOL_HEADER, HeaderValue::from_static(SUBPROTOCOL));
    let (socket, response) =
        async_tungstenite::tokio::client_async(request, socket).await.map_err(|error| broken("WebSocket", &error))?;
    let agreed = response.headers().get(SUBPROTOCOL_HEADER).and_then(|value| value.to_str().ok());
    if agreed.map(str::trim) != Some(SUBPROTOCOL) {
        return Err(unusable("the server does not agree to speak MQTT over the WebSocket"));
    }
    Ok(Box::new(WsStream::new(socket)))
}

/// Where a WebSocket's URL leads to, an IPv6 address without its brackets.
fn host_and_port(url: &str, port: u16) -> Result<(String, u16), Lost> {
    let uri: Uri = url.parse().map_err(|_| unusable("the URL of the broker cannot be read"))?;
    let host = uri.host().ok_or_else(|| unusable("the URL of the broker names no host"))?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Ok((host.to_owned(), uri.port_u16().unwrap_or(port)))
}

fn unusable(why: &'static str) -> Lost {
    Lost::Broken { error: why.to_owned() }
}

fn broken(what: &str, error: &dyn Error) -> Lost {
    Lost::Broken { error: format!("{what}: {error}") }
}
