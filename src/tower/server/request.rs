//! What the head of a request says.

use http::{Extensions, HeaderMap, HeaderName, Method, Request, Uri, Version, header};
use tracing::{Span, field::Empty, info_span};

use super::Config;
use crate::{
    layer::core::Core,
    metrics::requests::Side,
    propagation,
    tower::{
        exchange::{Beginning, Exchange, Route, SpanName, clean_query, method_name, recording, rpc_span, version_name},
        grpc,
    },
};

/// The head of a request, for hooks.
#[derive(Clone, Copy, Debug)]
pub struct RequestInfo<'a> {
    method: &'a Method,
    uri: &'a Uri,
    version: Version,
    headers: &'a HeaderMap,
    extensions: &'a Extensions,
}

impl<'a> RequestInfo<'a> {
    fn of<B>(request: &'a Request<B>) -> Self {
        let (method, uri, version) = (request.method(), request.uri(), request.version());
        Self { method, uri, version, headers: request.headers(), extensions: request.extensions() }
    }

    /// Its method.
    pub fn method(&self) -> &'a Method {
        self.method
    }

    /// What it asks for.
    pub fn uri(&self) -> &'a Uri {
        self.uri
    }

    /// All headers.
    pub fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// The value of a header, if it is text.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// What other layers have found out.
    pub fn extensions(&self) -> &'a Extensions {
        self.extensions
    }
}

/// Opens a request's span. `None`: nobody records.
pub(super) fn begin<B>(config: &Config, request: &Request<B>) -> Option<Exchange> {
    let core = recording()?;
    let request = RequestInfo::of(request);
    let is_rpc = grpc::is_grpc(request.headers);
    let beginning = Beginning {
        side: if is_rpc { Side::RpcServer } else { Side::HttpServer },
        method: method_name(request.method),
        is_https: request.uri.scheme().is_some_and(|scheme| *scheme == http::uri::Scheme::HTTPS)
            || request.headers.get(FORWARDED_PROTO).is_some_and(|scheme| scheme.as_bytes().eq_ignore_ascii_case(b"https")),
        version: version_name(request.version),
        route: if is_rpc { Some(Route::Owned(rpc_method(request.uri))) } else { route(config, &request) },
        server: None,
    };
    let remote = if config.remote { propagation::extract_http(&core, request.headers) } else { Default::default() };
    let span = |beginning: &Beginning| {
        remote.in_scope(|| if is_rpc { grpc_span(&request, beginning) } else { http_span(&core, &request, beginning) })
    };
    let exchange = Exchange::begin(core.clone(), beginning, span);
    if let Some(user) = config.user.as_ref().and_then(|user| user(&request)) {
        exchange.enter(|| crate::set_user(user));
    }
    Some(exchange)
}

fn http_span(core: &Core, request: &RequestInfo<'_>, beginning: &Beginning) -> Span {
    let Beginning { method, route, version, is_https, .. } = beginning;
    let name = SpanName(method, route.as_deref());
    let original = (*method == "_OTHER").then(|| request.method.as_str());
    let (host, port) = host(request);
    let query = clean_query(core, request.uri.query());
    let client = if core.tells_clients { client_address(request) } else { None };
    info_span!(
        target: "crumbtrail::server",
        "request",
        otel.name = %name,
        otel.kind = "server",
        http.request.method = method,
        http.request.method_original = original,
        http.route = route.as_deref(),
        url.path = request.uri.path(),
        url.query = query.as_deref(),
        url.scheme = if *is_https { "https" } else { "http" },
        server.address = host,
        server.port = port,
        client.address = client.as_deref(),
        user_agent.original = request.headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()),
        network.protocol.version = version,
        http.response.status_code = Empty,
        error.type = Empty,
        otel.status_code = Empty,
    )
}

fn grpc_span(request: &RequestInfo<'_>, beginning: &Beginning) -> Span {
    let (method, (host, port)) = (beginning.route.as_deref().unwrap_or_default(), host(request));
    rpc_span!(target: "crumbtrail::server", name: "request", kind: "server", method: method, host: host, port: port)
}

const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

fn route(config: &Config, request: &RequestInfo<'_>) -> Option<Route> {
    if let Some(route) = &config.route {
        return route(request).map(Route::Owned);
    }
    #[cfg(feature = "axum")]
    if let Some(matched) = request.extensions.get::<axum::extract::MatchedPath>() {
        return Some(Route::Matched(matched.clone()));
    }
    None
}

/// `pkg.Service/Method`: the path, as gRPC has it.
pub(in crate::tower) fn rpc_method(uri: &Uri) -> String {
    crate::text::cut(uri.path().trim_start_matches('/'), 200).to_owned()
}

/// Whom the client means, by the request's authority or its `Host`.
fn host<'a>(request: &RequestInfo<'a>) -> (Option<&'a str>, Option<u16>) {
    if let Some(authority) = request.uri.authority() {
        return (Some(authority.host()), authority.port_u16());
    }
    let Some(host) = request.headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return (None, None) };
    match host.rsplit_once(':') {
        Some((name, port)) if !name.is_empty() => port.parse().map_or((Some(host), None), |port| (Some(name), Some(port))),
        _ => (Some(host), None),
    }
}

/// As the nearest proxy tells it. What a client says of itself is no proof.
fn client_address(request: &RequestInfo<'_>) -> Option<String> {
    let forwarded = request.header("x-forwarded-for").and_then(|list| list.split(',').next()).or_else(|| request.header("x-real-ip"));
    forwarded.map(|address| crate::text::cut(address.trim(), 64).to_owned())
}
