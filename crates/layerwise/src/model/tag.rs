//! Wheel file names and the exact list of tags a target accepts.
//!
//! Sources: <https://packaging.python.org/en/latest/specifications/binary-distribution-format/>,
//! <https://packaging.python.org/en/latest/specifications/platform-compatibility-tags/>,
//! PEP 600 (manylinux of any glibc), and the order of `packaging.tags`.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use pep440_rs::Version;

use super::target::Glibc;
use super::{Architecture, PackageName, Target};

/// A wheel's file name, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WheelName {
    /// The file name as it came.
    pub text: String,
    /// The distribution.
    pub name: PackageName,
    /// Its version.
    pub version: Version,
    /// The build number as it came; orders wheels of the same tag.
    pub build: Option<(u64, String)>,
    /// `cp311`, or several.
    pub pythons: Vec<String>,
    /// `cp311`, `abi3`, `none`, or several.
    pub abis: Vec<String>,
    /// `manylinux_2_17_x86_64`, `any`, or several.
    pub platforms: Vec<String>,
}

/// The text is not a wheel's file name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a wheel file name (name-version[-build]-python-abi-platform.whl)", .0.escape_debug())]
pub struct InvalidWheelName(pub String);

impl FromStr for WheelName {
    type Err = InvalidWheelName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text).ok_or_else(|| InvalidWheelName(text.to_owned()))
    }
}

/// What file systems take, in bytes.
const LONGEST_NAME: usize = 255;
/// Tags that one name may stand for; real ones stand for less than 50.
const MOST_TAGS: usize = 1000;

/// The version as a wheel's file name and its dist-info directory write it: `-` and, in old wheels, `+` are `_` there.
pub fn unescape_version(text: &str) -> Option<Version> {
    text.parse().or_else(|_| text.replacen('_', "+", 1).parse()).ok()
}

impl WheelName {
    fn parse(text: &str) -> Option<Self> {
        // Versions are read without the white space around them.
        if text.len() > LONGEST_NAME || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let parts: Vec<&str> = text.strip_suffix(".whl")?.split('-').collect();
        let (build, tags) = match parts.as_slice() {
            [_, _, tags @ ..] if tags.len() == 3 => (None, tags),
            [_, _, build, tags @ ..] if tags.len() == 3 => {
                let digits = build.len() - build.trim_start_matches(|c: char| c.is_ascii_digit()).len();
                (Some((build[..digits].parse().ok()?, build[digits..].to_owned())), tags)
            }
            _ => return None,
        };
        // No control characters, slashes or other things that no tag has and that names of files should not have.
        let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let set = |text: &str| -> Option<Vec<String>> {
            text.split('.').map(|tag| (!tag.is_empty() && plain(tag)).then(|| tag.to_owned())).collect()
        };
        let (pythons, abis, platforms) = (set(tags[0])?, set(tags[1])?, set(tags[2])?);
        let plain_build = build.as_ref().is_none_or(|(_, text)| text.split('.').all(plain));
        if !plain_build || pythons.len() * abis.len() * platforms.len() > MOST_TAGS {
            return None;
        }
        let (name, version) = (parts[0].parse().ok()?, unescape_version(parts[1])?);
        Some(Self { text: text.to_owned(), name, version, build, pythons, abis, platforms })
    }

    /// Whether the wheel holds nothing compiled for a platform: its platform tag is `any`.
    pub fn is_any_platform(&self) -> bool {
        self.platforms.iter().any(|platform| platform == "any")
    }
}

impl fmt::Display for WheelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why no tag of a wheel is on a target's list. Ordered from the nearest miss to the farthest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Misfit {
    /// Right in all but the C library: the lowest glibc that its tags ask for.
    Glibc(Glibc),
    /// Made for musl (Alpine).
    Musl,
    /// Made for a CPython without GIL, or a debug one.
    FreeThreaded,
    /// Made for another Python; what it is made for (`cp312`).
    Python(String),
    /// Linux, but another processor; its platform tag.
    Architecture(String),
    /// Another operating system; its platform tag.
    System(String),
}

/// The exact tags a target accepts, each with its rank (0 is best).
#[derive(Debug, Clone)]
pub struct Tags {
    target: Target,
    platforms: HashMap<String, u32>,
    interpreters: HashMap<(String, String), u32>,
    any: HashMap<String, u32>,
}

impl Tags {
    /// The list for `target`, in the order of `packaging.tags` (best first): `cp311-cp311`, `cp311-abi3`,
    /// `cp311-none`, older `abi3`, `py3-none` per platform; then `any`.
    pub fn of(target: Target) -> Self {
        let minor = target.runtime.minor;
        let own = format!("cp3{minor}");
        let mut interpreters = HashMap::new();
        let mut add = |python: String, abi: &str| {
            let rank = interpreters.len() as u32;
            interpreters.entry((python, abi.to_owned())).or_insert(rank);
        };
        add(own.clone(), &own);
        add(own.clone(), "abi3");
        add(own.clone(), "none");
        for older in (2..minor).rev() {
            add(format!("cp3{older}"), "abi3");
        }
        let generic: Vec<String> = [format!("py3{minor}"), "py3".to_owned()]
            .into_iter()
            .chain((0..minor).rev().map(|older| format!("py3{older}")))
            .collect();
        for python in &generic {
            add(python.clone(), "none");
        }
        let any = std::iter::once(own).chain(generic).zip(0..).collect();
        let platforms = platforms(target).into_iter().zip(0..).collect();
        Self { target, platforms, interpreters, any }
    }

    /// The target these tags are of.
    pub fn target(&self) -> Target {
        self.target
    }

    /// The rank of the wheel's best tag, or why none is on the list.
    pub fn rank(&self, wheel: &WheelName) -> Result<u32, Misfit> {
        let mut best: Option<u32> = None;
        for python in &wheel.pythons {
            for abi in &wheel.abis {
                for platform in &wheel.platforms {
                    if let Some(rank) = self.rank_one(python, abi, platform) {
                        best = Some(best.map_or(rank, |old| old.min(rank)));
                    }
                }
            }
        }
        best.ok_or_else(|| self.misfit(wheel))
    }

    fn rank_one(&self, python: &str, abi: &str, platform: &str) -> Option<u32> {
        let count = self.platforms.len() as u32;
        if platform == "any" {
            // pure Python: after everything that was compiled for the platform
            let rank = (abi == "none").then(|| self.any.get(python)).flatten()?;
            return Some(self.interpreters.len() as u32 * count + rank);
        }
        let interpreter = self.interpreters.get(&(python.to_owned(), abi.to_owned()))?;
        let platform = self.platforms.get(platform)?;
        Some(interpreter * count + platform)
    }

    fn misfit(&self, wheel: &WheelName) -> Misfit {
        let machine = self.target.architecture.machine();
        let python_fits = wheel.pythons.iter().any(|python| {
            wheel.abis.iter().any(|abi| {
                self.interpreters.contains_key(&(python.clone(), abi.clone()))
                    || (abi == "none" && self.any.contains_key(python))
            })
        });
        let system = wheel.platforms.iter().find(|platform| !platform.contains("linux") && *platform != "any");
        let linux: Vec<&String> = wheel.platforms.iter().filter(|platform| platform.contains("linux")).collect();
        if linux.is_empty()
            && let Some(platform) = system
        {
            return Misfit::System(platform.clone());
        }
        let here: Vec<&&String> = linux.iter().filter(|platform| platform.ends_with(&format!("_{machine}"))).collect();
        if !linux.is_empty() && here.is_empty() {
            return Misfit::Architecture(linux[0].clone());
        }
        if !python_fits {
            let free = wheel.abis.iter().any(|abi| {
                abi.ends_with('t') && abi.starts_with("cp")
                    || abi == "abi3t"
                    || abi.ends_with('d') && abi.starts_with("cp")
            });
            let own = format!("cp3{}", self.target.runtime.minor);
            return if free && wheel.pythons.contains(&own) {
                Misfit::FreeThreaded
            } else {
                Misfit::Python(wheel.pythons.join("."))
            };
        }
        here.iter().filter_map(|platform| manylinux_glibc(platform)).min().map_or(Misfit::Musl, Misfit::Glibc)
    }
}

/// The glibc that a manylinux platform tag asks for; `None` for any other tag.
fn manylinux_glibc(platform: &str) -> Option<Glibc> {
    for (legacy, glibc) in
        [("manylinux1_", Glibc(2, 5)), ("manylinux2010_", Glibc(2, 12)), ("manylinux2014_", Glibc(2, 17))]
    {
        if platform.starts_with(legacy) {
            return Some(glibc);
        }
    }
    let mut numbers = platform.strip_prefix("manylinux_")?.splitn(3, '_');
    Some(Glibc(numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Platform tags, best first: every glibc minor from the target's down to the oldest there is for the
/// processor, with the legacy names after their number, then plain `linux` (never audited).
fn platforms(target: Target) -> Vec<String> {
    let machine = target.architecture.machine();
    let Glibc(major, newest) = target.runtime.glibc;
    let oldest = match target.architecture {
        Architecture::X86_64 => 5,
        Architecture::Arm64 => 17,
    };
    let mut tags = Vec::new();
    for minor in (oldest..=newest).rev() {
        tags.push(format!("manylinux_{major}_{minor}_{machine}"));
        match minor {
            17 => tags.push(format!("manylinux2014_{machine}")),
            12 => tags.push(format!("manylinux2010_{machine}")),
            5 => tags.push(format!("manylinux1_{machine}")),
            _ => {}
        }
    }
    tags.push(format!("linux_{machine}"));
    tags
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rank(runtime: &str, architecture: &str, tags: &str) -> Result<u32, Misfit> {
        let target = Target::new(runtime, architecture, "2026-11-24").unwrap();
        Tags::of(target).rank(&format!("a-1.0-{tags}.whl").parse().unwrap())
    }

    #[test]
    fn wheel_names() {
        let wheel: WheelName = "Foo_Bar-1.0_local.1-2a-py2.py3-none-any.whl".parse().unwrap();
        assert_eq!(wheel.name.as_str(), "foo-bar");
        assert_eq!(wheel.version.to_string(), "1.0+local.1");
        assert_eq!(wheel.build, Some((2, "a".to_owned())));
        assert_eq!(wheel.pythons, ["py2", "py3"]);
        let long = format!("a-1-py3-none-{}.whl", "a".repeat(240));
        let many = format!("a-1-{}0-none.abi3.x.y.z-{}any.whl", "3.".repeat(40), "a.".repeat(40));
        for bad in [
            "",
            ".whl",
            "a.whl",
            "a-1-py3-none.whl",
            "a-1-py3-none-any.zip",
            "a-x-py3-none-any.whl",
            "a-1-b-py3-none-any.whl",
            "a-1-1-1-py3-none-any.whl",
            "a-1-99999999999999999999-py3-none-any.whl",
            "../a-1-py3-none-any.whl",
            "a-1-py3-none-any.x/../y.whl",
            "a-1-py3.\u{1b}[2J-none-any.whl",
            "a-1-py3-none-any\r\nx.whl",
            "a-1-1\n-py3-none-any.whl",
            "a-1-py3..py2-none-any.whl",
            "a-1.0\u{c}-py3-none-any.whl",
            "a- 1.0-py3-none-any.whl",
            "a%2Fb-1-py3-none-any.whl",
            &long,
            &many,
        ] {
            assert!(bad.parse::<WheelName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn versions_in_names() {
        for (text, version) in [
            ("1.0", "1.0"),
            ("1!2.0", "1!2.0"),
            ("2.0+cu118", "2.0+cu118"),
            ("2.0+cu118_x", "2.0+cu118.x"),
            ("1.0_local_1", "1.0+local.1"),
            ("1.0_rc1", "1.0rc1"),
            ("1.0_post1", "1.0.post1"),
            ("1.0.dev0", "1.0.dev0"),
        ] {
            let wheel: WheelName = format!("a-{text}-py3-none-any.whl").parse().unwrap();
            assert_eq!(wheel.version.to_string(), version, "{text}");
        }
    }

    #[test]
    fn exact_glibc() {
        for fits in ["manylinux_2_26", "manylinux_2_24", "manylinux_2_17", "manylinux2014", "manylinux1", "linux"] {
            assert!(rank("python3.11", "x86_64", &format!("cp311-cp311-{fits}_x86_64")).is_ok(), "{fits}");
        }
        for (tag, minor) in [("manylinux_2_27", 27), ("manylinux_2_28", 28)] {
            assert_eq!(
                rank("python3.11", "x86_64", &format!("cp311-cp311-{tag}_x86_64")),
                Err(Misfit::Glibc(Glibc(2, minor)))
            );
        }
        assert!(rank("python3.12", "arm64", "cp312-cp312-manylinux_2_34_aarch64").is_ok());
        assert!(rank("python3.12", "arm64", "cp312-cp312-manylinux_2_35_aarch64").is_err());
        assert!(rank("python3.11", "x86_64", "cp311-cp311-manylinux_2_28_x86_64.manylinux_2_26_x86_64").is_ok());
        // 2.5 exists on x86_64 only
        assert!(rank("python3.11", "x86_64", "cp311-cp311-manylinux_2_5_x86_64").is_ok());
        assert!(rank("python3.11", "arm64", "cp311-cp311-manylinux_2_5_aarch64").is_err());
    }

    #[test]
    fn foreign_wheels() {
        use Misfit::*;
        for (tags, misfit) in [
            ("cp313-cp313t-manylinux_2_17_x86_64", FreeThreaded),
            ("cp313-abi3t-manylinux_2_17_x86_64", FreeThreaded),
            ("cp313-cp313-musllinux_1_2_x86_64", Musl),
            ("cp312-cp312-manylinux_2_17_x86_64", Python("cp312".into())),
            ("cp314-abi3-manylinux_2_17_x86_64", Python("cp314".into())),
            ("cp313-cp313-manylinux_2_17_aarch64", Architecture("manylinux_2_17_aarch64".into())),
            ("cp313-cp313-win_amd64", System("win_amd64".into())),
            ("cp313-cp313-macosx_11_0_arm64", System("macosx_11_0_arm64".into())),
            ("pp311-pypy311_pp73-manylinux_2_17_x86_64", Python("pp311".into())),
            ("py2-none-any", Python("py2".into())),
        ] {
            assert_eq!(rank("python3.13", "x86_64", tags), Err(misfit), "{tags}");
        }
    }

    #[test]
    fn order() {
        let order = [
            "cp311-cp311-manylinux_2_26_x86_64",
            "cp311-cp311-manylinux2014_x86_64",
            "cp311-cp311-linux_x86_64",
            "cp311-abi3-manylinux_2_17_x86_64",
            "cp311-none-manylinux_2_17_x86_64",
            "cp39-abi3-manylinux_2_17_x86_64",
            "py3-none-manylinux_2_17_x86_64",
            "cp311-none-any",
            "py311-none-any",
            "py2.py3-none-any",
        ];
        let ranks: Vec<u32> = order.iter().map(|tags| rank("python3.11", "x86_64", tags).unwrap()).collect();
        assert!(ranks.is_sorted_by(|a, b| a < b), "{ranks:?}");
    }
}
