//! ELF files made to order, byte by byte, without a compiler: small, valid for `readelf` and the loader, or wrong on
//! purpose.
//!
//! Layout: <https://refspecs.linuxfoundation.org/elf/gabi4+/contents.html>; versions of symbols:
//! <https://refspecs.linuxfoundation.org/LSB_5.0.0/LSB-Core-generic/LSB-Core-generic/symversion.html>.

use std::collections::HashMap;

/// For whom the code is (`e_machine`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Machine {
    /// 62
    #[default]
    X86_64,
    /// 183
    Aarch64,
    /// By its number: 3 is i386, 40 ARM (both with `class32`), 243 RISC-V.
    Other(u16),
}

/// A field that can be made to say what is not so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElfField {
    /// `e_shoff`
    SectionTable,
    /// `e_shnum`
    SectionCount,
    /// `e_phoff`
    ProgramTable,
    /// `e_phentsize`
    ProgramSize,
    /// `e_phnum`
    ProgramCount,
    /// `p_offset` of the segments of this type (`PT_…`).
    SegmentOffset(u32),
    /// `p_vaddr` of the segments of this type.
    SegmentAddress(u32),
    /// `p_filesz` of the segments of this type.
    SegmentBytes(u32),
    /// The value of the entries of the dynamic section with this tag (`DT_…`).
    Dynamic(u64),
    /// `vn_version` of every library whose versions are needed.
    Revision,
    /// `vn_next` of every library whose versions are needed.
    NextLibrary,
    /// `vna_next` of every version needed.
    NextVersion,
    /// How many symbols there are (`nchain` of `DT_HASH`), or the first one exported (the bucket of `DT_GNU_HASH`).
    Symbols,
}

/// Begins a shared object for x86-64 that needs and exports nothing.
pub fn elf() -> ElfBuilder {
    ElfBuilder { kind: 3, ..ElfBuilder::default() }
}

/// Builds an ELF file. Valid unless one of the methods that say otherwise is used.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct ElfBuilder {
    machine: Machine,
    kind: u16,
    narrow: bool,
    big: bool,
    interpreter: Option<String>,
    /// Entries of the dynamic section with a text.
    texts: Vec<(u64, String)>,
    /// Library, version, weak.
    versions: Vec<(String, String, bool)>,
    /// Name, `st_info`, number in `.gnu.version`.
    undefined: Vec<(String, u8, u16)>,
    exports: Vec<String>,
    exec_stack: bool,
    no_stack_note: bool,
    flags: u64,
    relr: bool,
    isa_needed: u32,
    hash: Hash,
    stripped: bool,
    patched: bool,
    lies: Vec<(ElfField, u64)>,
    cut_at: Option<usize>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Hash {
    #[default]
    Gnu,
    Sysv,
    None,
}

impl ElfBuilder {
    /// Sets the machine.
    pub fn machine(self, machine: Machine) -> Self {
        Self { machine, ..self }
    }

    /// Makes it a 32-bit file.
    pub fn class32(self) -> Self {
        Self { narrow: true, ..self }
    }

    /// Writes every number with its highest byte first.
    pub fn big_endian(self) -> Self {
        Self { big: true, ..self }
    }

    /// Makes it a program at a fixed address (`ET_EXEC`).
    pub fn executable(self) -> Self {
        self.kind(2)
    }

    /// Sets `e_type`: 1 is an object file, 4 a core.
    pub fn kind(self, kind: u16) -> Self {
        Self { kind, ..self }
    }

    /// Names its loader (`PT_INTERP`).
    pub fn interpreter(self, path: &str) -> Self {
        Self { interpreter: Some(path.to_owned()), ..self }
    }

    /// Sets `DT_SONAME`.
    pub fn soname(self, name: &str) -> Self {
        self.text(14, name)
    }

    /// Adds a library (`DT_NEEDED`).
    pub fn needs(self, library: &str) -> Self {
        self.text(1, library)
    }

    /// Sets `DT_RPATH`, as it is.
    pub fn rpath(self, path: &str) -> Self {
        self.text(15, path)
    }

    /// Sets `DT_RUNPATH`, as it is.
    pub fn runpath(self, path: &str) -> Self {
        self.text(29, path)
    }

    fn text(mut self, tag: u64, text: &str) -> Self {
        self.texts.push((tag, text.to_owned()));
        self
    }

    /// Adds a version (`verneed`) of a library. The loader wants the library to be needed too.
    pub fn needs_version(mut self, library: &str, version: &str) -> Self {
        self.versions.push((library.to_owned(), version.to_owned(), false));
        self
    }

    /// Adds a version that may be missing (`VER_FLG_WEAK`).
    pub fn weak_version(mut self, library: &str, version: &str) -> Self {
        self.versions.push((library.to_owned(), version.to_owned(), true));
        self
    }

    /// Adds a symbol that some library must have. The loader looks for it.
    pub fn undefined(mut self, name: &str) -> Self {
        self.undefined.push((name.to_owned(), 0x10, 1));
        self
    }

    /// Adds a symbol that may be missing.
    pub fn weak_undefined(mut self, name: &str) -> Self {
        self.undefined.push((name.to_owned(), 0x20, 1));
        self
    }

    /// Adds a symbol that a library must have in a version, and the version if it is not there yet.
    pub fn undefined_versioned(mut self, name: &str, library: &str, version: &str) -> Self {
        let known = self.versions.iter().position(|known| known.0 == library && known.1 == version);
        let index = known.unwrap_or(self.versions.len());
        if known.is_none() {
            self = self.needs_version(library, version);
        }
        self.undefined.push((name.to_owned(), 0x10, index as u16 + 2));
        self
    }

    /// Adds a function that does nothing and returns 0.
    pub fn exports(mut self, name: &str) -> Self {
        self.exports.push(name.to_owned());
        self
    }

    /// Asks for an executable stack.
    pub fn exec_stack(self) -> Self {
        Self { exec_stack: true, ..self }
    }

    /// Leaves out `PT_GNU_STACK`, as assembler without a note does.
    pub fn no_stack_note(self) -> Self {
        Self { no_stack_note: true, ..self }
    }

    /// Says that relocations change the code (`DF_TEXTREL`).
    pub fn text_relocations(self) -> Self {
        Self { flags: self.flags | 4, ..self }
    }

    /// Says that all symbols are wanted at once (`DF_BIND_NOW`).
    pub fn bind_now(self) -> Self {
        Self { flags: self.flags | 8, ..self }
    }

    /// Adds packed relative relocations (`DT_RELR`).
    pub fn relr(self) -> Self {
        Self { relr: true, ..self }
    }

    /// Adds a note with `GNU_PROPERTY_X86_ISA_1_NEEDED`: 2 is x86-64-v2, 4 v3, 8 v4.
    pub fn isa_needed(self, bits: u32) -> Self {
        Self { isa_needed: bits, ..self }
    }

    /// Writes a `DT_HASH` instead of a `DT_GNU_HASH`.
    pub fn sysv_hash(self) -> Self {
        Self { hash: Hash::Sysv, ..self }
    }

    /// Leaves out the symbols' hash table: the loader finds no export.
    pub fn no_hash(self) -> Self {
        Self { hash: Hash::None, ..self }
    }

    /// Leaves out the section headers, which the loader does not read.
    pub fn without_sections(self) -> Self {
        Self { stripped: true, ..self }
    }

    /// Puts symbols and their names into a segment of their own at the end, as `patchelf` does.
    pub fn patched(self) -> Self {
        Self { patched: true, ..self }
    }

    /// Writes another number than the right one.
    pub fn lie(mut self, field: ElfField, value: u64) -> Self {
        self.lies.push((field, value));
        self
    }

    /// Keeps only so many bytes from the beginning. Invalid.
    pub fn cut_at(self, bytes: usize) -> Self {
        Self { cut_at: Some(bytes), ..self }
    }

    /// The file. The same calls give the same bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let [header, program, section, word] = if self.narrow { [52, 32, 40, 4] } else { [64, 56, 64, 8] };
        let base = if self.kind == 2 { 0x40_0000 } else { 0 };
        // The parts' sizes do not depend on the addresses in them, so they are made twice.
        let mut parts = self.parts(&HashMap::new());
        let segment_count = self.segments(&parts, base).len() as u64;
        let mut end = header + program * segment_count;
        for part in &mut parts {
            part.offset = end.next_multiple_of(8);
            part.address = base + part.offset + 0x1_0000 * part.segment;
            end = part.end();
        }
        let addresses = parts.iter().map(|part| (part.name, part.address)).collect();
        for (part, again) in parts.iter_mut().zip(self.parts(&addresses)) {
            part.bytes = again.bytes;
        }
        let (names, name_offsets) = strings(parts.iter().map(|part| part.name).chain([".shstrtab"]));
        let names = Part { offset: end, address: 0, flags: 0, ..Part::new(".shstrtab", 3, names) };

        let mut out = self.writer();
        out.bytes.extend_from_slice(b"\x7fELF");
        out.bytes.extend([2 - u8::from(self.narrow), 1 + u8::from(self.big), 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let machine = match self.machine {
            Machine::X86_64 => 62,
            Machine::Aarch64 => 183,
            Machine::Other(number) => u64::from(number),
        };
        out.numbers(2, [u64::from(self.kind), machine]);
        let entry = if self.interpreter.is_some() { addresses[".text"] } else { 0 };
        let (table, count) = if self.stripped { (0, 0) } else { (names.end().next_multiple_of(8), 2 + parts.len()) };
        out.numbers(4, [1]);
        out.words([entry, self.said(ElfField::ProgramTable, header), self.said(ElfField::SectionTable, table)]);
        out.numbers(4, [0]);
        let program = self.said(ElfField::ProgramSize, program);
        out.numbers(2, [header, program, self.said(ElfField::ProgramCount, segment_count)]);
        let last = count.saturating_sub(1) as u64;
        out.numbers(2, [section, self.said(ElfField::SectionCount, count as u64), last]);
        for segment in self.segments(&parts, base) {
            out.segment(self, &segment);
        }
        if !self.stripped {
            parts.push(names);
        }
        for part in &parts {
            out.bytes.resize(part.offset as usize, 0);
            out.bytes.extend_from_slice(&part.bytes);
        }
        if !self.stripped {
            out.bytes.resize(table as usize + section as usize, 0);
        }
        for (part, name) in parts.iter().zip(name_offsets).take(count) {
            let link = parts.iter().position(|other| other.name == part.link).map_or(0, |index| index as u64 + 1);
            out.numbers(4, [name, part.kind]);
            out.words([part.flags, part.address, part.offset, part.bytes.len() as u64]);
            out.numbers(4, [link, part.info]);
            out.words([word, part.entry]);
        }
        out.bytes.truncate(self.cut_at.unwrap_or(usize::MAX));
        out.bytes
    }

    fn said(&self, field: ElfField, truth: u64) -> u64 {
        self.lies.iter().find(|(of, _)| *of == field).map_or(truth, |(_, lie)| *lie)
    }

    fn writer(&self) -> Writer {
        Writer { big: self.big, narrow: self.narrow, bytes: Vec::new() }
    }

    /// The sections in the order of the file; `addresses` has those that are known.
    fn parts(&self, addresses: &HashMap<&str, u64>) -> Vec<Part> {
        let at = |name| addresses.get(name).copied().unwrap_or_default();
        let (word, symbol_bytes) = if self.narrow { (4, 16) } else { (8, 24) };
        let texts = self.texts.iter().map(|(_, text)| text).chain(self.undefined.iter().map(|(name, ..)| name));
        let texts = texts.chain(self.versions.iter().flat_map(|(library, version, _)| [library, version]));
        let texts: Vec<&str> = texts.chain(&self.exports).map(String::as_str).collect();
        let (dynstr, offsets) = strings(texts.iter().copied());
        let places: HashMap<&str, u64> = texts.into_iter().zip(offsets).collect();
        let place = |text: &String| places[text.as_str()];

        let code: &[u8] = match self.machine {
            Machine::Aarch64 => b"\0\0\x80\xd2\xc0\x03\x5f\xd6", // mov x0, #0; ret
            _ => b"\x31\xc0\xc3",                                // xor eax, eax; ret
        };
        let mut symbols = self.writer();
        symbols.symbol(0, 0, 0, [0, 0]);
        let mut versym = self.writer();
        versym.numbers(2, [0]);
        let mut relocations = self.writer();
        for ((name, info, version), index) in self.undefined.iter().zip(1..) {
            symbols.symbol(place(name), *info, 0, [0, 0]);
            versym.numbers(2, [u64::from(*version)]);
            let kind = if self.machine == Machine::Aarch64 { 1025 } else { 6 }; // GLOB_DAT
            let info = if self.narrow { index << 8 } else { index << 32 };
            relocations.words([at(".got") + word * index, info | kind, 0]);
        }
        for name in &self.exports {
            symbols.symbol(place(name), 0x12, 1, [at(".text"), code.len() as u64]);
            versym.numbers(2, [1]);
        }
        let first = 1 + self.undefined.len() as u64;
        let count = first + self.exports.len() as u64;
        let (hash_name, hash_tag) = if self.hash == Hash::Gnu { (".gnu.hash", 0x6fff_fef5) } else { (".hash", 4) };
        let mut hash = self.writer();
        if self.hash == Hash::Gnu {
            // One bucket, and a filter that lets everything pass.
            hash.numbers(4, [1, first, 1, 0]);
            hash.words([u64::MAX]);
            hash.numbers(4, [self.said(ElfField::Symbols, if first < count { first } else { 0 })]);
            let last = |index| u64::from(index + 1 == count);
            hash.numbers(4, self.exports.iter().zip(first..).map(|(name, index)| gnu_hash(name) & !1 | last(index)));
        } else {
            // One bucket with all symbols.
            hash.numbers(4, [1, self.said(ElfField::Symbols, count), u64::from(count > 1), 0]);
            hash.numbers(4, (1..count).map(|index| (index + 1) % count));
        }
        let (libraries, verneed) = self.verneed(place);

        let mut parts = vec![Part { flags: 6, ..Part::new(".text", 1, code) }];
        parts.extend(self.interpreter.iter().map(|path| Part::new(".interp", 1, format!("{path}\0"))));
        if self.isa_needed != 0 {
            parts.push(Part::new(".note.gnu.property", 7, self.property()));
        }
        if self.hash != Hash::None {
            let kind = if self.hash == Hash::Gnu { 0x6fff_fff6 } else { 5 };
            parts.push(Part { link: ".dynsym", ..Part::new(hash_name, kind, hash.bytes) });
        }
        let segment = if self.patched { 2 } else { 0 };
        let symbols = Part::new(".dynsym", 11, symbols.bytes);
        let symbols = Part { link: ".dynstr", entry: symbol_bytes, info: 1, segment, ..symbols };
        parts.extend([symbols, Part { segment, ..Part::new(".dynstr", 3, dynstr) }]);
        let mut dynamic: Vec<(u64, u64)> = self.texts.iter().map(|(tag, text)| (*tag, place(text))).collect();
        let names_bytes = parts[parts.len() - 1].bytes.len() as u64;
        dynamic.extend([(5, at(".dynstr")), (6, at(".dynsym")), (10, names_bytes), (11, symbol_bytes)]);
        dynamic.extend((self.hash != Hash::None).then(|| (hash_tag, at(hash_name))));
        if libraries > 0 {
            let versions = Part { link: ".dynsym", entry: 2, ..Part::new(".gnu.version", 0x6fff_ffff, versym.bytes) };
            let needs = Part::new(".gnu.version_r", 0x6fff_fffe, verneed);
            parts.extend([versions, Part { link: ".dynstr", info: libraries, ..needs }]);
            dynamic.extend([(0x6fff_fffe, at(".gnu.version_r")), (0x6fff_ffff, libraries)]);
            dynamic.push((0x6fff_fff0, at(".gnu.version")));
        }
        if !self.undefined.is_empty() {
            let bytes = relocations.bytes.len() as u64;
            dynamic.extend([(7, at(".rela.dyn")), (8, bytes), (9, 3 * word)]);
            let relocations = Part::new(".rela.dyn", 4, relocations.bytes);
            parts.push(Part { link: ".dynsym", entry: 3 * word, ..relocations });
        }
        if self.relr {
            let mut relr = self.writer();
            relr.words([at(".got")]);
            parts.push(Part { entry: word, ..Part::new(".relr.dyn", 19, relr.bytes) });
            dynamic.extend([(36, at(".relr.dyn")), (35, word), (37, word)]);
        }
        dynamic.extend((self.flags & 4 != 0).then_some((22, 0)));
        dynamic.extend((self.flags != 0).then_some((30, self.flags)));
        let got = Part::new(".got", 1, vec![0; (first * word) as usize]);
        parts.push(Part { segment: 1, flags: 3, entry: word, ..got });
        let mut out = self.writer();
        for (tag, value) in dynamic.into_iter().chain([(0, 0)]) {
            out.words([tag, self.said(ElfField::Dynamic(tag), value)]);
        }
        let dynamic = Part::new(".dynamic", 6, out.bytes);
        parts.push(Part { link: ".dynstr", segment: 1, flags: 3, entry: 2 * word, ..dynamic });
        parts.sort_by_key(|part| part.segment);
        parts
    }

    /// How many libraries there are with versions, and the table of them.
    fn verneed(&self, place: impl Fn(&String) -> u64) -> (u64, Vec<u8>) {
        let mut libraries: Vec<&String> = Vec::new();
        for (library, ..) in &self.versions {
            if !libraries.contains(&library) {
                libraries.push(library);
            }
        }
        let mut out = self.writer();
        for (number, library) in libraries.iter().enumerate() {
            let versions: Vec<_> = self.versions.iter().zip(2..).filter(|((of, ..), _)| of == *library).collect();
            let count = versions.len() as u64;
            let next = if number + 1 < libraries.len() { 16 * (count + 1) } else { 0 };
            out.numbers(2, [self.said(ElfField::Revision, 1), count]);
            out.numbers(4, [place(library), 16, self.said(ElfField::NextLibrary, next)]);
            for (((_, version, weak), index), left) in versions.into_iter().zip((0..count).rev()) {
                out.numbers(4, [sysv_hash(version)]);
                out.numbers(2, [2 * u64::from(*weak), index]);
                let next = if left > 0 { 16 } else { 0 };
                out.numbers(4, [place(version), self.said(ElfField::NextVersion, next)]);
            }
        }
        (libraries.len() as u64, out.bytes)
    }

    /// A note of type `NT_GNU_PROPERTY_TYPE_0`.
    fn property(&self) -> Vec<u8> {
        let mut out = self.writer();
        out.numbers(4, [4, if self.narrow { 12 } else { 16 }, 5]);
        out.bytes.extend_from_slice(b"GNU\0");
        out.numbers(4, [0xc000_8002, 4, u64::from(self.isa_needed)]);
        out.bytes.resize(if self.narrow { 28 } else { 32 }, 0);
        out.bytes
    }

    fn segments(&self, parts: &[Part], base: u64) -> Vec<Segment> {
        let one = |kind, flags, name| {
            let part = parts.iter().find(|part| part.name == name)?;
            let (offset, address, bytes) = (part.offset, part.address, part.bytes.len() as u64);
            Some(Segment { kind, flags, offset, address, bytes, align: if self.narrow { 4 } else { 8 } })
        };
        let mut segments: Vec<Segment> = one(3, 4, ".interp").into_iter().collect();
        for (number, flags) in [(0, 5), (1, 6), (2, 6)] {
            let mut of = parts.iter().filter(|part| part.segment == number);
            let (Some(first), last) = (of.next(), of.next_back()) else { continue };
            let (offset, address) = if number == 0 { (0, base) } else { (first.offset, first.address) };
            let bytes = last.unwrap_or(first).end() - offset;
            segments.push(Segment { kind: 1, flags, offset, address, bytes, align: 0x1_0000 });
        }
        segments.extend(one(2, 6, ".dynamic"));
        segments.extend(one(4, 4, ".note.gnu.property"));
        segments.extend(one(0x6474_e553, 4, ".note.gnu.property"));
        let flags = if self.exec_stack { 7 } else { 6 };
        let stack = Segment { kind: 0x6474_e551, flags, offset: 0, address: 0, bytes: 0, align: 16 };
        segments.extend((!self.no_stack_note).then_some(stack));
        segments
    }
}

#[derive(Clone, Copy)]
struct Segment {
    kind: u32,
    flags: u64,
    offset: u64,
    address: u64,
    bytes: u64,
    align: u64,
}

/// A section.
struct Part {
    name: &'static str,
    kind: u64,
    flags: u64,
    bytes: Vec<u8>,
    link: &'static str,
    info: u64,
    entry: u64,
    /// 0 code and tables, 1 what the loader writes to, 2 what was moved.
    segment: u64,
    offset: u64,
    address: u64,
}

impl Part {
    fn new(name: &'static str, kind: u64, bytes: impl Into<Vec<u8>>) -> Self {
        let (bytes, link) = (bytes.into(), "");
        Self { name, kind, flags: 2, bytes, link, info: 0, entry: 0, segment: 0, offset: 0, address: 0 }
    }

    fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }
}

struct Writer {
    big: bool,
    narrow: bool,
    bytes: Vec<u8>,
}

impl Writer {
    /// Each in so many bytes.
    fn numbers(&mut self, bytes: usize, values: impl IntoIterator<Item = u64>) {
        for value in values {
            let little = value.to_le_bytes().into_iter().take(bytes);
            if self.big { self.bytes.extend(little.rev()) } else { self.bytes.extend(little) }
        }
    }

    /// Each as wide as the class.
    fn words<const COUNT: usize>(&mut self, values: [u64; COUNT]) {
        self.numbers(if self.narrow { 4 } else { 8 }, values);
    }

    fn symbol(&mut self, name: u64, info: u8, section: u64, place: [u64; 2]) {
        self.numbers(4, [name]);
        if self.narrow {
            self.words(place);
        }
        self.bytes.extend([info, 0]);
        self.numbers(2, [section]);
        if !self.narrow {
            self.words(place);
        }
    }

    fn segment(&mut self, of: &ElfBuilder, segment: &Segment) {
        let kind = segment.kind;
        let offset = of.said(ElfField::SegmentOffset(kind), segment.offset);
        let address = of.said(ElfField::SegmentAddress(kind), segment.address);
        let bytes = of.said(ElfField::SegmentBytes(kind), segment.bytes);
        self.numbers(4, [u64::from(kind)]);
        if !self.narrow {
            self.numbers(4, [segment.flags]);
        }
        self.words([offset, address, address, bytes, bytes]);
        if self.narrow {
            self.numbers(4, [segment.flags]);
        }
        self.words([segment.align]);
    }
}

/// A string table, and where in it each text begins. Equal texts are there once.
fn strings<'a>(texts: impl Iterator<Item = &'a str>) -> (Vec<u8>, Vec<u64>) {
    let mut table = vec![0];
    let mut known = HashMap::new();
    let offsets = texts.map(|text| {
        *known.entry(text).or_insert_with(|| {
            let offset = table.len() as u64;
            table.extend_from_slice(text.as_bytes());
            table.push(0);
            offset
        })
    });
    let offsets = offsets.collect();
    (table, offsets)
}

fn sysv_hash(name: &str) -> u64 {
    let hash = name.bytes().fold(0u32, |hash, byte| {
        let hash = (hash << 4).wrapping_add(u32::from(byte));
        let high = hash & 0xf000_0000;
        (hash ^ high >> 24) & !high
    });
    u64::from(hash)
}

fn gnu_hash(name: &str) -> u64 {
    u64::from(name.bytes().fold(5381u32, |hash, byte| hash.wrapping_mul(33).wrapping_add(u32::from(byte))))
}
