//! Which program this is: for `--version`, the banner and the metrics.

use std::sync::LazyLock;

/// The version of the program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that the program was built from, if the variable `FEATHERWIRE_REVISION` named it for
/// the build, as the scripts in `deploy/` do. Git is not asked: each commit would be a new build.
pub const REVISION: Option<&str> = match option_env!("FEATHERWIRE_REVISION") {
    // An argument of a container's build that is not given is empty.
    Some(revision) if !revision.is_empty() => Some(revision),
    _ => None,
};

/// The version, and the revision if it is known, such as `0.1.0 (c13ef7d6ab01)`.
pub fn version_and_revision() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| match REVISION {
        Some(revision) => format!("{VERSION} ({revision})"),
        None => VERSION.to_owned(),
    });
    TEXT.as_str()
}
