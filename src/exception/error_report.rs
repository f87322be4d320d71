//! What is said of one captured error, besides itself. Comes in: an error, and tags, a level, a
//! group, attachments or a backtrace. Goes out: a thing that `capture` takes, as it takes errors.

use std::{backtrace::Backtrace, fmt};

use super::capture::{Capture, CaptureParts, sealed::Sealed};
use super::draft::CaptureDetails;
use crate::AttributeValue;

/// An error with what is said of this one report, for [`capture`](crate::capture).
///
/// What is the same for a whole request is said of the request ([`set_tag`](crate::set_tag)), what
/// concerns a part of it is a span's field. This is for the rest. An error that was told before in
/// the request is not told again, whatever is said with it.
///
/// ```
/// use crumbtrail::{ErrorReport, capture};
/// use tracing::Level;
///
/// let error = "twelve".parse::<u8>().unwrap_err();
/// let (_, collected) = crumbtrail::testing::collect(|| {
///     capture(&ErrorReport::new(&error).with_tag("order.id", 9).with_level(Level::WARN).with_attachment("row 7 of orders.csv"))
/// });
/// let exception = &collected.exceptions()[0];
/// assert_eq!(exception.attribute("order.id"), Some(&9.into()));
/// assert_eq!(exception.level(), Level::WARN);
/// assert_eq!(exception.type_name(), "core::num::error::ParseIntError");
/// ```
#[must_use = "it is reported when it is captured"]
pub struct ErrorReport<'a, E: ?Sized> {
    error: &'a E,
    details: CaptureDetails,
    attachments: Vec<String>,
    backtrace: Option<&'a Backtrace>,
}

impl<'a, E: ?Sized> ErrorReport<'a, E> {
    /// A report of an error, of any kind that [`capture`](crate::capture) takes.
    pub fn new(error: &'a E) -> Self {
        Self { error, details: CaptureDetails::default(), attachments: Vec::new(), backtrace: None }
    }

    /// An attribute of this exception alone. It wins over a tag of the request that is called the
    /// same. At most 64, keys of 96 bytes and values of 1 KiB; longer ones are cut. Secrets are
    /// scrubbed by the key and in the value.
    pub fn with_tag(mut self, key: &str, value: impl Into<AttributeValue>) -> Self {
        self.details.tags.push((key.to_owned(), value.into()));
        self
    }

    /// The record's severity, ERROR by default. Below ERROR the span is not marked as failed, and
    /// no trace is kept for it.
    pub fn with_level(mut self, level: tracing_core::Level) -> Self {
        self.details.level = Some(level);
        self
    }

    /// Groups it with all exceptions of which the same is said, as
    /// [`Exception::set_group`](crate::Exception::set_group) does: Sentry's fingerprint.
    ///
    /// ```
    /// use crumbtrail::{ErrorReport, capture};
    ///
    /// let (_, collected) = crumbtrail::testing::collect(|| {
    ///     capture(&ErrorReport::new(&std::fmt::Error).with_group("the upstream is away"));
    ///     capture(&ErrorReport::new(&"x".parse::<u8>().unwrap_err()).with_group("the upstream is away"));
    /// });
    /// assert_eq!(collected.exceptions()[0].group(), collected.exceptions()[1].group());
    /// ```
    pub fn with_group(mut self, name: &str) -> Self {
        self.details.group = Some(name.to_owned());
        self
    }

    /// A text that explains it: what was read, the answer that could not be understood. At most 16,
    /// of 1 KiB each and 2,000 bytes together (`crumbtrail.attachments`).
    pub fn with_attachment(mut self, text: impl fmt::Display) -> Self {
        if self.attachments.len() < super::capture::MAX_ATTACHMENTS {
            self.attachments.push(super::draft::bounded(format_args!("{text}"), None));
        }
        self
    }

    /// The stack that the error carries: where it was made, not where it is reported. On stable
    /// Rust a library cannot ask an error for it.
    ///
    /// A backtrace that is disabled or empty changes nothing. Giving its frames names takes
    /// milliseconds, when it is captured, by the standard library.
    ///
    /// ```
    /// use std::backtrace::Backtrace;
    ///
    /// use crumbtrail::{ErrorReport, capture};
    ///
    /// #[derive(Debug)]
    /// struct Declined(Backtrace);
    /// # impl std::fmt::Display for Declined {
    /// #     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str("declined") }
    /// # }
    /// # impl std::error::Error for Declined {}
    ///
    /// fn declined() -> Declined {
    ///     Declined(Backtrace::force_capture())
    /// }
    /// let error = declined();
    /// let (_, collected) = crumbtrail::testing::collect(|| capture(&ErrorReport::new(&error).with_backtrace(&error.0)));
    /// assert!(collected.exceptions()[0].frames()[0].function().ends_with("declined"));
    /// ```
    pub fn with_backtrace(mut self, backtrace: &'a Backtrace) -> Self {
        self.backtrace = Some(backtrace);
        self
    }
}

impl<E: ?Sized> fmt::Debug for ErrorReport<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ErrorReport").field("level", &self.details.level).field("group", &self.details.group).finish_non_exhaustive()
    }
}

/// An [`ErrorReport`] of an error of the family `Kind`.
#[derive(Debug)]
#[non_exhaustive]
pub struct Reported<Kind>(std::marker::PhantomData<Kind>);

impl<E: ?Sized, Kind> Sealed<Reported<Kind>> for ErrorReport<'_, E> {}

impl<E: Capture<Kind> + ?Sized, Kind> Capture<Reported<Kind>> for ErrorReport<'_, E> {
    fn describe(&self, parts: &mut CaptureParts) {
        self.error.describe(parts);
        parts.set_details(&self.details, &self.attachments);
        if let Some(backtrace) = self.backtrace {
            parts.backtrace(backtrace);
        }
    }
}
