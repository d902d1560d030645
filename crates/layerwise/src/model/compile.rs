//! Which packages may be compiled from their source distribution.

use std::collections::BTreeSet;

use super::PackageName;

/// What a user allows to be compiled; nothing, unless said. Whatever has a wheel that fits is never compiled.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CompilePolicy {
    /// Everything that has to be.
    pub all: bool,
    /// These packages.
    pub names: BTreeSet<PackageName>,
}

impl CompilePolicy {
    /// Whether `name` may be compiled.
    pub fn allows(&self, name: &PackageName) -> bool {
        self.all || self.names.contains(name)
    }
}
