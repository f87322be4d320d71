//! Ending when asked to: SIGTERM from an orchestrator, ctrl-c from a person.

use std::{
    io,
    pin::Pin,
    sync::{Arc, OnceLock, atomic::AtomicBool},
    task::{Context, Poll},
    thread,
    time::Duration,
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
    iterator::Signals,
    low_level,
};
use tokio::sync::watch;

/// Completes when the process is asked to end, by SIGTERM or SIGINT (ctrl-c); at once if it has
/// been asked before. A second one ends the process as if nobody listened.
///
/// The handling of signals stays the program's: whoever else listens is told as well, in whatever
/// order they were set up. The first call starts a thread that waits for signals; needs no runtime.
/// Where the system refuses one it says so on stderr and never completes.
///
/// ```no_run
/// # async fn serve(app: axum::Router) -> Result<(), Box<dyn std::error::Error>> {
/// let telemetry = crumbtrail::init(crumbtrail::service!())?;
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
/// axum::serve(listener, app).with_graceful_shutdown(crumbtrail::shutdown::signal()).await?;
/// drop(telemetry); // delivers what is left, within its budget
/// # assert!(true);
/// # Ok(())
/// # }
/// ```
pub fn signal() -> ShutdownSignal {
    static ASKED: OnceLock<Option<watch::Sender<bool>>> = OnceLock::new();
    let asked = ASKED.get_or_init(|| {
        listen()
            .inspect_err(|error| {
                crate::diagnose(format_args!("cannot listen for SIGTERM: {error}; a signal ends the program without notice"))
            })
            .ok()
    });
    let mut asked = asked.as_ref().map(watch::Sender::subscribe);
    ShutdownSignal(Box::pin(async move {
        match &mut asked {
            // It is never dropped.
            Some(asked) => _ = asked.wait_for(|asked| *asked).await,
            None => std::future::pending().await,
        }
    }))
}

/// The future of [`signal`].
#[must_use = "futures do nothing unless polled"]
pub struct ShutdownSignal(Pin<Box<dyn Future<Output = ()> + Send>>);

impl std::fmt::Debug for ShutdownSignal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShutdownSignal").finish_non_exhaustive()
    }
}

impl Future for ShutdownSignal {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(context)
    }
}

/// Runs a server until the process is asked to end, and then at most `grace` longer, for the
/// requests that are being served: a stream that never ends must not keep the process. `None`: the
/// time was up.
///
/// An orchestrator kills what has not ended after its own time (Kubernetes: 30 s). Leave room in it
/// for the [shutdown budget](crate::Builder::with_shutdown_timeout) of the telemetry. Runs within
/// tokio, with time enabled.
///
/// ```no_run
/// # async fn serve(app: axum::Router) -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
///
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
/// let serve = |signal| axum::serve(listener, app).with_graceful_shutdown(signal).into_future();
/// let finished = crumbtrail::shutdown::until_signal(serve, Duration::from_secs(10)).await;
/// # assert!(finished.is_some());
/// # Ok(())
/// # }
/// ```
pub async fn until_signal<F: Future>(serve: impl FnOnce(ShutdownSignal) -> F, grace: Duration) -> Option<F::Output> {
    let over = async {
        signal().await;
        tokio::time::sleep(grace).await;
    };
    tokio::select! {
        biased;
        output = serve(signal()) => Some(output),
        () = over => None,
    }
}

fn listen() -> io::Result<watch::Sender<bool>> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let handle = signals.handle();
    let (sender, _) = watch::channel(false);
    let told = sender.clone();
    let spawned = thread::Builder::new().name("crumbtrail-signals".to_owned()).spawn(move || {
        for _ in signals.forever() {
            told.send_replace(true);
        }
    });
    let again = Arc::new(AtomicBool::new(false));
    let mut registered = Vec::new();
    let outcome = spawned.map(drop).and_then(|()| {
        for signal in [SIGTERM, SIGINT] {
            // In this order: the first arms it, the second finds it armed.
            registered.push(flag::register_conditional_default(signal, again.clone())?);
            registered.push(flag::register(signal, again.clone())?);
        }
        Ok(())
    });
    if let Err(error) = outcome {
        // A signal that nobody tells of must end the process, as it would without us.
        handle.close();
        registered.into_iter().for_each(|id| _ = low_level::unregister(id));
        for signal in [SIGTERM, SIGINT] {
            flag::register_conditional_default(signal, Arc::new(AtomicBool::new(true)))?;
        }
        return Err(error);
    }
    Ok(sender)
}
