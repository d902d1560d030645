//! A wheel as a build backend made it → a wheel that is the same every time, with the tag that is true.

use std::collections::BTreeMap;
use std::io::{Read, Seek};
use std::path::Path;

use fs_err as fs;

use crate::audit::elf;
use crate::model::target::{Architecture, Glibc};
use crate::model::{Sha256, Target, WheelName};
use crate::wheel::directory::{self, Located};

/// A member, unpacked.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub bytes: Vec<u8>,
    pub executable: bool,
}

impl File {
    pub(super) fn is_elf(&self) -> bool {
        self.bytes.starts_with(b"\x7fELF")
    }
}

/// A wheel as its files.
#[derive(Debug)]
pub(super) struct Unpacked {
    /// What it was called.
    pub name: WheelName,
    /// By their paths.
    pub files: BTreeMap<String, File>,
}

/// What a wheel turned out to be.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Its name now.
    pub name: WheelName,
    /// Its digest now.
    pub sha256: Sha256,
    /// Its ELF files.
    pub elf_files: Vec<String>,
    /// The highest glibc that its symbols ask for.
    pub glibc: Option<Glibc>,
}

/// No unpacked wheel that we build is larger, in bytes.
const LARGEST: u64 = 2 << 30;

/// Reads the wheel at `from`, named as it is.
///
/// # Errors
/// A sentence, where it is no wheel or cannot be read.
pub(super) fn unpack(from: &Path) -> Result<Unpacked, String> {
    let filename = from.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let name: WheelName = filename.parse().map_err(|error: crate::model::tag::InvalidWheelName| error.to_string())?;
    let mut file = fs::File::open(from).map_err(|error| error.to_string())?;
    let located = directory::read(&mut file).map_err(|error| error.to_string())?;
    if located.iter().map(|member| member.size).fold(0u64, u64::saturating_add) > LARGEST {
        return Err("it unpacks to more than 2 GiB".to_owned());
    }
    Ok(Unpacked { name, files: read_all(&mut file, &located)? })
}

/// Writes a wheel to `dir`: sorted, with fixed times and modes, RECORD made anew, and with the lowest manylinux tag that
/// its symbols allow. Returns what it is.
///
/// # Errors
/// A sentence, where it is no wheel, or cannot be written.
pub(super) fn normalise(wheel: Unpacked, dir: &Path, target: Target) -> Result<Facts, String> {
    let Unpacked { name, mut files } = wheel;
    let mut glibc = None;
    let mut elf_files = Vec::new();
    for (path, file) in files.iter().filter(|(_, file)| file.is_elf()) {
        elf_files.push(path.clone());
        glibc = glibc.max(highest_glibc(&file.bytes));
    }
    let name = retagged(&name, target, glibc, !elf_files.is_empty());
    let dist_info = files.keys().find_map(|path| Some(path.strip_suffix(".dist-info/WHEEL")?.to_owned()));
    let dist_info = format!("{}.dist-info", dist_info.ok_or("it has no WHEEL")?);
    let wheel = files.get_mut(&format!("{dist_info}/WHEEL")).ok_or("it has no WHEEL")?;
    wheel.bytes = with_tags(&String::from_utf8_lossy(&wheel.bytes), &name).into_bytes();
    let record_path = format!("{dist_info}/RECORD");
    files.retain(|path, _| *path != record_path && !path.ends_with(".dist-info/RECORD.jws"));
    let record = record(&files, &record_path);
    files.insert(record_path, File { bytes: record.into_bytes(), executable: false });
    let bytes = zip(&files, &dist_info)?;
    let sha256 = Sha256::of(&bytes);
    fs::write(dir.join(&name.text), &bytes).map_err(|error| error.to_string())?;
    Ok(Facts { name, sha256, elf_files, glibc })
}

fn read_all(file: &mut (impl Read + Seek), located: &[Located]) -> Result<BTreeMap<String, File>, String> {
    let mut files = BTreeMap::new();
    for member in located {
        let mut bytes = Vec::new();
        crate::wheel::extract_located(file, member, &mut bytes).map_err(|error| error.to_string())?;
        let executable = member.executable && !member.name.ends_with(".py") || member.name.contains(".data/scripts/");
        files.insert(member.name.clone(), File { bytes, executable });
    }
    Ok(files)
}

/// The highest `GLIBC_2.x` among the versions that a file asks of libraries.
fn highest_glibc(bytes: &[u8]) -> Option<Glibc> {
    let facts = elf::facts(bytes).ok()?;
    let versions = facts.versions.iter().filter_map(|need| {
        let mut numbers = need.version.strip_prefix("GLIBC_")?.split('.');
        Some(Glibc(numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    });
    versions.max()
}

/// The wheel's name with the lowest manylinux tag that is true; one for any platform stays as it is.
fn retagged(name: &WheelName, target: Target, glibc: Option<Glibc>, has_elf: bool) -> WheelName {
    if name.is_any_platform() || !has_elf {
        return name.clone();
    }
    let oldest = match target.architecture {
        Architecture::X86_64 => Glibc(2, 5),
        Architecture::Arm64 => Glibc(2, 17),
    };
    let Glibc(major, minor) = glibc.unwrap_or(oldest).max(oldest);
    let tag = format!("manylinux_{major}_{minor}_{}", target.architecture.machine());
    let stem = name.text.trim_end_matches(".whl").rsplit_once('-').map_or("", |(stem, _)| stem);
    format!("{stem}-{tag}.whl").parse().unwrap_or_else(|_| name.clone())
}

/// `WHEEL` with the tags of the file's name.
fn with_tags(wheel: &str, name: &WheelName) -> String {
    let mut text: String = wheel
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("Tag:"))
        .map(|line| format!("{line}\n"))
        .collect();
    for python in &name.pythons {
        for abi in &name.abis {
            for platform in &name.platforms {
                text += &format!("Tag: {python}-{abi}-{platform}\n");
            }
        }
    }
    text
}

/// `RECORD` (PEP 376).
fn record(files: &BTreeMap<String, File>, record: &str) -> String {
    let quoted = |path: &str| {
        if path.contains([',', '"']) { format!("\"{}\"", path.replace('"', "\"\"")) } else { path.to_owned() }
    };
    let mut text = String::new();
    for (path, file) in files {
        let digest = Sha256::of(&file.bytes).record_base64();
        text += &format!("{},sha256={digest},{}\n", quoted(path), file.bytes.len());
    }
    text + &format!("{},,\n", quoted(record))
}

/// The zip's bytes: `*.dist-info` last, as the specification recommends. Compressed by miniz_oxide, whose output
/// depends on its input alone.
fn zip(files: &BTreeMap<String, File>, dist_info: &str) -> Result<Vec<u8>, String> {
    const DOS_EPOCH: u32 = (1 << 5 | 1) << 16;
    let too_large = |_| "it is too large for a wheel".to_owned();
    let (mut out, mut central) = (Vec::new(), Vec::new());
    let (last, first): (Vec<_>, Vec<_>) = files.iter().partition(|(path, _)| path.starts_with(dist_info));
    let count = u16::try_from(files.len()).map_err(too_large)?;
    for (path, file) in first.into_iter().chain(last) {
        let packed = miniz_oxide::deflate::compress_to_vec(&file.bytes, 6);
        let (method, bytes) = if packed.len() < file.bytes.len() { (8u16, &packed) } else { (0, &file.bytes) };
        let offset = u32::try_from(out.len()).map_err(too_large)?;
        let mut common = Vec::new();
        for number in [20u16, if path.is_ascii() { 0 } else { 1 << 11 }, method] {
            common.extend_from_slice(&number.to_le_bytes());
        }
        let sizes =
            [u32::try_from(bytes.len()).map_err(too_large)?, u32::try_from(file.bytes.len()).map_err(too_large)?];
        for number in [DOS_EPOCH, crc32fast::hash(&file.bytes), sizes[0], sizes[1]] {
            common.extend_from_slice(&number.to_le_bytes());
        }
        common.extend_from_slice(&u16::try_from(path.len()).map_err(too_large)?.to_le_bytes());
        out.extend_from_slice(b"PK\x03\x04");
        out.extend_from_slice(&common);
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(path.as_bytes());
        out.extend_from_slice(bytes);
        central.extend_from_slice(b"PK\x01\x02\x14\x03");
        central.extend_from_slice(&common);
        central.extend_from_slice(&[0; 8]);
        let mode: u32 = if file.executable { 0o100_755 } else { 0o100_644 };
        central.extend_from_slice(&(mode << 16).to_le_bytes());
        central.extend_from_slice(&offset.to_le_bytes());
        central.extend_from_slice(path.as_bytes());
    }
    let start = u32::try_from(out.len()).map_err(too_large)?;
    let size = u32::try_from(central.len()).map_err(too_large)?;
    out.extend_from_slice(&central);
    out.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(&size.to_le_bytes());
    out.extend_from_slice(&start.to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use layerwise_testkit::{Member, wheel};

    use super::*;

    #[test]
    fn the_same_content_gives_the_same_bytes_and_a_wheel() {
        let target = Target::new("python3.11", "x86_64", "2026-11-24").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let make = |members: [(&str, &str); 2], sub: &str| {
            let mut builder = wheel("a", "1.0").tags("py3-none-linux_x86_64");
            for (path, text) in members {
                builder = builder.member(Member::new(path, text));
            }
            let made = builder.build();
            let from = dir.path().join(&made.filename);
            fs::write(&from, &made.bytes).unwrap();
            let to = dir.path().join(sub);
            fs::create_dir(&to).unwrap();
            let facts = normalise(unpack(&from).unwrap(), &to, target).unwrap();
            (facts.clone(), to.join(&facts.name.text))
        };
        let (one, path) = make([("a/b.py", "x = 1\n"), ("a/c.py", "")], "one");
        let (two, _) = make([("a/c.py", ""), ("a/b.py", "x = 1\n")], "two");
        assert_eq!((one.sha256, one.name.text.as_str()), (two.sha256, "a-1.0-py3-none-linux_x86_64.whl"));
        let mut file = fs::File::open(path).unwrap();
        let index = crate::wheel::index(&mut file, &one.name).unwrap();
        let names: Vec<&str> = index.members.iter().map(|member| member.name.as_str()).collect();
        assert_eq!(names[..2], ["a/b.py", "a/c.py"]);
        assert!(names[2..].iter().all(|name| name.starts_with("a-1.0.dist-info/")), "{names:?}");
    }

    #[test]
    fn tags() {
        let check = |architecture: &str, glibc: Option<Glibc>, expected: &str| {
            let target = Target::new("python3.11", architecture, "2026-11-24").unwrap();
            let name = "a_b-1.0-cp311-cp311-linux_x86_64.whl".parse().unwrap();
            assert_eq!(retagged(&name, target, glibc, true).text, expected);
        };
        check("x86_64", Some(Glibc(2, 25)), "a_b-1.0-cp311-cp311-manylinux_2_25_x86_64.whl");
        check("x86_64", None, "a_b-1.0-cp311-cp311-manylinux_2_5_x86_64.whl");
        check("arm64", Some(Glibc(2, 4)), "a_b-1.0-cp311-cp311-manylinux_2_17_aarch64.whl");
        let pure: WheelName = "a-1-py3-none-any.whl".parse().unwrap();
        let target = Target::new("python3.11", "arm64", "2026-11-24").unwrap();
        assert_eq!(retagged(&pure, target, None, false), pure);
        let text = with_tags("Wheel-Version: 1.0\nTag: x\n\n", &"a-1-py2.py3-none-any.whl".parse().unwrap());
        assert_eq!(text, "Wheel-Version: 1.0\nTag: py2-none-any\nTag: py3-none-any\n");
    }

    #[test]
    fn this_test_program_asks_for_a_glibc() {
        let bytes = fs::read(std::env::current_exe().unwrap()).unwrap();
        let Glibc(major, minor) = highest_glibc(&bytes).unwrap_or(Glibc(0, 0));
        assert!(!cfg!(all(target_os = "linux", target_env = "gnu")) || (major == 2 && minor >= 17), "{major}.{minor}");
        assert_eq!(highest_glibc(b"\x7fELF nonsense"), None);
    }
}
