//! The cache on disk: content-addressed, versioned by bucket, safe under many processes.
//!
//! Nothing is ever edited in place. A file is filled under a temporary name in its bucket, synced, and renamed to
//! its final name; who loses a race renames the same bytes over the same bytes. Changing a format means a new
//! bucket name, never a migration.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use fs_err as fs;
use tempfile::{NamedTempFile, TempDir};

use crate::error::{Explain, Kind};

/// A part of the cache with one format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bucket {
    /// Wheels as they came, and beside each its index (`<sha256>.whl`, `<sha256>.index`).
    Wheels,
    /// Source distributions as they came, by their sha256.
    Sdists,
    /// Files that no package brings, by their sha256; unpacked archives, each a directory that is whole or not there.
    Files,
    /// What the files of a wheel are, for the audit, by the wheel's sha256.
    Facts,
    /// `METADATA` of wheels that were only looked at, by the wheel's sha256.
    Metadata,
    /// Pages of package indexes, by sha256 of their URL.
    Pages,
    /// Generated files in compressed form, by sha256 of the plain form.
    Deflated,
    /// Programs layerwise provides for itself (uv), by name, version and sha256.
    Tools,
    /// uv's own cache (checkouts, builds of local sources).
    Uv,
    /// Layers as functions see them, by their sha256s; each a directory that is whole or not there.
    Unpacked,
    /// Compilers and other parts of runtimes, each a directory that is whole or not there.
    Toolchains,
    /// Sources at a commit of a Git repository, each a directory that is whole or not there.
    Git,
    /// Records of wheels that were built here (they themselves are among the wheels).
    Built,
    /// Directories of builds that are under way.
    Builds,
    /// What builds said.
    Logs,
}

impl Bucket {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Wheels,
        Self::Sdists,
        Self::Files,
        Self::Facts,
        Self::Metadata,
        Self::Pages,
        Self::Deflated,
        Self::Tools,
        Self::Uv,
        Self::Unpacked,
        Self::Toolchains,
        Self::Git,
        Self::Built,
        Self::Builds,
        Self::Logs,
    ];

    /// The directory's name, with the version of the format.
    pub const fn dir(self) -> &'static str {
        match self {
            Self::Wheels => "wheels-v1",
            Self::Sdists => "sdists-v1",
            Self::Files => "files-v1",
            Self::Facts => "facts-v1",
            Self::Metadata => "metadata-v1",
            Self::Pages => "pages-v1",
            Self::Deflated => "deflated-v1",
            Self::Tools => "tools-v1",
            Self::Uv => "uv-v1",
            Self::Unpacked => "unpacked-v1",
            Self::Toolchains => "toolchains-v1",
            Self::Git => "git-v1",
            Self::Built => "built-v1",
            Self::Builds => "builds-v1",
            Self::Logs => "logs-v1",
        }
    }
}

/// The cache could not be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// It cannot be made or written to.
    #[error("failed to write to the cache at `{}`", path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It cannot be read.
    #[error("failed to read the cache at `{}`", path.display())]
    Read {
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl Explain for CacheError {
    fn kind(&self) -> Kind {
        Kind::System
    }

    fn hints(&self) -> Vec<String> {
        let (Self::Write { source, .. } | Self::Read { source, .. }) = self;
        vec![match source.kind() {
            io::ErrorKind::StorageFull => "free some disk space, or run `layerwise cache prune`".to_owned(),
            _ => "set LAYERWISE_CACHE_DIR or `--cache-dir` to a directory you can write to".to_owned(),
        }]
    }
}

/// The cache.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

/// How much a bucket holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Files.
    pub files: u64,
    /// Their sizes, in bytes.
    pub bytes: u64,
}

impl Cache {
    /// Opens the cache at `root` and makes it where needed, with the tag that tells backup programs to skip it
    /// (<https://bford.info/cachedir/>).
    pub fn open(root: &Path) -> Result<Self, CacheError> {
        let cache = Self { root: root.to_owned() };
        for bucket in Bucket::ALL {
            let dir = cache.bucket(bucket);
            fs::create_dir_all(&dir).map_err(|source| CacheError::Write { path: dir, source })?;
        }
        let tag = root.join("CACHEDIR.TAG");
        if !tag.exists() {
            let text = "Signature: 8a477f597d28d172789f06886806bc55\n# The cache of layerwise. It can be deleted.\n";
            fs::write(&tag, text).map_err(|source| CacheError::Write { path: tag, source })?;
        }
        Ok(cache)
    }

    /// The root directory.
    pub fn dir(&self) -> &Path {
        &self.root
    }

    /// The directory of a bucket.
    pub fn bucket(&self, bucket: Bucket) -> PathBuf {
        self.root.join(bucket.dir())
    }

    /// Where `key` of a bucket is, or would be. Keys are ours (digests, versions), never foreign text.
    pub fn path(&self, bucket: Bucket, key: &str) -> PathBuf {
        self.bucket(bucket).join(key)
    }

    /// The bytes of `key`, if they are there.
    pub fn read(&self, bucket: Bucket, key: &str) -> Result<Option<Vec<u8>>, CacheError> {
        let path = self.path(bucket, key);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(CacheError::Read { path, source }),
        }
    }

    /// Puts `bytes` at `key`.
    pub fn write(&self, bucket: Bucket, key: &str, bytes: &[u8]) -> Result<(), CacheError> {
        let mut file = self.aside(bucket)?;
        file.write_all(bytes).map_err(|source| CacheError::Write { path: self.path(bucket, key), source })?;
        self.place(file, bucket, key)
    }

    /// A file to fill, in the bucket's own directory so that [`Cache::place`] is a rename.
    pub fn aside(&self, bucket: Bucket) -> Result<NamedTempFile, CacheError> {
        let dir = self.bucket(bucket);
        let made = tempfile::Builder::new().prefix(".tmp-").tempfile_in(&dir);
        made.map_err(|source| CacheError::Write { path: dir, source })
    }

    /// Syncs a filled file and gives it its name.
    pub fn place(&self, file: NamedTempFile, bucket: Bucket, key: &str) -> Result<(), CacheError> {
        let path = self.path(bucket, key);
        let placed = file.as_file().sync_data().and_then(|()| file.persist(&path).map_err(|error| error.error));
        match placed {
            Ok(_) => Ok(()),
            // On Windows a rename over a file that somebody reads is refused; what stands there is the same.
            Err(_) if path.exists() => Ok(()),
            Err(source) => Err(CacheError::Write { path, source }),
        }
    }

    /// A directory to work in, which goes away when dropped.
    pub fn scratch(&self, bucket: Bucket) -> Result<TempDir, CacheError> {
        let dir = self.bucket(bucket);
        let made = tempfile::Builder::new().prefix(".tmp-").tempdir_in(&dir);
        made.map_err(|source| CacheError::Write { path: dir, source })
    }

    /// A directory to fill, for [`Cache::place_unit`].
    pub fn unit_aside(&self, bucket: Bucket) -> Result<TempDir, CacheError> {
        self.scratch(bucket)
    }

    /// Gives a filled directory its name: from now on it is there as a whole.
    pub fn place_unit(&self, dir: TempDir, bucket: Bucket, key: &str) -> Result<(), CacheError> {
        let path = self.path(bucket, key);
        let failed = |source| CacheError::Write { path: path.clone(), source };
        fs::write(dir.path().join(WHOLE), "").map_err(failed)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).map_err(failed)?;
        }
        match fs::rename(dir.path(), &path) {
            Ok(()) => {
                // It has another name now: there is nothing to remove.
                drop(dir.keep());
                Ok(())
            }
            // Another process was first, with the same.
            Err(_) if self.is_unit(bucket, key) => Ok(()),
            Err(source) => Err(failed(source)),
        }
    }

    /// Whether a directory is there as a whole.
    pub fn is_unit(&self, bucket: Bucket, key: &str) -> bool {
        self.path(bucket, key).join(WHOLE).is_file()
    }

    /// Notes that a directory is in use. Best effort: only pruning asks.
    pub fn touch_unit(&self, bucket: Bucket, key: &str, now: SystemTime) {
        let mark = self.path(bucket, key).join(WHOLE);
        if let Ok(file) = fs::OpenOptions::new().write(true).open(mark) {
            drop(file.set_modified(now));
        }
    }

    /// Forgets `key`.
    pub fn remove(&self, bucket: Bucket, key: &str) -> Result<(), CacheError> {
        let path = self.path(bucket, key);
        gone(fs::remove_file(&path)).map_err(|source| CacheError::Write { path, source })
    }

    /// How much each bucket holds.
    pub fn usage(&self) -> Result<Vec<(Bucket, Usage)>, CacheError> {
        Bucket::ALL.iter().map(|bucket| Ok((*bucket, usage(&self.bucket(*bucket))?))).collect()
    }

    /// Removes what has not been touched for `max_age`, files left over by killed processes, and buckets of
    /// other versions of layerwise; nothing else that somebody keeps in the same directory. Returns what was removed.
    pub fn prune(&self, now: SystemTime, max_age: Duration) -> Result<Usage, CacheError> {
        let mut removed = Usage::default();
        let ages = Ages { now, max_age };
        for (path, bucket) in self.buckets()? {
            if Bucket::ALL.iter().any(|known| known.dir() == bucket) {
                prune_dir(&path, &ages, &mut removed)?;
            } else {
                remove_dir(path, &mut removed)?;
            }
        }
        Ok(removed)
    }

    /// Removes all buckets, of every version; nothing else that somebody keeps in the same directory. Returns what
    /// was removed.
    pub fn clean(&self) -> Result<Usage, CacheError> {
        let mut removed = Usage::default();
        for (path, _) in self.buckets()? {
            remove_dir(path, &mut removed)?;
        }
        Ok(removed)
    }

    /// The directories that are ours by their names (`wheels-v1`), with these names: the root may be a directory
    /// that is not ours alone.
    fn buckets(&self) -> Result<Vec<(PathBuf, String)>, CacheError> {
        let stem = |name: &str| {
            let (stem, version) = name.rsplit_once("-v")?;
            (!version.is_empty() && version.bytes().all(|c| c.is_ascii_digit())).then(|| stem.to_owned())
        };
        let ours =
            |name: &str| stem(name).is_some_and(|one| Bucket::ALL.iter().any(|b| stem(b.dir()).as_ref() == Some(&one)));
        let directories =
            list(&self.root)?.into_iter().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        Ok(directories
            .filter_map(|entry| Some((entry.path(), entry.file_name().into_string().ok()?)))
            .filter(|(_, name)| ours(name))
            .collect())
    }
}

/// How many bytes are free where `path` is, or would be; `None` where the system does not tell.
pub fn free_bytes(path: &Path) -> Option<u64> {
    let there = path.ancestors().find(|path| path.exists())?;
    #[cfg(target_os = "linux")]
    {
        let about = nix::sys::statvfs::statvfs(there).ok()?;
        Some(about.blocks_available().saturating_mul(about.fragment_size()))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = there;
        None
    }
}

fn remove_dir(path: PathBuf, removed: &mut Usage) -> Result<(), CacheError> {
    let about = usage(&path)?;
    gone(fs::remove_dir_all(&path)).map_err(|source| CacheError::Write { path, source })?;
    add(removed, about);
    Ok(())
}

/// What another process removed meanwhile is removed.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// The file in a directory of the cache that says it is whole; its time says when it was last used.
pub(crate) const WHOLE: &str = ".whole";

/// How long a temporary file may be untouched before it is taken for a killed process's.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);

struct Ages {
    now: SystemTime,
    max_age: Duration,
}

fn prune_dir(dir: &Path, ages: &Ages, removed: &mut Usage) -> Result<(), CacheError> {
    for entry in list(dir)? {
        let path = entry.path();
        let Ok(about) = entry.metadata() else { continue };
        if about.is_dir() {
            let temporary = entry.file_name().to_string_lossy().starts_with(".tmp-");
            // Whole directories go as a whole: half a compiler is worse than none.
            let unit = if temporary { Some(about.modified()) } else { whole(&path) };
            match unit {
                Some(used) => {
                    let age = used.ok().and_then(|used| ages.now.duration_since(used).ok()).unwrap_or_default();
                    if age > if temporary { ABANDONED } else { ages.max_age } {
                        remove_dir(path, removed)?;
                    }
                }
                None => prune_dir(&path, ages, removed)?,
            }
            continue;
        }
        let Ok(modified) = about.modified() else { continue };
        let temporary = entry.file_name().to_string_lossy().starts_with(".tmp-");
        let used = about.accessed().unwrap_or(modified).max(modified);
        let age = ages.now.duration_since(used).unwrap_or_default();
        if age > if temporary { ABANDONED } else { ages.max_age } {
            gone(fs::remove_file(&path)).map_err(|source| CacheError::Write { path, source })?;
            add(removed, Usage { files: 1, bytes: about.len() });
        }
    }
    Ok(())
}

/// When a whole directory was last used; `None` for any other.
fn whole(dir: &Path) -> Option<io::Result<SystemTime>> {
    let mark = fs::metadata(dir.join(WHOLE)).ok()?;
    Some(mark.modified())
}

fn usage(dir: &Path) -> Result<Usage, CacheError> {
    let mut total = Usage::default();
    for entry in list(dir)? {
        let Ok(about) = entry.metadata() else { continue };
        let part = if about.is_dir() { usage(&entry.path())? } else { Usage { files: 1, bytes: about.len() } };
        add(&mut total, part);
    }
    Ok(total)
}

fn add(total: &mut Usage, part: Usage) {
    total.files += part.files;
    total.bytes += part.bytes;
}

fn list(dir: &Path) -> Result<Vec<fs::DirEntry>, CacheError> {
    match fs::read_dir(dir) {
        Ok(entries) => Ok(entries.flatten().collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(CacheError::Read { path: dir.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_all_its_bytes_or_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        assert_eq!(cache.read(Bucket::Pages, "a").unwrap(), None);
        cache.write(Bucket::Pages, "a", b"one").unwrap();
        cache.write(Bucket::Pages, "a", b"two").unwrap();
        assert_eq!(cache.read(Bucket::Pages, "a").unwrap().as_deref(), Some(&b"two"[..]));
        drop(cache.aside(Bucket::Pages).unwrap());
        assert_eq!(usage(&cache.bucket(Bucket::Pages)).unwrap(), Usage { files: 1, bytes: 3 });
    }

    #[test]
    fn prune_keeps_what_is_new_and_removes_other_versions() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        cache.write(Bucket::Wheels, "a", b"one").unwrap();
        fs::create_dir(dir.path().join("wheels-v0")).unwrap();
        fs::write(dir.path().join("wheels-v0/x"), "old").unwrap();
        let hour = Duration::from_secs(3600);
        let written = fs::metadata(cache.path(Bucket::Wheels, "a")).unwrap().modified().unwrap();
        assert_eq!(cache.prune(written, hour).unwrap(), Usage { files: 1, bytes: 3 });
        assert!(cache.path(Bucket::Wheels, "a").exists());
        assert_eq!(cache.prune(written + 3 * hour, hour).unwrap(), Usage { files: 1, bytes: 3 });
        assert!(!cache.path(Bucket::Wheels, "a").exists());
    }

    #[test]
    fn only_our_own_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        for foreign in ["project", "pip", "wheels", "wheels-v", "wheels-v1x", "my-wheels-v1", "other-v1"] {
            fs::create_dir(dir.path().join(foreign)).unwrap();
            fs::write(dir.path().join(foreign).join("file"), "precious").unwrap();
        }
        fs::write(dir.path().join("wheels-v7"), "a file").unwrap();
        cache.write(Bucket::Wheels, "a", b"one").unwrap();
        let written = fs::metadata(cache.path(Bucket::Wheels, "a")).unwrap().modified().unwrap();
        cache.prune(written + 2 * ABANDONED, Duration::ZERO).unwrap();
        cache.write(Bucket::Wheels, "a", b"one").unwrap();
        assert_eq!(cache.clean().unwrap(), Usage { files: 1, bytes: 3 });
        assert_eq!(cache.clean().unwrap(), Usage::default());
        let mut left: Vec<_> = list(dir.path()).unwrap().iter().map(fs::DirEntry::file_name).collect();
        left.sort();
        assert_eq!(
            left,
            [
                "CACHEDIR.TAG",
                "my-wheels-v1",
                "other-v1",
                "pip",
                "project",
                "wheels",
                "wheels-v",
                "wheels-v1x",
                "wheels-v7"
            ]
        );
        assert!(dir.path().join("project/file").exists());
    }

    #[test]
    fn abandoned_files_go_after_a_day() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let (_, path) = cache.aside(Bucket::Wheels).unwrap().keep().unwrap();
        let year = Duration::from_secs(365 * 24 * 3600);
        let made = fs::metadata(&path).unwrap().modified().unwrap();
        assert_eq!(cache.prune(made + ABANDONED / 2, year).unwrap(), Usage::default());
        assert_eq!(cache.prune(made + 2 * ABANDONED, year).unwrap(), Usage { files: 1, bytes: 0 });
    }

    #[test]
    fn a_cache_that_cannot_be_made_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let error = Cache::open(&dir.path().join("file/cache")).unwrap_err();
        assert_eq!(error.kind(), Kind::System);
        assert!(error.hints()[0].contains("LAYERWISE_CACHE_DIR"));
    }
}
