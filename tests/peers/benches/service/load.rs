//! Load generators on loopback: as much as it takes, or so many requests a second.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const CONNECTIONS: usize = 32;
const REQUEST: &[u8] = b"GET /hello/ada HTTP/1.1\r\nhost: localhost:8080\r\nuser-agent: bench/1\r\n\r\n";

fn check(answer: &[u8]) {
    // An answer is small: it comes whole.
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(answer));
}

/// Keeps every connection busy; how many answers there were. One thread, many connections: each has
/// one request under way.
pub(super) fn saturate(address: &str, duration: Duration) -> u64 {
    let (answers, over) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut streams: Vec<TcpStream> = (0..CONNECTIONS).map(|_| TcpStream::connect(address).expect("it listens")).collect();
            streams.iter_mut().for_each(|stream| {
                stream.set_nodelay(true).expect("set");
                stream.write_all(REQUEST).expect("sent");
            });
            let mut buffer = [0; 4096];
            while !over.load(Ordering::Relaxed) {
                for stream in &mut streams {
                    let length = stream.read(&mut buffer).expect("an answer");
                    check(&buffer[..length]);
                    answers.fetch_add(1, Ordering::Relaxed);
                    stream.write_all(REQUEST).expect("sent");
                }
            }
        });
        std::thread::sleep(duration);
        over.store(true, Ordering::Relaxed);
    });
    answers.into_inner()
}

/// So many requests a second, spread over the connections; each answer's time in nanoseconds, from
/// when its request was sent. Who is late sends at once.
pub(super) fn pace(address: &str, rate: u32, duration: Duration) -> Vec<u64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let between = Duration::from_secs(1) / rate;
    runtime.block_on(async {
        let begun = tokio::time::Instant::now();
        let tasks: Vec<_> = (0..CONNECTIONS as u32)
            .map(|number| {
                let address = address.to_owned();
                tokio::task::spawn(async move {
                    let mut stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
                    stream.set_nodelay(true).expect("set");
                    let (mut next, mut took, mut buffer) = (begun + between * number, Vec::new(), [0; 4096]);
                    while next < begun + duration {
                        tokio::time::sleep_until(next).await;
                        next += between * CONNECTIONS as u32;
                        let sent = Instant::now();
                        stream.write_all(REQUEST).await.expect("sent");
                        let length = stream.read(&mut buffer).await.expect("an answer");
                        check(&buffer[..length]);
                        took.push(sent.elapsed().as_nanos() as u64);
                    }
                    took
                })
            })
            .collect();
        let mut all = Vec::new();
        for task in tasks {
            all.extend(task.await.expect("no panic"));
        }
        all
    })
}
