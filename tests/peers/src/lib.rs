//! Nothing but tests and benches: see `tests` and `benches`.
