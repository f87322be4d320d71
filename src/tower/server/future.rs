//! The response to come.

use std::{
    any::Any,
    fmt::Display,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Response, StatusCode};
use http_body::Body;
use pin_project_lite::pin_project;

use super::Config;
use crate::tower::{body::ObservedBody, exchange::Exchange};

pin_project! {
    /// The response of a [`Server`](super::Server), in its request's span.
    pub struct ServerFuture<F> {
        // None: it panicked before there was one.
        #[pin]
        inner: Option<F>,
        observer: Option<(Exchange, Arc<Config>)>,
    }
}

impl<F> ServerFuture<F> {
    pub(super) fn observed(inner: Option<F>, exchange: Exchange, config: Arc<Config>) -> Self {
        Self { inner, observer: Some((exchange, config)) }
    }

    pub(super) fn unobserved(inner: F) -> Self {
        Self { inner: Some(inner), observer: None }
    }
}

impl<F> std::fmt::Debug for ServerFuture<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerFuture").finish_non_exhaustive()
    }
}

impl<F, B, E> Future for ServerFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Display + 'static,
    B: Body,
{
    type Output = Result<Response<ObservedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some((exchange, config)) = this.observer else {
            let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Pending };
            return Poll::Ready(ready!(inner.poll(context)).map(|response| response.map(|body| ObservedBody::new(body, None))));
        };
        let mut poll = || {
            exchange.enter(|| {
                let outcome = this.inner.as_mut().as_pin_mut()?.poll(context);
                if outcome.is_ready() {
                    // What the handler holds is let go of in its span.
                    this.inner.set(None);
                }
                Some(outcome)
            })
        };
        // A panic, now or before there was a future, has been told by the hook.
        let polled = if config.panic_response { catch_unwind(AssertUnwindSafe(&mut poll)).ok().flatten() } else { poll() };
        let outcome = match polled {
            Some(outcome) => Some(ready!(outcome)),
            None => None,
        };
        let Some((mut exchange, config)) = this.observer.take() else { return Poll::Pending };
        Poll::Ready(match outcome {
            Some(Ok(response)) => Ok(answer(response, exchange, &config)),
            Some(Err(error)) => {
                failed(&mut exchange, &error);
                Err(error)
            }
            None => {
                exchange.panicked();
                let (mut head, body) = Response::new(ObservedBody::empty()).into_parts();
                head.status = StatusCode::INTERNAL_SERVER_ERROR;
                exchange.answered(&head);
                exchange.name_error(&mut head, config.error_id.as_ref());
                Ok(Response::from_parts(head, body))
            }
        })
    }
}

fn answer<B: Body>(response: Response<B>, mut exchange: Exchange, config: &Config) -> Response<ObservedBody<B>> {
    let (mut head, body) = response.into_parts();
    let is_complete = exchange.answered(&head) || body.is_end_stream();
    exchange.name_error(&mut head, config.error_id.as_ref());
    if is_complete {
        exchange.complete();
    }
    Response::from_parts(head, ObservedBody::new(body, (!is_complete).then_some(exchange)))
}

/// Boxed errors are what they hold.
fn failed<E: Display + 'static>(exchange: &mut Exchange, error: &E) {
    let boxed = (error as &dyn Any).downcast_ref::<Box<dyn std::error::Error + Send + Sync>>();
    match boxed {
        Some(boxed) => exchange.raised(&**boxed),
        None => exchange.failed(std::any::type_name::<E>(), &error.to_string()),
    }
}
