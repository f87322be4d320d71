//! Reports from the field: faults of error trackers and telemetry libraries that people have met,
//! each tried here. A test's first line names the report it stands for.

#[path = "../support/mod.rs"]
mod support;

mod asked;
mod lost;
mod once;
mod panics;
mod standards;
mod whose;
mod words;
