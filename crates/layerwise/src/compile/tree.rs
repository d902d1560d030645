//! A package's source directory on this machine: what of it is source, its identity, and a copy to build in.

use std::io;
use std::path::{Path, PathBuf};

use fs_err as fs;
use sha2::Digest as _;

use crate::model::Sha256;

/// The most files of a source directory: more is somebody's home.
const MOST_FILES: usize = 100_000;

/// Directories that are no sources: of version control, of environments, of earlier builds.
const NO_SOURCES: &[&str] = &[
    ".git",
    ".hg",
    ".svn",
    ".venv",
    "venv",
    ".tox",
    ".nox",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
    "__pycache__",
    "node_modules",
    ".eggs",
    ".terraform",
];

/// The files and links below `dir` that are sources, sorted.
fn sources(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(&next)? {
            let entry = entry?;
            let (name, path) = (entry.file_name(), entry.path());
            if !entry.file_type()?.is_dir() {
                found.push(path);
                continue;
            }
            // What setuptools leaves at the top would be taken into the wheel; a package may have the name.
            let left_over = next == *dir
                && ["build", "dist", "target"].iter().any(|old| name == *old)
                && !path.join("__init__.py").exists();
            let egg_info = name.to_string_lossy().ends_with(".egg-info");
            let environment = path.join("pyvenv.cfg").exists();
            if !left_over && !egg_info && !environment && !NO_SOURCES.iter().any(|other| name == *other) {
                dirs.push(path);
            }
        }
        if found.len() > MOST_FILES {
            return Err(io::Error::other(format!("`{}` has more than {MOST_FILES} files", dir.display())));
        }
    }
    found.sort();
    Ok(found)
}

/// The identity of a source directory: of its files' paths and bytes.
pub(super) fn digest(dir: &Path) -> io::Result<Sha256> {
    digest_of(dir, &sources(dir)?)
}

/// Of these files' paths and bytes.
fn digest_of(dir: &Path, files: &[PathBuf]) -> io::Result<Sha256> {
    let mut hasher = sha2::Sha256::new();
    for path in files {
        let relative = path.strip_prefix(dir).unwrap_or(path).to_string_lossy().into_owned();
        let content = if fs::symlink_metadata(path)?.is_symlink() {
            format!("-> {}", fs::read_link(path)?.display()).into_bytes()
        } else {
            fs::read(path)?
        };
        hasher.update(format!("{} {relative} {} ", relative.len(), content.len()));
        hasher.update(&content);
    }
    Ok(Sha256::from_hasher(hasher))
}

/// Copies the sources in `dir` to `to`.
pub(super) fn copy(dir: &Path, to: &Path) -> io::Result<()> {
    for path in sources(dir)? {
        let target = to.join(path.strip_prefix(dir).unwrap_or(&path));
        fs::create_dir_all(target.parent().unwrap_or(to))?;
        if fs::symlink_metadata(&path)?.is_symlink() {
            super::link(&fs::read_link(&path)?, &target)?;
        } else {
            fs::copy(&path, &target)?;
        }
    }
    Ok(())
}

/// The identity of all that is in a directory.
pub(super) fn digest_whole(dir: &Path) -> io::Result<Sha256> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(&next)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() { dirs.push(entry.path()) } else { found.push(entry.path()) }
        }
        if found.len() > MOST_FILES {
            return Err(io::Error::other(format!("`{}` has more than {MOST_FILES} files", dir.display())));
        }
    }
    found.sort();
    digest_of(dir, &found)
}

/// Copies everything in `dir` to `to`, links as links.
pub(super) fn copy_whole(dir: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy_whole(&entry.path(), &target)?;
        } else if kind.is_symlink() {
            super::link(&fs::read_link(entry.path())?, &target)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sources_count() {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("pyproject.toml", "x");
        put("src/a/__init__.py", "");
        let first = digest(dir.path()).unwrap();
        for path in [
            ".git/HEAD",
            ".venv/x",
            "env/pyvenv.cfg",
            "build/lib/a.py",
            "src/a.egg-info/PKG-INFO",
            "src/a/__pycache__/a.pyc",
        ] {
            put(path, "y");
        }
        assert_eq!(digest(dir.path()).unwrap(), first);
        put("src/build/__init__.py", "");
        assert_ne!(digest(dir.path()).unwrap(), first);
        let to = tempfile::tempdir().unwrap();
        copy(dir.path(), to.path()).unwrap();
        let names: Vec<_> = sources(to.path()).unwrap();
        assert_eq!(names.len(), 3, "{names:?}");
        assert_eq!(digest(to.path()).unwrap(), digest(dir.path()).unwrap());
    }
}
