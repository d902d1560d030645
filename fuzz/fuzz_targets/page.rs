//! An index's page, as JSON (first byte even) and as HTML, and the view of it.
#![no_main]

use layerwise::model::{Target, tag::Tags};
use layerwise::resolve::{page, view};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let media = if kind % 2 == 0 { page::JSON } else { "text/html" };
    let base = "https://host/simple/a/".parse().expect("a URL");
    let name = "a".parse().expect("a package name");
    let Ok(files) = page::parse(media, bytes, &base, &name) else { return };
    assert!(files.iter().all(|file| matches!(file.url.scheme(), "http" | "https")));
    let target = Target::new("python3.12", "x86_64", "2026-11-24").expect("a target");
    let project = view::view(&name, files, &Tags::of(target), &view::Sources::default());
    for release in project.releases.values() {
        drop(release.reason(target));
        drop(release.later_runtime(target));
    }
});
