//! Writes small inputs for each target to `corpus/`: `cargo run --bin seeds`.

use std::fs;

use layerwise_testkit::{Machine, Member, elf, wheel};

fn put(target: &str, name: &str, bytes: impl AsRef<[u8]>) {
    let dir = format!("{}/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    fs::create_dir_all(&dir).expect("a writable folder");
    fs::write(format!("{dir}/{name}"), bytes).expect("a writable folder");
}

fn main() {
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
        put("wheel", name, wheel.build().bytes);
    }
    let digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let json = format!(
        r#"0{{"meta":{{"api-version":"1.1"}},"name":"a","files":[{{"filename":"a-1.0-py3-none-any.whl","url":"../a.whl","hashes":{{"sha256":"{digest}"}},"requires-python":">=3.9","yanked":"x","core-metadata":{{"sha256":"x"}},"size":1}},{{"filename":"a-1.0.tar.gz","url":"a.tar.gz","hashes":{{}},"yanked":false}}]}}"#
    );
    put("page", "json", json);
    let html = r#"1<!DOCTYPE html><base href="/x/"><a href="a-1%2B1-py3-none-any.whl#sha256=00" data-requires-python="&gt;=3.9" data-yanked="x">a</a><a href="a-1.tar.gz">a</a>"#;
    put("page", "html", html);
    let lock = format!(
        "lock-version = \"1.0\"\nenvironments = [\"python_version >= '3.9'\"]\n[[packages]]\nname = \"a\"\nversion = \"1.0\"\nmarker = \"sys_platform == 'linux' and 'x' in extras\"\nwheels = [{{ url = \"https://h/a-1.0-py3-none-any.whl\", size = 1, hashes = {{ sha256 = \"{digest}\" }} }}]\n"
    );
    put("pylock", "one", lock.replace(" and 'x' in extras", ""));
    put("pylock", "extras", lock);
    for name in ["a-1.0-py3-none-any.whl", "A_b-1!1.0_l.1-2x-cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"] {
        put("wheel_name", name, name);
    }
    let full = || {
        let names = elf().soname("libx.so.1").needs("libc.so.6").rpath("$ORIGIN/../x.libs").runpath("$ORIGIN:/opt/lib");
        let versions = names.needs_version("libm.so.6", "GLIBC_2.29").weak_version("libc.so.6", "GLIBC_ABI_DT_RELR");
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
        put("elf", name, elf.bytes());
    }
}
