//! Facts about an ELF file, from its bytes.
//!
//! They are read as glibc's loader reads them: from the segments and the dynamic section. Section headers may be
//! stripped or lie; the loader never looks at them, and neither does this. Sources:
//! <https://refspecs.linuxfoundation.org/elf/gabi4+/contents.html>, the versions of symbols in
//! <https://refspecs.linuxfoundation.org/LSB_5.0.0/LSB-Core-generic/LSB-Core-generic/symversion.html>, and
//! `elf/dl-load.c`, `elf/dl-version.c` and `elf/dl-lookup.c` of glibc.

use std::fmt;

use object::Endianness;
use object::elf;
use object::read::elf::{
    Dyn as _, FileHeader, GnuHashTable, HashTable, NoteIterator, ProgramHeader as _, Rel as _, Rela as _, Sym as _,
};
use object::read::{ReadRef as _, StringTable};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// What an ELF file is, needs and offers.
///
/// Of an object file (`ET_REL`) or a core only `machine`, `bits`, `little_endian` and `kind` are known. Of a file for a
/// machine that is not Lambda's, the rest is what could be read: it is not worth an error that hides the real one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElfFacts {
    /// `e_machine`
    pub machine: Machine,
    /// 32 or 64.
    pub bits: u8,
    /// The byte order.
    pub little_endian: bool,
    /// `e_type`
    pub kind: ElfKind,
    /// There is a dynamic section. Without one a program is static, and a shared object cannot be loaded ("object file
    /// has no dynamic section").
    pub dynamic: bool,
    /// The loader a program asks for (`PT_INTERP`).
    pub interpreter: Option<String>,
    /// `DT_SONAME`
    pub soname: Option<String>,
    /// Each `DT_NEEDED`, in the order in which they are loaded.
    pub needed: Vec<String>,
    /// `DT_RPATH` at its colons. An empty one stands for the current directory. The loader ignores it if there is a
    /// `DT_RUNPATH`.
    pub rpath: Vec<String>,
    /// `DT_RUNPATH` at its colons.
    pub runpath: Vec<String>,
    /// The versions that other libraries must have, in the order of the file.
    pub versions: Vec<VersionNeed>,
    /// Symbols that must be found in some library, whatever its version: not weak. Sorted, unique.
    pub undefined: Vec<String>,
    /// [`symbol_hash`] of each symbol that others can use, sorted, unique. Ask with [`has_export`](Self::has_export).
    pub exports: Vec<u64>,
    /// The `X` of each exported `PyInit_X`, sorted, unique.
    pub modules: Vec<String>,
    /// Loading it makes the stack executable: `PT_GNU_STACK` says so. On x86-64 it also does where a shared object has
    /// no such segment (glibc's `DEFAULT_STACK_PERMS`); on AArch64 it does not.
    pub executable_stack: bool,
    /// `DT_TEXTREL` or `DF_TEXTREL`: relocating it writes to its code.
    pub text_relocations: bool,
    /// `DT_RELR`: its relocations are packed in a way that glibc reads from 2.36 on.
    pub relr: bool,
    /// `GNU_PROPERTY_X86_ISA_1_NEEDED`: bit 0 baseline, 1 x86-64-v2, 2 v3, 3 v4. 0 if it does not say.
    pub isa_needed: u32,
    /// All symbols are looked for when it is loaded (`DT_BIND_NOW` and its flags). Python asks for that anyway.
    pub bind_now: bool,
}

impl ElfFacts {
    /// Whether others can use a symbol of this name.
    pub fn has_export(&self, symbol: &str) -> bool {
        self.exports.binary_search(&symbol_hash(symbol.as_bytes())).is_ok()
    }
}

/// How [`ElfFacts::exports`] keeps names: their XXH3-64.
pub fn symbol_hash(name: &[u8]) -> u64 {
    xxh3_64(name)
}

/// For whom the code is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Machine {
    /// `EM_X86_64`
    X86_64,
    /// `EM_AARCH64`
    Aarch64,
    /// Any other, by its number.
    Other(u16),
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = match self {
            Self::X86_64 => return f.write_str("x86-64"),
            Self::Aarch64 => return f.write_str("AArch64"),
            Self::Other(number) => *number,
        };
        f.write_str(match elf::Machine(number) {
            elf::EM_386 => "i386",
            elf::EM_ARM => "ARM",
            elf::EM_RISCV => "RISC-V",
            elf::EM_PPC => "PowerPC",
            elf::EM_PPC64 => "PowerPC64",
            elf::EM_S390 => "S390",
            elf::EM_MIPS => "MIPS",
            elf::EM_SPARC | elf::EM_SPARC32PLUS | elf::EM_SPARCV9 => "SPARC",
            elf::EM_LOONGARCH => "LoongArch",
            elf::EM_IA_64 => "IA-64",
            elf::EM_BPF => "BPF",
            _ => return write!(f, "machine {number}"),
        })
    }
}

/// What the file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ElfKind {
    /// `ET_DYN`: a library, an extension module, or a program that runs at any address.
    SharedOrPie,
    /// `ET_EXEC`: a program with a fixed address.
    Executable,
    /// `ET_REL`: for a linker.
    Object,
    /// `ET_CORE`: what a crash left behind.
    Core,
    /// Any other, by its number.
    Other(u16),
}

/// A version that a library must have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionNeed {
    /// `libc.so.6`
    pub library: String,
    /// `GLIBC_2.28`
    pub version: String,
    /// The loader goes on without it (`VER_FLG_WEAK`).
    pub weak: bool,
}

/// Bytes that are not an ELF file which can be loaded, in the loader's words where it has some.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum ElfError {
    /// It does not begin as ELF files do.
    #[error("invalid ELF header")]
    NotElf,
    /// It ends within its header.
    #[error("file too short")]
    TooShort,
    /// It ends before what is to be loaded does. The loader does not notice; the process dies when it touches what is
    /// missing.
    #[error("the file is cut off: it has {bytes} of at least {needed} bytes")]
    CutOff {
        /// The file's.
        bytes: u64,
        /// What its segments say.
        needed: u64,
    },
    /// There is no segment to load.
    #[error("object file has no loadable segments")]
    NothingToLoad,
    /// A field has a value that the loader does not know.
    #[error("its {0} is of an unknown kind")]
    Unknown(Part),
    /// Something is not where the file says it is.
    #[error("its {0} lies outside of what it loads")]
    Outside(Part),
    /// More than any real file has, so that reading it would take too much time or memory.
    #[error("its {0} is larger than any real one")]
    TooLarge(Part),
}

/// A part of an ELF file, for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// The first bytes.
    Header,
    /// The program headers.
    Segments,
    /// `PT_INTERP`
    Interpreter,
    /// `PT_DYNAMIC`
    Dynamic,
    /// `DT_STRTAB`
    Names,
    /// `DT_SYMTAB`
    Symbols,
    /// `DT_GNU_HASH` or `DT_HASH`
    Hashes,
    /// `DT_RELA` and its kin.
    Relocations,
    /// `DT_VERNEED` or `DT_VERSYM`
    Versions,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "header",
            Self::Segments => "table of segments",
            Self::Interpreter => "interpreter's path",
            Self::Dynamic => "dynamic section",
            Self::Names => "string table",
            Self::Symbols => "symbol table",
            Self::Hashes => "hash table of symbols",
            Self::Relocations => "table of relocations",
            Self::Versions => "table of symbol versions",
        })
    }
}

const MOST_SYMBOLS: usize = 1_000_000;
const MOST_NEEDED: usize = 4096;
const MOST_DYNAMIC: usize = 1 << 16;
const MOST_VERSIONS: usize = 1 << 16;
/// Of a library, a version, a path of a loader, in bytes.
const LONGEST_NAME: usize = 4 << 10;
/// Of a list of paths, in bytes.
const LONGEST_PATHS: usize = 64 << 10;
/// All texts that are kept of one file, in bytes.
const MOST_KEPT: usize = 16 << 20;
/// Names may overlap in the string table (`memcpy` is the end of `wmemcpy`), but all of them together are never so many
/// times as long as the file, unless it was made to waste time.
const OVERLAP: usize = 16;
/// All notes of one file that are looked at, in bytes.
const MOST_NOTES: usize = 1 << 20;

/// Reads an ELF file.
///
/// ```
/// use layerwise::audit::elf::{ElfError, facts};
///
/// assert_eq!(facts(b"version https://git-lfs.github.com/spec/v1\n"), Err(ElfError::NotElf));
/// assert_eq!(facts(b"\x7fELF\x02\x01\x01"), Err(ElfError::TooShort));
/// ```
pub fn facts(bytes: &[u8]) -> Result<ElfFacts, ElfError> {
    if !elf::ELFMAG.starts_with(bytes.get(..4).unwrap_or(bytes)) {
        return Err(ElfError::NotElf);
    }
    match bytes.get(4) {
        None => Err(ElfError::TooShort),
        Some(1) => read::<elf::FileHeader32<Endianness>>(bytes),
        Some(2) => read::<elf::FileHeader64<Endianness>>(bytes),
        Some(_) => Err(ElfError::Unknown(Part::Header)),
    }
}

fn read<Elf: FileHeader<Endian = Endianness>>(bytes: &[u8]) -> Result<ElfFacts, ElfError> {
    let header = bytes.read_at::<Elf>(0).map_err(|()| ElfError::TooShort)?;
    let endian = match header.endian() {
        Ok(endian) if header.is_supported() => endian,
        _ => return Err(ElfError::Unknown(Part::Header)),
    };
    let machine = match header.e_machine(endian) {
        elf::EM_X86_64 => Machine::X86_64,
        elf::EM_AARCH64 => Machine::Aarch64,
        elf::Machine(number) => Machine::Other(number),
    };
    let kind = match header.e_type(endian) {
        elf::ET_REL => ElfKind::Object,
        elf::ET_EXEC => ElfKind::Executable,
        elf::ET_DYN => ElfKind::SharedOrPie,
        elf::ET_CORE => ElfKind::Core,
        elf::FileType(number) => ElfKind::Other(number),
    };
    let mut facts = ElfFacts {
        machine,
        bits: if header.is_type_64() { 64 } else { 32 },
        little_endian: header.is_little_endian(),
        kind,
        dynamic: false,
        interpreter: None,
        soname: None,
        needed: Vec::new(),
        rpath: Vec::new(),
        runpath: Vec::new(),
        versions: Vec::new(),
        undefined: Vec::new(),
        exports: Vec::new(),
        modules: Vec::new(),
        executable_stack: false,
        text_relocations: false,
        relr: false,
        isa_needed: 0,
        bind_now: false,
    };
    if !matches!(kind, ElfKind::SharedOrPie | ElfKind::Executable) {
        return Ok(facts);
    }
    let of_lambda = !matches!(machine, Machine::Other(_)) && facts.bits == 64 && facts.little_endian;
    match Image::<Elf>::open(bytes, header, endian).and_then(|image| image.fill(&mut facts)) {
        Err(error) if of_lambda => Err(error),
        _ => Ok(facts),
    }
}

/// A file as it is in memory once it is loaded.
struct Image<'data, Elf: FileHeader<Endian = Endianness>> {
    bytes: &'data [u8],
    endian: Endianness,
    segments: &'data [Elf::ProgramHeader],
}

impl<'data, Elf: FileHeader<Endian = Endianness>> Image<'data, Elf> {
    fn open(bytes: &'data [u8], header: &Elf, endian: Endianness) -> Result<Self, ElfError> {
        let count = usize::from(header.e_phnum(endian));
        if count > 0 && usize::from(header.e_phentsize(endian)) != size_of::<Elf::ProgramHeader>() {
            return Err(ElfError::Unknown(Part::Segments));
        }
        let segments = bytes.read_slice_at(header.e_phoff(endian).into(), count);
        let segments = segments.map_err(|()| ElfError::Outside(Part::Segments))?;
        let image = Self { bytes, endian, segments };
        // A segment without bytes in the file (`.bss`) may lie behind its end.
        let needed = image.of_type(elf::PT_LOAD).map(|load| match load.p_filesz(endian).into() {
            0 => 0,
            size => load.p_offset(endian).into().saturating_add(size),
        });
        match needed.max() {
            None => Err(ElfError::NothingToLoad),
            Some(needed) if needed > bytes.len() as u64 => Err(ElfError::CutOff { bytes: bytes.len() as u64, needed }),
            Some(_) => Ok(image),
        }
    }

    fn of_type(&self, kind: elf::ProgramType) -> impl DoubleEndedIterator<Item = &'data Elf::ProgramHeader> {
        let endian = self.endian;
        self.segments.iter().filter(move |segment| segment.p_type(endian) == kind)
    }

    /// What is loaded from the file at `address`, to the end of that segment. A later segment lies over an earlier one.
    fn at(&self, address: u64, part: Part) -> Result<&'data [u8], ElfError> {
        let mut loads = self.of_type(elf::PT_LOAD).rev();
        let found = loads.find_map(|load| {
            let start = address.checked_sub(load.p_vaddr(self.endian).into())?;
            let (offset, size) = (load.p_offset(self.endian).into(), load.p_filesz(self.endian).into());
            let size = size.checked_sub(start).filter(|size| *size > 0)?;
            self.bytes.read_bytes_at(offset.checked_add(start)?, size).ok()
        });
        found.ok_or(ElfError::Outside(part))
    }

    fn fill(&self, facts: &mut ElfFacts) -> Result<(), ElfError> {
        // The last one counts, and the default is the processor's.
        facts.executable_stack = match self.of_type(elf::PT_GNU_STACK).next_back() {
            Some(stack) => stack.p_flags(self.endian).contains(elf::PF_X),
            None => facts.machine == Machine::X86_64 && facts.kind == ElfKind::SharedOrPie,
        };
        if let Some(interpreter) = self.of_type(elf::PT_INTERP).next() {
            let path = interpreter.data(self.endian, self.bytes);
            let path = path.map_err(|()| ElfError::Outside(Part::Interpreter))?;
            let path = path.split(|byte| *byte == 0).next().unwrap_or_default();
            if path.len() > LONGEST_NAME {
                return Err(ElfError::TooLarge(Part::Interpreter));
            }
            facts.interpreter = Some(String::from_utf8_lossy(path).into_owned());
        }
        if matches!(facts.machine, Machine::X86_64) {
            facts.isa_needed = self.isa_needed();
        }
        let Some(dynamic) = self.dynamic()? else { return Ok(()) };
        facts.dynamic = true;
        let flags = elf::DynamicFlags(dynamic.value(elf::DT_FLAGS).unwrap_or_default());
        let flags_1 = elf::DynamicFlags1(dynamic.value(elf::DT_FLAGS_1).unwrap_or_default());
        facts.text_relocations = dynamic.value(elf::DT_TEXTREL).is_some() || flags.contains(elf::DF_TEXTREL);
        facts.bind_now = dynamic.value(elf::DT_BIND_NOW).is_some()
            || flags.contains(elf::DF_BIND_NOW)
            || flags_1.contains(elf::DF_1_NOW);
        facts.relr = dynamic.value(elf::DT_RELR).is_some();
        let table = dynamic.value(elf::DT_STRTAB).map(|address| self.at(address, Part::Names));
        let mut names = Names::new(table.transpose()?.unwrap_or_default(), self.bytes.len());
        for needed in dynamic.values(elf::DT_NEEDED) {
            if facts.needed.len() == MOST_NEEDED {
                return Err(ElfError::TooLarge(Part::Dynamic));
            }
            facts.needed.push(names.keep(needed, LONGEST_NAME)?);
        }
        if let Some(soname) = dynamic.value(elf::DT_SONAME) {
            facts.soname = Some(names.keep(soname, LONGEST_NAME)?);
        }
        for (tag, paths) in [(elf::DT_RPATH, &mut facts.rpath), (elf::DT_RUNPATH, &mut facts.runpath)] {
            if let Some(offset) = dynamic.value(tag) {
                let text = names.keep(offset, LONGEST_PATHS)?;
                paths.extend(text.split(':').filter(|_| !text.is_empty()).map(str::to_owned));
            }
        }
        let versioned = self.versions(&dynamic, &mut names, &mut facts.versions)?;
        self.symbols(&dynamic, &mut names, &versioned, facts)
    }

    /// The dynamic section up to its end, if there is one. As for the loader, an empty one is none, and the last counts.
    fn dynamic(&self) -> Result<Option<Dynamic<'data, Elf>>, ElfError> {
        let mut segments = self.of_type(elf::PT_DYNAMIC).rev();
        let Some(segment) = segments.find(|segment| segment.p_filesz(self.endian).into() > 0) else { return Ok(None) };
        let bytes = self.at(segment.p_vaddr(self.endian).into(), Part::Dynamic)?;
        let count = bytes.len() / size_of::<Elf::Dyn>();
        let entries: &[Elf::Dyn] = bytes.read_slice_at(0, count).map_err(|()| ElfError::Outside(Part::Dynamic))?;
        let mut entries = entries.split(|entry| entry.tag(self.endian) == elf::DT_NULL);
        let entries = entries.next().unwrap_or_default();
        if entries.len() > MOST_DYNAMIC {
            return Err(ElfError::TooLarge(Part::Dynamic));
        }
        Ok(Some(Dynamic { endian: self.endian, entries }))
    }

    /// Reads the versions needed; returns which numbers in `DT_VERSYM` stand for one.
    fn versions(
        &self,
        dynamic: &Dynamic<'_, Elf>,
        names: &mut Names<'_>,
        versions: &mut Vec<VersionNeed>,
    ) -> Result<Vec<bool>, ElfError> {
        let Some(address) = dynamic.value(elf::DT_VERNEED) else { return Ok(Vec::new()) };
        let mut versioned = vec![false; usize::from(elf::VERSYM_VERSION) + 1];
        let outside = |()| ElfError::Outside(Part::Versions);
        let table = self.at(address, Part::Versions)?;
        let mut entries = 0;
        // The loader goes by the offsets to the next one, up to one of 0, and not by the numbers of entries. The offsets
        // are not negative, so there is no way back.
        let mut offset = 0u64;
        loop {
            let library = table.read_at::<elf::Verneed<Endianness>>(offset).map_err(outside)?;
            if library.vn_version.get(self.endian) != elf::VER_NEED_CURRENT {
                return Err(ElfError::Unknown(Part::Versions));
            }
            let mut version_offset = offset + u64::from(library.vn_aux.get(self.endian));
            loop {
                entries += 1;
                if entries > MOST_VERSIONS {
                    return Err(ElfError::TooLarge(Part::Versions));
                }
                let version = table.read_at::<elf::Vernaux<Endianness>>(version_offset).map_err(outside)?;
                versions.push(VersionNeed {
                    library: names.keep(library.vn_file.get(self.endian).into(), LONGEST_NAME)?,
                    version: names.keep(version.vna_name.get(self.endian).into(), LONGEST_NAME)?,
                    weak: version.vna_flags.get(self.endian).contains(elf::VER_FLG_WEAK),
                });
                let number = usize::from(version.vna_other(self.endian).index().0);
                if let Some(known) = versioned.get_mut(number) {
                    *known = true;
                }
                match version.vna_next.get(self.endian) {
                    0 => break,
                    next => version_offset += u64::from(next),
                }
            }
            match library.vn_next.get(self.endian) {
                0 => break,
                next => offset += u64::from(next),
            }
        }
        Ok(versioned)
    }

    fn symbols(
        &self,
        dynamic: &Dynamic<'_, Elf>,
        names: &mut Names<'data>,
        versioned: &[bool],
        facts: &mut ElfFacts,
    ) -> Result<(), ElfError> {
        let Some(address) = dynamic.value(elf::DT_SYMTAB) else { return Ok(()) };
        let (count, first_export) = self.symbol_count(dynamic)?;
        if count > MOST_SYMBOLS {
            return Err(ElfError::TooLarge(Part::Symbols));
        }
        if count == 0 {
            return Ok(());
        }
        let symbols = self.at(address, Part::Symbols)?.read_slice_at::<Elf::Sym>(0, count);
        let symbols = symbols.map_err(|()| ElfError::Outside(Part::Symbols))?;
        let numbers: &[elf::Versym<Endianness>] = match dynamic.value(elf::DT_VERSYM) {
            Some(address) => {
                let numbers = self.at(address, Part::Versions)?.read_slice_at(0, count);
                numbers.map_err(|()| ElfError::Outside(Part::Versions))?
            }
            None => &[],
        };
        let (mut undefined, mut exports, mut modules) = (Vec::new(), Vec::new(), Vec::new());
        for (index, symbol) in symbols.iter().enumerate() {
            let (section, bind) = (symbol.st_shndx(self.endian), symbol.st_bind());
            if bind == elf::STB_LOCAL || symbol.st_name(self.endian) == 0 {
                continue;
            }
            if section == elf::SHN_UNDEF {
                let number = numbers.get(index).map_or(0, |number| usize::from(number.0.get(self.endian).index().0));
                // 0 and 1 stand for no version, and a number that no version has is no version either.
                if bind != elf::STB_WEAK && !(number > 1 && versioned.get(number) == Some(&true)) {
                    undefined.push(names.keep(symbol.st_name(self.endian).into(), usize::MAX)?);
                }
            } else if index >= first_export && !matches!(symbol.st_visibility(), elf::STV_HIDDEN | elf::STV_INTERNAL) {
                let name = names.get(symbol.st_name(self.endian).into())?;
                exports.push(symbol_hash(name));
                if let Some(module) = name.strip_prefix(b"PyInit_") {
                    names.kept(module.len())?;
                    modules.push(String::from_utf8_lossy(module).into_owned());
                }
            }
        }
        undefined.sort_unstable();
        undefined.dedup();
        exports.sort_unstable();
        exports.dedup();
        modules.sort_unstable();
        modules.dedup();
        // All or nothing: a list that broke off is neither sorted nor an answer.
        (facts.undefined, facts.exports, facts.modules) = (undefined, exports, modules);
        Ok(())
    }

    /// How many symbols there are, and the first that others can find.
    ///
    /// Nothing in the dynamic section says so. The loader finds what a file exports by its hash table (the GNU one if
    /// there are two), and what it imports by its relocations.
    fn symbol_count(&self, dynamic: &Dynamic<'_, Elf>) -> Result<(usize, usize), ElfError> {
        let as_count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        let wrong = |_| ElfError::Outside(Part::Hashes);
        if let Some(address) = dynamic.value(elf::DT_GNU_HASH) {
            let table = GnuHashTable::<Elf>::parse(self.endian, self.at(address, Part::Hashes)?).map_err(wrong)?;
            // Imports come first. A table without exports need not say where they end.
            return match table.symbol_table_length(self.endian) {
                Some(count) => Ok((as_count(count), as_count(table.symbol_base()))),
                None => Ok((self.relocated_symbols(dynamic)?, usize::MAX)),
            };
        }
        if let Some(address) = dynamic.value(elf::DT_HASH) {
            let table = HashTable::<Elf>::parse(self.endian, self.at(address, Part::Hashes)?).map_err(wrong)?;
            return Ok((as_count(table.symbol_table_length()), 0));
        }
        Ok((self.relocated_symbols(dynamic)?, usize::MAX))
    }

    /// One more than the highest number of a symbol in a relocation.
    fn relocated_symbols(&self, dynamic: &Dynamic<'_, Elf>) -> Result<usize, ElfError> {
        let plt_has_addends = dynamic.value(elf::DT_PLTREL) != u64::try_from(elf::DT_REL.0).ok();
        let tables = [
            (elf::DT_RELA, elf::DT_RELASZ, true),
            (elf::DT_REL, elf::DT_RELSZ, false),
            (elf::DT_JMPREL, elf::DT_PLTRELSZ, plt_has_addends),
        ];
        let mut most = 0;
        for (table, size, addends) in tables {
            let (Some(address), Some(size @ 1..)) = (dynamic.value(table), dynamic.value(size)) else { continue };
            let outside = |()| ElfError::Outside(Part::Relocations);
            let bytes = self.at(address, Part::Relocations)?.read_bytes_at(0, size).map_err(outside)?;
            let highest = if addends {
                let entries = bytes.read_slice_at::<Elf::Rela>(0, bytes.len() / size_of::<Elf::Rela>());
                entries.map_err(outside)?.iter().map(|entry| entry.r_sym(self.endian, false)).max()
            } else {
                let entries = bytes.read_slice_at::<Elf::Rel>(0, bytes.len() / size_of::<Elf::Rel>());
                entries.map_err(outside)?.iter().map(|entry| entry.r_sym(self.endian)).max()
            };
            most = most.max(highest.unwrap_or_default());
        }
        Ok(usize::try_from(most).unwrap_or(usize::MAX).saturating_add(usize::from(most > 0)))
    }

    /// As the loader, without a word about notes that are wrong.
    fn isa_needed(&self) -> u32 {
        let (mut needed, mut left) = (0, MOST_NOTES);
        for segment in self.of_type(elf::PT_NOTE).chain(self.of_type(elf::PT_GNU_PROPERTY)) {
            let Ok(bytes) = segment.data(self.endian, self.bytes) else { continue };
            let bytes = bytes.get(..left).unwrap_or(bytes);
            left -= bytes.len();
            let Ok(mut notes) = NoteIterator::<Elf>::new(self.endian, segment.p_align(self.endian), bytes) else {
                continue;
            };
            while let Ok(Some(note)) = notes.next() {
                for property in note.gnu_properties(self.endian).into_iter().flatten().map_while(Result::ok) {
                    if property.pr_type() == elf::GNU_PROPERTY_X86_ISA_1_NEEDED {
                        needed |= property.data_u32(self.endian).unwrap_or_default();
                    }
                }
            }
        }
        needed
    }
}

/// The entries of a dynamic section, without the one that ends it.
struct Dynamic<'data, Elf: FileHeader<Endian = Endianness>> {
    endian: Endianness,
    entries: &'data [Elf::Dyn],
}

impl<Elf: FileHeader<Endian = Endianness>> Dynamic<'_, Elf> {
    fn values(&self, tag: elf::DynamicTag) -> impl DoubleEndedIterator<Item = u64> {
        let of_tag = self.entries.iter().filter(move |entry| entry.tag(self.endian) == tag);
        of_tag.map(|entry| entry.val(self.endian))
    }

    /// The last one counts.
    fn value(&self, tag: elf::DynamicTag) -> Option<u64> {
        self.values(tag).next_back()
    }
}

/// The string table, and how much may still be read and kept of it.
struct Names<'data> {
    table: StringTable<'data>,
    readable: usize,
    keepable: usize,
}

impl<'data> Names<'data> {
    fn new(table: &'data [u8], file_bytes: usize) -> Self {
        let table = StringTable::new(table, 0, table.len() as u64);
        Self { table, readable: file_bytes.saturating_mul(OVERLAP), keepable: MOST_KEPT }
    }

    fn get(&mut self, offset: u64) -> Result<&'data [u8], ElfError> {
        let name = u32::try_from(offset).ok().and_then(|offset| self.table.get(offset).ok());
        let name = name.ok_or(ElfError::Outside(Part::Names))?;
        self.readable = self.readable.checked_sub(name.len()).ok_or(ElfError::TooLarge(Part::Names))?;
        Ok(name)
    }

    fn kept(&mut self, bytes: usize) -> Result<(), ElfError> {
        self.keepable = self.keepable.checked_sub(bytes).ok_or(ElfError::TooLarge(Part::Names))?;
        Ok(())
    }

    fn keep(&mut self, offset: u64, longest: usize) -> Result<String, ElfError> {
        let name = self.get(offset)?;
        if name.len() > longest {
            return Err(ElfError::TooLarge(Part::Names));
        }
        self.kept(name.len())?;
        Ok(String::from_utf8_lossy(name).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use layerwise_testkit::{ElfBuilder, ElfField, Machine as Made, elf};

    use super::*;

    /// The facts that say anything, or the error.
    fn shown(bytes: &[u8]) -> String {
        let facts = match facts(bytes) {
            Ok(facts) => facts,
            Err(error) => return format!("error: {error}"),
        };
        let order = if facts.little_endian { "little" } else { "big" };
        let mut text = format!("{} {} {order} {:?}", facts.machine, facts.bits, facts.kind);
        let versions = facts
            .versions
            .iter()
            .map(|need| format!("{}@{}{}", need.version, need.library, if need.weak { " weak" } else { "" }));
        for (name, list) in [
            ("interpreter", facts.interpreter.into_iter().collect()),
            ("soname", facts.soname.into_iter().collect()),
            ("needs", facts.needed),
            ("rpath", facts.rpath),
            ("runpath", facts.runpath),
            ("versions", versions.collect()),
            ("undefined", facts.undefined),
            ("modules", facts.modules),
        ] {
            if !list.is_empty() {
                text += &format!("; {name} {}", list.join(", "));
            }
        }
        let exports = format!("{} exports", facts.exports.len());
        for (name, there) in [
            (exports.as_str(), !facts.exports.is_empty()),
            ("static", !facts.dynamic),
            ("executable stack", facts.executable_stack),
            ("text relocations", facts.text_relocations),
            ("relr", facts.relr),
            ("bind now", facts.bind_now),
        ] {
            if there {
                text += &format!("; {name}");
            }
        }
        if facts.isa_needed != 0 {
            text += &format!("; isa {:#x}", facts.isa_needed);
        }
        text
    }

    #[track_caller]
    fn check(builder: &ElfBuilder, expected: &str) {
        assert_eq!(shown(&builder.bytes()), expected);
    }

    fn full() -> ElfBuilder {
        elf()
            .soname("libx.so.1")
            .needs("libm.so.6")
            .needs("libc.so.6")
            .needs_version("libm.so.6", "GLIBC_2.29")
            .undefined_versioned("memcpy", "libc.so.6", "GLIBC_2.14")
            .weak_version("libc.so.6", "GLIBC_ABI_DT_RELR")
            .undefined("close_range")
            .undefined("PyLong_FromLong")
            .weak_undefined("__gmon_start__")
            .exports("PyInit_b")
            .exports("PyInit_a")
            .exports("x")
            .exports("x")
    }

    const FULL: &str = "x86-64 64 little SharedOrPie; soname libx.so.1; needs libm.so.6, libc.so.6; \
        versions GLIBC_2.29@libm.so.6, GLIBC_2.14@libc.so.6, GLIBC_ABI_DT_RELR@libc.so.6 weak; \
        undefined PyLong_FromLong, close_range; modules a, b; 3 exports";

    #[test]
    fn headers() {
        check(&elf(), "x86-64 64 little SharedOrPie");
        check(&elf().machine(Made::Aarch64), "AArch64 64 little SharedOrPie");
        check(&elf().class32(), "x86-64 32 little SharedOrPie");
        check(&elf().machine(Made::Other(3)).class32(), "i386 32 little SharedOrPie");
        check(&elf().machine(Made::Other(40)).class32(), "ARM 32 little SharedOrPie");
        check(&elf().machine(Made::Other(243)), "RISC-V 64 little SharedOrPie");
        check(&elf().machine(Made::Other(22)).big_endian(), "S390 64 big SharedOrPie");
        check(&elf().machine(Made::Other(20)).big_endian().class32(), "PowerPC 32 big SharedOrPie");
        check(&elf().machine(Made::Other(999)), "machine 999 64 little SharedOrPie");
        check(&full().kind(1), "x86-64 64 little Object; static");
        check(&full().kind(4), "x86-64 64 little Core; static");
        check(&full().kind(9), "x86-64 64 little Other(9); static");
        let musl = elf().interpreter("/lib/ld-musl-x86_64.so.1");
        check(&musl, "x86-64 64 little SharedOrPie; interpreter /lib/ld-musl-x86_64.so.1");
        check(&musl.executable(), "x86-64 64 little Executable; interpreter /lib/ld-musl-x86_64.so.1");
    }

    #[test]
    fn facts_do_not_depend_on_sections_or_places() {
        for builder in [
            full(),
            full().without_sections(),
            full().lie(ElfField::SectionTable, u64::MAX),
            full().lie(ElfField::SectionTable, 1).lie(ElfField::SectionCount, 0xffff),
            full().lie(ElfField::SectionCount, 0),
            full().patched(),
            full().patched().without_sections(),
            full().sysv_hash(),
        ] {
            check(&builder, FULL);
            let mut shifted = vec![0];
            shifted.extend(builder.bytes());
            assert_eq!(shown(&shifted[1..]), FULL, "at an odd address");
        }
        check(&full().executable(), &FULL.replace("SharedOrPie", "Executable"));
        check(&full().machine(Made::Aarch64), &FULL.replace("x86-64", "AArch64"));
        check(&full().machine(Made::Other(8)).big_endian(), &FULL.replace("x86-64 64 little", "MIPS 64 big"));
        check(&full().machine(Made::Other(3)).class32(), &FULL.replace("x86-64 64", "i386 32"));
    }

    #[test]
    fn paths() {
        let paths = "x86-64 64 little SharedOrPie; rpath $ORIGIN/../x.libs; runpath $ORIGIN, , /opt/lib";
        check(&elf().rpath("$ORIGIN/../x.libs").runpath("$ORIGIN::/opt/lib"), paths);
        check(&elf().rpath("").runpath(""), "x86-64 64 little SharedOrPie");
    }

    #[test]
    fn flags() {
        check(&elf().exec_stack(), "x86-64 64 little SharedOrPie; executable stack");
        check(&elf().no_stack_note(), "x86-64 64 little SharedOrPie; executable stack");
        check(&elf().no_stack_note().executable(), "x86-64 64 little Executable");
        check(&elf().no_stack_note().machine(Made::Aarch64), "AArch64 64 little SharedOrPie");
        check(&elf().exec_stack().machine(Made::Aarch64), "AArch64 64 little SharedOrPie; executable stack");
        check(&elf().text_relocations(), "x86-64 64 little SharedOrPie; text relocations");
        check(&elf().bind_now(), "x86-64 64 little SharedOrPie; bind now");
        check(&elf().relr(), "x86-64 64 little SharedOrPie; relr");
        check(&elf().isa_needed(0b1000), "x86-64 64 little SharedOrPie; isa 0x8");
        check(&elf().isa_needed(0b110).class32(), "x86-64 32 little SharedOrPie; isa 0x6");
        // there the same number means something else
        check(&elf().isa_needed(0b1000).machine(Made::Aarch64), "AArch64 64 little SharedOrPie");
    }

    #[test]
    fn symbols_without_a_hash_table() {
        // The loader finds none of its exports, and looks for what its relocations name.
        check(&full().no_hash(), FULL.strip_suffix("; modules a, b; 3 exports").unwrap());
        let program = elf().undefined("a").undefined("b");
        check(&program, "x86-64 64 little SharedOrPie; undefined a, b");
        check(&program.class32(), "x86-64 32 little SharedOrPie; undefined a, b");
    }

    #[test]
    fn exports_can_be_asked_for() {
        let facts = facts(&full().bytes()).unwrap();
        for (symbol, there) in [("x", true), ("PyInit_a", true), ("close_range", false), ("", false), ("y", false)] {
            assert_eq!(facts.has_export(symbol), there, "{symbol}");
        }
        let encoded = postcard::to_stdvec(&facts).unwrap();
        assert_eq!(postcard::from_bytes::<ElfFacts>(&encoded).unwrap(), facts);
    }

    #[test]
    fn a_version_number_that_no_version_has_is_no_version() {
        let one = elf().undefined_versioned("a", "libc.so.6", "A").undefined_versioned("b", "libc.so.6", "B");
        let one = one.lie(ElfField::NextVersion, 0);
        check(&one, "x86-64 64 little SharedOrPie; versions A@libc.so.6; undefined b");
    }

    #[test]
    fn cut_off() {
        let bytes = full().bytes();
        let whole = bytes.len();
        for (length, expected) in [
            (0, "error: file too short"),
            (3, "error: file too short"),
            (4, "error: file too short"),
            (63, "error: file too short"),
            (64, "error: its table of segments lies outside of what it loads"),
            (287, "error: its table of segments lies outside of what it loads"),
            (700, "error: the file is cut off: it has 700 of at least "),
            (whole - 1, FULL),
        ] {
            let found = shown(&full().cut_at(length).bytes());
            assert!(found.starts_with(expected), "{length}: {found}");
        }
        // No length is a panic, and whatever can be read of a stranger's file is.
        for length in 0..whole {
            drop(facts(&bytes[..length]));
            let found = shown(&full().machine(Made::Other(243)).cut_at(length).bytes());
            assert!(length < 64 || found.starts_with("RISC-V 64 little SharedOrPie"), "{length}: {found}");
        }
    }

    #[test]
    fn not_elf() {
        for bytes in [b"#!/bin/sh\n".as_slice(), b"\xcf\xfa\xed\xfe\x0c\0\0\x01", b"MZ\x90\0", b"\x7fELG", b"\x7fX"] {
            assert_eq!(shown(bytes), "error: invalid ELF header");
        }
        for (at, value) in [(4, 0), (4, 3), (5, 0), (5, 3), (6, 0), (6, 2)] {
            let mut bytes = full().bytes();
            bytes[at] = value;
            assert_eq!(shown(&bytes), "error: its header is of an unknown kind", "{at} {value}");
        }
    }

    #[test]
    fn hostile_tables() {
        use ElfField::{Dynamic, NextLibrary, NextVersion, ProgramCount, ProgramSize, ProgramTable, Revision, Symbols};
        use ElfField::{SegmentAddress, SegmentBytes, SegmentOffset};
        let outside = |part: &str| format!("error: its {part} lies outside of what it loads");
        let large = |part: &str| format!("error: its {part} is larger than any real one");
        let check = |field, value, expected: &str| check(&full().interpreter("/x").lie(field, value), expected);
        let whole = FULL.replace("; soname", "; interpreter /x; soname");
        check(ProgramTable, u64::MAX, &outside("table of segments"));
        check(ProgramCount, 0xffff, &outside("table of segments"));
        check(ProgramCount, 0, "error: object file has no loadable segments");
        check(ProgramSize, 55, "error: its table of segments is of an unknown kind");
        let bytes = full().interpreter("/x").bytes().len();
        let cut_off = format!("error: the file is cut off: it has {bytes} of at least {} bytes", u64::MAX);
        check(SegmentOffset(1), u64::MAX, &cut_off);
        check(SegmentBytes(1), 0, &outside("dynamic section"));
        check(SegmentAddress(1), u64::MAX - 8, &outside("dynamic section"));
        check(SegmentAddress(2), 0xffff, &outside("dynamic section"));
        check(SegmentBytes(2), 0, "x86-64 64 little SharedOrPie; interpreter /x; static");
        check(SegmentBytes(2), u64::MAX, &whole);
        check(SegmentOffset(2), u64::MAX, &whole);
        check(SegmentOffset(3), u64::MAX, &outside("interpreter's path"));
        check(SegmentBytes(3), 1 << 40, &outside("interpreter's path"));
        check(Dynamic(5), 1 << 40, &outside("string table"));
        check(Dynamic(1), 1 << 40, &outside("string table"));
        check(Dynamic(1), 1 << 20, &outside("string table"));
        check(Dynamic(10), 0, &whole);
        check(Dynamic(6), u64::MAX, &outside("symbol table"));
        check(Dynamic(0x6fff_fef5), u64::MAX, &outside("hash table of symbols"));
        check(Symbols, 0xffff_ffff, &whole.replace("; modules a, b; 3 exports", ""));
        check(Dynamic(0x6fff_fffe), 1 << 40, &outside("table of symbol versions"));
        check(Dynamic(0x6fff_fff0), 1 << 40, &outside("table of symbol versions"));
        check(NextLibrary, 0xffff_fff0, &outside("table of symbol versions"));
        check(NextVersion, 0xffff_fff0, &outside("table of symbol versions"));
        check(Revision, 9, "error: its table of symbol versions is of an unknown kind");
        check(NextLibrary, 1, "error: its table of symbol versions is of an unknown kind");
        // As the loader: an offset of 0 is the end, whatever the number of entries is said to be.
        let only_first = whole.replace(", GLIBC_2.14@libc.so.6, GLIBC_ABI_DT_RELR@libc.so.6 weak", "");
        check(NextLibrary, 0, &only_first.replace("close_range", "close_range, memcpy"));
        let sysv = |count| shown(&full().sysv_hash().lie(Symbols, count).bytes());
        assert_eq!(sysv(0xffff_ffff), outside("hash table of symbols"));
        assert_eq!(sysv(0), FULL.replace("; undefined PyLong_FromLong, close_range; modules a, b; 3 exports", ""));
        let unhashed = |tag, value| shown(&full().no_hash().lie(Dynamic(tag), value).bytes());
        assert_eq!(unhashed(7, 1 << 40), outside("table of relocations"));
        assert_eq!(unhashed(8, 1 << 40), outside("table of relocations"));
        assert_eq!(
            unhashed(8, 0),
            FULL.replace("; undefined PyLong_FromLong, close_range; modules a, b; 3 exports", "")
        );

        let long = "x".repeat(5000);
        assert_eq!(shown(&elf().needs(&long).bytes()), large("string table"));
        assert_eq!(shown(&elf().runpath(&long).bytes()), format!("x86-64 64 little SharedOrPie; runpath {long}"));
        assert_eq!(shown(&elf().runpath(&long.repeat(14)).bytes()), large("string table"));
        assert_eq!(shown(&elf().interpreter(&long).bytes()), large("interpreter's path"));
        assert_eq!(shown(&elf().exports(&long).bytes()), "x86-64 64 little SharedOrPie; 1 exports");
        let many = (0..2000).fold(elf(), |elf, _| elf.exports(&long));
        assert_eq!(shown(&many.bytes()), large("string table"));
        assert_eq!(shown(&many.machine(Made::Other(243)).bytes()), "RISC-V 64 little SharedOrPie");
        let relocated = elf().no_hash().undefined("a").soname("xxxxxxxxxxxxxxxxxxxxxxxx");
        let name = relocated.bytes().windows(24).position(|window| window == [b'x'; 24]).unwrap();
        assert_eq!(shown(&relocated.lie(Dynamic(7), name as u64).bytes()), large("symbol table"));
        let many = (0..4097).fold(elf(), |elf, _| elf.needs("a"));
        assert_eq!(shown(&many.bytes()), large("dynamic section"));
        let many = (0..65_537).fold(elf(), |elf, _| elf.needs_version("a", "b"));
        assert_eq!(shown(&many.bytes()), large("table of symbol versions"));
    }
}
