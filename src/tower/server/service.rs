//! The service around a service.

use std::{
    fmt::Display,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::{Config, ServerFuture, future::observe_panic, request};
use crate::tower::body::ObservedBody;

/// Another of these is around it.
#[derive(Clone, Copy)]
struct Observed;

/// Made by [`ServerLayer`](super::ServerLayer).
#[derive(Clone)]
pub struct ServerService<S> {
    inner: S,
    config: Arc<Config>,
}

impl<S> ServerService<S> {
    pub(super) fn new(inner: S, config: Arc<Config>) -> Self {
        Self { inner, config }
    }
}

impl<S: std::fmt::Debug> std::fmt::Debug for ServerService<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ServerService").field(&self.inner).finish()
    }
}

impl<S, RequestBody, ResponseBody> Service<Request<RequestBody>> for ServerService<S>
where
    S: Service<Request<RequestBody>, Response = Response<ResponseBody>>,
    S::Error: Display + 'static,
    ResponseBody: Body,
    ResponseBody::Error: Display,
{
    type Response = Response<ObservedBody<ResponseBody>>;
    type Error = S::Error;
    type Future = ServerFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<RequestBody>) -> Self::Future {
        // A router within a router: one request is observed once, by the outermost, which is told the route that only this one knows.
        if request.extensions().get::<Observed>().is_some() {
            let route = request::found_route(&self.config, &request);
            return ServerFuture::within(self.inner.call(request), route);
        }
        request.extensions_mut().insert(Observed);
        let Some(exchange) = request::begin(&self.config, &request, None) else {
            let passing = request::passing(&self.config, &request);
            let future = match &passing {
                Some(passing) => passing.in_scope(|| self.inner.call(request)),
                None => self.inner.call(request),
            };
            return ServerFuture::unobserved(future, passing);
        };
        // A service may do its work, and panic, before there is a future.
        let future = observe_panic(|| exchange.enter(|| self.inner.call(request)));
        ServerFuture::observed(future, exchange, self.config.clone())
    }
}
