//! Targets: which Lambda runtime, on which architecture. Always explicit, never the host.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::LazyLock;

use pep440_rs::Version;
use serde::Deserialize;

/// The processor of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Architecture {
    /// 64-bit Intel and AMD.
    X86_64,
    /// 64-bit Arm (Graviton): `arm64` in AWS's words, `aarch64` in the PyPA's.
    Arm64,
}

impl Architecture {
    /// All of them, in the order of AWS's documentation.
    pub const ALL: [Self; 2] = [Self::X86_64, Self::Arm64];

    /// AWS's word for it, as in `CompatibleArchitectures`.
    pub const fn aws(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Arm64 => "arm64",
        }
    }

    /// The kernel's word for it, as in wheel tags and `platform_machine`.
    pub const fn machine(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }

    /// From AWS's word or the kernel's.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "x86_64" | "amd64" => Some(Self::X86_64),
            "arm64" | "aarch64" => Some(Self::Arm64),
            _ => None,
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.aws())
    }
}

/// A C library's version: `(2, 26)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Glibc(pub u16, pub u16);

impl fmt::Display for Glibc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// A calendar day, `YYYY-MM-DD`. Compares as text, which is in order of time.
pub type Day = String;

/// One of AWS Lambda's Python runtimes; see `runtimes.toml` for what each field means.
#[derive(Debug, PartialEq, Eq)]
pub struct Runtime {
    /// AWS's name: `python3.11`.
    pub name: String,
    /// The minor version: 11.
    pub minor: u8,
    /// A full version the managed runtime has at least reached: 3.11.8.
    pub python: Version,
    /// The operating system's name: `Amazon Linux 2`.
    pub os: String,
    /// The C library's version.
    pub glibc: Glibc,
    /// Symbol ceilings by prefix: `GLIBCXX` → `3.4.24`.
    pub symbols: BTreeMap<String, String>,
    /// Where arm64's differ.
    pub symbols_arm64: BTreeMap<String, String>,
    /// Ceilings of newer images, which the managed sandbox may not have yet.
    pub symbols_new: BTreeMap<String, String>,
    /// Libraries that a layer may rely on.
    pub libraries: BTreeSet<String>,
    /// Libraries that are there without being promised.
    pub incidental: BTreeSet<String>,
    /// Libraries that AWS's public image has and the managed sandbox does not.
    pub in_image: BTreeSet<String>,
    /// The x86-64 level that the processors have at least: `x86-64-v3`.
    pub instructions: String,
    /// Where it exists.
    pub architectures: Vec<Architecture>,
    /// The image that AWS offers to build for it; `{architecture}` in it stands for the architecture.
    pub build_image: Option<String>,
    /// Known to the API, not generally available.
    pub preview: bool,
    /// Why layerwise refuses it, if it does.
    pub blocked: Option<String>,
    /// No patches from this day.
    pub deprecated: Option<Day>,
    /// No new functions from this day.
    pub block_create: Option<Day>,
    /// No changes at all from this day.
    pub block_update: Option<Day>,
}

/// Why a runtime cannot be a target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// AWS has no such runtime, as far as the data file knows.
    #[error("`{name}` is not a Python runtime of AWS Lambda that layerwise knows (it knows {known})")]
    UnknownRuntime {
        /// What was asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// AWS or layerwise refuses it.
    #[error("runtime `{name}` cannot be built for: {why}")]
    BlockedRuntime {
        /// The runtime.
        name: String,
        /// The reason.
        why: String,
    },
    /// AWS has no such architecture.
    #[error("`{0}` is not an architecture of AWS Lambda (x86_64, arm64)")]
    UnknownArchitecture(String),
}

/// Runtime and architecture: all that decides which wheels fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The runtime.
    pub runtime: &'static Runtime,
    /// The architecture.
    pub architecture: Architecture,
}

impl Target {
    /// The target of these two names; `today` decides whether AWS still takes changes for the runtime.
    pub fn new(runtime: &str, architecture: &str, today: &str) -> Result<Self, TargetError> {
        let architecture = Architecture::parse(architecture)
            .ok_or_else(|| TargetError::UnknownArchitecture(architecture.to_owned()))?;
        let runtime = Runtime::find(runtime)?;
        let blocked = |why: String| TargetError::BlockedRuntime { name: runtime.name.clone(), why };
        if let Some(why) = &runtime.blocked {
            return Err(blocked(why.clone()));
        }
        if let Some(day) = runtime.block_update.as_ref().filter(|day| today >= day.as_str()) {
            return Err(blocked(format!("AWS has refused all changes to it since {day}")));
        }
        Ok(Self { runtime, architecture })
    }

    /// A sentence to warn with, when AWS no longer patches the runtime (or does not yet support it).
    pub fn warning(&self, today: &str) -> Option<String> {
        let runtime = self.runtime;
        if runtime.preview {
            return Some(format!("{} is a preview: AWS has not made it generally available", runtime.name));
        }
        let deprecated = runtime.deprecated.as_ref().filter(|day| today >= day.as_str())?;
        let mut text = format!("{} was deprecated by AWS on {deprecated}", runtime.name);
        if let Some(day) = &runtime.block_create {
            text += &format!("; no new functions from {day}");
        }
        if let Some(day) = &runtime.block_update {
            text += &format!(", no updates from {day}");
        }
        Some(text)
    }

    /// `python3.11-x86_64`.
    pub fn slug(&self) -> String {
        format!("{}-{}", self.runtime.name, self.architecture)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.runtime.name, self.architecture)
    }
}

impl Runtime {
    /// All runtimes of the data file, oldest first, blocked ones included.
    pub fn all() -> &'static [Self] {
        &DATA.runtimes
    }

    /// The distributions of the AWS SDK that every managed Python runtime brings, as one set
    /// (to be left out as a whole or not at all).
    pub fn sdk_packages() -> &'static [super::PackageName] {
        &DATA.sdk
    }

    /// Libraries that auditwheel lets a manylinux wheel take from the system.
    pub fn white_listed() -> &'static BTreeSet<String> {
        &DATA.white_listed
    }

    /// The runtime with this name; `3.11` and `python311` are understood too.
    pub fn find(name: &str) -> Result<&'static Self, TargetError> {
        let bare = name.trim().trim_start_matches("python");
        let wanted = if bare.contains('.') {
            format!("python{bare}")
        } else {
            bare.strip_prefix('3').map_or_else(|| name.to_owned(), |minor| format!("python3.{minor}"))
        };
        let all = Self::all();
        all.iter().find(|runtime| runtime.name == wanted).ok_or_else(|| TargetError::UnknownRuntime {
            name: name.to_owned(),
            known: all.iter().filter(|r| r.blocked.is_none()).map(|r| r.name.as_str()).collect::<Vec<_>>().join(", "),
        })
    }
}

struct Data {
    runtimes: Vec<Runtime>,
    sdk: Vec<super::PackageName>,
    white_listed: BTreeSet<String>,
}

/// The data file is part of the program: a test reads it, so it cannot fail to parse in a release.
static DATA: LazyLock<Data> = LazyLock::new(|| parse(include_str!("runtimes.toml")).expect("runtimes.toml is tested"));

fn parse(text: &str) -> Result<Data, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        os: BTreeMap<String, Os>,
        packages: Packages,
        wheels: Wheels,
        runtime: Vec<Row>,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Os {
        name: String,
        glibc: String,
        symbols: BTreeMap<String, String>,
        #[serde(default)]
        symbols_arm64: BTreeMap<String, String>,
        #[serde(default)]
        symbols_new: BTreeMap<String, String>,
        libraries: BTreeSet<String>,
        incidental: BTreeSet<String>,
        in_image: BTreeSet<String>,
        instructions: String,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wheels {
        white_listed: BTreeSet<String>,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Packages {
        sdk: Vec<super::PackageName>,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Row {
        name: String,
        python: String,
        os: String,
        architectures: Vec<String>,
        build_image: Option<String>,
        #[serde(default)]
        preview: bool,
        blocked: Option<String>,
        deprecated: Option<Day>,
        block_create: Option<Day>,
        block_update: Option<Day>,
    }

    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    let glibc = |text: &str| -> Option<Glibc> {
        let (major, minor) = text.split_once('.')?;
        Some(Glibc(major.parse().ok()?, minor.parse().ok()?))
    };
    let runtimes = file.runtime.into_iter().map(|row| {
        let os = file.os.get(&row.os).ok_or_else(|| format!("{}: no [os.{}]", row.name, row.os))?;
        Ok(Runtime {
            minor: row
                .name
                .strip_prefix("python3.")
                .and_then(|m| m.parse().ok())
                .ok_or_else(|| format!("bad name {}", row.name))?,
            python: row.python.parse().map_err(|error| format!("{}: {error}", row.name))?,
            os: os.name.clone(),
            glibc: glibc(&os.glibc).ok_or_else(|| format!("bad glibc of {}", row.os))?,
            symbols: os.symbols.clone(),
            symbols_arm64: os.symbols_arm64.clone(),
            symbols_new: os.symbols_new.clone(),
            libraries: os.libraries.clone(),
            incidental: os.incidental.clone(),
            in_image: os.in_image.clone(),
            instructions: os.instructions.clone(),
            architectures: row
                .architectures
                .iter()
                .map(|a| Architecture::parse(a).ok_or_else(|| format!("bad architecture {a}")))
                .collect::<Result<_, _>>()?,
            build_image: row.build_image,
            preview: row.preview,
            blocked: row.blocked,
            deprecated: row.deprecated,
            block_create: row.block_create,
            block_update: row.block_update,
            name: row.name,
        })
    });
    let runtimes = runtimes.collect::<Result<_, String>>()?;
    Ok(Data { runtimes, sdk: file.packages.sdk, white_listed: file.wheels.white_listed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_file_parses_and_is_in_order() {
        let data = parse(include_str!("runtimes.toml")).unwrap();
        assert!(data.runtimes.windows(2).all(|pair| pair[0].minor < pair[1].minor));
        for runtime in &data.runtimes {
            assert!(runtime.deprecated <= runtime.block_create || runtime.block_create.is_none(), "{}", runtime.name);
            assert!(runtime.block_create <= runtime.block_update, "{}", runtime.name);
        }
    }

    #[test]
    fn names() {
        for text in ["python3.11", "3.11", "311", "python311"] {
            assert_eq!(Runtime::find(text).unwrap().name, "python3.11", "{text}");
        }
        assert!(Runtime::find("python3.99").unwrap_err().to_string().contains("python3.14"));
        assert!(Runtime::find("nodejs22").is_err());
    }

    #[test]
    fn dates_decide() {
        let day = "2026-11-24";
        assert!(Target::new("python3.8", "x86_64", day).is_err());
        assert!(Target::new("python3.9", "x86_64", "2027-03-03").is_err());
        assert_eq!(
            Target::new("python3.10", "arm64", day).unwrap().warning(day).unwrap(),
            "python3.10 was deprecated by AWS on 2026-10-31; no new functions from 2027-02-01, no updates from 2027-03-03"
        );
        assert_eq!(Target::new("python3.11", "x86_64", day).unwrap().warning(day), None);
        assert!(Target::new("python3.15", "x86_64", day).unwrap().warning(day).unwrap().contains("preview"));
        assert!(Target::new("python3.13", "mips", day).is_err());
    }
}
