//! How a connection comes about. Comes in: where a lane sends to. Goes out: a stream to there, by
//! TCP or a Unix socket, through a proxy or without, with TLS where the address asks for it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderValue, Uri};
use hyper_util::{
    client::legacy::connect::{Connected, Connection, HttpConnector, proxy::Tunnel},
    rt::TokioIo,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tower_service::Service;

use super::config::{LaneConfig, Protocol, Proxy};

/// Until there is a connection, with all that belongs to it.
const LIMIT: Duration = Duration::from_secs(5);

const KEEPALIVE: Duration = Duration::from_secs(30);

pub(super) type Error = Box<dyn std::error::Error + Send + Sync>;

/// Connects to one receiver, whatever the client asks for: it knows no other.
#[derive(Clone)]
pub(super) struct Connector {
    way: Way,
    target: Uri,
    limit: Duration,
    #[cfg(feature = "tls")]
    tls: Option<tokio_rustls::TlsConnector>,
}

/// What a connection is made of, before TLS.
#[derive(Clone)]
enum Way {
    Tcp(HttpConnector),
    #[cfg(unix)]
    Unix(std::path::PathBuf),
    /// Through a proxy that passes bytes on.
    Tunnel(Box<Tunnel<Connector>>),
    /// To a proxy that reads the requests.
    Forward(Box<Connector>),
}

impl Connector {
    /// # Errors
    /// What is wrong with certificates, or the machine, in words.
    pub(super) fn new(config: &LaneConfig) -> Result<Self, String> {
        let alpn = if config.protocol == Protocol::Grpc { "h2" } else { "http/1.1" };
        // A proxy that reads requests speaks no HTTP/2 in plain text.
        let is_read_by_proxies = config.endpoint.scheme_str() != Some("https") && config.protocol != Protocol::Grpc;
        let way = match (&config.socket, &config.proxy) {
            #[cfg(unix)]
            (Some(socket), _) => Way::Unix(socket.clone()),
            (_, Some(proxy)) if is_read_by_proxies => Way::Forward(Box::new(Self::to_proxy(config, proxy)?)),
            (_, Some(proxy)) => Way::Tunnel(Box::new(tunnel(config, proxy)?)),
            (_, None) => Way::Tcp(tcp()),
        };
        Self::by(way, config.endpoint.clone(), config, alpn)
    }

    fn to_proxy(config: &LaneConfig, proxy: &Proxy) -> Result<Self, String> {
        Self::by(Way::Tcp(tcp()), proxy.address.clone(), config, "http/1.1")
    }

    fn by(way: Way, target: Uri, config: &LaneConfig, alpn: &'static str) -> Result<Self, String> {
        let limit = if config.timeout.is_zero() { LIMIT } else { LIMIT.min(config.timeout) };
        let is_secure = target.scheme_str() == Some("https");
        #[cfg(feature = "tls")]
        {
            let tls = is_secure.then(|| config.tls.client(alpn)).transpose()?;
            Ok(Self { way, target, limit, tls: tls.map(|config| std::sync::Arc::new(config).into()) })
        }
        #[cfg(not(feature = "tls"))]
        {
            let _ = alpn;
            if is_secure {
                return Err("an https address needs crumbtrail's feature \"tls\"; or send to a local collector over http".to_owned());
            }
            Ok(Self { way, target, limit })
        }
    }

    async fn connect(self) -> Result<Stream, Error> {
        let stream = match self.way {
            Way::Tcp(mut tcp) => Stream::new(tcp.call(self.target.clone()).await?.into_inner()),
            #[cfg(unix)]
            Way::Unix(path) => Stream::new(tokio::net::UnixStream::connect(path).await?),
            Way::Tunnel(mut tunnel) => tunnel.call(self.target.clone()).await?.into_inner(),
            Way::Forward(mut proxy) => Stream { is_forwarded: true, ..proxy.call(self.target.clone()).await?.into_inner() },
        };
        #[cfg(feature = "tls")]
        if let Some(tls) = self.tls {
            let host = self.target.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
            let name = rustls::pki_types::ServerName::try_from(host.to_owned())?;
            return Ok(Stream::new(tls.connect(name, stream).await?));
        }
        Ok(stream)
    }
}

fn tcp() -> HttpConnector {
    let mut connector = HttpConnector::new();
    // What the scheme asks for beyond TCP is done here.
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_keepalive(Some(KEEPALIVE));
    connector
}

fn tunnel(config: &LaneConfig, proxy: &Proxy) -> Result<Tunnel<Connector>, String> {
    let tunnel = Tunnel::new(proxy.address.clone(), Connector::to_proxy(config, proxy)?);
    Ok(match &proxy.authorization {
        Some(authorization) => tunnel.with_auth(HeaderValue::clone(authorization)),
        None => tunnel,
    })
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let (connector, limit) = (self.clone(), self.limit);
        Box::pin(async move {
            let stream = tokio::time::timeout(limit, connector.connect()).await;
            Ok(TokioIo::new(stream.map_err(|_| format!("no connection within {limit:?}"))??))
        })
    }
}

/// A connection, of whatever kind.
pub(super) struct Stream {
    inner: Box<dyn Duplex>,
    is_forwarded: bool,
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

impl Stream {
    fn new(inner: impl Duplex + 'static) -> Self {
        Self { inner: Box::new(inner), is_forwarded: false }
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new().proxy(self.is_forwarded)
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, parts: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
