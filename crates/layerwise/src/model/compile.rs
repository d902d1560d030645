//! Which packages may be compiled from their source distribution.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::{PackageName, Target};

/// What a user allows to be compiled; nothing, unless said. Whatever has a wheel that fits is never compiled.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CompilePolicy {
    /// Everything that has to be.
    pub all: bool,
    /// These packages.
    pub names: BTreeSet<PackageName>,
    /// How some of them are built.
    pub settings: BTreeMap<PackageName, BuildSettings>,
}

/// How one package is built.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BuildSettings {
    /// A directory with `include` and `lib` of libraries that were built for Lambda; `{architecture}` in it becomes
    /// `x86_64` or `arm64`.
    pub prefix: Option<PathBuf>,
    /// For the build backend (PEP 517); `{prefix}` in a value becomes the prefix as the build sees it.
    pub config_settings: BTreeMap<String, Vec<String>>,
    /// Variables of the build, over those that layerwise sets; `{prefix}` as above.
    pub environment: BTreeMap<String, String>,
}

impl BuildSettings {
    /// The prefix for a target.
    pub fn prefix_of(&self, target: Target) -> Option<PathBuf> {
        let text = self.prefix.as_ref()?.to_str()?;
        Some(PathBuf::from(text.replace("{architecture}", target.architecture.aws())))
    }
}

impl CompilePolicy {
    /// Whether `name` may be compiled.
    pub fn allows(&self, name: &PackageName) -> bool {
        self.all || self.names.contains(name)
    }
}
