//! One request and its response, from either side: its span, how it ends, and what is measured of
//! it.

use std::{
    any::Any,
    borrow::Cow,
    error::Error,
    ops::{Deref, DerefMut},
    sync::Arc,
};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, response};

use super::{grpc, span::RequestSpan};
use crate::{
    Breadcrumb, ErrorId,
    breadcrumb::leave_breadcrumb,
    clock::now,
    exception,
    exception::Mechanism,
    layer::{self, Audience, Recording},
    metrics::requests::{Attribute, METHODS, Side},
    propagation::{Passing, RemoteContext},
    state::{Core, SharedSpan},
    trail::record::flag,
    unwind,
};

/// A request on its way. Ends when dropped, however that comes about. Goes from the future to the
/// body, so it is small to move.
pub(crate) struct Exchange(Box<Inner>);

impl Deref for Exchange {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl DerefMut for Exchange {
    fn deref_mut(&mut self) -> &mut Inner {
        &mut self.0
    }
}

pub(crate) struct Inner {
    core: Arc<Core>,
    audience: Audience,
    span: RequestSpan,
    /// Of a request whose span is recorded by nobody here.
    passing: Option<Passing>,
    side: Side,
    started: u64,
    method: &'static str,
    is_https: bool,
    /// As it was negotiated: of a call that is known with the response.
    version: Option<&'static str>,
    /// The route of a server, the template of a client; the method of an RPC.
    route: Option<Route>,
    /// Whom a client calls.
    server: Option<(String, Option<u16>)>,
    status: Option<StatusCode>,
    grpc_status: Option<grpc::Status>,
    grpc_message: Option<String>,
    /// The method is one that there is; a client may ask for any.
    is_known_method: bool,
    error_type: Option<Cow<'static, str>>,
    is_complete: bool,
}

/// A route that was found further in, on its way out with the response.
#[derive(Clone)]
pub(super) struct FoundRoute(pub(super) Route);

/// What stands for many paths.
#[derive(Clone)]
pub(crate) enum Route {
    Static(&'static str),
    Owned(String),
    #[cfg(feature = "axum-0-8")]
    Matched(axum::extract::MatchedPath),
}

impl Deref for Route {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Static(route) => route,
            Self::Owned(route) => route,
            #[cfg(feature = "axum-0-8")]
            Self::Matched(route) => route.as_str(),
        }
    }
}

/// What is known when a request begins.
pub(super) struct RequestStart {
    pub(super) side: Side,
    pub(super) method: &'static str,
    pub(super) is_https: bool,
    pub(super) version: Option<&'static str>,
    pub(super) route: Option<Route>,
    pub(super) server: Option<(String, Option<u16>)>,
}

impl Exchange {
    /// `open` makes the span.
    pub(super) fn begin(
        recording: Recording,
        beginning: RequestStart,
        open: impl FnOnce(&Recording, &RequestStart) -> RequestSpan,
    ) -> Self {
        let span = open(&recording, &beginning);
        let Recording { core, audience } = recording;
        let RequestStart { side, method, is_https, version, route, server } = beginning;
        let is_known_method =
            side == Side::RpcClient || route.as_deref().is_some_and(|route| side == Side::RpcServer && core.rpc_methods.has(route));
        if side == Side::HttpServer {
            core.requests.count_active(&core.meters, method, is_https, 1);
        }
        Self(Box::new(Inner {
            core,
            audience,
            span,
            passing: None,
            side,
            started: now(),
            method,
            is_https,
            version,
            route,
            server,
            status: None,
            grpc_status: None,
            grpc_message: None,
            is_known_method,
            error_type: None,
            is_complete: false,
        }))
    }
}

impl Inner {
    /// Runs something in the span.
    #[inline]
    pub(crate) fn enter<T>(&self, run: impl FnOnce() -> T) -> T {
        match &self.passing {
            None => self.span.in_scope(run),
            Some(passing) => self.span.in_scope(|| passing.in_scope(run)),
        }
    }

    /// What came with the request is to be handed on where no span of ours has taken it over.
    pub(super) fn passes(&mut self, remote: RemoteContext) {
        self.passing = Passing::of(remote);
    }

    /// The route was found further in.
    pub(super) fn is_routed(&mut self, route: Route) {
        if self.route.is_none() {
            self.span.record("otel.name", &*span_name(self.method, Some(&route)));
            self.span.record("http.route", &*route);
            self.route = Some(route);
        }
    }

    /// The response begins. Returns whether it ends with its head, too.
    pub(crate) fn answered(&mut self, head: &response::Parts) -> bool {
        if self.side == Side::RpcServer && !grpc::is_grpc(&head.headers) {
            // Only the caller said that it was gRPC.
            (self.side, self.route) = (Side::HttpServer, None);
            self.span.record("otel.name", span_name(self.method, None).as_ref());
            self.core.requests.count_active(&self.core.meters, self.method, self.is_https, 1);
        }
        self.know_status(head.status);
        if !self.is_server() {
            self.say_version(head.version);
        }
        self.grpc_message = self.is_rpc().then(|| grpc::message(&head.headers)).flatten();
        self.grpc_status = self.is_rpc().then(|| grpc::Status::of(&head.headers)).flatten();
        self.is_complete = head.status.is_informational()
            || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
            || matches!(self.method, "HEAD" | "CONNECT")
            || self.grpc_status.is_some();
        self.judge();
        self.is_complete
    }

    /// The trailers say how a call ended.
    pub(super) fn trailers(&mut self, trailers: &HeaderMap) {
        if self.is_rpc() {
            self.grpc_status = grpc::Status::of(trailers).or(self.grpc_status);
            self.grpc_message = grpc::message(trailers).or(self.grpc_message.take());
            self.judge();
        }
    }

    /// The response begins, of which only the status is known.
    #[cfg(feature = "reqwest-0-13")]
    pub(super) fn answered_with(&mut self, status: StatusCode, version: Version) {
        self.say_version(version);
        self.know_status(status);
        self.judge();
    }

    /// Ends in an error of which more is known than its text.
    pub(super) fn raised(&mut self, error: &(dyn Error + Send + Sync + 'static)) {
        // Which it is, the exception says.
        self.error_type = Some(Cow::Borrowed("_OTHER"));
        self.enter(|| exception::capture_for(&self.core, self.state(), error, None));
    }

    /// An error became the response, whose status tells how it ends.
    #[cfg(feature = "actix-web-4")]
    pub(crate) fn caused_by<Kind>(&mut self, status: StatusCode, error: &(impl exception::Capture<Kind> + ?Sized)) {
        self.know_status(status);
        self.enter(|| exception::capture_for(&self.core, self.state(), error, None));
    }

    /// The response ends with its head.
    #[cfg(feature = "actix-web-4")]
    pub(crate) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Everything has been said.
    pub(crate) fn complete(&mut self) {
        self.is_complete = true;
    }

    /// Ends in an error that is no response. A server tells it as an exception, unless it is one
    /// that was told.
    pub(crate) fn failed(&mut self, type_name: &'static str, message: &str) {
        self.error_type = Some(Cow::Borrowed(type_name));
        if self.is_server() {
            self.raise(type_name, message, &format!("{} failed", self.what()), None);
        }
    }

    /// A panic went through it. `was_told`: the panic hook has heard of it; else it is told here,
    /// with what is known.
    pub(crate) fn panicked(&mut self, payload: &(dyn Any + Send), was_told: bool) {
        (self.error_type, self.is_complete) = (Some(Cow::Borrowed("panic")), true);
        if !was_told {
            self.core.diagnose_hook_replaced();
            let message = unwind::message(payload).unwrap_or("a panic whose payload is not a string");
            let template = format!("{} panicked", self.what());
            self.enter(|| {
                exception::raise_text(&self.core, self.state().as_deref(), Mechanism::Panic, ("panic", message), Some(&template), None)
            });
        }
    }

    /// The last exception that was told in this request.
    pub(super) fn last_error_id(&self) -> Option<ErrorId> {
        self.state()?.trail()?.recent().last()
    }

    /// Puts the id of the exception into a response that says that something went wrong.
    pub(crate) fn name_error(&self, head: &mut response::Parts, header: Option<&HeaderName>) {
        let is_error =
            head.status.is_client_error() || head.status.is_server_error() || self.grpc_status.is_some_and(|status| !status.is_ok());
        if !is_error {
            return;
        }
        let Some(id) = self.last_error_id() else { return };
        if let (Some(header), Ok(value)) = (header, HeaderValue::try_from(id.to_string())) {
            head.headers.insert(header, value);
        }
        head.extensions.insert(id);
    }

    /// Before anything is told of a failure, which then says it, too.
    fn know_status(&mut self, status: StatusCode) {
        if self.status.replace(status) != Some(status) && !self.is_rpc() {
            self.say_status(status);
        }
    }

    /// `Span::record` finds the field by its name, and the span by way of every layer: where there
    /// is none but ours, that is saved.
    fn say_status(&self, status: StatusCode) {
        const FIELD: &str = "http.response.status_code";
        if self.audience == Audience::Ours
            && let Some(span) = self.span.shared()
            && let (Some(id), Some(field)) = (span.id(), span.metadata().and_then(|metadata| metadata.fields().field(FIELD)))
        {
            return layer::record_number(&self.core, id.into_u64(), field.index() as u16, status.as_u16().into());
        }
        self.span.record(FIELD, status.as_u16());
    }

    fn say_version(&mut self, version: Version) {
        self.version = Some(version_name(version));
        if !self.is_rpc() {
            self.span.record("network.protocol.version", version_name(version));
        }
    }

    fn state(&self) -> Option<SharedSpan> {
        self.span.state(&self.core, self.audience)
    }

    pub(super) fn is_rpc(&self) -> bool {
        matches!(self.side, Side::RpcServer | Side::RpcClient)
    }

    fn is_server(&self) -> bool {
        matches!(self.side, Side::HttpServer | Side::RpcServer)
    }

    /// What the status says of success (semantic conventions, "HTTP spans", "gRPC").
    fn judge(&mut self) {
        if let Some(status) = self.grpc_status {
            self.span.record("rpc.status_code", status.name());
            let is_error = if self.is_server() { status.is_server_error() } else { !status.is_ok() };
            // The status of a panic's answer is ours: the panic is told already.
            let panicked = self.error_type.as_deref() == Some("panic");
            if !panicked {
                self.error_type = is_error.then(|| Cow::Borrowed(status.name()));
            }
            if self.side == Side::RpcServer && status.is_of_method() && !self.is_known_method {
                self.is_known_method = self.route.as_deref().is_some_and(|route| self.core.rpc_methods.learn(route));
            }
            if self.is_server() && status.is_failure() && !panicked && self.last_error_id().is_none() {
                let template = format!("{} answered {}", self.what(), status.name());
                let said = self.grpc_message.as_deref();
                let text = said.map(|said| format!("{template}: {said}"));
                self.raise(status.name(), text.as_deref().unwrap_or(&template), &template, Some(said.unwrap_or_default()));
            }
        } else if let Some(status) = self.status.filter(|_| self.error_type.is_none()) {
            let is_error = status.is_server_error() || (!self.is_server() && status.is_client_error());
            self.error_type = is_error.then(|| Cow::Owned(status.as_str().to_owned()));
            if self.is_server() && status.is_server_error() && self.last_error_id().is_none() {
                let text = format!("{} answered {status}", self.what());
                // What the status code says is an attribute already.
                self.raise(&format!("HTTP {}", status.as_str()), &text, &text, Some(""));
            }
        }
    }

    fn raise(&self, type_name: &str, message: &str, template: &str, description: Option<&str>) {
        let (core, what) = (&self.core, (type_name, message));
        self.enter(|| exception::raise_text(core, self.state().as_deref(), Mechanism::Response, what, Some(template), description));
    }

    /// As the span is called.
    fn what(&self) -> String {
        match &self.route {
            Some(route) if self.is_rpc() && self.is_known_method => route.to_string(),
            _ if self.is_rpc() => "grpc".to_owned(),
            route => span_name(self.method, route.as_deref()).into_owned(),
        }
    }

    fn measure(&self, nanos: u64) {
        let text = |text: &'static str| Some(Attribute::Str(text));
        let route = self.route.as_deref().map(Attribute::Str);
        let error_type = self.error_type.as_deref().map(Attribute::Str);
        let server = self.server.as_ref();
        let address = ("server.address", server.map(|(host, _)| Attribute::Str(host)));
        let port = ("server.port", server.and_then(|(_, port)| *port).map(|port| Attribute::Int(port.into())));
        let known = if self.is_rpc() {
            [
                ("rpc.system.name", text("grpc")),
                ("rpc.method", if self.is_known_method { route } else { text("_OTHER") }),
                ("rpc.status_code", self.grpc_status.and_then(|status| text(status.name()))),
                ("error.type", error_type),
                address,
                port,
                ("", None),
            ]
        } else {
            [
                ("http.request.method", text(self.method)),
                if self.is_server() { ("url.scheme", text(if self.is_https { "https" } else { "http" })) } else { address },
                if self.is_server() { ("http.route", route) } else { port },
                if self.is_server() { ("", None) } else { ("url.template", route) },
                ("http.response.status_code", self.status.map(|status| Attribute::Int(status.as_u16().into()))),
                ("error.type", error_type),
                ("network.protocol.version", self.version.and_then(text)),
            ]
        };
        let mut attributes = [("", Attribute::Int(0)); 7];
        let mut count = 0;
        for (key, value) in known {
            if let Some(value) = value {
                attributes[count] = (key, value);
                count += 1;
            }
        }
        let sampled = || {
            let state = self.state().filter(|_| self.core.config.exports_spans)?;
            Some(state.current_ids()).filter(|ids| ids.flags & flag::SAMPLED != 0)
        };
        self.core.requests.record(&self.core.meters, self.side, &attributes[..count], nanos, sampled);
    }

    /// What a call leaves behind: `GET payments /charge/{id} → 503`.
    fn leave_breadcrumb(&self, nanos: u64) {
        let Some(state) = self.state() else { return };
        leave_breadcrumb(&self.core, &state, false, || {
            let host = self.server.as_ref().map_or("", |(host, _)| host.as_str());
            let outcome = match (self.grpc_status, self.status, &self.error_type) {
                (Some(status), ..) => status.name().to_owned(),
                (None, Some(status), _) => status.as_u16().to_string(),
                (None, None, error) => error.as_deref().unwrap_or_default().to_owned(),
            };
            let target = self.route.as_deref().unwrap_or_default();
            let method = if self.is_rpc() { "" } else { self.method };
            let parts = [method, host, target].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
            let level = if self.error_type.is_some() { tracing_core::Level::WARN } else { tracing_core::Level::INFO };
            let mut crumb = Breadcrumb::new(if self.is_rpc() { "rpc" } else { "http" }, format!("{parts} → {outcome}"))
                .with_level(level)
                .with_data("duration_ms", (nanos / 1_000) as f64 / 1_000.0);
            if let Some(status) = self.status.filter(|_| !self.is_rpc()) {
                crumb.set_data("http.response.status_code", i64::from(status.as_u16()));
            }
            crumb
        });
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let nanos = now().saturating_sub(self.started);
        let is_aborted = !self.is_complete && self.error_type.is_none();
        if std::thread::panicking() && is_aborted {
            self.error_type = Some(Cow::Borrowed("panic"));
        } else if is_aborted {
            // Whoever called has gone, or does not wait any longer: nobody's error status.
            self.error_type = Some(Cow::Borrowed("aborted"));
        }
        if let (Side::RpcServer, Some(method)) = (self.side, self.route.as_deref()) {
            if self.is_known_method {
                self.span.record("otel.name", method);
                self.span.record("rpc.method", method);
            } else {
                self.span.record("rpc.method_original", method);
            }
        }
        if let Some(said) = self.grpc_message.as_deref().filter(|_| self.error_type.is_some()) {
            self.span.record("otel.status_description", said);
        }
        if let Some(error_type) = self.error_type.as_deref() {
            self.span.record("error.type", error_type);
            if error_type != "aborted" {
                self.span.record("otel.status_code", "error");
            }
        }
        self.measure(nanos);
        match self.side {
            Side::HttpServer => self.core.requests.count_active(&self.core.meters, self.method, self.is_https, -1),
            Side::HttpClient | Side::RpcClient => self.leave_breadcrumb(nanos),
            Side::RpcServer => {}
        }
    }
}

/// The telemetry that records here.
pub(super) fn recording() -> Option<Recording> {
    layer::recording().filter(|recording| !recording.core.is_closed())
}

/// `GET /cart/{id}`, or `GET`: what a span is called. `HTTP` where the method is none that is
/// known: it may be anything.
pub(super) fn span_name(method: &'static str, route: Option<&str>) -> Cow<'static, str> {
    let method = if method == "_OTHER" { "HTTP" } else { method };
    // Not formatted: it is made for every request.
    route.map_or(Cow::Borrowed(method), |route| Cow::Owned([method, " ", route].concat()))
}

/// A method as the conventions name it; `_OTHER` where they do not.
pub(super) fn method_name(method: &Method) -> &'static str {
    METHODS.iter().find(|known| **known == method.as_str()).copied().unwrap_or("_OTHER")
}

pub(super) fn version_name(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1",
    }
}

/// A query with the values of secret parameters taken out; `None` where there is none.
pub(super) fn clean_query(core: &Core, query: Option<&str>) -> Option<String> {
    let query = query.filter(|query| !query.is_empty())?;
    let clean = core.scrubber.scrub(&format!("?{query}")).into_owned();
    Some(clean.trim_start_matches('?').to_owned())
}
