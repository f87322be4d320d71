//! What our own sending says of itself: hyper, reqwest, tonic and OpenTelemetry's SDK log, too. On
//! our threads that is nothing of the program's, so no layer of the subscriber is told; anywhere
//! else it is the host's own.

use crate::state::is_own_thread;

/// The crates that we send by.
const CRATES: [&str; 11] =
    ["h2", "hyper", "hyper_util", "mio", "opentelemetry", "opentelemetry_sdk", "reqwest", "rustls", "tonic", "tower", "tower_http"];

/// Whether nobody is to hear of something with this target that happens now, on this thread.
pub(crate) fn is_unheard(target: &str) -> bool {
    is_own_thread() && is_of_sending(target)
}

/// Whether it may be so, on a thread of ours.
pub(super) fn is_of_sending(target: &str) -> bool {
    let name = target.split("::").next().unwrap_or_default();
    CRATES.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_we_send_by_is_known_by_its_name() {
        assert!(is_of_sending("hyper_util::client::legacy::pool") && is_of_sending("reqwest"));
        assert!(!is_of_sending("hyperspace::drive") && !is_of_sending("shop::tower"));
        assert!(!is_unheard("hyper"), "on the host's threads");
    }
}
