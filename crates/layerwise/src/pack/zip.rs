//! The deterministic zip.
//!
//! Members of wheels are copied compressed, as they are, under their new names; only what we generated is
//! compressed. Order, times, modes and all other fields follow from the tree alone. Format: PKWARE's APPNOTE.TXT
//! 6.3.10, version 2.0, no data descriptors, no extra fields; ZIP64 only for more than 65,535 files.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use fs_err as fs;
use sha2::Digest as _;
use tempfile::NamedTempFile;
use xxhash_rust::xxh3::Xxh3;

use crate::error::{Explain, Kind};
use crate::model::{Content, Entry, FoundFile, LayerPath, Sha256, Tree, WheelName};
use crate::wheel::{Method, WheelIndex};

/// A wheel to copy from.
#[derive(Debug, Clone, Copy)]
pub struct WheelFile<'a> {
    /// Its name, for messages.
    pub name: &'a WheelName,
    /// Where it is.
    pub path: &'a Path,
    /// What is in it.
    pub index: &'a WheelIndex,
}

/// Remembers compressed forms of generated files by the digest of their plain form.
pub trait DeflatedCache {
    /// The compressed form, if it is there.
    fn get(&self, plain: Sha256) -> Option<Vec<u8>>;
    /// Keeps it; failing to is nobody's trouble.
    fn put(&self, plain: Sha256, deflated: &[u8]);
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// Of the zip's bytes.
    pub sha256: Sha256,
    /// The zip's size in bytes.
    pub zipped_bytes: u64,
    /// The share of each wheel, and behind them of what no wheel brings, in bytes, headers included.
    pub zipped_by_owner: Vec<u64>,
}

/// No zip was written; what stood at the output still stands there.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The output cannot be written.
    #[error("failed to write `{}`", path.display())]
    Write {
        /// The output.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The cache's copy of a wheel is not what it was.
    #[error("`{wheel}` in the cache is corrupt (at `{member}`)")]
    CorruptWheel {
        /// The wheel.
        wheel: String,
        /// The member.
        member: String,
    },
    /// The cache's copy of a wheel cannot be read.
    #[error("failed to read `{wheel}` in the cache")]
    Read {
        /// The wheel.
        wheel: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file that goes in as it is cannot be read.
    #[error("failed to read `{}`", path.display())]
    File {
        /// Where it is.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file that goes in as it is changed while it was packed.
    #[error("`{}` has changed while it was packed", .0.display())]
    Changed(PathBuf),
    /// A file or the archive beyond what a zip without ZIP64 sizes holds.
    #[error("`{path}` would need a zip of 4 GiB or more")]
    TooLarge {
        /// The file at which it happened.
        path: String,
    },
}

impl Explain for PackError {
    fn kind(&self) -> Kind {
        match self {
            Self::Write { .. } | Self::Read { .. } => Kind::System,
            Self::File { .. } => Kind::Input,
            Self::CorruptWheel { .. } | Self::Changed(_) => Kind::Integrity,
            Self::TooLarge { .. } => Kind::Limit,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Write { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                vec!["free some disk space, or run `layerwise cache prune`".to_owned()]
            }
            Self::Write { .. } => vec!["name another place with `--output`".to_owned()],
            Self::CorruptWheel { .. } => vec!["run `layerwise cache clean`; is the disk failing?".to_owned()],
            Self::Changed(_) => vec!["build again".to_owned()],
            Self::Read { .. } | Self::File { .. } | Self::TooLarge { .. } => Vec::new(),
        }
    }
}

/// 1980-01-01 00:00:00, the first moment a zip can name: date in the high 16 bits, time in the low ones.
const DOS_EPOCH: u32 = (1 << 5 | 1) << 16;
const VERSION: u16 = 20;
const MADE_BY_UNIX: u16 = 3 << 8 | VERSION;
const NAME_IS_UTF8: u16 = 1 << 11;
/// Output is handed to the disk and to the hasher in pieces of this size.
const PIECE: usize = 256 << 10;
/// Pieces under way between writer and hasher: the most memory this takes.
const PIECES: usize = 16;
/// The disk is to begin each time that so many bytes have been written, or there is much left to do at the end.
const SYNC_EVERY: usize = 16 << 20;
/// Wheels kept open at once; macOS allows a process 256 files.
const OPEN_WHEELS: usize = 64;

/// A complete zip that has not got its name yet; it goes away when dropped.
#[derive(Debug)]
pub struct Unplaced {
    packed: Packed,
    file: NamedTempFile,
    output: PathBuf,
}

impl Unplaced {
    /// Gives it its name, over what stood there.
    pub fn place(self) -> Result<Packed, PackError> {
        let Self { packed, file, output } = self;
        file.persist(&output).map_err(|error| PackError::Write { path: output, source: error.error })?;
        Ok(packed)
    }
}

/// Writes `tree` beside `output`, synced; [`Unplaced::place`] renames it.
pub fn zip(
    tree: &Tree,
    wheels: &[WheelFile<'_>],
    found: &[FoundFile],
    deflated: &dyn DeflatedCache,
    output: &Path,
) -> Result<Unplaced, PackError> {
    let failed = |source| PackError::Write { path: output.to_owned(), source };
    let dir = output.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(dir).map_err(failed)?;
    let file = aside(dir).map_err(failed)?;
    remove_abandoned(dir, &file);

    let (packed, file) = std::thread::scope(|scope| {
        let (to_hash, pieces) = mpsc::sync_channel::<(Box<[u8]>, usize)>(PIECES);
        let (done, recycled) = mpsc::channel::<Box<[u8]>>();
        let hasher = scope.spawn(move || {
            let mut hasher = sha2::Sha256::new();
            for (piece, filled) in pieces {
                hasher.update(&piece[..filled]);
                // The writer may be gone already: then nobody needs the buffer.
                drop(done.send(piece));
            }
            Sha256::from_hasher(hasher)
        });
        let early = file.as_file().try_clone().map_err(failed)?;
        let (to_sync, written) = mpsc::sync_channel::<()>(0);
        // The system tells of a failed write once, so an error here is the only word of it.
        let syncing = scope.spawn(move || written.into_iter().try_for_each(|()| early.sync_data()));
        let mut writer = Writer {
            file,
            to_sync,
            unsynced: 0,
            piece: fresh_piece(),
            filled: 0,
            to_hash,
            recycled,
            offset: 0,
            directory: Vec::with_capacity(tree.len() * 128),
            by_owner: vec![0; wheels.len() + 1],
            output,
        };
        let mut sources = Sources { wheels, found, files: wheels.iter().map(|_| None).collect(), open: 0 };
        for (path, entry) in tree.iter() {
            writer.member(path, entry, &mut sources, deflated)?;
        }
        writer.finish(tree.len())?;
        let Writer { file, to_hash, to_sync, offset, by_owner, .. } = writer;
        drop((to_hash, to_sync));
        // The disk works while the last pieces are hashed.
        file.as_file().sync_data().map_err(failed)?;
        syncing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).map_err(failed)?;
        let sha256 = hasher.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok((Packed { sha256, zipped_bytes: offset, zipped_by_owner: by_owner }, file))
    })?;
    Ok(Unplaced { packed, file, output: output.to_owned() })
}

/// A file to fill beside its destination, with the mode that the user's umask gives. It goes away when dropped.
pub fn aside(dir: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX).suffix(SUFFIX);
    #[cfg(unix)]
    let builder = {
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(std::fs::Permissions::from_mode(0o666))
    };
    builder.tempfile_in(dir)
}

const PREFIX: &str = ".layerwise-";
const SUFFIX: &str = ".tmp";

/// Removes what killed builds left here, as long as it is an hour older than our own file. Best effort.
fn remove_abandoned(dir: &Path, ours: &NamedTempFile) {
    let Ok(now) = ours.as_file().metadata().and_then(|about| about.modified()) else { return };
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(PREFIX)
            && name.ends_with(SUFFIX)
            && let Ok(modified) = entry.metadata().and_then(|about| about.modified())
            && now.duration_since(modified).is_ok_and(|age| age.as_secs() > 3600)
        {
            drop(fs::remove_file(entry.path()));
        }
    }
}

struct Writer<'a> {
    file: NamedTempFile,
    /// Always `PIECE` long; the first `filled` bytes count. Buffers are used again as they are: clearing them would
    /// cost as much as copying.
    piece: Box<[u8]>,
    filled: usize,
    to_hash: mpsc::SyncSender<(Box<[u8]>, usize)>,
    /// Has the disk begin with what has been written, if it is not at work already.
    to_sync: mpsc::SyncSender<()>,
    /// Bytes since it was last told.
    unsynced: usize,
    recycled: mpsc::Receiver<Box<[u8]>>,
    /// Bytes of the archive so far, the current piece included.
    offset: u64,
    directory: Vec<u8>,
    by_owner: Vec<u64>,
    output: &'a Path,
}

/// The fields of a member's two headers that are not the same for all.
struct Header<'a> {
    name: &'a str,
    method: u16,
    crc32: u32,
    compressed: u32,
    size: u32,
    executable: bool,
    offset: u32,
}

impl Writer<'_> {
    fn member(
        &mut self,
        path: &LayerPath,
        entry: &Entry,
        sources: &mut Sources<'_>,
        deflated: &dyn DeflatedCache,
    ) -> Result<(), PackError> {
        let too_large = || PackError::TooLarge { path: path.to_string() };
        let narrow = |number: u64| u32::try_from(number).ok().filter(|n| *n < u32::MAX).ok_or_else(too_large);
        let start = self.offset;
        let mut header = Header {
            name: path.as_str(),
            method: 0,
            crc32: 0,
            compressed: 0,
            size: narrow(entry.size())?,
            executable: entry.executable,
            offset: narrow(start)?,
        };
        match &entry.content {
            Content::Member { member, .. } => {
                let about = &sources.wheels[entry.owner].index.members[*member];
                header.method = if about.method == Method::Deflated { 8 } else { 0 };
                header.crc32 = about.crc32;
                header.compressed = narrow(about.compressed)?;
                self.local_header(&header)?;
                self.copy(entry.owner, *member, sources)?;
            }
            Content::Generated(plain) => self.plain(plain, None, &mut header, deflated)?,
            Content::File { file, sha256, .. } => {
                let path = &sources.found[*file].path;
                let plain = fs::read(path).map_err(|source| PackError::File { path: path.clone(), source })?;
                if Sha256::of(&plain) != *sha256 {
                    return Err(PackError::Changed(path.clone()));
                }
                self.plain(&plain, Some(*sha256), &mut header, deflated)?;
            }
        }
        let before = self.directory.len();
        self.directory_entry(&header);
        self.by_owner[entry.owner] += self.offset - start + (self.directory.len() - before) as u64;
        Ok(())
    }

    /// Compresses a file's bytes and writes them behind their header.
    fn plain(
        &mut self,
        plain: &[u8],
        sha256: Option<Sha256>,
        header: &mut Header<'_>,
        deflated: &dyn DeflatedCache,
    ) -> Result<(), PackError> {
        let packed = deflate(plain, sha256, deflated);
        let (method, bytes) = if packed.len() < plain.len() { (8, packed.as_slice()) } else { (0, plain) };
        header.method = method;
        header.crc32 = crc32fast::hash(plain);
        let narrow = u32::try_from(bytes.len()).ok().filter(|length| *length < u32::MAX);
        header.compressed = narrow.ok_or_else(|| PackError::TooLarge { path: header.name.to_owned() })?;
        self.local_header(header)?;
        self.bytes(bytes)
    }

    fn local_header(&mut self, header: &Header<'_>) -> Result<(), PackError> {
        let mut bytes = Vec::with_capacity(30 + header.name.len());
        bytes.extend_from_slice(b"PK\x03\x04");
        header.common(&mut bytes);
        bytes.extend_from_slice(&0u16.to_le_bytes()); // extra
        bytes.extend_from_slice(header.name.as_bytes());
        self.bytes(&bytes)
    }

    fn directory_entry(&mut self, header: &Header<'_>) {
        let bytes = &mut self.directory;
        let mode: u32 = if header.executable { 0o100_755 } else { 0o100_644 };
        bytes.extend_from_slice(b"PK\x01\x02");
        bytes.extend_from_slice(&MADE_BY_UNIX.to_le_bytes());
        header.common(bytes);
        bytes.extend_from_slice(&[0; 8]); // extra, comment, disk, internal attributes
        bytes.extend_from_slice(&(mode << 16).to_le_bytes());
        bytes.extend_from_slice(&header.offset.to_le_bytes());
        bytes.extend_from_slice(header.name.as_bytes());
    }

    fn finish(&mut self, entries: usize) -> Result<(), PackError> {
        let too_large = || PackError::TooLarge { path: "the directory".to_owned() };
        let start = self.offset;
        let directory = std::mem::take(&mut self.directory);
        self.bytes(&directory)?;
        let (start32, size32) = (u32::try_from(start), u32::try_from(directory.len()));
        let (Ok(start32), Ok(size32)) = (start32, size32) else { return Err(too_large()) };
        let mut end = Vec::new();
        if entries >= usize::from(u16::MAX) {
            let (entries, size, at) = (entries as u64, directory.len() as u64, self.offset);
            end.extend_from_slice(b"PK\x06\x06");
            end.extend_from_slice(&44u64.to_le_bytes());
            end.extend_from_slice(&MADE_BY_UNIX.to_le_bytes());
            end.extend_from_slice(&45u16.to_le_bytes());
            end.extend_from_slice(&[0; 8]); // disks
            for number in [entries, entries, size, start] {
                end.extend_from_slice(&number.to_le_bytes());
            }
            end.extend_from_slice(b"PK\x06\x07\0\0\0\0");
            end.extend_from_slice(&at.to_le_bytes());
            end.extend_from_slice(&1u32.to_le_bytes());
        }
        let entries = u16::try_from(entries).unwrap_or(u16::MAX);
        end.extend_from_slice(b"PK\x05\x06\0\0\0\0");
        end.extend_from_slice(&entries.to_le_bytes());
        end.extend_from_slice(&entries.to_le_bytes());
        end.extend_from_slice(&size32.to_le_bytes());
        end.extend_from_slice(&start32.to_le_bytes());
        end.extend_from_slice(&0u16.to_le_bytes()); // comment
        self.bytes(&end)?;
        self.hand_over()
    }

    /// Copies a member's bytes and compares them with what the index remembers of them.
    fn copy(&mut self, owner: usize, member: usize, sources: &mut Sources<'_>) -> Result<(), PackError> {
        let wheel = &sources.wheels[owner];
        let about = &wheel.index.members[member];
        let corrupt = || PackError::CorruptWheel {
            wheel: wheel.name.text.clone(),
            member: about.name.escape_debug().to_string(),
        };
        let mut check = Xxh3::new();
        let mut at = about.offset;
        let end = about.offset + about.compressed;
        while at < end {
            if self.filled == PIECE {
                self.hand_over()?;
            }
            let room = (PIECE - self.filled) as u64;
            let length = usize::try_from(room.min(end - at)).unwrap_or(PIECE);
            let target = &mut self.piece[self.filled..self.filled + length];
            sources.read_at(owner, target, at).map_err(|source| match source.kind() {
                // Cut short, or removed by `cache clean` meanwhile: to be fetched again.
                io::ErrorKind::UnexpectedEof | io::ErrorKind::NotFound => corrupt(),
                _ => PackError::Read { wheel: wheel.name.text.clone(), source },
            })?;
            check.update(target);
            self.filled += length;
            at += length as u64;
            self.offset += length as u64;
        }
        if check.digest() == about.check { Ok(()) } else { Err(corrupt()) }
    }

    fn bytes(&mut self, mut bytes: &[u8]) -> Result<(), PackError> {
        self.offset += bytes.len() as u64;
        while !bytes.is_empty() {
            if self.filled == PIECE {
                self.hand_over()?;
            }
            let (now, later) = bytes.split_at(bytes.len().min(PIECE - self.filled));
            self.piece[self.filled..self.filled + now.len()].copy_from_slice(now);
            self.filled += now.len();
            bytes = later;
        }
        Ok(())
    }

    /// Writes the current piece and gives it to the hasher; takes a used one back where there is one.
    fn hand_over(&mut self) -> Result<(), PackError> {
        let written = self.file.as_file_mut().write_all(&self.piece[..self.filled]);
        written.map_err(|source| PackError::Write { path: self.output.to_owned(), source })?;
        self.unsynced += self.filled;
        if self.unsynced >= SYNC_EVERY && self.to_sync.try_send(()).is_ok() {
            self.unsynced = 0;
        }
        let fresh = self.recycled.try_recv().unwrap_or_else(|_| fresh_piece());
        let full = std::mem::replace(&mut self.piece, fresh);
        // The hasher ends only after this side has closed the channel.
        drop(self.to_hash.send((full, self.filled)));
        self.filled = 0;
        Ok(())
    }
}

fn fresh_piece() -> Box<[u8]> {
    vec![0; PIECE].into_boxed_slice()
}

impl Header<'_> {
    /// From "version needed" to "file name length": the same 24 bytes in both headers.
    fn common(&self, bytes: &mut Vec<u8>) {
        let flags = if self.name.is_ascii() { 0 } else { NAME_IS_UTF8 };
        let length = u16::try_from(self.name.len()).expect("a LayerPath has at most 4,096 bytes");
        for number in [VERSION, flags, self.method] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for number in [DOS_EPOCH, self.crc32, self.compressed, self.size] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&length.to_le_bytes());
    }
}

/// Compressed by miniz_oxide, whose output depends on its input alone. (zlib-ng and its kin choose by the
/// processor's features, so their output may differ from machine to machine.)
fn deflate(plain: &[u8], sha256: Option<Sha256>, cache: &dyn DeflatedCache) -> Vec<u8> {
    const WORTH_CACHING: usize = 4096;
    const LEVEL: u8 = 6;
    if plain.len() < WORTH_CACHING {
        return miniz_oxide::deflate::compress_to_vec(plain, LEVEL);
    }
    let key = sha256.unwrap_or_else(|| Sha256::of(plain));
    cache.get(key).unwrap_or_else(|| {
        let packed = miniz_oxide::deflate::compress_to_vec(plain, LEVEL);
        cache.put(key, &packed);
        packed
    })
}

/// What is copied from: the wheels' files, opened when needed, and files that go in as they are.
struct Sources<'a> {
    wheels: &'a [WheelFile<'a>],
    found: &'a [FoundFile],
    files: Vec<Option<fs::File>>,
    open: usize,
}

impl Sources<'_> {
    fn read_at(&mut self, owner: usize, target: &mut [u8], at: u64) -> io::Result<()> {
        if self.files[owner].is_none() {
            if self.open == OPEN_WHEELS {
                self.files.fill_with(|| None);
                self.open = 0;
            }
            self.files[owner] = Some(fs::File::open(self.wheels[owner].path)?);
            self.open += 1;
        }
        let file = self.files[owner].as_ref().expect("it was opened above");
        read_exact_at(file, target, at)
    }
}

#[cfg(unix)]
fn read_exact_at(file: &fs::File, target: &mut [u8], at: u64) -> io::Result<()> {
    use std::os::unix::fs::FileExt as _;
    file.file().read_exact_at(target, at)
}

#[cfg(windows)]
fn read_exact_at(file: &fs::File, mut target: &mut [u8], mut at: u64) -> io::Result<()> {
    use std::os::windows::fs::FileExt as _;
    while !target.is_empty() {
        match file.file().seek_read(target, at)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                target = &mut target[read..];
                at += read as u64;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use layerwise_testkit::{Member, Wheel, wheel};

    use super::*;
    use crate::wheel::directory;

    struct Forgets;

    impl DeflatedCache for Forgets {
        fn get(&self, _: Sha256) -> Option<Vec<u8>> {
            None
        }
        fn put(&self, _: Sha256, _: &[u8]) {}
    }

    /// A wheel on disk with its index.
    struct Kept {
        dir: tempfile::TempDir,
        name: WheelName,
        path: PathBuf,
        index: WheelIndex,
    }

    fn keep(wheel: &Wheel) -> Kept {
        let dir = tempfile::tempdir().unwrap();
        let name: WheelName = wheel.filename.parse().unwrap();
        let path = dir.path().join(&wheel.filename);
        fs::write(&path, &wheel.bytes).unwrap();
        let index = crate::wheel::index(&mut io::Cursor::new(&wheel.bytes), &name).unwrap();
        Kept { dir, name, path, index }
    }

    impl Kept {
        fn file(&self) -> WheelFile<'_> {
            WheelFile { name: &self.name, path: &self.path, index: &self.index }
        }

        fn entry(&self, name: &str) -> Entry {
            let member = self.index.members.iter().position(|member| member.name == name).unwrap();
            let about = &self.index.members[member];
            let content = Content::Member { member, sha256: about.sha256, size: about.size };
            Entry { owner: 0, content, executable: about.executable }
        }

        fn output(&self) -> PathBuf {
            self.dir.path().join("out/layer.zip")
        }
    }

    fn path(text: &str) -> LayerPath {
        LayerPath::new(text).unwrap()
    }

    fn generated(text: &str) -> Entry {
        Entry { owner: 0, content: Content::Generated(text.into()), executable: false }
    }

    fn sample() -> (Kept, Tree) {
        let noise: Vec<u8> = (0..100_000u32).flat_map(|n| *Sha256::of(&n.to_le_bytes()).as_bytes()).collect();
        let kept = keep(
            &wheel("a", "1.0")
                .file("a.py", "x = 1\n".repeat(100))
                .executable("run", "x")
                .member(Member::new("stored", "s").stored())
                .member(Member::new("streamed", "t".repeat(99)).streamed())
                .member(Member::new("empty", "").stored())
                .member(Member::new("large", noise).stored())
                .build(),
        );
        let mut tree = Tree::default();
        for name in ["a.py", "run", "stored", "streamed", "empty", "large"] {
            tree.insert(path(&format!("python/{name}")), kept.entry(name));
        }
        tree.insert(path("python/ü.txt"), generated(&"g".repeat(10_000)));
        tree.insert(path("python/short"), generated("x"));
        (kept, tree)
    }

    #[test]
    fn the_same_tree_gives_the_same_bytes_and_they_are_read_back() {
        let (kept, tree) = sample();
        let packed = zip(&tree, &[kept.file()], &[], &Forgets, &kept.output()).and_then(Unplaced::place).unwrap();
        let bytes = fs::read(kept.output()).unwrap();
        assert_eq!(packed.sha256, Sha256::of(&bytes));
        assert_eq!(packed.zipped_bytes, bytes.len() as u64);
        assert_eq!(packed.zipped_by_owner.iter().sum::<u64>(), bytes.len() as u64 - 22);
        let other = kept.dir.path().join("other.zip");
        zip(&tree, &[kept.file()], &[], &Forgets, &other).and_then(Unplaced::place).unwrap();
        assert_eq!(fs::read(&other).unwrap(), bytes);

        let members = directory::read(&mut io::Cursor::new(&bytes)).unwrap();
        assert_eq!(members.len(), tree.len());
        for (member, (path, entry)) in members.iter().zip(tree.iter()) {
            let read = crate::wheel::Member {
                name: member.name.clone(),
                method: member.method,
                crc32: member.crc32,
                compressed: member.compressed,
                size: member.size,
                offset: member.offset,
                sha256: entry.sha256(),
                check: 0,
                executable: member.executable,
            };
            let mut plain = Vec::new();
            crate::wheel::extract(&mut io::Cursor::new(&bytes), &read, &mut plain).unwrap();
            assert_eq!((member.name.as_str(), Sha256::of(&plain)), (path.as_str(), entry.sha256()));
            assert_eq!(member.executable, entry.executable);
        }
        // The first local header: version 2.0, no flags, 1980-01-01 00:00, no extra field.
        assert_eq!(bytes[..8], *b"PK\x03\x04\x14\0\0\0");
        assert_eq!(bytes[10..14], [0, 0, 0x21, 0]);
        assert_eq!(bytes[28..30], [0, 0]);
    }

    /// Another compressor's bytes must not meet those that caches hold: a change here needs a new name of
    /// `Bucket::Deflated`, or two caches give two zips.
    #[test]
    fn the_compressor_has_not_changed() {
        let plain: Vec<u8> =
            (0..5000u32).flat_map(|n| format!("line {} of {}\n", n * 7919 % 1000, n).into_bytes()).collect();
        let packed = Sha256::of(&deflate(&plain, None, &Forgets)).to_string();
        assert_eq!(packed, "dff597cfae9e85244fa3ed369deaf5319b03fc5177460a67eb21981aee75caaf");
    }

    #[test]
    fn more_than_65_535_files() {
        let kept = keep(&wheel("a", "1.0").member(Member::new("m", "abc").stored()).build());
        for count in [65_534, 65_535, 65_536, 70_000] {
            let mut tree = Tree::default();
            for n in 0..count {
                tree.insert(path(&format!("python/{n}")), kept.entry("m"));
            }
            zip(&tree, &[kept.file()], &[], &Forgets, &kept.output()).and_then(Unplaced::place).unwrap();
            let mut file = fs::File::open(kept.output()).unwrap();
            assert_eq!(directory::read(&mut file).unwrap().len(), count);
            let zip64 = fs::read(kept.output()).unwrap().windows(4).any(|window| window == b"PK\x06\x06");
            assert_eq!(zip64, count >= 65_535, "{count}");
        }
        let Some(python) = (9..=13).rev().find_map(layerwise_testkit::python) else {
            eprintln!("SKIPPED: no python3 to read the ZIP64 archive with");
            return;
        };
        let program =
            "import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); print(len(z.namelist()), z.read('python/69999'))";
        let read = std::process::Command::new(python).args(["-c", program]).arg(kept.output()).output().unwrap();
        assert_eq!(
            String::from_utf8_lossy(&read.stdout),
            "70000 b'abc'\n",
            "{}",
            String::from_utf8_lossy(&read.stderr)
        );
    }

    /// What goes wrong is said, the old artifact stays, and nothing is left beside it.
    #[test]
    fn failures() {
        let (kept, tree) = sample();
        fs::create_dir_all(kept.output().parent().unwrap()).unwrap();
        fs::write(kept.output(), "old").unwrap();
        let good = fs::read(&kept.path).unwrap();
        let check = |expected: &str| {
            let error =
                zip(&tree, &[kept.file()], &[], &Forgets, &kept.output()).and_then(Unplaced::place).unwrap_err();
            assert_eq!(error.to_string(), expected);
            assert_eq!(fs::read(kept.output()).unwrap(), b"old");
            assert_eq!(fs::read_dir(kept.output().parent().unwrap()).unwrap().count(), 1);
        };
        let large = kept.index.member("large").unwrap();
        for at in [large.offset, large.offset + large.compressed - 1] {
            let mut rotten = good.clone();
            rotten[usize::try_from(at).unwrap()] ^= 1;
            fs::write(&kept.path, &rotten).unwrap();
            check("`a-1.0-py3-none-any.whl` in the cache is corrupt (at `large`)");
        }
        fs::write(&kept.path, &good[..2_000_000]).unwrap();
        check("`a-1.0-py3-none-any.whl` in the cache is corrupt (at `large`)");
        fs::remove_file(&kept.path).unwrap();
        check("`a-1.0-py3-none-any.whl` in the cache is corrupt (at `a.py`)");

        let below_a_file = kept.output().join("x.zip");
        let error = zip(&Tree::default(), &[], &[], &Forgets, &below_a_file).and_then(Unplaced::place).unwrap_err();
        assert_eq!(error.to_string(), format!("failed to write `{}`", below_a_file.display()));
        let huge =
            Entry { content: Content::Member { member: 0, sha256: Sha256::of(b""), size: 1 << 32 }, ..generated("") };
        let mut tree = Tree::default();
        tree.insert(path("python/huge"), huge);
        let error = zip(&tree, &[kept.file()], &[], &Forgets, &kept.output()).and_then(Unplaced::place).unwrap_err();
        assert_eq!(error.to_string(), "`python/huge` would need a zip of 4 GiB or more");
    }

    #[test]
    fn leftovers_of_killed_builds_go() {
        let dir = tempfile::tempdir().unwrap();
        let now = aside(dir.path()).unwrap();
        let time = now.as_file().metadata().unwrap().modified().unwrap();
        for (name, seconds) in [(".layerwise-old.tmp", 7200), (".layerwise-new.tmp", 60), ("other.tmp", 7200)] {
            let file = fs::File::create(dir.path().join(name)).unwrap();
            file.file().set_modified(time - std::time::Duration::from_secs(seconds)).unwrap();
        }
        remove_abandoned(dir.path(), &now);
        let left = [".layerwise-old.tmp", ".layerwise-new.tmp", "other.tmp"].map(|name| dir.path().join(name).exists());
        assert_eq!(left, [false, true, true]);
    }
}
