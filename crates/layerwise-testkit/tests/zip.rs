//! Python's `zipfile` reads what should be readable and refuses what should not be.

#![expect(clippy::unwrap_used, reason = "a test's helpers are tests too")]

use std::process::Command;
use std::sync::LazyLock;

use layerwise_testkit::{Member, RawZip, python, wheel};

static PYTHON: LazyLock<std::path::PathBuf> =
    LazyLock::new(|| (9..=13).rev().find_map(python).expect("a CPython from 3.9 on, in PATH, in pyenv or known to uv"));

/// Reads every member with `zipfile`; "ok" and the number of bytes, or the error.
fn read(bytes: &[u8]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.zip");
    fs_err::write(&path, bytes).unwrap();
    let program = "import sys, zipfile, warnings\nwarnings.simplefilter('ignore')\ntry:\n z = zipfile.ZipFile(sys.argv[1])\n print('ok', sum(len(z.read(i)) for i in z.infolist()))\nexcept Exception as e: print(e)";
    let output = Command::new(&*PYTHON).args(["-c", program]).arg(&path).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn one(member: Member) -> Vec<u8> {
    RawZip::new().member(member).bytes()
}

#[test]
fn readers_agree_with_what_is_announced() {
    let check = |bytes: &[u8], expected: &str| {
        let found = read(bytes);
        assert!(found.contains(expected), "{found}, but expected: {expected}");
    };
    let plain = || Member::new("a", "abc".repeat(100));
    check(&one(plain()), "ok 300");
    check(&one(plain().stored()), "ok 300");
    check(&one(plain().streamed()), "ok 300");
    check(&one(Member::new("ä", "abc")), "ok 3");
    check(&one(Member::new("../x", "abc")), "ok 3");
    check(&one(Member::symlink("x", "/etc/passwd")), "ok 11");
    check(&one(Member::zeros("x", 20)), "ok 20971520");
    check(&RawZip::new().member(plain()).member(plain()).bytes(), "ok 600");
    check(&RawZip::new().member(plain()).prefix("#!/bin/sh\n").comment("hello").bytes(), "ok 300");

    check(&one(plain().wrong_crc()), "Bad CRC-32 for file 'a'");
    check(&one(plain().encrypted()), "is encrypted");
    check(&one(plain().method(99)), "That compression method is not supported");
    check(&one(plain().declared_size(10)), "Bad CRC-32");
    check(&one(plain().local_name("b")), "File name in directory 'a' and header b'b' differ");
    check(&RawZip::new().member(plain()).truncated(30).bytes(), "File is not a zip file");
    let overlapping = RawZip::new().member(plain()).member(plain().overlaps_previous()).bytes();
    let found = read(&overlapping);
    assert!(found.starts_with("ok 600") || found.contains("Overlapped"), "{found}");
}

#[test]
fn a_bomb_is_small() {
    let bomb = wheel("bomb", "1").member(Member::zeros("bomb.bin", 300)).build();
    assert!(bomb.bytes.len() < 400_000, "{}", bomb.bytes.len());
}
