//! Writes small inputs for each target to `corpus/`: `cargo run --bin seeds`.

use std::fs;

use layerwise_testkit::{Member, wheel};

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
    for (name, source) in [
        ("imports", "import a.b, c\nfrom ..d import e as f, g\nfrom . import *\n"),
        ("conditions", "if sys.version_info[:2] >= (3, 8) and not TYPE_CHECKING:\n    import a\nelif os.name in ('nt',):\n    import b\nelse:\n    raise X\nimport c\n"),
        ("versions", "if 0x03080000 <= sys.hexversion or sys.version.startswith('2'):\n\timport a\n"),
        ("handlers", "try:\n    import a\nexcept (ImportError, X) as e:\n    sys.exit(1)\nelse:\n    import b\nfinally:\n    import c\n"),
        ("blocks", "with suppress(ImportError), x as y:\n    import a\nfor x in y:\n    import b\nmatch (x):\n    case [a, *_]:\n        import c\n"),
        ("calls", "x = y or importlib.import_module('.a', __package__)\n__import__('a', level=1)\nz = [lambda a=1, b=2: f'{a!r:{b}}' for a in b]\n"),
        ("machinery", "sys.path[:0] = x\n__path__ = extend_path(__path__, __name__)\ndef __getattr__(n):\n    import a\n"),
        ("newer", "type X[T = int] = T\nt'{x}'\ntry: ...\nexcept* A: ...\n@x[1]\nasync def f(): await (yield)\n"),
        ("encoded", "# -*- coding: shift_jis -*-\nx = '表'\n"),
        ("marked", "\u{feff}# coding: utf-8\nimport a\n"),
        ("two", "print 'x'\nexcept A, e:\n`x` <> 1\n"),
    ] {
        put("python", name, source);
    }
}
