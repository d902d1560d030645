//! `readelf` has nothing to complain about, and the loader takes what should be taken and refuses what should not.

use std::path::PathBuf;
use std::process::Command;

use layerwise_testkit::{ElfBuilder, ElfField, Machine, elf, python};

fn full() -> ElfBuilder {
    elf()
        .soname("libx.so.1")
        .needs("libc.so.6")
        .needs("libm.so.6")
        .needs_version("libm.so.6", "GLIBC_2.29")
        .weak_version("libc.so.6", "GLIBC_ABI_NONE")
        .undefined_versioned("memcpy", "libc.so.6", "GLIBC_2.14")
        .undefined("getpid")
        .weak_undefined("__gmon_start__")
        .exports("PyInit_x")
        .exports("x")
        .rpath("$ORIGIN/../x.libs")
        .runpath("$ORIGIN:/opt/lib")
        .isa_needed(1)
        .bind_now()
}

#[test]
fn readelf_has_no_warnings() {
    let directory = tempfile::tempdir().unwrap();
    let check = |name: &str, builder: ElfBuilder, expected: &[&str]| {
        let path = directory.path().join(name);
        fs_err::write(&path, builder.bytes()).unwrap();
        let Ok(output) = Command::new("readelf").args(["-a", "-W", "-D", "--lint"]).arg(&path).output() else {
            return println!("skipped: no readelf");
        };
        let plain = Command::new("readelf").args(["-a", "-W"]).arg(&path).output().unwrap();
        for output in [&output, &plain] {
            let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            let quiet = output.status.success() && err.is_empty() && !out.contains("Warning");
            assert!(quiet, "{name}: {err}\n{out}");
        }
        let out = String::from_utf8_lossy(&plain.stdout).into_owned();
        for text in expected {
            assert!(out.contains(text), "{name}: {text} is not in\n{out}");
        }
    };
    let words = ["Shared library: [libm.so.6]", "memcpy@GLIBC_2.14", "PyInit_x", "Library runpath: [$ORIGIN:/opt/lib]"];
    check("plain", elf(), &["Advanced Micro Devices X86-64", "DYN (Shared object file)"]);
    check("full", full(), &words);
    let relr = full().needs_version("libc.so.6", "GLIBC_ABI_DT_RELR").relr();
    check("relr", relr, &["RELR", "GLIBC_ABI_DT_RELR"]);
    check("sysv", full().sysv_hash(), &words);
    check("patched", full().patched(), &words);
    check("text", full().text_relocations().exec_stack(), &["TEXTREL", "RWE"]);
    check("program", full().executable().interpreter("/lib/ld-musl-x86_64.so.1"), &["EXEC", "ld-musl"]);
    check("arm64", full().machine(Machine::Aarch64).isa_needed(0), &["AArch64", "R_AARCH64_GLOB_DAT"]);
    check("i386", full().machine(Machine::Other(3)).class32(), &["ELF32", "memcpy@GLIBC_2.14"]);
    check("s390", full().machine(Machine::Other(22)).big_endian().isa_needed(0), &["big endian", "PyInit_x"]);
    check("ppc", full().machine(Machine::Other(20)).big_endian().class32().isa_needed(0), &["PowerPC", "PyInit_x"]);
    check("stripped", full().without_sections(), &["There are no sections in this file", "Shared library: [libm"]);
}

#[test]
fn the_loader_agrees() {
    let python: Option<PathBuf> = (9..=13).rev().find_map(python);
    let Some(python) = python.filter(|_| cfg!(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64")))
    else {
        return println!("skipped: no CPython, or no glibc on x86-64");
    };
    let directory = tempfile::tempdir().unwrap();
    let check = |name: &str, builder: ElfBuilder, expected: &str| {
        let path = directory.path().join(name);
        fs_err::write(&path, builder.bytes()).unwrap();
        let program = "import sys, ctypes\ntry: print('x returns', ctypes.CDLL(sys.argv[1]).x())\nexcept Exception as e: print(e)";
        let output = Command::new(&python).args(["-c", program]).arg(&path).output().unwrap();
        let found = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(found.contains(expected), "{name}: {found}, but expected: {expected}");
    };
    check("full", full(), "x returns 0");
    check("sysv", full().sysv_hash(), "x returns 0");
    check("patched", full().patched(), "x returns 0");
    check("stripped", full().without_sections().patched(), "x returns 0");
    check("lying sections", full().lie(ElfField::SectionTable, u64::MAX), "x returns 0");
    check("no hash", full().no_hash(), "undefined symbol: x");
    check("symbol", full().undefined("no_such_symbol"), "undefined symbol: no_such_symbol");
    check("library", full().needs("libnone.so.1"), "libnone.so.1: cannot open shared object file");
    check("version", full().needs_version("libc.so.6", "GLIBC_9.9"), "version `GLIBC_9.9' not found (required by");
    check("short", full().cut_at(63), "file too short");
    check("class", full().class32(), "wrong ELF class: ELFCLASS32");
    // As if it were not there: the loader goes on to look elsewhere.
    check("machine", full().machine(Machine::Aarch64), "cannot open shared object file: No such file or directory");
    check("order", full().big_endian(), "cannot open shared object file: No such file or directory");
    check("object", full().kind(1), "only ET_DYN and ET_EXEC can be loaded");
    check("program", full().executable(), "cannot dynamically load executable");
    check("segments", full().lie(ElfField::ProgramCount, 0), "object file has no loadable segments");
    check("size", full().lie(ElfField::ProgramSize, 8), "ELF file's phentsize not the expected size");
    check("dynamic", full().lie(ElfField::SegmentBytes(2), 0), "object file has no dynamic section");
    check("revision", full().lie(ElfField::Revision, 9), "unsupported version 9 of Verneed record");
}
