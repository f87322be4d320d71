//! What gRPC puts where HTTP has a status: a code in a header or trailer.

use http::{HeaderMap, HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use percent_encoding::percent_decode;

use crate::text::cut;

/// Whether a request is one of gRPC, gRPC-Web included.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(is_type_of_grpc)
}

pub(super) fn is_type_of_grpc(content_type: &HeaderValue) -> bool {
    content_type.as_bytes().starts_with(b"application/grpc")
}

/// `grpc-message`: what a status says besides its code.
pub(super) fn message(headers: &HeaderMap) -> Option<String> {
    const LONGEST: usize = 1_000;
    let text = percent_decode(headers.get("grpc-message")?.as_bytes()).decode_utf8_lossy();
    Some(cut(&text, LONGEST).to_owned()).filter(|text| !text.is_empty())
}

/// The head of an answer that says INTERNAL, for a call whose handler has panicked: whoever calls
/// expects a status of gRPC's.
pub(super) fn internal_error<B: Default>() -> Response<B> {
    let mut response = Response::new(B::default());
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response.headers_mut().insert("grpc-status", HeaderValue::from_static("13"));
    response
}

/// A status, by its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Status(u8);

const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

impl Status {
    /// `grpc-status`, where it is.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let code: u8 = headers.get("grpc-status")?.to_str().ok()?.parse().ok()?;
        // A code that is not known is to be taken for UNKNOWN (gRPC, "Status codes and their use").
        Some(Self(if usize::from(code) < NAMES.len() { code } else { 2 }))
    }

    pub(super) fn name(self) -> &'static str {
        NAMES[usize::from(self.0)]
    }

    pub(super) fn is_ok(self) -> bool {
        self.0 == 0
    }

    /// Whether it comes from the method that was called. Others may come before it is known whether
    /// there is one: UNIMPLEMENTED, PERMISSION_DENIED, UNAUTHENTICATED.
    pub(super) fn is_of_method(self) -> bool {
        !matches!(self.0, 7 | 12 | 16)
    }

    /// Whether the server is to blame (semantic conventions, "gRPC server": the others are not
    /// errors of its span).
    pub(super) fn is_server_error(self) -> bool {
        matches!(self.0, 2 | 4 | 12 | 13 | 14 | 15)
    }

    /// Whether it is worth an exception where nothing else has been told: a deadline is the
    /// caller's, and who calls what is not there must not fill the list of defects.
    pub(super) fn is_failure(self) -> bool {
        matches!(self.0, 2 | 13 | 14 | 15)
    }
}
