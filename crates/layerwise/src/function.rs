//! A function's own code → files: the directory without what does not belong on Lambda.
//!
//! What is left out: what `.gitignore` leaves out (here and in the directories above), what the configuration leaves
//! out in the same words, and what is never code: version control, virtual environments, caches, secrets.

use std::path::{Path, PathBuf};

use fs_err as fs;
use ignore::WalkBuilder;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::error::{Explain, Kind};
use crate::extra::{self, ExtraError, Files};
use crate::model::LayerPath;
use crate::model::tree::InvalidLayerPath;

/// Never part of a function, in the words of `.gitignore`.
const NEVER: [&str; 16] = [
    ".git/",
    ".hg/",
    ".svn/",
    ".venv/",
    "venv/",
    "__pycache__/",
    "*.py[co]",
    ".pytest_cache/",
    ".mypy_cache/",
    ".ruff_cache/",
    ".tox/",
    ".terraform/",
    ".aws-sam/",
    ".DS_Store",
    "Thumbs.db",
    ".gitignore",
];

/// Often secrets; somebody who wants them names them in `ignore` with a `!`.
const SECRETS: [&str; 4] = [".env", ".env.*", "*.pem", "*.key"];

/// What a directory of code gives.
#[derive(Debug)]
pub struct Code {
    /// The files, sorted by path, relative to `/var/task`.
    pub files: Files,
    /// Files that look like secrets and were left out.
    pub secrets: Vec<String>,
}

/// The code cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CodeError {
    /// There is no such directory.
    #[error("the code directory `{}` of `{function}` is not there", path.display())]
    Missing {
        /// The function.
        function: String,
        /// The directory.
        path: PathBuf,
    },
    /// It cannot be walked.
    #[error("failed to read the code of `{function}`")]
    Walk {
        /// The function.
        function: String,
        /// What went wrong.
        #[source]
        source: ignore::Error,
    },
    /// A pattern of the configuration.
    #[error("`{pattern}` is not a pattern of `.gitignore`")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        #[source]
        source: ignore::Error,
    },
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] ExtraError),
    /// A name that no artifact can have.
    #[error("the code of `{function}` has a file that cannot be packed")]
    Name {
        /// The function.
        function: String,
        /// The name.
        #[source]
        source: InvalidLayerPath,
    },
    /// A link out of the directory, to a directory, or to nothing.
    #[error("`{}` is a link to what is not a file inside the code directory", .0.display())]
    Link(PathBuf),
    /// There is nothing.
    #[error("the code directory `{}` of `{function}` has no file to pack", path.display())]
    Empty {
        /// The function.
        function: String,
        /// The directory.
        path: PathBuf,
    },
}

impl Explain for CodeError {
    fn kind(&self) -> Kind {
        match self {
            Self::Pattern { .. } => Kind::Usage,
            Self::File(error) => error.kind(),
            _ => Kind::Input,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Link(_) => vec!["leave it out with `ignore`, or put a copy there".to_owned()],
            Self::Empty { .. } => vec!["does `.gitignore`, or `ignore`, leave out too much?".to_owned()],
            Self::File(error) => error.hints(),
            _ => Vec::new(),
        }
    }
}

/// Reads the code of `function` in `dir`; `leave_out` has patterns in the words of `.gitignore`.
pub fn code(function: &str, dir: &Path, leave_out: &[String]) -> Result<Code, CodeError> {
    let walk_error = |source| CodeError::Walk { function: function.to_owned(), source };
    if !dir.is_dir() {
        return Err(CodeError::Missing { function: function.to_owned(), path: dir.to_owned() });
    }
    let dir = &fs::canonicalize(dir).map_err(|source| ExtraError::Read { path: dir.to_owned(), source })?;
    let rules = rules(dir, &[NEVER.map(str::to_owned).to_vec(), leave_out.to_vec()].concat())?;
    let secret = self::rules(dir, &SECRETS.map(str::to_owned))?;
    let wanted = self::rules(dir, leave_out)?;
    let walker = WalkBuilder::new(dir)
        .hidden(false)
        .git_global(false)
        .git_exclude(false)
        .ignore(false)
        .require_git(false)
        .filter_entry(move |entry| {
            let is_dir = entry.file_type().is_some_and(|kind| kind.is_dir());
            entry.depth() == 0 || !rules.matched(entry.path(), is_dir).is_ignore()
        })
        .build();
    let mut paths = Vec::new();
    let mut secrets = Vec::new();
    for entry in walker {
        let entry = entry.map_err(walk_error)?;
        let Some(kind) = entry.file_type().filter(|kind| !kind.is_dir()) else { continue };
        let path = entry.path();
        let name = path.strip_prefix(dir).unwrap_or(path).to_string_lossy().replace('\\', "/");
        // Under whatever name: a link to a secret is one. Naming one with a `!` wants it.
        let real = fs::canonicalize(path).ok().filter(|real| real.starts_with(dir));
        let is_secret = |path: &Path| secret.matched_path_or_any_parents(path, false).is_ignore();
        if (is_secret(path) || real.as_deref().is_some_and(is_secret)) && !wanted.matched(path, false).is_whitelist() {
            secrets.push(name);
            continue;
        }
        if kind.is_symlink() {
            let inside = fs::canonicalize(path).is_ok_and(|target| target.starts_with(dir) && target.is_file());
            if !inside {
                return Err(CodeError::Link(path.to_owned()));
            }
        }
        paths.push((name, path.to_owned()));
    }
    paths.sort();
    secrets.sort();
    if paths.is_empty() {
        return Err(CodeError::Empty { function: function.to_owned(), path: dir.to_owned() });
    }
    let mut files = Files::default();
    for (name, path) in paths {
        let to = LayerPath::new(name);
        let to = to.map_err(|source| CodeError::Name { function: function.to_owned(), source })?;
        let (found, facts) = extra::look(&path, to, extra::is_executable(&path))?;
        files.found.push(found);
        files.facts.push(facts);
    }
    Ok(Code { files, secrets })
}

/// Patterns in the words of `.gitignore`, which count from `dir`; the last one that matches decides.
fn rules(dir: &Path, patterns: &[String]) -> Result<Gitignore, CodeError> {
    let mut builder = GitignoreBuilder::new(dir);
    for pattern in patterns {
        let failed = |source| CodeError::Pattern { pattern: pattern.clone(), source };
        builder.add_line(None, pattern).map_err(failed)?;
    }
    builder.build().map_err(|source| CodeError::Pattern { pattern: patterns.join(", "), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The files that are packed, `*` behind executables; then what looked like a secret. Or the error.
    #[track_caller]
    fn check(files: &[&str], gitignore: &str, leave_out: &[&str], expected: &str) {
        let dir = tempfile::tempdir().unwrap();
        let code = dir.path().join("code");
        fs::create_dir(&code).unwrap();
        fs::write(dir.path().join(".gitignore"), gitignore).unwrap();
        for file in files {
            let path = code.join(file.trim_end_matches('*'));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "x").unwrap();
            #[cfg(unix)]
            if file.ends_with('*') {
                use std::os::unix::fs::PermissionsExt as _;
                fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
        let leave_out: Vec<String> = leave_out.iter().map(|pattern| (*pattern).to_owned()).collect();
        let shown = match super::code("f", &code, &leave_out) {
            Ok(Code { files, secrets }) => {
                let star = |executable| if executable { "*" } else { "" };
                let name = |file: &crate::model::FoundFile| format!("{}{}", file.to, star(file.executable));
                let names: Vec<String> =
                    files.found.iter().map(name).chain(secrets.iter().map(|s| format!("!{s}"))).collect();
                names.join(" ")
            }
            Err(error) => error.to_string().replace(&dir.path().display().to_string(), "."),
        };
        assert_eq!(shown, expected);
    }

    #[test]
    fn what_is_packed() {
        check(&["index.py", "a/b.py", "run*", ".hidden"], "", &[], ".hidden a/b.py index.py run*");
        let junk = ["__pycache__/a.pyc", "a.pyc", ".git/config", ".venv/x.py", ".DS_Store", ".mypy_cache/a"];
        check(&[&["index.py"], junk.as_slice()].concat(), "", &[], "index.py");
        check(&["index.py", "out/a", "b.log"], "out/\n*.log\n", &[], "index.py");
        check(&["index.py", "tests/a.py", "a/tests/b.py"], "", &["tests/"], "index.py");
        check(&["index.py", "tests/a.py", "a/tests/b.py"], "", &["/tests/"], "a/tests/b.py index.py");
        check(&["index.py", ".env", "a/key.pem"], "", &[], "index.py !.env !a/key.pem");
        check(&["index.py", ".env/a"], "", &[], "index.py !.env/a");
        check(&["index.py", ".env", "a/ca.pem"], "", &["!ca.pem"], "a/ca.pem index.py !.env");
        check(&["a.pyc"], "", &[], "the code directory `./code` of `f` has no file to pack");
        check(&["a.py"], "", &["[z-a]"], "`[z-a]` is not a pattern of `.gitignore`");
    }

    #[cfg(unix)]
    #[test]
    fn links() {
        let dir = tempfile::tempdir().unwrap();
        let code = dir.path().join("code");
        fs::create_dir(&code).unwrap();
        fs::write(code.join("index.py"), "x").unwrap();
        fs::os::unix::fs::symlink("index.py", code.join("other.py")).unwrap();
        let read = super::code("f", &code, &[]).unwrap();
        assert_eq!(read.files.found.len(), 2);
        assert_eq!(read.files.found[0].sha256, read.files.found[1].sha256);
        for (name, target) in [("out", "/etc/passwd"), ("dir", "."), ("nothing", "gone")] {
            let link = code.join(name);
            fs::os::unix::fs::symlink(target, &link).unwrap();
            assert!(
                matches!(super::code("f", &code, &[]), Err(CodeError::Link(path)) if path.ends_with(name)),
                "{name}"
            );
            fs::remove_file(link).unwrap();
        }
        assert!(matches!(super::code("f", &dir.path().join("gone"), &[]), Err(CodeError::Missing { .. })));
    }
}
