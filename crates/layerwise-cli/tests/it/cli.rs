//! What the command line promises: documents, codes, quiet, the cache's commands, targets.

use layerwise_testkit::{Cli, Fault, Index, wheel};
use serde_json::Value;

use super::{BUILD, LOCK, archive, demo, files_below, json, layerwise, left_in, words};

/// Without an index, and without a need for one.
fn alone(line: &str) -> Cli {
    Cli::new(env!("CARGO_BIN_EXE_layerwise")).args(words(line))
}

#[track_caller]
fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Each key of the document must stand in docs/json.md, the contract.
#[track_caller]
pub(super) fn documented(value: &Value) {
    let contract = include_str!("../../../../docs/json.md");
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                // The parts of a note are named together.
                let part = ["name", "taken", "newest", "reason", "fits_runtime"].contains(&key.as_str());
                assert!(part || contract.contains(&format!("`{key}`")), "docs/json.md does not know `{key}`");
                // A finding's data depends on its id.
                if key != "data" {
                    documented(field);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(documented),
        _ => {}
    }
}

#[test]
fn json_of_a_success() {
    let served = demo().serve();
    let cli = layerwise(&served, &format!("{BUILD} --json"));
    let run = cli.run().success();
    assert!(run.stderr.is_empty(), "{run}");
    let document = json(&run);
    documented(&document);
    assert_eq!(keys(&document), ["command", "layers", "ok", "version", "warnings"]);
    assert_eq!((&document["version"], &document["ok"]), (&Value::from(1), &Value::from(true)));
    let layer = &document["layers"][0];
    let zip = cli.project().join("demo.zip");
    assert_eq!(layer["path"], zip.to_str().unwrap());
    assert_eq!(layer["sha256"], layerwise_testkit::sha256(&fs_err::read(&zip).unwrap()));
    assert_eq!(layer["zipped_bytes"], fs_err::metadata(&zip).unwrap().len());
    let members = archive::read(&zip);
    assert_eq!(layer["files"], members.len());
    assert_eq!(layer["unzipped_bytes"], members.iter().map(|member| member.content.len()).sum::<usize>());
    let packages = layer["packages"].as_array().unwrap();
    let sum = |key: &str| packages.iter().map(|package| package[key].as_u64().unwrap()).sum::<u64>();
    assert_eq!(layer["unzipped_bytes"], sum("unzipped_bytes"), "the packages are all there is");
    assert!(sum("zipped_bytes") <= layer["zipped_bytes"].as_u64().unwrap());
    documented(&json(&cli.args(words(&format!("{LOCK} --json"))).run().success()));
}

#[test]
fn json_of_failures() {
    let served = demo().serve();
    for (line, code, kind) in [
        ("build -p alpha --runtime python9 --json", 2, "usage"),
        ("build nowhere --runtime python3.13 --json", 3, "input"),
        ("build -p missing --runtime python3.13 --json", 4, "resolution"),
        ("build -p alpha --runtime python3.13 --json --locked", 3, "input"),
        ("build -p alpha --runtime python3.13 --json --offline", 5, "network"),
    ] {
        let run = layerwise(&served, line).run().failure(code);
        let document = json(&run);
        documented(&document);
        assert_eq!(document["ok"], false, "{run}");
        assert_eq!(
            (&document["error"]["kind"], &document["error"]["exit_code"]),
            (&kind.into(), &code.into()),
            "{run}"
        );
        assert!(run.stderr.starts_with("error: "), "people are told too: {run}");
    }
}

#[test]
fn one_of_two_fails() {
    let served = Index::new()
        .wheel(wheel("a", "1.0").tags("cp313-cp313-manylinux_2_17_x86_64").file("a.py", "").build())
        .serve();
    let cli = layerwise(&served, "build -p a --runtime python3.13 --arch arm64 --arch x86_64 --name demo --json");
    let run = cli.run().failure(4);
    let document = json(&run);
    documented(&document);
    assert_eq!((&document["layers"][0]["ok"], &document["layers"][1]["ok"]), (&false.into(), &true.into()));
    assert_eq!(left_in(&cli), ["dist/demo-python3.13-x86_64.zip"]);
    assert!(run.stderr.starts_with("error: `demo` for python3.13 arm64: no wheel of `a` fits"), "{run}");
}

#[test]
fn a_summary() {
    let served = demo().serve();
    let run = layerwise(&served, BUILD).run().success();
    // Digests and zipped sizes depend on the compressor that the kit is built with.
    let vague = |line: &str| {
        let words = line.split_whitespace().map(|word| match word {
            "python3.13" | "1.0" | "2.0" | "250.0" => word,
            _ if word.len() > 40 => "[DIGEST]",
            _ if word.starts_with(|c: char| c.is_ascii_digit()) => "#",
            _ => word,
        });
        words.collect::<Vec<_>>().join(" ")
    };
    insta::assert_snapshot!(run.text().lines().map(vague).collect::<Vec<_>>().join("\n"), @r###"
        exit: #
        ----- stdout -----
        demo for python3.13 x86_64

        package version unzipped share zipped share
        alpha 1.0 # KiB # # KiB #
        beta 2.0 # KiB # 1.0 KiB #

        unzipped # KiB in # files, # of Lambda's 250.0 MiB
        zipped # KiB
        sha256 [DIGEST]
        CodeSha256 [DIGEST]
        (source_code_hash in Terraform)
        versions resolved now; `layerwise lock` writes them down
        check clean
        time [TIME]: resolve [TIME], fetch [TIME], assemble [TIME], check [TIME], pack [TIME]

        built demo.zip

        ----- stderr -----
    "###);
}

#[test]
fn quiet_is_silent_about_good_news_only() {
    let served = demo().serve();
    let run = layerwise(&served, &format!("{BUILD} -q")).run().success();
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", ""));
    let run = layerwise(&served, "build -q -p missing --runtime python3.13").run().failure(4);
    assert!(run.stdout.is_empty() && run.stderr.starts_with("error: "), "{run}");
    let run = layerwise(&served, &format!("{BUILD} -q --json")).run().success();
    assert_eq!(json(&run)["ok"], true);
}

#[test]
fn colours_only_where_wanted() {
    let served = demo().serve();
    let colour = |cli: Cli| cli.run().success().stdout.contains('\u{1b}');
    assert!(!colour(layerwise(&served, BUILD)));
    assert!(!colour(layerwise(&served, BUILD).env("CLICOLOR_FORCE", "1")), "NO_COLOR is set by the kit and wins");
    assert!(colour(layerwise(&served, BUILD).env("CLICOLOR_FORCE", "1").env("NO_COLOR", "")));
    assert!(colour(layerwise(&served, &format!("{BUILD} --color always"))));
    assert!(!colour(
        layerwise(&served, &format!("{BUILD} --color never")).env("CLICOLOR_FORCE", "1").env("NO_COLOR", "")
    ));
}

#[test]
fn a_dry_run_writes_nothing() {
    let served = demo().serve();
    let cli = layerwise(&served, &format!("{BUILD} --dry-run --json"));
    let run = cli.run().success();
    documented(&json(&run));
    assert!(left_in(&cli).is_empty());
    assert_eq!(json(&run)["layers"][0]["packages"].as_array().unwrap().len(), 2);
    assert!(served.requests().iter().all(|request| !request.path.ends_with(".whl")), "no wheel is fetched");
    let run = cli.args(words(&format!("{BUILD} --dry-run"))).run().success();
    assert!(run.stdout.contains("alpha  1.0"), "{run}");
}

#[test]
fn a_matrix() {
    let tags = |tags: &str| wheel("a", "1.0").tags(tags).file("a.py", tags).build();
    let mut index = Index::new();
    for minor in [12, 13] {
        for machine in ["x86_64", "aarch64"] {
            index = index.wheel(tags(&format!("cp3{minor}-cp3{minor}-manylinux_2_17_{machine}")));
        }
    }
    let served = index.serve();
    let line = "build -p a --runtime python3.12 --runtime python3.13 --arch x86_64 --arch arm64 --name demo";
    let cli = layerwise(&served, line);
    let _run = cli.run().success();
    for (runtime, tag) in [("python3.12", "cp312"), ("python3.13", "cp313")] {
        for (architecture, machine) in [("x86_64", "x86_64"), ("arm64", "aarch64")] {
            let zip = cli.project().join(format!("dist/demo-{runtime}-{architecture}.zip"));
            let expected = format!("{tag}-{tag}-manylinux_2_17_{machine}");
            assert_eq!(archive::text(&zip, "python/a.py"), expected);
        }
    }
}

#[test]
fn two_artifacts_may_not_have_one_output() {
    let served = demo().serve();
    let line = "build -p alpha --runtime python3.12 --runtime python3.13 -o same.zip";
    let run = layerwise(&served, line).run().failure(2);
    assert!(run.stderr.contains("same.zip"), "{run}");
    assert!(served.requests().is_empty());
}

#[test]
fn runtimes() {
    insta::assert_snapshot!(alone("build -p a --runtime python2.7").run().text(), @r###"
        exit: 2
        ----- stdout -----

        ----- stderr -----
        error: `python2.7` is not a Python runtime of AWS Lambda that layerwise knows (it knows python3.9, python3.10, python3.11, python3.12, python3.13, python3.14, python3.15)
        hint: `layerwise targets` lists the runtimes and architectures
    "###);
    insta::assert_snapshot!(alone("build -p a --runtime python3.8").run().text(), @r###"
        exit: 2
        ----- stdout -----

        ----- stderr -----
        error: runtime `python3.8` cannot be built for: layerwise supports python3.9 and newer
        hint: `layerwise targets` lists the runtimes
    "###);
    // Which ones are proposed depends on the day.
    let run = alone("build -p a").run().failure(2);
    assert!(
        run.stderr
            .starts_with("error: no runtime is named for the layer `project`\nhint: pass `--runtime` with one of "),
        "{run}"
    );
    insta::assert_snapshot!(alone("build -p a --runtime python3.13 --arch mips").run().text(), @r###"
        exit: 2
        ----- stdout -----

        ----- stderr -----
        error: `mips` is not an architecture of AWS Lambda (x86_64, arm64)
        hint: `layerwise targets` lists the runtimes and architectures
    "###);
}

#[test]
fn a_deprecated_runtime_builds_with_a_warning_that_names_the_dates() {
    // What is deprecated depends on the day: ask.
    let document = json(&alone("targets --json").run().success());
    documented(&document);
    let runtimes = document["runtimes"].as_array().unwrap().clone();
    let Some(old) = runtimes.iter().find(|runtime| runtime["status"] == "deprecated") else {
        return eprintln!("skipped: no runtime is deprecated today");
    };
    let served = Index::new().wheel(wheel("a", "1.0").file("a.py", "").build()).serve();
    let runtime = old["runtime"].as_str().unwrap();
    let run = layerwise(&served, &format!("build -p a --runtime {runtime}")).run().success();
    let day = old["deprecated"].as_str().unwrap();
    assert!(run.stderr.starts_with(&format!("warning: {runtime} was deprecated by AWS on {day}")), "{run}");
    for day in ["block_create", "block_update"] {
        assert!(old[day].as_str().is_none_or(|day| run.stderr.contains(day)), "{run}");
    }
}

#[test]
fn a_preview_builds_with_a_warning() {
    let served = Index::new().wheel(wheel("a", "1.0").file("a.py", "").build()).serve();
    let document = json(&alone("targets --json").run().success());
    let runtimes = document["runtimes"].as_array().unwrap();
    let Some(new) = runtimes.iter().find(|runtime| runtime["status"] == "preview") else {
        return eprintln!("skipped: no runtime is a preview");
    };
    let runtime = new["runtime"].as_str().unwrap();
    let run = layerwise(&served, &format!("build -p a --runtime {runtime}")).run().success();
    assert!(run.stderr.contains(&format!("warning: {runtime} is a preview")), "{run}");
}

#[test]
fn targets() {
    let run = alone("targets").run().success();
    for runtime in ["python3.9", "python3.11", "python3.14"] {
        assert!(run.stdout.contains(runtime), "{run}");
    }
}

#[test]
fn the_cache_can_be_looked_after() {
    let served = demo().serve();
    let cli = layerwise(&served, BUILD);
    let _run = cli.run().success();
    let (project, cache) = (cli.project().to_owned(), cli.cache());
    let cli = cli.args(words("cache dir"));
    assert_eq!(cli.run().success().stdout, format!("{}\n", cache.display()));
    let cli = cli.args(words("cache size --json"));
    let document = json(&cli.run().success());
    documented(&document);
    let buckets = document["buckets"].as_array().unwrap();
    let wheels = buckets.iter().find(|bucket| bucket["name"] == "wheels-v1").unwrap();
    assert_eq!(wheels["files"], 4, "two wheels and their indexes");
    let cli = cli.args(words("cache prune"));
    insta::assert_snapshot!(cli.run().text(), @r###"
        exit: 0
        ----- stdout -----
        removed 0 files, 0 B

        ----- stderr -----
    "###);
    assert_eq!(files_below(&cache.join("wheels-v1")).len(), 4, "they are new");
    let cli = cli.args(words("cache clean"));
    let run = cli.run().success();
    assert!(run.stdout.starts_with("removed "), "{run}");
    assert!(files_below(&cache.join("wheels-v1")).is_empty());
    assert!(project.join("demo.zip").exists());
    let cli = cli.args(words(BUILD));
    let _run = cli.run().success();
}

#[test]
fn no_uv_and_none_to_be_had() {
    let served = demo().serve();
    let run = layerwise(&served, BUILD).without_uv().run().failure(8);
    assert!(run.stderr.starts_with("error: failed to provide uv: the index has no `uv-"), "{run}");
    assert!(run.stderr.contains("hint: install uv "), "{run}");
}

#[test]
fn a_uv_that_does_not_run_or_is_too_old() {
    for script in ["#!/bin/sh\nexit 1\n", "#!/bin/sh\necho 'uv 0.1.0 (abc)'\n", "no program"] {
        let served = demo().fault(Fault::Status(404).on("/simple/uv/")).serve();
        let cli = layerwise(&served, BUILD).file("uv", script);
        #[cfg(unix)]
        fs_err::set_permissions(cli.project().join("uv"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let program = cli.project().join("uv");
        let run = cli.env("LAYERWISE_UV", program).run().failure(8);
        assert!(run.stderr.contains("hint: install uv "), "{run}");
    }
}

#[test]
fn usage() {
    for line in ["", "nonsense", "build --nonsense", "build -q -v"] {
        let run = alone(line).run().failure(2);
        assert!(run.stdout.is_empty(), "{run}");
    }
    let run = alone("--version").run().success();
    assert!(run.stdout.starts_with("layerwise "));
    let _help = alone("build --help").run().success();
}

/// All that is said of a project with this requirements file.
fn of_requirements(text: &str) -> String {
    let cli = alone("build --runtime python3.13").file("requirements.txt", text);
    let run = cli.run();
    assert_eq!(left_in(&cli), ["requirements.txt"]);
    run.text()
}

#[test]
fn requirements_files_that_cannot_be_read() {
    insta::assert_snapshot!(of_requirements(""), @r###"
        exit: 3
        ----- stdout -----

        ----- stderr -----
        error: `requirements.txt` names no packages
        hint: write one requirement a line, such as `requests>=2`
    "###);
    insta::assert_snapshot!(of_requirements("# all\nrequests >= two\n"), @r###"
        exit: 3
        ----- stdout -----

        ----- stderr -----
        error: requirements.txt:2: `requests >= two`: expected a requirement such as `name>=1.2`, a URL or a path: expected version to start with a number, but no leading ASCII digits were found
    "###);
    insta::assert_snapshot!(of_requirements("six\n-r more.txt\n"), @r###"
        exit: 3
        ----- stdout -----

        ----- stderr -----
        error: failed to read `more.txt`, which requirements.txt:2 asks for
          caused by: No such file or directory (os error 2)
        hint: a relative path counts from the file that names it
    "###);
    insta::assert_snapshot!(of_requirements("six\n--nonsense\n"), @r###"
        exit: 3
        ----- stdout -----

        ----- stderr -----
        error: requirements.txt:2: `--nonsense`: there is no option `--nonsense`
    "###);
    insta::assert_snapshot!(alone("build -r nowhere.txt --runtime python3.13").run().text(), @r###"
        exit: 3
        ----- stdout -----

        ----- stderr -----
        error: failed to read `nowhere.txt`
          caused by: No such file or directory (os error 2)
        hint: check the spelling, or leave `-r` out to have the project's file found
    "###);
    insta::assert_snapshot!(alone("build --runtime python3.13").run().text(), @r###"
        exit: 3
        ----- stdout -----

        ----- stderr -----
        error: no dependency file found in `[DIR]`
        hint: layerwise looks for uv.lock, poetry.lock, Pipfile.lock, pylock.toml, pyproject.toml and requirements.txt
    "###);
}

#[test]
fn nothing_to_build() {
    let cli = alone("build --runtime python3.13");
    let run = cli.run();
    assert_ne!(run.code, Some(0), "{run}");
    assert!(run.stderr.starts_with("error: ") && run.stderr.lines().count() <= 5, "{run}");
    assert!(left_in(&cli).is_empty());
    let run = alone("build -r nowhere.txt --runtime python3.13").run();
    assert!(run.code != Some(0) && run.stderr.contains("nowhere.txt"), "{run}");
}

#[test]
fn doctor_on_a_machine_with_nothing() {
    let cli = Cli::new(env!("CARGO_BIN_EXE_layerwise")).without_uv().args(["doctor", "--json"]);
    let document = json(&cli.run().success());
    let status = |name: &str| {
        let things = document["things"].as_array().unwrap();
        things.iter().find(|thing| thing["name"] == name).unwrap()["status"].as_str().unwrap().to_owned()
    };
    let things =
        ["uv", "zig", "python", "cargo", "rust for arm64", "qemu", "docker", "podman", "AWS credentials", "terraform"];
    for name in things {
        assert_eq!(status(name), "missing", "{name}");
    }
    assert_eq!(status("cache"), "here");
    // A cache that cannot be made: nothing else works either.
    let broken = cli.env("LAYERWISE_CACHE_DIR", "/dev/null/cache").args(["doctor"]).run().failure(8);
    assert!(broken.stdout.contains("broken   cache"), "{broken}");
    assert!(broken.stdout.contains("set LAYERWISE_CACHE_DIR"), "{broken}");
}
