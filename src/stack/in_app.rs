//! Which frames are the service's own.

use crate::service::is_within_workspace;

/// Crates whose frames are the service's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OwnCrates {
    crates: Vec<String>,
    /// Whatever is built from sources in this folder is theirs, too.
    workspace: Option<String>,
    /// Beginnings of functions' paths, whatever their crate.
    include: Vec<String>,
    exclude: Vec<String>,
}

impl OwnCrates {
    pub(crate) fn new(crates: impl IntoIterator<Item = String>) -> Self {
        Self { crates: crates.into_iter().filter(|name| !name.is_empty()).collect(), ..Self::default() }
    }

    pub(crate) fn with_workspace(self, workspace: Option<String>) -> Self {
        Self { workspace, ..self }
    }

    /// What the program says itself wins; the more so, what it excludes.
    pub(crate) fn with_rules(self, include: Vec<String>, exclude: Vec<String>) -> Self {
        Self { include, exclude, ..self }
    }

    /// Whether a demangled function belongs to one of them. Code that a library's macro put there
    /// does not. Where debug information gives only a short name, the file decides alone.
    pub(crate) fn has(&self, function: &str, file: Option<&str>) -> bool {
        let path = function.trim_start_matches(['<', '&']);
        let says = |beginnings: &[String]| beginnings.iter().any(|beginning| path.starts_with(beginning.as_str()));
        if says(&self.exclude) || says(&self.include) {
            return !says(&self.exclude);
        }
        // Even where this library is the service, as in its own tests.
        if path.starts_with("crumbtrail::") && !path.contains("::tests::") && file.is_none_or(is_ours) {
            return false;
        }
        const FOREIGN: [&str; 4] = ["/rustc/", "/registry/src/", "/git/checkouts/", "/toolchains/"];
        let foreign = file.is_some_and(|file| FOREIGN.iter().any(|foreign| file.contains(foreign)));
        if function.contains("::") {
            let name = crate_of(function);
            return !foreign && (self.crates.iter().any(|own| own == name) || file.is_some_and(|file| self.is_of_workspace(file)));
        }
        !foreign && file.is_some_and(|file| !is_ours(file))
    }

    fn is_of_workspace(&self, file: &str) -> bool {
        let Some(workspace) = self.workspace.as_ref().filter(|_| !is_ours(file)) else { return false };
        // Debug information may have the whole path, or that within the workspace.
        let file = file.strip_prefix(workspace.as_str()).and_then(|rest| rest.strip_prefix('/')).unwrap_or(file);
        is_within_workspace(file)
    }
}

/// The crate a demangled name begins with: `shop` of `shop::pay`, of `<shop::Cart as
/// core::fmt::Debug>::fmt`, and of `<&mut shop::Cart>::add`.
fn crate_of(function: &str) -> &str {
    let start = function.trim_start_matches(['<', '&', '*', '(', '[', ' ']);
    let start = start.strip_prefix("mut ").or_else(|| start.strip_prefix("const ")).or_else(|| start.strip_prefix("dyn ")).unwrap_or(start);
    let end = start.find(|next: char| !(next.is_alphanumeric() || next == '_')).unwrap_or(start.len());
    &start[..end]
}

/// Whether a source file is this library's.
fn is_ours(file: &str) -> bool {
    file.starts_with(concat!(env!("CARGO_MANIFEST_DIR"), "/src/"))
}

/// Whether a function stands between the failing code and our capture: unwinding, panicking,
/// `tracing`, this library.
pub(crate) fn is_machinery(function: &str, file: Option<&str>) -> bool {
    const PREFIXES: [&str; 23] = [
        "backtrace::",
        "std::backtrace",
        "<std::backtrace",
        "anyhow::",
        "<anyhow::",
        "eyre::",
        "<eyre::",
        "error_stack::",
        "crumbtrail::",
        "<crumbtrail::",
        "tracing_core::",
        "<tracing_core::",
        "tracing_subscriber::",
        "<tracing_subscriber::",
        "log::",
        "<dyn log::",
        "tracing_log::",
        "<tracing_log::",
        "tracing::__macro_support",
        "std::panicking::panic",
        "std::panicking::begin_panic",
        "core::panicking::",
        "core::result::unwrap_failed",
    ];
    const FILES: [&str; 5] = ["/backtrace-0", "/tracing-core-", "/tracing-subscriber-", "/tracing-log-", "/std/src/panicking.rs"];
    // The closure that an event's macro puts into the failing function.
    if file.is_some_and(|file| file.contains("/tracing-0.") && file.ends_with("/macros.rs")) {
        return true;
    }
    // Short names say nothing; then the file does.
    if !function.contains("::") {
        return file
            .is_some_and(|file| is_ours(file) || FILES.iter().any(|part| file.contains(part)) || file.ends_with("/core/src/panicking.rs"));
    }
    PREFIXES.iter().any(|prefix| function.starts_with(prefix))
        || function.starts_with("core::option::") && function.ends_with("_failed")
        || function.contains("rust_begin_unwind")
        || function.contains("rust_end_short_backtrace")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crate_is_found_in_every_form_of_a_name() {
        let own = OwnCrates::new(["shop".to_owned()]);
        for function in ["shop::pay", "<shop::Cart as core::fmt::Debug>::fmt", "<&mut shop::Cart as X>::add", "shop::pay::{{closure}}"] {
            assert!(own.has(function, None), "{function}");
        }
        let ruled = own.clone().with_rules(vec!["tokio::shop".to_owned()], vec!["shop::generated".to_owned()]);
        assert!(ruled.has("tokio::shop::pay", None) && ruled.has("shop::pay", None) && !ruled.has("shop::generated::pay", None));
        for function in ["shopping::pay", "tokio::shop::pay", "core::ops::function::FnOnce::call_once"] {
            assert!(!own.has(function, None), "{function}");
        }
        let own = own.with_workspace(Some("/build/ws".to_owned()));
        for file in ["/build/ws/crates/stock/src/lib.rs", "crates/stock/src/lib.rs"] {
            assert!(own.has("stock::take", Some(file)), "{file}");
        }
        for file in [
            "/root/.cargo/registry/src/index/stock-1.0.0/src/lib.rs",
            "/rustc/abc/library/core/src/option.rs",
            "/build/ws/vendor/stock/src/lib.rs",
        ] {
            assert!(!own.has("stock::take", Some(file)), "{file}");
        }
    }
}
