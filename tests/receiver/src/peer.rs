//! Receivers that others wrote: where their binaries are.

use std::path::PathBuf;

/// A receiver that is not ours.
#[derive(Clone, Copy, Debug)]
pub enum Peer {
    /// The official OpenTelemetry Collector; `OTELCOL_BIN`, or built by `.ci/collector`.
    Collector,
    /// `rotel`; `ROTEL_BIN`, or installed by `.ci/rotel`.
    Rotel,
}

impl Peer {
    /// Where its binary is: what its variable says, else the newest in the cache. `None`, loudly,
    /// if there is none.
    ///
    /// # Panics
    /// There is none, and `CRUMBTRAIL_REQUIRE_COLLECTOR` is set.
    pub fn binary(self) -> Option<PathBuf> {
        let (variable, prefix, script) = match self {
            Self::Collector => ("OTELCOL_BIN", "otelcol-", "collector"),
            Self::Rotel => ("ROTEL_BIN", "rotel-", "rotel"),
        };
        if let Some(path) = std::env::var_os(variable) {
            return Some(path.into());
        }
        let installed = listing(&cache()).filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)));
        let found = installed.flat_map(|directory| self.within(directory)).filter(|path| path.is_file());
        let newest = found.max_by_key(|path| path.metadata().and_then(|metadata| metadata.modified()).ok());
        if newest.is_none() {
            let message = format!("no {self:?} was found: run .ci/{script}, or set {variable}");
            assert!(std::env::var_os("CRUMBTRAIL_REQUIRE_COLLECTOR").is_none(), "{message}");
            eprintln!("\n*** SKIPPED: {message} ***\n");
        }
        newest
    }

    fn within(self, directory: PathBuf) -> Vec<PathBuf> {
        match self {
            Self::Collector => vec![directory.join("otelcol-test")],
            // A Python package, under the version of Python that installed it.
            Self::Rotel => listing(&directory.join("lib")).map(|python| python.join("site-packages/rotel/rotel-agent")).collect(),
        }
    }
}

fn cache() -> PathBuf {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    variable("CRUMBTRAIL_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("crumbtrail")))
        .unwrap_or_else(|| variable("HOME").unwrap_or_default().join(".cache/crumbtrail"))
}

fn listing(directory: &std::path::Path) -> impl Iterator<Item = PathBuf> + use<> {
    std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path())
}
