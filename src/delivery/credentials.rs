//! Headers that do not last: tokens. Comes in: what the program gives when it is asked. Goes out:
//! the headers of the next attempts, until a receiver refuses them.

use std::{
    error::Error,
    fmt,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::Notify;

use crate::fork::{Mutex, PerProcess};

/// What a program gives: names and values.
type Given = Result<Vec<(String, String)>, Box<dyn Error + Send + Sync>>;

/// Asked when headers are needed for the first time, and when they have been refused. One for all
/// signals.
#[derive(Clone)]
pub(crate) struct Credentials(Arc<Shared>);

struct Shared {
    provider: Box<dyn Fn() -> Given + Send + Sync>,
    known: Mutex<Option<Answer>>,
    answers: AtomicU64,
    /// A forked child's program is asked by itself.
    asking: PerProcess<Asking>,
}

/// What the program has answered, and the how manieth time.
#[derive(Clone, Default)]
pub(super) struct Answer {
    number: u64,
    pub(super) headers: HeaderMap,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

impl Credentials {
    pub(crate) fn new(provider: impl Fn() -> Given + Send + Sync + 'static) -> Self {
        Self(Arc::new(Shared {
            provider: Box::new(provider),
            known: Mutex::default(),
            answers: AtomicU64::new(0),
            asking: PerProcess::new(),
        }))
    }

    /// The headers to use. The program is asked on a thread on which it may wait; signals that want
    /// to know meanwhile wait for the same answer.
    ///
    /// # Errors
    /// The program has none, panicked, or gave what is no header; in words, without values.
    pub(super) async fn current(&self) -> Result<Answer, String> {
        loop {
            let asking = self.0.asking.get_or_init(Asking::default);
            let mut is_answered = pin!(asking.answered.notified());
            is_answered.as_mut().enable();
            if let Some(answer) = self.0.known.lock().clone() {
                return Ok(answer);
            }
            // One that hangs must not take a thread for each attempt.
            if asking.is_under_way.swap(true, Ordering::Acquire) {
                is_answered.await;
                continue;
            }
            let shared = self.0.clone();
            let answer = tokio::task::spawn_blocking(move || {
                let _end = End(&shared);
                let answer = shared.ask()?;
                *shared.known.lock() = Some(answer.clone());
                Ok(answer)
            });
            return answer.await.unwrap_or_else(|_| Err("the program's header provider panicked".to_owned()));
        }
    }

    /// A receiver has refused these. If no others have been given since, the program is asked
    /// again.
    pub(super) fn refused(&self, answer: &Answer) {
        let mut known = self.0.known.lock();
        if known.as_ref().is_some_and(|known| known.number == answer.number) {
            *known = None;
        }
    }
}

impl Shared {
    fn ask(&self) -> Result<Answer, String> {
        let given = (self.provider)().map_err(|error| format!("the program's header provider failed: {error}"))?;
        let headers = given.into_iter().map(|(name, value)| {
            let mut value = HeaderValue::from_str(&value).map_err(|_| format!("the header provider's value of {name:?} is no header's"))?;
            value.set_sensitive(true);
            Ok((HeaderName::try_from(&name).map_err(|_| format!("{name:?}, of the header provider, is no header's name"))?, value))
        });
        Ok(Answer { number: self.answers.fetch_add(1, Ordering::Relaxed), headers: headers.collect::<Result<_, String>>()? })
    }
}

/// Whether the program is being asked, and that it has answered.
#[derive(Default)]
struct Asking {
    is_under_way: AtomicBool,
    answered: Notify,
}

/// However it ends.
struct End<'a>(&'a Shared);

impl Drop for End<'_> {
    fn drop(&mut self) {
        let asking = self.0.asking.get_or_init(Asking::default);
        asking.is_under_way.store(false, Ordering::Release);
        asking.answered.notify_waiters();
    }
}
