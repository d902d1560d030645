//! What a build is told: its environment and the files that describe the target to each build system. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::model::target::Architecture;
use crate::model::{BuildSettings, Target};

/// A build to be described.
#[derive(Debug, Clone)]
pub struct Plan {
    /// For what.
    pub target: Target,
    /// The processor of this machine, in the kernel's words.
    pub host: String,
    /// What the build calls its own directory.
    pub seen: String,
    /// Processes at once.
    pub jobs: usize,
    /// Where Rust's programs are, and the compiler's path, where it is wanted.
    pub rust: Option<(String, String)>,
    /// What the user set for this package.
    pub settings: BuildSettings,
}

/// The `[build-system]` of a `pyproject.toml` (PEP 518, PEP 517).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BuildSystem {
    /// What has to be there to build.
    #[serde(default)]
    pub requires: Vec<String>,
    /// The module that builds.
    #[serde(default = "setuptools")]
    pub build_backend: String,
    /// Where that module is, within the sources.
    #[serde(default)]
    pub backend_path: Vec<String>,
}

fn setuptools() -> String {
    "setuptools.build_meta:__legacy__".to_owned()
}

impl BuildSystem {
    /// What `pyproject.toml` says; where there is none, setuptools, as PEP 517 has it.
    ///
    /// # Errors
    /// In the parser's words.
    pub fn read(pyproject: Option<&str>) -> Result<Self, String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "kebab-case")]
        struct File {
            build_system: Option<BuildSystem>,
        }
        let file: Option<File> =
            pyproject.map(toml::from_str).transpose().map_err(|error| error.message().to_owned())?;
        let legacy = Self {
            requires: vec!["setuptools>=40.8.0".to_owned()],
            build_backend: setuptools(),
            backend_path: Vec::new(),
        };
        let system = file.and_then(|file| file.build_system).unwrap_or(legacy);
        let outside = |path: &String| path.starts_with('/') || path.split(['/', '\\']).any(|part| part == "..");
        match system.backend_path.iter().find(|path| outside(path)) {
            Some(path) => Err(format!("`backend-path` points outside: `{path}`")),
            None => Ok(system),
        }
    }

    /// Whether it is meson-python.
    pub fn is_meson(&self) -> bool {
        self.build_backend.starts_with("mesonpy") || self.requires.iter().any(|one| one.starts_with("meson-python"))
    }
}

/// Whether build requirements bring Rust.
pub fn wants_rust(requires: &[String]) -> bool {
    requires.iter().any(|one| {
        let end = one.find(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c)).unwrap_or(one.len());
        matches!(one[..end].to_lowercase().replace(['_', '.'], "-").as_str(), "maturin" | "setuptools-rust")
    })
}

/// Rust's word for a processor on Linux.
pub fn rust_triple(machine: &str) -> String {
    format!("{machine}-unknown-linux-gnu")
}

impl Plan {
    fn machine(&self) -> &'static str {
        self.target.architecture.machine()
    }

    /// Whether programs made for the target do not run here.
    pub fn is_cross(&self) -> bool {
        self.machine() != self.host
    }

    fn python(&self) -> String {
        format!("3.{}", self.target.runtime.minor)
    }

    /// The environment of a build's hooks: all of it.
    pub fn environment(&self) -> BTreeMap<String, String> {
        let (seen, machine) = (&self.seen, self.machine());
        let mut all = BTreeMap::new();
        let mut set = |key: &str, value: &str| drop(all.insert(key.to_owned(), value.to_owned()));
        let rust_bin = self.rust.as_ref().map(|(bin, _)| format!("{bin}:")).unwrap_or_default();
        set("PATH", &format!("{seen}/shim:{seen}/env/bin:{rust_bin}/usr/bin:/bin"));
        set("HOME", &format!("{seen}/home"));
        set("TMPDIR", &format!("{seen}/tmp"));
        set("LANG", "C.UTF-8");
        set("LC_ALL", "C.UTF-8");
        set("TZ", "UTC");
        // 1980-01-01, the first moment a zip can name.
        set("SOURCE_DATE_EPOCH", "315532800");
        set("PYTHONHASHSEED", "0");
        set("PYTHONNOUSERSITE", "1");
        set("PYTHONDONTWRITEBYTECODE", "1");
        set("VIRTUAL_ENV", &format!("{seen}/env"));
        // Several packages take a missing extension for a failure only where this is set.
        set("CIBUILDWHEEL", "1");
        set("PYYAML_FORCE_LIBYAML", "1");

        set("LAYERWISE_SHIM", &format!("{seen}/shim.json"));
        set("ZIG_GLOBAL_CACHE_DIR", &format!("{seen}/zig-cache"));
        set("ZIG_LOCAL_CACHE_DIR", &format!("{seen}/zig-cache"));
        for (key, name) in
            [("CC", "cc"), ("CXX", "c++"), ("AR", "ar"), ("RANLIB", "ranlib"), ("LD", "ld"), ("STRIP", "strip")]
        {
            set(key, &format!("{seen}/shim/{name}"));
        }
        set("LDSHARED", &format!("{seen}/shim/cc -shared"));
        set("LDCXXSHARED", &format!("{seen}/shim/c++ -shared"));
        set("CFLAGS", "-O2 -fPIC -g0");
        set("CXXFLAGS", "-O2 -fPIC -g0");
        set("PKG_CONFIG", &format!("{seen}/shim/pkg-config"));
        set("PKG_CONFIG_LIBDIR", "/nonexistent");

        // What Python says of itself: the target's.
        set("LAYERWISE_ARCH", machine);
        set("LAYERWISE_GLIBC", &self.target.runtime.glibc.to_string());
        set("LAYERWISE_PYTHON", &format!("{seen}/python"));
        set("_PYTHON_SYSCONFIGDATA_NAME", &format!("_sysconfigdata_layerwise_{machine}"));
        set("_PYTHON_HOST_PLATFORM", &format!("linux-{machine}"));

        let jobs = self.jobs.to_string();
        for key in ["CMAKE_BUILD_PARALLEL_LEVEL", "CARGO_BUILD_JOBS", "NPY_NUM_BUILD_JOBS", "RAYON_NUM_THREADS"] {
            set(key, &jobs);
        }
        // Tests for `make check` would be programs of the target.
        let tests = if self.is_cross() { " -- TESTS=" } else { "" };
        set("MAKEFLAGS", &format!("-j{jobs}{tests}"));
        set("CMAKE_TOOLCHAIN_FILE", &format!("{seen}/toolchain.cmake"));

        if let Some((_, rustc)) = &self.rust {
            set("CARGO_HOME", &format!("{seen}/cargo"));
            set("CARGO_NET_OFFLINE", "true");
            set("CARGO_INCREMENTAL", "0");
            set("CARGO_PROFILE_RELEASE_STRIP", "symbols");
            set("CARGO_TERM_COLOR", "never");
            set("RUSTC", rustc);
            let triple = rust_triple(machine).replace('-', "_");
            set(&format!("CARGO_TARGET_{}_LINKER", triple.to_uppercase()), &format!("{seen}/shim/cc"));
            for (key, name) in [("CC", "cc"), ("CXX", "c++"), ("AR", "ar")] {
                set(&format!("{key}_{triple}"), &format!("{seen}/shim/{name}"));
            }
            if *seen != super::sandbox::ROOT {
                set("RUSTFLAGS", &format!("--remap-path-prefix={seen}=/build"));
            }
        }
        if self.is_cross() {
            for key in ["HOST_CC", "CC_FOR_BUILD", "BUILD_CC"] {
                set(key, &format!("{seen}/shim/hostcc"));
            }
            for key in ["HOST_CXX", "CXX_FOR_BUILD"] {
                set(key, &format!("{seen}/shim/hostc++"));
            }
            set("CONFIG_SITE", &format!("{seen}/config.site"));
            if self.rust.is_some() {
                let host = rust_triple(&self.host).replace('-', "_");
                set(&format!("CARGO_TARGET_{}_LINKER", host.to_uppercase()), &format!("{seen}/shim/hostcc"));
                set(&format!("CC_{host}"), &format!("{seen}/shim/hostcc"));
                set(&format!("CXX_{host}"), &format!("{seen}/shim/hostc++"));
                set("CARGO_BUILD_TARGET", &rust_triple(machine));
                set("PYO3_CROSS", "1");
                set("PYO3_CROSS_PYTHON_VERSION", &self.python());
                set("PYO3_CROSS_LIB_DIR", &format!("{seen}/python/lib"));
            }
        }
        if self.settings.prefix.is_some() {
            let prefix = self.prefix();
            let dirs = [
                "lib/pkgconfig".to_owned(),
                "lib64/pkgconfig".to_owned(),
                "share/pkgconfig".to_owned(),
                format!("lib/{machine}-linux-gnu/pkgconfig"),
            ];
            set("PKG_CONFIG_LIBDIR", &dirs.map(|dir| format!("{prefix}/{dir}")).join(":"));
            set("PKG_CONFIG_ALLOW_CROSS", "1");
            set("CMAKE_PREFIX_PATH", &prefix);
        }
        for (key, value) in &self.settings.environment {
            set(key, &value.replace("{prefix}", &self.prefix()));
        }
        all
    }

    /// What the build calls the declared prefix.
    pub fn prefix(&self) -> String {
        format!("{}/prefix", self.seen)
    }

    /// The files in the build's directory that its environment names.
    pub fn files(&self) -> Vec<(&'static str, String)> {
        vec![
            ("emulator", self.emulator()),
            ("toolchain.cmake", self.cmake()),
            ("cross.ini", self.meson()),
            ("config.site", self.autoconf()),
        ]
    }

    /// Settings for the build backend.
    pub fn config_settings(&self, system: &BuildSystem) -> BTreeMap<String, Vec<String>> {
        let mut settings = BTreeMap::new();
        if system.is_meson() {
            let mut setup = Vec::new();
            if self.is_cross() {
                setup.push(format!("--cross-file={}/cross.ini", self.seen));
            }
            settings.insert("setup-args".to_owned(), setup);
            settings.insert("compile-args".to_owned(), vec![format!("-j{}", self.jobs)]);
        }
        for (key, values) in &self.settings.config_settings {
            let values = values.iter().map(|value| value.replace("{prefix}", &self.prefix()));
            settings.entry(key.clone()).or_default().extend(values);
        }
        settings
    }

    fn cmake(&self) -> String {
        let (seen, machine) = (&self.seen, self.machine());
        format!(
            "set(CMAKE_SYSTEM_NAME Linux)\n\
             set(CMAKE_SYSTEM_PROCESSOR {machine})\n\
             set(CMAKE_C_COMPILER {seen}/shim/cc)\n\
             set(CMAKE_CXX_COMPILER {seen}/shim/c++)\n\
             set(CMAKE_AR {seen}/shim/ar CACHE FILEPATH \"\")\n\
             set(CMAKE_RANLIB {seen}/shim/ranlib CACHE FILEPATH \"\")\n\
             set(CMAKE_C_LINKER_DEPFILE_SUPPORTED FALSE)\n\
             set(CMAKE_CXX_LINKER_DEPFILE_SUPPORTED FALSE)\n\
             set(CMAKE_CROSSCOMPILING_EMULATOR {seen}/emulator)\n\
             set(CMAKE_FIND_ROOT_PATH {seen}/prefix {seen}/env {seen})\n\
             set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)\n\
             set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)\n\
             set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE BOTH)\n\
             set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)\n"
        )
    }

    /// CMake looks for Python in a cross build only where programs can be run by something (CMP0190). Python can: it is
    /// this machine's, and speaks for the target.
    fn emulator(&self) -> String {
        let foreign = if self.is_cross() {
            format!("echo \"layerwise: $1 is a program for {}, and this is none\" >&2; exit 126", self.machine())
        } else {
            "exec \"$@\"".to_owned()
        };
        format!(
            "#!/bin/sh\ncase $1 in {}/env/bin/* | /usr/* | /bin/*) exec \"$@\" ;; *) {foreign} ;; esac\n",
            self.seen
        )
    }

    fn meson(&self) -> String {
        let (seen, machine) = (&self.seen, self.machine());
        let long_double = match self.target.architecture {
            Architecture::X86_64 => "INTEL_EXTENDED_16_BYTES_LE",
            Architecture::Arm64 => "IEEE_QUAD_LE",
        };
        format!(
            "[binaries]\nc = '{seen}/shim/cc'\ncpp = '{seen}/shim/c++'\nar = '{seen}/shim/ar'\n\
             strip = '{seen}/shim/strip'\npkg-config = '{seen}/shim/pkg-config'\npython = '{seen}/env/bin/python'\n\
             cmake = 'cmake'\n[host_machine]\nsystem = 'linux'\ncpu_family = '{machine}'\ncpu = '{machine}'\n\
             endian = 'little'\n[properties]\nneeds_exe_wrapper = true\nlongdouble_format = '{long_double}'\n"
        )
    }

    fn autoconf(&self) -> String {
        format!(
            "cross_compiling=yes\ntest -n \"$host_alias\" || host_alias={}-linux-gnu\n\
             test -n \"$build_alias\" || build_alias={}-linux-gnu\n",
            self.machine(),
            self.host
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_systems() {
        let read = |text: &str| BuildSystem::read(Some(text));
        let legacy = BuildSystem::read(None).unwrap();
        assert_eq!(legacy.build_backend, "setuptools.build_meta:__legacy__");
        assert_eq!(read("[project]\nname='a'").unwrap(), legacy);
        let one = read("[build-system]\nrequires=['flit_core']\nbuild-backend='flit_core.buildapi'").unwrap();
        assert_eq!((one.requires.len(), one.build_backend.as_str()), (1, "flit_core.buildapi"));
        assert_eq!(read("[build-system]\nrequires=['x']").unwrap().build_backend, legacy.build_backend);
        assert!(read("[build-system]\nrequires=3").is_err());
        assert!(read("[build-system]\nrequires=[]\nbackend-path=['../x']").unwrap_err().contains("outside"));
        assert!(wants_rust(&["setuptools_rust>=1.5".to_owned()]));
        assert!(wants_rust(&["maturin[patchelf]".to_owned()]));
        assert!(!wants_rust(&["setuptools".to_owned(), "maturinx".to_owned()]));
    }

    #[test]
    fn cross_and_native_are_told_apart() {
        let plan = |architecture: &str| Plan {
            target: Target::new("python3.11", architecture, "2026-11-24").unwrap(),
            host: "x86_64".to_owned(),
            seen: "/build".to_owned(),
            jobs: 2,
            rust: Some(("/rust/bin".to_owned(), "/rust/bin/rustc".to_owned())),
            settings: BuildSettings::default(),
        };
        let native = plan("x86_64").environment();
        assert!(!native.contains_key("CARGO_BUILD_TARGET") && !native.contains_key("CONFIG_SITE"));
        assert_eq!(native["CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER"], "/build/shim/cc");
        let cross = plan("arm64").environment();
        assert_eq!(cross["CARGO_BUILD_TARGET"], "aarch64-unknown-linux-gnu");
        assert_eq!(cross["CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER"], "/build/shim/hostcc");
        assert_eq!(cross["CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER"], "/build/shim/cc");
        assert_eq!(cross["MAKEFLAGS"], "-j2 -- TESTS=");
        assert_eq!(cross["LAYERWISE_GLIBC"], "2.26");
    }

    #[test]
    fn what_the_user_sets_comes_last() {
        let meson =
            BuildSystem::read(Some("[build-system]\nrequires=['meson-python']\nbuild-backend='mesonpy'")).unwrap();
        let plan = Plan {
            target: Target::new("python3.11", "x86_64", "2026-11-24").unwrap(),
            host: "x86_64".to_owned(),
            seen: "/build".to_owned(),
            jobs: 2,
            rust: None,
            settings: BuildSettings {
                build_requires: Vec::new(),
                prefix: Some("/p".into()),
                config_settings: [("setup-args".to_owned(), vec!["-Da={prefix}/x".to_owned()])].into(),
                environment: [("CFLAGS".to_owned(), "-O3".to_owned()), ("B".to_owned(), "{prefix}".to_owned())].into(),
            },
        };
        let environment = plan.environment();
        assert_eq!((environment["CFLAGS"].as_str(), environment["B"].as_str()), ("-O3", "/build/prefix"));
        assert!(environment["PKG_CONFIG_LIBDIR"].starts_with("/build/prefix/lib/pkgconfig:"));
        assert_eq!(plan.config_settings(&meson)["setup-args"], ["-Da=/build/prefix/x"]);
    }
}
