//! Calls by reqwest, whose requests are of its own type.

use std::{future::poll_fn, pin::pin};

use http::Uri;
use reqwest::{RequestBuilder, Response};

use super::client::begin_parts;

/// Sends a request in a client span, with trace context and baggage, as [`ClientLayer`](super::ClientLayer) does.
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
/// # let (_, captured) = crumbtrail::testing::capture_async(request).await;
/// # assert_eq!(captured.span("GET").kind(), "client");
/// # });
/// # let _ = charge;
/// ```
pub trait RequestBuilderExt: sealed::Sealed {
    /// As `send`. `template` is that of the URL's path, of which there must be few; it names the span and the series.
    ///
    /// # Errors
    /// Those of `send`.
    fn send_traced(self, template: Option<&'static str>) -> impl Future<Output = reqwest::Result<Response>> + Send;
}

impl RequestBuilderExt for RequestBuilder {
    async fn send_traced(self, template: Option<&'static str>) -> reqwest::Result<Response> {
        let (client, request) = self.build_split();
        let mut request = request?;
        let (method, uri) = (request.method().clone(), Uri::try_from(request.url().as_str()).unwrap_or_default());
        let exchange = begin_parts(&method, &uri, template, request.headers_mut());
        let Some(mut exchange) = exchange else { return client.execute(request).await };
        let sent = {
            let mut sending = pin!(client.execute(request));
            poll_fn(|context| exchange.enter(|| sending.as_mut().poll(context))).await
        };
        match &sent {
            Ok(response) => {
                exchange.answered_with(response.status(), response.version());
                exchange.complete();
            }
            Err(error) => exchange.failed("reqwest::Error", &error.to_string()),
        }
        sent
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for reqwest::RequestBuilder {}
}
