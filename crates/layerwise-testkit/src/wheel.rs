//! Wheels made to order: <https://packaging.python.org/en/latest/specifications/binary-distribution-format/>.

use std::fmt::Write;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::Digest;

use crate::zip::{Member, RawZip};

/// A wheel: its file name and its bytes, and what an index says of it.
#[derive(Debug, Clone)]
pub struct Wheel {
    /// `six-1.17.0-py3-none-any.whl`
    pub filename: String,
    /// The archive.
    pub bytes: Vec<u8>,
    /// Of the bytes, lower-case hex.
    pub sha256: String,
    /// The project as it was given.
    pub name: String,
    /// The version as it was given.
    pub version: String,
    /// The text of `METADATA`.
    pub metadata: String,
    /// `Requires-Python`, if there is one.
    pub requires_python: Option<String>,
}

/// Begins a wheel with the tags `py3-none-any` and no files.
pub fn wheel(name: &str, version: &str) -> WheelBuilder {
    let stem = crate::normalized(name).replace('-', "_");
    WheelBuilder {
        name: name.to_owned(),
        version: version.to_owned(),
        tags: "py3-none-any".to_owned(),
        build: None,
        platlib: false,
        members: Vec::new(),
        requires: Vec::new(),
        requires_python: None,
        metadata_lines: Vec::new(),
        entry_points: Vec::new(),
        dist_infos: vec![format!("{stem}-{version}.dist-info")],
        wheel_file: None,
        record: None,
        truncated: 0,
        comment: Vec::new(),
        stem,
    }
}

/// Builds a [`Wheel`]. Valid unless one of the methods that say otherwise is used.
#[derive(Debug, Clone)]
#[must_use]
pub struct WheelBuilder {
    name: String,
    stem: String,
    version: String,
    tags: String,
    build: Option<String>,
    platlib: bool,
    members: Vec<Member>,
    requires: Vec<String>,
    requires_python: Option<String>,
    metadata_lines: Vec<String>,
    entry_points: Vec<(String, String)>,
    dist_infos: Vec<String>,
    wheel_file: Option<String>,
    record: Option<String>,
    truncated: usize,
    comment: Vec<u8>,
}

impl WheelBuilder {
    /// `cp311-cp311-manylinux_2_17_x86_64`; sets with dots as in file names. Whatever is not for `any`
    /// platform is marked `Root-Is-Purelib: false`.
    pub fn tags(self, tags: &str) -> Self {
        Self { tags: tags.to_owned(), platlib: !tags.ends_with("-any"), ..self }
    }

    /// Spells the name in the file name and in the directories otherwise, as older tools do (`PyYAML`). Call it first.
    pub fn spelled(self, stem: &str) -> Self {
        let dist_infos = vec![format!("{stem}-{}.dist-info", self.version)];
        Self { stem: stem.to_owned(), dist_infos, ..self }
    }

    /// The build number, such as `1` or `2local`.
    pub fn build_number(self, build: &str) -> Self {
        Self { build: Some(build.to_owned()), ..self }
    }

    /// Adds a file to the root (site-packages).
    pub fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.member(Member::new(path, content))
    }

    /// Adds a file with mode 0755.
    pub fn executable(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.member(Member::new(path, content).mode(0o100755))
    }

    /// Adds a file below `NAME-VERSION.data/`: `scripts/tool`, `data/etc/x`, `headers/x.h`, `purelib/x.py`.
    pub fn data(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        let path = format!("{}-{}.data/{path}", self.stem, self.version);
        self.file(&path, content)
    }

    /// Adds a file to the dist-info directory, such as `licenses/LICENSE`.
    pub fn dist_info_file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        let path = format!("{}-{}.dist-info/{path}", self.stem, self.version);
        self.file(&path, content)
    }

    /// Adds a `Requires-Dist`.
    pub fn requires(mut self, requirement: &str) -> Self {
        self.requires.push(requirement.to_owned());
        self
    }

    /// Sets `Requires-Python`.
    pub fn requires_python(self, specifier: &str) -> Self {
        Self { requires_python: Some(specifier.to_owned()), ..self }
    }

    /// Adds a line to `METADATA`, such as `License-Expression: MIT` or `Provides-Extra: x`.
    pub fn metadata_line(mut self, line: &str) -> Self {
        self.metadata_lines.push(line.to_owned());
        self
    }

    /// Adds an entry point, `tool = package:main`. The group `console` stands for `console_scripts`, `gui` for
    /// `gui_scripts`.
    pub fn entry_point(mut self, group: &str, entry: &str) -> Self {
        let group = match group {
            "console" => "console_scripts",
            "gui" => "gui_scripts",
            other => other,
        };
        self.entry_points.push((group.to_owned(), entry.to_owned()));
        self
    }

    /// Adds a member as it is, hostile ones too. `RECORD` lists it, but not a link, a directory or a bomb.
    pub fn member(mut self, member: Member) -> Self {
        self.members.push(member);
        self
    }

    /// Leaves out the dist-info directory. Invalid.
    pub fn without_dist_info(self) -> Self {
        Self { dist_infos: Vec::new(), ..self }
    }

    /// Names the dist-info directory otherwise. Invalid, unless it is another spelling of the same name.
    pub fn dist_info(self, directory: &str) -> Self {
        Self { dist_infos: vec![directory.to_owned()], ..self }
    }

    /// Adds one more dist-info directory. Invalid.
    pub fn another_dist_info(mut self, directory: &str) -> Self {
        self.dist_infos.push(directory.to_owned());
        self
    }

    /// Replaces the text of `WHEEL`.
    pub fn wheel_file(self, text: &str) -> Self {
        Self { wheel_file: Some(text.to_owned()), ..self }
    }

    /// Replaces the text of `RECORD`.
    pub fn record(self, text: &str) -> Self {
        Self { record: Some(text.to_owned()), ..self }
    }

    /// Cuts so many bytes off the archive's end. Invalid.
    pub fn truncated(self, bytes: usize) -> Self {
        Self { truncated: bytes, ..self }
    }

    /// Sets the archive's comment: another sha256, the same content.
    pub fn comment(self, comment: &str) -> Self {
        Self { comment: comment.into(), ..self }
    }

    /// The wheel. The same calls give the same bytes.
    pub fn build(self) -> Wheel {
        let build = self.build.as_ref().map(|build| format!("-{build}")).unwrap_or_default();
        let filename = format!("{}-{}{build}-{}.whl", self.stem, self.version.replace('-', "_"), self.tags);
        let metadata = self.metadata();
        let mut members = self.members.clone();
        for directory in &self.dist_infos {
            members.push(Member::new(format!("{directory}/METADATA"), &metadata));
            let text = self.wheel_file.clone().unwrap_or_else(|| self.wheel_text());
            members.push(Member::new(format!("{directory}/WHEEL"), text));
            if !self.entry_points.is_empty() {
                members.push(Member::new(format!("{directory}/entry_points.txt"), self.entry_points_text()));
            }
        }
        let listed = members.clone();
        for directory in &self.dist_infos {
            let path = format!("{directory}/RECORD");
            let text = self.record.clone().unwrap_or_else(|| record(&listed, &path));
            members.push(Member::new(path, text));
        }
        let zip = members.into_iter().fold(RawZip::new(), RawZip::member);
        let bytes = zip.comment(&self.comment).truncated(self.truncated).bytes();
        let sha256 = crate::sha256(&bytes);
        let Self { name, version, requires_python, .. } = self;
        Wheel { filename, bytes, sha256, name, version, metadata, requires_python }
    }

    fn metadata(&self) -> String {
        metadata(&self.name, &self.version, self.requires_python.as_deref(), &self.requires, &self.metadata_lines)
    }

    /// One `Tag` line for each combination, as the specification wants.
    fn wheel_text(&self) -> String {
        let mut text = format!("Wheel-Version: 1.0\nGenerator: testkit\nRoot-Is-Purelib: {}\n", !self.platlib);
        if let Some(build) = &self.build {
            writeln!(text, "Build: {build}").expect("a String takes every byte");
        }
        let sets: Vec<Vec<&str>> = self.tags.split('-').map(|set| set.split('.').collect()).collect();
        let [pythons, abis, platforms] = sets.as_slice() else { return text };
        for python in pythons {
            for abi in abis {
                for platform in platforms {
                    writeln!(text, "Tag: {python}-{abi}-{platform}").expect("a String takes every byte");
                }
            }
        }
        text
    }

    fn entry_points_text(&self) -> String {
        let mut groups: Vec<&String> = self.entry_points.iter().map(|(group, _)| group).collect();
        groups.sort();
        groups.dedup();
        let mut text = String::new();
        for group in groups {
            writeln!(text, "[{group}]").expect("a String takes every byte");
            for (_, entry) in self.entry_points.iter().filter(|(of, _)| of == group) {
                writeln!(text, "{entry}").expect("a String takes every byte");
            }
        }
        text
    }
}

/// The core metadata, shared by wheels and sdists.
pub(crate) fn metadata(
    name: &str,
    version: &str,
    requires_python: Option<&str>,
    requires: &[String],
    lines: &[String],
) -> String {
    let mut text = format!("Metadata-Version: 2.2\nName: {name}\nVersion: {version}\n");
    for (key, value) in requires_python
        .iter()
        .map(|value| ("Requires-Python", *value))
        .chain(requires.iter().map(|value| ("Requires-Dist", value.as_str())))
    {
        writeln!(text, "{key}: {value}").expect("a String takes every byte");
    }
    for line in lines {
        writeln!(text, "{line}").expect("a String takes every byte");
    }
    text
}

fn record(members: &[Member], own_path: &str) -> String {
    let mut text = String::new();
    for member in members.iter().filter(|member| member.is_file()) {
        let Some(content) = member.content() else { continue };
        let digest = BASE64_URL_SAFE_NO_PAD.encode(sha2::Sha256::digest(content));
        let name = String::from_utf8_lossy(member.name());
        let name = if name.contains([',', '"']) { format!("\"{}\"", name.replace('"', "\"\"")) } else { name.into() };
        writeln!(text, "{name},sha256={digest},{}", content.len()).expect("a String takes every byte");
    }
    text + own_path + ",,\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_calls_same_bytes() {
        let make = || wheel("a.b", "1.0").tags("cp311-cp311-linux_x86_64").file("a/b.py", "x").build();
        assert_eq!(make().sha256, make().sha256);
        assert_eq!(make().filename, "a_b-1.0-cp311-cp311-linux_x86_64.whl");
    }

    #[test]
    fn tags_are_expanded() {
        let text = wheel("a", "1").tags("py2.py3-none-any").wheel_text();
        assert!(text.ends_with("Root-Is-Purelib: true\nTag: py2-none-any\nTag: py3-none-any\n"), "{text}");
    }
}
