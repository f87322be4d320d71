//! What is known of a call before it is made.

use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use tracing::field::{Empty, display};

use crate::{
    metrics::requests::Side,
    propagation,
    tower::{
        exchange::{Exchange, RequestStart, Route, method_name, recording, span_name},
        grpc,
        span::{request_span, rpc_span},
    },
};

/// The template of a URL's path, `/charge/{id}`: put it among a request's extensions, and it names
/// the span and the metric's series (`url.template`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UrlTemplate(&'static str);

impl UrlTemplate {
    /// Of which there must be few.
    pub fn new(template: &'static str) -> Self {
        Self(template)
    }
}

/// Opens a call's span and writes its context into the request. `None`: nobody records.
pub(super) fn begin<B>(request: &mut Request<B>) -> Option<Exchange> {
    // Its headers are written to while the rest is read.
    let mut headers = std::mem::take(request.headers_mut());
    let exchange = begin_parts(request.method(), request.uri(), template(request.extensions()), &mut headers);
    *request.headers_mut() = headers;
    exchange
}

pub(in crate::tower) fn template(extensions: &Extensions) -> Option<&'static str> {
    extensions.get::<UrlTemplate>().map(|template| template.0)
}

/// The same for a request of another library's.
pub(in crate::tower) fn begin_parts(
    method: &Method,
    uri: &Uri,
    template: Option<&'static str>,
    headers: &mut HeaderMap,
) -> Option<Exchange> {
    let Some(recording) = recording() else {
        // Nobody records; what came in goes on.
        inject(headers);
        return None;
    };
    let is_rpc = grpc::is_grpc(headers);
    let is_https = uri.scheme().is_some_and(|scheme| *scheme == http::uri::Scheme::HTTPS);
    let beginning = RequestStart {
        side: if is_rpc { Side::RpcClient } else { Side::HttpClient },
        method: method_name(method),
        is_https,
        // What is asked for may not be what is spoken.
        version: None,
        route: if is_rpc { Some(Route::Owned(crate::tower::server::rpc_method(uri))) } else { template.map(Route::Static) },
        server: uri.host().map(|host| (crate::text::cut(host, 255).to_owned(), uri.port_u16().or(Some(if is_https { 443 } else { 80 })))),
    };
    let exchange = Exchange::begin(recording, beginning, |_, beginning| {
        let host = beginning.server.as_ref().map(|(host, _)| host.as_str());
        let port = beginning.server.as_ref().and_then(|(_, port)| *port);
        if is_rpc {
            let method = beginning.route.as_deref().unwrap_or_default();
            return rpc_span!(target: "crumbtrail::client", name: "call", kind: "client", span: method, method: method, host: host, port: port);
        }
        request_span!(
            target: "crumbtrail::client",
            name: "call",
            otel.name = &*span_name(beginning.method, template),
            otel.kind = "client",
            http.request.method = beginning.method,
            http.request.method_original = (beginning.method == "_OTHER").then(|| method.as_str()),
            server.address = host,
            server.port = port,
            url.full = display(uri),
            url.template = template,
            network.protocol.version = Empty,
            http.response.status_code = Empty,
            error.type = Empty,
            otel.status_code = Empty,
        )
    });
    exchange.enter(|| inject(headers));
    Some(exchange)
}

fn inject(headers: &mut HeaderMap) {
    propagation::inject(|name, value| {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    });
}
