//! Another member of a service's workspace.

use tracing::debug;

/// Takes something from the shelf, in a way that fails.
///
/// # Panics
/// Always.
#[inline(never)]
pub fn take() {
    debug!("looking at the shelf");
    panic!("the shelf fell down");
}
