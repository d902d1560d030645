//! What an audit finds, as data. The sentences are the CLI's.

use std::fmt;

use serde::Serialize;

use crate::model::PackageName;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// It does not work on Lambda.
    Error,
    /// It may fail on Lambda, or works by luck.
    Warning,
    /// Worth knowing.
    Note,
}

impl Severity {
    /// `error`, `warning`, `note`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// One result of an audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is here.
    pub severity: Severity,
    /// Which of the artifacts it is about (`layer.zip`); empty for the function as a whole.
    pub artifact: String,
    /// The file, relative to the artifact, if it is about one.
    pub file: Option<String>,
    /// Where that file is on Lambda: `/opt/python/a.so`.
    pub at: Option<String>,
    /// The distribution it belongs to, if one does.
    pub package: Option<PackageName>,
    /// What is the matter.
    pub problem: Problem,
}

impl Finding {
    /// The stable name of its rule.
    pub fn rule(&self) -> Rule {
        self.problem.rule()
    }
}

/// Declares [`Rule`] with its names, in the order of the documentation.
macro_rules! rules {
    ($($(#[$doc:meta])* $rule:ident = $id:literal,)*) => {
        /// What is looked for. Names are stable: allowances and documentation refer to them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule {
            $($(#[$doc])* $rule,)*
        }

        impl Rule {
            /// All of them, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$rule,)*];

            /// The stable name: `native-glibc`.
            pub const fn id(self) -> &'static str {
                match self { $(Self::$rule => $id,)* }
            }

            /// The rule with this name.
            pub fn of_id(id: &str) -> Option<Self> {
                match id { $($id => Some(Self::$rule),)* _ => None }
            }
        }
    };
}

rules! {
    /// Not the Linux binary that its name promises.
    NativeFormat = "native-format",
    /// An ELF file that the loader refuses, or that contradicts itself.
    NativeDamaged = "native-damaged",
    /// For another processor.
    NativeArchitecture = "native-architecture",
    /// Needs a newer C library.
    NativeGlibc = "native-glibc",
    /// Needs a newer C++ library, libgcc or zlib.
    NativeSymbolVersion = "native-symbol-version",
    /// Made for musl.
    NativeMusl = "native-musl",
    /// A needed library is nowhere.
    NativeLibraryMissing = "native-library-missing",
    /// A needed library is in the artifact, but not where the loader looks.
    NativeLibraryUnreachable = "native-library-unreachable",
    /// A needed library is on Lambda today without being promised.
    NativeLibraryIncidental = "native-library-incidental",
    /// A bundled library that one of the system's hides.
    NativeLibraryShadowed = "native-library-shadowed",
    /// Undefined symbols that nothing provides.
    NativeSymbolMissing = "native-symbol-missing",
    /// Needs instructions beyond what Lambda's processors promise.
    NativeInstructions = "native-instructions",
    /// Asks for an executable stack.
    NativeExecutableStack = "native-executable-stack",
    /// Writes to its own code while it is loaded.
    NativeTextRelocations = "native-text-relocations",
    /// A search path of the machine it was built on.
    NativeBuildPath = "native-build-path",
    /// An extension module for another Python.
    AbiMismatch = "abi-mismatch",
    /// A module whose name does not say which Python it is for.
    AbiUnmarked = "abi-unmarked",
    /// The wheel's tags do not fit the target.
    WheelTag = "wheel-tag",
    /// The files need more than the wheel's tags promise.
    WheelTagUntrue = "wheel-tag-untrue",
    /// A wheel for a platform without anything compiled in it.
    WheelFallback = "wheel-fallback",
    /// An import that finds nothing.
    ImportMissing = "import-missing",
    /// A module that this Python's standard library no longer has.
    ImportRemoved = "import-removed",
    /// Python that this version cannot read.
    PythonSyntax = "python-syntax",
    /// Python that was not looked into.
    PythonUnread = "python-unread",
    /// The handler is not there or cannot be one.
    Handler = "handler",
    /// A requirement that is not there.
    RequirementMissing = "requirement-missing",
    /// A requirement that is there in another version.
    RequirementVersion = "requirement-version",
    /// A distribution that says it is not for this Python.
    RequiresPython = "requires-python",
    /// Two dist-info directories of one distribution.
    DistributionTwice = "distribution-twice",
    /// Part of the AWS SDK here, the rest from the runtime.
    SdkSplit = "sdk-split",
    /// RECORD does not say what is there.
    Record = "record",
    /// One file, two owners.
    OwnedTwice = "owned-twice",
    /// Packages are not where Python looks.
    LayoutRoot = "layout-root",
    /// A directory of another Python version, or one that is never looked into.
    LayoutUnused = "layout-unused",
    /// A module that hides one of the standard library.
    StdlibShadowed = "stdlib-shadowed",
    /// A `.pth` file.
    PthFile = "pth-file",
    /// Bytecode that is never used.
    BytecodeUseless = "bytecode-useless",
    /// A member of the zip that cannot be unpacked or should not be.
    ZipMember = "zip-member",
    /// Two names that differ in case only.
    CaseCollision = "case-collision",
    /// A symbolic link that leads out or nowhere.
    Symlink = "symlink",
    /// A file that the function may not read or run.
    FileMode = "file-mode",
    /// A time that no zip can hold.
    FileTime = "file-time",
    /// The same file from two layers, with different bytes.
    LayerConflict = "layer-conflict",
    /// More layers than Lambda takes.
    LayerCount = "layer-count",
    /// Larger than Lambda takes.
    SizeLimit = "size-limit",
    /// Too large to upload directly.
    SizeUpload = "size-upload",
    /// `PYTHONPATH` takes the layers off the path.
    PythonpathSet = "pythonpath-set",
    /// An import failed when it was tried.
    RunFailed = "run-failed",
    /// An import killed Python.
    RunCrashed = "run-crashed",
    /// An import did not end in time.
    RunTimeout = "run-timeout",
    /// What `--run` could not prove.
    RunLimited = "run-limited",
    /// An allowance that matches nothing.
    AllowanceUnused = "allowance-unused",
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

/// How a binary comes into a process, as far as it can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Use {
    /// Imported whenever its package is, or an extension module that no import statement names (imported by code).
    Certain,
    /// Imported only inside functions, or where its absence is caught.
    Guarded,
    /// No module and needed by none: a plugin, a program, something loaded by path.
    Loose,
}

/// What a finding is about. Each variant's fields are the facts its sentence is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "snake_case", tag = "problem")]
#[expect(missing_docs, reason = "the fields' names say it; `docs/findings.md` says it in sentences")]
pub enum Problem {
    NativeFormat { is: Format, module: Option<String> },
    NativeDamaged { what: String },
    NativeArchitecture { is: String, target: String, module: Option<String> },
    NativeGlibc { version: String, library: String, has: String },
    NativeSymbolVersion { version: String, library: String, has: String, newer_images_have_it: bool },
    NativeMusl { library: String },
    NativeLibraryMissing { library: String, usage: Use, bundled_elsewhere: bool, known: Option<Absent> },
    NativeLibraryUnreachable { library: String, at: String },
    NativeLibraryIncidental { library: String },
    NativeLibraryShadowed { library: String, bundled: String, system: String },
    NativeSymbolMissing { symbols: Vec<String>, more: usize, usage: Use, python: bool },
    NativeInstructions { level: String, has: String },
    NativeExecutableStack,
    NativeTextRelocations,
    NativeBuildPath { path: String },
    AbiMismatch { suffix: String, wants: String, module: String, otherwise_there: bool },
    AbiUnmarked { module: String },
    WheelTag { tags: Vec<String>, compiled: bool },
    WheelTagUntrue { tag: String, version: String, example: String },
    WheelFallback { tag: String },
    ImportMissing { module: String, line: u32, chain: Vec<String>, why: Miss },
    ImportRemoved { module: String, line: u32, chain: Vec<String>, last: u8, replacement: Option<String> },
    PythonSyntax { line: u32, message: String, module: Option<String> },
    PythonUnread { why: String },
    Handler { handler: String, error_type: String, message: String },
    RequirementMissing { requirement: String, by: String },
    RequirementVersion { requirement: String, by: String, found: String, from_runtime: bool },
    RequiresPython { specifier: String },
    DistributionTwice { versions: Vec<String> },
    SdkSplit { here: Vec<String>, from_runtime: Vec<String>, conflict: Option<String> },
    Record { what: Recorded, more: usize },
    OwnedTwice { other: String },
    LayoutRoot { what: Root },
    LayoutUnused { directory: String, why: Unused },
    StdlibShadowed { module: String },
    PthFile { runs: Option<String>, adds: Vec<String> },
    BytecodeUseless { why: Stale, files: usize },
    ZipMember { what: String },
    CaseCollision { other: String },
    Symlink { target: String, what: Link },
    FileMode { mode: String, what: Mode },
    FileTime { time: String, files: usize },
    LayerConflict { path: String, winner: String, loser: String, files: usize },
    LayerCount { layers: usize },
    SizeLimit { bytes: u64, limit: u64, largest: Vec<(String, u64)> },
    SizeUpload { bytes: u64, limit: u64 },
    PythonpathSet { value: String },
    RunFailed { module: String, error_type: String, message: String, chain: Vec<String> },
    RunCrashed { module: String, signal: String, last: Option<String> },
    RunTimeout { module: String, seconds: u64, last: Option<String> },
    RunLimited { why: String },
    AllowanceUnused { rule: String, files: Option<String>, reason: String },
}

/// What a file is instead of ELF.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// macOS.
    MachO,
    /// Windows.
    Pe,
    /// A pointer that `git lfs pull` would have replaced.
    LfsPointer,
    /// No bytes.
    Empty,
    /// Text, for example a linker script.
    Text,
    /// Something else.
    Unknown,
}

/// A library that AWS's public images have and the managed sandbox does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Absent {
    /// auditwheel's white list lets wheels need it.
    WhiteListed,
    /// AWS's public base image has it.
    InBaseImage,
}

/// Why an import finds nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Miss {
    /// No such top-level module anywhere.
    Nowhere,
    /// The package is there, the submodule is not.
    Submodule,
    /// `pkg_resources` or another part of setuptools, which this runtime does not bring.
    Setuptools,
    /// A module of other operating systems' Pythons.
    OtherSystem,
    /// A module that came to the standard library later.
    Later {
        /// The first minor version that has it.
        since: u8,
    },
    /// A distribution that is there provides it for another Python or processor only.
    Unloadable,
}

/// What RECORD gets wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recorded {
    /// A file it lists is not there.
    Missing,
    /// A file has other bytes than it says.
    Changed,
}

/// How packages stand in the wrong place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Root {
    /// One folder around `python/`.
    Wrapped {
        /// Its name.
        folder: String,
    },
    /// Packages at the top of a layer.
    Bare,
    /// A zip in a zip.
    Nested {
        /// The inner one.
        zip: String,
    },
    /// Nothing that Lambda's Python would look at.
    Nothing,
    /// A function package whose files are below one folder.
    FunctionWrapped {
        /// Its name.
        folder: String,
    },
}

/// Why a directory is never looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unused {
    /// `lib/python3.X` of another minor version.
    OtherPython,
    /// `lib64`.
    Lib64,
    /// A virtual environment as a whole.
    Venv,
}

/// Why bytecode is never used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stale {
    /// It remembers a time of its source that the source does not have.
    Timestamp,
    /// It is of another Python.
    OtherPython,
}

/// What is wrong with a symbolic link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Link {
    /// It leads out of the artifact.
    Escapes,
    /// Nothing is there.
    Dangling,
}

/// What a mode forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Reading.
    Unreadable,
    /// Running, which an extension has to be.
    NotExecutable,
}

impl Problem {
    /// The rule it is of.
    pub const fn rule(&self) -> Rule {
        match self {
            Self::NativeFormat { .. } => Rule::NativeFormat,
            Self::NativeDamaged { .. } => Rule::NativeDamaged,
            Self::NativeArchitecture { .. } => Rule::NativeArchitecture,
            Self::NativeGlibc { .. } => Rule::NativeGlibc,
            Self::NativeSymbolVersion { .. } => Rule::NativeSymbolVersion,
            Self::NativeMusl { .. } => Rule::NativeMusl,
            Self::NativeLibraryMissing { .. } => Rule::NativeLibraryMissing,
            Self::NativeLibraryUnreachable { .. } => Rule::NativeLibraryUnreachable,
            Self::NativeLibraryIncidental { .. } => Rule::NativeLibraryIncidental,
            Self::NativeLibraryShadowed { .. } => Rule::NativeLibraryShadowed,
            Self::NativeSymbolMissing { .. } => Rule::NativeSymbolMissing,
            Self::NativeInstructions { .. } => Rule::NativeInstructions,
            Self::NativeExecutableStack => Rule::NativeExecutableStack,
            Self::NativeTextRelocations => Rule::NativeTextRelocations,
            Self::NativeBuildPath { .. } => Rule::NativeBuildPath,
            Self::AbiMismatch { .. } => Rule::AbiMismatch,
            Self::AbiUnmarked { .. } => Rule::AbiUnmarked,
            Self::WheelTag { .. } => Rule::WheelTag,
            Self::WheelTagUntrue { .. } => Rule::WheelTagUntrue,
            Self::WheelFallback { .. } => Rule::WheelFallback,
            Self::ImportMissing { .. } => Rule::ImportMissing,
            Self::ImportRemoved { .. } => Rule::ImportRemoved,
            Self::PythonSyntax { .. } => Rule::PythonSyntax,
            Self::PythonUnread { .. } => Rule::PythonUnread,
            Self::Handler { .. } => Rule::Handler,
            Self::RequirementMissing { .. } => Rule::RequirementMissing,
            Self::RequirementVersion { .. } => Rule::RequirementVersion,
            Self::RequiresPython { .. } => Rule::RequiresPython,
            Self::DistributionTwice { .. } => Rule::DistributionTwice,
            Self::SdkSplit { .. } => Rule::SdkSplit,
            Self::Record { .. } => Rule::Record,
            Self::OwnedTwice { .. } => Rule::OwnedTwice,
            Self::LayoutRoot { .. } => Rule::LayoutRoot,
            Self::LayoutUnused { .. } => Rule::LayoutUnused,
            Self::StdlibShadowed { .. } => Rule::StdlibShadowed,
            Self::PthFile { .. } => Rule::PthFile,
            Self::BytecodeUseless { .. } => Rule::BytecodeUseless,
            Self::ZipMember { .. } => Rule::ZipMember,
            Self::CaseCollision { .. } => Rule::CaseCollision,
            Self::Symlink { .. } => Rule::Symlink,
            Self::FileMode { .. } => Rule::FileMode,
            Self::FileTime { .. } => Rule::FileTime,
            Self::LayerConflict { .. } => Rule::LayerConflict,
            Self::LayerCount { .. } => Rule::LayerCount,
            Self::SizeLimit { .. } => Rule::SizeLimit,
            Self::SizeUpload { .. } => Rule::SizeUpload,
            Self::PythonpathSet { .. } => Rule::PythonpathSet,
            Self::RunFailed { .. } => Rule::RunFailed,
            Self::RunCrashed { .. } => Rule::RunCrashed,
            Self::RunTimeout { .. } => Rule::RunTimeout,
            Self::RunLimited { .. } => Rule::RunLimited,
            Self::AllowanceUnused { .. } => Rule::AllowanceUnused,
        }
    }
}
