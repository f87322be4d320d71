//! What texts mean, in variables as in files. No error shows a value that may be secret.

use std::{fmt, path::PathBuf};

use http::{HeaderName, HeaderValue, Uri};
use percent_encoding::percent_decode_str;

use super::{Address, Console, ConsoleFormat, Exporter};
use crate::{
    delivery::{Compression, Protocol},
    metrics::MetricTemporality,
};

/// What is wrong with a text. A variable's is told as a whole; a file with such a text is refused,
/// so that nothing is done instead.
#[cfg_attr(test, derive(Debug))]
pub(crate) struct Problem {
    pub(crate) what: String,
    instead: &'static str,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.instead)
    }
}

fn problem<T>(what: impl Into<String>, instead: &'static str) -> Result<T, Problem> {
    Err(Problem { what: what.into(), instead })
}

const DEFAULT: &str = "the default is used";
const IGNORED: &str = "the whole variable is ignored";

/// 0 … 2³¹ − 1.
pub(crate) fn integer(text: &str) -> Result<u64, Problem> {
    match text.parse::<i64>() {
        Ok(number) if (0..=i64::from(i32::MAX)).contains(&number) => Ok(number as u64),
        _ => problem(format!("{text:?} is not a whole number from 0 to {}", i32::MAX), DEFAULT),
    }
}

pub(crate) fn positive(text: &str) -> Result<u64, Problem> {
    integer(text).and_then(|number| if number == 0 { problem("0 is too small", DEFAULT) } else { Ok(number) })
}

/// `key=value,key=value`, percent-encoded; any error discards the whole value. A comma too many is
/// none.
pub(crate) fn resource_attributes(text: &str) -> Result<Vec<(String, String)>, Problem> {
    text.split(',')
        .filter(|pair| !pair.trim().is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').ok_or("a part is not key=value")?;
            let (key, value) = (decoded(key.trim())?, decoded(value.trim())?);
            if key.is_empty() { Err("a key is empty") } else { Ok((key, value)) }
        })
        .collect::<Result<_, &str>>()
        .or_else(|what| problem(what, IGNORED))
}

pub(crate) fn decoded(text: &str) -> Result<String, &'static str> {
    let broken = text
        .match_indices('%')
        .any(|(at, _)| !text.as_bytes().get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)));
    if broken {
        return Err("a percent sign is not followed by two hex digits");
    }
    percent_decode_str(text).decode_utf8().map(Into::into).map_err(|_| "a percent-encoded part is not UTF-8")
}

pub(crate) fn temporality(text: &str) -> Result<MetricTemporality, Problem> {
    match text.to_ascii_lowercase().as_str() {
        "cumulative" => Ok(MetricTemporality::Cumulative),
        "delta" => Ok(MetricTemporality::Delta),
        "lowmemory" => Ok(MetricTemporality::LowMemory),
        _ => problem(format!("{text:?} is none of cumulative, delta, lowmemory"), "cumulative is used"),
    }
}

/// Whether it is the exponential one.
pub(crate) fn histogram_aggregation(text: &str) -> Result<bool, Problem> {
    match text.to_ascii_lowercase().as_str() {
        "explicit_bucket_histogram" => Ok(false),
        "base2_exponential_bucket_histogram" => Ok(true),
        _ => problem(format!("{text:?} is neither explicit_bucket_histogram nor base2_exponential_bucket_histogram"), "the first is used"),
    }
}

pub(crate) fn exception_signal(text: &str) -> Result<bool, Problem> {
    match text {
        "logs" => Ok(false),
        "logs/dup" => Ok(true),
        other => problem(format!("{other:?} is neither logs nor logs/dup"), "exceptions are sent as logs and as span events"),
    }
}

pub(crate) fn exporter_name(text: &str) -> Result<Exporter, Problem> {
    match text.to_ascii_lowercase().as_str() {
        "otlp" => Ok(Exporter::Otlp),
        "console" => Ok(Exporter::Console),
        "none" => Ok(Exporter::None),
        other => problem(format!("{other:?} is not an exporter known here (otlp, console, none)"), "otlp is used"),
    }
}

pub(crate) fn protocol(text: &str) -> Result<Protocol, Problem> {
    match text.to_ascii_lowercase().as_str() {
        "http/protobuf" => Ok(Protocol::HttpProtobuf),
        // Whether it is built in is looked at where it is used.
        "http/json" => Ok(Protocol::HttpJson),
        "grpc" => Ok(Protocol::Grpc),
        other => problem(format!("{other:?} is not a protocol known here (http/protobuf, http/json, grpc)"), "http/protobuf is used"),
    }
}

/// An absolute URL; an address without a scheme is taken as http. `unix:/path` and `unix:///path`
/// are sockets of this machine.
pub(crate) fn address(text: &str) -> Result<Address, Problem> {
    if let Some(path) = text.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        let socket = Some(PathBuf::from(path)).filter(|path| cfg!(unix) && path.is_absolute());
        let local = Address { uri: Uri::from_static("http://localhost"), has_scheme: true, socket };
        return match local.socket {
            Some(_) => Ok(local),
            None => problem("not the absolute path of a Unix socket, as in unix:/run/otel.sock", DEFAULT),
        };
    }
    let has_scheme = text.contains("://");
    // `http:/host` is no host called http.
    let forgets_a_slash = !has_scheme && text.split_once(':').is_some_and(|(_, rest)| rest.starts_with('/'));
    let with_scheme = if has_scheme { text.to_owned() } else { format!("http://{text}") };
    let has_port = |uri: &Uri| uri.port().is_none() || uri.port_u16().is_some();
    let ends_in_port = |uri: &Uri| {
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        // An IPv6 address has colons of its own.
        host.ends_with(']') || host.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_ok())
    };
    match with_scheme.parse::<Uri>() {
        Ok(uri)
            if !forgets_a_slash
                && uri.host().is_some_and(|host| !host.is_empty())
                && matches!(uri.scheme_str(), Some("http" | "https"))
                && has_port(&uri)
                && ends_in_port(&uri) =>
        {
            Ok(Address { uri, has_scheme, socket: None })
        }
        // The text is not shown: it may hold credentials.
        _ => problem("not an http:// or https:// URL with a port from 0 to 65535", DEFAULT),
    }
}

/// `key=value,key=value`, values percent-encoded, as baggage without metadata.
pub(crate) fn headers(text: &str) -> Result<Vec<(HeaderName, HeaderValue)>, Problem> {
    text.split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').ok_or("a part is not name=value")?;
            let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| "a name is not a valid header name")?;
            let mut value = HeaderValue::from_str(&decoded(value.trim())?).map_err(|_| "a value is not a valid header value")?;
            value.set_sensitive(true);
            Ok((name, value))
        })
        .collect::<Result<_, &str>>()
        .or_else(|what| problem(what, IGNORED))
}

pub(crate) fn compression(text: &str) -> Result<Compression, Problem> {
    match text.to_ascii_lowercase().as_str() {
        "none" => Ok(Compression::None),
        // Whether it is built in is looked at where it is used.
        "gzip" => Ok(Compression::Gzip),
        "zstd" => Ok(Compression::Zstd),
        other => problem(format!("{other:?} is not a compression known here (gzip, zstd, none)"), "requests are not compressed"),
    }
}

pub(crate) fn console(text: &str) -> Result<Console, Problem> {
    match text.to_ascii_lowercase().as_str() {
        "auto" => Ok(Console::auto()),
        "always" | "text" => Ok(Console::always()),
        "compact" => Ok(Console::auto().with_format(ConsoleFormat::Compact)),
        "json" => Ok(Console::auto().with_format(ConsoleFormat::Json)),
        "off" | "none" => Ok(Console::off()),
        _ => problem(format!("{text:?} is none of auto, always, text, compact, json, off"), "auto is used"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_console_is_known_by_its_name() {
        assert_eq!(console("JSON").ok(), Some(Console::auto().with_format(ConsoleFormat::Json)));
        assert_eq!(console("loud").unwrap_err().to_string(), "\"loud\" is none of auto, always, text, compact, json, off; auto is used");
    }
}
