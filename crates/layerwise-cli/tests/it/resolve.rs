//! Which wheels are taken, and what is said about it.

use layerwise_testkit::{Index, Served, sdist, wheel};

use super::{json, layerwise, left_in};

/// The wheels taken and the notes, or the error; everything but the project's and the index's place.
#[track_caller]
fn check(index: Index, line: &str, expected: &str) {
    let served = index.serve();
    let run = layerwise(&served, &format!("build --dry-run --json {line}")).run();
    let document = json(&run);
    let said = format!("{}{}", run.stdout, run.stderr).replace(served.host(), "[INDEX]");
    assert!(!said.contains("127.0.0.1"), "the view's address is nobody's business:\n{said}");
    let mut lines: Vec<String> = Vec::new();
    for layer in document["layers"].as_array().unwrap() {
        let texts = |key: &str, field: &str| {
            let list = layer[key].as_array().cloned().unwrap_or_default();
            list.iter().map(|one| one[field].as_str().unwrap_or("?").to_owned()).collect::<Vec<_>>()
        };
        let packages = texts("packages", "wheel").into_iter().zip(texts("packages", "sdist"));
        lines.extend(packages.map(|(wheel, sdist)| if wheel == "?" { sdist } else { wheel }));
        lines.extend(texts("notes", "text").iter().map(|text| format!("note: {text}")));
    }
    if run.code != Some(0) {
        lines.push(format!("exit {}", run.code.unwrap_or(-1)));
        lines.push(run.stderr.replace(served.host(), "[INDEX]").trim_end().to_owned());
    }
    assert_eq!(lines.join("\n"), expected.replace("\n            ", "\n").trim(), "\n{run}");
}

/// All that is said of a project with these requirements.
fn build(served: &Served, requirements: &str, runtime: &str) -> String {
    let cli = layerwise(served, &format!("build --runtime {runtime}")).file("requirements.txt", requirements);
    let run = cli.run();
    assert_eq!(left_in(&cli), ["requirements.txt"]);
    run.text()
}

/// `a` in these versions and tags: `1.0 cp311-cp311-manylinux_2_17_x86_64`.
fn a(files: &[&str]) -> Index {
    files.iter().fold(Index::new(), |index, file| {
        let (version, tags) = file.split_once(' ').expect("a version and tags");
        index.wheel(wheel("a", version).tags(tags).build())
    })
}

#[test]
fn glibc_2_26_takes_2_24_and_2_26_but_not_2_27_and_2_28() {
    let files = [
        "1.0 cp311-cp311-manylinux_2_24_x86_64",
        "1.1 cp311-cp311-manylinux_2_26_x86_64",
        "1.2 cp311-cp311-manylinux_2_27_x86_64",
        "1.3 cp311-cp311-manylinux_2_28_x86_64",
        "1.3 cp312-cp312-manylinux_2_28_x86_64",
    ];
    check(
        a(&files),
        "-p a --runtime python3.11",
        "a-1.1-cp311-cp311-manylinux_2_26_x86_64.whl
            note: a 1.3 skipped: its cp311 wheels for x86_64 need glibc 2.28, python3.11 has 2.26; 1.1 used; 1.3 is available on python3.12",
    );
    check(a(&files[..3]), "-p a<1.1 --runtime python3.11", "a-1.0-cp311-cp311-manylinux_2_24_x86_64.whl");
}

#[test]
fn glibc_2_34_takes_2_34_but_not_2_35() {
    let files = [
        "1.0 cp312-cp312-manylinux_2_28_x86_64",
        "1.1 cp312-cp312-manylinux_2_34_x86_64",
        "1.2 cp312-cp312-manylinux_2_35_x86_64",
    ];
    check(
        a(&files),
        "-p a --runtime python3.12",
        "a-1.1-cp312-cp312-manylinux_2_34_x86_64.whl
            note: a 1.2 skipped: its cp312 wheels for x86_64 need glibc 2.35, python3.12 has 2.34; 1.1 used",
    );
}

#[test]
fn each_architecture_has_its_own_wheel() {
    let files = [
        "1.0 cp313-cp313-manylinux_2_17_aarch64.manylinux2014_aarch64",
        "1.0 cp313-cp313-manylinux_2_17_x86_64.manylinux2014_x86_64",
        "1.1 cp313-cp313-manylinux_2_17_x86_64",
    ];
    check(
        a(&files),
        "-p a --runtime python3.13 --arch x86_64 --arch arm64",
        "a-1.1-cp313-cp313-manylinux_2_17_x86_64.whl
            a-1.0-cp313-cp313-manylinux_2_17_aarch64.manylinux2014_aarch64.whl
            note: a 1.1 skipped: its Linux wheels are for other processors than arm64; 1.0 used",
    );
}

#[test]
fn old_names_of_manylinux_and_stable_abi_fit() {
    check(
        a(&["1 cp36-abi3-manylinux2010_x86_64"]),
        "-p a --runtime python3.13",
        "a-1-cp36-abi3-manylinux2010_x86_64.whl",
    );
    check(
        a(&["1 cp313-cp313-manylinux1_x86_64"]),
        "-p a --runtime python3.13",
        "a-1-cp313-cp313-manylinux1_x86_64.whl",
    );
}

#[test]
fn musl_free_threaded_other_pythons_and_other_systems_are_never_taken() {
    let base = "1.0 cp313-cp313-manylinux_2_17_x86_64";
    let check = |tags: &str, reason: &str| {
        check(
            a(&[base, &format!("2.0 {tags}")]),
            "-p a --runtime python3.13",
            &format!("a-1.0-cp313-cp313-manylinux_2_17_x86_64.whl\nnote: a 2.0 skipped: {reason}"),
        );
    };
    check("cp313-cp313-musllinux_1_2_x86_64", "its only Linux wheels are for musl (Alpine); 1.0 used");
    let threads = "its wheels for python3.13 are free-threaded or debug builds, which Lambda does not run; 1.0 used";
    check("cp313-cp313t-manylinux_2_17_x86_64", threads);
    check("cp312-cp312-manylinux_2_17_x86_64", "its wheels are for cp312, not for python3.13; 1.0 used");
    check(
        "cp314-cp314-manylinux_2_17_x86_64",
        "its wheels are for cp314, not for python3.13; 1.0 used; 2.0 is available on python3.14",
    );
    check("cp313-cp313-win_amd64", "its wheels are for other systems than Linux; 1.0 used");
    check("cp313-cp313-macosx_11_0_arm64", "its wheels are for other systems than Linux; 1.0 used");
    check("py2-none-any", "its wheels are for py2, not for python3.13; 1.0 used");
}

#[test]
fn abi3t_is_free_threaded_too() {
    check(
        a(&["1.0 cp39-abi3-manylinux_2_17_x86_64", "2.0 cp315-abi3t-manylinux_2_17_x86_64"]),
        "-p a --runtime python3.14",
        "a-1.0-cp39-abi3-manylinux_2_17_x86_64.whl
            note: a 2.0 skipped: its wheels are for cp315, not for python3.14; 1.0 used",
    );
}

#[test]
fn a_newer_release_that_a_requirement_forbids_is_not_mentioned() {
    let files = ["1.0 py3-none-any", "2.0 cp314-cp314-manylinux_2_17_x86_64"];
    check(a(&files), "-p a<2 --runtime python3.13", "a-1.0-py3-none-any.whl");
    let index = a(&files).wheel(wheel("b", "1").requires("a<2").build());
    check(index, "-p a -p b --runtime python3.13", "a-1.0-py3-none-any.whl\nb-1-py3-none-any.whl");
}

#[test]
fn only_an_sdist() {
    let index = || a(&["1.0 py3-none-any"]).sdist(sdist("a", "2.0").build());
    check(
        index(),
        "-p a --runtime python3.13",
        "a-1.0-py3-none-any.whl
            note: a 2.0 skipped: it has no wheels, only a source distribution; 1.0 used; `--compile a` builds 2.0 from source",
    );
    // It may be pure Python. An exact version has no other way, and what may be compiled needs none.
    let slow = || Index::new().sdist(sdist("slow", "2.0").requires("a<2").build()).wheel(wheel("a", "1.0").build());
    let note = "note: slow 2.0 is built from source: it has no wheels, only a source distribution";
    check(slow(), "-p slow --runtime python3.13", &format!("a-1.0-py3-none-any.whl\nslow-2.0.tar.gz\n{note}"));
    let note =
        "note: a 2.0 is built from source: it has no wheels, only a source distribution; 1.0 has a wheel that fits";
    check(index(), "-p a==2.0 --runtime python3.13", &format!("a-2.0.tar.gz\n{note}"));
    check(index(), "-p a --compile a --runtime python3.13", &format!("a-2.0.tar.gz\n{note}"));
    check(index(), "-p a --compile-all --runtime python3.13", &format!("a-2.0.tar.gz\n{note}"));
    check(index(), "-p a<2 --compile a --runtime python3.13", "a-1.0-py3-none-any.whl");
}

#[test]
fn what_has_wheels_for_others_is_compiled_only_when_allowed() {
    let index = || {
        a(&["1.0 cp311-cp311-manylinux_2_17_x86_64", "2.0 cp311-cp311-manylinux_2_28_x86_64"])
            .sdist(sdist("a", "2.0").build())
            .sdist(sdist("a", "1.0").build())
    };
    let reason = "its cp311 wheels for x86_64 need glibc 2.28, python3.11 has 2.26";
    let wheel = "a-1.0-cp311-cp311-manylinux_2_17_x86_64.whl";
    let skipped = format!("{wheel}\nnote: a 2.0 skipped: {reason}; 1.0 used; `--compile a` builds 2.0 from source");
    check(index(), "-p a --runtime python3.11", &skipped);
    check(index(), "-p a --compile other --runtime python3.11", &skipped);
    let built = format!("a-2.0.tar.gz\nnote: a 2.0 is built from source: {reason}; 1.0 has a wheel that fits");
    check(index(), "-p a --compile a --runtime python3.11", &built);
    // A wheel that fits is never compiled.
    check(index(), "-p a<2 --compile a --runtime python3.11", wheel);
}

#[test]
fn a_lock_names_the_source_distribution_and_is_used() {
    let index = a(&["2.0 cp312-cp312-manylinux_2_28_x86_64"]).sdist(sdist("a", "2.0").build());
    let served = index.serve();
    let flags = "-r requirements.txt --runtime python3.11 --compile a";
    let cli = layerwise(&served, &format!("lock {flags}")).file("requirements.txt", "a\n");
    drop(cli.run().success());
    let name = left_in(&cli).into_iter().find(|name| name.starts_with("pylock.")).unwrap();
    let text = fs_err::read_to_string(cli.project().join(name)).unwrap();
    assert!(text.contains("sdist = { name = \"a-2.0.tar.gz\", url = "), "{text}");
    assert!(text.contains("kind = \"from-source\""), "{text}");
    let locked = |flags: &str| {
        ["build", "--locked", "--dry-run"].into_iter().chain(flags.split(' ')).map(String::from).collect::<Vec<_>>()
    };
    let cli = cli.args(locked(flags));
    assert!(cli.run().success().stdout.contains("from source"));
    // Without leave to compile the lock is of other inputs.
    let cli = cli.args(locked("-r requirements.txt --runtime python3.11"));
    drop(cli.run().failure(3));
}

#[test]
fn an_sdist_deeper_down_is_named() {
    let served = Index::new()
        .wheel(wheel("top", "1").requires("slow").build())
        .wheel(wheel("slow", "2.0").tags("cp39-cp39-win_amd64").build())
        .sdist(sdist("slow", "2.0").build())
        .serve();
    insta::assert_snapshot!(build(&served, "top\n", "python3.13"), @r###"
        exit: 4
        ----- stdout -----

        ----- stderr -----
        error: no set of packages satisfies requirements.txt on python3.13 x86_64
            No solution found when resolving dependencies
            Because there are no versions of slow and all versions of top depend on slow, we can
            conclude that all versions of top cannot be used.
            And because you require top, we can conclude that your requirements are unsatisfiable.
        hint: slow 2.0 does not fit python3.13 x86_64: its wheels are for other systems than Linux; no version of it has a wheel that fits; `--compile slow` builds it from its source distribution
    "###);
}

#[test]
fn yanked_releases_are_for_those_who_pin_them() {
    let index = || a(&["1.0 py3-none-any", "2.0 py3-none-any"]).yanked("a", "2.0");
    check(index(), "-p a --runtime python3.13", "a-1.0-py3-none-any.whl");
    check(index(), "-p a==2.0 --runtime python3.13", "a-2.0-py3-none-any.whl");
}

#[test]
fn requires_python() {
    let index =
        Index::new().wheel(wheel("a", "1.0").build()).wheel(wheel("a", "2.0").requires_python(">=3.14").build());
    check(index.clone(), "-p a --runtime python3.13", "a-1.0-py3-none-any.whl");
    check(index, "-p a --runtime python3.14", "a-2.0-py3-none-any.whl");
}

#[test]
fn pre_releases_are_for_those_who_ask() {
    let index = || a(&["1.0 py3-none-any", "2.0rc1 py3-none-any"]);
    check(index(), "-p a --runtime python3.13", "a-1.0-py3-none-any.whl");
    check(index(), "-p a>=2.0rc1 --runtime python3.13", "a-2.0rc1-py3-none-any.whl");
    check(a(&["2.0rc1 py3-none-any"]), "-p a --runtime python3.13", "a-2.0rc1-py3-none-any.whl");
}

#[test]
fn markers_are_the_targets() {
    let top = wheel("top", "1")
        .requires("win; sys_platform == 'win32'")
        .requires("linux; sys_platform == 'linux' and os_name == 'posix'")
        .requires("arm; platform_machine == 'aarch64'")
        .requires("intel; platform_machine == 'x86_64'")
        .requires("old; python_version < '3.12'")
        .requires("exact; python_full_version < '3.13.0'")
        .requires("extra; extra == 'more'")
        .build();
    let names = ["win", "linux", "arm", "intel", "old", "exact", "extra"];
    let index = names.iter().fold(Index::new().wheel(top), |index, name| index.wheel(wheel(name, "1").build()));
    let wheels = |names: &[&str]| names.iter().map(|name| format!("{name}-1-py3-none-any.whl\n")).collect::<String>();
    check(index.clone(), "-p top --runtime python3.13 --arch arm64", &wheels(&["arm", "linux", "top"]));
    check(index.clone(), "-p top[more] --runtime python3.13", &wheels(&["extra", "intel", "linux", "top"]));
    check(index, "-p top --runtime python3.11", &wheels(&["exact", "intel", "linux", "old", "top"]));
}

#[test]
fn the_pure_wheel_of_a_compiled_release_is_mentioned() {
    check(
        a(&["1.0 py3-none-any", "1.0 cp313-cp313-win_amd64", "1.0 cp313-cp313-manylinux_2_39_x86_64"]),
        "-p a --runtime python3.13",
        "a-1.0-py3-none-any.whl
            note: a 1.0 is the pure-Python wheel, though it has compiled ones: its cp313 wheels for x86_64 need glibc 2.39, python3.13 has 2.34",
    );
}

#[test]
fn the_higher_build_number_wins() {
    let build = |number: &str| wheel("a", "1.0").build_number(number).build();
    let index = Index::new().wheel(build("2")).wheel(build("10")).wheel(wheel("a", "1.0").build());
    check(index, "-p a --runtime python3.13", "a-1.0-10-py3-none-any.whl");
}

#[test]
fn the_more_specific_wheel_wins() {
    let files = ["1 py3-none-any", "1 cp313-abi3-manylinux_2_17_x86_64", "1 cp313-cp313-manylinux_2_17_x86_64"];
    check(a(&files), "-p a --runtime python3.13", "a-1-cp313-cp313-manylinux_2_17_x86_64.whl");
}

#[test]
fn a_package_that_is_not_there() {
    let served = Index::new().serve();
    insta::assert_snapshot!(build(&served, "reqeusts\n", "python3.13"), @r###"
        exit: 4
        ----- stdout -----

        ----- stderr -----
        error: package `reqeusts` was not found on http://127.0.0.1:[PORT]/simple/
        hint: check the spelling, or add its index with `--index URL`
    "###);
    let served = Index::new().wheel(wheel("top", "1").requires("missing-thing").build()).serve();
    insta::assert_snapshot!(build(&served, "top\n", "python3.13"), @r###"
        exit: 4
        ----- stdout -----

        ----- stderr -----
        error: no set of packages satisfies requirements.txt on python3.13 x86_64
            No solution found when resolving dependencies
            Because missing-thing was not found in the package registry and all versions of top depend
            on missing-thing, we can conclude that all versions of top cannot be used.
            And because you require top, we can conclude that your requirements are unsatisfiable.
        hint: `missing-thing` is not on http://127.0.0.1:[PORT]/simple/: add its index with `--index URL`
    "###);
}

#[test]
fn a_version_without_a_wheel_that_fits() {
    let served = a(&[
        "1.0 cp311-cp311-manylinux_2_17_x86_64",
        "2.0 cp311-cp311-manylinux_2_28_x86_64",
        "2.0 cp312-cp312-manylinux_2_28_x86_64",
    ])
    .serve();
    insta::assert_snapshot!(build(&served, "a==2.0\n", "python3.11"), @r###"
        exit: 4
        ----- stdout -----

        ----- stderr -----
        error: no set of packages satisfies requirements.txt on python3.11 x86_64
            No solution found when resolving dependencies
            Because there is no version of a==2.0 and you require a==2.0, we can conclude that your
            requirements are unsatisfiable.
        hint: a 2.0 does not fit python3.11 x86_64: its cp311 wheels for x86_64 need glibc 2.28, python3.11 has 2.26; the nearest version that fits is 1.0; python3.12 would take it
    "###);
    insta::assert_snapshot!(build(&served, "a==7.0\n", "python3.11"), @r###"
        exit: 4
        ----- stdout -----

        ----- stderr -----
        error: no set of packages satisfies requirements.txt on python3.11 x86_64
            No solution found when resolving dependencies
            Because there is no version of a==7.0 and you require a==7.0, we can conclude that your
            requirements are unsatisfiable.
    "###);
}

#[test]
fn nothing_that_fits_at_all() {
    let served = a(&["2.0 cp313-cp313-win_amd64", "2.0 cp313-cp313-musllinux_1_2_x86_64"]).serve();
    insta::assert_snapshot!(build(&served, "a\n", "python3.13"), @r###"
        exit: 4
        ----- stdout -----

        ----- stderr -----
        error: no wheel of `a` fits python3.13 x86_64: of its newest release 2.0, its only Linux wheels are for musl (Alpine)
        hint: look for another package, or a fork of it that publishes Linux wheels
    "###);
}

#[test]
fn requirements_that_contradict_each_other() {
    let served = Index::new()
        .wheel(wheel("a", "1").requires("c<2").build())
        .wheel(wheel("b", "1").requires("c>=2").build())
        .wheel(wheel("c", "1").build())
        .wheel(wheel("c", "2").build())
        .serve();
    insta::assert_snapshot!(build(&served, "a\nb\n", "python3.13"), @r###"
        exit: 4
        ----- stdout -----

        ----- stderr -----
        error: no set of packages satisfies requirements.txt on python3.13 x86_64
            No solution found when resolving dependencies
            Because all versions of b depend on c>=2 and all versions of a depend on c<2, we can
            conclude that all versions of a and all versions of b are incompatible.
            And because you require a and b, we can conclude that your requirements are unsatisfiable.
    "###);
}

#[test]
fn indexes_of_every_kind() {
    let index = || {
        Index::new()
            .wheel(wheel("Top.Level", "1.0+local.1").requires("a>=1; python_version >= '3'").build())
            .wheel(wheel("a", "1.0").requires_python(">=3.8").build())
            .wheel(wheel("a", "2.0").requires_python(">=3.14").build())
    };
    let expected = "a-1.0-py3-none-any.whl\ntop_level-1.0+local.1-py3-none-any.whl";
    let line = "-p top-level --runtime python3.13";
    check(index(), line, expected);
    check(index().html_only(), line, expected);
    check(index().core_metadata(false), line, expected);
    check(index().without_hashes(), line, expected);
    check(index().relative_urls(), line, expected);
    check(index().relative_urls().html_only().without_hashes().core_metadata(false), line, expected);
    check(index().files_on_other_host(), line, expected);
    check(index().fault(layerwise_testkit::Fault::Redirect), line, expected);
}

#[test]
fn the_first_index_that_has_the_package_counts() {
    let (private, public) = (a(&["1.0 py3-none-any"]).serve(), a(&["9.0 py3-none-any"]).serve());
    let line = format!("build --dry-run --json -p a --runtime python3.13 --index {}", private.url());
    let document = json(&layerwise(&public, &line).run().success());
    assert_eq!(document["layers"][0]["packages"][0]["wheel"], "a-1.0-py3-none-any.whl");
    assert_eq!(public.count("/simple/a/"), 0, "nobody else is told the name");
}

#[test]
fn find_links() {
    let served = a(&["1.0 py3-none-any"]).serve();
    let local = wheel("local", "3.0").requires("a").build();
    let empty = Index::new().serve();
    let cli = layerwise(&empty, "").file(&format!("wheels/{}", local.filename), &local.bytes);
    let line =
        format!("build -p local --runtime python3.13 --json --find-links wheels --find-links {}", served.links_url());
    let document = json(&cli.args(super::words(&line)).run().success());
    let packages = document["layers"][0]["packages"].as_array().unwrap().clone();
    let mut wheels: Vec<&str> = packages.iter().map(|one| one["wheel"].as_str().unwrap()).collect();
    wheels.sort_unstable();
    assert_eq!(wheels, ["a-1.0-py3-none-any.whl", "local-3.0-py3-none-any.whl"]);
}
