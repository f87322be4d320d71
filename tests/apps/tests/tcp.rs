//! A key-value server on bare tokio, as small Redis servers are: a task for each connection, a span
//! for each command, a shutdown by `select!`. No framework says where a request begins; the spans
//! do.

#[path = "../../support/mod.rs"]
mod support;

use std::collections::HashMap;

use support::{Pipeline, messages};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::{Mutex, broadcast},
};
use tracing::{debug, error, info, instrument};

#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error("protocol error; unknown command {0:?}")]
    Unknown(String),
    #[error("the value of {key} is no number")]
    NotANumber {
        key: String,
        #[source]
        source: std::num::ParseIntError,
    },
}

struct Handler {
    store: std::sync::Arc<Mutex<HashMap<String, String>>>,
    shutdown: broadcast::Receiver<()>,
}

impl Handler {
    async fn run(&mut self, stream: &mut TcpStream) -> Result<(), CommandError> {
        let (reader, mut writer) = stream.split();
        let mut lines = BufReader::new(reader).lines();
        loop {
            let line = tokio::select! {
                line = lines.next_line() => line,
                _ = self.shutdown.recv() => return Ok(()),
            };
            let Ok(Some(line)) = line else { return Ok(()) };
            let answer = self.apply(&line).await?;
            if writer.write_all(format!("{answer}\n").as_bytes()).await.is_err() {
                return Ok(());
            }
        }
    }

    /// A command is what a request is elsewhere.
    #[instrument(name = "command", skip_all, err, fields(command = line.split(' ').next()))]
    async fn apply(&mut self, line: &str) -> Result<String, CommandError> {
        let mut words = line.split(' ');
        let (command, key, value) = (words.next().unwrap_or_default(), words.next().unwrap_or_default(), words.next().unwrap_or_default());
        crumbtrail::set_tag("key", key);
        debug!("applying");
        let mut store = self.store.lock().await;
        match command {
            "SET" => {
                store.insert(key.to_owned(), value.to_owned());
                Ok("OK".to_owned())
            }
            "GET" => Ok(store.get(key).cloned().unwrap_or_default()),
            "INCR" => {
                let value = store.entry(key.to_owned()).or_insert_with(|| "0".to_owned());
                let number: i64 = value.parse().map_err(|source| CommandError::NotANumber { key: key.to_owned(), source })?;
                *value = (number + 1).to_string();
                Ok(value.clone())
            }
            "PANIC" => panic!("a command that cannot be"),
            other => Err(CommandError::Unknown(other.to_owned())),
        }
    }
}

/// Serves until told to end; errors of connections are logged, as such servers do.
async fn serve(listener: TcpListener, shutdown: broadcast::Sender<()>) {
    let store = std::sync::Arc::default();
    let mut end = shutdown.subscribe();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = end.recv() => return,
        };
        let Ok((mut stream, _)) = accepted else { continue };
        let mut handler = Handler { store: std::sync::Arc::clone(&store), shutdown: shutdown.subscribe() };
        tokio::spawn(async move {
            if let Err(failure) = handler.run(&mut stream).await {
                error!(error = &failure as &dyn std::error::Error, "connection error");
            }
            info!("closed");
        });
    }
}

async fn talk(address: std::net::SocketAddr, commands: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(commands.as_bytes()).await.expect("sent");
    stream.shutdown().await.expect("half closed");
    let mut answer = String::new();
    // Where the other side fails it may reset.
    let _ = stream.read_to_string(&mut answer).await;
    answer
}

/// Reports 14.2, 14.5.
#[test]
fn a_failed_command_is_one_exception_and_nothing_mixes() {
    let pipeline = Pipeline::installed();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (shutdown, _) = broadcast::channel(1);
        let server = tokio::spawn(serve(listener, shutdown.clone()));
        // Many at once, and every third fails.
        let clients: Vec<_> = (0..30)
            .map(|number| {
                let commands = if number % 3 == 0 {
                    format!("SET k{number} v{number}\nINCR k{number}\n")
                } else {
                    format!("SET k{number} {number}\nINCR k{number}\nGET k{number}\n")
                };
                tokio::spawn(async move { (number, talk(address, &commands).await) })
            })
            .collect();
        for client in clients {
            let (number, answer) = client.await.expect("no panic");
            let expected = if number % 3 == 0 { "OK\n".to_owned() } else { format!("OK\n{0}\n{0}\n", number + 1) };
            assert!(expected.starts_with(&answer), "{number}: {answer:?}");
        }
        talk(address, "PANIC now\n").await;
        talk(address, "FLUSH\n").await;
        shutdown.send(()).expect("somebody listens");
        server.await.expect("no panic");
    });

    let failed = pipeline.exceptions("is no number");
    assert_eq!(failed.len(), 10, "one for each, though the connection's task logs it, too: {failed:#?}");
    for exception in &failed {
        let key = exception.text("key");
        assert!(
            exception.text("exception.message").contains(&format!("the value of {key} is")),
            "{key}: {}",
            exception.text("exception.message")
        );
        // `err` tells the text alone.
        assert_eq!(exception.text("exception.type"), "error");
        assert_eq!((exception.text("command"), messages(exception)), ("INCR", vec!["applying".to_owned()]));
        assert!(!exception.trace_id.is_empty());
    }
    let panic = pipeline.exception("a command that cannot be");
    assert_eq!((panic.text("exception.type"), panic.text("command"), panic.text("key")), ("panic", "PANIC", "now"));
    assert_eq!(pipeline.exception("unknown command").text("command"), "FLUSH");
    // The connection's log names the command's exception.
    let echoes: Vec<_> = pipeline.received().logs.into_iter().filter(|log| log.body == "connection error").collect();
    assert_eq!(echoes.len(), 11);
    for echo in &echoes {
        assert!(!echo.text("crumbtrail.error.id").is_empty(), "{echo:#?}");
    }
}
