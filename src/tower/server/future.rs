//! The response to come.

use std::{
    any::Any,
    fmt::Display,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Response, StatusCode};
use http_body::Body;
use pin_project_lite::pin_project;

use super::Config;
use crate::{
    propagation::Passing,
    state::thread,
    tower::{
        body::ObservedBody,
        exchange::{Exchange, FoundRoute, Route},
        grpc,
    },
    unwind::dispose,
};

pin_project! {
    /// The response of a [`ServerService`](super::ServerService), in its request's span.
    pub struct ServerFuture<F> {
        // None: it panicked before there was one.
        #[pin]
        inner: Option<F>,
        // What it panicked with, then, and whether the panic hook heard of it.
        panicked: Option<(Payload, bool)>,
        observer: Option<(Exchange, Arc<Config>)>,
        // Where there is no observer: what is handed on all the same.
        passing: Option<Passing>,
        // Of a request that is observed further out: the route, which goes there with the response.
        route: Option<Route>,
    }
}

impl<F> ServerFuture<F> {
    pub(super) fn observed(inner: Result<F, (Payload, bool)>, exchange: Exchange, config: Arc<Config>) -> Self {
        let (inner, panicked) = match inner {
            Ok(inner) => (Some(inner), None),
            Err(panicked) => (None, Some(panicked)),
        };
        Self { inner, panicked, observer: Some((exchange, config)), passing: None, route: None }
    }

    pub(super) fn unobserved(inner: F, passing: Option<Passing>) -> Self {
        Self { inner: Some(inner), panicked: None, observer: None, passing, route: None }
    }

    pub(super) fn within(inner: F, route: Option<Route>) -> Self {
        Self { inner: Some(inner), panicked: None, observer: None, passing: None, route }
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
        let Some((exchange, _)) = this.observer else {
            let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Pending };
            let polled = match this.passing {
                Some(passing) => passing.in_scope(|| inner.poll(context)),
                None => inner.poll(context),
            };
            let route = this.route;
            return Poll::Ready(ready!(polled).map(|response| {
                let mut response = response.map(|body| ObservedBody::new(body, None));
                if let Some(route) = route.take() {
                    response.extensions_mut().insert(FoundRoute(route));
                }
                response
            }));
        };
        let polled = match this.panicked.take() {
            Some(panicked) => Err(panicked),
            None => observe_panic(|| {
                exchange.enter(|| {
                    // Polled again after its end, it has nothing to say.
                    let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Pending };
                    let outcome = inner.poll(context);
                    if outcome.is_ready() {
                        // What the handler holds is let go of in its span.
                        this.inner.set(None);
                    }
                    outcome
                })
            }),
        };
        let outcome = match polled {
            Ok(outcome) => Ok(ready!(outcome)),
            Err(panicked) => Err(panicked),
        };
        let Some((mut exchange, config)) = this.observer.take() else { return Poll::Pending };
        Poll::Ready(match outcome {
            Ok(Ok(response)) => Ok(answer(response, exchange, &config)),
            Ok(Err(error)) => {
                failed(&mut exchange, &error);
                Err(error)
            }
            Err((payload, was_told)) => {
                exchange.panicked(&*payload, was_told);
                if !config.panic_response {
                    drop(exchange);
                    resume_unwind(payload);
                }
                dispose(payload);
                let (mut head, body) = if exchange.is_rpc() {
                    grpc::internal_error().into_parts()
                } else {
                    let mut response = Response::new(ObservedBody::empty());
                    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                    response.into_parts()
                };
                exchange.answered(&head);
                exchange.name_error(&mut head, config.error_id.as_ref());
                Ok(Response::from_parts(head, body))
            }
        })
    }
}

/// What a panic carries.
type Payload = Box<dyn Any + Send>;

/// Runs a part of the service. `Err`: it panicked; and whether the panic hook has told of it.
pub(crate) fn observe_panic<T>(run: impl FnOnce() -> T) -> Result<T, (Payload, bool)> {
    let reported = thread::panics_reported();
    catch_unwind(AssertUnwindSafe(run)).map_err(|payload| (payload, thread::panics_reported() != reported))
}

fn answer<B: Body>(response: Response<B>, mut exchange: Exchange, config: &Config) -> Response<ObservedBody<B>> {
    let (mut head, body) = response.into_parts();
    if let Some(FoundRoute(route)) = head.extensions.remove() {
        exchange.is_routed(route);
    }
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
