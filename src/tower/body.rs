//! A body whose end is the end of the request.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::exchange::Exchange;

pin_project! {
    /// The body of a response, and the span of its request, which ends with it: when the last frame
    /// has been taken, when it fails, or when it is dropped before that.
    pub struct ObservedBody<B> {
        // None: an answer to a panic, which has no body.
        #[pin]
        inner: Option<B>,
        exchange: Option<Exchange>,
    }
}

/// Bodies of a known length up to this are taken to be in memory.
const IN_MEMORY: u64 = 64 * 1024;

impl<B> ObservedBody<B> {
    pub(super) fn new(inner: B, exchange: Option<Exchange>) -> Self {
        Self { inner: Some(inner), exchange }
    }

    pub(super) fn empty() -> Self {
        Self { inner: None, exchange: None }
    }
}

impl<B> Default for ObservedBody<B> {
    fn default() -> Self {
        Self::empty()
    }
}

impl<B> std::fmt::Debug for ObservedBody<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObservedBody").finish_non_exhaustive()
    }
}

impl<B: Body> Body for ObservedBody<B>
where
    B::Error: std::fmt::Display,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let Some(mut inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        let Some(exchange) = this.exchange else { return inner.poll_frame(context) };
        // What lies ready in memory runs no code that would say anything.
        let lies_ready = inner.size_hint().exact().is_some_and(|bytes| bytes <= IN_MEMORY);
        let frame =
            ready!(if lies_ready { inner.as_mut().poll_frame(context) } else { exchange.enter(|| inner.as_mut().poll_frame(context)) });
        match &frame {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    exchange.trailers(trailers);
                }
                if inner.is_end_stream() {
                    end(this.exchange);
                }
            }
            Some(Err(error)) => {
                exchange.failed(std::any::type_name::<B::Error>(), &error.to_string());
                *this.exchange = None;
            }
            None => end(this.exchange),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

fn end(exchange: &mut Option<Exchange>) {
    if let Some(mut exchange) = exchange.take() {
        exchange.complete();
    }
}
