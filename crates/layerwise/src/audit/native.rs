//! Compiled files: would the loader take them, and would Python find them?
//!
//! Sources: ld.so(8) for the search order; `importlib.machinery.EXTENSION_SUFFIXES`; the runtimes' data file for what is
//! there. The rules answer the silent failures of a source build as well as names that lie.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::elf::{ElfFacts, ElfKind, Machine, symbol_hash};
use super::facts::Content;
use super::finding::{Finding, Format, Problem, Severity, Use};
use super::imports::{Reach, dotted_library};
use super::policy::{self, Ceiling};
use super::world::{Dist, Form, Unloadable, World, extension_suffix, join, parent};
use crate::model::{Architecture, PackageName};

/// The findings about compiled files.
pub(super) fn check(world: &World<'_>, reach: &Reach) -> Vec<Finding> {
    let mut native = Native::new(world, reach);
    for file in 0..world.files.len() {
        match world.files[file].file.content {
            Content::Elf(facts) => native.elf(file, facts),
            Content::DamagedElf(what) => {
                let severity = native.severity_of_use(file);
                native.add(severity, file, Problem::NativeDamaged { what: what.clone() });
            }
            Content::NotElf(format) => native.not_elf(file, *format),
            _ => {}
        }
    }
    for module in &world.unloadable {
        native.unloadable(module);
    }
    native.findings
}

struct Native<'w, 'a> {
    world: &'w World<'a>,
    reach: &'w Reach,
    /// The extension module that a file is, for this Python.
    modules: HashMap<usize, &'w str>,
    /// The extension module that a file would be for another Python.
    foreign: HashSet<usize>,
    /// How each compiled file comes to be loaded.
    uses: HashMap<usize, Use>,
    /// Files by the name under which the loader asks for them: file name and soname.
    by_soname: HashMap<String, Vec<usize>>,
    /// Search paths that a library inherits from those that need it (`DT_RPATH` does that).
    inherited: HashMap<usize, BTreeSet<String>>,
    /// Distributions that have a compiled file for this architecture.
    at_home: HashSet<&'w PackageName>,
    /// Distributions whose wheel says that it is for any system: what is compiled in them is an extra.
    portable: HashSet<&'w PackageName>,
    /// All exported names of the artifacts, hashed; made when first asked for.
    exports: Option<HashSet<u64>>,
    findings: Vec<Finding>,
}

/// Where the loader finds a needed library.
enum Library {
    /// In the runtime.
    System,
    /// In the runtime, unpromised.
    Incidental,
    /// In the artifacts.
    Bundled,
    /// In the artifacts, but the loader takes the system's.
    Shadowed { bundled: usize },
    /// In the artifacts, where the loader does not look.
    Unreachable { at: usize },
    /// Nowhere.
    Missing,
}

impl<'w, 'a> Native<'w, 'a> {
    fn new(world: &'w World<'a>, reach: &'w Reach) -> Self {
        let compiled = world.modules.iter().filter(|(_, module)| module.form == Form::Extension);
        let modules: HashMap<usize, &str> = compiled.map(|(name, module)| (module.file, name.as_str())).collect();
        let mut by_soname: HashMap<String, Vec<usize>> = HashMap::new();
        let mut at_home = HashSet::new();
        for (file, placed) in world.files.iter().enumerate() {
            if !matches!(placed.file.content, Content::Elf(_)) && placed.file.link.is_none() {
                continue;
            }
            let name = placed.at.rsplit('/').next().unwrap_or_default();
            let Some(at) = world.resolve_links(&placed.at) else { continue };
            let Content::Elf(facts) = world.files[at].file.content else { continue };
            by_soname.entry(name.to_owned()).or_default().push(file);
            if let Some(soname) = facts.soname.as_ref().filter(|soname| *soname != name) {
                by_soname.entry(soname.clone()).or_default().push(file);
            }
            if right_machine(facts, world.target.architecture)
                && let Some(owner) = &placed.owner
            {
                at_home.insert(owner);
            }
        }
        let mut native = Self {
            world,
            reach,
            modules,
            foreign: world.unloadable.iter().map(|module| module.file).collect(),
            uses: HashMap::new(),
            by_soname,
            inherited: HashMap::new(),
            at_home,
            portable: portable(world),
            exports: None,
            findings: Vec::new(),
        };
        native.spread();
        native
    }

    /// Gives every needed library the use and the search paths of what needs it.
    fn spread(&mut self) {
        let mut queue: Vec<(usize, Use, bool)> = Vec::new();
        for (file, name) in &self.modules {
            queue.push((*file, self.use_of_module(*file, name), false));
        }
        queue.extend(self.lone_libraries().into_iter().map(|file| (file, Use::Certain, false)));
        // Plugins hand on, too; and modules of another Python, so that of what they bring along nothing is said.
        let is_elf = |file: &usize| matches!(self.world.files[*file].file.content, Content::Elf(_));
        queue.extend((0..self.world.files.len()).filter(is_elf).map(|file| (file, Use::Loose, false)));
        // The most certain first, so that each file is visited with its final use at the first visit.
        queue.sort_by_key(|(file, usage, _)| (std::cmp::Reverse(*usage), std::cmp::Reverse(*file)));
        while let Some((file, usage, grew)) = queue.pop() {
            let known = self.uses.get(&file).copied();
            let usage = known.map_or(usage, |known| known.min(usage));
            if known == Some(usage) && !grew {
                continue;
            }
            self.uses.insert(file, usage);
            let Content::Elf(facts) = self.world.files[file].file.content else { continue };
            let handed_on: Vec<String> = self.rpath(file, facts).into_iter().collect();
            for needed in &facts.needed {
                for library in self.candidates(needed) {
                    let inherited = self.inherited.entry(library).or_default();
                    let before = inherited.len();
                    // A chain of libraries with ever more paths is no real artifact.
                    if before < 64 {
                        inherited.extend(handed_on.iter().cloned());
                    }
                    queue.push((library, usage, inherited.len() > before));
                }
            }
        }
    }

    /// The one library of a wheel for this platform without extension modules: its Python opens it by path (ctypes,
    /// cffi), and without it the package is nothing. So are lightgbm, llvmlite, soundfile and xgboost made. Where there
    /// are several, some may be plugins.
    fn lone_libraries(&self) -> Vec<usize> {
        let files = self.world.files.iter().enumerate();
        let compiled = files.filter_map(|(file, placed)| match (placed.file.content, &placed.owner) {
            (Content::Elf(facts), Some(owner)) if !self.portable.contains(owner) => Some((file, facts, owner)),
            _ => None,
        });
        let mut lone: HashMap<&PackageName, Vec<usize>> = HashMap::new();
        let mut with_modules: HashSet<&PackageName> = HashSet::new();
        let needed: HashSet<&String> = compiled.clone().flat_map(|(_, facts, _)| &facts.needed).collect();
        for (file, facts, owner) in compiled {
            let placed = &self.world.files[file];
            let name = placed.at.rsplit('/').next().unwrap_or_default();
            if self.modules.contains_key(&file) || self.foreign.contains(&file) {
                with_modules.insert(owner);
            }
            // Grafted ones are there because another needs them.
            let is_needed = needed.iter().any(|needed| *needed == name || Some(*needed) == facts.soname.as_ref());
            let library = facts.kind == ElfKind::SharedOrPie && facts.interpreter.is_none();
            if library && !is_needed && placed.file.link.is_none() {
                lone.entry(owner).or_default().push(file);
            }
        }
        let lone = lone.into_iter().filter(|(owner, files)| files.len() == 1 && !with_modules.contains(owner));
        lone.filter(|(owner, _)| self.has_wheel_file(owner)).flat_map(|(_, files)| files).collect()
    }

    /// Whether it was installed from a wheel: only then is it known to be for a platform.
    fn has_wheel_file(&self, owner: &PackageName) -> bool {
        let mut dists = self.world.dists.iter().filter(|dist| dist.metadata.name == *owner);
        dists.any(|dist| wheel_tags(self.world, dist).is_some())
    }

    fn use_of_module(&self, file: usize, name: &str) -> Use {
        // Named by an import statement somewhere, but not on a certain path from a root: optional. Not named at all:
        // then code imports it, as cv2 does.
        match self.reach.certain[file] {
            Some(_) => Use::Certain,
            None if self.reach.named.contains(name) => Use::Guarded,
            None => Use::Certain,
        }
    }

    fn usage(&self, file: usize) -> Use {
        self.uses.get(&file).copied().unwrap_or(Use::Loose)
    }

    fn severity_of_use(&self, file: usize) -> Severity {
        if self.usage(file) == Use::Certain { Severity::Error } else { Severity::Warning }
    }

    /// Whether the package gets by without this file, by what its wheel says: for any system, and no import leads to the
    /// file. debugpy and selenium bring programs and libraries of several systems that way.
    fn is_extra(&self, file: usize) -> bool {
        let owner = self.world.files[file].owner.as_ref();
        self.usage(file) == Use::Loose && owner.is_some_and(|owner| self.portable.contains(owner))
    }

    /// Of what the loader refuses.
    fn severity_of_refusal(&self, file: usize) -> Severity {
        if self.is_extra(file) { Severity::Warning } else { Severity::Error }
    }

    fn add(&mut self, severity: Severity, file: usize, problem: Problem) {
        self.findings.push(self.world.finding(severity, file, problem));
    }

    /// Files that could be meant by a needed library's name, links followed.
    fn candidates(&self, needed: &str) -> Vec<usize> {
        let found = self.by_soname.get(needed).map(Vec::as_slice).unwrap_or_default();
        found.iter().filter_map(|file| self.world.resolve_links(&self.world.files[*file].at)).collect()
    }

    /// The directories of `DT_RPATH`, own and inherited; empty where there is a `DT_RUNPATH`, which turns them off.
    fn rpath(&self, file: usize, facts: &ElfFacts) -> BTreeSet<String> {
        if !facts.runpath.is_empty() {
            return BTreeSet::new();
        }
        let own = facts.rpath.iter().filter_map(|path| expand(path, &self.world.files[file].at));
        own.chain(self.inherited.get(&file).into_iter().flatten().cloned()).collect()
    }

    fn elf(&mut self, file: usize, facts: &ElfFacts) {
        if matches!(facts.kind, ElfKind::Object | ElfKind::Core) {
            return;
        }
        let module = self.modules.get(&file).map(|name| (*name).to_owned());
        if !right_machine(facts, self.world.target.architecture) {
            self.wrong_machine(file, facts, module);
            return;
        }
        // Whatever else is wrong with it, this Python does not load it.
        if self.foreign.contains(&file) {
            return;
        }
        if let Some(library) = musl(facts) {
            self.add(self.severity_of_refusal(file), file, Problem::NativeMusl { library });
            return;
        }
        if facts.kind == ElfKind::SharedOrPie && !facts.dynamic && facts.interpreter.is_none() && module.is_some() {
            let severity = self.severity_of_use(file);
            let what = "object file has no dynamic section".to_owned();
            self.add(severity, file, Problem::NativeDamaged { what });
            return;
        }
        self.versions(file, facts);
        let says = facts.versions.iter().any(|need| need.version == "GLIBC_ABI_DT_RELR");
        if facts.relr && !says && self.world.target.runtime.glibc.1 < 36 {
            // An older loader does not know these relocations and leaves them out.
            let (version, library) = ("GLIBC_ABI_DT_RELR".to_owned(), "libc.so.6".to_owned());
            let has = self.world.target.runtime.glibc.to_string();
            self.add(self.severity_of_refusal(file), file, Problem::NativeGlibc { version, library, has });
        }
        let all_known = self.libraries(file, facts);
        if all_known {
            self.symbols(file, facts);
        }
        self.hardening(file, facts);
        if let Some(module) = module {
            let name = self.world.files[file].at.rsplit('/').next().unwrap_or_default();
            let unmarked = name.matches('.').count() == 1;
            if unmarked && !facts.modules.is_empty() {
                self.add(Severity::Note, file, Problem::AbiUnmarked { module });
            }
        }
    }

    fn wrong_machine(&mut self, file: usize, facts: &ElfFacts, module: Option<String>) {
        // Some packages carry the binaries of all systems and pick one: then the right one is there too.
        let owner = self.world.files[file].owner.as_ref();
        let others = owner.is_some_and(|owner| self.at_home.contains(owner));
        let severity = match (&module, others) {
            (Some(_), _) => Severity::Error,
            (None, _) if self.foreign.contains(&file) => return,
            (None, false) => self.severity_of_refusal(file),
            (None, true) if self.usage(file) == Use::Certain => Severity::Error,
            (None, true) => Severity::Note,
        };
        let target = self.world.target.architecture;
        let is = match (facts.bits, facts.little_endian) {
            (64, true) => facts.machine.to_string(),
            (bits, true) => format!("{} ({bits}-bit)", facts.machine),
            (bits, false) => format!("{} ({bits}-bit, big-endian)", facts.machine),
        };
        self.add(severity, file, Problem::NativeArchitecture { is, target: target.to_string(), module });
    }

    /// The highest version of each family that is beyond what the runtime has.
    fn versions(&mut self, file: usize, facts: &ElfFacts) {
        let runtime = self.world.target.runtime;
        let architecture = self.world.target.architecture;
        let mut worst: BTreeMap<(&str, bool), (Ceiling, &str, &str)> = BTreeMap::new();
        for need in facts.versions.iter().filter(|need| !need.weak) {
            let Some(beyond) = policy::beyond(runtime, architecture, &need.version) else { continue };
            if matches!(self.library(file, facts, &need.library), Library::Bundled) {
                continue;
            }
            let family = need.version.split('_').next().unwrap_or_default();
            let key = (family, beyond.newer_images_have_it);
            if worst.get(&key).is_none_or(|(known, ..)| known.number < beyond.number) {
                worst.insert(key, (beyond, need.version.as_str(), need.library.as_str()));
            }
        }
        let refused = self.severity_of_refusal(file);
        for ((family, _), (ceiling, version, library)) in worst {
            let (version, library, has) = (version.to_owned(), library.to_owned(), ceiling.has);
            if family == "GLIBC" {
                let private = version == "GLIBC_PRIVATE";
                let severity = if private { Severity::Warning } else { refused };
                self.add(severity, file, Problem::NativeGlibc { version, library, has });
            } else {
                let newer_images_have_it = ceiling.newer_images_have_it;
                let severity = if newer_images_have_it { Severity::Warning } else { refused };
                self.add(severity, file, Problem::NativeSymbolVersion { version, library, has, newer_images_have_it });
            }
        }
    }

    /// Looks each needed library up; whether the exports of all that were found are known.
    fn libraries(&mut self, file: usize, facts: &ElfFacts) -> bool {
        let mut all_known = true;
        let usage = self.usage(file);
        for needed in &facts.needed {
            let library = needed.clone();
            match self.library(file, facts, needed) {
                Library::System | Library::Bundled => {}
                Library::Incidental => {
                    all_known = false;
                    self.add(Severity::Warning, file, Problem::NativeLibraryIncidental { library });
                }
                Library::Shadowed { bundled } => {
                    let at = self.world.files[bundled].at.clone();
                    let system = format!("/lib64/{library}");
                    self.add(Severity::Warning, file, Problem::NativeLibraryShadowed { library, bundled: at, system });
                }
                Library::Unreachable { at } => {
                    let at = self.world.files[at].at.clone();
                    self.add(Severity::Warning, file, Problem::NativeLibraryUnreachable { library, at });
                }
                Library::Missing => {
                    all_known = false;
                    let severity = if usage == Use::Certain { Severity::Error } else { Severity::Warning };
                    let known = policy::absent(self.world.target.runtime, &library);
                    let bundled_elsewhere = self.has_hashed(&library);
                    let problem = Problem::NativeLibraryMissing { library, usage, bundled_elsewhere, known };
                    self.add(severity, file, problem);
                }
            }
        }
        all_known
    }

    /// Whether the artifacts bring the library under auditwheel's hashed name: `libgomp-d22c30c5.so.1` for
    /// `libgomp.so.1`.
    fn has_hashed(&self, library: &str) -> bool {
        let Some((stem, end)) = library.split_once(".so") else { return false };
        self.by_soname.keys().any(|name| {
            name.strip_prefix(stem)
                .and_then(|rest| rest.strip_prefix('-'))
                .is_some_and(|rest| rest.contains(".so") && rest.ends_with(end))
        })
    }

    /// ld.so(8): `DT_RPATH` (unless there is a `DT_RUNPATH`), `LD_LIBRARY_PATH`, `DT_RUNPATH`, the system. On Lambda
    /// `LD_LIBRARY_PATH` names the runtime's and the system's directories before `/var/task`, `/var/task/lib` and
    /// `/opt/lib`.
    fn library(&self, file: usize, facts: &ElfFacts, needed: &str) -> Library {
        let runtime = self.world.target.runtime;
        let find = |directory: &str| {
            join(directory, needed).and_then(|path| self.world.resolve_links(&path)).filter(|at| {
                matches!(self.world.files[*at].file.content, Content::Elf(found) if right_machine(found, self.world.target.architecture))
            })
        };
        if needed.contains('/') {
            return match expand(needed, &self.world.files[file].at).and_then(|path| self.world.resolve_links(&path)) {
                Some(_) => Library::Bundled,
                None => Library::Missing,
            };
        }
        if self.rpath(file, facts).iter().any(|directory| find(directory).is_some()) {
            return Library::Bundled;
        }
        let bundled = || {
            let own = facts.runpath.iter().filter_map(|path| expand(path, &self.world.files[file].at));
            own.chain(["/opt/lib", "/var/task", "/var/task/lib"].map(str::to_owned)).find_map(|dir| find(&dir))
        };
        match policy::library(self.world.target, needed) {
            policy::Library::Promised => match bundled() {
                Some(bundled) => Library::Shadowed { bundled },
                None => Library::System,
            },
            policy::Library::Incidental => match bundled() {
                Some(_) => Library::Bundled,
                None => Library::Incidental,
            },
            policy::Library::Absent => match bundled() {
                Some(_) => Library::Bundled,
                None => match self.candidates(needed).into_iter().find(|at| *at != file) {
                    Some(at) => Library::Unreachable { at },
                    None if policy::is_own_libpython(runtime, needed) => Library::Incidental,
                    None => Library::Missing,
                },
            },
        }
    }

    /// Undefined symbols without a version: something of the process has to export each. Python loads with
    /// `RTLD_NOW`, so that one is enough to fail.
    fn symbols(&mut self, file: usize, facts: &ElfFacts) {
        let target = self.world.target;
        let needs = |library: &str| facts.needed.iter().any(|needed| needed == library);
        let (cpp, gcc, zlib) = (needs("libstdc++.so.6"), needs("libgcc_s.so.1"), needs("libz.so.1"));
        let unknown: Vec<&String> = facts
            .undefined
            .iter()
            .filter(|name| {
                // Of libstdc++ and libgcc only names are told apart: their own symbols all have versions.
                let by_name = cpp && (name.starts_with("_Z") || name.starts_with("__cxa") || name.starts_with("__gxx"))
                    || gcc && name.starts_with('_')
                    || zlib && policy::zlib_exports(target.runtime, name);
                !by_name && !policy::exports(target, name)
            })
            .collect();
        if unknown.is_empty() {
            return;
        }
        let world = self.world;
        let exports = self.exports.get_or_insert_with(|| {
            let elves = world.files.iter().filter_map(|placed| match placed.file.content {
                Content::Elf(facts) => Some(facts),
                _ => None,
            });
            elves.flat_map(|facts| facts.exports.iter().copied()).collect()
        });
        let missing: Vec<String> =
            unknown.into_iter().filter(|name| !exports.contains(&symbol_hash(name.as_bytes()))).cloned().collect();
        if missing.is_empty() {
            return;
        }
        const SHOWN: usize = 5;
        let usage = self.usage(file);
        let severity = if usage == Use::Certain { Severity::Error } else { Severity::Warning };
        let python = missing.iter().any(|name| name.starts_with("Py") || name.starts_with("_Py"));
        let more = missing.len().saturating_sub(SHOWN);
        let symbols = missing.into_iter().take(SHOWN).collect();
        self.add(severity, file, Problem::NativeSymbolMissing { symbols, more, usage, python });
    }

    fn hardening(&mut self, file: usize, facts: &ElfFacts) {
        let runtime = self.world.target.runtime;
        if let Some((level, has)) = policy::instructions(runtime, facts.isa_needed) {
            self.add(Severity::Warning, file, Problem::NativeInstructions { level, has });
        }
        if facts.executable_stack {
            self.add(Severity::Warning, file, Problem::NativeExecutableStack);
        }
        if facts.text_relocations {
            self.add(Severity::Warning, file, Problem::NativeTextRelocations);
        }
        let foreign = facts.rpath.iter().chain(&facts.runpath).find(|path| {
            path.starts_with('/')
                && !["/opt", "/var/task", "/var/lang", "/lib", "/usr/lib"].iter().any(|known| path.starts_with(known))
        });
        if let Some(path) = foreign {
            self.add(Severity::Note, file, Problem::NativeBuildPath { path: path.clone() });
        }
    }

    fn not_elf(&mut self, file: usize, format: Format) {
        let placed = &self.world.files[file];
        let name = placed.at.rsplit('/').next().unwrap_or_default();
        // Windows and macOS libraries beside Linux ones are dead weight.
        let for_linux = name.ends_with(".so") || name.contains(".so.");
        if !for_linux {
            // `.pyd` files are told about as modules of another system.
            return;
        }
        if self.foreign.contains(&file) && format == Format::MachO {
            // `x.cpython-311-darwin.so`: its name says it already.
            return;
        }
        // `x.so` that is no ELF file cannot say itself that it is a module: an import does.
        let dotted = dotted_library(&placed.at);
        let module = self.modules.get(&file).map(|name| (*name).to_owned());
        let module = module.or_else(|| dotted.filter(|name| self.reach.named.contains(name)));
        let severity = match (&module, format) {
            (Some(_), _) => Severity::Error,
            // A linker script, or a library that is opened by path.
            (None, Format::Text) => Severity::Note,
            (None, _) => Severity::Warning,
        };
        self.add(severity, file, Problem::NativeFormat { is: format, module });
    }

    fn unloadable(&mut self, unloadable: &Unloadable) {
        let Unloadable { file, module, suffix } = unloadable;
        let otherwise_there = self.world.has_module(module);
        let named = self.reach.named.contains(module);
        let certain = || {
            // Who would import it: a module that is reached for certain and has no other way.
            let package = module.rsplit_once('.').map_or("", |(package, _)| package);
            package.is_empty() || self.world.has_module(package)
        };
        // A wheel for any system that has a module for one of the others only: quicker there, not needed here.
        let other_system = suffix.ends_with(".pyd") || suffix.contains("darwin");
        let owner = self.world.files[*file].owner.as_ref();
        let extra = other_system && owner.is_some_and(|owner| self.portable.contains(owner));
        let sibling = self.world.unloadable.iter().any(|other| other.module == *module && other.file < *file);
        let severity = if otherwise_there || sibling {
            Severity::Note
        } else if certain() && (!named && !extra || self.reach.wanted.contains(module)) {
            Severity::Error
        } else {
            Severity::Warning
        };
        // What the modules that mypyc made share: they ask for it, and they are told about.
        let shared =
            module.ends_with("__mypyc") && self.world.unloadable.iter().any(|other| self.together(other, file));
        if shared || sibling && !otherwise_there {
            return;
        }
        let (suffix, module) = (suffix.clone(), module.clone());
        let wants = extension_suffix(self.world.target);
        self.add(severity, *file, Problem::AbiMismatch { suffix, wants, module, otherwise_there });
    }
}

impl Native<'_, '_> {
    /// Whether two extension modules of another Python are of one distribution.
    fn together(&self, other: &Unloadable, file: &usize) -> bool {
        let owner = |file: usize| &self.world.files[file].owner;
        other.file != *file && owner(other.file) == owner(*file)
    }
}

/// The distributions all of whose wheel tags end in `any`.
fn portable<'w>(world: &'w World<'_>) -> HashSet<&'w PackageName> {
    let any =
        |dist: &&Dist<'_>| wheel_tags(world, dist).is_some_and(|tags| tags.iter().all(|tag| tag.ends_with("-any")));
    world.dists.iter().filter(any).map(|dist| &dist.metadata.name).collect()
}

/// The tags in a distribution's `WHEEL`, if there are any.
fn wheel_tags<'w>(world: &'w World<'_>, dist: &Dist<'_>) -> Option<&'w [String]> {
    let info = parent(&world.files[dist.file].at);
    match world.files[world.at(&format!("{info}/WHEEL"))?].file.content {
        Content::Wheel(wheel) if !wheel.tags.is_empty() => Some(&wheel.tags),
        _ => None,
    }
}

fn right_machine(facts: &ElfFacts, architecture: Architecture) -> bool {
    let machine = match architecture {
        Architecture::X86_64 => Machine::X86_64,
        Architecture::Arm64 => Machine::Aarch64,
    };
    facts.machine == machine && facts.bits == 64 && facts.little_endian
}

/// What betrays musl: its libc among the needed libraries, or its loader.
fn musl(facts: &ElfFacts) -> Option<String> {
    let library = facts.needed.iter().find(|name| name.starts_with("libc.musl-") || *name == "libc.so");
    let loader = facts.interpreter.as_ref().filter(|path| path.contains("ld-musl"));
    library.or(loader).cloned()
}

/// `$ORIGIN` in a search path replaced; `None` for a relative one, which depends on where the process stands.
fn expand(path: &str, file: &str) -> Option<String> {
    let origin = parent(file);
    let path = path.replace("${ORIGIN}", origin).replace("$ORIGIN", origin);
    path.starts_with('/').then(|| join("/", &path)).flatten()
}
