//! Which packages may be compiled from their source distribution, and with what.

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
    /// What its build needs besides what it says itself (PEP 508): a tool that it calls without asking for it, or an
    /// older release of one that has broken it since.
    pub build_requires: Vec<String>,
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

/// With what packages are compiled.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Engine {
    /// A cross compiler on this machine; needs no container.
    #[default]
    Zig,
    /// The compiler of an image, run by docker or podman.
    Container(Container),
}

/// A container to compile in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Container {
    /// Its image; `{architecture}` in it becomes `x86_64` or `arm64`. The runtime's own build image where absent.
    pub image: Option<String>,
    /// What to install in it first, by its own package manager.
    pub system_packages: BTreeSet<SystemPackage>,
    /// Which program runs it; whichever answers where absent.
    pub program: Option<ContainerProgram>,
}

/// A program that runs containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ContainerProgram {
    /// <https://docs.docker.com/reference/cli/docker/>
    Docker,
    /// <https://docs.podman.io/en/latest/Commands.html>
    Podman,
}

impl ContainerProgram {
    /// All of them, in the order in which they are tried.
    pub const ALL: [Self; 2] = [Self::Docker, Self::Podman];

    /// Its name on PATH.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }

    /// The one of this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|program| program.name() == text)
    }
}

/// The name of a package of a Linux distribution, with a version where its package manager takes one: `libpq-devel`,
/// `gcc-c++`, `libpq-dev=15.1-1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SystemPackage(String);

/// The text is not a package's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not the name of a system package", .0.escape_debug())]
pub struct InvalidSystemPackage(pub String);

impl SystemPackage {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for SystemPackage {
    type Err = InvalidSystemPackage;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // It becomes an argument of a package manager: an option is none.
        let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        let allowed = |c: char| c.is_ascii_alphanumeric() || "+-._:=~^".contains(c);
        let valid = starts && text.len() <= 200 && text.chars().all(allowed);
        if valid { Ok(Self(text.to_owned())) } else { Err(InvalidSystemPackage(text.to_owned())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_packages() {
        for text in ["libpq-devel", "gcc-c++", "libpq-dev=15.1-0+deb12u1", "2to3", "perl-5:5.16.3"] {
            assert_eq!(text.parse::<SystemPackage>().unwrap().as_str(), text);
        }
        for text in ["", "-y", "--installroot=/", "a b", "a;b", "$(a)", "/etc/x.rpm", "http://x/y.rpm"] {
            assert!(text.parse::<SystemPackage>().is_err(), "{text}");
        }
    }
}
