//! One visit of the fields: each value goes into the record as what it is.

use std::{
    error::Error,
    fmt::{self},
};

use tracing_core::field::{Field, Visit};

use crate::exception::{debug_line, type_of};
use crate::{
    exception::{self, chain, echo, variant},
    scrub::{FILTERED, Scrubber, Treatment},
    stack::{TypeAddress, read_only::ReadOnlyRanges},
    trail::{callsite::Callsite, encode::Encoder, record},
    unwind::guarded,
};

/// Writes fields into an [`Encoder`].
pub(crate) struct FieldVisitor<'a, 'b> {
    encoder: &'a mut Encoder<'b>,
    /// Has fields whose values are not to be told.
    secret: Option<&'a Callsite>,
    scrubber: &'a Scrubber,
    /// The event becomes an exception: it is worth a look at an error's type, and at what of its
    /// texts is the same every time.
    exception: Option<&'b ReadOnlyRanges>,
    /// A span for which the program has set limits: they do not concern its name, kind and status.
    is_limited: bool,
}

impl<'a, 'b> FieldVisitor<'a, 'b> {
    pub(crate) fn new(encoder: &'a mut Encoder<'b>, scrubber: &'a Scrubber, secret: Option<&'a Callsite>) -> Self {
        Self { encoder, secret, scrubber, exception: None, is_limited: false }
    }

    /// For a span.
    pub(crate) fn of_span(self) -> Self {
        Self { is_limited: self.encoder.is_limited(), ..self }
    }

    /// For an event that becomes an exception.
    pub(crate) fn of_exception(self, literals: &'b ReadOnlyRanges) -> Self {
        Self { exception: Some(literals), ..self }
    }

    /// Whether something else is to be written for this field; it has been, then.
    #[inline]
    fn is_treated(&mut self, field: &Field, value: &dyn fmt::Display) -> bool {
        match self.secret {
            None => false,
            Some(site) => self.treat(site, field, value),
        }
    }

    #[cold]
    fn treat(&mut self, site: &Callsite, field: &Field, value: &dyn fmt::Display) -> bool {
        match site.treatments.get(field.index()) {
            None | Some(Treatment::Keep) => return false,
            Some(Treatment::Filter) => self.encoder.str(key(field), FILTERED),
            Some(Treatment::Hash) => {
                let text = guarded(|| value.to_string()).unwrap_or_default();
                self.encoder.str(key(field), &self.scrubber.hash(&text));
            }
        }
        true
    }
}

fn key(field: &Field) -> u16 {
    field.index() as u16
}

/// A span's name, kind or status: no attribute.
fn is_of_otel(field: &Field) -> bool {
    matches!(field.name(), "otel.name" | "otel.kind" | "otel.status_code" | "otel.status_message" | "otel.status_description")
}

macro_rules! numbers {
    ($($method:ident: $type:ty => $write:ident),*) => {
        $(fn $method(&mut self, field: &Field, value: $type) {
            if !self.is_treated(field, &value) {
                self.encoder.$write(key(field), value);
            }
        })*
    };
}

impl Visit for FieldVisitor<'_, '_> {
    numbers!(record_f64: f64 => f64, record_i64: i64 => i64, record_u64: u64 => u64, record_i128: i128 => i128, record_u128: u128 => u128);

    fn record_bool(&mut self, field: &Field, value: bool) {
        // Says at most whether there is a secret.
        self.encoder.bool(key(field), value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            return self.record_debug(field, &format_args!("{value}"));
        }
        if self.is_limited && is_of_otel(field) {
            return self.encoder.exempt(|encoder| encoder.str(key(field), value));
        }
        if value.is_empty() || !self.is_treated(field, &value) {
            self.encoder.str(key(field), value);
        }
    }

    fn record_bytes(&mut self, field: &Field, value: &[u8]) {
        if !self.is_treated(field, &String::from_utf8_lossy(value)) {
            self.encoder.bytes(key(field), value);
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        if self.is_treated(field, &value) {
            return;
        }
        let line = if self.exception.is_some() { debug_line(value) } else { String::new() };
        // A guess is a text of the program's like any other.
        let line = self.scrubber.scrub(&line);
        let (name, exact) = if self.exception.is_some() { type_of(value, &line) } else { ("", false) };
        let links = chain::links(value);
        let address = |link: &(dyn Error + '_)| if self.exception.is_some() { TypeAddress::of(link).0 } else { [0; 2] };
        let shown: Vec<_> = links.iter().map(|link| (*link as &dyn fmt::Display, address(*link))).collect();
        self.encoder.error(key(field), (name, exact), &shown, self.exception);
        if self.exception.is_some() {
            self.encoder.own_u64(record::key::DEBUG, echo::fingerprint(&line));
            self.encoder.own_str(record::key::VARIANT, &variant::path(&line));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            return match self.exception {
                Some(literals) => self.encoder.with_template(key(field), record::key::TEMPLATE, value, literals),
                None => self.encoder.message(key(field), value),
            };
        }
        if self.is_treated(field, &format_args!("{value:?}")) {
            return;
        }
        if self.is_limited && is_of_otel(field) {
            return self.encoder.exempt(|encoder| encoder.debug(key(field), value));
        }
        match self.exception.filter(|_| exception::ERROR_FIELDS.contains(&field.name())) {
            Some(literals) => self.encoder.with_template(key(field), record::key::ERROR_TEMPLATE, value, literals),
            None => self.encoder.debug(key(field), value),
        }
    }
}
