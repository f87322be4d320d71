//! Errors of which only the trait is known, and error types of other crates, each behind the
//! feature of its name.

use std::error::Error;

use super::capture::{Capture, CaptureParts, sealed::Sealed};
#[cfg(feature = "rootcause-0-13")]
use crate::stack::symbols::without_arguments;

/// Errors behind `dyn Error`, boxed or not. Their type is found by the worker.
#[derive(Debug)]
#[non_exhaustive]
pub struct DynError;

macro_rules! dyn_error {
    ($($type:ty),*) => {
        $(
            impl Sealed<DynError> for $type {}
            impl Capture<DynError> for $type {
                fn describe(&self, parts: &mut CaptureParts) {
                    parts.error(self);
                }
            }

            impl Sealed<DynError> for Box<$type> {}
            impl Capture<DynError> for Box<$type> {
                fn describe(&self, parts: &mut CaptureParts) {
                    parts.error(&**self);
                }
            }
        )*
    };
}

dyn_error!(dyn Error + 'static, dyn Error + Send + 'static, dyn Error + Send + Sync + 'static);

/// What can be shown in both ways.
#[cfg(feature = "actix-web-4")]
pub(crate) struct Shown<'a> {
    pub(crate) debug: &'a dyn std::fmt::Debug,
    pub(crate) display: &'a dyn std::fmt::Display,
}

#[cfg(feature = "actix-web-4")]
impl Sealed<DynError> for Shown<'_> {}
#[cfg(feature = "actix-web-4")]
impl Capture<DynError> for Shown<'_> {
    fn describe(&self, parts: &mut CaptureParts) {
        parts.shown(self.debug, self.display);
    }
}

/// `anyhow::Error`: its chain, and its own backtrace if it has one.
#[cfg(feature = "anyhow")]
#[derive(Debug)]
#[non_exhaustive]
pub struct Anyhow;

#[cfg(feature = "anyhow")]
impl Sealed<Anyhow> for anyhow::Error {}

#[cfg(feature = "anyhow")]
impl Capture<Anyhow> for anyhow::Error {
    fn describe(&self, parts: &mut CaptureParts) {
        parts.error(self.as_ref());
        parts.backtrace(self.backtrace());
    }
}

/// `eyre::Report`: its chain. (Its handlers keep their backtraces to themselves.)
#[cfg(feature = "eyre-0-6")]
#[derive(Debug)]
#[non_exhaustive]
pub struct Eyre;

#[cfg(feature = "eyre-0-6")]
impl Sealed<Eyre> for eyre::Report {}

#[cfg(feature = "eyre-0-6")]
impl Capture<Eyre> for eyre::Report {
    fn describe(&self, parts: &mut CaptureParts) {
        parts.error(&**self);
    }
}

/// `error_stack::Report`: its contexts, outermost first, what is attached and can be shown, and its
/// backtrace.
#[cfg(feature = "error-stack-0-8")]
#[derive(Debug)]
#[non_exhaustive]
pub struct ErrorStack;

#[cfg(feature = "error-stack-0-8")]
impl<C: ?Sized> Sealed<ErrorStack> for error_stack::Report<C> {}

#[cfg(feature = "error-stack-0-8")]
impl<C: ?Sized> Capture<ErrorStack> for error_stack::Report<C> {
    fn describe(&self, parts: &mut CaptureParts) {
        use error_stack::{AttachmentKind, FrameKind};
        for frame in self.frames() {
            match frame.kind() {
                FrameKind::Context(context) => parts.link_of(context),
                FrameKind::Attachment(AttachmentKind::Printable(attachment)) => parts.attachment(attachment),
                FrameKind::Attachment(_) => {
                    if let Some(backtrace) = frame.downcast_ref::<std::backtrace::Backtrace>() {
                        parts.backtrace(backtrace);
                    }
                }
            }
        }
    }
}

/// `rootcause::Report`: its contexts, outermost first, and what is attached to them.
#[cfg(feature = "rootcause-0-13")]
#[derive(Debug)]
#[non_exhaustive]
pub struct RootCause;

#[cfg(feature = "rootcause-0-13")]
impl<C: ?Sized, O: rootcause::markers::ReportOwnershipMarker, T> Sealed<RootCause> for rootcause::Report<C, O, T> {}

#[cfg(feature = "rootcause-0-13")]
impl<C: ?Sized, O: rootcause::markers::ReportOwnershipMarker, T> Capture<RootCause> for rootcause::Report<C, O, T> {
    fn describe(&self, parts: &mut CaptureParts) {
        for report in self.iter_reports() {
            let name = report.current_context_type_name();
            // What was reported as text has no type of its own.
            let is_text = name.ends_with("str") || name.ends_with("String") || name.contains("dyn ");
            let name = if is_text { String::new() } else { without_arguments(name) };
            parts.text(&report.format_current_context(), &name);
            for attachment in report.attachments().iter() {
                parts.attachment(&attachment.format_inner());
            }
        }
    }
}
