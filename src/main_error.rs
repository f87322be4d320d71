//! The error that `main` returns. Comes in: any error, by `?`. Goes out: an exception, fatal, and
//! what the standard library prints.

use std::{error::Error, fmt, panic::Location};

#[cfg(doc)]
use crate::exception::Mechanism;

use crate::{exception, state::active_core};

/// The error that ends a program, reported when `?` makes it of another: what
/// [`main`](https://doc.rust-lang.org/std/process/trait.Termination.html) returns.
///
/// Of any error, a text, `anyhow::Error` or `eyre::Report`. It becomes an exception of severity
/// FATAL, with its causes ([`Mechanism::Main`]), of the telemetry that is installed; one that was
/// reported before has no second record. The standard library then prints it, with its causes, and
/// ends the process with code 1; the guard, which `main` still has, delivers it. An error from
/// before there was a guard is printed and not reported.
///
/// ```
/// use crumbtrail::{errors::{MainError, Mechanism}, testing};
///
/// fn serve() -> Result<(), MainError> {
///     let _port: u16 = "eighty".parse()?;
///     Ok(())
/// }
/// let (ended, collected) = testing::collect(serve);
/// assert!(ended.is_err());
/// assert_eq!(collected.exceptions()[0].mechanism(), Mechanism::Main);
/// assert!(collected.exceptions()[0].is_fatal());
/// ```
///
/// A program:
///
/// ```no_run
/// # fn serve() -> Result<(), std::io::Error> { Ok(()) }
/// fn main() -> Result<(), crumbtrail::errors::MainError> {
///     let _telemetry = crumbtrail::init(crumbtrail::service!())?;
///     serve()?;
///     Ok(())
/// }
/// ```
pub struct MainError(Box<dyn Error + Send + Sync>);

/// Not an [`Error`] itself: it would be made of itself.
impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for MainError {
    #[track_caller]
    fn from(error: E) -> Self {
        let error = error.into();
        if let Some(core) = active_core() {
            exception::capture_at_the_end(&core, &*error, Location::caller());
        }
        Self(error)
    }
}

/// As the standard library prints it: the error, and its causes a line each.
impl fmt::Debug for MainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, "\ncaused by: {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl fmt::Display for MainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
