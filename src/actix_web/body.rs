//! A body whose end is the end of the request.

use std::{
    error::Error,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use actix_web::{
    body::{BodySize, MessageBody},
    web::Bytes,
};
use pin_project_lite::pin_project;

use crate::tower::Exchange;

pin_project! {
    /// The body of a response, and the span of its request, which ends with it: when the last part
    /// has been taken, when it fails, or when it is dropped before that.
    pub struct ObservedBody<B> {
        #[pin]
        inner: B,
        exchange: Option<Exchange>,
    }
}

impl<B> ObservedBody<B> {
    pub(super) fn new(inner: B, exchange: Option<Exchange>) -> Self {
        Self { inner, exchange }
    }
}

impl<B> fmt::Debug for ObservedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObservedBody").finish_non_exhaustive()
    }
}

impl<B: MessageBody> MessageBody for ObservedBody<B> {
    type Error = Box<dyn Error>;

    fn size(&self) -> BodySize {
        self.inner.size()
    }

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.project();
        let next = match this.exchange {
            Some(exchange) => ready!(exchange.enter(|| this.inner.poll_next(context))),
            None => ready!(this.inner.poll_next(context)),
        };
        let next = next.map(|part| part.map_err(Into::into));
        match (&next, this.exchange.as_mut()) {
            (Some(Err(error)), Some(exchange)) => exchange.failed(std::any::type_name::<B::Error>(), &error.to_string()),
            (None, Some(exchange)) => exchange.complete(),
            _ => return Poll::Ready(next),
        }
        *this.exchange = None;
        Poll::Ready(next)
    }

    fn try_into_bytes(self) -> Result<Bytes, Self> {
        let Self { inner, exchange } = self;
        match inner.try_into_bytes() {
            Ok(bytes) => {
                if let Some(mut exchange) = exchange {
                    exchange.complete();
                }
                Ok(bytes)
            }
            Err(inner) => Err(Self { inner, exchange }),
        }
    }
}
