//! Calls by reqwest, whose requests are of its own type.

use std::{fmt::Display, future::poll_fn, pin::pin};

use http::Uri;
use reqwest::{Request, RequestBuilder, Response};

use super::{client::begin_parts, exchange::Exchange};

/// Sends a request in a client span, with trace context and baggage, as
/// [`ClientLayer`](super::ClientLayer) does.
///
/// The span ends with the response's head: reqwest's body is not ours to watch.
///
/// ```
/// use crumbtrail::tower::RequestBuilderExt;
///
/// async fn charge(client: &reqwest::Client, id: u64) -> reqwest::Result<reqwest::Response> {
///     client.post(format!("http://payments/charge/{id}")).send_traced(Some("/charge/{id}")).await?.error_for_status()
/// }
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let client = reqwest::Client::builder().no_proxy().build().unwrap();
/// # let request = client.get("http://127.0.0.1:1/").send_traced(None);
/// # let (_, collected) = crumbtrail::testing::collect_async(request).await;
/// # assert_eq!(collected.span("GET").kind(), "client");
/// # });
/// # let _ = charge;
/// ```
pub trait RequestBuilderExt: sealed::Sealed {
    /// As `send`. `template` is that of the URL's path, of which there must be few; it names the
    /// span and the series.
    ///
    /// # Errors
    /// Those of `send`.
    fn send_traced(self, template: Option<&'static str>) -> impl Future<Output = reqwest::Result<Response>> + Send;
}

impl RequestBuilderExt for RequestBuilder {
    async fn send_traced(self, template: Option<&'static str>) -> reqwest::Result<Response> {
        let (client, request) = self.build_split();
        let mut request = request?;
        let exchange = begin(&mut request, template);
        let sending = client.execute(request);
        observed(exchange, sending, "reqwest::Error").await
    }
}

/// Every call of a client, by way of reqwest-middleware:
/// `ClientBuilder::new(client).with(ClientLayer::new())`. A [`UrlTemplate`](super::UrlTemplate)
/// goes among the request's extensions (`with_extension`). Where calls are tried again, put it
/// behind what does that: each attempt is a call.
///
/// ```
/// use crumbtrail::tower::{ClientLayer, UrlTemplate};
/// use reqwest_middleware::ClientBuilder;
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let client = reqwest::Client::builder().no_proxy().build().unwrap();
/// let client = ClientBuilder::new(client).with(ClientLayer::new()).build();
/// let call = client.get("http://127.0.0.1:1/charge/7").with_extension(UrlTemplate::new("/charge/{id}"));
/// let (answer, collected) = crumbtrail::testing::collect_async(call.send()).await;
/// assert!(answer.is_err(), "nobody is there");
/// assert_eq!(collected.span("GET /charge/{id}").kind(), "client");
/// # });
/// ```
#[cfg(feature = "reqwest-middleware-0-5")]
#[async_trait::async_trait]
impl reqwest_middleware::Middleware for super::ClientLayer {
    async fn handle(
        &self,
        mut request: Request,
        extensions: &mut http::Extensions,
        next: reqwest_middleware::Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        let exchange = begin(&mut request, super::client::template_in(extensions));
        observed(exchange, next.run(request, extensions), "reqwest_middleware::Error").await
    }
}

/// Opens the call's span, if somebody records.
fn begin(request: &mut Request, template: Option<&'static str>) -> Option<Exchange> {
    let (method, uri) = (request.method().clone(), Uri::try_from(request.url().as_str()).unwrap_or_default());
    begin_parts(&method, &uri, template, request.headers_mut())
}

async fn observed<E: Display>(
    exchange: Option<Exchange>,
    sending: impl Future<Output = Result<Response, E>>,
    type_name: &'static str,
) -> Result<Response, E> {
    let Some(mut exchange) = exchange else { return sending.await };
    let sent = {
        let mut sending = pin!(sending);
        poll_fn(|context| exchange.enter(|| sending.as_mut().poll(context))).await
    };
    match &sent {
        Ok(response) => {
            exchange.answered_with(response.status(), response.version());
            exchange.complete();
        }
        Err(error) => exchange.failed(type_name, &error.to_string()),
    }
    sent
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for reqwest::RequestBuilder {}
}
