//! The proxies that the environment names for a program's requests. Comes in: `HTTPS_PROXY` and its
//! like. Goes out: the one for an address, or none.

use std::fmt;

use http::Uri;

use super::EnvVars;
use crate::delivery::Proxy;

/// Their rules are those of hyper-util, and so of reqwest.
#[derive(Clone, Default)]
#[cfg_attr(not(any(feature = "http", feature = "grpc")), expect(dead_code, reason = "there is nothing to send"))]
pub(crate) struct Proxies {
    http: Option<String>,
    https: Option<String>,
    all: Option<String>,
    no: Option<String>,
}

impl fmt::Debug for Proxies {
    /// Their addresses may hold credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxies").finish_non_exhaustive()
    }
}

impl Proxies {
    pub(crate) fn of_process() -> Self {
        Self::read(&EnvVars::of_process())
    }

    pub(crate) fn read(environment: &EnvVars) -> Self {
        let text = |name: &str| Some(environment.0.get(name)?.to_str()?.to_owned()).filter(|text| !text.is_empty());
        let either = |large: &str, small: &str| text(small).or_else(|| text(large));
        // In a CGI program HTTP_PROXY is a header of the client's.
        let http = if text("REQUEST_METHOD").is_some() { text("http_proxy") } else { either("HTTP_PROXY", "http_proxy") };
        Self {
            http,
            https: either("HTTPS_PROXY", "https_proxy"),
            all: either("ALL_PROXY", "all_proxy"),
            no: either("NO_PROXY", "no_proxy"),
        }
    }

    /// The one for this address.
    #[cfg(any(feature = "http", feature = "grpc"))]
    pub(crate) fn of(&self, address: &Uri) -> Option<Proxy> {
        if is_loopback(address.host()?) {
            return None;
        }
        let of = |text: &Option<String>| text.clone().unwrap_or_default();
        let matcher = hyper_util::client::proxy::matcher::Matcher::builder()
            .http(of(&self.http))
            .https(of(&self.https))
            .all(of(&self.all))
            .no(of(&self.no))
            .build();
        let found = matcher.intercept(address)?;
        Some(Proxy { address: found.uri().clone(), authorization: found.basic_auth().cloned() })
    }

    #[cfg(not(any(feature = "http", feature = "grpc")))]
    pub(crate) fn of(&self, _: &Uri) -> Option<Proxy> {
        None
    }
}

#[cfg(any(feature = "http", feature = "grpc"))]
fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

#[cfg(all(test, any(feature = "http", feature = "grpc")))]
mod tests {
    use super::*;

    #[test]
    fn the_proxy_depends_on_the_address() {
        let environment = [
            ("HTTPS_PROXY", "http://ada:secret@proxy.internal:3128"),
            ("http_proxy", "http://plain.internal:8080"),
            ("NO_PROXY", "10.0.0.0/8,.corp.example,collector"),
        ];
        let proxies = Proxies::read(&EnvVars::from_iter(environment));
        let of =
            |address: &'static str| proxies.of(&Uri::from_static(address)).map(|proxy| (proxy.address.to_string(), proxy.authorization));
        let (address, authorization) = of("https://otlp.vendor.example/v1/logs").expect("there is one");
        assert_eq!(address, "http://proxy.internal:3128/");
        assert_eq!(authorization.expect("credentials").to_str().unwrap(), "Basic YWRhOnNlY3JldA==");
        assert_eq!(of("http://otlp.vendor.example:4318").map(|(address, _)| address).as_deref(), Some("http://plain.internal:8080/"));
        for direct in
            ["https://10.1.2.3:4318", "https://otlp.corp.example", "http://collector:4318", "http://localhost:4318", "http://[::1]:4318"]
        {
            assert_eq!(of(direct), None, "{direct}");
        }
        assert!(!format!("{proxies:?}").contains("secret"));
        assert!(Proxies::default().of(&Uri::from_static("https://otlp.vendor.example")).is_none());
    }
}
