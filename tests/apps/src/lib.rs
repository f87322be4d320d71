//! A package's library, and tests: see `tests`.

use tracing::debug;

/// Buys something, in a way that fails.
///
/// # Panics
/// Always.
pub fn buy() {
    debug!("somebody buys");
    crumbtrail_apps_stock::take();
}
