use std::fmt::Write as _;

use fs_err as fs;

use super::*;
use crate::error::Explain as _;

/// Every sample in a folder, sorted, with what reading it gave. A sample named `pyproject…` is a pyproject.toml.
fn samples(folder: &str) -> Vec<(String, Result<Config, ConfigError>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/config").join(folder);
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: &PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(path).unwrap();
        let texts = if name.starts_with("pyproject") {
            Texts { pyproject: Some(&text), layerwise: None }
        } else {
            Texts { pyproject: None, layerwise: Some(&text) }
        };
        let config = Config::read(texts, Path::new("/work/my.project"));
        (name, config)
    };
    paths.iter().map(read).collect()
}

#[test]
fn valid_samples() {
    let mut text = String::new();
    for (name, config) in samples("valid") {
        let config = config.unwrap_or_else(|error| panic!("{name}: {error}"));
        writeln!(text, "== {name}").unwrap();
        for warning in &config.warnings {
            writeln!(text, "warning: {warning}").unwrap();
        }
        for layer in &config.layers {
            let runtimes: Vec<&str> = layer.runtimes.iter().map(|runtime| runtime.name.as_str()).collect();
            writeln!(text, "{} {runtimes:?} {:?} {:?}", layer.name, layer.architectures, layer.input).unwrap();
            writeln!(text, "  {:?} {:?} {:?}", layer.extras, layer.groups, layer.assemble).unwrap();
            writeln!(text, "  {} {:?}", layer.exclude_runtime_packages, layer.output.text).unwrap();
            for file in &layer.files {
                writeln!(text, "  {file:?}").unwrap();
            }
        }
        for function in &config.functions {
            let runtime = function.runtime.map(|runtime| runtime.name.as_str());
            writeln!(text, "{runtime:?} {:?}", FunctionSpec { runtime: None, ..function.clone() }).unwrap();
        }
    }
    insta::assert_snapshot!(text);
}

#[test]
fn invalid_samples() {
    let mut text = String::new();
    for (name, config) in samples("invalid") {
        let Err(error) = config else { panic!("{name} is valid") };
        writeln!(text, "== {name}\n{error}").unwrap();
        for hint in error.hints() {
            writeln!(text, "hint: {hint}").unwrap();
        }
    }
    insta::assert_snapshot!(text);
}

#[test]
fn two_configurations() {
    let texts = Texts { pyproject: Some("[tool.layerwise]\n"), layerwise: Some("") };
    assert!(matches!(Config::read(texts, Path::new("/p")), Err(ConfigError::Two(..))));
    let texts = Texts { pyproject: Some("[project]\nname = \"a.b\"\n"), layerwise: Some("") };
    assert_eq!(Config::read(texts, Path::new("/p")).unwrap().project_name.as_str(), "a-b");
}

#[test]
fn the_committed_schema_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schema/layerwise.schema.json");
    let committed = fs::read_to_string(path).unwrap_or_default().replace("\r\n", "\n");
    assert!(committed == schema(), "run `cargo run -- generate .` and commit schema/layerwise.schema.json");
}

#[test]
fn layer_names() {
    for good in ["a", "A-b_9", &"x".repeat(140)] {
        assert!(good.parse::<LayerName>().is_ok(), "{good}");
    }
    for bad in ["", "a.b", "a b", "ä", &"x".repeat(141)] {
        assert!(bad.parse::<LayerName>().is_err(), "{bad}");
    }
    for (project, name) in [("my.project", "my-project"), ("..", "layer"), ("", "layer"), ("é a", "a")] {
        assert_eq!(LayerName::from_project(project).as_str(), name);
    }
}

#[test]
fn the_matrix_is_layers_by_runtimes_by_architectures() {
    let text = "runtimes = ['python3.11', 'python3.13']\narchitectures = ['x86_64', 'arm64']\n[layer.b]\n[layer.a]\n";
    let config = Config::read(Texts { pyproject: None, layerwise: Some(text) }, Path::new("/p")).unwrap();
    let cells = matrix(&config.layers, Path::new("/p"), "2026-11-24").unwrap();
    let outputs: Vec<String> = cells.iter().map(|cell| cell.output.display().to_string()).collect();
    assert_eq!(outputs.len(), 8);
    assert_eq!(outputs[0], "/p/dist/b-python3.11-x86_64.zip");
    assert_eq!(outputs[7], "/p/dist/a-python3.13-arm64.zip");
    assert_eq!(cells[0].lock_file, Path::new("/p/pylock.b-python311-x86_64.toml"));
}

#[track_caller]
fn refused(text: &str, expected: &str) {
    let config = Config::read(Texts { pyproject: None, layerwise: Some(text) }, Path::new("/p")).unwrap();
    assert_eq!(matrix(&config.layers, Path::new("/p"), "2026-11-24").unwrap_err().to_string(), expected);
}

#[test]
fn impossible_matrices() {
    refused("", "no runtime is named for the layer `p`");
    refused("runtime = 'python3.8'", "runtime `python3.8` cannot be built for: layerwise supports python3.9 and newer");
    refused(
        "runtimes = ['python3.12', 'python3.13']\noutput = '{name}.zip'",
        "`/p/p.zip` would be written twice: for `p` on python3.12 x86_64 and for `p` on python3.13 x86_64",
    );
}

#[test]
fn did_you_mean() {
    let keys = known_keys::<Table>();
    let near = |text: &str| nearest(text, keys.iter().map(String::as_str)).map(str::to_owned);
    assert_eq!(near("excludes").as_deref(), Some("exclude"));
    assert_eq!(near("exclude_runtime_packages").as_deref(), Some("exclude-runtime-packages"));
    assert_eq!(near("runtimez").as_deref(), Some("runtime"));
    assert_eq!(near("zzz"), None);
}

#[test]
fn of_a_long_line_only_the_place_is_shown() {
    let text = format!("exclude = [{}7]", "'äöü', ".repeat(500));
    let Err(ConfigError::At { place, excerpt, .. }) =
        Config::read(Texts { pyproject: None, layerwise: Some(&text) }, Path::new("/p"))
    else {
        panic!("a number is no pattern")
    };
    assert_eq!((place.line, place.column), (1, 3512));
    let lines: Vec<&str> = excerpt.lines().collect();
    assert!(lines[0].ends_with("'äöü', 7]") && lines[0].chars().count() < 130, "{excerpt}");
    assert_eq!(lines[1].chars().position(|c| c == '^'), lines[0].chars().position(|c| c == '7'));
}

#[test]
fn function_names() {
    for good in ["a", "A-b_9", &"x".repeat(64)] {
        assert!(good.parse::<FunctionName>().is_ok(), "{good}");
    }
    for bad in ["", "a.b", "a b", "ä", &"x".repeat(65)] {
        assert!(bad.parse::<FunctionName>().is_err(), "{bad}");
    }
}
