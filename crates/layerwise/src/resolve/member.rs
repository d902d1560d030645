//! One file out of a wheel on an index, without more of the wheel than needed.

use std::sync::Arc;

use pep440_rs::Version;

use super::metadata::{self, MetadataError};
use super::page::File;
use super::upstream::{Upstream, UpstreamError};
use crate::error::{Explain, Kind};
use crate::input::IndexOptions;
use crate::io::{Io, Wanted, WheelsError};
use crate::model::{PackageName, WheelName};
use crate::wheel::{self, WheelError};

/// The file cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    /// The index.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The wheel, by range requests.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The wheel as a whole.
    #[error(transparent)]
    Wheel(#[from] WheelsError),
    /// The wheel in the cache cannot be read.
    #[error("failed to read `{member}` of `{wheel}`")]
    Extract {
        /// The member.
        member: String,
        /// The wheel.
        wheel: String,
        /// What is wrong.
        #[source]
        source: WheelError,
    },
    /// The index has no wheel of that release.
    #[error("there is no wheel of {package} {version}")]
    NoWheel {
        /// Whose.
        package: PackageName,
        /// Which release.
        version: Version,
    },
    /// The wheel has no such file.
    #[error("`{wheel}` has no file `{member}`")]
    NoMember {
        /// The wheel.
        wheel: String,
        /// The member.
        member: String,
    },
}

impl Explain for MemberError {
    fn kind(&self) -> Kind {
        match self {
            Self::Upstream(error) => error.kind(),
            Self::Metadata(error) => error.kind(),
            Self::Wheel(error) => error.kind(),
            Self::Extract { .. } => Kind::Integrity,
            Self::NoWheel { .. } | Self::NoMember { .. } => Kind::Input,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Upstream(error) => error.hints(),
            Self::Metadata(error) => error.hints(),
            Self::Wheel(error) => error.hints(),
            Self::NoMember { wheel, .. } => vec![format!("`unzip -l {wheel}` lists what it has")],
            Self::Extract { .. } | Self::NoWheel { .. } => Vec::new(),
        }
    }
}

/// The bytes of `member` in a wheel of that release: in the one for any system where there is one, else in the smallest.
pub async fn member(
    io: &Arc<Io>,
    indexes: &IndexOptions,
    release: (&PackageName, &Version),
    member: &str,
) -> Result<Vec<u8>, MemberError> {
    let (package, version) = release;
    let upstream = Upstream::new(Arc::clone(io), indexes.clone());
    let files = upstream.files(package).await?.unwrap_or_default();
    let Some((name, file)) = pick(files, version) else {
        return Err(MemberError::NoWheel { package: package.clone(), version: version.clone() });
    };
    if let Some(size) = file.size.filter(|_| file.url.scheme() != "file") {
        let cached = file.sha256.map(|sha256| io.cached_wheel(&name, sha256)).transpose()?.flatten().is_some();
        let owned = member.to_owned();
        if !cached && let Some(bytes) = metadata::by_ranges(io, &file, size, &move |name| name == owned).await? {
            return Ok(bytes);
        }
    }
    let wheel = match (file.url.to_file_path(), file.sha256) {
        (Ok(path), _) if file.url.scheme() == "file" => {
            let sha256 = crate::io::wheels::sha256_of_file(&path);
            io.adopt_wheel(&name, &path, sha256.map_err(|source| WheelsError::Local { path: path.clone(), source })?)?
        }
        _ => io.wheel(Wanted { name: &name, url: &file.url, sha256: file.sha256, size: file.size }).await?,
    };
    let about = wheel.index.member(member);
    let about = about.ok_or_else(|| MemberError::NoMember { wheel: name.text.clone(), member: member.to_owned() })?;
    let mut bytes = Vec::new();
    let failed = |source| MemberError::Extract { member: member.to_owned(), wheel: name.text.clone(), source };
    let mut opened =
        fs_err::File::open(&wheel.path).map_err(|source| WheelsError::Local { path: wheel.path.clone(), source })?;
    wheel::extract(&mut opened, about, &mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn pick(files: Vec<File>, version: &Version) -> Option<(WheelName, File)> {
    let wheels = files.into_iter().filter_map(|file| {
        let name: WheelName = file.filename.parse().ok()?;
        (name.version == *version).then_some((name, file))
    });
    wheels.min_by_key(|(name, file)| {
        let anywhere = name.text.ends_with("-none-any.whl");
        (!anywhere, file.size.unwrap_or(u64::MAX), name.text.clone())
    })
}
