//! Programs of packages: `python/bin/NAME`.

/// The text of a script of a wheel with its first line naming `interpreter`, where it begins with `#!python` (PEP 427;
/// `#!pythonw` and `#!python3` do, too).
pub(super) fn rewrite(text: &[u8], interpreter: &str) -> Option<Vec<u8>> {
    let rest = text.strip_prefix(b"#!python")?;
    let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let (line, body) = rest.split_at(end);
    let line = String::from_utf8_lossy(line);
    let arguments = line.find(char::is_whitespace).map_or("", |at| line[at..].trim_end());
    Some([format!("#!{interpreter}{arguments}").as_bytes(), body].concat())
}

/// The scripts of `entry_points.txt`: name and text, sorted by name. `root` is where packages stand, seen from the
/// script: a process that a handler starts has a PYTHONPATH without the layer's directories, so scripts look there
/// themselves. `Err`: a line that names no function.
///
/// Source: <https://packaging.python.org/en/latest/specifications/entry-points/>.
pub(super) fn entry_points(text: &str, interpreter: &str, root: &str) -> Result<Vec<(String, String)>, String> {
    let mut scripts = Vec::new();
    let mut wanted = false;
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']').trim();
            wanted = section == "console_scripts" || section == "gui_scripts";
            continue;
        }
        if wanted {
            scripts.push(script(line, interpreter, root).ok_or_else(|| line.escape_debug().to_string())?);
        }
    }
    scripts.sort();
    scripts.dedup_by(|a, b| a.0 == b.0);
    Ok(scripts)
}

/// Whether a file below `.data/scripts` is what old setuptools made for the entry point of that name: `tool`,
/// `tool.exe`, `tool-script.py`. As pip and uv do, it gives way to the script made from the entry point.
pub(super) fn is_wrapper(file: &str, scripts: &[(String, String)]) -> bool {
    let ends = [".exe", "-script.py", "-script.pyw"];
    let name = ends.iter().find_map(|end| file.strip_suffix(end)).unwrap_or(file);
    scripts.iter().any(|(script, _)| script == name)
}

fn script(line: &str, interpreter: &str, root: &str) -> Option<(String, String)> {
    let (name, object) = line.split_once('=')?;
    // `module:function [extra]`: the extra is of an older time.
    let object = object.split('[').next()?.trim();
    let (module, function) = object.split_once(':')?;
    let (name, module, function) = (name.trim(), module.trim(), function.trim());
    let dotted = |text: &str| text.split('.').all(is_identifier);
    let file_name = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\']);
    if !file_name || !dotted(module) || !dotted(function) {
        return None;
    }
    let import = function.split('.').next()?;
    let text = format!(
        "#!{interpreter}\n\
         # -*- coding: utf-8 -*-\n\
         import os\n\
         import sys\n\
         sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), \"{root}\"))\n\
         from {module} import {import}\n\
         if __name__ == \"__main__\":\n    \
             sys.exit({function}())\n"
    );
    Some((name.to_owned(), text))
}

fn is_identifier(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c == '_' || c.is_alphabetic()) && chars.all(|c| c == '_' || c.is_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shebangs() {
        let check = |text: &str, expected: Option<&str>| {
            let rewritten = rewrite(text.as_bytes(), "/p").map(|text| String::from_utf8(text).unwrap());
            assert_eq!(rewritten.as_deref(), expected, "{text:?}");
        };
        check("#!python\nx", Some("#!/p\nx"));
        check("#!pythonw -u\r\nx", Some("#!/p -u\nx"));
        check("#!python", Some("#!/p"));
        check("#!python3\nx", Some("#!/p\nx"));
        check("#!python3.9 -E \nx", Some("#!/p -E\nx"));
        check("#!python\r\nx", Some("#!/p\nx"));
        check("", None);
        check("#!/bin/sh\nx", None);
    }

    #[test]
    fn entry_point_scripts() {
        let names = |text: &str| {
            entry_points(text, "/p", "..").map(|scripts| scripts.into_iter().map(|(name, _)| name).collect::<Vec<_>>())
        };
        assert_eq!(
            names("[console_scripts]\nb = m.n:f.g [x]\na=m:f\n[other]\nz = 1\n[gui_scripts]\nc=m:f"),
            Ok(vec!["a".into(), "b".into(), "c".into()])
        );
        for bad in ["a = m", "../a = m:f", "a = m:f();x", "a = m;n:f", "= m:f"] {
            assert!(names(&format!("[console_scripts]\n{bad}")).is_err(), "{bad}");
        }
        let text = &entry_points("[console_scripts]\nb = m.n:f.g", "/p", "..").unwrap()[0].1;
        assert_eq!(
            text,
            "#!/p\n# -*- coding: utf-8 -*-\nimport os\nimport sys\nsys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), \"..\"))\nfrom m.n import f\nif __name__ == \"__main__\":\n    sys.exit(f.g())\n"
        );
    }
}
