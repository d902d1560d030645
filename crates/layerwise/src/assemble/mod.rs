//! Wheels → Tree: where each file goes, as PEP 427 says, and nothing else. Pure.
//!
//! Source: <https://packaging.python.org/en/latest/specifications/binary-distribution-format/#installing-a-wheel-distribution-1-0-py32-none-any-whl>.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::error::{Explain, Kind};
use crate::model::tree::InvalidLayerPath;
use crate::model::{Content, Entry, FoundFile, LayerPath, PackageName, Target, Tree, WheelName};
use crate::wheel::WheelIndex;

mod script;

/// Where packages stand inside the artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layout {
    /// `python/`: any minor version of the runtime finds it.
    #[default]
    Python,
    /// `python/lib/python3.X/site-packages`: only that minor version finds it, before `python/`.
    SitePackages,
    /// The root: of a function's own zip, which is unpacked at `/var/task`.
    Root,
}

/// How to assemble.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Where packages stand.
    pub layout: Layout,
    /// Glob patterns of files to leave out, relative to the packages' root: `botocore/data/ec2/**`, `**/tests/**`.
    /// `*` stays within one directory, `**` does not; a directory that is named stands for all
    /// that is in it.
    pub excludes: Vec<String>,
}

/// What goes where.
#[derive(Debug)]
pub struct Assembled {
    /// The files, each with its owner among the wheels.
    pub tree: Tree,
    /// Patterns of [`Options::excludes`] that left nothing out.
    pub unused_excludes: Vec<String>,
}

/// Wheels that do not go together.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// Two wheels of one distribution.
    #[error("`{first}` and `{second}` are wheels of the same distribution")]
    SameDistribution {
        /// One.
        first: String,
        /// The other.
        second: String,
    },
    /// One path, two contents.
    #[error("`{first}` and `{second}` both bring `{path}`, with different bytes")]
    Conflict {
        /// The path in the artifact.
        path: String,
        /// The path relative to the packages' root.
        relative: String,
        /// One wheel.
        first: String,
        /// The other wheel.
        second: String,
    },
    /// A file where another wheel has a directory.
    #[error("`{first}` brings the file `{path}`, which in `{second}` is a directory")]
    FileAndDirectory {
        /// The path in the artifact.
        path: String,
        /// The wheel with the file.
        first: String,
        /// The wheel with the directory.
        second: String,
    },
    /// A path that would leave the artifact.
    #[error("`{wheel}` brings an unsafe path")]
    Path {
        /// The wheel.
        wheel: String,
        /// The path.
        #[source]
        source: InvalidLayerPath,
    },
    /// A `.data` directory that PEP 427 does not know.
    #[error("`{wheel}` has `{path}`: there is no such scheme")]
    Scheme {
        /// The wheel.
        wheel: String,
        /// The member.
        path: String,
    },
    /// A console script that cannot be made.
    #[error("`{wheel}` has an entry point that is none: `{line}`")]
    EntryPoint {
        /// The wheel.
        wheel: String,
        /// The line.
        line: String,
    },
    /// A pattern that cannot be read.
    #[error("`{pattern}` is not a pattern")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        #[source]
        source: globset::Error,
    },
}

impl Explain for AssembleError {
    fn kind(&self) -> Kind {
        match self {
            Self::Pattern { .. } => Kind::Usage,
            _ => Kind::Integrity,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Conflict { relative, .. } => vec![format!(
                "leave the file out with `--exclude '{}'` if nothing needs it, or drop one of the packages",
                globset::escape(relative)
            )],
            Self::FileAndDirectory { .. } => vec!["drop one of the packages".to_owned()],
            _ => Vec::new(),
        }
    }
}

/// Where things go for one target and layout. All paths are relative to the artifact.
struct Places {
    /// What `bin`, `include` and `.data/data` stand in, with a slash at the end or empty: the directory that pip's
    /// `--target` (flat) or `--prefix` (site-packages) would be given.
    prefix: &'static str,
    /// Where packages stand, with a slash at the end or empty.
    root: String,
    /// From the root to the prefix that `bin` stands in, for RECORD.
    up: String,
    /// From `bin` to the root, for scripts.
    from_bin: String,
    interpreter: String,
}

/// Files of dist-info that we write ourselves, or that would no longer be true.
const REPLACED: [&str; 6] = ["RECORD", "RECORD.jws", "RECORD.p7s", "INSTALLER", "REQUESTED", "direct_url.json"];

/// Places every file of `wheels`, and `files` where they say. The order of the wheels does not matter for the bytes of
/// the tree.
pub fn assemble(
    wheels: &[(&WheelName, &WheelIndex)],
    files: &[FoundFile],
    target: Target,
    options: &Options,
) -> Result<Assembled, AssembleError> {
    let minor = target.runtime.minor;
    let (prefix, inside) = match options.layout {
        Layout::Python => ("python/", String::new()),
        Layout::SitePackages => ("python/", format!("lib/python3.{minor}/site-packages/")),
        Layout::Root => ("", String::new()),
    };
    let places = Places {
        prefix,
        root: format!("{prefix}{inside}"),
        up: "../".repeat(inside.matches('/').count()),
        from_bin: format!("../{inside}").trim_end_matches('/').to_owned(),
        // Where the managed runtime and AWS's images have it. `/usr/bin/env python3` would find the same program as
        // long as nobody changes PATH.
        interpreter: format!("/var/lang/bin/python3.{minor}"),
    };
    let mut excludes = Excludes::new(&options.excludes)?;
    let mut placing = Placing { wheels, places: &places, tree: Tree::default(), owned: vec![Vec::new(); wheels.len()] };
    placing.place_files(files)?;

    let mut by_name: BTreeMap<&PackageName, usize> = BTreeMap::new();
    for (owner, (name, _)) in wheels.iter().enumerate() {
        if let Some(other) = by_name.insert(&name.name, owner) {
            let (first, second) = (wheels[other].0.text.clone(), name.text.clone());
            return Err(AssembleError::SameDistribution { first, second });
        }
    }
    for owner in by_name.values() {
        placing.place_wheel(*owner, &mut excludes)?;
    }
    for owner in by_name.values() {
        placing.write_record(*owner, &mut excludes)?;
    }
    placing.check_directories()?;
    Ok(Assembled { tree: placing.tree, unused_excludes: excludes.unused() })
}

struct Placing<'a> {
    wheels: &'a [(&'a WheelName, &'a WheelIndex)],
    places: &'a Places,
    tree: Tree,
    /// The paths of each wheel, for its RECORD.
    owned: Vec<Vec<LayerPath>>,
}

impl Placing<'_> {
    fn place_wheel(&mut self, owner: usize, excludes: &mut Excludes) -> Result<(), AssembleError> {
        let (name, index) = self.wheels[owner];
        let dist_info = &index.dist_info;
        let entry_points = index.entry_points.as_deref().unwrap_or_default();
        let scripts = script::entry_points(entry_points, &self.places.interpreter, &self.places.from_bin);
        let scripts = scripts.map_err(|line| AssembleError::EntryPoint { wheel: name.text.clone(), line })?;
        for (member, about) in index.members.iter().enumerate() {
            if about
                .name
                .strip_prefix(dist_info)
                .and_then(|rest| rest.strip_prefix('/'))
                .is_some_and(|file| REPLACED.contains(&file))
            {
                continue;
            }
            let mut content = Content::Member { member, sha256: about.sha256, size: about.size };
            let mut executable = about.executable;
            // Whatever the spelling of the name in front: installers take any.
            let data = about.name.split_once('/').filter(|(top, _)| top.ends_with(".data")).map(|(_, rest)| rest);
            let path = match data {
                None => [&self.places.root, about.name.as_str()].concat(),
                Some(rest) => match rest.split_once('/') {
                    Some(("purelib" | "platlib", rest)) => format!("{}{rest}", self.places.root),
                    Some(("data", rest)) => format!("{}{rest}", self.places.prefix),
                    Some(("headers", rest)) => format!("{}include/{}/{rest}", self.places.prefix, name.name),
                    Some(("scripts", rest)) if script::is_wrapper(rest, &scripts) => continue,
                    Some(("scripts", rest)) => {
                        executable = true;
                        let text = index.texts.get(&about.name);
                        if let Some(rewritten) = text.and_then(|text| script::rewrite(text, &self.places.interpreter)) {
                            content = Content::Generated(rewritten);
                        }
                        format!("{}bin/{rest}", self.places.prefix)
                    }
                    _ => {
                        let (wheel, path) = (name.text.clone(), about.name.escape_debug().to_string());
                        return Err(AssembleError::Scheme { wheel, path });
                    }
                },
            };
            self.put(path, Entry { owner, content, executable }, excludes)?;
        }
        for (file, text) in scripts {
            let content = Content::Generated(text.into_bytes());
            let path = format!("{}bin/{file}", self.places.prefix);
            self.put(path, Entry { owner, content, executable: true }, excludes)?;
        }
        let installer = Content::Generated(b"layerwise\n".to_vec());
        let path = format!("{}{dist_info}/INSTALLER", self.places.root);
        self.put(path, Entry { owner, content: installer, executable: false }, excludes)
    }

    /// What no wheel brings goes where it is wanted, and gives way to nothing.
    fn place_files(&mut self, files: &[FoundFile]) -> Result<(), AssembleError> {
        let owner = self.wheels.len();
        for (at, file) in files.iter().enumerate() {
            let content = Content::File { file: at, sha256: file.sha256, size: file.size };
            let there = self.tree.insert(file.to.clone(), Entry { owner, content, executable: file.executable });
            if there.is_some_and(|there| there.sha256() != file.sha256) {
                return Err(AssembleError::Conflict {
                    relative: self.relative(file.to.as_str()).to_owned(),
                    path: file.to.to_string(),
                    first: self.label(owner),
                    second: self.label(owner),
                });
            }
        }
        Ok(())
    }

    /// What messages call a wheel, or the files that no wheel brings.
    fn label(&self, owner: usize) -> String {
        self.wheels
            .get(owner)
            .map_or_else(|| "the files of the configuration".to_owned(), |(name, _)| name.text.clone())
    }

    fn put(&mut self, path: String, entry: Entry, excludes: &mut Excludes) -> Result<(), AssembleError> {
        if excludes.matches(self.relative(&path)) {
            return Ok(());
        }
        let owner = entry.owner;
        let path = LayerPath::new(path).map_err(|source| AssembleError::Path { wheel: self.label(owner), source })?;
        self.owned[owner].push(path.clone());
        let Some(there) = self.tree.get(&path) else {
            self.tree.insert(path, entry);
            return Ok(());
        };
        if there.sha256() == entry.sha256() {
            if entry.executable && !there.executable {
                self.tree.insert(path, entry);
            }
            return Ok(());
        }
        match (self.namespace(&path, there), self.namespace(&path, &entry)) {
            (Some(old), Some(new)) => {
                // Installers let the last one win. A declaration is worth more than an empty file.
                if new >= old {
                    self.tree.insert(path, entry);
                }
                Ok(())
            }
            _ => Err(AssembleError::Conflict {
                relative: self.relative(path.as_str()).to_owned(),
                path: path.to_string(),
                first: self.label(there.owner),
                second: self.label(owner),
            }),
        }
    }

    /// Whether an `__init__.py` only makes a namespace: `Some(false)` for an empty one, `Some(true)` for a
    /// declaration in the way of pkgutil or pkg_resources.
    fn namespace(&self, path: &LayerPath, entry: &Entry) -> Option<bool> {
        if !path.as_str().ends_with("/__init__.py") {
            return None;
        }
        let Content::Member { member, .. } = entry.content else { return None };
        let index = self.wheels[entry.owner].1;
        let text = index.texts.get(&index.members[member].name)?;
        namespace_of(&String::from_utf8_lossy(text))
    }

    /// The path as the user writes it in `--exclude`: from the packages' root, or from the prefix.
    fn relative<'p>(&self, path: &'p str) -> &'p str {
        path.strip_prefix(&self.places.root).or_else(|| path.strip_prefix(self.places.prefix)).unwrap_or(path)
    }

    fn check_directories(&self) -> Result<(), AssembleError> {
        let mut directories: BTreeMap<&str, usize> = BTreeMap::new();
        let mut last = "";
        for (path, entry) in self.tree.iter() {
            let mut directory = path.as_str();
            while let Some((parent, _)) = directory.rsplit_once('/') {
                directory = parent;
                if directory == last || directories.insert(directory, entry.owner).is_some() {
                    break;
                }
            }
            last = path.as_str().rsplit_once('/').map_or("", |(parent, _)| parent);
        }
        for (path, entry) in self.tree.iter() {
            if let Some(other) = directories.get(path.as_str()) {
                let (first, second) = (self.label(entry.owner), self.label(*other));
                return Err(AssembleError::FileAndDirectory { path: path.to_string(), first, second });
            }
        }
        Ok(())
    }

    /// RECORD for what is really there (PEP 376, PEP 627): paths relative to the packages' root, sorted.
    fn write_record(&mut self, owner: usize, excludes: &mut Excludes) -> Result<(), AssembleError> {
        let dist_info = &self.wheels[owner].1.dist_info;
        let record = format!("{dist_info}/RECORD");
        let paths: BTreeSet<LayerPath> = std::mem::take(&mut self.owned[owner]).into_iter().collect();
        let mut lines: Vec<String> = Vec::with_capacity(paths.len() + 1);
        for path in &paths {
            let Some(entry) = self.tree.get(path) else { continue };
            let text = path.as_str();
            let relative = match text.strip_prefix(&self.places.root) {
                Some(inside) => Cow::Borrowed(inside),
                None => Cow::Owned(self.places.up.clone() + text.strip_prefix(self.places.prefix).unwrap_or(text)),
            };
            let (digest, size) = (entry.sha256().record_base64(), entry.size().to_string());
            lines.push([csv(&relative).as_ref(), ",sha256=", &digest, ",", &size, "\n"].concat());
        }
        lines.push(format!("{},,\n", csv(&record)));
        lines.sort_unstable();
        let content = Content::Generated(lines.concat().into_bytes());
        let path = format!("{}{record}", self.places.root);
        self.put(path, Entry { owner, content, executable: false }, excludes)
    }
}

/// The statements with which an `__init__.py` makes a namespace, without blanks and with one kind of quotes
/// (<https://packaging.python.org/en/latest/guides/packaging-namespace-packages/>).
const DECLARATIONS: [&str; 8] = [
    "__import__('pkg_resources').declare_namespace(__name__)",
    "importpkg_resources",
    "pkg_resources.declare_namespace(__name__)",
    "frompkgutilimportextend_path",
    "importpkgutil",
    "__path__=extend_path(__path__,__name__)",
    "__path__=pkgutil.extend_path(__path__,__name__)",
    "__path__=__import__('pkgutil').extend_path(__path__,__name__)",
];

/// See [`Placing::namespace`]. A file that does anything else is code, and not to be lost.
fn namespace_of(text: &str) -> Option<bool> {
    let mut declares = false;
    for line in text.lines() {
        let code: String = line.split('#').next().unwrap_or_default().split_whitespace().collect();
        let code = code.replace('"', "'");
        match code.as_str() {
            "" | "try:" | "exceptImportError:" | "except:" => {}
            code if DECLARATIONS.contains(&code) => declares = true,
            _ => return None,
        }
    }
    Some(declares)
}

/// A field of CSV, quoted where needed.
fn csv(text: &str) -> Cow<'_, str> {
    if !text.contains([',', '"', '\n']) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("\"{}\"", text.replace('"', "\"\"")))
}

struct Excludes(Vec<(String, GlobSet, bool)>);

impl Excludes {
    fn new(patterns: &[String]) -> Result<Self, AssembleError> {
        let compile = |pattern: &String| {
            let failed = |source| AssembleError::Pattern { pattern: pattern.clone(), source };
            let mut both = GlobSetBuilder::new();
            let plain = pattern.trim_end_matches('/');
            // A name at the end may be a directory's, and then stands for all that is in it.
            let last = plain.rsplit('/').next().unwrap_or(plain);
            let named = (!last.contains(['*', '?', '[', '{'])).then(|| format!("{plain}/**"));
            for text in std::iter::once(plain.to_owned()).chain(named) {
                both.add(GlobBuilder::new(&text).literal_separator(true).build().map_err(failed)?);
            }
            Ok((pattern.clone(), both.build().map_err(failed)?, false))
        };
        Ok(Self(patterns.iter().map(compile).collect::<Result<_, _>>()?))
    }

    fn matches(&mut self, path: &str) -> bool {
        let mut matched = false;
        for (_, glob, used) in &mut self.0 {
            if glob.is_match(path) {
                (*used, matched) = (true, true);
            }
        }
        matched
    }

    fn unused(self) -> Vec<String> {
        self.0.into_iter().filter(|(.., used)| !used).map(|(pattern, ..)| pattern).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use layerwise_testkit::{WheelBuilder, wheel};

    use super::*;
    use crate::model::Sha256;

    fn assembled(
        wheels: &[WheelBuilder],
        options: &Options,
    ) -> Result<(Assembled, Vec<(WheelName, WheelIndex)>), AssembleError> {
        let read = |one: &WheelBuilder| {
            let built = one.clone().build();
            let name: WheelName = built.filename.parse().unwrap();
            let index = crate::wheel::index(&mut Cursor::new(&built.bytes), &name).unwrap();
            (name, index)
        };
        let indexed: Vec<_> = wheels.iter().map(read).collect();
        let named: Vec<_> = indexed.iter().map(|(name, index)| (name, index)).collect();
        let target = Target::new("python3.12", "x86_64", "2026-11-24").unwrap();
        assemble(&named, &[], target, options).map(|assembled| (assembled, indexed))
    }

    /// The paths without those of dist-info, `*` after executables; or the error.
    fn check_with(wheels: &[WheelBuilder], options: &Options, expected: &[&str]) {
        let shown: Vec<String> = match assembled(wheels, options) {
            Ok((assembled, _)) => assembled
                .tree
                .iter()
                .filter(|(path, _)| !path.as_str().contains(".dist-info/"))
                .map(|(path, entry)| format!("{path}{}", if entry.executable { "*" } else { "" }))
                .collect(),
            Err(error) => vec![error.to_string()],
        };
        assert_eq!(shown, expected);
    }

    fn check(wheels: &[WheelBuilder], expected: &[&str]) {
        check_with(wheels, &Options::default(), expected);
        let reversed: Vec<_> = wheels.iter().rev().cloned().collect();
        if !expected[0].contains("wheels of the same") {
            check_with(&reversed, &Options::default(), expected);
        }
    }

    fn text(wheels: &[WheelBuilder], path: &str) -> String {
        let (assembled, _) = assembled(wheels, &Options::default()).unwrap();
        match &assembled.tree.get(&LayerPath::new(path).unwrap()).unwrap().content {
            Content::Generated(bytes) => String::from_utf8(bytes.clone()).unwrap(),
            Content::Member { .. } | Content::File { .. } => "(a member)".to_owned(),
        }
    }

    fn a() -> WheelBuilder {
        wheel("a", "1.0")
    }

    fn b() -> WheelBuilder {
        wheel("b", "1.0")
    }

    fn everything() -> WheelBuilder {
        a().file("a/__init__.py", "x = 1")
            .executable("a/run", "x")
            .data("purelib/p.py", "x")
            .data("platlib/q.so", "x")
            .data("data/etc/a.conf", "x")
            .data("headers/a.h", "x")
            .data("scripts/tool", "#!python -u\nx")
            .data("scripts/sh", "#!/bin/sh\n")
            .entry_point("console", "main = a:main")
    }

    #[test]
    fn places() {
        check(
            &[everything()],
            &[
                "python/a/__init__.py",
                "python/a/run*",
                "python/bin/main*",
                "python/bin/sh*",
                "python/bin/tool*",
                "python/etc/a.conf",
                "python/include/a/a.h",
                "python/p.py",
                "python/q.so",
            ],
        );
        check_with(
            &[everything()],
            &Options { layout: Layout::SitePackages, ..Options::default() },
            &[
                "python/bin/main*",
                "python/bin/sh*",
                "python/bin/tool*",
                "python/etc/a.conf",
                "python/include/a/a.h",
                "python/lib/python3.12/site-packages/a/__init__.py",
                "python/lib/python3.12/site-packages/a/run*",
                "python/lib/python3.12/site-packages/p.py",
                "python/lib/python3.12/site-packages/q.so",
            ],
        );
        assert_eq!(text(&[everything()], "python/bin/tool"), "#!/var/lang/bin/python3.12 -u\nx");
        assert_eq!(text(&[everything()], "python/bin/sh"), "(a member)");
        check(
            &[a().data("nowhere/x", "x")],
            &["`a-1.0-py3-none-any.whl` has `a-1.0.data/nowhere/x`: there is no such scheme"],
        );
        check(&[a().data("data", "x")], &["`a-1.0-py3-none-any.whl` has `a-1.0.data/data`: there is no such scheme"]);
        check(
            &[a().entry_point("console", "x = a")],
            &["`a-1.0-py3-none-any.whl` has an entry point that is none: `x = a`"],
        );
    }

    /// Old setuptools put the scripts of entry points into wheels, too; pip and uv take the entry point.
    #[test]
    fn wrappers_give_way_to_entry_points() {
        let a = a().entry_point("console", "t = a:main").data("scripts/t", "#!python\nold").data("scripts/t.exe", "MZ");
        let a = a.data("scripts/t-script.py", "old").data("scripts/u.exe", "MZ");
        check(std::slice::from_ref(&a), &["python/bin/t*", "python/bin/u.exe*"]);
        assert!(text(&[a], "python/bin/t").contains("from a import main"));
    }

    #[test]
    fn record_and_installer() {
        for layout in [Layout::Python, Layout::SitePackages, Layout::Root] {
            let options = Options { layout, excludes: vec!["a/run".to_owned()] };
            let wheel = everything()
                .file("a/b,\"c.py", "x")
                .dist_info_file("direct_url.json", "{}")
                .dist_info_file("INSTALLER", "pip\n");
            let (assembled, _) = assembled(&[wheel], &options).unwrap();
            let (prefix, root, up) = match layout {
                Layout::Python => ("python/", "python/", ""),
                Layout::SitePackages => ("python/", "python/lib/python3.12/site-packages/", "../../../"),
                Layout::Root => ("", "", ""),
            };
            let at = |path: &str| assembled.tree.get(&LayerPath::new(format!("{root}a-1.0.dist-info/{path}")).unwrap());
            let generated = |path: &str| match &at(path).unwrap().content {
                Content::Generated(bytes) => String::from_utf8(bytes.clone()).unwrap(),
                Content::Member { .. } | Content::File { .. } => panic!("{path} is not generated"),
            };
            assert_eq!(generated("INSTALLER"), "layerwise\n");
            assert!(at("direct_url.json").is_none());
            let expected: BTreeSet<String> = assembled
                .tree
                .iter()
                .map(|(path, entry)| {
                    let path = path.as_str();
                    let relative = match path.strip_prefix(root) {
                        Some(inside) => inside.to_owned(),
                        None => format!("{up}{}", path.strip_prefix(prefix).unwrap()),
                    };
                    let hash = format!("sha256={},{}", entry.sha256().record_base64(), entry.size());
                    match relative.as_str() {
                        "a-1.0.dist-info/RECORD" => "a-1.0.dist-info/RECORD,,".to_owned(),
                        "a/b,\"c.py" => format!("\"a/b,\"\"c.py\",{hash}"),
                        _ => format!("{relative},{hash}"),
                    }
                })
                .collect();
            let record = generated("RECORD");
            assert!(record.lines().is_sorted() && record.ends_with('\n'));
            assert_eq!(record.lines().map(str::to_owned).collect::<BTreeSet<_>>(), expected);
        }
    }

    #[test]
    fn files_that_no_wheel_brings() {
        let found = |to: &str, text: &str| FoundFile {
            to: LayerPath::new(to).unwrap(),
            path: "/unused".into(),
            sha256: Sha256::of(text.as_bytes()),
            size: text.len() as u64,
            executable: false,
        };
        let built = a().file("a.py", "x").build();
        let name: WheelName = built.filename.parse().unwrap();
        let index = crate::wheel::index(&mut Cursor::new(&built.bytes), &name).unwrap();
        let target = Target::new("python3.12", "x86_64", "2026-11-24").unwrap();
        let check = |files: &[FoundFile], expected: &str| {
            let shown = match assemble(&[(&name, &index)], files, target, &Options::default()) {
                Ok(assembled) => {
                    let outside = |path: &&LayerPath| !path.as_str().contains(".dist-info/");
                    let paths = assembled.tree.iter().map(|(path, _)| path).filter(outside);
                    paths.map(LayerPath::as_str).collect::<Vec<_>>().join(" ")
                }
                Err(error) => error.to_string(),
            };
            assert_eq!(shown, expected);
        };
        check(&[found("data/b", "b")], "data/b python/a.py");
        check(&[found("python/a.py", "x")], "python/a.py");
        check(
            &[found("python/a.py", "y")],
            "`the files of the configuration` and `a-1.0-py3-none-any.whl` both bring `python/a.py`, with different bytes",
        );
        check(
            &[found("b", "1"), found("b", "2")],
            "`the files of the configuration` and `the files of the configuration` both bring `b`, with different bytes",
        );
        check(
            &[found("python/a.py/b", "1")],
            "`a-1.0-py3-none-any.whl` brings the file `python/a.py`, which in `the files of the configuration` is a directory",
        );
    }

    #[test]
    fn other_spellings_of_the_data_directory() {
        check(&[a().file("A-1.0.data/purelib/p.py", "x")], &["python/p.py"]);
    }

    #[test]
    fn a_file_below_what_we_write_ourselves() {
        let refused = |name: &str| {
            let wheel = a().dist_info_file(name, "x");
            let error = assembled(&[wheel], &Options::default()).unwrap_err().to_string();
            assert!(error.contains("is a directory"), "{name}: {error}");
        };
        refused("RECORD/x");
        refused("INSTALLER/x");
    }

    #[test]
    fn what_makes_a_namespace() {
        for (text, expected) in [
            ("", Some(false)),
            ("# nothing\n\n", Some(false)),
            ("__path__ = __import__(\"pkgutil\").extend_path(__path__, __name__)  # type: ignore\n", Some(true)),
            (
                "try:\n    import pkg_resources\n    pkg_resources.declare_namespace(__name__)\nexcept ImportError:\n    import pkgutil\n    __path__ = pkgutil.extend_path(__path__, __name__)",
                Some(true),
            ),
            (
                "from pkgutil import extend_path\n__path__ = extend_path(__path__, __name__)\nfrom .core import Client",
                None,
            ),
            ("x = 1", None),
        ] {
            assert_eq!(namespace_of(text), expected, "{text}");
        }
    }

    #[test]
    fn two_wheels_at_one_path() {
        let (x, y) = (a().file("m/x.py", "x"), b().file("m/x.py", "y"));
        check(
            &[x.clone(), y],
            &["`a-1.0-py3-none-any.whl` and `b-1.0-py3-none-any.whl` both bring `python/m/x.py`, with different bytes"],
        );
        check(&[x, b().executable("m/x.py", "x")], &["python/m/x.py*"]);
        check(
            &[a().file("m", "x"), b().file("m/x/y.py", "y")],
            &["`a-1.0-py3-none-any.whl` brings the file `python/m`, which in `b-1.0-py3-none-any.whl` is a directory"],
        );
        let script = |wheel: WheelBuilder, module: &str| wheel.entry_point("console", &format!("t = {module}:main"));
        check(&[script(a(), "x"), script(b(), "x")], &["python/bin/t*"]);
        check(
            &[script(a(), "x"), script(b(), "y")],
            &["`a-1.0-py3-none-any.whl` and `b-1.0-py3-none-any.whl` both bring `python/bin/t`, with different bytes"],
        );
        check(
            &[a(), wheel("A", "2.0")],
            &["`a-1.0-py3-none-any.whl` and `a-2.0-py3-none-any.whl` are wheels of the same distribution"],
        );
    }

    #[test]
    fn namespaces() {
        let pkgutil = "__path__ = __import__('pkgutil').extend_path(__path__, __name__)\n";
        let resources = "__import__('pkg_resources').declare_namespace(__name__)\n";
        let both = |x: &str, y: &str| [a().file("n/__init__.py", x), b().file("n/__init__.py", y)];
        let conflict = "`a-1.0-py3-none-any.whl` and `b-1.0-py3-none-any.whl` both bring `python/n/__init__.py`, with different bytes";
        let kept = |wheels: &[WheelBuilder]| {
            let (assembled, _) = assembled(wheels, &Options::default()).unwrap();
            let digest = assembled.tree.get(&LayerPath::new("python/n/__init__.py").unwrap()).unwrap().sha256();
            [("pkgutil", pkgutil), ("resources", resources)]
                .iter()
                .find(|(_, text)| Sha256::of(text.as_bytes()) == digest)
                .map(|(name, _)| *name)
        };
        assert_eq!(kept(&both(pkgutil, "")), Some("pkgutil"));
        assert_eq!(kept(&both("# only a comment\n", pkgutil)), Some("pkgutil"));
        assert_eq!(kept(&both(pkgutil, resources)), Some("resources"));
        assert_eq!(kept(&both("", "# c\n")), None);
        check(&both("x = 1\n", pkgutil), &[conflict]);
        check(&both("x = 1\n", ""), &[conflict]);
        check(&both(&"#".repeat(3000), pkgutil), &[conflict]);
    }

    #[test]
    fn excludes() {
        let files =
            a().file("a/x.py", "x").file("a/tests/t.py", "x").file("a/tests/d/t.py", "x").data("data/etc/c", "x");
        let check = |patterns: &[&str], expected: &[&str], unused: &[&str]| {
            let excludes = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
            let options = Options { excludes, ..Options::default() };
            check_with(std::slice::from_ref(&files), &options, expected);
            assert_eq!(assembled(std::slice::from_ref(&files), &options).unwrap().0.unused_excludes, unused);
        };
        check(&["**/tests/**"], &["python/a/x.py", "python/etc/c"], &[]);
        check(&["**/tests"], &["python/a/x.py", "python/etc/c"], &[]);
        check(&["a/tests/*"], &["python/a/tests/d/t.py", "python/a/x.py", "python/etc/c"], &[]);
        check(&["etc/**", "a/*.py", "none/**"], &["python/a/tests/d/t.py", "python/a/tests/t.py"], &["none/**"]);
        check(&["**"], &[], &[]);
        let wrong = Options { excludes: vec!["a[".to_owned()], ..Options::default() };
        check_with(&[a()], &wrong, &["`a[` is not a pattern"]);
        // The way out that a conflict's hint names.
        let (x, y) = (a().file("m/[x].py", "x"), b().file("m/[x].py", "y"));
        let error = assembled(&[x, y], &Options::default()).unwrap_err();
        assert!(error.hints()[0].contains("--exclude"), "{:?}", error.hints());
        let pattern = error.hints()[0].split('\'').nth(1).unwrap().to_owned();
        let (x, y) = (a().file("m/[x].py", "x"), b().file("m/[x].py", "y"));
        check_with(&[x, y], &Options { excludes: vec![pattern], ..Options::default() }, &[]);
    }
}
