//! The zip, byte by byte, and wheels that mean harm.

use std::collections::BTreeSet;
use std::path::PathBuf;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use layerwise_testkit::{Cli, Fault, Index, Member, RawZip, Run, Served, Wheel, WheelBuilder, sha256, wheel};

use super::archive::{self, names, text};
use super::{BUILD, LOCK, alpha, beta, demo, files_below, layerwise, left_in, sha256_of, words};

/// A build of one layer of all these wheels.
struct Layer {
    run: Run,
    cli: Cli,
    zip: PathBuf,
    _served: Served,
}

fn layer(wheels: &[Wheel], flags: &str) -> Layer {
    let mut line = format!("build --runtime python3.13 --name demo -o demo.zip {flags}");
    for wheel in wheels {
        line += &format!(" -p {}", wheel.name);
    }
    let served = wheels.iter().cloned().fold(Index::new(), Index::wheel).serve();
    let cli = layerwise(&served, &line);
    Layer { run: cli.run(), zip: cli.project().join("demo.zip"), cli, _served: served }
}

/// The paths in the zip.
#[track_caller]
fn paths(wheels: &[Wheel], flags: &str) -> Vec<String> {
    let made = layer(wheels, flags);
    let _run = made.run.success();
    names(&made.zip)
}

#[test]
fn the_same_bytes_whatever_the_surroundings() {
    let served = demo().serve();
    let cli = layerwise(&served, BUILD);
    let zip = |cli: &Cli| fs_err::read(cli.project().join("demo.zip")).unwrap();
    let run = cli.run().success();
    let right = zip(&cli);
    assert_eq!(sha256_of(&run), sha256(&right));

    let warm = cli.run().success();
    assert_eq!(sha256_of(&warm), sha256(&right), "with a warm cache");
    let cli = cli.args(words(LOCK));
    let _locked = cli.run().success();
    let cli = cli.args(words(BUILD));
    assert_eq!(sha256_of(&cli.run().success()), sha256(&right), "with a lock");

    let elsewhere = layerwise(&served, BUILD)
        .env("TZ", "Asia/Kathmandu")
        .env("LC_ALL", "tr_TR.UTF-8")
        .env("LANG", "tr_TR.UTF-8")
        .env("SOURCE_DATE_EPOCH", "1700000000");
    let _run = elsewhere.run().success();
    assert_eq!(zip(&elsewhere), right, "in another directory, time zone and language");

    let order = layerwise(&served, &BUILD.replace("-p alpha", "-p beta -p alpha"));
    let _run = order.run().success();
    assert_eq!(zip(&order), right, "with the requirements in another order");
    let reversed = Index::new().wheel(beta()).wheel(alpha()).html_only().serve();
    let cli = layerwise(&reversed, BUILD);
    let _run = cli.run().success();
    assert_eq!(zip(&cli), right, "from another index");
}

#[test]
#[cfg(unix)]
fn the_umask_makes_no_difference() {
    let served = demo().serve();
    let run_with = |mask: &str| {
        let script = format!("umask {mask}; exec \"$0\" \"$@\"");
        let arguments = ["-c", &script, env!("CARGO_BIN_EXE_layerwise")].map(str::to_owned);
        let cli = Cli::new("/bin/sh").index(&served).args(arguments.into_iter().chain(words(BUILD)));
        let _run = cli.run().success();
        fs_err::read(cli.project().join("demo.zip")).unwrap()
    };
    assert_eq!(run_with("022"), run_with("077"));
}

#[test]
fn verify_builds_it_again() {
    let served = demo().serve();
    let _run = layerwise(&served, &format!("{BUILD} --verify")).run().success();
}

#[test]
fn every_field_of_the_zip() {
    let served = demo().serve();
    let cli = layerwise(&served, BUILD);
    let _run = cli.run().success();
    let members = archive::read(&cli.project().join("demo.zip"));
    let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
    assert!(names.is_sorted(), "{names:?}");
    for member in &members {
        let executable = member.name.starts_with("python/bin/");
        assert_eq!(member.mode(), if executable { 0o100_755 } else { 0o100_644 }, "{member:?}");
        assert_eq!((member.made_by, member.needs), (3 << 8 | 20, 20), "made on Unix, version 2.0");
        assert_eq!((member.flags, member.extra, member.comment), (0, 0, 0), "nothing extra");
        assert_eq!((member.date, member.time), (0x21, 0), "1980-01-01 00:00:00");
    }
    insta::assert_snapshot!(names.join("\n"), @r###"
        python/alpha-1.0.dist-info/INSTALLER
        python/alpha-1.0.dist-info/METADATA
        python/alpha-1.0.dist-info/RECORD
        python/alpha-1.0.dist-info/WHEEL
        python/alpha-1.0.dist-info/entry_points.txt
        python/alpha/__init__.py
        python/alpha/native.so
        python/beta-2.0.dist-info/INSTALLER
        python/beta-2.0.dist-info/METADATA
        python/beta-2.0.dist-info/RECORD
        python/beta-2.0.dist-info/WHEEL
        python/beta.py
        python/bin/alpha
    "###);
}

#[test]
fn a_failed_build_leaves_the_old_zip() {
    let served = demo().serve();
    let cli = layerwise(&served, BUILD);
    let _run = cli.run().success();
    let zip = cli.project().join("demo.zip");
    let old = fs_err::read(&zip).unwrap();
    fs_err::remove_dir_all(cli.cache()).unwrap();
    served.fault(Fault::WrongBytes.on("/files/beta"));
    let _run = cli.run();
    assert_eq!(fs_err::read(&zip).unwrap(), old);
    assert_eq!(left_in(&cli), ["demo.zip"]);
}

/// What is said of a wheel that means harm: nothing of it is left anywhere.
#[track_caller]
fn refused(what: &str, wheel: Wheel) -> String {
    let (said, kept) = refused_at_last(what, wheel);
    assert!(kept.is_empty(), "{what}: {kept:?}");
    said
}

/// The same of a wheel that is one, but cannot be placed; it may stay in the cache. Returns what stays there.
#[track_caller]
fn refused_at_last(what: &str, wheel: Wheel) -> (String, Vec<String>) {
    let filename = wheel.filename.clone();
    let made = layer(&[wheel], "");
    let run = &made.run;
    assert_eq!(run.code, Some(6), "{what}: {run}");
    assert!(run.stderr.lines().count() <= 5 && run.stderr.contains(&filename), "{what}: {run}");
    assert!(left_in(&made.cli).is_empty(), "{what}");
    let kept = files_below(&made.cli.cache().join("wheels-v1"));
    let outside = made.cli.project().parent().unwrap().to_owned();
    assert!(!files_below(&outside).iter().any(|file| file.contains("evil")), "{what}");
    let cause = run.stderr.lines().find_map(|line| line.trim().strip_prefix("caused by: "));
    (format!("{what}: {}\n", cause.unwrap_or(run.stderr.trim_end())), kept)
}

fn a() -> WheelBuilder {
    wheel("a", "1.0").file("a/__init__.py", "")
}

fn with(member: Member) -> Wheel {
    a().member(member).build()
}

#[test]
fn hostile_names() {
    let cases = [
        ("parent", "../evil.py"),
        ("parent inside", "a/../../evil.py"),
        ("absolute", "/evil.py"),
        ("dot", "a/./evil.py"),
        ("empty part", "a//evil.py"),
        ("backslash", "a\\..\\evil.py"),
        ("drive", "C:/evil.py"),
        ("zero byte", "evil\0.py"),
        ("newline", "evil\n.py"),
        ("in the data", "a-1.0.data/data/../../../evil.py"),
        ("in the scripts", "a-1.0.data/scripts/../evil"),
    ];
    let said: String = cases.iter().map(|(what, name)| refused(what, with(Member::new(name, "evil")))).collect();
    insta::assert_snapshot!(said, @r###"
        parent: member `../evil.py` has an unsafe name
        parent inside: member `a/../../evil.py` has an unsafe name
        absolute: member `/evil.py` has an unsafe name
        dot: member `a/./evil.py` has an unsafe name
        empty part: member `a//evil.py` has an unsafe name
        backslash: member `a\\..\\evil.py` has an unsafe name
        drive: member `C:/evil.py` has an unsafe name
        zero byte: member `evil\0.py` has an unsafe name
        newline: member `evil\n.py` has an unsafe name
        in the data: member `a-1.0.data/data/../../../evil.py` has an unsafe name
        in the scripts: member `a-1.0.data/scripts/../evil` has an unsafe name
    "###);
}

#[test]
fn hostile_members() {
    let member = || Member::new("a/evil.py", "evil".repeat(100));
    let twice = a().file("a/evil.py", "one").file("a/evil.py", "two").build();
    let mut said = String::new();
    for (what, wheel) in [
        ("twice", twice),
        ("link", with(Member::symlink("a/evil", "/etc/passwd"))),
        ("device", with(member().mode(0o020_644))),
        ("encrypted", with(member().encrypted())),
        ("crc", with(member().wrong_crc())),
        ("says larger", with(member().declared_size(500))),
        ("says smaller", with(member().declared_size(50))),
        ("method 12", with(member().method(12))),
        ("method 99", with(member().method(99))),
        ("other local name", with(member().local_name("a/other.py"))),
        ("overlapping", with(member().overlaps_previous())),
        ("not UTF-8", with(Member::new(b"a/evil\xff.py", ""))),
    ] {
        said += &refused(what, wheel);
    }
    insta::assert_snapshot!(said, @r###"
        twice: member `a/evil.py` stands in the archive twice
        link: member `a/evil` is a symbolic link
        device: member `a/evil.py` is a device or a pipe
        encrypted: member `a/evil.py` is encrypted
        crc: member `a/evil.py` does not have the CRC-32 it says
        says larger: member `a/evil.py` unpacks to fewer bytes than it says
        says smaller: member `a/evil.py` unpacks to more bytes than it says (a zip bomb?)
        method 12: member `a/evil.py` is compressed by method 12; layerwise reads stored and deflated
        method 99: member `a/evil.py` is compressed by method 99; layerwise reads stored and deflated
        other local name: member `a/evil.py` has another name in its local header
        overlapping: member `a/evil.py` has another name in its local header
        not UTF-8: member `a/evil�.py` has a name that is not UTF-8
    "###);
}

#[test]
fn no_wheels() {
    let replaced = |bytes: Vec<u8>| Wheel { sha256: sha256(&bytes), bytes, ..a().build() };
    let mut said = String::new();
    for (what, wheel) in [
        ("empty", replaced(Vec::new())),
        ("text", replaced(b"I am no zip".to_vec())),
        ("nothing in it", replaced(RawZip::new().bytes())),
        ("cut off", a().truncated(10).build()),
        ("cut off before the directory", a().truncated(200).build()),
        ("no dist-info", a().without_dist_info().build()),
        ("of another", a().dist_info("other-1.0.dist-info").build()),
        ("of another version", a().dist_info("a-2.0.dist-info").build()),
        ("two dist-infos", a().another_dist_info("other-1.0.dist-info").build()),
        ("of the future", a().wheel_file("Wheel-Version: 2.0\nRoot-Is-Purelib: true\n").build()),
        ("no version", a().wheel_file("hello\n").build()),
    ] {
        said += &refused(what, wheel);
    }
    insta::assert_snapshot!(said, @r###"
        empty: it is not a zip archive, or its end is missing
        text: it is not a zip archive, or its end is missing
        nothing in it: it is not a wheel: it has 0 dist-info directories instead of one
        cut off: it is not a zip archive, or its end is missing
        cut off before the directory: it is not a zip archive, or its end is missing
        no dist-info: it is not a wheel: it has 0 dist-info directories instead of one
        of another: it is not a wheel: its name is `a-1.0-py3-none-any.whl`, but it holds `other-1.0.dist-info`
        of another version: it is not a wheel: its name is `a-1.0-py3-none-any.whl`, but it holds `a-2.0.dist-info`
        two dist-infos: it is not a wheel: it has 2 dist-info directories instead of one
        of the future: it is not a wheel: Wheel-Version is `2.0`; layerwise reads 1.x
        no version: it is not a wheel: Wheel-Version is ``; layerwise reads 1.x
    "###);
}

#[test]
fn wheels_that_cannot_be_placed() {
    let mut said = String::new();
    for (what, wheel) in [
        ("file and directory", a().file("a/evil", "").file("a/evil/x.py", "").build()),
        ("unknown scheme", a().data("nonsense/x", "").build()),
        ("entry point outside", a().entry_point("console", "../evil = a:main").build()),
        ("entry point with code", a().entry_point("console", "evil = a:main(); import os").build()),
        ("entry point without function", a().entry_point("console", "evil = a").build()),
    ] {
        said += &refused_at_last(what, wheel).0;
    }
    insta::assert_snapshot!(said, @r###"
        file and directory: error: `a-1.0-py3-none-any.whl` brings the file `python/a/evil`, which in `a-1.0-py3-none-any.whl` is a directory
        hint: drop one of the packages
        unknown scheme: error: `a-1.0-py3-none-any.whl` has `a-1.0.data/nonsense/x`: there is no such scheme
        entry point outside: error: `a-1.0-py3-none-any.whl` has an entry point that is none: `../evil = a:main`
        entry point with code: error: `a-1.0-py3-none-any.whl` has an entry point that is none: `evil = a:main(); import os`
        entry point without function: error: `a-1.0-py3-none-any.whl` has an entry point that is none: `evil = a`
    "###);
}

#[test]
fn zip_bombs() {
    let mut said = refused("liar", with(Member::zeros("a/evil", 64).declared_size(10)));
    let many = (0..3).fold(a(), |wheel, number| wheel.member(Member::zeros(format!("a/evil{number}"), 4000)));
    said += &refused("honest", many.build());
    insta::assert_snapshot!(said, @r###"
        liar: member `a/evil` unpacks to more bytes than it says (a zip bomb?)
        honest: it unpacks to more than 8589934592 bytes (a zip bomb?)
    "###);
}

#[test]
fn more_than_lambda_takes() {
    let big = wheel("big", "1.0").member(Member::zeros("big/zeros", 251)).build();
    let made = layer(&[big, a().build()], "");
    assert!(left_in(&made.cli).is_empty());
    insta::assert_snapshot!(made.run.text(), @r###"
        exit: 7
        ----- stdout -----

        ----- stderr -----
        error: demo for python3.13 x86_64 is 263193506 bytes unzipped; Lambda takes at most 262144000 (function and all layers together)
          It is 251.0 MiB and may be 250.0 MiB: 1.0 MiB have to go. The largest packages:
            big  1.0  251.0 MiB   99%  fits without the packages down to here
            a    1.0      458 B  0.0%
        hint: leave something out with `--exclude`, split the layer in two only if the function needs just one, or drop a package
        hint: `--exclude-runtime-packages` leaves out the AWS SDK that the runtime brings
    "###);
}

#[test]
fn two_wheels_with_one_path() {
    let other = |content: &str| wheel("b", "1.0").file("shared/x.py", content).build();
    let first = wheel("a", "1.0").file("shared/x.py", "same").build();
    let made = layer(&[first.clone(), other("not the same")], "");
    assert!(left_in(&made.cli).is_empty());
    insta::assert_snapshot!(made.run.text(), @r###"
        exit: 6
        ----- stdout -----

        ----- stderr -----
        error: `a-1.0-py3-none-any.whl` and `b-1.0-py3-none-any.whl` both bring `python/shared/x.py`, with different bytes
        hint: leave the file out with `--exclude 'shared/x.py'` if nothing needs it, or drop one of the packages
    "###);
    let _same = layer(&[first.clone(), other("same")], "").run.success();
    let _excluded = layer(&[first, other("not the same")], "--exclude shared/x.py").run.success();
}

#[test]
fn a_file_where_another_wheel_has_a_directory() {
    let made = layer(&[a().file("x", "").build(), wheel("b", "1.0").file("x/y.py", "").build()], "");
    let run = made.run.failure(6);
    assert!(run.stderr.contains("python/x"), "{run}");
}

#[test]
fn namespaces_are_shared() {
    let declared = "__path__ = __import__('pkgutil').extend_path(__path__, __name__)\n";
    let part = |name: &str, init: &str| {
        wheel(name, "1.0").file("ns/__init__.py", init).file(&format!("ns/{name}.py"), "").build()
    };
    for wheels in [[part("a", declared), part("b", "")], [part("a", "# empty\n"), part("b", declared)]] {
        let made = layer(&wheels, "");
        let _run = made.run.success();
        assert_eq!(text(&made.zip, "python/ns/__init__.py"), declared, "a declaration wins");
    }
    let made = layer(&[part("a", declared), part("b", "import os\n")], "");
    let _run = made.run.failure(6);
}

/// A wheel with something of each scheme.
fn everything() -> Wheel {
    wheel("all", "1.0")
        .tags("cp313-cp313-manylinux_2_17_x86_64")
        .file("all/__init__.py", "")
        .executable("all/tool", "binary")
        .file("all/ünïcode, \"quoted\".txt", "x")
        .data("purelib/pure.py", "pure")
        .data("platlib/plat.py", "plat")
        .data("scripts/old", "#!python\nimport all\n")
        .data("scripts/native", b"\x7fELF")
        .data("headers/all.h", "h")
        .data("data/etc/all.conf", "conf")
        .dist_info_file("licenses/LICENSE", "MIT")
        .entry_point("console", "tool = all.cli:main")
        .entry_point("gui", "window = all.gui:App.start [extra]")
        .build()
}

#[test]
fn each_scheme_has_its_place() {
    let made = layer(&[everything()], "");
    let _run = made.run.success();
    let listed = |member: &archive::Member| format!("{:o} {}", member.mode() & 0o777, member.name);
    let members = archive::read(&made.zip);
    insta::assert_snapshot!(members.iter().map(listed).collect::<Vec<_>>().join("\n"), @r###"
        644 python/all-1.0.dist-info/INSTALLER
        644 python/all-1.0.dist-info/METADATA
        644 python/all-1.0.dist-info/RECORD
        644 python/all-1.0.dist-info/WHEEL
        644 python/all-1.0.dist-info/entry_points.txt
        644 python/all-1.0.dist-info/licenses/LICENSE
        644 python/all/__init__.py
        755 python/all/tool
        644 python/all/ünïcode, "quoted".txt
        755 python/bin/native
        755 python/bin/old
        755 python/bin/tool
        755 python/bin/window
        644 python/etc/all.conf
        644 python/include/all/all.h
        644 python/plat.py
        644 python/pure.py
    "###);
    insta::assert_snapshot!(text(&made.zip, "python/bin/tool"), @r###"
        #!/var/lang/bin/python3.13
        # -*- coding: utf-8 -*-
        import os
        import sys
        sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), ".."))
        from all.cli import main
        if __name__ == "__main__":
            sys.exit(main())
    "###);
    insta::assert_snapshot!(text(&made.zip, "python/bin/window"), @r###"
        #!/var/lang/bin/python3.13
        # -*- coding: utf-8 -*-
        import os
        import sys
        sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), ".."))
        from all.gui import App
        if __name__ == "__main__":
            sys.exit(App.start())
    "###);
    insta::assert_snapshot!(text(&made.zip, "python/bin/old"), @r###"
        #!/var/lang/bin/python3.13
        import all
    "###);
    assert_eq!(text(&made.zip, "python/all-1.0.dist-info/INSTALLER"), "layerwise\n");
}

#[test]
fn site_packages() {
    let places = paths(&[everything()], "--layout site-packages");
    let odd: Vec<&String> =
        places.iter().filter(|path| !path.starts_with("python/lib/python3.13/site-packages/")).collect();
    assert_eq!(
        odd,
        [
            "python/bin/native",
            "python/bin/old",
            "python/bin/tool",
            "python/bin/window",
            "python/etc/all.conf",
            "python/include/all/all.h"
        ]
    );
    assert!(places.contains(&"python/lib/python3.13/site-packages/all/__init__.py".to_owned()));
}

#[test]
fn records_are_true() {
    for flags in ["", "--layout site-packages", "--exclude **/*.txt --exclude bin/**"] {
        let made = layer(&[everything(), beta(), alpha()], flags);
        let _run = made.run.success();
        let members = archive::read(&made.zip);
        let root = if flags.contains("site") { "python/lib/python3.13/site-packages/" } else { "python/" };
        let mut listed = BTreeSet::new();
        for record in members.iter().filter(|member| member.name.ends_with(".dist-info/RECORD")) {
            for line in record.text().lines() {
                let (rest, size) = line.rsplit_once(',').unwrap();
                let (path, digest) = rest.rsplit_once(',').unwrap();
                let path = match path.strip_prefix('"') {
                    Some(quoted) => quoted.strip_suffix('"').unwrap().replace("\"\"", "\""),
                    None => path.to_owned(),
                };
                let path = match path.strip_prefix("../../../") {
                    Some(outside) => format!("python/{outside}"),
                    None => format!("{root}{path}"),
                };
                let member = members.iter().find(|member| member.name == path);
                let member = member.unwrap_or_else(|| panic!("{path} is not there"));
                if member.name == record.name {
                    assert_eq!((digest, size), ("", ""));
                } else {
                    let hex = sha256(&member.content);
                    let bytes: Vec<u8> =
                        (0..32).map(|at| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).unwrap()).collect();
                    assert_eq!(digest, format!("sha256={}", BASE64_URL_SAFE_NO_PAD.encode(bytes)), "{path}");
                    assert_eq!(size, member.content.len().to_string(), "{path}");
                }
                assert!(listed.insert(path.clone()), "{path} is listed twice");
            }
        }
        let there: BTreeSet<String> = members.iter().map(|member| member.name.clone()).collect();
        assert_eq!(listed, there, "{flags}");
    }
}

#[test]
fn excludes() {
    let wheel = || {
        a().file("a/tests/x.py", "").file("a/b/tests/y.py", "").file("a/tests.py", "").file("a/b/data.json", "").build()
    };
    let left = |flags: &str| {
        let all = paths(&[wheel()], flags);
        let kept = all.iter().filter_map(|path| path.strip_prefix("python/a/").map(str::to_owned));
        kept.collect::<Vec<_>>()
    };
    assert_eq!(left(""), ["__init__.py", "b/data.json", "b/tests/y.py", "tests.py", "tests/x.py"]);
    assert_eq!(left("--exclude **/tests/**"), ["__init__.py", "b/data.json", "tests.py"]);
    assert_eq!(left("--exclude a/tests/** --exclude **/*.json"), ["__init__.py", "b/tests/y.py", "tests.py"]);
    assert_eq!(left("--exclude a/*.py"), ["b/data.json", "b/tests/y.py", "tests/x.py"], "`*` stays in its directory");
    let made = layer(&[wheel()], "--exclude nothing/like/this");
    assert!(made.run.stderr.contains("`--exclude nothing/like/this` matches nothing"), "{}", made.run);
}

#[test]
fn the_runtimes_own_sdk_goes_as_a_whole_or_stays() {
    let boto3 = wheel("boto3", "1.34.0").file("boto3/__init__.py", "").requires("botocore").requires("s3transfer");
    let boto3 = boto3.build();
    let s3transfer = wheel("s3transfer", "0.9.0").file("s3transfer/__init__.py", "").build();
    let botocore = wheel("botocore", "1.34.0").file("botocore/__init__.py", "").requires("urllib3").build();
    let urllib3 = wheel("urllib3", "2.0").file("urllib3/__init__.py", "").build();
    let wheels = [a().build(), boto3, botocore, s3transfer, urllib3];
    let packages = |flags: &str| {
        let inits = paths(&wheels, flags).into_iter().filter(|path| path.ends_with("/__init__.py"));
        inits.collect::<Vec<_>>()
    };
    assert_eq!(packages("").len(), 5);
    assert_eq!(packages("--exclude-runtime-packages"), ["python/a/__init__.py"]);
}

#[test]
fn a_wheel_written_as_a_stream_and_one_with_extra_fields() {
    let streamed = a().member(Member::new("a/s.py", "s").streamed()).build();
    let extra = wheel("b", "1.0").member(Member::new("b.py", "b").extra(b"UT\x05\x00\x01abcd").mode(0o100_600)).build();
    let stored = wheel("c", "1.0").member(Member::new("c.py", "c").stored()).build();
    let directory = wheel("d", "1.0").member(Member::directory("d")).file("d/x.py", "").build();
    let made = layer(&[streamed, extra, stored, directory], "");
    let _run = made.run.success();
    for member in archive::read(&made.zip) {
        assert_eq!((member.flags, member.extra, member.mode()), (0, 0, 0o100_644), "{member:?}");
        assert!(!member.name.ends_with('/'));
    }
}
