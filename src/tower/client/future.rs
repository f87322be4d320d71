//! The response to come.

use std::{
    fmt::Display,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Response;
use http_body::Body;
use pin_project_lite::pin_project;

use crate::tower::{body::ObservedBody, exchange::Exchange};

pin_project! {
    /// The response to a [`ClientService`](super::ClientService), in its call's span.
    pub struct ClientFuture<F> {
        #[pin]
        inner: F,
        exchange: Option<Exchange>,
    }
}

impl<F> ClientFuture<F> {
    pub(super) fn new(inner: F, exchange: Option<Exchange>) -> Self {
        Self { inner, exchange }
    }
}

impl<F> std::fmt::Debug for ClientFuture<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientFuture").finish_non_exhaustive()
    }
}

impl<F, B, E> Future for ClientFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Display,
    B: Body,
{
    type Output = Result<Response<ObservedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Some(exchange) = this.exchange else {
            return Poll::Ready(ready!(this.inner.poll(context)).map(|response| response.map(|body| ObservedBody::new(body, None))));
        };
        let outcome = ready!(exchange.enter(|| this.inner.poll(context)));
        let exchange = this.exchange.take();
        Poll::Ready(match (outcome, exchange) {
            (Ok(response), Some(mut exchange)) => {
                let (head, body) = response.into_parts();
                let is_complete = exchange.answered(&head) || body.is_end_stream();
                if is_complete {
                    exchange.complete();
                }
                Ok(Response::from_parts(head, ObservedBody::new(body, (!is_complete).then_some(exchange))))
            }
            (Ok(response), None) => Ok(response.map(|body| ObservedBody::new(body, None))),
            (Err(error), exchange) => {
                if let Some(mut exchange) = exchange {
                    exchange.failed(std::any::type_name::<E>(), &error.to_string());
                }
                Err(error)
            }
        })
    }
}
