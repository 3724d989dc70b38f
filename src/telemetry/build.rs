//! The origin of this build, as far as the builder said so in the environment:
//! `TIDEGATE_BUILD_REVISION`, `_BRANCH`, `_USER`, `_DATE` and `_COMPILER`.

/// A build.
#[derive(Clone, Copy, Debug)]
pub struct Build {
    pub version: &'static str,
    pub revision: &'static str,
    pub branch: &'static str,
    pub user: &'static str,
    pub date: &'static str,
    pub compiler: &'static str,
    /// The platform it was built for.
    pub os: &'static str,
    pub arch: &'static str,
}

/// This build.
pub const BUILD: Build = Build {
    version: env!("CARGO_PKG_VERSION"),
    revision: known(option_env!("TIDEGATE_BUILD_REVISION")),
    branch: known(option_env!("TIDEGATE_BUILD_BRANCH")),
    user: known(option_env!("TIDEGATE_BUILD_USER")),
    date: known(option_env!("TIDEGATE_BUILD_DATE")),
    compiler: known(option_env!("TIDEGATE_BUILD_COMPILER")),
    os: std::env::consts::OS,
    arch: std::env::consts::ARCH,
};

impl Build {
    /// In place of what the builder did not say.
    pub const UNKNOWN: &str = "unknown";
}

const fn known(value: Option<&'static str>) -> &'static str {
    match value {
        Some(value) => value,
        None => Build::UNKNOWN,
    }
}
