//! A TCP proxy that behaves as bad networks and sick receivers do, and as they do when they
//! recover. With a certificate it also ends TLS.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

/// What becomes of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They lead to the receiver.
    Pass,
    /// Nobody listens; open ones are reset.
    Refuse,
    /// They are accepted, and then nothing happens, ever: not even when the mode changes.
    Silent,
    /// The request arrives a few bytes at a time.
    Drip,
    /// Reset after some bytes of the request.
    ResetInBody,
    /// The request arrives; instead of an answer the connection ends.
    CloseBeforeAnswer,
    /// The request arrives; its connection is closed towards the sender only, and stays open the
    /// other way.
    HalfClose,
}

/// A running proxy. Ends with its handle.
pub struct Proxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    accepted: Arc<AtomicU64>,
}

impl Proxy {
    /// Leads to `target`, with TLS if a configuration is given.
    ///
    /// # Errors
    /// No port or no thread is to be had.
    pub fn start(target: SocketAddr, tls: Option<ServerConfig>) -> std::io::Result<Self> {
        let (mode, modes) = watch::channel(Mode::Pass);
        let accepted = Arc::new(AtomicU64::new(0));
        let count = accepted.clone();
        let tls = tls.map(|tls| TlsAcceptor::from(Arc::new(tls)));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (first, address) = runtime.block_on(async { anywhere() })?;
        std::thread::Builder::new()
            .name("chaos-proxy".to_owned())
            .spawn(move || runtime.block_on(serve(first, address, target, modes, tls, count)))?;
        Ok(Self { address, mode, accepted })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on.
    pub fn set(&self, mode: Mode) {
        let _ = self.mode.send(mode);
    }

    /// Connections so far.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::SeqCst)
    }
}

/// Below the ports the system gives to outgoing connections.
fn anywhere() -> std::io::Result<(TcpListener, SocketAddr)> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let start = u64::from(std::process::id()) * 97 + NEXT.fetch_add(1, Ordering::SeqCst);
    let ports = (0..1_000).map(|step| 11_000 + ((start + step * 7) % 20_000) as u16);
    let mut tried = ports.map(|port| {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        // Without SO_REUSEADDR: that would share a port with a proxy that refuses right now.
        std::net::TcpListener::bind(address)?;
        listen(address).map(|listener| (listener, address))
    });
    tried.find(Result::is_ok).unwrap_or_else(|| Err(std::io::ErrorKind::AddrInUse.into()))
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = bound(address)?;
    socket.listen(1024)
}

fn bound(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Keeps the port while nobody listens: the next proxy would take it for free, and be sent what is
/// this one's.
fn hold_port(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = bound(address)?;
    // From now on nobody may share it.
    socket.set_reuseaddr(false)?;
    Ok(socket)
}

fn listen_on(held: TcpSocket) -> std::io::Result<TcpListener> {
    held.set_reuseaddr(true)?;
    held.listen(1024)
}

async fn serve(
    first: TcpListener,
    address: SocketAddr,
    target: SocketAddr,
    mut modes: watch::Receiver<Mode>,
    tls: Option<TlsAcceptor>,
    accepted: Arc<AtomicU64>,
) {
    let (mut listener, mut held) = (Some(first), None);
    loop {
        let mode = *modes.borrow_and_update();
        if mode == Mode::Refuse {
            if listener.take().is_some() {
                held = hold_port(address).ok();
                // Somebody was quicker.
                for _ in 0..1_000 {
                    if held.is_some() {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    held = hold_port(address).ok();
                }
            }
            if modes.changed().await.is_err() {
                return;
            }
            continue;
        }
        if listener.is_none() {
            listener = held.take().map_or_else(|| listen(address), listen_on).ok();
        }
        let Some(open) = &listener else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        tokio::select! {
            changed = modes.changed() => if changed.is_err() { return },
            connection = open.accept() => if let Ok((client, _)) = connection {
                accepted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(one(client, target, modes.clone(), tls.clone()));
            },
        }
    }
}

/// One connection, from its beginning to its end.
async fn one(client: TcpStream, target: SocketAddr, modes: watch::Receiver<Mode>, tls: Option<TlsAcceptor>) {
    if *modes.borrow() == Mode::Silent {
        return hold(client, modes).await;
    }
    // A reset, not an orderly end, when it is dropped while data is unread.
    #[allow(deprecated, reason = "zero does not block")]
    let _ = client.set_linger(Some(Duration::ZERO));
    match tls {
        Some(tls) => {
            if let Ok(client) = tls.accept(client).await {
                pump(client, target, modes).await;
            }
        }
        None => pump(client, target, modes).await,
    }
}

/// Keeps a connection open and never says a word; ends only when refused.
async fn hold<T>(connection: T, mut modes: watch::Receiver<Mode>) {
    let _ = modes.wait_for(|mode| *mode == Mode::Refuse).await;
    drop(connection);
}

/// Reads on, until refused or closed by the other side.
async fn discard<C: AsyncRead + Unpin>(mut client: C, mut modes: watch::Receiver<Mode>) {
    let mut nowhere = tokio::io::sink();
    tokio::select! {
        _ = modes.wait_for(|mode| *mode == Mode::Refuse) => {}
        _ = tokio::io::copy(&mut client, &mut nowhere) => {}
    }
}

async fn pump<C: AsyncRead + AsyncWrite + Unpin>(mut client: C, target: SocketAddr, mut modes: watch::Receiver<Mode>) {
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    let (mut from_client, mut from_server) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
    let mut passed = 0;
    loop {
        let mode = *modes.borrow_and_update();
        match mode {
            Mode::Refuse => return,
            Mode::Silent => return hold((client, server), modes).await,
            _ => {}
        }
        tokio::select! {
            changed = modes.changed() => if changed.is_err() { return },
            read = client.read(&mut from_client) => {
                let Ok(length @ 1..) = read else {
                    let _ = server.shutdown().await;
                    // What the server still has to say.
                    let _ = tokio::io::copy(&mut server, &mut client).await;
                    return;
                };
                passed += length;
                match mode {
                    Mode::ResetInBody if passed > 200 => return,
                    Mode::Drip => for piece in from_client[..length].chunks(512) {
                        if server.write_all(piece).await.is_err() { return }
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    },
                    _ => if server.write_all(&from_client[..length]).await.is_err() { return },
                }
            }
            read = server.read(&mut from_server) => {
                let Ok(length @ 1..) = read else { return };
                // HTTP/2 begins with the server's settings; the answer to a request comes after some of the client's bytes.
                match mode {
                    Mode::CloseBeforeAnswer if passed > 200 => return,
                    Mode::HalfClose if passed > 200 => {
                        let _ = client.shutdown().await;
                        return discard(client, modes).await;
                    }
                    _ => {}
                }
                if client.write_all(&from_server[..length]).await.is_err() { return }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_a_proxy_that_refuses_is_nobody_elses() {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
        let proxy = Proxy::start(nowhere, None).expect("a proxy");
        assert!(std::net::TcpStream::connect(proxy.address()).is_ok());
        proxy.set(Mode::Refuse);
        while std::net::TcpStream::connect(proxy.address()).is_ok() {
            std::thread::yield_now();
        }
        // It is held as soon as the other listener is gone.
        while std::net::TcpListener::bind(proxy.address()).is_ok() {
            std::thread::yield_now();
        }
        proxy.set(Mode::Pass);
        while std::net::TcpStream::connect(proxy.address()).is_err() {
            std::thread::yield_now();
        }
    }
}
