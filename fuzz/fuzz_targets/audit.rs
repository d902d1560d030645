//! A few files from strangers, judged together: no panic, bounded work, and the same findings twice.
//!
//! The input is a row of files: a byte that picks the artifact and the name, two bytes of length, that many bytes. A
//! name is taken from the list, so that files meet each other; `*` in it is replaced by what the input has for it.
#![no_main]

use layerwise::audit::facts::{Content, Look};
use layerwise::audit::{Artifact, File, Modified, Role, Subject, audit};
use layerwise::model::{Sha256, Target};

const NAMES: [&str; 24] = [
    "index.py",
    "python/a/__init__.py",
    "python/a/b.py",
    "python/a/x.abi3.so",
    "python/a/y.cpython-311-x86_64-linux-gnu.so",
    "python/a/z.cpython-312-x86_64-linux-gnu.so",
    "python/a/w.so",
    "python/a.libs/libq-1234.so.1",
    "python/a-1.dist-info/METADATA",
    "python/a-1.dist-info/WHEEL",
    "python/a-1.dist-info/RECORD",
    "python/b-2.dist-info/METADATA",
    "python/b-2.dist-info/RECORD",
    "python/typing.py",
    "python/a.pth",
    "python/__pycache__/c.cpython-311.pyc",
    "python/c.py",
    "lib/libz.so.1",
    "lib/libq.so.1",
    "extensions/e",
    "python/lib/python3.11/site-packages/d.py",
    "python/*",
    "*",
    "python/a/link",
];

struct Made {
    artifact: usize,
    path: String,
    link: Option<String>,
    bytes: Vec<u8>,
    content: Content,
}

fn cut(mut bytes: &[u8]) -> Vec<Made> {
    let mut files = Vec::new();
    while let [pick, low, high, rest @ ..] = bytes
        && files.len() < 40
    {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (mut own, after) = rest.split_at(length);
        bytes = after;
        let name = NAMES[usize::from(*pick) % NAMES.len()];
        let mut path = name.to_owned();
        if name.contains('*') {
            let (text, content) = own.split_at(own.iter().position(|byte| *byte == 0).unwrap_or(own.len()));
            path = name.replace('*', &String::from_utf8_lossy(text));
            own = content;
        }
        // What a reader of artifacts lets through.
        if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            continue;
        }
        let link = name.ends_with("link").then(|| String::from_utf8_lossy(own).into_owned());
        let mut look = Look::new(&path);
        look.take(own);
        let content = if link.is_some() { Content::Opaque } else { look.content() };
        files.push(Made { artifact: usize::from(*pick) / NAMES.len() % 3, path, link, bytes: own.to_vec(), content });
    }
    files.sort_by(|a, b| (a.artifact, &a.path).cmp(&(b.artifact, &b.path)));
    files.dedup_by(|a, b| (a.artifact, &a.path) == (b.artifact, &b.path));
    files
}

fn subject<'a>(files: &'a [Made], handler: Option<&'a str>) -> Subject<'a> {
    let artifact = |number: usize| Artifact {
        label: format!("{number}.zip"),
        role: if number == 0 && handler.is_some() { Role::Function } else { Role::Layer },
        zipped_bytes: None,
        files: files
            .iter()
            .filter(|made| made.artifact == number)
            .map(|made| File {
                path: &made.path,
                size: made.bytes.len() as u64,
                mode: Some(0o644),
                link: made.link.as_deref(),
                modified: Modified::Unknown,
                sha256: made.link.is_none().then(|| Sha256::of(&made.bytes)),
                content: &made.content,
                owner: None,
            })
            .collect(),
        strange: &[],
        is_wheel: false,
    };
    Subject { artifacts: (0..3).map(artifact).collect(), handler, pythonpath: None }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let [how, bytes @ ..] = bytes else { return };
    let files = cut(bytes);
    let (runtime, architecture) =
        [("python3.11", "x86_64"), ("python3.13", "arm64"), ("python3.9", "x86_64")][usize::from(how % 3)];
    let target = Target::new(runtime, architecture, "2026-11-24").expect("a target");
    let handler = (how & 0x80 != 0).then_some("index.handler");
    let report = audit(&subject(&files, handler), target);
    assert_eq!(audit(&subject(&files, handler), target), report, "it depends on something else");
    assert!(report.findings.is_sorted_by_key(|finding| finding.severity));
    assert_eq!(report.files, files.len());
});
