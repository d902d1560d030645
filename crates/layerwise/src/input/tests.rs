//! The input kinds, on the projects in `tests/fixtures/inputs` (each made by its real tool) and on texts.

use std::path::{Path, PathBuf};

use super::*;
use crate::error::{Explain, chain};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/inputs").join(name)
}

fn wanted(extras: &[&str], groups: &[&str]) -> Wanted {
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Wanted { extras: set(extras), groups: set(groups) }
}

fn none(_: &str) -> Option<String> {
    None
}

/// Everything about what was found, a line each; digests by their first digits.
fn render(found: &Found) -> String {
    let mut lines = Vec::new();
    let mut list = |head: &str, requirements: &[Requirement]| {
        for r in requirements {
            let hashes: String = r.hashes.iter().map(|hash| format!(" #{}", &hash.to_string()[..4])).collect();
            lines.push(format!("{head}{} [{}]{hashes}", r.text, r.origin));
        }
    };
    match &found.inputs.source {
        Source::Open { requirements, constraints } => {
            list("", requirements);
            list("-c ", constraints);
        }
        Source::Exact { requirements } => list("= ", requirements),
        Source::UvLock { project_dir, lock_text, extras, groups } => {
            let dir = project_dir.strip_prefix(fixture("")).unwrap_or(project_dir).display();
            lines.push(format!("uv.lock of {dir}, {} bytes, {extras:?} {groups:?}", lock_text.len()));
        }
        Source::Pylock { path, extras, groups, .. } => {
            lines.push(format!(
                "pylock {}, {extras:?} {groups:?}",
                path.strip_prefix(fixture("")).unwrap_or(path).display()
            ));
        }
    }
    lines.extend(render_indexes(&found.inputs.indexes));
    lines.extend(found.warnings.iter().map(|text| format!("warning: {text}")));
    lines.join("\n")
}

fn render_indexes(indexes: &IndexOptions) -> Vec<String> {
    let one = |index: &Index| {
        let name = index.name.as_ref().map(|name| format!("{name}=")).unwrap_or_default();
        let secret = index
            .credentials
            .as_ref()
            .map(|c| format!(" ({}:{})", c.username, c.password.as_ref().map_or("-", Secret::expose)));
        format!("{name}{}{}", index.url, secret.unwrap_or_default())
    };
    let mut lines: Vec<String> = indexes.default_index.iter().map(|index| format!("-i {}", one(index))).collect();
    lines.extend(indexes.extra.iter().map(|index| format!("--extra {}", one(index))));
    lines.extend(indexes.find_links.iter().map(|place| match place {
        FindLinks::Dir(dir) => format!("-f {}", dir.strip_prefix(fixture("")).unwrap_or(dir).display()),
        FindLinks::Page(url, credentials) => format!("-f {url} {credentials:?}"),
    }));
    lines.extend(indexes.index_of.iter().map(|(name, index)| format!("{name} from {}", one(index))));
    let flags =
        [(indexes.no_index, "no-index"), (indexes.unsafe_best_match, "best-match"), (indexes.keyring, "keyring")];
    lines.extend(flags.iter().filter(|(on, _)| *on).map(|(_, name)| (*name).to_owned()));
    lines
}

/// An error as the user sees it.
fn explain(error: &InputError) -> String {
    let hints: String = error.hints().iter().map(|hint| format!("\nhint: {hint}")).collect();
    format!("{}{hints}", chain(error))
}

#[track_caller]
fn check(dir: &str, extras: &[&str], groups: &[&str], expected: &str) {
    let found = discover(&fixture(dir), &wanted(extras, groups), &none);
    assert_eq!(found.map_or_else(|e| explain(&e), |found| render(&found)), expected.trim());
}

/// Writes `files` into a new directory and discovers there.
#[track_caller]
fn check_files(files: &[(&str, &str)], wanted: &Wanted, expected: &str) {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }
    let found = discover(dir.path(), wanted, &none).map_or_else(|e| explain(&e), |found| render(&found));
    assert_eq!(found.replace(&dir.path().display().to_string(), "DIR"), expected.trim());
}

#[test]
fn requirements_with_includes() {
    check(
        "requirements",
        &[],
        &[],
        r#"
idna>=3 [sub/base.txt:1]
colorama; sys_platform == "win32" [sub/base.txt:2]
six>=1.16      ; python_version >= "3.9" [requirements.txt:6]
./libs/own [requirements.txt:8]
-c idna<3.11 [constraints.txt:1]
--extra https://packages.example.com/simple (me:secret)
-f requirements/sub/wheels"#,
    );
    check(
        "requirements-hashed",
        &[],
        &[],
        r#"
colorama==0.4.6 ; sys_platform == 'win32' [requirements.txt:1] #0869 #4f1d
idna==3.20 [requirements.txt:5] #a7db #ab7a"#,
    );
}

#[test]
fn uv() {
    check("uv-single", &["old"], &["Dev"], r#"uv.lock of uv-single, 4570 bytes, {"old"} {"Dev"}"#);
    check(
        "uv-single",
        &["new"],
        &[],
        r#"
`pyproject.toml` has no extra `new`
hint: there is old"#,
    );
    check("uv-workspace", &[], &[], "uv.lock of uv-workspace, 3971 bytes, {} {}");
    check("uv-workspace/packages/api", &[], &[], "uv.lock of uv-workspace/packages/api, 3971 bytes, {} {}");
}

#[test]
fn pylock() {
    check("uv-pylock", &[], &[], "pylock uv-pylock/pylock.toml, {} {}");
    check(
        "pip-pylock",
        &["a"],
        &[],
        r#"
`pylock.toml` has no extra `a`
hint: it has no extra at all"#,
    );
}

#[test]
fn poetry_locks() {
    check(
        "poetry-2",
        &[],
        &[],
        r#"
= click==8.1.8 [poetry.lock:3] #63c1 #ed53
= colorama==0.4.6 ; platform_system == "Windows" [poetry.lock:23] #0869 #4f1d
= idna==3.10 [poetry.lock:41] #12f6 #946d
= tomli==2.0.2 ; python_version < "3.11" [poetry.lock:100] #2ebe #d46d"#,
    );
    check(
        "poetry-2",
        &["old"],
        &["dev"],
        r#"
= click==8.1.8 [poetry.lock:3] #63c1 #ed53
= colorama==0.4.6 ; platform_system == "Windows" [poetry.lock:23] #0869 #4f1d
= idna==3.10 [poetry.lock:41] #12f6 #946d
= pluggy==1.5.0 [poetry.lock:61] #2cff #44e1
= six==1.16.0 [poetry.lock:82] #1e61 #8abb
= tomli==2.0.2 ; python_version < "3.11" [poetry.lock:100] #2ebe #d46d"#,
    );
    check(
        "poetry-1.8",
        &[],
        &[],
        r#"
= click==8.1.8 [poetry.lock:3] #63c1 #ed53
= colorama==0.4.6 ; platform_system == 'Windows' [poetry.lock:22] #0869 #4f1d
= idna==3.10 [poetry.lock:38] #12f6 #946d
= tomli==2.0.2 ; python_full_version < '3.11' [poetry.lock:93] #2ebe #d46d"#,
    );
    check(
        "poetry-1.8",
        &["old"],
        &["dev"],
        r#"
= click==8.1.8 [poetry.lock:3] #63c1 #ed53
= colorama==0.4.6 ; platform_system == 'Windows' [poetry.lock:22] #0869 #4f1d
= idna==3.10 [poetry.lock:38] #12f6 #946d
= pluggy==1.5.0 [poetry.lock:57] #2cff #44e1
= six==1.16.0 [poetry.lock:77] #1e61 #8abb
= tomli==2.0.2 ; python_full_version < '3.11' [poetry.lock:93] #2ebe #d46d"#,
    );
    check(
        "poetry-1.2",
        &[],
        &[],
        r#"
= click==8.1.8 [poetry.lock:1] #63c1 #ed53
= colorama==0.4.6 ; platform_system == 'Windows' [poetry.lock:17] #0869 #4f1d
= idna==3.10 [poetry.lock:30] #12f6 #946d
= tomli==2.0.2 ; python_full_version < '3.11' [poetry.lock:76] #2ebe #d46d"#,
    );
    check(
        "poetry-1.2",
        &["old"],
        &["dev"],
        r#"
= click==8.1.8 [poetry.lock:1] #63c1 #ed53
= colorama==0.4.6 ; platform_system == 'Windows' [poetry.lock:17] #0869 #4f1d
= idna==3.10 [poetry.lock:30] #12f6 #946d
= pluggy==1.5.0 [poetry.lock:46] #2cff #44e1
= six==1.16.0 [poetry.lock:63] #1e61 #8abb
= tomli==2.0.2 ; python_full_version < '3.11' [poetry.lock:76] #2ebe #d46d"#,
    );
}

#[test]
fn pipfile_lock() {
    check(
        "pipenv",
        &[],
        &[],
        r#"
= click==8.5.1 ; python_version >= '3.10' [Pipfile.lock:19] #8bb5 #9bbf
= colorama [Pipfile.lock:28]
= idna==3.20 ; python_version >= '3.9' [Pipfile.lock:31] #a7db #ab7a
warning: Pipfile.lock:28: pipenv has not pinned `colorama`, its newest version is taken"#,
    );
    check(
        "pipenv",
        &[],
        &["dev"],
        r#"
= click==8.5.1 ; python_version >= '3.10' [Pipfile.lock:19] #8bb5 #9bbf
= colorama [Pipfile.lock:28]
= idna==3.20 ; python_version >= '3.9' [Pipfile.lock:31] #a7db #ab7a
= iniconfig==2.3.1 ; python_version >= '3.10' [Pipfile.lock:42] #67f4 #9121
warning: Pipfile.lock:28: pipenv has not pinned `colorama`, its newest version is taken"#,
    );
}

#[test]
fn pyproject_without_a_lock() {
    let found = from_given(&fixture("uv-single"), &["pyproject.toml".into()], &[], &wanted(&["old"], &["dev"]), &none);
    assert_eq!(
        render(&found.unwrap()),
        r#"
idna>=3 [pyproject.toml:5]
colorama; sys_platform == 'win32' [pyproject.toml:5]
six [pyproject.toml:8]
iniconfig [pyproject.toml:11]"#
            .trim()
    );
    let found =
        from_given(&fixture("uv-workspace/packages/api"), &["pyproject.toml".into()], &[], &wanted(&[], &[]), &none);
    assert_eq!(
        render(&found.unwrap()),
        r#"
worker @ ../worker [pyproject.toml:5]
idna [pyproject.toml:5]"#
            .trim()
    );
}

/// A requirements file by itself.
#[track_caller]
fn check_text(text: &str, expected: &str) {
    check_files(&[("requirements.txt", text)], &wanted(&[], &[]), expected);
}

#[test]
fn requirement_forms() {
    check_text(
        "Requests[Socks,security]>=2.0,<3; python_version>='3.8'\nb @ https://h/b-1.0-py3-none-any.whl#sha256=00\n\
         c@git+https://h/c.git@v1\nhttps://h/d-1-py3-none-any.whl ; sys_platform == 'linux'\ngit+ssh://git@h/e.git#egg=e\n\
         ./f-1-py3-none-any.whl\ng/sub\n../h[extra]\n-e ./i\n--editable=j\n-e git+https://h/k#egg=k\nl (>=1)\nfile:///m\n\
         n==1.*  # why\n",
        r#"
Requests[Socks,security]>=2.0,<3; python_version>='3.8' [requirements.txt:1]
b @ https://h/b-1.0-py3-none-any.whl#sha256=00 [requirements.txt:2]
c@git+https://h/c.git@v1 [requirements.txt:3]
https://h/d-1-py3-none-any.whl ; sys_platform == 'linux' [requirements.txt:4]
git+ssh://git@h/e.git#egg=e [requirements.txt:5]
./f-1-py3-none-any.whl [requirements.txt:6]
g/sub [requirements.txt:7]
../h[extra] [requirements.txt:8]
./i [requirements.txt:9]
./j [requirements.txt:10]
git+https://h/k#egg=k [requirements.txt:11]
l (>=1) [requirements.txt:12]
file:///m [requirements.txt:13]
n==1.* [requirements.txt:14]
warning: requirements.txt:9: `-e ./i` is packed as a copy, not as an editable install
warning: requirements.txt:10: `-e ./j` is packed as a copy, not as an editable install
warning: requirements.txt:11: `-e git+https://h/k#egg=k` is packed as a copy, not as an editable install"#,
    );
}

#[test]
fn requirement_hashes() {
    let zeros = "0".repeat(64);
    let ones = "1".repeat(64);
    check_text(
        &format!("a==1 --hash=sha256:{zeros} \\\n  --hash sha256:{ones} --hash=sha512:12\n"),
        "a==1 [requirements.txt:1] #0000 #1111",
    );
    check_text(
        "a==1 --hash=md5:12\n",
        "requirements.txt:1: `a==1 --hash=md5:12`: only sha256 hashes are supported, got `md5`",
    );
    check_text(
        "a==1 --hash=sha256:12\n",
        "requirements.txt:1: `a==1 --hash=sha256:12`: `12` is not a SHA-256 digest (64 hexadecimal digits)",
    );
    check_text(
        &format!("a==1 --hash=sha256:{zeros}\nb==1\n"),
        r#"
requirements.txt:2: `b==1` has no `--hash=sha256:…`, but requirements.txt:1 makes hashes a must
hint: `uv pip compile --generate-hashes` or `pip-compile --generate-hashes` writes all of them"#,
    );
    check_text(
        "--require-hashes\nb==1\n",
        r#"
requirements.txt:2: `b==1` has no `--hash=sha256:…`, but requirements.txt:1 makes hashes a must
hint: `uv pip compile --generate-hashes` or `pip-compile --generate-hashes` writes all of them"#,
    );
}

#[test]
fn requirements_syntax_errors() {
    check_text(
        "# x\n\nrequests=>2\n",
        "requirements.txt:3: `requests=>2`: there is no operator `=>`: did you mean `>=`?",
    );
    check_text(
        "requests 2\n",
        "requirements.txt:1: `requests 2`: expected a requirement such as `name>=1.2`, a URL or a path: expected one of `@`, `(`, `<`, `=`, `>`, `~`, `!`, `;`, found `2`",
    );
    check_text("requests=2\n", "requirements.txt:1: `requests=2`: there is no operator `=`: did you mean `==`?");
    check_text(
        "requests==\n",
        "requirements.txt:1: `requests==`: expected a requirement such as `name>=1.2`, a URL or a path: unexpected end of version specifier, expected version",
    );
    check_text(
        "requests>=2.x.y\n",
        "requirements.txt:1: `requests>=2.x.y`: expected a requirement such as `name>=1.2`, a URL or a path: after parsing `2`, found `.x.y`, which is not part of a valid version",
    );
    check_text(
        "requests; python > '3'\n",
        "requirements.txt:1: `requests; python > '3'`: in its marker, expected a quoted string or a valid marker name, found `python`",
    );
    check_text(
        "requests[\n",
        "requirements.txt:1: `requests[`: expected a requirement such as `name>=1.2`, a URL or a path: missing closing bracket (expected ']', found end of dependency specification)",
    );
    check_text("a @ \n", "requirements.txt:1: `a @`: expected a URL or a path after `@`");
    check_text("-x\n", "requirements.txt:1: `-x`: there is no option `-x`");
    check_text("a \\\n  --what=1\n", "requirements.txt:1: `a   --what=1`: there is no option `--what=1`");
    check_text("-r\n", "requirements.txt:1: `-r`: expected a value after `--requirement`");
    check_text("-i ftp://h\n", "requirements.txt:1: `ftp://h`: expected an `https` URL, got `ftp`");
    check_text(
        "ä\n",
        "requirements.txt:1: `ä`: expected a requirement such as `name>=1.2`, a URL or a path: expected package name starting with an alphanumeric character, found `ä`",
    );
    check_text(
        "a b @ https://user:secret@h/x 'c'\n",
        "requirements.txt:1: `a b @ https://****@h/x 'c'`: expected a requirement such as `name>=1.2`, a URL or a path: expected one of `@`, `(`, `<`, `=`, `>`, `~`, `!`, `;`, found `b`",
    );
    check_text(
        "<<<<<<< HEAD\n",
        "requirements.txt:1: `<<<<<<< HEAD`: expected a requirement such as `name>=1.2`, a URL or a path: expected package name starting with an alphanumeric character, found `<`",
    );
}

#[test]
fn requirements_options() {
    check_text(
        "a\n--pre\n--no-binary a\n--only-binary=:all:\n--trusted-host h\n--prefer-binary\n--no-index\n\
         -i https://u:p%40@h/simple\n--extra-index-url=named=https://x/simple\n-f https://t@h/page\n-ffiles\n",
        r#"
a [requirements.txt:1]
-i https://h/simple (u:p@)
--extra named=https://x/simple
-f https://h/page Some(t:****)
-f DIR/files
no-index
warning: requirements.txt:2: `--pre` is not followed; a pre-release is taken where a requirement names one (`name>=2.0rc1`)
warning: requirements.txt:3: `--no-binary a` is not followed: a wheel that fits the runtime exactly is taken"#,
    );
    check_text(
        "",
        r#"
`requirements.txt` names no packages
hint: write one requirement a line, such as `requests>=2`"#,
    );
    check_text(
        "# nothing\n-i https://h/simple\n",
        r#"
`requirements.txt` names no packages
hint: write one requirement a line, such as `requests>=2`"#,
    );
}

#[test]
fn requirements_includes() {
    let files = |a: &'static str, b: &'static str| [("requirements.txt", a), ("sub/b.txt", b)];
    let nothing = wanted(&[], &[]);
    check_files(
        &files("-r sub/b.txt\n", "x\n-r ../requirements.txt\n"),
        &nothing,
        "sub/b.txt:2: `sub/../requirements.txt` includes itself",
    );
    check_files(
        &files("-rsub/b.txt\n-c sub/b.txt\n-r sub/b.txt", "x\n"),
        &nothing,
        r#"
x [sub/b.txt:1]
-c x [sub/b.txt:1]"#,
    );
    check_files(
        &files("x\n-r b.txt", ""),
        &nothing,
        r#"
failed to read `b.txt`, which requirements.txt:2 asks for: No such file or directory (os error 2)
hint: a relative path counts from the file that names it"#,
    );
    check_files(
        &files("x\n-r https://u:p@h/b.txt", ""),
        &nothing,
        r#"
requirements.txt:2: `https://****@h/b.txt` is on the network
hint: download it and name the local file"#,
    );
    check_files(
        &files("x\n-r poetry.lock", ""),
        &nothing,
        r#"
requirements.txt:2: `poetry.lock` is not a requirements file
hint: give it to layerwise by itself"#,
    );
}

#[test]
fn variables_are_expanded() {
    let set = |name: &str| (name == "TOKEN_1").then(|| "s3cret".to_owned());
    for (text, expected) in [
        ("https://${TOKEN_1}@h/${NOT_SET}/${lower}/$TOKEN_1", "https://s3cret@h/${NOT_SET}/${lower}/$TOKEN_1"),
        ("${TOKEN_1", "${TOKEN_1"),
        ("${}${${TOKEN_1}", "${}${s3cret"),
    ] {
        assert_eq!(requirements::expand(text, &set), expected);
    }
}

#[test]
fn variables_in_a_pipfile_lock() {
    let set = |name: &str| (name == "User_1").then(|| "me".to_owned());
    let lock = r#"{"_meta": {"pipfile-spec": 6, "sources": [{"name": "m", "url": "https://$User_1:${User_1}$x@m.example.com"}]},
        "default": {"a": {"version": "==1"}}}"#;
    let dir = tempfile::tempdir().unwrap();
    fs_err::write(dir.path().join("Pipfile.lock"), lock).unwrap();
    let found = discover(dir.path(), &wanted(&[], &[]), &set).unwrap();
    assert_eq!(render(&found), "= a==1 [Pipfile.lock]\n-i m=https://m.example.com/ (me:me$x)");
}

#[test]
fn any_text_is_an_answer_not_a_panic() {
    // A small generator: reproducible, no dependency.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let pieces = [
        "a",
        "==",
        "1",
        " ",
        "[",
        "]",
        "@",
        ";",
        "(",
        ")",
        "'",
        "\"",
        "ä",
        "-r",
        "--hash=",
        "\\\n",
        "#",
        "${A}",
        "://",
        "python_version",
        "<",
        "extra",
        ".",
        "/",
        ",",
        "*",
        "~",
        "!",
        "\u{1f40d}",
        "and",
        "\t",
        "-",
    ];
    for _ in 0..20_000 {
        let mut text = String::new();
        for _ in 0..12 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            text += pieces[usize::try_from(state % 32).unwrap()];
        }
        drop(requirements::parse(&text, "f", &none));
        drop(Requirement::parse(&text, &Origin::file("f")));
        drop(Netrc::parse(&text));
    }
    let deep = format!("a; {}python_version > '3'", "(".repeat(100_000));
    assert!(Requirement::parse(&deep, &Origin::file("f")).is_err());
}

#[test]
fn bare_requirements() {
    let dir = fixture("requirements");
    let bare = |texts: &[&str], files: &[&str]| {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        let files: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
        from_given(&dir, &files, &texts, &wanted(&[], &[]), &none)
            .map_or_else(|e| explain(&e), |f| format!("{}: {}", f.inputs.label, render(&f)))
    };
    assert_eq!(
        bare(&["requests>=2", "./x"], &[]),
        r#"
-p: requests>=2 [-p]
./x [-p]"#
            .trim()
    );
    assert_eq!(
        bare(&["requests"], &["sub/base.txt"]),
        r#"
sub/base.txt, -p: idna>=3 [sub/base.txt:1]
colorama; sys_platform == "win32" [sub/base.txt:2]
requests [-p]
-f requirements/sub/wheels"#
            .trim()
    );
    assert_eq!(bare(&["requests=2"], &[]), "-p: `requests=2`: there is no operator `=`: did you mean `==`?");
    assert_eq!(
        bare(&["requests"], &["../poetry-2/poetry.lock"]),
        r#"
`../poetry-2/poetry.lock` is a lock and cannot be combined with bare requirements
hint: name the lock alone"#
            .trim()
    );
    assert_eq!(
        bare(&[], &["no.txt"]),
        r#"
failed to read `no.txt`: No such file or directory (os error 2)
hint: check the spelling, or leave `-r` out to have the project's file found"#
            .trim()
    );
}

#[test]
fn pyproject_extras_and_groups() {
    let text = "[project]\nname = 'My.Project'\ndependencies = ['a']\n[project.optional-dependencies]\n\
                all = ['my_project[x,Y_y]; python_version < \"3.12\"']\nx = ['b>1', 'my-project[all]']\ny-y = ['c; os_name == \"posix\"']\n\
                [dependency-groups]\none = ['d', {include-group = 'Two_2']\n";
    let text = text.replace("'Two_2'", "'Two_2'}");
    let text = format!(
        "{text}two-2 = ['e']\nround = [{{include-group = 'round'}}]\nodd = [1]\ngone = [{{include-group = 'no'}}]\n"
    );
    let files = [("pyproject.toml", text.as_str())];
    check_files(
        &files,
        &wanted(&["all"], &["one"]),
        r#"
a [pyproject.toml:3]
b>1 ; python_version < "3.12" [pyproject.toml:6]
c ; (os_name == "posix") and (python_version < "3.12") [pyproject.toml:7]
d [pyproject.toml:9]
e [pyproject.toml:10]"#,
    );
    check_files(
        &files,
        &wanted(&["X"], &[]),
        r#"
a [pyproject.toml:3]
b>1 [pyproject.toml:6]
c ; (os_name == "posix") and (python_version < "3.12") [pyproject.toml:7]"#,
    );
    check_files(&files, &wanted(&[], &["round"]), "pyproject.toml:11: `round` includes itself");
    check_files(
        &files,
        &wanted(&[], &["odd"]),
        r#"pyproject.toml:12: expected a requirement or `{include-group = "…"}`"#,
    );
    check_files(
        &files,
        &wanted(&[], &["gone"]),
        r#"
`pyproject.toml:13` has no dependency group `no`
hint: there is gone, odd, one, round, two-2"#,
    );
    check_files(
        &files,
        &wanted(&["nope"], &[]),
        r#"
`pyproject.toml` has no extra `nope`
hint: there is all, x, y-y"#,
    );
}

#[test]
fn pyproject_with_uv_tables() {
    let text = r#"
[project]
name = "p"
dependencies = ["a>=1", "b[x]; python_version < '3.12'", "c", "d", "e", "f", "torch"]
[tool.uv]
constraint-dependencies = ["z<2"]
dev-dependencies = ["g"]
[[tool.uv.index]]
name = "cpu"
url = "https://u:p@cpu.example.com/simple"
explicit = true
[tool.uv.sources]
a = { git = "https://h/a", tag = "v1", subdirectory = "s" }
b = { path = "libs/b" }
c = { url = "https://h/c-1-py3-none-any.whl", marker = "python_version >= '3.12'" }
d = { path = "win", marker = "sys_platform == 'win32'" }
e = { index = "cpu", group = "dev" }
torch = [{ index = "cpu", marker = "sys_platform == 'linux'" }, { index = "other", marker = "sys_platform == 'darwin'" }]
"#;
    check_files(
        &[("pyproject.toml", text)],
        &wanted(&[], &["dev"]),
        r#"
a @ git+https://h/a@v1#subdirectory=s [pyproject.toml:4]
b[x] @ ./libs/b ; python_version < '3.12' [pyproject.toml:4]
c @ https://h/c-1-py3-none-any.whl ; python_full_version >= '3.12' [pyproject.toml:4]
c ; python_full_version < '3.12' [pyproject.toml:4]
d [pyproject.toml:4]
e [pyproject.toml:4]
f [pyproject.toml:4]
torch ; sys_platform == 'linux' [pyproject.toml:4]
g [pyproject.toml:7]
-c z<2 [pyproject.toml:6]
torch from cpu=https://cpu.example.com/simple (u:p)"#,
    );
    let with = |source: &str| format!("[project]\nname = 'p'\ndependencies = ['a']\n[tool.uv.sources]\na = {source}\n");
    check_files(
        &[("pyproject.toml", &with("{ index = 'no' }"))],
        &wanted(&[], &[]),
        "pyproject.toml:5: there is no `[[tool.uv.index]]` with the name `no`",
    );
    check_files(
        &[("pyproject.toml", &with("{ workspace = true }"))],
        &wanted(&[], &[]),
        "pyproject.toml:5: the workspace has no member of that name",
    );
    check_files(
        &[("pyproject.toml", &with("{}"))],
        &wanted(&[], &[]),
        "pyproject.toml:5: expected a source with `git`, `url`, `path`, `index` or `workspace = true`",
    );
    check_files(
        &[("pyproject.toml", &with("1"))],
        &wanted(&[], &[]),
        "pyproject.toml:5: invalid type: integer `1`, expected struct Source",
    );
    let overrides = "[project]\nname = 'p'\ndependencies = ['a']\n[tool.uv]\noverride-dependencies = ['b']\n";
    check_files(
        &[("pyproject.toml", overrides)],
        &wanted(&[], &[]),
        r#"
pyproject.toml:5: `override-dependencies` is only followed through a lock
hint: run `uv lock`; layerwise reads `uv.lock`"#,
    );
}

#[test]
fn what_is_found() {
    let nothing = wanted(&[], &[]);
    let project = ("pyproject.toml", "[project]\nname = 'p'\ndependencies = ['a']\n");
    check_files(
        &[],
        &nothing,
        r#"
no dependency file found in `DIR`
hint: layerwise looks for uv.lock, poetry.lock, Pipfile.lock, pylock.toml, pyproject.toml and requirements.txt"#,
    );
    check_files(
        &[project, ("requirements.txt", "b")],
        &nothing,
        r#"
a [pyproject.toml:3]
warning: `pyproject.toml` is used; `requirements.txt` is not (name it with `-r` to use it)"#,
    );
    check_files(&[("pyproject.toml", "[tool.ruff]\n"), ("requirements.txt", "b")], &nothing, "b [requirements.txt:1]");
    check_files(
        &[("pyproject.toml", "[project]\nname = 'p'\ndynamic = ['dependencies']\n")],
        &nothing,
        r#"
no dependency file found in `DIR`
hint: the dependencies in `pyproject.toml` are dynamic: name the file that they come from with `-r`, or run `uv lock`
hint: layerwise looks for uv.lock, poetry.lock, Pipfile.lock, pylock.toml, pyproject.toml and requirements.txt"#,
    );
    check_files(
        &[("pyproject.toml", "[tool.poetry.dependencies]\npython = '^3.9'\n")],
        &nothing,
        r#"
no dependency file found in `DIR`
hint: `pyproject.toml` is in Poetry's own words: run `poetry lock`; layerwise reads `poetry.lock`
hint: layerwise looks for uv.lock, poetry.lock, Pipfile.lock, pylock.toml, pyproject.toml and requirements.txt"#,
    );
    check_files(
        &[("Pipfile", ""), ("setup.py", "")],
        &nothing,
        r#"
no dependency file found in `DIR`
hint: run `pipenv lock`: layerwise reads `Pipfile.lock`, not `Pipfile`
hint: layerwise does not run `setup.py`: write the dependencies to `requirements.txt`
hint: layerwise looks for uv.lock, poetry.lock, Pipfile.lock, pylock.toml, pyproject.toml and requirements.txt"#,
    );
    check_files(
        &[("pyproject.toml", "[project]\ndependencies = []\n")],
        &nothing,
        "`pyproject.toml` names no packages",
    );
    check_files(
        &[("pyproject.toml", "[project]\ndependencies = 'a'\n")],
        &nothing,
        r#"pyproject.toml:2: invalid type: string "a", expected a sequence"#,
    );
    check_files(&[("pyproject.toml", "[project\n")], &nothing, "pyproject.toml:1: unclosed table, expected `]`");
    check_files(
        &[project, ("pylock.toml", "lock-version = '1.0'\n"), ("requirements.txt", "b")],
        &nothing,
        r#"
pylock DIR/pylock.toml, {} {}
warning: `pylock.toml` is used; `requirements.txt` is not (name it with `-r` to use it)"#,
    );
    check_files(
        &[project, ("pylock.toml", "lock-version = '2.0'\n")],
        &nothing,
        "pylock.toml: its lock-version is 2.0, layerwise reads 1.x",
    );
    check_files(
        &[project, ("pylock.main-python311-x86_64.toml", "lock-version = '1.0'\n")],
        &nothing,
        "a [pyproject.toml:3]",
    );
    check_files(
        &[project, ("uv.lock", "version = 2\n")],
        &nothing,
        "uv.lock: its version is 2, layerwise reads version 1",
    );
    check_files(
        &[("requirements.txt", "b")],
        &wanted(&["x"], &[]),
        r#"
`requirements.txt` has no extra `x`
hint: it has no extra at all"#,
    );
}

#[test]
fn poetry_sources_and_markers() {
    let lock = r#"
[[package]]
name = "a"
version = "1.0"
groups = ["main", "dev"]
markers = {main = "python_version < \"3.10\" and extra == \"x\" or extra == \"y\"", dev = "python_version < \"3.12\""}
files = [{file = "a", hash = "sha256:0000000000000000000000000000000000000000000000000000000000000000"}]
source = {type = "legacy", url = "https://u:p@private.example.com/simple", reference = "private"}
[[package]]
name = "b"
version = "1.0"
groups = ["main"]
source = {type = "git", url = "https://h/b.git", reference = "main", resolved_reference = "abc", subdirectory = "s"}
[[package]]
name = "c"
version = "1.0"
groups = ["main"]
source = {type = "directory", url = "../c"}
[[package]]
name = "d"
version = "1.0"
groups = ["main"]
source = {type = "url", url = "https://h/d-1-py3-none-any.whl"}
[extras]
x = ["a"]
y = ["a"]
[metadata]
lock-version = "2.1"
"#;
    let files = [("poetry.lock", lock)];
    check_files(
        &files,
        &wanted(&["x"], &[]),
        r#"
= a==1.0 ; python_full_version < '3.10' [poetry.lock:2] #0000
= b @ git+https://h/b.git@abc#subdirectory=s [poetry.lock:9]
= c @ ../c [poetry.lock:14]
= d @ https://h/d-1-py3-none-any.whl [poetry.lock:19]
a from private=https://private.example.com/simple (u:p)"#,
    );
    check_files(
        &files,
        &wanted(&["y"], &[]),
        r#"
= a==1.0 [poetry.lock:2] #0000
= b @ git+https://h/b.git@abc#subdirectory=s [poetry.lock:9]
= c @ ../c [poetry.lock:14]
= d @ https://h/d-1-py3-none-any.whl [poetry.lock:19]
a from private=https://private.example.com/simple (u:p)"#,
    );
    check_files(
        &files,
        &wanted(&[], &[]),
        r#"
= b @ git+https://h/b.git@abc#subdirectory=s [poetry.lock:9]
= c @ ../c [poetry.lock:14]
= d @ https://h/d-1-py3-none-any.whl [poetry.lock:19]"#,
    );
    check_files(
        &files,
        &wanted(&[], &["dev"]),
        r#"
= a==1.0 ; python_full_version < '3.12' [poetry.lock:2] #0000
= b @ git+https://h/b.git@abc#subdirectory=s [poetry.lock:9]
= c @ ../c [poetry.lock:14]
= d @ https://h/d-1-py3-none-any.whl [poetry.lock:19]
a from private=https://private.example.com/simple (u:p)"#,
    );
    check_files(
        &files,
        &wanted(&[], &["main2"]),
        r#"
`poetry.lock` has no dependency group `main2`
hint: there is dev"#,
    );
    check_files(
        &[("poetry.lock", &lock.replace("2.1", "3.0"))],
        &wanted(&[], &[]),
        r#"
poetry.lock: its format is 3.0, layerwise reads 1.1, 2.0 and 2.1
hint: run `poetry lock` to make it anew"#,
    );
    check_files(
        &[("poetry.lock", &lock.replace("groups", "group"))],
        &wanted(&[], &[]),
        r#"
poetry.lock: a lock of this older format is read together with Poetry's `pyproject.toml` beside it
hint: run `poetry lock` to make it anew"#,
    );
}

/// Before format 2.1: two versions of one package, extras of dependencies, a circle.
#[test]
fn poetry_reachability() {
    let project = "[tool.poetry.dependencies]\npython = '^3.9'\na = {version = '^1', extras = ['x']}\n\
                   b = [{version = '^1', python = '<3.10'}, {version = '^2', python = '>=3.10'}]\n";
    let lock = r#"
[[package]]
name = "a"
version = "1.0"
[package.dependencies]
c = {version = "*", optional = true, markers = "extra == \"x\""}
d = {version = "*", optional = true, markers = "extra == \"y\""}
e = {version = "*", markers = "sys_platform == \"win32\""}
[package.extras]
x = ["c (>=1)"]
y = ["d"]
[[package]]
name = "b"
version = "1.5"
[[package]]
name = "b"
version = "2.5"
[package.dependencies]
a = "*"
e = "*"
[[package]]
name = "c"
version = "1"
[[package]]
name = "d"
version = "1"
[[package]]
name = "e"
version = "1"
[package.dependencies]
b = ">=2"
[metadata]
lock-version = "2.0"
"#;
    check_files(
        &[("pyproject.toml", project), ("poetry.lock", lock)],
        &wanted(&[], &[]),
        r#"
= a==1.0 [poetry.lock:2]
= b==1.5 ; python_full_version < '3.10' [poetry.lock:12]
= b==2.5 ; sys_platform == 'win32' or python_full_version >= '3.10' [poetry.lock:15]
= c==1 [poetry.lock:21]
= e==1 ; sys_platform == 'win32' or python_full_version >= '3.10' [poetry.lock:27]"#,
    );
}

#[test]
fn pipfile_forms() {
    let lock = r#"{"_meta": {"hash": {}, "pipfile-spec": 6, "sources": [
        {"name": "main", "url": "https://${USER_NAME}:$PASS@main.example.com/simple", "verify_ssl": true},
        {"name": "other", "url": "https://other.example.com/simple"}]},
      "default": {
        "a": {"version": "==1.0", "index": "other", "extras": ["x"], "markers": "python_version >= '3.9'"},
        "b": {"git": "https://h/b.git", "ref": "abc", "subdirectory": "s", "editable": true},
        "c": {"path": "./c"},
        "d": {"file": "https://h/d-1-py3-none-any.whl", "hashes": ["md5:12"]}},
      "develop": {}, "docs": {"e": {"version": "*"}}}"#;
    check_files(
        &[("Pipfile.lock", &lock.replace("md5:12", &format!("sha256:{}", "0".repeat(64))))],
        &wanted(&[], &["docs"]),
        r#"
= a==1.0 ; python_version >= '3.9' [Pipfile.lock:5]
= b @ git+https://h/b.git@abc#subdirectory=s [Pipfile.lock:6]
= c @ ./c [Pipfile.lock:7]
= d @ https://h/d-1-py3-none-any.whl [Pipfile.lock:8] #0000
= e [Pipfile.lock]
-i main=https://main.example.com/simple (${USER_NAME}:$PASS)
a from other=https://other.example.com/simple
warning: Pipfile.lock: pipenv has not pinned `e`, its newest version is taken"#,
    );
    check_files(
        &[("Pipfile.lock", lock)],
        &wanted(&[], &[]),
        "Pipfile.lock:8: only sha256 hashes are supported, got `md5`",
    );
    check_files(
        &[("Pipfile.lock", lock)],
        &wanted(&[], &["no"]),
        r#"
`Pipfile.lock` has no dependency group `no`
hint: there is dev, docs"#,
    );
    check_files(
        &[("Pipfile.lock", "{\n\"_meta\": {}}")],
        &wanted(&[], &[]),
        r#"
Pipfile.lock:2: missing field `pipfile-spec`
hint: run `pipenv lock` to make it anew"#,
    );
    check_files(
        &[("Pipfile.lock", "{\n")],
        &wanted(&[], &[]),
        r#"
Pipfile.lock:2: EOF while parsing an object
hint: run `pipenv lock` to make it anew"#,
    );
}

/// Settings as `(name, text)`: a variable, or a file where the name has a `/`.
#[track_caller]
fn check_settings(settings: &[(&str, &str)], expected: &str) {
    let mut around = Surroundings { dir: "/cwd".into(), ..Surroundings::default() };
    for (name, text) in settings {
        let file = ConfigFile { path: name.into(), text: (*text).to_owned() };
        match name.contains('/') {
            true if name.ends_with(".toml") => around.uv_config.push(file),
            true => around.pip_config.push(file),
            false => drop(around.env.insert((*name).to_owned(), (*text).to_owned())),
        }
    }
    let options = layered(IndexOptions::default(), IndexOptions::default(), &around);
    let text = options.map_or_else(|e| explain(&e), |options| render_indexes(&options).join("\n"));
    assert_eq!(text, expected.trim());
}

#[test]
fn settings_of_uv_and_pip() {
    check_settings(&[("PIP_FIND_LINKS", "/opt/wheels"), ("PIP_INDEX_URL", "")], "-f /opt/wheels");
    check_settings(
        &[
            ("UV_DEFAULT_INDEX", "mine=https://mine/simple"),
            ("UV_INDEX", "a-b=https://a/simple https://u:p%2F@b/simple"),
            ("UV_INDEX_A_B_USERNAME", "me"),
            ("UV_INDEX_A_B_PASSWORD", "pw"),
            ("UV_FIND_LINKS", "w, https://h/page"),
            ("PIP_INDEX_URL", "https://pip/simple"),
            ("PIP_EXTRA_INDEX_URL", "https://a/simple https://c/simple"),
            ("PIP_NO_INDEX", "no"),
            ("UV_INDEX_STRATEGY", "unsafe-best-match"),
            ("UV_KEYRING_PROVIDER", "subprocess"),
        ],
        r#"
-i mine=https://mine/simple
--extra a-b=https://a/simple (me:pw)
--extra https://b/simple (u:p/)
--extra https://c/simple
-f /cwd/w
-f https://h/page None
best-match
keyring"#,
    );
    check_settings(
        &[
            (
                "/p/pyproject.toml",
                "[project]\nname='p'\n[[tool.uv.index]]\nname='x'\nurl='https://x/simple'\n[[tool.uv.index]]\nname='only'\nurl='https://only/simple'\nexplicit=true\n[[tool.uv.index]]\nurl='wheels'\nformat='flat'\n[tool.uv.pip]\nextra-index-url=['https://pip-only/simple']\n",
            ),
            (
                "/home/uv.toml",
                "index-url = 'https://home/simple'\nextra-index-url = ['https://x/simple', 'https://y/simple']\nno-index = true\n",
            ),
            (
                "/etc/pip.conf",
                "# c\n[global]\nindex_url = https://conf/simple\nextra-index-url =\n    https://e1/simple\n    # no\n    https://e2/simple\n[install]\nfind-links = rel\n[list]\nindex-url = https://no\n",
            ),
        ],
        r#"
-i https://home/simple
--extra https://pip-only/simple
--extra x=https://x/simple
--extra https://y/simple
--extra https://e1/simple
--extra https://e2/simple
-f /p/wheels
-f /cwd/rel
no-index"#,
    );
    check_settings(&[("UV_INDEX_URL", "https://u:secret@[bad")], "UV_INDEX_URL: not a URL: invalid IPv6 address");
    check_settings(
        &[("/etc/uv.toml", "index-url = 1\n")],
        "/etc/uv.toml:1: invalid type: integer `1`, expected a string",
    );
    check_settings(
        &[("/etc/uv.toml", "index-strategy = 'best'\n")],
        "/etc/uv.toml: index-strategy: `best` is not one of first-index, unsafe-first-match, unsafe-best-match",
    );
    check_settings(&[("UV_NO_INDEX", "maybe")], "UV_NO_INDEX: expected true or false");
}

#[test]
fn the_command_line_comes_first() {
    let index = |url: &str| Index::parse(url, Path::new("/")).unwrap();
    let command_line = IndexOptions { default_index: Some(index("https://cli/simple")), ..IndexOptions::default() };
    let inputs = IndexOptions {
        default_index: Some(index("https://file/simple")),
        extra: vec![index("https://more/simple")],
        ..IndexOptions::default()
    };
    let options = layered(command_line, inputs, &Surroundings::default()).unwrap();
    assert_eq!(
        render_indexes(&options).join("\n"),
        r#"
-i https://cli/simple
--extra https://more/simple"#
            .trim()
    );
}

#[test]
fn secrets_do_not_show() {
    let index = Index::parse("https://user:hunter2@h/simple", Path::new("/")).unwrap();
    let options = IndexOptions { extra: vec![index], ..IndexOptions::default() };
    assert!(!format!("{options:?}").contains("hunter2"), "{options:?}");
}

#[test]
fn project_settings_come_from_the_workspace_root() {
    let found = project_config(&fixture("uv-workspace/packages/api")).unwrap().unwrap();
    assert_eq!(found.path, fixture("uv-workspace/pyproject.toml"));
}
