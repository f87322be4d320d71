//! Around what is called.

mod future;
mod request;

use std::{
    fmt::Display,
    task::{Context, Poll},
};

use http::{Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

#[cfg(feature = "reqwest-0-13")]
pub(super) use self::request::begin_parts;
#[cfg(feature = "reqwest-middleware-0-5")]
pub(super) use self::request::template as template_in;
pub use self::{future::ClientFuture, request::UrlTemplate};
use super::body::ObservedBody;

/// Spans, breadcrumbs and metrics of calls to others, see [the module](super): for clients of
/// hyper-util, tonic's `Channel`, and whatever else is a service of HTTP requests. Writes the
/// current trace context and baggage into each request.
///
/// The span's name and the metric's series are those of the method; a [`UrlTemplate`] among the
/// request's extensions makes them say more. Full URLs go through the [scrubber](crate::Scrubber).
/// A failed call is no exception: whoever calls may try again, or do without.
///
/// ```
/// use crumbtrail::tower::ClientLayer;
/// use tower::{Layer, service_fn};
///
/// let channel = service_fn(|_: http::Request<String>| async { Ok::<_, std::io::Error>(http::Response::new(String::new())) });
/// let client = ClientLayer::new().layer(channel);
/// # let _ = client;
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ClientLayer {}

impl ClientLayer {
    /// A layer with the defaults.
    pub fn new() -> Self {
        Self::default()
    }
}

impl<S> Layer<S> for ClientLayer {
    type Service = ClientService<S>;

    fn layer(&self, inner: S) -> ClientService<S> {
        ClientService { inner }
    }
}

/// Made by [`ClientLayer`].
#[derive(Clone, Debug)]
pub struct ClientService<S> {
    inner: S,
}

impl<S, RequestBody, ResponseBody> Service<Request<RequestBody>> for ClientService<S>
where
    S: Service<Request<RequestBody>, Response = Response<ResponseBody>>,
    S::Error: Display,
    ResponseBody: Body,
    ResponseBody::Error: Display,
{
    type Response = Response<ObservedBody<ResponseBody>>;
    type Error = S::Error;
    type Future = ClientFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<RequestBody>) -> Self::Future {
        let exchange = request::begin(&mut request);
        let inner = match &exchange {
            Some(exchange) => exchange.enter(|| self.inner.call(request)),
            None => self.inner.call(request),
        };
        ClientFuture::new(inner, exchange)
    }
}
