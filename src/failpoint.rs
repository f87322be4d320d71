//! Named steps, at which tests of the library itself end the process or make it panic
//! (`tests/faults`). Nothing without the `failpoints` feature.

#[inline]
pub(crate) fn step(name: &'static str) {
    let _ = name;
    #[cfg(feature = "failpoints")]
    fail::fail_point!(name);
}
