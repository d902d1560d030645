//! Any artifact, ours or not, as values: a zip, a wheel or a folder → its files, each looked into once.
//!
//! What cannot be read as a whole is an error; what is odd about one file is kept beside the others, for the audit.

use std::io;
use std::path::{Path, PathBuf};

use crate::audit::facts::Content;
use crate::audit::subject;
use crate::error::{Explain, Kind};
use crate::model::{Sha256, WheelName};
use crate::wheel::ZipError;

mod folder;
mod zip;

/// A foreign artifact.
#[derive(Debug)]
pub struct Artifact {
    /// Its name for messages: as the user wrote it.
    pub label: String,
    /// Bytes of the zip; `None` for a folder.
    pub zipped_bytes: Option<u64>,
    /// Its files and links, sorted by path.
    pub files: Vec<File>,
    /// What could not be unpacked or should not be: path, and why in half a sentence.
    pub strange: Vec<(String, String)>,
    /// It is one wheel; paths are where an installer would put them.
    pub is_wheel: bool,
}

/// One file.
#[derive(Debug)]
pub struct File {
    /// Its name in the zip, or below the folder.
    pub member: String,
    /// Relative to the artifact, `/` between parts.
    pub path: String,
    /// Bytes unpacked.
    pub size: u64,
    /// Permission bits, where the artifact says them.
    pub mode: Option<u32>,
    /// Where it leads, if it is a symbolic link.
    pub link: Option<String>,
    /// When it was last modified.
    pub modified: subject::Modified,
    /// Of its bytes.
    pub sha256: Option<Sha256>,
    /// What it is.
    pub content: Content,
}

/// An artifact that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// It is not there, or the system does not let us.
    #[error("failed to read `{}`", path.display())]
    Read {
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It cannot be unpacked.
    #[error("failed to unpack to `{}`", path.display())]
    Unpack {
        /// Where to.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is no zip that can be read.
    #[error("`{}` cannot be read as a zip", path.display())]
    Zip {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: ZipError,
    },
    /// More than is ever needed.
    #[error("`{}` has {what}, more than layerwise looks into", path.display())]
    Excessive {
        /// Where.
        path: PathBuf,
        /// `300,000 files`.
        what: String,
    },
}

impl Explain for ArtifactError {
    fn kind(&self) -> Kind {
        match self {
            Self::Read { .. } => Kind::Input,
            Self::Unpack { .. } | Self::Zip { source: ZipError::Read(_), .. } => Kind::System,
            Self::Zip { .. } | Self::Excessive { .. } => Kind::Integrity,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                vec!["name a zip, a wheel or an unpacked folder".to_owned()]
            }
            Self::Zip { source: ZipError::NotAZip, .. } => {
                vec!["Lambda would answer: Could not unzip uploaded file. Please check your file, then try to upload again.".to_owned()]
            }
            _ => Vec::new(),
        }
    }
}

/// Files in one artifact; Lambda has no number, its size limit makes one.
const MOST_FILES: usize = 200_000;
/// All files together, in bytes: eight times what Lambda takes.
const LARGEST_UNPACKED: u64 = 2 << 30;

/// Reads the artifact at `path`, with this many threads. `label` is what messages call it; the names in a Python file are
/// collected only where the function's handler may be in it.
pub fn read(path: &Path, label: &str, threads: usize, handler: Option<&str>) -> Result<Artifact, ArtifactError> {
    let about = fs_err::metadata(path).map_err(|source| ArtifactError::Read { path: path.to_owned(), source })?;
    let mut artifact =
        if about.is_dir() { folder::read(path, threads, handler)? } else { zip::read(path, threads, handler)? };
    label.clone_into(&mut artifact.label);
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    if name.parse::<WheelName>().is_ok() && !about.is_dir() {
        artifact.is_wheel = true;
        install(&mut artifact);
    }
    artifact.files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(artifact)
}

/// What the files of the artifact at `path` have together, in bytes, without reading them.
///
/// # Errors
/// It cannot be read, or is no zip.
pub fn unzipped_bytes(path: &Path) -> Result<u64, ArtifactError> {
    let about = fs_err::metadata(path).map_err(|source| ArtifactError::Read { path: path.to_owned(), source })?;
    if about.is_dir() { folder::unzipped_bytes(path) } else { zip::unzipped_bytes(path) }
}

/// Writes the files of an artifact that was [`read`] from `path` below the directory `to`, as Lambda would.
pub fn unpack(artifact: &Artifact, path: &Path, to: &Path) -> Result<(), ArtifactError> {
    let failed = |source| ArtifactError::Unpack { path: to.to_owned(), source };
    let mut source = if artifact.zipped_bytes.is_some() { Some(zip::Source::open(path)?) } else { None };
    for file in artifact.files.iter().filter(|file| file.link.is_none()) {
        let target = to.join(&file.path);
        fs_err::create_dir_all(target.parent().unwrap_or(to)).map_err(failed)?;
        let mut written = fs_err::File::create(&target).map_err(failed)?;
        match &mut source {
            Some(zip) => zip.copy(&file.member, &mut written)?,
            None => {
                let mut read = fs_err::File::open(path.join(&file.member)).map_err(failed)?;
                io::copy(&mut read, &mut written).map_err(failed)?;
            }
        }
        set_mode(&target, file.mode.is_some_and(|mode| mode & 0o111 != 0)).map_err(failed)?;
    }
    // Links last, and only where nothing is: no file is ever written through one.
    for file in &artifact.files {
        let Some(link) = file.link.as_ref().filter(|link| stays_inside(&file.path, link)) else { continue };
        let target = to.join(&file.path);
        if !target.exists() {
            fs_err::create_dir_all(target.parent().unwrap_or(to)).map_err(failed)?;
            symlink(link, &target).map_err(failed)?;
        }
    }
    Ok(())
}

/// Whether a link at `path` leads to a place inside the artifact.
fn stays_inside(path: &str, link: &str) -> bool {
    let mut depth = path.matches('/').count();
    !link.starts_with('/')
        && link.split('/').all(|part| match part {
            "" | "." => true,
            ".." => depth.checked_sub(1).map(|less| depth = less).is_some(),
            _ => {
                depth += 1;
                true
            }
        })
}

#[cfg(unix)]
fn set_mode(path: &Path, executable: bool) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = if executable { 0o755 } else { 0o644 };
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

#[cfg(unix)]
fn symlink(link: &str, at: &Path) -> io::Result<()> {
    fs_err::os::unix::fs::symlink(link, at)
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "on Unix it may fail")]
fn set_mode(_: &Path, _: bool) -> io::Result<()> {
    Ok(())
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "on Unix it may fail")]
fn symlink(_: &str, _: &Path) -> io::Result<()> {
    Ok(())
}

/// Where an installer puts a wheel's files (PEP 427); scripts and data are of no interest here, but are kept.
fn install(artifact: &mut Artifact) {
    for file in &mut artifact.files {
        let data = file.path.split_once('/').filter(|(top, _)| top.ends_with(".data")).map(|(_, rest)| rest);
        let path = match data.and_then(|rest| rest.split_once('/')) {
            Some(("purelib" | "platlib", rest)) => rest.to_owned(),
            Some(("scripts", rest)) => format!("bin/{rest}"),
            Some((_, rest)) => rest.to_owned(),
            None => file.path.clone(),
        };
        file.path = format!("python/{path}");
    }
}

impl Artifact {
    /// As the audit reads it.
    pub fn subject(&self, role: subject::Role) -> subject::Artifact<'_> {
        subject::Artifact {
            label: self.label.clone(),
            role,
            zipped_bytes: self.zipped_bytes,
            files: self
                .files
                .iter()
                .map(|file| subject::File {
                    path: file.path.as_str(),
                    size: file.size,
                    mode: file.mode,
                    link: file.link.as_deref(),
                    modified: file.modified,
                    sha256: file.sha256,
                    content: &file.content,
                    owner: None,
                })
                .collect(),
            strange: &self.strange,
            is_wheel: self.is_wheel,
        }
    }

    /// Whether it is a layer, told from its paths: a layer has `python/`, `lib/`, `bin/` or `extensions/` at its top,
    /// a function has a module.
    pub fn looks_like_a_layer(&self) -> bool {
        let tops = || self.files.iter().map(|file| file.path.split('/').next().unwrap_or_default());
        let is_module = |file: &File| !file.path.contains('/') && file.path.ends_with(".py");
        self.is_wheel || tops().any(|top| top == "python") || !self.files.iter().any(is_module)
    }
}

/// Does `work` for each item in order on this many threads, and returns the results in the items' order.
fn in_parallel<T: Sync, R: Send, S>(
    items: &[T],
    threads: usize,
    start: impl Fn() -> io::Result<S> + Sync,
    work: impl Fn(&mut S, &T) -> R + Sync,
) -> io::Result<Vec<R>> {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let one = || {
        let mut state = start()?;
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let Some(item) = items.get(at) else { return Ok(done) };
            done.push((at, work(&mut state, item)));
        }
    };
    let parts: io::Result<Vec<Vec<(usize, R)>>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (1..threads.clamp(1, items.len().max(1))).map(|_| scope.spawn(one)).collect();
        let own = one();
        let others =
            workers.into_iter().map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        std::iter::once(own).chain(others).collect()
    });
    let mut results: Vec<(usize, R)> = parts?.into_iter().flatten().collect();
    results.sort_unstable_by_key(|(at, _)| *at);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

#[cfg(test)]
mod tests {
    use layerwise_testkit::{Member, RawZip, wheel};

    use super::*;

    fn zip(members: Vec<Member>) -> Result<Artifact, ArtifactError> {
        let zip = members.into_iter().fold(RawZip::new(), RawZip::member);
        of_bytes("a.zip", &zip.bytes())
    }

    fn of_bytes(name: &str, bytes: &[u8]) -> Result<Artifact, ArtifactError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        fs_err::write(&path, bytes).unwrap();
        read(&path, name, 2, None)
    }

    /// Paths in order, then what is strange.
    #[track_caller]
    fn check(members: Vec<Member>, files: &[&str], strange: &[&str]) {
        let artifact = zip(members).unwrap();
        let paths: Vec<String> = artifact
            .files
            .iter()
            .map(|file| file.link.as_ref().map_or_else(|| file.path.clone(), |to| format!("{} -> {to}", file.path)))
            .collect();
        assert_eq!(paths, files);
        let told: Vec<String> = artifact.strange.iter().map(|(path, what)| format!("{path}: {what}")).collect();
        assert_eq!(told, strange);
    }

    #[test]
    fn a_zip_that_others_made() {
        check(
            vec![
                Member::new("python/b.py", "import a"),
                Member::directory("python/"),
                Member::symlink("python/l.so", "b.so"),
                Member::new("python/a.py", "").streamed(),
                Member::new("python/s", "x").stored(),
            ],
            &["python/a.py", "python/b.py", "python/l.so -> b.so", "python/s"],
            &[],
        );
    }

    #[test]
    fn what_is_odd_is_told_and_the_rest_is_read() {
        check(
            vec![
                Member::new("a.py", "x"),
                Member::new("a.py", "y"),
                Member::new("../up", "x"),
                Member::new("/abs", "x"),
                Member::new("b\\c", "x"),
                Member::new("crc", "x").wrong_crc(),
                Member::new("secret", "x").encrypted(),
                Member::new("bz", "x").method(12),
                Member::new("other", "x").local_name("othex"),
                Member::new("last.py", "x").overlaps_previous(),
            ],
            &["a.py"],
            &[
                "../up: has an unsafe name",
                "/abs: has an unsafe name",
                "a.py: stands in the archive twice",
                "b\\\\c: has an unsafe name",
                "bz: is compressed by method 12; layerwise reads stored and deflated",
                "crc: does not have the CRC-32 it says",
                "last.py: has another name in its local header",
                "other: has another name in its local header",
                "secret: is encrypted",
            ],
        );
    }

    #[test]
    fn what_is_no_zip_is_an_error() {
        let refused = |bytes: &[u8]| {
            let error = of_bytes("a.zip", bytes).unwrap_err();
            (error.kind(), crate::error::chain(&error).split(": ").last().unwrap_or_default().to_owned())
        };
        let whole = RawZip::new().member(Member::new("a", "x")).bytes();
        let not = "it is not a zip archive, or its end is missing".to_owned();
        assert_eq!(refused(b""), (Kind::Integrity, not.clone()));
        assert_eq!(refused(b"no zip at all, but long enough to be one"), (Kind::Integrity, not.clone()));
        assert_eq!(refused(&whole[..whole.len() - 5]), (Kind::Integrity, not));
        let bomb =
            (0..3).fold(RawZip::new(), |zip, at| zip.member(Member::new(format!("{at}"), "x").declared_size(1 << 30)));
        let error = of_bytes("a.zip", &bomb.bytes()).unwrap_err();
        assert!(error.to_string().contains("3221225472 bytes, more than"), "{error}");
        let missing = read(Path::new("/nowhere/a.zip"), "a.zip", 1, None).unwrap_err();
        assert_eq!(missing.kind(), Kind::Input);
    }

    #[test]
    fn a_wheel_is_read_as_installed() {
        let built = wheel("a", "1.0").file("a/__init__.py", "").data("purelib/b.py", "").data("scripts/t", "x").build();
        let artifact = of_bytes(&built.filename, &built.bytes).unwrap();
        let paths: Vec<&str> = artifact.files.iter().map(|file| file.path.as_str()).collect();
        assert!(artifact.is_wheel);
        assert!(
            ["python/a/__init__.py", "python/b.py", "python/bin/t"].iter().all(|path| paths.contains(path)),
            "{paths:?}"
        );
    }

    #[test]
    #[cfg(unix)]
    fn unpacked_files_stay_inside() {
        let members = vec![
            Member::new("python/a.py", "x = 1"),
            Member::symlink("python/b.py", "a.py"),
            Member::symlink("python/out", "../../../etc"),
            Member::symlink("python/dir", ".."),
            Member::new("python/dir/file", "x"),
            Member::new("bin/tool", "x").mode(0o100_755),
            Member::new("../up", "x"),
        ];
        let bytes = members.into_iter().fold(RawZip::new(), RawZip::member).bytes();
        let dir = tempfile::tempdir().unwrap();
        let (path, to) = (dir.path().join("a.zip"), dir.path().join("opt"));
        fs_err::write(&path, bytes).unwrap();
        unpack(&read(&path, "a.zip", 1, None).unwrap(), &path, &to).unwrap();
        assert_eq!(fs_err::read_to_string(to.join("python/b.py")).unwrap(), "x = 1");
        assert_eq!(fs_err::read_to_string(to.join("python/dir/file")).unwrap(), "x");
        assert!(fs_err::symlink_metadata(to.join("python/out")).is_err());
        assert!(!dir.path().join("up").exists());
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs_err::metadata(to.join("bin/tool")).unwrap().permissions().mode() & 0o777, 0o755);
        for (path, link, inside) in
            [("a/b", "../c", true), ("a/b", "../../c", false), ("a", "/c", false), ("a", "b/../../c", false)]
        {
            assert_eq!(stays_inside(path, link), inside, "{path} {link}");
        }
    }

    #[test]
    fn a_folder_is_read_like_its_zip() {
        let dir = tempfile::tempdir().unwrap();
        fs_err::create_dir_all(dir.path().join("python/a")).unwrap();
        fs_err::write(dir.path().join("python/a/__init__.py"), "import b").unwrap();
        fs_err::write(dir.path().join("python/x.so"), "").unwrap();
        #[cfg(unix)]
        fs_err::os::unix::fs::symlink("a", dir.path().join("python/l")).unwrap();
        let artifact = read(dir.path(), "dir", 2, None).unwrap();
        let shown: Vec<_> = artifact.files.iter().map(|file| (file.path.as_str(), file.size)).collect();
        #[cfg(unix)]
        assert_eq!(shown, [("python/a/__init__.py", 8), ("python/l", 1), ("python/x.so", 0)]);
        assert_eq!(artifact.files[0].sha256, Some(Sha256::of(b"import b")));
        assert!(matches!(&artifact.files[0].content, Content::Python(facts) if facts.imports.len() == 1));
    }
}
