//! Where `terraform init` finds the provider without asking anybody: a plugin directory, or a filesystem mirror.
//!
//! Terraform's lock file holds a hash over the name and the bytes of the provider's file (`h1:`). So the name and the
//! bytes are the same in every channel, each release has a directory of its own, and what is installed is a copy: a
//! link to a program that is updated later would break the lock of whoever uses the old version.
//!
//! Source: <https://developer.hashicorp.com/terraform/cli/config/config-file#provider-installation>.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::DeflateEncoder;
use layerwise::error::{Explain, Kind};

/// What `required_providers` says.
pub const SOURCE: &str = "layerwise/layerwise";
/// The version that this program is.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Where Terraform looks for [`SOURCE`].
const PLACE: &str = "registry.terraform.io/layerwise/layerwise";

/// The provider could not be put there.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// Terraform has no such platform, or we do not know its name.
    #[error("Terraform has no name for {os} on {architecture} that layerwise knows")]
    Platform {
        /// As Rust calls it.
        os: &'static str,
        /// As Rust calls it.
        architecture: &'static str,
    },
    /// The disk.
    #[error("failed to {what} `{}`", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl Explain for InstallError {
    fn kind(&self) -> Kind {
        Kind::System
    }
}

/// What Terraform calls this platform: `linux_amd64`.
fn platform() -> Result<String, InstallError> {
    let (os, architecture) = (std::env::consts::OS, std::env::consts::ARCH);
    let terraform = |name: &'static str| match name {
        "linux" | "windows" | "freebsd" | "openbsd" => Some(name),
        "macos" => Some("darwin"),
        "x86_64" => Some("amd64"),
        "aarch64" => Some("arm64"),
        "x86" => Some("386"),
        "arm" => Some("arm"),
        _ => None,
    };
    let names = terraform(os).zip(terraform(architecture));
    names.map(|(os, architecture)| format!("{os}_{architecture}")).ok_or(InstallError::Platform { os, architecture })
}

fn file_name() -> String {
    format!("terraform-provider-layerwise_v{VERSION}{}", std::env::consts::EXE_SUFFIX)
}

/// Copies `program` into the plugin directory `dir`, and says where.
///
/// # Errors
///
/// If it cannot be read, or the directory not be written.
pub fn install(program: &Path, dir: &Path) -> Result<PathBuf, InstallError> {
    let path = dir.join(PLACE).join(VERSION).join(platform()?).join(file_name());
    let bytes = read(program)?;
    if fs_err::read(&path).is_ok_and(|there| there == bytes) {
        return Ok(path);
    }
    write(&path, &bytes, 0o755)?;
    Ok(path)
}

/// Writes the archive of `program` into the filesystem mirror `dir`, and says where. The same program gives the same
/// bytes.
///
/// # Errors
///
/// If it cannot be read, or the directory not be written.
pub fn mirror(program: &Path, dir: &Path) -> Result<PathBuf, InstallError> {
    let path = dir.join(PLACE).join(format!("terraform-provider-layerwise_{VERSION}_{}.zip", platform()?));
    let zip = zip(&file_name(), &read(program)?);
    let zip = zip.map_err(|source| InstallError::File { what: "pack", path: program.to_owned(), source })?;
    write(&path, &zip, 0o644)?;
    Ok(path)
}

fn read(program: &Path) -> Result<Vec<u8>, InstallError> {
    fs_err::read(program).map_err(|source| InstallError::File { what: "read", path: program.to_owned(), source })
}

/// Writes the file aside and moves it into its place: a Terraform that runs keeps what it has.
fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), InstallError> {
    let failed = |source| InstallError::File { what: "write", path: path.to_owned(), source };
    let dir = path.parent().unwrap_or(Path::new("."));
    fs_err::create_dir_all(dir).map_err(failed)?;
    // Not beside it: every file there is part of what Terraform locks.
    let mut aside = tempfile::NamedTempFile::new_in(dir.parent().unwrap_or(dir)).map_err(failed)?;
    aside.write_all(bytes).map_err(failed)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        aside.as_file().set_permissions(std::fs::Permissions::from_mode(mode)).map_err(failed)?;
    }
    #[cfg(not(unix))]
    let _ = mode;
    aside.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// A zip of one executable file.
///
/// Source: APPNOTE.TXT 6.3.10, sections 4.3.7, 4.3.12 and 4.3.16.
fn zip(name: &str, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let too_long = |_| io::Error::other("it is too long for a zip");
    let mut deflated = DeflateEncoder::new(Vec::new(), Compression::default());
    deflated.write_all(bytes)?;
    let deflated = deflated.finish()?;
    let number = |length: usize| u32::try_from(length).map_err(too_long);
    let name_length = u16::try_from(name.len()).map_err(too_long)?;
    // Version 2.0, no flags, deflated, 1980-01-01 00:00.
    let mut about = Vec::new();
    for half in [20u16, 0, 8, 0, 0x21] {
        about.extend(half.to_le_bytes());
    }
    for word in [crc32fast::hash(bytes), number(deflated.len())?, number(bytes.len())?] {
        about.extend(word.to_le_bytes());
    }
    about.extend(name_length.to_le_bytes());
    about.extend(0u16.to_le_bytes());
    let mut zip = [b"PK\x03\x04".as_slice(), &about, name.as_bytes(), &deflated].concat();
    let directory = number(zip.len())?;
    // Made on Unix, where the upper half of the attributes is the mode: a regular file, 0755.
    zip.extend([b"PK\x01\x02\x14\x03".as_slice(), &about, &[0; 6]].concat());
    zip.extend((0o100_755_u32 << 16).to_le_bytes());
    zip.extend(0u32.to_le_bytes());
    zip.extend(name.as_bytes());
    let length = number(zip.len())?.saturating_sub(directory);
    zip.extend(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
    zip.extend([length.to_le_bytes(), directory.to_le_bytes()].concat());
    zip.extend(0u16.to_le_bytes());
    Ok(zip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installed_twice_is_installed_once() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("layerwise");
        fs_err::write(&program, "program").unwrap();
        let path = install(&program, &dir.path().join("plugins")).unwrap();
        assert_eq!(install(&program, &dir.path().join("plugins")).unwrap(), path);
        assert_eq!(fs_err::read(&path).unwrap(), b"program");
        let beside: Vec<_> = fs_err::read_dir(path.parent().unwrap()).unwrap().collect();
        assert_eq!(beside.len(), 1, "whatever stands beside it would be part of what Terraform locks");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs_err::metadata(&path).unwrap().permissions().mode() & 0o777, 0o755);
        }
    }
}
