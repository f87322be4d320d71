//! The service: who reports.

/// Name, version and revision of the service, and which crates are its own. Made by
/// [`service!`](crate::service).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceInfo {
    pub(crate) name: String,
    pub(crate) version: Option<String>,
    pub(crate) revision: Option<String>,
    pub(crate) own_crates: Vec<String>,
    /// Where its workspace's sources were when it was built.
    pub(crate) workspace: Option<String>,
}

impl ServiceInfo {
    /// A service by name. Prefer [`service!`](crate::service), which also knows version, revision
    /// and crate.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), version: None, revision: None, own_crates: Vec::new(), workspace: None }
    }

    /// Another name (`service.name`); `OTEL_SERVICE_NAME` still wins over it when the environment
    /// is read.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the release (`service.version`).
    #[must_use]
    pub fn with_version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// The commit it was built from (`vcs.ref.head.revision`).
    #[must_use]
    pub fn with_revision(mut self, revision: impl Into<String>) -> Self {
        self.revision = Some(revision.into()).filter(|revision: &String| !revision.is_empty());
        self
    }

    /// A crate of the service's own, as `module_path!()` begins with it, or a package of that name.
    /// Its frames come first in reports and its DEBUG events are kept as breadcrumbs.
    #[must_use]
    pub fn with_crate(mut self, module_path: &str) -> Self {
        let name = module_path.split("::").next().unwrap_or_default().replace('-', "_");
        if !name.is_empty() && !self.own_crates.contains(&name) {
            self.own_crates.push(name);
        }
        self
    }

    /// Whatever is built from the sources of this workspace is the service's own, too, given a
    /// package's folder and one of its files as `file!()` has it. (For members of a workspace Cargo
    /// tells the compiler paths within it; those of dependencies are absolute.)
    #[must_use]
    pub fn with_workspace_of(mut self, manifest_dir: &str, file: &str) -> Self {
        self.workspace = workspace(manifest_dir, file);
        self
    }
}

/// Where the workspace is. `None`: the file is in none.
fn workspace(manifest_dir: &str, file: &str) -> Option<String> {
    let (folder, file) = (manifest_dir.replace('\\', "/"), file.replace('\\', "/"));
    if !is_within_workspace(&file) {
        return None;
    }
    // What of the file's path is the package's; where the package keeps to the usual folders, the rest begins with one of them.
    let packages = std::iter::once("").chain(file.match_indices('/').map(|(at, _)| &file[..at]));
    let fits = |package: &&str| package.is_empty() || folder.strip_suffix(package).is_some_and(|root| root.ends_with('/'));
    let is_usual = |package: &&str| {
        let rest = file[package.len()..].trim_start_matches('/');
        ["src/", "tests/", "examples/", "benches/"].iter().any(|usual| rest.starts_with(usual))
    };
    let fitting: Vec<&str> = packages.filter(fits).collect();
    let package = fitting.iter().copied().find(is_usual).or(fitting.last().copied())?;
    Some(folder[..folder.len() - package.len()].trim_end_matches('/').to_owned())
}

/// Whether a source file, as the compiler was given it, is one of a workspace's own: relative, and
/// not a copy of somebody else's.
pub(crate) fn is_within_workspace(file: &str) -> bool {
    const COPIES: [&str; 5] = ["vendor", "third_party", "third-party", "external", "registry"];
    let is_absolute = file.starts_with(['/', '\\']) || file.as_bytes().get(1) == Some(&b':');
    let mut folders = file.split(['/', '\\']);
    !(file.is_empty() || is_absolute || folders.any(|folder| COPIES.contains(&folder) || folder == ".."))
}

/// The calling package as a [`ServiceInfo`]: `CARGO_PKG_NAME` and `CARGO_PKG_VERSION` of the
/// *caller*, its crate, its package's library, its workspace, and the git revision from
/// `GIT_COMMIT_SHA` or `VCS_REF` at build time. (Where those are set at run time, they are read by
/// [`with_env`](crate::Builder::with_env).)
///
/// ```
/// let service = crumbtrail::service!();
/// assert_eq!(service, crumbtrail::service!());
/// assert_ne!(service, crumbtrail::service!().with_version("2.0.0"));
/// ```
#[macro_export]
macro_rules! service {
    () => {
        $crate::config::ServiceInfo::new(env!("CARGO_PKG_NAME"))
            .with_version(env!("CARGO_PKG_VERSION"))
            .with_crate(module_path!())
            .with_crate(env!("CARGO_PKG_NAME"))
            .with_workspace_of(env!("CARGO_MANIFEST_DIR"), file!())
            .with_revision(match (option_env!("GIT_COMMIT_SHA"), option_env!("VCS_REF")) {
                (Some(revision), _) | (None, Some(revision)) => revision,
                (None, None) => "",
            })
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workspace_is_found_from_any_of_its_files() {
        for (folder, file, expected) in [
            ("/build/shop", "src/main.rs", Some("/build/shop")),
            ("/build/ws/crates/web", "crates/web/src/main.rs", Some("/build/ws")),
            ("/build/ws/crates/web", "crates/web/tests/it/main.rs", Some("/build/ws")),
            ("/build/src", "src/main.rs", Some("/build/src")),
            ("/build/ws/odd", "odd/main.rs", Some("/build/ws")),
            ("C:\\build\\ws\\web", "web\\src\\main.rs", Some("C:/build/ws")),
            ("/root/.cargo/registry/src/index/shop-1.0.0", "/root/.cargo/registry/src/index/shop-1.0.0/src/lib.rs", None),
        ] {
            assert_eq!(workspace(folder, file).as_deref(), expected, "{folder} {file}");
        }
    }

    #[test]
    fn what_is_copied_into_a_workspace_is_not_its_own() {
        assert!(is_within_workspace("crates/web/src/lib.rs"));
        for file in
            ["vendor/serde/src/lib.rs", "external/crates__serde/src/lib.rs", "/abs/src/lib.rs", "../other/src/lib.rs", "C:\\x\\lib.rs", ""]
        {
            assert!(!is_within_workspace(file), "{file}");
        }
    }
}
