//! Around what is served.

mod future;
mod headers;
mod request;
mod service;
mod span;

use std::{fmt, sync::Arc};

use http::HeaderName;
use tower_layer::Layer;

pub(super) use self::request::rpc_method;
pub use self::{future::ServerFuture, request::RequestInfo, service::ServerService};
#[cfg(feature = "actix-web-4")]
pub(crate) use self::{
    future::observe_panic,
    request::{Known, begin, passing},
};
use crate::User;

/// Spans, exceptions and metrics of what a service serves, see [the module](super). Put it
/// outermost: what other middleware does to a request belongs to the request, and a panic in it,
/// too.
///
/// On an axum router, `.layer(ServerLayer::for_axum())` after the routes. On tonic,
/// `Server::builder().layer(ServerLayer::new())`. Elsewhere the route comes from
/// [`with_route`](Self::with_route).
///
/// - A request without a matched route is named by its method alone, whatever its path: a flood of
///   requests for what is not there makes one span name and one time series. (gRPC's path is the
///   method; where the service does not say that there is one, its series is `_OTHER`.)
/// - The span ends with the response's body: a stream is as long as it lasts. Who goes away before
///   has `error.type` = `aborted`, which is no error of the service. A WebSocket's request ends
///   with its handshake.
/// - `client.address` and full addresses are recorded only with [personal
///   data](crate::Builder::with_default_pii); query strings go through the
///   [scrubber](crate::Scrubber).
/// - A caller's `sampled` flag counts as the [sampler](crate::Sampler::with_remote_limit) has it;
///   [`without_remote_context`](Self::without_remote_context) is for services that face the public.
///
/// What it costs beside others: `cargo bench --bench service`. Allocates a few times for each
/// request.
#[derive(Clone, Default)]
pub struct ServerLayer {
    config: Arc<Config>,
}

/// What is set once.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) error_id: Option<HeaderName>,
    pub(crate) panic_response: bool,
    pub(crate) remote: bool,
    pub(crate) headers: Vec<HeaderName>,
    pub(crate) user: Option<Arc<UserHook>>,
    pub(crate) route: Option<Arc<RouteHook>>,
    /// axum knows the route.
    #[cfg_attr(not(feature = "axum-0-8"), expect(dead_code, reason = "nobody asks axum"))]
    pub(crate) axum: bool,
}

type UserHook = dyn Fn(&RequestInfo<'_>) -> Option<User> + Send + Sync;
type RouteHook = dyn Fn(&RequestInfo<'_>) -> Option<String> + Send + Sync;

impl Default for Config {
    fn default() -> Self {
        Self {
            error_id: Some(HeaderName::from_static("x-error-id")),
            panic_response: true,
            remote: true,
            headers: Vec::new(),
            user: None,
            route: None,
            axum: false,
        }
    }
}

impl ServerLayer {
    /// With the defaults, for any service. The route of an HTTP request is known where
    /// [`with_route`](Self::with_route) tells it.
    pub fn new() -> Self {
        Self::default()
    }

    /// For a router of axum, which knows the route (`MatchedPath`).
    ///
    /// ```
    /// use axum::{Router, routing::get};
    /// use crumbtrail::tower::ServerLayer;
    ///
    /// let app: Router = Router::new().route("/cart/{id}", get(|| async { "a cart" })).layer(ServerLayer::for_axum());
    /// # let _ = app;
    /// ```
    #[cfg(feature = "axum-0-8")]
    pub fn for_axum() -> Self {
        Self::default().with(|config| config.axum = true)
    }

    /// The response header that carries the id of the request's exception where the response says
    /// that something went wrong (4xx, 5xx, a gRPC status but OK); `x-error-id` by default. The id
    /// is the record's `crumbtrail.error.id`, and an extension of the response
    /// ([`ErrorId`](crate::ErrorId)) for layers further out. A handler asks
    /// [`last_error_id`](crate::last_error_id) for an error body of its own.
    #[must_use]
    pub fn with_error_id_header(self, name: HeaderName) -> Self {
        self.with(|config| config.error_id = Some(name))
    }

    /// Says nothing of exceptions to who called.
    #[must_use]
    pub fn without_error_id_header(self) -> Self {
        self.with(|config| config.error_id = None)
    }

    /// Lets panics go on, as they would without the layer: they end the connection. By default they
    /// become a response 500 without a body. (They are told in either case, by the panic hook.)
    #[must_use]
    pub fn without_panic_response(self) -> Self {
        self.with(|config| config.panic_response = false)
    }

    /// Takes neither trace context nor baggage from requests: every one begins a trace of its own.
    #[must_use]
    pub fn without_remote_context(self) -> Self {
        self.with(|config| config.remote = false)
    }

    /// Request headers that exceptions carry, as `http.request.header.<name>` and scrubbed by that
    /// name: what is secret by it stays out. None by default; the first value of each, 1 KiB at
    /// most.
    ///
    /// ```
    /// use crumbtrail::tower::ServerLayer;
    /// use http::HeaderName;
    ///
    /// let layer = ServerLayer::new().with_request_headers([HeaderName::from_static("x-tenant"), http::header::ACCEPT_LANGUAGE]);
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn with_request_headers(self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.with(|config| config.headers.extend(names))
    }

    /// Tells who a request is for, from its head. Authentication that runs further in calls
    /// [`set_user`](crate::set_user) instead.
    ///
    /// ```
    /// use crumbtrail::{User, tower::ServerLayer};
    ///
    /// let layer = ServerLayer::new().with_user(|request| Some(User::new(request.header("x-user-id")?)));
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn with_user(self, user: impl Fn(&RequestInfo<'_>) -> Option<User> + Send + Sync + 'static) -> Self {
        self.with(|config| config.user = Some(Arc::new(user)))
    }

    /// The route a request matches, where axum does not tell: a template such as `/cart/{id}`, of
    /// which there are few.
    #[must_use]
    pub fn with_route(self, route: impl Fn(&RequestInfo<'_>) -> Option<String> + Send + Sync + 'static) -> Self {
        self.with(|config| config.route = Some(Arc::new(route)))
    }

    fn with(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(Arc::make_mut(&mut self.config));
        self
    }
}

impl fmt::Debug for ServerLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerLayer")
            .field("error_id", &self.config.error_id)
            .field("panic_response", &self.config.panic_response)
            .field("remote", &self.config.remote)
            .finish_non_exhaustive()
    }
}

impl<S> Layer<S> for ServerLayer {
    type Service = ServerService<S>;

    fn layer(&self, inner: S) -> ServerService<S> {
        ServerService::new(inner, self.config.clone())
    }
}
