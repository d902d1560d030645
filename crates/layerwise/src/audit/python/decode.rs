//! From the bytes of a source file to its text, as PEP 263 says.

use std::borrow::Cow;

use super::Problem;

const BOM: &[u8] = b"\xef\xbb\xbf";
/// The most that is kept of a name that a file gives to its encoding, in bytes.
const LONGEST_NAME: usize = 40;

/// The text, without a byte order mark.
///
/// Where the encoding is neither UTF-8 nor Latin-1, characters outside ASCII are replaced by others: names of modules
/// are ASCII there, and so is the grammar.
pub(super) fn decode(bytes: &[u8]) -> Result<Cow<'_, str>, Problem> {
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(Problem::Encoding { name: "utf-16".to_owned() });
    }
    let body = bytes.strip_prefix(BOM).unwrap_or(bytes);
    if body.contains(&0) {
        let at = body.iter().position(|byte| *byte == 0).unwrap_or_default();
        return Err(syntax(body, at, "source code string cannot contain null bytes".to_owned()));
    }
    let declared = cookie(body);
    let encoding = declared.as_deref().map_or(Some(Encoding::Utf8), encoding);
    if body.len() < bytes.len()
        && let Some(name) = declared.as_deref().filter(|name| *name != "utf-8" && !name.starts_with("utf-8-"))
    {
        return Err(syntax(body, 0, format!("encoding problem: {name} with BOM")));
    }
    match encoding {
        Some(Encoding::Utf8) => std::str::from_utf8(body).map(Cow::Borrowed).map_err(|error| {
            let at = error.valid_up_to();
            let byte = body.get(at).copied().unwrap_or_default();
            let message = match declared {
                Some(_) => format!("(unicode error) 'utf-8' codec can't decode byte 0x{byte:02x}"),
                None => format!("Non-UTF-8 code starting with '\\x{byte:02x}', but no encoding declared"),
            };
            syntax(body, at, message)
        }),
        Some(Encoding::Ascii) => match body.iter().position(|byte| !byte.is_ascii()) {
            None => Ok(String::from_utf8_lossy(body)),
            Some(at) => {
                let byte = body.get(at).copied().unwrap_or_default();
                Err(syntax(body, at, format!("(unicode error) 'ascii' codec can't decode byte 0x{byte:02x}")))
            }
        },
        Some(Encoding::OneByte) => Ok(body.iter().map(|byte| char::from(*byte)).collect()),
        Some(Encoding::TwoBytes) => Ok(Cow::Owned(two_bytes(body))),
        None => Err(Problem::Encoding { name: declared.unwrap_or_default() }),
    }
}

fn syntax(bytes: &[u8], at: usize, message: String) -> Problem {
    Problem::Syntax { line: super::line(bytes, at), message }
}

/// The name in the comment that declares an encoding, in one of the first two lines, normalised.
fn cookie(bytes: &[u8]) -> Option<String> {
    let mut rest = bytes;
    for _ in 0..2 {
        let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(rest.len());
        let (line, after) = rest.split_at(end);
        rest = after.strip_prefix(b"\r\n").or_else(|| after.get(1..)).unwrap_or_default();
        let blank = line.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\x0c')).count();
        match line.get(blank) {
            None => {}
            Some(b'#') => {
                if let Some(name) = name_in_comment(line) {
                    return Some(name);
                }
            }
            Some(_) => return None,
        }
    }
    None
}

/// `coding[:=]\s*([-\w.]+)`, the first that has a name.
fn name_in_comment(line: &[u8]) -> Option<String> {
    const WORD: &[u8] = b"coding";
    let mut rest = line;
    while let Some(at) = rest.windows(WORD.len()).position(|window| window == WORD) {
        rest = rest.get(at + WORD.len()..)?;
        let Some(value) = rest.strip_prefix(b":").or_else(|| rest.strip_prefix(b"=")) else { continue };
        let name: String = value
            .iter()
            .skip_while(|byte| matches!(byte, b' ' | b'\t'))
            .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
            .take(LONGEST_NAME)
            .map(|byte| char::from(if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() }))
            .collect();
        if !name.is_empty() {
            return Some(name);
        }
    }
    None
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Utf8,
    Ascii,
    /// ASCII, and one byte for every other character.
    OneByte,
    /// ASCII, and two bytes for most other characters; the second may look like ASCII.
    TwoBytes,
}

/// Of Python's standard encodings those that a source file can be in, and whose ASCII is ASCII.
fn encoding(name: &str) -> Option<Encoding> {
    const ONE: &[&str] = &[
        "latin",
        "iso-8859",
        "iso8859",
        "iso-latin",
        "l1",
        "8859",
        "windows-12",
        "cp12",
        "cp437",
        "cp7",
        "cp8",
        "cp1006",
        "cp1125",
        "koi8",
        "mac",
        "tis",
        "ptcp154",
        "hp-roman",
        "kz",
    ];
    const TWO: &[&str] = &[
        "gb", "big5", "shift", "sjis", "s-jis", "cp93", "cp94", "cp95", "ms93", "ms94", "ms95", "936", "949", "950",
        "uhc", "johab", "euc", "ks", "korean", "hkscs",
    ];
    let is_one_of = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    match name {
        "utf-8" | "utf8" | "u8" | "utf" | "cp65001" => Some(Encoding::Utf8),
        "ascii" | "us-ascii" | "646" => Some(Encoding::Ascii),
        "cp875" => None, // EBCDIC
        _ if name.starts_with("utf-8-") => Some(Encoding::Utf8),
        _ if is_one_of(ONE) => Some(Encoding::OneByte),
        _ if is_one_of(TWO) => Some(Encoding::TwoBytes),
        _ => None,
    }
}

/// Every pair of a byte outside ASCII and the next becomes one letter.
fn two_bytes(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let mut bytes = bytes.iter();
    while let Some(byte) = bytes.next() {
        if byte.is_ascii() {
            text.push(char::from(*byte));
            continue;
        }
        text.push('é');
        // A line's end is never the second of a pair.
        if bytes.as_slice().first().is_some_and(|second| *second >= b'0') {
            bytes.next();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: &str) {
        let shown = match decode(bytes) {
            Ok(text) => text.into_owned(),
            Err(Problem::Syntax { line, message }) => format!("line {line}: {message}"),
            Err(problem) => format!("{problem:?}"),
        };
        assert_eq!(shown, expected);
    }

    #[test]
    fn encodings() {
        check("é".as_bytes(), "é");
        check(b"\xef\xbb\xbfa", "a");
        check(b"\xef\xbb\xbf# coding: utf-8\n", "# coding: utf-8\n");
        check(b"# -*- coding: latin-1 -*-\n\xe9", "# -*- coding: latin-1 -*-\né");
        check(b"\n#coding=iso-8859-15\n\xe9", "\n#coding=iso-8859-15\né");
        check(b"#!x\r\n# vim: set fileencoding=cp1252 :\r\n\xe9", "#!x\r\n# vim: set fileencoding=cp1252 :\r\né");
        check(b"# coding: us-ascii\na", "# coding: us-ascii\na");
        check(b"# coding coding: UTF_8_sig\n", "# coding coding: UTF_8_sig\n");
        // `\x5c`, a backslash, is the second byte of 表 in Shift JIS.
        check(b"# coding: shift_jis\n'\x95\x5c'", "# coding: shift_jis\n'é'");
        check(b"# coding: gbk\n'\xc4\xe3'", "# coding: gbk\n'é'");
        check(b"# coding: euc-jp\n'\xb1", "# coding: euc-jp\n'é");
    }

    #[test]
    fn what_python_refuses() {
        check(b"a\n'\xe9'", "line 2: Non-UTF-8 code starting with '\\xe9', but no encoding declared");
        check(b"# coding: utf-8\n\n'\xe9'", "line 3: (unicode error) 'utf-8' codec can't decode byte 0xe9");
        check(
            b"a\n\n# coding: latin-1\n\xe9",
            "line 4: Non-UTF-8 code starting with '\\xe9', but no encoding declared",
        );
        check(
            b"x = 1\n# coding: latin-1\n\xe9",
            "line 3: Non-UTF-8 code starting with '\\xe9', but no encoding declared",
        );
        check("# coding: ascii\né".as_bytes(), "line 2: (unicode error) 'ascii' codec can't decode byte 0xc3");
        check(b"\xef\xbb\xbf# coding: latin-1\n", "line 1: encoding problem: latin-1 with BOM");
        check(b"\xef\xbb\xbf# coding: utf8\n", "line 1: encoding problem: utf8 with BOM");
        check(b"a\r\nb\0", "line 2: source code string cannot contain null bytes");
        check(b"# coding: utf-16\n", r#"Encoding { name: "utf-16" }"#);
        check(b"# coding: cp875\n", r#"Encoding { name: "cp875" }"#);
        check(b"# coding: rot13\n", r#"Encoding { name: "rot13" }"#);
        check(b"\xff\xfea\0", r#"Encoding { name: "utf-16" }"#);
        check(b"\xfe\xff\0a", r#"Encoding { name: "utf-16" }"#);
        check(
            &[b"# coding: ".as_slice(), &[b'x'; 1000]].concat(),
            &format!("Encoding {{ name: {:?} }}", "x".repeat(40)),
        );
    }
}
