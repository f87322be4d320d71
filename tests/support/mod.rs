//! A crumbtrail that sends to a receiver in this process, and views of what arrived.
#![allow(dead_code, unreachable_pub)]

pub mod collector;

use std::{sync::OnceLock, time::Duration};

use crumbtrail::{Builder, Telemetry, TelemetryGuard};
use crumbtrail_receiver::{Log, Received, Receiver, Span};

/// Long enough for a busy machine; nothing here measures time.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Pipeline {
    pub receiver: Receiver,
    pub telemetry: Telemetry,
    _guard: Option<TelemetryGuard>,
}

impl Pipeline {
    /// A pipeline of its own; touches nothing global.
    pub fn new(configure: impl FnOnce(Builder, &Receiver) -> Builder) -> Self {
        let receiver = Receiver::start().expect("a receiver");
        let telemetry = configure(builder(&receiver), &receiver).build().expect("telemetry");
        Self { receiver, telemetry, _guard: None }
    }

    /// The one that is installed in this test binary.
    pub fn installed() -> &'static Self {
        static INSTALLED: OnceLock<Pipeline> = OnceLock::new();
        INSTALLED.get_or_init(|| {
            let receiver = Receiver::start().expect("a receiver");
            let guard = builder(&receiver).with_console(false).install().expect("installed");
            Self { receiver, telemetry: guard.telemetry().clone(), _guard: Some(guard) }
        })
    }

    /// Runs `work` under a subscriber with only this pipeline's layer.
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        use tracing_subscriber::layer::SubscriberExt;
        tracing::subscriber::with_default(tracing_subscriber::registry().with(self.telemetry.layer()), work)
    }

    /// Everything that had been recorded when this was called.
    pub fn received(&self) -> Received {
        self.telemetry.flush(PATIENCE).expect("delivered");
        self.receiver.received()
    }

    /// The exceptions whose body, message or type contains a text.
    pub fn exceptions(&self, containing: &str) -> Vec<Log> {
        let found = |log: &&Log| {
            [&*log.body, log.text("exception.message"), log.text("exception.type")].iter().any(|text| text.contains(containing))
        };
        self.received().exceptions().filter(found).cloned().collect()
    }

    /// The only such exception.
    pub fn exception(&self, containing: &str) -> Log {
        let mut found = self.exceptions(containing);
        assert_eq!(found.len(), 1, "exceptions with {containing:?}: {found:#?}");
        found.remove(0)
    }

    /// The only log record with this body.
    pub fn log(&self, body: &str) -> Log {
        let mut found: Vec<Log> = self.received().logs.into_iter().filter(|log| log.body == body).collect();
        assert_eq!(found.len(), 1, "logs {body:?}: {found:#?}");
        found.remove(0)
    }

    /// The only span with this name.
    pub fn span(&self, name: &str) -> Span {
        let mut found: Vec<Span> = self.received().spans.into_iter().filter(|span| span.name == name).collect();
        assert_eq!(found.len(), 1, "spans {name:?}: {found:#?}");
        found.remove(0)
    }
}

impl Drop for Pipeline {
    /// Before the receiver goes.
    fn drop(&mut self) {
        let _ = self.telemetry.shutdown(PATIENCE);
    }
}

fn builder(receiver: &Receiver) -> Builder {
    crumbtrail::builder(crumbtrail::service!().with_name("test-service").with_crate(env!("CARGO_CRATE_NAME")))
        .with_endpoint(receiver.http_endpoint())
        .with_exception_rate(crumbtrail::config::ExceptionRate::unlimited())
}

/// The breadcrumbs of an exception, as JSON.
pub fn breadcrumbs(exception: &Log) -> Vec<serde_json::Value> {
    match exception.text("crumbtrail.breadcrumbs") {
        "" => Vec::new(),
        text => serde_json::from_str(text).expect("breadcrumbs are JSON"),
    }
}

/// The messages of the log breadcrumbs, oldest first.
pub fn messages(exception: &Log) -> Vec<String> {
    let logs = breadcrumbs(exception).into_iter().filter(|crumb| crumb["category"] == "log");
    logs.map(|crumb| crumb["message"].as_str().unwrap_or_default().to_owned()).collect()
}
