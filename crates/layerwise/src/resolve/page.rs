//! Pages of a package index: the files of one project, from JSON (PEP 691, PEP 700) or HTML (PEP 503).

use std::collections::BTreeMap;

use serde::Deserialize;
use url::Url;

use crate::input::percent_decode;
use crate::model::{PackageName, Sha256};

/// What we ask an index for, best first.
pub const ACCEPT: &str =
    "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1";

/// The media type of PEP 691.
pub const JSON: &str = "application/vnd.pypi.simple.v1+json";

/// One file of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its name.
    pub filename: String,
    /// Where it is.
    pub url: Url,
    /// Its digest, where the index says it.
    pub sha256: Option<Sha256>,
    /// Its size in bytes, where the index says it.
    pub size: Option<u64>,
    /// `Requires-Python`, as it stands there.
    pub requires_python: Option<String>,
    /// Withdrawn, with the reason (which may be empty).
    pub yanked: Option<String>,
    /// Whether `METADATA` can be had by itself.
    pub core_metadata: MetadataOffer,
    /// When it was uploaded, RFC 3339.
    pub upload_time: Option<String>,
}

/// Whether an index offers `METADATA` by itself (PEP 658, PEP 714).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetadataOffer {
    /// It does not.
    No,
    /// It does, without saying what it is.
    Unhashed,
    /// It does, and this is its digest.
    Hashed(Sha256),
}

/// A page is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// JSON that is not PEP 691's.
    #[error("the index's JSON is not that of PEP 691")]
    Json(#[source] serde_json::Error),
    /// Neither JSON nor HTML with links.
    #[error("the index answered with {0}, not with a package page")]
    NotAPage(String),
}

/// Whether a page from `page` may name a file at `file`: one of the web names places on the web only. A path of this
/// machine (`file:`) counts only in a mirror that is itself on this machine.
fn may_name(page: &Url, file: &Url) -> bool {
    match file.scheme() {
        "http" | "https" => true,
        "file" => page.scheme() == "file",
        _ => false,
    }
}

/// Reads a page. `base` is the URL it came from, which relative links count from.
pub fn parse(content_type: &str, bytes: &[u8], base: &Url, name: &PackageName) -> Result<Vec<File>, PageError> {
    let media = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if media.ends_with("json") {
        parse_json(bytes, base)
    } else if media.contains("html") || media.is_empty() {
        parse_html(bytes, base, name)
    } else {
        Err(PageError::NotAPage(format!("`{media}`")))
    }
}

fn parse_json(bytes: &[u8], base: &Url) -> Result<Vec<File>, PageError> {
    #[derive(Deserialize)]
    struct Page {
        files: Vec<JsonFile>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct JsonFile {
        filename: String,
        url: String,
        #[serde(default)]
        hashes: BTreeMap<String, String>,
        size: Option<u64>,
        requires_python: Option<String>,
        yanked: Option<Yanked>,
        core_metadata: Option<Offered>,
        dist_info_metadata: Option<Offered>,
        upload_time: Option<String>,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Yanked {
        Flag(bool),
        Reason(String),
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Offered {
        Flag(bool),
        Hashes(BTreeMap<String, String>),
    }

    let page: Page = serde_json::from_slice(bytes).map_err(PageError::Json)?;
    let offer = |offered: Option<Offered>| match offered? {
        Offered::Flag(false) => None,
        Offered::Flag(true) => Some(MetadataOffer::Unhashed),
        Offered::Hashes(hashes) => {
            let digest = hashes.get("sha256").and_then(|text| text.parse().ok());
            Some(digest.map_or(MetadataOffer::Unhashed, MetadataOffer::Hashed))
        }
    };
    let files = page.files.into_iter().filter_map(|file| {
        Some(File {
            url: base.join(&file.url).ok().filter(|url| may_name(base, url))?,
            sha256: file.hashes.get("sha256").and_then(|text| text.parse().ok()),
            size: file.size,
            requires_python: file.requires_python,
            yanked: match file.yanked {
                Some(Yanked::Flag(true)) => Some(String::new()),
                Some(Yanked::Reason(reason)) => Some(reason),
                Some(Yanked::Flag(false)) | None => None,
            },
            core_metadata: offer(file.core_metadata)
                .or_else(|| offer(file.dist_info_metadata))
                .unwrap_or(MetadataOffer::No),
            upload_time: file.upload_time,
            filename: file.filename,
        })
    });
    Ok(files.collect())
}

/// Reads the anchors of an HTML page, of an index or of a `--find-links` place. Links to other projects' files
/// (on a page that lists many) are the caller's to leave out.
pub fn parse_html(bytes: &[u8], base: &Url, name: &PackageName) -> Result<Vec<File>, PageError> {
    use html5gum::{Token, Tokenizer};

    let text = String::from_utf8_lossy(bytes);
    let mut files = Vec::new();
    let page = base;
    let mut base = base.clone();
    let mut tags = 0usize;
    let mut is_index = false;
    for token in Tokenizer::new(text.as_ref()).flatten() {
        let Token::StartTag(tag) = token else { continue };
        tags += 1;
        let attribute = |key: &[u8]| {
            tag.attributes
                .iter()
                .find(|(name, _)| name.as_slice() == key)
                .map(|(_, value)| String::from_utf8_lossy(value.value.as_slice()).into_owned())
        };
        match tag.name.as_slice() {
            b"base" => {
                if let Some(url) = attribute(b"href").and_then(|href| base.join(&href).ok()) {
                    base = url;
                }
            }
            // a page with a form to sign in is no index, whatever links it has
            b"form" => return Err(PageError::NotAPage("a web page with a form (a login?)".to_owned())),
            b"meta" if attribute(b"name").as_deref() == Some("pypi:repository-version") => is_index = true,
            b"a" => {
                let url = attribute(b"href").and_then(|href| base.join(&href).ok());
                let Some(url) = url.filter(|url| may_name(page, url)) else { continue };
                let last = url.path_segments().and_then(|mut parts| parts.next_back()).unwrap_or_default();
                let filename = percent_decode(last);
                if !filename.ends_with(".whl") && !is_sdist(&filename) {
                    continue;
                }
                let sha256 = url.fragment().and_then(|fragment| {
                    fragment.split('&').find_map(|part| part.strip_prefix("sha256=")?.parse().ok())
                });
                let mut plain = url.clone();
                plain.set_fragment(None);
                let metadata = attribute(b"data-core-metadata").or_else(|| attribute(b"data-dist-info-metadata"));
                files.push(File {
                    filename,
                    url: plain,
                    sha256,
                    size: None,
                    requires_python: attribute(b"data-requires-python"),
                    yanked: attribute(b"data-yanked"),
                    core_metadata: match metadata.as_deref() {
                        None | Some("false") => MetadataOffer::No,
                        Some(value) => value
                            .strip_prefix("sha256=")
                            .and_then(|digest| digest.parse().ok())
                            .map_or(MetadataOffer::Unhashed, MetadataOffer::Hashed),
                    },
                    upload_time: None,
                });
            }
            _ => {}
        }
    }
    if files.is_empty() && !is_index && !text.to_lowercase().contains(name.as_str()) && tags > 0 {
        return Err(PageError::NotAPage("a web page without package links".to_owned()));
    }
    if tags == 0 && !text.trim().is_empty() {
        return Err(PageError::NotAPage("text without a single HTML tag".to_owned()));
    }
    Ok(files)
}

/// Whether a file name is that of a source distribution.
pub fn is_sdist(filename: &str) -> bool {
    sdist_stem(filename).is_some()
}

/// A source distribution's file name without its ending: `name-1.0`.
pub fn sdist_stem(filename: &str) -> Option<&str> {
    [".tar.gz", ".tar.bz2", ".tar.xz", ".tgz", ".zip"].iter().find_map(|end| filename.strip_suffix(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(content_type: &str, text: &str, expected: &str) {
        let base = "https://host/simple/a/".parse().unwrap();
        let name = "a".parse().unwrap();
        let shown = match parse(content_type, text.as_bytes(), &base, &name) {
            Ok(files) => files
                .iter()
                .map(|f| {
                    format!("{} {} {:?} {:?} {:?}", f.filename, f.url, f.requires_python, f.yanked, f.core_metadata)
                })
                .collect::<Vec<_>>()
                .join("\n"),
            Err(error) => error.to_string(),
        };
        assert_eq!(shown, expected);
    }

    #[test]
    fn json() {
        check(
            JSON,
            r#"{"meta":{"api-version":"1.1"},"name":"a","files":[
              {"filename":"a-1-py3-none-any.whl","url":"../../files/a-1-py3-none-any.whl","hashes":{},"requires-python":">=3.9","core-metadata":{"sha256":"x"}},
              {"filename":"a-2-py3-none-any.whl","url":"https://b/a-2-py3-none-any.whl","hashes":{},"yanked":"bad","size":3}]}"#,
            "a-1-py3-none-any.whl https://host/files/a-1-py3-none-any.whl Some(\">=3.9\") None Unhashed\n\
             a-2-py3-none-any.whl https://b/a-2-py3-none-any.whl None Some(\"bad\") No",
        );
        check(JSON, "{}", "the index's JSON is not that of PEP 691");
        check("text/plain", "x", "the index answered with `text/plain`, not with a package page");
    }

    #[test]
    fn a_page_of_the_web_names_no_local_files() {
        let file = |url: &str| {
            let name = "a-1-py3-none-any.whl";
            format!(r#"{{"files":[{{"filename":"{name}","url":"{url}","hashes":{{}}}}]}}"#)
        };
        for bad in [
            "file:///x/a-1-py3-none-any.whl",
            "javascript:x",
            "data:,x",
            "ftp://h/a-1-py3-none-any.whl",
            "http://",
            "http://[",
            "",
        ] {
            let expected = if bad.is_empty() { "a-1-py3-none-any.whl https://host/simple/a/ None None No" } else { "" };
            check(JSON, &file(bad), expected);
            check("text/html", &format!("<p>a<a href='{bad}'>x</a>"), "");
        }
        check("text/html", "<base href='file:///x/'><p>a<a href='a-1-py3-none-any.whl'>x</a>", "");
        let base = "file:///mirror/a/".parse().unwrap();
        let html = "<a href='../a-1-py3-none-any.whl'>x</a>";
        let files = parse_html(html.as_bytes(), &base, &"a".parse().unwrap()).unwrap();
        assert_eq!(files[0].url.as_str(), "file:///mirror/a-1-py3-none-any.whl");
    }

    #[test]
    fn hostile_json() {
        let wrong = "the index's JSON is not that of PEP 691";
        for bad in
            ["", "[", "null", "[]", "{\"files\":{}}", "{\"files\":[{}]}", "{\"files\":[{\"filename\":1,\"url\":\"\"}]}"]
        {
            check(JSON, bad, wrong);
        }
        check(JSON, &format!("{{\"files\":[],\"x\":{}", "[".repeat(1_000_000)), wrong);
        let deep = format!("{{\"files\":[{{\"filename\":\"a\",\"url\":\"a\",\"yanked\":{}", "[".repeat(1_000_000));
        check(JSON, &deep, wrong);
        check(JSON, r#"{"files":[{"filename":"a","url":"a","size":-1}]}"#, wrong);
        check("", "<html>", "the index answered with a web page without package links, not with a package page");
        check("text/html", "hello", "the index answered with text without a single HTML tag, not with a package page");
        check("text/html", &"<a href='x'>a".repeat(100_000), "");
    }

    #[test]
    fn html() {
        check(
            "text/html; charset=utf-8",
            r#"<!DOCTYPE html><body><h1>Links for a</h1>
            <a href="/files/a-1%2Bx-py3-none-any.whl#sha256=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" data-requires-python="&gt;=3.9" data-yanked="">a</a>
            <a href="notes.txt">no</a>"#,
            "a-1+x-py3-none-any.whl https://host/files/a-1%2Bx-py3-none-any.whl Some(\">=3.9\") Some(\"\") No",
        );
        check("text/html", "<html><body><h1>Links for a</h1></body>", "");
        check(
            "text/html",
            "<html><form action=/login><a href=x>Sign in</a></form>",
            "the index answered with a web page with a form (a login?), not with a package page",
        );
    }
}
