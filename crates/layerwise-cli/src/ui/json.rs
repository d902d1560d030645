//! Documents for programs: one on stdout, described in `docs/json.md`. Additions keep the version; anything else
//! raises it.

use crate::commands::doctor::{Found, Health};
use layerwise::audit::{Finding, Report, Severity};
use layerwise::config::{FunctionSpec, LayerRef};
use layerwise::model::limits::{DIRECT_UPLOAD_BYTES, UNZIPPED_BYTES};
use layerwise::model::{Lock, Note, Runtime, Target};
use layerwise::pipeline::{Built, Checked, LockUse};
use layerwise::prove::{End, Guard, Isolation, Proof};
use serde_json::{Value, json};

use super::error::Failure;
use super::findings::words;
use super::human;

pub(crate) const VERSION: u32 = 1;

/// One artifact of the matrix and what became of it.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) target: Target,
    pub(crate) result: Result<Value, Failure>,
}

/// The document of `build` and `lock`.
pub(crate) fn matrix(command: &str, layers: &[Row], functions: &[Row], warnings: &[String]) -> String {
    let value = |row: &Row| {
        let mut value = json!({
            "name": row.name,
            "runtime": row.target.runtime.name,
            "architecture": row.target.architecture.aws(),
            "ok": row.result.is_ok(),
        });
        match &row.result {
            Ok(Value::Object(fields)) => {
                for (key, field) in fields {
                    value[key] = field.clone();
                }
            }
            Ok(_) => {}
            Err(failure) => value["error"] = error(failure),
        }
        value
    };
    let first = layers.iter().chain(functions).find_map(|row| row.result.as_ref().err());
    let mut document = json!({
        "version": VERSION,
        "command": command,
        "ok": first.is_none(),
        "layers": layers.iter().map(value).collect::<Vec<_>>(),
        "warnings": warnings,
    });
    if !functions.is_empty() {
        document["functions"] = functions.iter().map(value).collect();
    }
    if let Some(failure) = first {
        document["error"] = error(failure);
    }
    print(&document)
}

/// The document of a command that failed before there was a matrix.
pub(crate) fn failed(command: &str, failure: &Failure, warnings: &[String]) -> String {
    print(&json!({
        "version": VERSION,
        "command": command,
        "ok": false,
        "layers": [],
        "warnings": warnings,
        "error": error(failure),
    }))
}

pub(crate) fn error(failure: &Failure) -> Value {
    json!({
        "kind": failure.code().word(),
        "exit_code": failure.code().number(),
        "message": failure.message,
        "causes": failure.causes,
        "hints": failure.hints,
    })
}

/// A finished artifact.
pub(crate) fn built(built: &Built) -> Value {
    let packages = built.packages.iter().map(|package| {
        json!({
            "name": package.name,
            "version": package.version,
            "wheel": package.wheel,
            "sha256": package.sha256,
            "unzipped_bytes": package.unzipped_bytes,
            "zipped_bytes": package.zipped_bytes,
        })
    });
    let extras = built
        .extras
        .iter()
        .map(|file| json!({ "path": file.path, "sha256": file.sha256, "unzipped_bytes": file.unzipped_bytes }));
    let timings = built.timings;
    json!({
        "path": built.output,
        "sha256": built.sha256,
        "code_sha256": built.sha256.base64(),
        "zipped_bytes": built.zipped_bytes,
        "unzipped_bytes": built.unzipped_bytes,
        "limits": { "unzipped_bytes": UNZIPPED_BYTES, "direct_upload_bytes": DIRECT_UPLOAD_BYTES },
        "needs_s3": built.zipped_bytes > DIRECT_UPLOAD_BYTES,
        "files": built.files,
        "packages": packages.collect::<Vec<_>>(),
        "extra_files": extras.collect::<Vec<_>>(),
        "environment": built.environment,
        "notes": notes(&built.notes),
        "lock": lock_use(built.lock),
        "check": built.report.as_ref().map(|report| self::report(report, None)),
        "seconds": {
            "resolve": timings.resolve.as_secs_f64(),
            "fetch": timings.fetch.as_secs_f64(),
            "compile": timings.compile.as_secs_f64(),
            "assemble": timings.assemble.as_secs_f64(),
            "check": timings.audit.as_secs_f64(),
            "pack": timings.pack.as_secs_f64(),
        },
    })
}

/// What the configuration says of a function, beside what was built of it.
pub(crate) fn function(built: &mut Value, function: &FunctionSpec) {
    let layers = function.layers.iter().map(|layer| match layer {
        LayerRef::Named(name) => name.clone(),
        LayerRef::Path(path) => path.display().to_string(),
    });
    built["handler"] = json!(function.handler);
    built["layers"] = layers.collect();
    built["timeout"] = json!(function.timeout);
    built["memory"] = json!(function.memory);
}

/// What an audit found.
pub(crate) fn report(report: &Report, handler: Option<&str>) -> Value {
    let count = |severity| report.count(severity);
    let sizes = report.sizes.iter().map(|(name, bytes)| json!({ "name": name, "unzipped_bytes": bytes }));
    json!({
        "ok": !report.has_errors(),
        "errors": count(Severity::Error),
        "warnings": count(Severity::Warning),
        "notes": count(Severity::Note),
        "findings": report.findings.iter().map(|found| finding(found, report.target, handler)).collect::<Vec<_>>(),
        "allowed": report.allowed.iter().map(|(found, reason)| {
            let mut value = finding(found, report.target, handler);
            value["reason"] = json!(reason);
            value
        }).collect::<Vec<_>>(),
        "unzipped_bytes": report.unzipped_bytes,
        "files": report.files,
        "sizes": sizes.collect::<Vec<_>>(),
    })
}

fn finding(finding: &Finding, target: Target, handler: Option<&str>) -> Value {
    let words = words(finding, target, handler);
    let mut data = serde_json::to_value(&finding.problem).unwrap_or_default();
    if let Some(fields) = data.as_object_mut() {
        fields.remove("problem");
    }
    json!({
        "id": finding.rule().id(),
        "severity": finding.severity.word(),
        "artifact": finding.artifact,
        "file": finding.file,
        "at": finding.at,
        "package": finding.package,
        "text": words.text,
        "lambda": words.lambda,
        "way_out": words.way_out,
        "data": data,
    })
}

/// The document of `check`.
pub(crate) fn check(
    artifact: &str,
    checked: &[Checked],
    handler: Option<&str>,
    ok: bool,
    warnings: &[String],
) -> String {
    let targets = checked.iter().map(|one| {
        let mut value = report(&one.report, handler);
        value["runtime"] = json!(one.report.target.runtime.name);
        value["architecture"] = json!(one.report.target.architecture.aws());
        value["run"] = json!(one.proof.as_ref().map(run));
        value
    });
    print(&json!({
        "version": VERSION,
        "command": "check",
        "ok": ok,
        "artifact": artifact,
        "targets": targets.collect::<Vec<_>>(),
        "warnings": warnings,
    }))
}

/// What `--run` did.
fn run(proof: &Proof) -> Value {
    let Isolation { network, read_only, real_paths, processes } = &proof.isolation;
    let isolated = [network, read_only, real_paths, processes].iter().all(|guard| **guard == Guard::InForce);
    let imports = proof.outcomes.iter().map(|outcome| {
        let word = match outcome.end {
            End::Imported => "imported",
            End::Failed { .. } => "failed",
            End::Crashed { .. } => "crashed",
            End::TimedOut { .. } => "timeout",
            End::Exited { .. } => "exited",
        };
        json!({ "module": outcome.subject.to_string(), "outcome": word, "seconds": outcome.took.as_secs_f64() })
    });
    json!({ "python": proof.python.version, "isolated": isolated, "imports": imports.collect::<Vec<_>>() })
}

/// The document of `check` that could not be made.
pub(crate) fn check_failed(failure: &Failure, warnings: &[String]) -> String {
    print(&json!({
        "version": VERSION,
        "command": "check",
        "ok": false,
        "targets": [],
        "warnings": warnings,
        "error": error(failure),
    }))
}

/// A resolution without an artifact (`--dry-run`).
pub(crate) fn planned(lock: &Lock, from: LockUse) -> Value {
    let packages = lock.packages.iter().map(|pin| {
        json!({
            "name": pin.name,
            "version": pin.version.to_string(),
            "wheel": pin.wheel.text,
            "sha256": pin.sha256,
            "wheel_bytes": pin.size,
        })
    });
    let sources = lock.sources.iter().map(|pin| {
        json!({
            "name": pin.name,
            "version": pin.version.to_string(),
            "sdist": pin.file,
            "sha256": pin.sha256,
            "sdist_bytes": pin.size,
        })
    });
    let mut packages: Vec<Value> = packages.chain(sources).collect();
    packages.sort_by_key(|package| package["name"].as_str().unwrap_or_default().to_owned());
    json!({
        "dry_run": true,
        "packages": packages,
        "notes": notes(&lock.notes),
        "lock": lock_use(from),
    })
}

/// Each with its data and its sentence.
pub(crate) fn notes(notes: &[Note]) -> Vec<Value> {
    let value = |note: &Note| {
        let mut value = json!({ "text": human::note(note) });
        // The lock file has these in TOML's style, `fits-runtime`; here every key has underscores.
        if let Ok(Value::Object(fields)) = serde_json::to_value(note) {
            for (key, field) in fields {
                value[key.replace('-', "_")] = field;
            }
        }
        value
    };
    notes.iter().map(value).collect()
}

const fn lock_use(lock: LockUse) -> &'static str {
    match lock {
        LockUse::None => "none",
        LockUse::Resolved => "resolved",
        LockUse::Stale => "stale",
        LockUse::Locked => "locked",
    }
}

/// The document of `targets`.
pub(crate) fn targets(runtimes: &[Runtime], today: &str) -> String {
    let runtimes = runtimes.iter().map(|runtime| {
        json!({
            "runtime": runtime.name,
            "status": human::status(runtime, today),
            "os": runtime.os,
            "glibc": runtime.glibc.to_string(),
            "architectures": runtime.architectures.iter().map(|architecture| architecture.aws()).collect::<Vec<_>>(),
            "blocked": runtime.blocked,
            "deprecated": runtime.deprecated,
            "block_create": runtime.block_create,
            "block_update": runtime.block_update,
        })
    });
    print(&json!({ "version": VERSION, "runtimes": runtimes.collect::<Vec<_>>() }))
}

/// The document of `doctor`.
pub(crate) fn doctor(found: &[Found]) -> String {
    let things: Vec<Value> = found
        .iter()
        .map(|found| {
            let on = found.thing.get;
            json!({
                "name": found.thing.name,
                "status": match found.health {
                    Health::Here => "here",
                    Health::Missing => "missing",
                    Health::Broken => "broken",
                },
                "detail": found.detail,
                "what_for": found.thing.what_for,
                "get": found.get,
                "get_on": { "linux": on.linux, "macos": on.macos, "windows": on.windows },
            })
        })
        .collect();
    print(&json!({ "version": VERSION, "things": things }))
}

/// The document of `cache size`.
pub(crate) fn cache(dir: &std::path::Path, buckets: &[(&str, u64, u64)]) -> String {
    let buckets: Vec<Value> =
        buckets.iter().map(|(name, files, bytes)| json!({ "name": name, "files": files, "bytes": bytes })).collect();
    print(&json!({ "version": VERSION, "dir": dir, "buckets": buckets }))
}

pub(crate) fn print(document: &Value) -> String {
    format!("{document:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use layerwise::error::Kind;

    #[test]
    fn one_artifact_made_and_one_failed() {
        let sample = human::tests::sample(&[("six", "1.17.0", 900)]);
        let failure = Failure {
            kind: Kind::Network,
            message: "failed to download `six`".to_owned(),
            causes: vec!["the server answered 500".to_owned()],
            hints: vec!["try again later".to_owned()],
            details: None,
        };
        let rows = [
            Row { name: "a".to_owned(), target: sample.target, result: Ok(built(&sample)) },
            Row { name: "b".to_owned(), target: sample.target, result: Err(failure) },
        ];
        insta::assert_snapshot!(matrix("build", &rows, &[], &["odd".to_owned()]), @r#"
            {
              "command": "build",
              "error": {
                "causes": [
                  "the server answered 500"
                ],
                "exit_code": 5,
                "hints": [
                  "try again later"
                ],
                "kind": "network",
                "message": "failed to download `six`"
              },
              "layers": [
                {
                  "architecture": "x86_64",
                  "check": null,
                  "code_sha256": "SnD+mqZDbgLC3qNA+9HjUuTvLYzmylKtJdS5VHH8i/I=",
                  "environment": {},
                  "extra_files": [],
                  "files": 2648,
                  "limits": {
                    "direct_upload_bytes": 52428800,
                    "unzipped_bytes": 262144000
                  },
                  "lock": "resolved",
                  "name": "a",
                  "needs_s3": false,
                  "notes": [
                    {
                      "compilable": true,
                      "fits_runtime": "python3.12",
                      "kind": "passed-over",
                      "name": "tiktoken",
                      "newest": "0.14.0",
                      "reason": "its cp311 wheels need glibc 2.28, python3.11 has 2.26",
                      "taken": "0.11.0",
                      "text": "tiktoken 0.14.0 skipped: its cp311 wheels need glibc 2.28, python3.11 has 2.26; 0.11.0 used; 0.14.0 is available on python3.12; `--compile tiktoken` builds 0.14.0 from source"
                    }
                  ],
                  "ok": true,
                  "packages": [
                    {
                      "name": "six",
                      "sha256": "44778d82365e4af681c40d5f0eef5cf6f5899d3f0ac335050a7ed6779cf3f674",
                      "unzipped_bytes": 900,
                      "version": "1.17.0",
                      "wheel": "six-1.17.0-py3-none-any.whl",
                      "zipped_bytes": 300
                    }
                  ],
                  "path": "/work/dist/document-processor-python3.11-x86_64.zip",
                  "runtime": "python3.11",
                  "seconds": {
                    "assemble": 0.009,
                    "check": 0.003,
                    "compile": 0.0,
                    "fetch": 1.2,
                    "pack": 0.07,
                    "resolve": 0.64
                  },
                  "sha256": "4a70fe9aa6436e02c2dea340fbd1e352e4ef2d8ce6ca52ad25d4b95471fc8bf2",
                  "unzipped_bytes": 900,
                  "zipped_bytes": 300
                },
                {
                  "architecture": "x86_64",
                  "error": {
                    "causes": [
                      "the server answered 500"
                    ],
                    "exit_code": 5,
                    "hints": [
                      "try again later"
                    ],
                    "kind": "network",
                    "message": "failed to download `six`"
                  },
                  "name": "b",
                  "ok": false,
                  "runtime": "python3.11"
                }
              ],
              "ok": false,
              "version": 1,
              "warnings": [
                "odd"
              ]
            }
        "#);
    }
}
