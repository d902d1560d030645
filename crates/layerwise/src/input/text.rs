//! Files as text.

use std::io::Read as _;
use std::path::Path;

use super::{InputError, Origin};

/// No dependency file is larger; a uv.lock of 2,000 packages has 5 MB.
const MAX_BYTES: u64 = 64 << 20;

/// Reads `path` as UTF-8, with or without a byte order mark.
///
/// # Errors
///
/// If it cannot be read, is larger than 64 MiB or is no UTF-8.
pub(super) fn read(path: &Path, shown: &str, named_in: Option<&Origin>) -> Result<String, InputError> {
    let mut bytes = Vec::new();
    #[expect(clippy::disallowed_methods, reason = "`InputError::Read` names the file, as the user knows it")]
    let file = std::fs::File::open(path);
    file.and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes)).map_err(|source| InputError::Read {
        file: shown.to_owned(),
        named_in: named_in.cloned(),
        source,
    })?;
    decode(bytes, shown)
}

/// `%40` as `@`; what is no escape stays, and so does what would not be UTF-8.
pub(crate) fn percent_decode(text: &str) -> String {
    let plain = percent_encoding::percent_decode_str(text).decode_utf8();
    plain.map_or_else(|_| text.to_owned(), std::borrow::Cow::into_owned)
}

/// Bytes of a text file as text.
fn decode(bytes: Vec<u8>, shown: &str) -> Result<String, InputError> {
    let problem = |problem: String| InputError::NotText { file: shown.to_owned(), problem };
    if bytes.len() as u64 > MAX_BYTES {
        return Err(problem(format!("it is larger than {} MiB", MAX_BYTES >> 20)));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(problem("it is UTF-16, as PowerShell's `>` writes it".to_owned()));
    }
    let mut text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..valid].iter().filter(|&&byte| byte == b'\n').count() + 1;
        problem(format!("line {line} is not UTF-8"))
    })?;
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    Ok(text)
}

/// The line, counted from 1, of a byte offset.
pub(super) fn line_at(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|&&byte| byte == b'\n').count() + 1
}

/// Parses TOML, keeping the line of an error.
pub(super) fn toml<T: serde::de::DeserializeOwned>(text: &str, file: &str) -> Result<T, InputError> {
    toml::from_str(text).map_err(|error| InputError::Format {
        origin: Origin { file: file.to_owned(), line: error.span().map_or(0, |span| line_at(text, span.start)) },
        problem: error.message().lines().next().unwrap_or_default().to_owned(),
        hint: None,
    })
}

/// The text with the credentials of every URL in it hidden.
pub(crate) fn redact(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        shown += before;
        let authority = after.find(|c: char| matches!(c, '/' | '?' | '#') || c.is_whitespace()).unwrap_or(after.len());
        let user = after[..authority].rfind('@').map_or(0, |at| at);
        // `git@github.com` is no secret.
        if user > 0 && &after[..user] != "git" {
            shown += "****";
            rest = &after[user..];
        } else {
            rest = after;
        }
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::chain;

    #[test]
    fn percents() {
        for (text, plain) in [
            ("a%40b", "a@b"),
            ("100%", "100%"),
            ("%C3%A4", "ä"),
            ("a%2Bb", "a+b"),
            ("%2f%2E", "/."),
            ("%", "%"),
            ("%2", "%2"),
            ("%zz", "%zz"),
            ("%ff", "%ff"),
            ("ä%41", "äA"),
        ] {
            assert_eq!(percent_decode(text), plain);
        }
    }

    #[test]
    fn text_is_utf8() {
        let decoded = |bytes: &[u8]| decode(bytes.to_vec(), "f").map_err(|e| chain(&e));
        assert_eq!(decoded(b"a\n"), Ok("a\n".to_owned()));
        assert_eq!(decoded(b"\xef\xbb\xbfa"), Ok("a".to_owned()));
        assert_eq!(
            decoded(b"\xff\xfea\0"),
            Err("failed to read `f`: it is UTF-16, as PowerShell's `>` writes it".to_owned())
        );
        assert_eq!(decoded(b"a\nb\xff"), Err("failed to read `f`: line 2 is not UTF-8".to_owned()));
    }

    #[test]
    fn a_missing_file_is_named_once() {
        let error = read(Path::new("/no/such/file"), "file", None).unwrap_err();
        assert_eq!(chain(&error), "failed to read `file`: No such file or directory (os error 2)");
    }

    #[test]
    fn secrets_are_hidden() {
        assert_eq!(redact("a @ https://me:pw@host/x b://t@h"), "a @ https://****@host/x b://****@h");
        assert_eq!(redact("git+ssh://git@host/x@v1 https://host/a@b"), "git+ssh://git@host/x@v1 https://host/a@b");
        assert_eq!(redact("https://u:p@ss@host"), "https://****@host");
    }
}
