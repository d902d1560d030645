//! Source distributions and other foreign archives, looked into and unpacked without trusting them.
//!
//! Source: <https://packaging.python.org/en/latest/specifications/source-distribution-format/> (PEP 625, PEP 643).

use std::collections::BTreeMap;
use std::io::{self, Read, Seek as _, Write as _};
use std::path::{Component, Path, PathBuf};

use flate2::read::GzDecoder;
use fs_err as fs;
use pep440_rs::Version;
use serde::Deserialize;

use crate::error::{Explain, Kind};
use crate::model::WheelName;
use crate::wheel::directory::{self, ZipError};

/// A source distribution that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SdistError {
    /// Its bytes.
    #[error("failed to read the source distribution `{file}`")]
    Read {
        /// Its name.
        file: String,
        /// What is wrong.
        #[source]
        source: io::Error,
    },
    /// As a zip.
    #[error("failed to read the source distribution `{file}`")]
    Zip {
        /// Its name.
        file: String,
        /// What is wrong.
        #[source]
        source: ZipError,
    },
    /// It is not as it should be.
    #[error("the source distribution `{file}` {what}")]
    Odd {
        /// Its name.
        file: String,
        /// What is wrong with it.
        what: String,
    },
    /// It cannot be unpacked.
    #[error("failed to unpack `{file}` to `{}`", path.display())]
    Write {
        /// Its name.
        file: String,
        /// Where to.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl Explain for SdistError {
    fn kind(&self) -> Kind {
        match self {
            Self::Write { .. } => Kind::System,
            _ => Kind::Integrity,
        }
    }
}

/// The most that a source distribution unpacks to, in bytes, and in files.
const LARGEST_UNPACKED: u64 = 4 << 30;
const MOST_FILES: usize = 200_000;
/// The most of one text that is looked into, in bytes.
const LARGEST_TEXT: u64 = 16 << 20;

/// What a source distribution says of itself.
#[derive(Debug, Default)]
pub struct Texts {
    /// `PKG-INFO`.
    pkg_info: Option<String>,
    /// `pyproject.toml`.
    pyproject: Option<String>,
}

/// Reads what the archive at `path` says of itself; `None` where it says nothing.
pub fn metadata(path: &Path, file: &str) -> Result<Option<Texts>, SdistError> {
    let mut texts = Texts::default();
    each(path, file, &mut Top::Strip(None), &mut |entry| {
        let Kinds::File { content, size, .. } = entry.kind else { return Ok(()) };
        let slot = match entry.path.as_str() {
            "PKG-INFO" => &mut texts.pkg_info,
            "pyproject.toml" => &mut texts.pyproject,
            _ => return Ok(()),
        };
        if size <= LARGEST_TEXT {
            let mut bytes = Vec::new();
            content.take(LARGEST_TEXT).read_to_end(&mut bytes).map_err(|source| read_error(file, source))?;
            *slot = Some(String::from_utf8_lossy(&bytes).into_owned());
        }
        Ok(())
    })?;
    Ok((texts.pkg_info.is_some() || texts.pyproject.is_some()).then_some(texts))
}

/// Whether core metadata of a source distribution says that no build will change what it requires (PEP 643).
pub fn is_static(pkg_info: &str) -> bool {
    let fields = pkg_info.lines().take_while(|line| !line.is_empty());
    let mut version = (0u32, 0u32);
    for line in fields {
        let Some((key, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        match key.trim().to_ascii_lowercase().as_str() {
            "metadata-version" => {
                let mut numbers = value.split('.').map(|number| number.parse().unwrap_or(0));
                version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
            }
            "dynamic" => {
                let dynamic = value.to_ascii_lowercase();
                if ["requires-dist", "requires-python", "provides-extra", "version"].contains(&dynamic.as_str()) {
                    return false;
                }
            }
            _ => {}
        }
    }
    version >= (2, 2)
}

impl Texts {
    /// The core metadata of the wheel it would become, where it is told without a build.
    pub fn of(self, wheel: &WheelName) -> Option<String> {
        self.pkg_info.filter(|text| is_static(text)).or_else(|| from_pyproject(self.pyproject.as_deref()?, wheel))
    }
}

/// Core metadata from a `[project]` table that leaves nothing of it to the build backend (PEP 621).
fn from_pyproject(text: &str, wheel: &WheelName) -> Option<String> {
    #[derive(Deserialize)]
    struct File {
        project: Project,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Project {
        requires_python: Option<String>,
        #[serde(default)]
        dependencies: Vec<String>,
        #[serde(default)]
        optional_dependencies: BTreeMap<String, Vec<String>>,
        #[serde(default)]
        dynamic: Vec<String>,
    }
    let project = toml::from_str::<File>(text).ok()?.project;
    let ours = ["dependencies", "optional-dependencies", "requires-python"];
    if project.dynamic.iter().any(|key| ours.contains(&key.as_str())) {
        return None;
    }
    let one_line = |text: &str| text.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    let mut text = format!("Metadata-Version: 2.2\nName: {}\nVersion: {}\n", wheel.name, wheel.version);
    if let Some(requires) = project.requires_python {
        text += &format!("Requires-Python: {}\n", one_line(&requires));
    }
    for dependency in &project.dependencies {
        text += &format!("Requires-Dist: {}\n", one_line(dependency));
    }
    for (extra, dependencies) in &project.optional_dependencies {
        text += &format!("Provides-Extra: {}\n", one_line(extra));
        for dependency in dependencies {
            let dependency = one_line(dependency);
            let (requirement, marker) = dependency.split_once(';').unwrap_or((&dependency, ""));
            let both = match marker.trim() {
                "" => format!("extra == '{extra}'"),
                marker => format!("({marker}) and extra == '{extra}'"),
            };
            text += &format!("Requires-Dist: {} ; {both}\n", requirement.trim());
        }
    }
    Some(text)
}

/// Unpacks the archive at `path` into `dir`, which must be empty, without its one top directory.
/// Links may point only to what is inside.
pub fn unpack(path: &Path, file: &str, dir: &Path) -> Result<(), SdistError> {
    unpack_with(path, file, &mut Top::Strip(None), dir)
}

/// Unpacks any archive (zip, tar, tar.gz) at `path` into `dir`, which must be empty, as it is.
/// Links may point only to what is inside.
pub fn unpack_as_is(path: &Path, file: &str, dir: &Path) -> Result<(), SdistError> {
    unpack_with(path, file, &mut Top::Keep, dir)
}

fn unpack_with(path: &Path, file: &str, top: &mut Top, dir: &Path) -> Result<(), SdistError> {
    let write = |path: &Path, source| SdistError::Write { file: file.to_owned(), path: path.to_owned(), source };
    // Links come last, so that nothing is written through one.
    let mut links: Vec<(PathBuf, PathBuf)> = Vec::new();
    each(path, file, top, &mut |entry| {
        let to = dir.join(&entry.path);
        match entry.kind {
            Kinds::Directory => fs::create_dir_all(&to).map_err(|source| write(&to, source)),
            Kinds::Link(target) => {
                links.push((to, target));
                Ok(())
            }
            Kinds::File { content, executable, .. } => {
                let parent = to.parent().unwrap_or(dir);
                fs::create_dir_all(parent).map_err(|source| write(parent, source))?;
                let mut out = fs::File::create(&to).map_err(|source| write(&to, source))?;
                let mut buffer = [0; 64 << 10];
                loop {
                    match content.read(&mut buffer).map_err(|source| read_error(file, source))? {
                        0 => break,
                        count => out.write_all(&buffer[..count]).map_err(|source| write(&to, source))?,
                    }
                }
                if executable { make_executable(&to).map_err(|source| write(&to, source)) } else { Ok(()) }
            }
        }
    })?;
    // A link that stands behind another one would not stand where its path says.
    let places: std::collections::BTreeSet<&PathBuf> = links.iter().map(|(at, _)| at).collect();
    if let Some((at, _)) =
        links.iter().find(|(at, _)| at.ancestors().skip(1).any(|above| places.contains(&above.to_owned())))
    {
        let what = format!("has a link behind a link, `{}`", at.strip_prefix(dir).unwrap_or(at).display());
        return Err(SdistError::Odd { file: file.to_owned(), what });
    }
    for (at, target) in links {
        link(&at, &target).map_err(|source| write(&at, source))?;
    }
    Ok(())
}

#[cfg(unix)]
fn link(at: &Path, target: &Path) -> io::Result<()> {
    fs::create_dir_all(at.parent().unwrap_or(at))?;
    fs::os::unix::fs::symlink(target, at)
}

#[cfg(not(unix))]
fn link(at: &Path, target: &Path) -> io::Result<()> {
    let from = at.parent().unwrap_or(at).join(target);
    fs::copy(from, at).map(drop)
}

#[cfg(unix)]
fn make_executable(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn make_executable(_: &Path) -> io::Result<()> {
    Ok(())
}

/// One thing in an archive; `path` is relative to the top directory, safe and not empty.
struct Entry<'a> {
    path: String,
    kind: Kinds<'a>,
}

enum Kinds<'a> {
    File {
        content: &'a mut dyn Read,
        size: u64,
        executable: bool,
    },
    Directory,
    /// To this place, relative to the link's own directory, inside the tree.
    Link(PathBuf),
}

type Visit<'a> = &'a mut dyn FnMut(Entry<'_>) -> Result<(), SdistError>;

fn read_error(file: &str, source: io::Error) -> SdistError {
    SdistError::Read { file: file.to_owned(), source }
}

/// What becomes of the one directory that everything in a source distribution is in.
enum Top {
    /// Left out; its name, once it is known.
    Strip(Option<String>),
    /// There may be none, or it is wanted.
    Keep,
}

/// Calls `visit` for everything in an archive.
fn each(path: &Path, file: &str, top: &mut Top, visit: Visit<'_>) -> Result<(), SdistError> {
    let mut archive = fs::File::open(path).map_err(|source| read_error(file, source))?;
    let mut head = Vec::new();
    (&mut archive).take(2).read_to_end(&mut head).map_err(|source| read_error(file, source))?;
    archive.rewind().map_err(|source| read_error(file, source))?;
    if head == b"PK" {
        return each_of_zip(archive, file, top, visit);
    }
    let odd = |what: String| SdistError::Odd { file: file.to_owned(), what };
    // A little more than the files themselves: headers and padding.
    let archive = io::BufReader::new(archive);
    let plain: Box<dyn Read> = if matches!(top, Top::Keep) && head != b"\x1f\x8b" {
        Box::new(archive)
    } else {
        Box::new(GzDecoder::new(archive))
    };
    let mut archive = tar::Archive::new(plain.take(LARGEST_UNPACKED + (1 << 30)));
    let mut left = LARGEST_UNPACKED;
    for (count, entry) in archive.entries().map_err(|source| read_error(file, source))?.enumerate() {
        let mut entry = entry.map_err(|source| read_error(file, source))?;
        if count >= MOST_FILES {
            return Err(odd(format!("has more than {MOST_FILES} files")));
        }
        let raw = entry.path().map_err(|source| read_error(file, source))?.into_owned();
        let Some(path) = inside(&raw, top).map_err(&odd)? else { continue };
        let kind = entry.header().entry_type();
        left = left.checked_sub(entry.size()).ok_or_else(|| odd("unpacks to more than 4 GiB".to_owned()))?;
        if kind.is_dir() {
            visit(Entry { path, kind: Kinds::Directory })?;
        } else if kind.is_file() {
            let executable = entry.header().mode().is_ok_and(|mode| mode & 0o111 != 0);
            let size = entry.size();
            visit(Entry { path, kind: Kinds::File { content: &mut entry, size, executable } })?;
        } else if kind.is_symlink() || kind.is_hard_link() {
            let target = entry.link_name().map_err(|source| read_error(file, source))?;
            let target = target.ok_or_else(|| odd(format!("has a link to nothing, `{path}`")))?.into_owned();
            let above = kind.is_hard_link() && matches!(top, Top::Strip(_));
            let target = link_target(&path, &target, kind.is_hard_link(), above);
            let target = target.ok_or_else(|| odd(format!("has a link that points outside, `{path}`")))?;
            visit(Entry { path, kind: Kinds::Link(target) })?;
        } else if kind.is_character_special() || kind.is_block_special() || kind.is_fifo() {
            return Err(odd(format!("has a device or pipe, `{path}`")));
        }
    }
    Ok(())
}

fn each_of_zip(mut archive: fs::File, file: &str, top: &mut Top, visit: Visit<'_>) -> Result<(), SdistError> {
    let zip = |source| SdistError::Zip { file: file.to_owned(), source };
    let odd = |what: String| SdistError::Odd { file: file.to_owned(), what };
    let members = directory::read(&mut archive).map_err(zip)?;
    let total = members.iter().map(|member| member.size).fold(0u64, u64::saturating_add);
    if total > LARGEST_UNPACKED || members.len() > MOST_FILES {
        return Err(odd(format!("unpacks to more than 4 GiB, or to more than {MOST_FILES} files")));
    }
    for member in members {
        let Some(path) = inside(Path::new(&member.name), top).map_err(&odd)? else { continue };
        let mut bytes = Vec::new();
        crate::wheel::extract_located(&mut archive, &member, &mut bytes)
            .map_err(|error| odd(format!("cannot be used: {error}")))?;
        let (size, executable) = (member.size, member.executable);
        visit(Entry { path, kind: Kinds::File { content: &mut bytes.as_slice(), size, executable } })?;
    }
    Ok(())
}

/// A path without the top directory, which has to be the same for all; `None` for the top directory itself and for
/// what stands beside it (pax headers of old tools).
fn inside(raw: &Path, top: &mut Top) -> Result<Option<String>, String> {
    let unsafe_path = || format!("has an unsafe path, `{}`", raw.display().to_string().escape_debug());
    let mut parts = Vec::new();
    for part in raw.components() {
        match part {
            Component::CurDir => {}
            Component::Normal(name) => parts.push(name.to_str().ok_or_else(unsafe_path)?),
            _ => return Err(unsafe_path()),
        }
    }
    let Top::Strip(top) = top else { return Ok((!parts.is_empty()).then(|| parts.join("/"))) };
    let Some((first, rest)) = parts.split_first() else { return Ok(None) };
    if rest.is_empty() {
        return Ok(None);
    }
    let known = top.get_or_insert_with(|| (*first).to_owned());
    if known != first {
        return Err(format!("has more than one top directory: `{known}` and `{first}`"));
    }
    Ok(Some(rest.join("/")))
}

/// Where a link points, relative to its own directory, if that is inside the tree. The target of a hard link counts
/// from the archive's root, `above` the top directory where that one is left out.
fn link_target(path: &str, target: &Path, hard: bool, above: bool) -> Option<PathBuf> {
    let parent: Vec<&str> = path.split('/').collect();
    let parent = &parent[..parent.len() - 1];
    let mut at: Vec<&str> = if hard { Vec::new() } else { parent.to_vec() };
    let mut parts = target.components();
    if above {
        parts.next()?;
    }
    for part in parts {
        match part {
            Component::CurDir => {}
            Component::Normal(name) => at.push(name.to_str()?),
            Component::ParentDir => drop(at.pop()?),
            _ => return None,
        }
    }
    let up = parent.iter().map(|_| "..");
    Some(up.chain(at).collect())
}

/// The version in a source distribution's name, whatever name stands before it.
pub fn version_of(file: &str) -> Option<Version> {
    let stem = [".tar.gz", ".tgz", ".zip"].iter().find_map(|end| file.strip_suffix(end))?;
    stem.rsplit_once('-')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use layerwise_testkit::sdist;

    use super::*;

    fn archive(entries: &[(&str, tar::EntryType, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
        for (path, kind, content) in entries {
            let mut header = tar::Header::new_ustar();
            header.as_ustar_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(0o644);
            let body = if kind.is_file() { content.as_bytes() } else { b"" };
            if !kind.is_file() && !kind.is_dir() {
                header.as_ustar_mut().unwrap().linkname[..content.len()].copy_from_slice(content.as_bytes());
            }
            header.set_size(body.len() as u64);
            header.set_cksum();
            builder.append(&header, body).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap()
    }

    /// The files unpacked with their contents, or the error.
    fn unpacked(bytes: &[u8]) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a-1.tar.gz");
        fs::write(&path, bytes).unwrap();
        let to = dir.path().join("to");
        fs::create_dir(&to).unwrap();
        if let Err(error) = unpack(&path, "a-1.tar.gz", &to) {
            assert!(!dir.path().join("evil").exists());
            return crate::error::chain(&error);
        }
        let mut found = Vec::new();
        let mut dirs = vec![to.clone()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_dir() {
                    dirs.push(entry.path());
                } else {
                    let text = fs::read_to_string(entry.path()).unwrap();
                    found.push(format!("{}={text}", entry.path().strip_prefix(&to).unwrap().display()));
                }
            }
        }
        found.sort();
        found.join(" ")
    }

    #[test]
    fn archives() {
        use tar::EntryType as T;
        let check = |entries: &[(&str, T, &str)], expected: &str| assert_eq!(unpacked(&archive(entries)), expected);
        let file = ("a-1/setup.py", T::Regular, "x");
        check(&[("a-1/", T::Directory, ""), file, ("./a-1/d/e.c", T::Regular, "y")], "d/e.c=y setup.py=x");
        check(&[file, ("a-1/d/l", T::Symlink, "../setup.py")], "d/l=x setup.py=x");
        check(&[file, ("a-1/d/l", T::Link, "a-1/setup.py")], "d/l=x setup.py=x");
        let odd = |what: &str| format!("the source distribution `a-1.tar.gz` {what}");
        check(&[("a-1/../../evil", T::Regular, "x")], &odd("has an unsafe path, `a-1/../../evil`"));
        check(&[("/evil/x", T::Regular, "x")], &odd("has an unsafe path, `/evil/x`"));
        check(&[file, ("b/c", T::Regular, "x")], &odd("has more than one top directory: `a-1` and `b`"));
        check(&[("a-1/l", T::Symlink, "../../evil")], &odd("has a link that points outside, `l`"));
        check(&[("a-1/l", T::Symlink, "/etc/passwd")], &odd("has a link that points outside, `l`"));
        check(&[("a-1/l", T::Link, "a-1/../x")], &odd("has a link that points outside, `l`"));
        check(&[("a-1/d", T::Symlink, "e"), ("a-1/d/l", T::Symlink, "x")], &odd("has a link behind a link, `d/l`"));
        check(&[("a-1/p", T::Fifo, "")], &odd("has a device or pipe, `p`"));
        // Nothing is written through a link.
        let through = unpacked(&archive(&[("a-1/d", T::Symlink, "e"), ("a-1/d/x", T::Regular, "x")]));
        assert!(through.starts_with("failed to unpack `a-1.tar.gz`"), "{through}");
        assert!(unpacked(b"no gzip").starts_with("failed to read the source distribution `a-1.tar.gz`"));
        let cut = archive(&[file]);
        assert!(unpacked(&cut[..cut.len() / 2]).starts_with("failed to read"));
    }

    fn told(pkg_info: &str, pyproject: &str) -> Option<String> {
        let texts = Texts { pkg_info: Some(pkg_info.to_owned()), pyproject: Some(pyproject.to_owned()) };
        texts.of(&"a-1-py3-none-any.whl".parse().unwrap())
    }

    #[test]
    fn metadata_without_a_build() {
        let fixed = "Metadata-Version: 2.2\nName: a\nVersion: 1\nRequires-Dist: b\n";
        assert_eq!(told(fixed, "").as_deref(), Some(fixed));
        let dynamic = format!("{fixed}Dynamic: Requires-Dist\n");
        assert_eq!(told(&dynamic, ""), None);
        assert_eq!(told("Metadata-Version: 2.1\nName: a\nVersion: 1\n", ""), None);
        assert!(told(&format!("{fixed}Dynamic: License-File\n\nDynamic: requires-dist"), "").is_some());
        let project = "[project]\nname='a'\ndynamic=['version']\ndependencies=['b>1']\n\
            [project.optional-dependencies]\nx=[\"c; os_name == 'posix'\", 'd']\n";
        assert_eq!(
            told(&dynamic, project).as_deref(),
            Some(
                "Metadata-Version: 2.2\nName: a\nVersion: 1\nRequires-Dist: b>1\nProvides-Extra: x\n\
                 Requires-Dist: c ; (os_name == 'posix') and extra == 'x'\nRequires-Dist: d ; extra == 'x'\n"
            )
        );
        assert_eq!(told(&dynamic, "[project]\nname='a'\ndynamic=['dependencies']"), None);
    }

    #[test]
    fn what_the_kit_makes_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let made = sdist("a", "1.0").requires("b").build();
        let path = dir.path().join(&made.filename);
        fs::write(&path, &made.bytes).unwrap();
        let texts = metadata(&path, &made.filename).unwrap().unwrap();
        assert_eq!(texts.pkg_info.as_deref(), Some(made.metadata.as_str()));
        assert_eq!(version_of(&made.filename).unwrap().to_string(), "1.0");
    }
}
