//! OTLP over HTTP, with binary protobuf or JSON.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};

use super::{
    config::{Compression, LaneConfig},
    connect::Connector,
    failure::{Failure, MAX_RESPONSE, USER_AGENT, describe, within},
};
#[cfg(feature = "json")]
use crate::otlp::json;
use crate::{
    ledger::RecordKind,
    otlp::{Accepted, accepted},
};

/// Connections that nothing was sent by for this long are closed.
const IDLE: Duration = Duration::from_secs(90);

/// Time for the body of an answer whose status was good.
const BODY: Duration = Duration::from_secs(3);

/// A client with its own connections, for one endpoint. It follows no redirects: they would carry
/// keys to another host, and turn a POST into a GET.
pub(super) struct Http {
    client: Client<Connector, Full<Bytes>>,
    endpoint: Uri,
    /// Of every request.
    headers: HeaderMap,
    compression: Compression,
    /// Requests leave as JSON of this signal.
    json: Option<RecordKind>,
}

impl Http {
    pub(super) fn new(config: &LaneConfig, json: Option<RecordKind>) -> Result<Self, String> {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(if json.is_some() { "application/json" } else { "application/x-protobuf" }),
        );
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        if let Some(encoding) = encoding(config.compression) {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        for (name, value) in &config.headers {
            headers.insert(name, value.clone());
        }
        // A proxy that reads the requests is told with each; one that is asked for a tunnel, by the connector.
        let is_plain = config.endpoint.scheme_str() != Some("https");
        if let Some(authorization) = config.proxy.as_ref().filter(|_| is_plain).and_then(|proxy| proxy.authorization.clone()) {
            headers.insert(header::PROXY_AUTHORIZATION, authorization);
        }
        let connector = Connector::new(config)?;
        let client = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).build(connector);
        Ok(Self { client, endpoint: config.endpoint.clone(), headers, compression: config.compression, json })
    }

    pub(super) fn prepare(&self, body: Bytes) -> Result<Bytes, Failure> {
        let body = match self.json {
            #[cfg(feature = "json")]
            Some(signal) => json::from_protobuf(signal, &body).map_err(|error| Failure::Content {
                why: format!("the request could not be written as JSON: {error}"),
                too_large: false,
            })?,
            _ => body,
        };
        compressed(self.compression, body)
            .map_err(|error| Failure::Content { why: format!("the request could not be compressed: {error}"), too_large: false })
    }

    /// One attempt, within `limit`.
    pub(super) async fn send(&self, prepared: Bytes, limit: Option<Duration>, headers: HeaderMap) -> Result<Accepted, Failure> {
        let retry = |error: hyper_util::client::legacy::Error| Failure::Retry { after: None, why: describe(&error) };
        let mut request = Request::new(Full::new(prepared));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.endpoint.clone();
        *request.headers_mut() = self.headers.clone();
        // Those that were asked for now count.
        request.headers_mut().extend(headers);
        let answer = self.client.request(request);
        let response = within(limit, answer).await.map_err(|why| Failure::Silent { why })?.map_err(retry)?;
        let status = response.status();
        if !status.is_success() {
            return Err(failure(status, response.headers()));
        }
        if is_page(response.headers()) {
            return Err(Failure::Permanent { why: format!("HTTP status {status}, but a page of HTML: is this an OTLP endpoint?") });
        }
        // The status has said it: what is wrong with the rest of the answer must not make us send again.
        // An answer that is too large or breaks off is taken for an empty one.
        let answer = within(Some(BODY), Limited::new(response.into_body(), MAX_RESPONSE).collect()).await;
        let answer = answer.ok().and_then(Result::ok).map(|answer| answer.to_bytes()).unwrap_or_default();
        #[cfg(feature = "json")]
        if self.json.is_some() {
            return Ok(json::accepted(&answer));
        }
        Ok(accepted(&answer))
    }
}

/// A web page, as a login form or a proxy has it: whoever answers so has not taken anything.
fn is_page(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().to_ascii_lowercase().starts_with(b"text/html"))
}

/// What a status means for the request.
fn failure(status: StatusCode, headers: &HeaderMap) -> Failure {
    let why = format!("HTTP status {status}");
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            Failure::Retry { after: retry_after(headers), why }
        }
        StatusCode::PAYLOAD_TOO_LARGE => Failure::Content { why, too_large: true },
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => Failure::Content { why, too_large: false },
        status if status.is_redirection() => Failure::Permanent {
            why: format!("{why}: redirects are not followed, as they would carry your keys elsewhere; set the endpoint to where it leads"),
        },
        StatusCode::NOT_FOUND => {
            Failure::Permanent { why: format!("{why}: is this an OTLP endpoint? Ours end in /v1/logs, /v1/traces, /v1/metrics") }
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Failure::Unauthorized { why: format!("{why}: are the headers right?") },
        _ => Failure::Permanent { why },
    }
}

/// Seconds, or a date (RFC 9110, 10.2.3). A date that has passed is now.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => Some(httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::now()).unwrap_or_default()),
    }
}

fn encoding(compression: Compression) -> Option<&'static str> {
    match compression {
        Compression::None => None,
        Compression::Gzip => cfg!(feature = "gzip").then_some("gzip"),
        Compression::Zstd => cfg!(feature = "zstd").then_some("zstd"),
    }
}

fn compressed(compression: Compression, body: Bytes) -> std::io::Result<Bytes> {
    match compression {
        #[cfg(feature = "gzip")]
        Compression::Gzip => {
            use std::io::Write;
            let mut encoder = flate2::write::GzEncoder::new(Vec::with_capacity(body.len() / 4), flate2::Compression::fast());
            encoder.write_all(&body)?;
            Ok(encoder.finish()?.into())
        }
        #[cfg(feature = "zstd")]
        Compression::Zstd => Ok(zstd::bulk::compress(&body, 1)?.into()),
        _ => Ok(body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(text: &str) -> Option<Duration> {
        retry_after(&HeaderMap::from_iter([(header::RETRY_AFTER, HeaderValue::from_str(text).unwrap())]))
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(after("60"), Some(Duration::from_secs(60)));
        assert_eq!(after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO), "it has passed");
        let later = after(&httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(100))).unwrap();
        assert!((98..=100).contains(&later.as_secs()), "{later:?}");
        for unusable in ["soon", "-1", "", "1.5"] {
            assert_eq!(after(unusable), None, "{unusable:?}");
        }
    }
}
