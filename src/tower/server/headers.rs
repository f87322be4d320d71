//! The headers that are looked at. Comes in: all of a request's. Goes out: those that its span and
//! its trace are made from, found in one pass: to look one up by its name hashes the name, and
//! there would be eight.

use http::{HeaderMap, HeaderValue};

use crate::propagation::Propagators;

#[derive(Clone, Copy, Default)]
pub(super) struct Headers<'a> {
    host: Option<&'a HeaderValue>,
    user_agent: Option<&'a HeaderValue>,
    content_type: Option<&'a HeaderValue>,
    forwarded_proto: Option<&'a HeaderValue>,
    /// One of them is a propagator's.
    pub(super) carry_context: bool,
}

impl<'a> Headers<'a> {
    pub(super) fn of(headers: &'a HeaderMap, propagators: Propagators) -> Self {
        let mut found = Self::default();
        for (name, value) in headers {
            let place = match name.as_str() {
                "host" => &mut found.host,
                "user-agent" => &mut found.user_agent,
                "content-type" => &mut found.content_type,
                "x-forwarded-proto" => &mut found.forwarded_proto,
                name => {
                    found.carry_context |= propagators.recognize(name);
                    continue;
                }
            };
            // The first counts, where there are several.
            place.get_or_insert(value);
        }
        found
    }

    pub(super) fn host(&self) -> Option<&'a str> {
        self.host?.to_str().ok()
    }

    pub(super) fn user_agent(&self) -> Option<&'a str> {
        self.user_agent?.to_str().ok()
    }

    pub(super) fn are_of_grpc(&self) -> bool {
        self.content_type.is_some_and(crate::tower::grpc::is_type_of_grpc)
    }

    pub(super) fn are_forwarded_from_https(&self) -> bool {
        self.forwarded_proto.is_some_and(|scheme| scheme.as_bytes().eq_ignore_ascii_case(b"https"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_several_counts_and_a_propagators_is_known() {
        let mut headers = HeaderMap::new();
        headers.append("host", HeaderValue::from_static("a"));
        headers.append("host", HeaderValue::from_static("b"));
        headers.append("x-forwarded-proto", HeaderValue::from_static("HTTPS"));
        let found = Headers::of(&headers, Propagators::default());
        assert_eq!((found.host(), found.user_agent()), (Some("a"), None));
        assert!(found.are_forwarded_from_https() && !found.are_of_grpc() && !found.carry_context);
        headers.append("baggage", HeaderValue::from_static("a=b"));
        headers.append("content-type", HeaderValue::from_static("application/grpc+proto"));
        let found = Headers::of(&headers, Propagators::default());
        assert!(found.carry_context && found.are_of_grpc());
        assert!(!Headers::of(&headers, Propagators::NONE).carry_context);
    }
}
