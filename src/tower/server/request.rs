//! What the head of a request says. Comes in: a request, before anything is done with it. Goes out:
//! its open exchange, and what hooks are told.

use std::cell::Cell;

use http::{Extensions, HeaderMap, HeaderName, Method, Request, Uri, Version};

use super::{Config, headers::Headers, span};
use crate::{
    layer::{self, Recording},
    metrics::requests::Side,
    propagation::{self, Passing},
    tower::exchange::{Exchange, RequestStart, Route, method_name, recording, version_name},
};

/// The head of a request, for hooks.
#[derive(Clone, Copy, Debug)]
pub struct RequestInfo<'a> {
    pub(super) method: &'a Method,
    pub(super) uri: &'a Uri,
    version: Version,
    headers: &'a HeaderMap,
    extensions: &'a Extensions,
}

impl<'a> RequestInfo<'a> {
    fn of<B>(request: &'a Request<B>) -> Self {
        let (method, uri, version) = (request.method(), request.uri(), request.version());
        Self { method, uri, version, headers: request.headers(), extensions: request.extensions() }
    }

    /// The method of the request.
    pub fn method(&self) -> &'a Method {
        self.method
    }

    /// The URI the request asks for.
    pub fn uri(&self) -> &'a Uri {
        self.uri
    }

    /// All headers of the request.
    pub fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// The value of a header, if it is text.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The request's extensions, in which other layers leave what they have found out.
    pub fn extensions(&self) -> &'a Extensions {
        self.extensions
    }
}

/// What came with a request that nobody records, to be handed on.
pub(crate) fn passing<B>(config: &Config, request: &Request<B>) -> Option<Passing> {
    let core = config.remote.then(layer::recording).flatten()?.core;
    Passing::of(propagation::extract_http(&core, request.headers()))
}

/// What a framework that is no tower knows of a request beyond its head. It serves no gRPC.
pub(crate) struct Known {
    pub(crate) route: Option<Route>,
    pub(crate) is_https: bool,
}

/// Opens a request's span. `None`: nobody records.
pub(crate) fn begin<B>(config: &Config, request: &Request<B>, known: Option<Known>) -> Option<Exchange> {
    let recording = recording()?;
    let core = &recording.core;
    let request = RequestInfo::of(request);
    let headers = Headers::of(request.headers, core.config.propagators);
    let is_rpc = known.is_none() && headers.are_of_grpc() && may_be_rpc(config, &request);
    let beginning = RequestStart {
        side: if is_rpc { Side::RpcServer } else { Side::HttpServer },
        method: method_name(request.method),
        is_https: known.as_ref().is_some_and(|known| known.is_https)
            || request.uri.scheme().is_some_and(|scheme| *scheme == http::uri::Scheme::HTTPS)
            || headers.are_forwarded_from_https(),
        version: Some(version_name(request.version)),
        route: if is_rpc {
            Some(Route::Owned(rpc_method(request.uri)))
        } else {
            known.map_or_else(|| route(config, &request), |known| known.route)
        },
        server: None,
    };
    let remote = if config.remote && headers.carry_context { propagation::extract_http(core, request.headers) } else { Default::default() };
    let untaken = Cell::new(None);
    let span = |recording: &Recording, beginning: &RequestStart| {
        let (span, left) = remote.offered(|| {
            if is_rpc {
                span::of_grpc(recording, &request, &headers, beginning)
            } else {
                span::of_http(recording, &request, &headers, beginning)
            }
        });
        untaken.set(left);
        span
    };
    let mut exchange = Exchange::begin(recording, beginning, span);
    if let Some(remote) = untaken.take() {
        exchange.passes(remote);
    }
    if !config.headers.is_empty() {
        exchange.enter(|| tag_headers(&config.headers, request.headers));
    }
    if let Some(user) = config.user.as_ref().and_then(|user| user(&request)) {
        exchange.enter(|| crate::set_user(user));
    }
    Some(exchange)
}

/// Leaves headers that were asked for with the request.
fn tag_headers(names: &[HeaderName], headers: &HeaderMap) {
    for name in names {
        if let Some(value) = headers.get(name) {
            crate::set_tag(&format!("http.request.header.{name}"), String::from_utf8_lossy(value.as_bytes()).into_owned());
        }
    }
}

/// The route of a request that is observed further out.
pub(super) fn found_route<B>(config: &Config, request: &Request<B>) -> Option<Route> {
    route(config, &RequestInfo::of(request))
}

fn route(config: &Config, request: &RequestInfo<'_>) -> Option<Route> {
    if let Some(route) = &config.route {
        return route(request).map(Route::Owned);
    }
    #[cfg(feature = "axum-0-8")]
    if config.axum
        && let Some(matched) = request.extensions.get::<axum::extract::MatchedPath>()
    {
        return Some(Route::Matched(matched.clone()));
    }
    None
}

/// Whether a request that says so may be one of gRPC: what routes it knows no path of its own for
/// it. axum routes tonic's services by `/pkg.Service/{*rest}`.
#[cfg_attr(not(feature = "axum-0-8"), expect(unused_variables))]
fn may_be_rpc(config: &Config, request: &RequestInfo<'_>) -> bool {
    #[cfg(feature = "axum-0-8")]
    if config.axum
        && let Some(matched) = request.extensions.get::<axum::extract::MatchedPath>()
    {
        let service = matched.as_str().split_once("/{*").map(|(service, _)| service);
        return service.is_some_and(|service| request.uri.path().rsplit_once('/').is_some_and(|(called, _)| called == service));
    }
    true
}

/// `pkg.Service/Method`: the path, as gRPC has it.
pub(in crate::tower) fn rpc_method(uri: &Uri) -> String {
    crate::text::cut(uri.path().trim_start_matches('/'), 200).to_owned()
}
