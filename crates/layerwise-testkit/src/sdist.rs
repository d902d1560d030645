//! Source distributions made to order: <https://packaging.python.org/en/latest/specifications/source-distribution-format/>.
//!
//! They bring their own build backend, in pure Python and with no build requirements, so that they can be built
//! without an index.

use std::io::Write;

use flate2::{Compression, GzBuilder};

use crate::wheel::metadata;

/// A source distribution (`.tar.gz`).
#[derive(Debug, Clone)]
pub struct Sdist {
    /// `pkg-1.0.tar.gz`
    pub filename: String,
    /// The archive.
    pub bytes: Vec<u8>,
    /// Of the bytes, lower-case hex.
    pub sha256: String,
    /// The project as it was given.
    pub name: String,
    /// The version as it was given.
    pub version: String,
    /// The text of `PKG-INFO`.
    pub metadata: String,
    /// `Requires-Python`, if there is one.
    pub requires_python: Option<String>,
}

/// Begins an sdist without files of its own.
pub fn sdist(name: &str, version: &str) -> SdistBuilder {
    SdistBuilder {
        name: name.to_owned(),
        version: version.to_owned(),
        files: Vec::new(),
        requires: Vec::new(),
        requires_python: None,
    }
}

/// Builds an [`Sdist`].
#[derive(Debug, Clone)]
#[must_use]
pub struct SdistBuilder {
    name: String,
    version: String,
    files: Vec<(String, Vec<u8>)>,
    requires: Vec<String>,
    requires_python: Option<String>,
}

impl SdistBuilder {
    /// Adds a file. One below `src/` is installed by the wheel that the backend builds. A `pyproject.toml` or a
    /// `backend.py` replaces the kit's own.
    pub fn file(mut self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.files.push((path.to_owned(), content.as_ref().to_vec()));
        self
    }

    /// Adds a `Requires-Dist`.
    pub fn requires(mut self, requirement: &str) -> Self {
        self.requires.push(requirement.to_owned());
        self
    }

    /// Sets `Requires-Python`.
    pub fn requires_python(self, specifier: &str) -> Self {
        Self { requires_python: Some(specifier.to_owned()), ..self }
    }

    /// The sdist. The same calls give the same bytes.
    pub fn build(self) -> Sdist {
        let Self { name, version, files: own, requires, requires_python } = self;
        let root = format!("{}-{version}", crate::normalized(&name).replace('-', "_"));
        let metadata = metadata(&name, &version, requires_python.as_deref(), &requires, &[]);
        let mut files = vec![
            ("PKG-INFO".to_owned(), metadata.clone().into_bytes()),
            ("pyproject.toml".to_owned(), PYPROJECT.into()),
            ("backend.py".to_owned(), BACKEND.into()),
        ];
        files.retain(|(path, _)| own.iter().all(|(other, _)| other != path));
        files.extend(own);
        let mut tar = Vec::new();
        for (path, content) in files {
            tar_file(&mut tar, &format!("{root}/{path}"), &content);
        }
        tar.resize(tar.len() + 1024, 0);
        let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::default());
        gzip.write_all(&tar).expect("a Vec takes every byte");
        let bytes = gzip.finish().expect("a Vec takes every byte");
        let sha256 = crate::sha256(&bytes);
        Sdist { filename: format!("{root}.tar.gz"), bytes, sha256, name, version, metadata, requires_python }
    }
}

const PYPROJECT: &str = "[build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n";

/// The kit's build backend: pure Python, without requirements. It makes a wheel of `PKG-INFO` and what is below `src/`.
pub const BACKEND: &str = r#"import email, pathlib, zipfile

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    text = pathlib.Path("PKG-INFO").read_text()
    info = email.message_from_string(text)
    stem = f"{info['Name'].replace('-', '_').replace('.', '_').lower()}-{info['Version']}"
    name = f"{stem}-py3-none-any.whl"
    members = {
        p.relative_to("src").as_posix(): p.read_bytes() for p in sorted(pathlib.Path("src").rglob("*")) if p.is_file()
    }
    members[f"{stem}.dist-info/METADATA"] = text
    members[f"{stem}.dist-info/WHEEL"] = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    members[f"{stem}.dist-info/RECORD"] = "".join(f"{path},,\n" for path in members) + f"{stem}.dist-info/RECORD,,\n"
    with zipfile.ZipFile(pathlib.Path(wheel_directory) / name, "w") as archive:
        for path, content in members.items():
            archive.writestr(path, content)
    return name
"#;

/// One ustar header, the content, and zeros up to the next 512.
fn tar_file(tar: &mut Vec<u8>, path: &str, content: &[u8]) {
    assert!(path.len() <= 100, "{path} does not fit a ustar name");
    let mut header = [0; 512];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, path);
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{:011o}\0", content.len()));
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let checksum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{checksum:06o}\0 ").as_bytes());
    tar.extend_from_slice(&header);
    tar.extend_from_slice(content);
    tar.resize(tar.len().next_multiple_of(512), 0);
}
