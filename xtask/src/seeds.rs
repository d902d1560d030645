//! Small inputs for each fuzz target.

use std::io;
use std::path::Path;

use fs_err as fs;
use layerwise_testkit::{Machine, Member, RawZip, elf, wheel};

/// Writes them below `corpus`, each target's into its own folder, beside what earlier runs have found.
pub(crate) fn write(corpus: &Path) -> io::Result<()> {
    let mut seeds = Seeds::default();
    seeds.wheels();
    seeds.pages();
    seeds.locks();
    seeds.elves();
    seeds.zips();
    seeds.dist_infos();
    seeds.sources();
    seeds.audits();
    for (target, name, bytes) in seeds.0 {
        let dir = corpus.join(target);
        fs::create_dir_all(&dir)?;
        fs::write(dir.join(name), bytes)?;
    }
    Ok(())
}

/// Of nothing.
const DIGEST: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

const METADATA: &str = "Metadata-Version: 2.1\nName: a\nVersion: 1\nRequires-Python: >=3.9\nRequires-Dist: b>=2\n\
    Requires-Dist: c[x] (<3) ; extra == 'y'\nRequires-Dist: d @ https://h/d.whl ; python_version < '3.10'\n\nText.\n";

const WHEEL: &str = "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: cp311-cp311-manylinux_2_17_x86_64\n\
    Tag: cp311-cp311-manylinux2014_x86_64\n";

const RECORD: &str = "a/__init__.py,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0\n\"a,b.py\",md5=0,7\n\
    ../../bin/a,,\na-1.dist-info/RECORD,,\n";

const SOURCE: &str = r#"# -*- coding: utf-8 -*-
from __future__ import annotations
import os, sys as system
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import a.b
try:
    from . import x, y as z
except (ImportError, OSError):
    x = None
else:
    from ..p import *
finally:
    import late
if sys.version_info >= (3, 11) and sys.platform != "win32":
    import tomllib
elif os.name == "nt":
    import winreg
match x:
    case [1, *_] if x: import m
with catch_warnings():
    import imp; importlib.import_module(".q", __package__); __import__("r")
def __getattr__(name: str) -> f"{name!r:>{10}}": return lambda: import_module("s")
async def f[T](*, a=(yield)): raise SystemExit
class C(metaclass=M):
    import inner
sys.path.insert(0, __file__)
"#;

/// Target, name, bytes.
#[derive(Default)]
struct Seeds(Vec<(&'static str, String, Vec<u8>)>);

impl Seeds {
    fn put(&mut self, target: &'static str, name: &str, bytes: impl AsRef<[u8]>) {
        self.0.push((target, name.to_owned(), bytes.as_ref().to_vec()));
    }

    fn wheels(&mut self) {
        let a = || wheel("a", "1.0").file("a/__init__.py", "");
        let script = a().data("scripts/x", "#!python -u\n").data("data/etc/x", "x").data("headers/a.h", "x");
        for (name, wheel) in [
            ("plain", a()),
            ("script", script.entry_point("console", "y = a:main")),
            ("streamed", a().member(Member::new("b", "b").streamed())),
            ("stored", a().member(Member::new("b", "b").stored()).member(Member::directory("c"))),
            ("wrong", a().member(Member::new("b", "b").wrong_crc())),
            ("overlap", a().member(Member::new("b", "b")).member(Member::new("c", "c").overlaps_previous())),
        ] {
            self.put("wheel", name, wheel.build().bytes);
        }
    }

    fn pages(&mut self) {
        let json = format!(
            r#"0{{"meta":{{"api-version":"1.1"}},"name":"a","files":[{{"filename":"a-1.0-py3-none-any.whl","url":"../a.whl","hashes":{{"sha256":"{DIGEST}"}},"requires-python":">=3.9","yanked":"x","core-metadata":{{"sha256":"x"}},"size":1}},{{"filename":"a-1.0.tar.gz","url":"a.tar.gz","hashes":{{}},"yanked":false}}]}}"#
        );
        self.put("page", "json", json);
        let html = r#"1<!DOCTYPE html><base href="/x/"><a href="a-1%2B1-py3-none-any.whl#sha256=00" data-requires-python="&gt;=3.9" data-yanked="x">a</a><a href="a-1.tar.gz">a</a>"#;
        self.put("page", "html", html);
    }

    fn locks(&mut self) {
        let lock = format!(
            "lock-version = \"1.0\"\nenvironments = [\"python_version >= '3.9'\"]\n[[packages]]\nname = \"a\"\nversion = \"1.0\"\nmarker = \"sys_platform == 'linux' and 'x' in extras\"\nwheels = [{{ url = \"https://h/a-1.0-py3-none-any.whl\", size = 1, hashes = {{ sha256 = \"{DIGEST}\" }} }}]\n"
        );
        self.put("pylock", "one", lock.replace(" and 'x' in extras", ""));
        self.put("pylock", "extras", lock);
        for name in
            ["a-1.0-py3-none-any.whl", "A_b-1!1.0_l.1-2x-cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"]
        {
            self.put("wheel_name", name, name);
        }
    }

    fn elves(&mut self) {
        let full = || {
            let names =
                elf().soname("libx.so.1").needs("libc.so.6").rpath("$ORIGIN/../x.libs").runpath("$ORIGIN:/opt/lib");
            let versions =
                names.needs_version("libm.so.6", "GLIBC_2.29").weak_version("libc.so.6", "GLIBC_ABI_DT_RELR");
            let versioned = versions.undefined_versioned("memcpy", "libc.so.6", "GLIBC_2.14");
            versioned.undefined("close_range").weak_undefined("__gmon_start__").exports("PyInit_x").exports("x")
        };
        for (name, elf) in [
            ("plain", elf()),
            ("full", full().interpreter("/lib/ld-musl-x86_64.so.1").isa_needed(0b1000).relr().text_relocations()),
            ("sysv", full().sysv_hash().exec_stack()),
            ("no_hash", full().no_hash().no_stack_note()),
            ("patched", full().patched().without_sections()),
            ("program", full().executable().bind_now()),
            ("narrow", full().machine(Machine::Other(3)).class32()),
            ("big", full().machine(Machine::Other(22)).big_endian()),
            ("arm64", full().machine(Machine::Aarch64)),
            ("object", full().kind(1)),
        ] {
            self.put("elf", name, elf.bytes());
        }
    }

    fn zips(&mut self) {
        let zip = |members: Vec<Member>| members.into_iter().fold(RawZip::new(), RawZip::member).bytes();
        let module = || Member::new("python/a/x.abi3.so", elf().needs("libc.so.6").exports("PyInit_x").bytes());
        for (name, members) in [
            ("layer", vec![Member::new("python/a/__init__.py", "from . import x\n"), module()]),
            ("function", vec![Member::new("index.py", "import a\ndef handler(event, context): ...\n"), module()]),
            ("stored", vec![Member::new("python/a.py", "").stored(), Member::directory("python/b/")]),
            (
                "streamed",
                vec![Member::new("python/a.py", "x = 1\n").streamed(), Member::new("python/a.pth", "import os\n")],
            ),
            ("twice", vec![Member::new("python/a.py", "x = 1"), Member::new("python/a.py", "x = 2")]),
            (
                "wrong",
                vec![Member::new("../a.py", "").wrong_crc(), Member::new("python/A.py", "x").overlaps_previous()],
            ),
            ("nested", vec![Member::new("layer.zip", zip(vec![Member::new("python/a.py", "")]))]),
            ("zeros", vec![Member::zeros("python/a.so", 1)]),
            ("empty", vec![]),
        ] {
            self.put("zip", name, zip(members));
        }
    }

    /// What stands before the text picks the file's name and the size of the pieces.
    fn dist_infos(&mut self) {
        for (kind, name, text) in [
            (0u8, "metadata", METADATA.as_bytes()),
            (1, "wheel", WHEEL.as_bytes()),
            (2, "record", RECORD.as_bytes()),
            (3, "pkg_info", METADATA.as_bytes()),
            (4, "pth", b"import os; os.environ\n# no\n./lib\n/home/me/src\n"),
            (5, "pyc", b"\xa7\x0d\x0d\x0a\0\0\0\0\x80\x43\x6d\x38\0\0\0\0"),
            (6, "zip", b"PK\x03\x04"),
        ] {
            self.put("dist_info", name, [&[kind, 16], text].concat());
        }
    }

    fn sources(&mut self) {
        for (name, source) in [
            ("all", SOURCE.as_bytes()),
            ("python2", b"print 'x'\nexec code in d\n"),
            ("latin1", b"# coding: latin-1\nx = '\xe9'\nimport a\n"),
            ("bom", b"\xef\xbb\xbfimport a\r\nimport b\rimport c\n"),
            ("utf16", b"\xff\xfei\0m\0"),
            ("nested", b"x = ((((((((([[[[[[{{{{{{lambda: - - - not not f'{f\"{x}\"}'"),
            ("tabs", b"if 1:\n\tif 2:\n        import a\n\timport b\n"),
            ("deletes", b"assert not None\nif False: import a\nelse: raise\nimport b\n"),
        ] {
            self.put("python", name, source);
        }
    }

    /// Rows of files as the target `audit` cuts them.
    fn audits(&mut self) {
        let row = |how: u8, files: &[(u8, &[u8])]| {
            let mut bytes = vec![how];
            for (pick, content) in files {
                let length = u16::try_from(content.len()).expect("a small file");
                bytes.push(*pick);
                bytes.extend(length.to_le_bytes());
                bytes.extend(*content);
            }
            bytes
        };
        let module = elf().needs("libc.so.6").needs("libq-1234.so.1").rpath("$ORIGIN/../a.libs").undefined("q");
        let module = module.needs_version("libc.so.6", "GLIBC_2.28").exports("PyInit_x").bytes();
        let library = elf().soname("libq-1234.so.1").needs("libz.so.1").exports("q").bytes();
        let (metadata, wheel, record) = (METADATA.as_bytes(), WHEEL.as_bytes(), RECORD.as_bytes());
        let files: [(u8, &[u8]); 7] = [
            (1, b"from . import x, b\n"),
            (2, b"import imp, typing\n"),
            (3, &module),
            (7, &library),
            (8, metadata),
            (9, wheel),
            (10, record),
        ];
        self.put("audit", "package", row(0, &files));
        let function: [(u8, &[u8]); 4] =
            [(0, b"import a, c.d\n"), (24 + 1, b"import b.c"), (48 + 1, b"x"), (48 + 16, b"")];
        self.put("audit", "function", row(0x80, &function));
        let odd: [(u8, &[u8]); 8] = [
            (13, b"x = 1"),
            (14, b"import os\n/home\n"),
            (15, b"\xa7\x0d\x0d\x0a\0\0\0\0\x80\x43\x6d\x38"),
            (17, &library),
            (20, b"import typing"),
            (21, b"b/../c.py\0import a"),
            (22, b"layer/python/a.py\0"),
            (23, b"../../python/a"),
        ];
        self.put("audit", "odd", row(1, &odd));
        let two: [(u8, &[u8]); 4] = [(8, metadata), (11, metadata), (12, record), (10, record)];
        self.put("audit", "two", row(2, &two));
    }
}
