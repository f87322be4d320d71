//! OTLP over HTTP with binary protobuf.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::{Accepted, Failure, LaneConfig, accepted, describe};

/// Bytes of a response that are read at most (OTLP: 4 MiB).
const MAX_RESPONSE: usize = 4 << 20;
/// No Retry-After is waited for longer than this at a time.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// A client with its own connections, for one endpoint.
pub(super) struct Http {
    client: reqwest::Client,
    endpoint: String,
    gzip: bool,
}

impl Http {
    pub(super) fn new(config: &LaneConfig) -> Result<Self, String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(super::USER_AGENT));
        for (name, value) in &config.headers {
            headers.insert(name, value.clone());
        }
        // A redirect would carry keys to another host and turn a POST into a GET.
        let mut client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().default_headers(headers);
        if !config.timeout.is_zero() {
            client = client.timeout(config.timeout);
        }
        let client = client.build().map_err(|error| format!("the HTTP client could not be built: {error}"))?;
        Ok(Self { client, endpoint: config.endpoint.to_string(), gzip: config.gzip })
    }

    pub(super) async fn send(&self, body: Bytes) -> Result<Accepted, Failure> {
        let mut request = self.client.post(&self.endpoint);
        if self.gzip {
            request = request.header(header::CONTENT_ENCODING, "gzip").body(compressed(&body));
        } else {
            request = request.body(body);
        }
        // Without the URL: it may hold credentials.
        let retry = |error: reqwest::Error| Failure::Retry { after: None, why: describe(&error.without_url()) };
        let mut response = request.send().await.map_err(retry)?;
        let status = response.status();
        if !status.is_success() {
            let why = format!("HTTP status {status}");
            return Err(match status {
                StatusCode::TOO_MANY_REQUESTS | StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
                    Failure::Retry { after: retry_after(response.headers()), why }
                }
                _ => Failure::Permanent { why },
            });
        }
        // The status has said it: what is wrong with the rest of the answer must not make us send again.
        let mut answer = Vec::new();
        while let Ok(Some(chunk)) = response.chunk().await {
            if answer.len() + chunk.len() > MAX_RESPONSE {
                return Ok(accepted(&[]));
            }
            answer.extend_from_slice(&chunk);
        }
        Ok(accepted(&answer))
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}

#[cfg(feature = "gzip")]
fn compressed(body: &Bytes) -> Bytes {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::with_capacity(body.len() / 4), flate2::Compression::fast());
    // Writing to memory cannot fail.
    let _ = encoder.write_all(body);
    encoder.finish().unwrap_or_default().into()
}

#[cfg(not(feature = "gzip"))]
fn compressed(body: &Bytes) -> Bytes {
    body.clone()
}
