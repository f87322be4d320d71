//! Boots, makes a TLS client as programs do, and gets an exception through TLS to a receiver that
//! it is itself. Report 14.9.
//!
//! `cargo run --manifest-path tests/tls/Cargo.toml --features ring` (or `aws-lc`, or both).

use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::Arc,
    thread,
    time::Duration,
};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    crypto::CryptoProvider,
    pki_types::{PrivateKeyDer, pem::PemObject},
};
use tracing_subscriber::layer::SubscriberExt as _;

#[cfg(not(any(feature = "ring", feature = "aws-lc")))]
compile_error!("a program with TLS of its own has cryptography of its own: --features ring, aws-lc, or both");

fn main() {
    program();
    receive();
}

/// What a program does at its start. rustls panics here where it cannot tell which cryptography is
/// meant.
fn program() {
    #[cfg(all(feature = "ring", feature = "aws-lc"))]
    rustls::crypto::ring::default_provider().install_default().expect("nobody else has installed one");
    let _ = ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    println!("the program's own TLS is there");
}

fn receive() {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(certified.signing_key.serialize_pem().as_bytes()).expect("a key");
    #[cfg(feature = "ring")]
    let provider = rustls::crypto::ring::default_provider();
    #[cfg(not(feature = "ring"))]
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let server = ServerConfig::builder_with_provider(Arc::<CryptoProvider>::new(provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .expect("a server");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("https://localhost:{}", listener.local_addr().expect("an address").port());
    let server = Arc::new(server);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = ServerConnection::new(server.clone()).expect("a connection");
            thread::spawn(move || serve(StreamOwned::new(connection, stream)));
        }
    });

    let telemetry = crumbtrail::builder(crumbtrail::service!())
        .with_endpoint(endpoint)
        .with_certificate(certified.cert.pem().into_bytes())
        .build()
        .expect("telemetry");
    tracing::subscriber::with_default(tracing_subscriber::registry().with(telemetry.layer()), || {
        tracing::error!("through TLS");
    });
    telemetry.flush(Duration::from_secs(30)).expect("delivered");
    println!("delivered through TLS");
}

/// Answers every request with success.
fn serve(mut stream: impl Read + Write) {
    let mut seen = Vec::new();
    let mut part = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut part) {
        seen.extend_from_slice(&part[..length]);
        let Some(head) = seen.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let text = String::from_utf8_lossy(&seen[..head]).to_ascii_lowercase();
        let body: usize = text.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok()).expect("a length");
        if seen.len() >= head + 4 + body {
            seen.drain(..head + 4 + body);
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").expect("answered");
        }
    }
}
