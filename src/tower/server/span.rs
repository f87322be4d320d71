//! The span of a request that is served. Comes in: the head of the request, and who hears of spans
//! here. Goes out: an open span; its fields visited by all who listen, or written at once where
//! that is only us.

use tracing::{field::Empty, info_span};

use super::{RequestInfo, headers::Headers};
use crate::{
    layer::{self, Audience, Recording},
    tower::{
        exchange::{RequestStart, clean_query, span_name},
        span::{RequestSpan, detached_span, request_span, rpc_span},
    },
    trail::encode::Encoder,
};

/// The span of a request, as HTTP's conventions have it.
pub(super) fn of_http(recording: &Recording, request: &RequestInfo<'_>, headers: &Headers<'_>, beginning: &RequestStart) -> RequestSpan {
    let core = &recording.core;
    let RequestStart { method, route, version, is_https, .. } = beginning;
    let name = span_name(method, route.as_deref());
    let original = (*method == "_OTHER").then(|| request.method.as_str());
    let (host, port) = host(request, headers);
    let query = clean_query(core, request.uri.query());
    // What is looked for by its name, at every request, comes first.
    macro_rules! with_fields {
        ($make:ident $($client:tt)*) => {
            $make! {
                core;
                otel.kind = ours(Some("server")),
                http.response.status_code = later(Empty),
                otel.name = theirs(Some(&*name)),
                http.request.method = ours(Some(*method)),
                http.request.method_original = theirs(original),
                http.route = theirs(route.as_deref()),
                url.path = theirs(Some(request.uri.path())),
                url.query = theirs(query.as_deref()),
                url.scheme = ours(Some(if *is_https { "https" } else { "http" })),
                server.address = theirs(host),
                server.port = number(port),
                $($client)*
                user_agent.original = theirs(headers.user_agent()),
                network.protocol.version = ours(*version),
                error.type = later(Empty),
                otel.status_code = later(Empty),
            }
        };
    }
    if core.tells_clients {
        let client = client_address(request);
        return with_fields!(visited client.address = theirs(client.as_deref()),);
    }
    // A field whose value is not told would make all of them be looked at.
    if recording.audience == Audience::Ours { with_fields!(written) } else { with_fields!(visited) }
}

/// The span of a call, as RPC's conventions have it. A method that no call has shown to be there
/// has no name yet.
pub(super) fn of_grpc(recording: &Recording, request: &RequestInfo<'_>, headers: &Headers<'_>, beginning: &RequestStart) -> RequestSpan {
    let (method, (host, port)) = (beginning.route.as_deref().unwrap_or_default(), host(request, headers));
    let is_known = recording.core.rpc_methods.has(method);
    let (name, method) = if is_known { (method, method) } else { ("grpc", "_OTHER") };
    rpc_span!(target: "crumbtrail::server", name: "request", kind: "server", span: name, method: method, host: host, port: port)
}

/// Opens a span as `tracing` does: each listener visits the fields, one by one.
macro_rules! visited {
    ($core:expr; $($($name:ident).+ = $write:ident($value:expr)),+ $(,)?) => {
        request_span!(target: "crumbtrail::server", name: "request", $($($name).+ = $value),+)
    };
}
use visited;

/// Opens a span of which nobody else is told: its fields are written at once, each by the function
/// before its value. To visit them is most of what the span costs. (With `tracing`'s feature
/// `log-always` it is logged without them.)
macro_rules! written {
    ($core:expr; $($($name:ident).+ = $write:ident($value:expr)),+ $(,)?) => {
        if $core.writes_requests(&[$(stringify!($($name).+)),+]) {
            let write = |encoder: &mut Encoder<'_>| {
                // As `tracing` counts fields.
                let mut key = 0;
                $(
                    $write(encoder, key, $value);
                    key += 1;
                )+
                let _ = key;
            };
            let span = layer::open_written($core, write, || info_span!(target: "crumbtrail::server", "request", $($($name).+ = Empty),+));
            if span.is_disabled() {
                detached_span!(span, target: "crumbtrail::server", name: "request", $($($name).+ = $value),+)
            } else {
                RequestSpan::Shared(span)
            }
        } else {
            visited!($core; $($($name).+ = $write($value)),+)
        }
    };
}
use written;

/// One of a few literals: there is nothing to look for in it.
fn ours(encoder: &mut Encoder<'_>, key: u16, text: Option<&str>) {
    if let Some(text) = text {
        encoder.clean(key, text);
    }
}

/// A text that somebody else chose.
fn theirs(encoder: &mut Encoder<'_>, key: u16, text: Option<&str>) {
    if let Some(text) = text {
        encoder.str(key, text);
    }
}

fn number(encoder: &mut Encoder<'_>, key: u16, number: Option<u16>) {
    if let Some(number) = number {
        encoder.u64(key, number.into());
    }
}

/// Is recorded when it is known.
fn later(_: &mut Encoder<'_>, _: u16, _: Empty) {}

/// Whom the client means, by the request's authority or its `Host`.
fn host<'a>(request: &RequestInfo<'a>, headers: &Headers<'a>) -> (Option<&'a str>, Option<u16>) {
    if let Some(authority) = request.uri.authority() {
        return (Some(authority.host()), authority.port_u16());
    }
    let Some(host) = headers.host() else { return (None, None) };
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
