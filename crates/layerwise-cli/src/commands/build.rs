//! `layerwise build`, and what it shares with `layerwise lock`: from settings to jobs, jobs at once, results in order.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use layerwise::audit::Severity;
use layerwise::config::{
    Cell, ConfigError, Dependencies, FunctionSpec, InputSpec, LayerRef, LayerSpec, OutputTemplate, matrix,
};
use layerwise::input::{IndexOptions, Inputs, Wanted, discover, from_given, layered};
use layerwise::io::{Io, IoSettings};
use layerwise::model::Target;
use layerwise::pipeline::{Attached, Built, FunctionJob, Job, LockPolicy};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::Context;
use crate::args::{BuildArgs, InputArgs};
use crate::exit::{self, Code};
use crate::settings;
use crate::ui::Ui;
use crate::ui::error::Failure;
use crate::ui::human::{self, Page};
use crate::ui::json::{self, Row};

pub(super) use layerwise::pipeline;

/// Artifacts made at once: each is bound by the network first, then by one processor and the disk.
const AT_ONCE: usize = 4;

pub(super) fn run(args: &BuildArgs, context: &Context<'_>) -> Result<Code, Failure> {
    let policy = if args.locked { LockPolicy::Insist } else { LockPolicy::Use };
    let (verify, dry_run, page) = (args.verify, args.dry_run, context.ui.page.clone());
    let one = move |job: Arc<Job>, io: Arc<Io>, page: Page| async move {
        if dry_run {
            let (lock, from) = pipeline::plan(&job, policy, &io).await?;
            return Ok(Done {
                notes: lock.notes.iter().map(human::note).collect(),
                json: json::planned(&lock, from),
                text: Box::new(move |ui| human::planned(&job.name, &job.target, &lock, &ui.page)),
                built: None,
            });
        }
        let built =
            if verify { pipeline::verify(&job, policy, &io).await } else { pipeline::build(&job, policy, &io).await };
        Ok(done(built.map_err(|error| failure(error, None, &page))?))
    };
    each("build", &args.input, Some(args), context, move |job, io| one(job, io, page.clone()))
}

fn done(built: Built) -> Done {
    Done {
        notes: human::notes(&built),
        json: json::built(&built),
        text: Box::new({
            let built = built.clone();
            move |ui| human::built(&built, &ui.page)
        }),
        built: Some(built),
    }
}

/// A pipeline's error; the one about Lambda's limit says what to cut, the one about findings which.
pub(super) fn failure(error: pipeline::Error, handler: Option<&str>, page: &Page) -> Failure {
    let details = match &error {
        pipeline::Error::TooLarge { unzipped_bytes, packages, .. } => {
            Some(human::what_to_cut(*unzipped_bytes, packages))
        }
        pipeline::Error::Findings { report, .. } => Some(human::findings(report, handler, Severity::Warning, page)),
        _ => None,
    };
    Failure { details, ..Failure::from(error) }
}

/// A job's good end.
pub(super) struct Done {
    /// Sentences for stderr.
    pub(super) notes: Vec<String>,
    /// Its fields in the JSON document.
    pub(super) json: Value,
    /// The summary for stdout.
    pub(super) text: Box<dyn FnOnce(&Ui) -> String + Send>,
    /// What functions build on.
    pub(super) built: Option<Built>,
}

/// Does `work` for every artifact of the matrix, several at once. One that fails does not stop the others; the exit
/// code is that of the first failure in the matrix's order, which is also the order of everything printed.
pub(super) fn each<W, F>(
    command: &str,
    input: &InputArgs,
    build: Option<&BuildArgs>,
    context: &Context<'_>,
    work: W,
) -> Result<Code, Failure>
where
    W: Fn(Arc<Job>, Arc<Io>) -> F,
    F: Future<Output = Result<Done, Failure>> + Send + 'static,
{
    let Prepared { jobs, functions, io } = match prepare(input, build, context) {
        Ok(prepared) => prepared,
        Err(failure) => {
            if input.json {
                context.answer(&json::failed(command, &failure, &context.ui.warnings()))?;
            }
            return Err(failure);
        }
    };
    let ended = exit::block_on(async {
        let layers = at_once(&jobs, &io, &work).await;
        let functions = match build {
            Some(build) if !build.dry_run => build_functions(functions, &layers, build, &io, &context.ui.page).await,
            _ => Vec::new(),
        };
        report(command, input.json, layers, functions, &context.ui)
    });
    // Ctrl-C may have come at any moment.
    context.ui.events().finish();
    ended.map_err(|error| Failure::system("failed to start", &error))
}

/// A place in the matrix: a layer and a target, with the job, unless its inputs could not be read.
pub(super) type Planned = (String, Target, Result<Arc<Job>, Failure>);

/// A place in the matrix, and how it ended.
pub(super) type Ended = (String, Target, Result<Done, Failure>);

/// What is to be done.
pub(super) struct Prepared {
    pub(super) jobs: Vec<Planned>,
    pub(super) functions: Vec<(FunctionSpec, Target)>,
    pub(super) io: Arc<Io>,
}

pub(super) fn prepare(
    input: &InputArgs,
    build: Option<&BuildArgs>,
    context: &Context<'_>,
) -> Result<Prepared, Failure> {
    let environment = context.environment;
    let mut project = settings::project(input, build, environment)?;
    for warning in &project.warnings {
        context.ui.warning(warning);
    }
    if build.is_none() {
        // `lock` writes no zip: two locks with one output are no conflict.
        for layer in &mut project.layers {
            layer.output = OutputTemplate::new(&project.dir, OutputTemplate::DEFAULT)?;
        }
    }
    let today = context.today();
    let cells = matrix(&project.layers, &project.dir, &today)?;
    for warning in cells.iter().filter_map(|cell| cell.target.warning(&today)) {
        context.ui.warning(&warning);
    }
    let functions = functions(&project, &cells, &today)?;
    let flags = settings::indexes(&input.indexes, environment)?;
    let consent = context.ui.consent(input.add_rust_targets, environment);
    let settings = settings::io(environment, context.cache_dir.as_deref(), context.ui.events(), consent)?;
    let offline = settings::offline(&input.indexes, environment);
    let io = Io::new(IoSettings { offline, refresh: input.indexes.refresh && !offline, ..settings })?;
    let jobs = cells.into_iter().map(|cell| {
        let check = build.is_none_or(|build| !build.no_check);
        let job = job(&cell, &project.dir, &flags, context).map(|job| Arc::new(Job { check, ..job }));
        (cell.layer.name.to_string(), cell.target, job)
    });
    Ok(Prepared { jobs: jobs.collect(), functions, io: Arc::new(io) })
}

/// Each function with each of its targets. Its layers are built for them, and nothing is written twice.
fn functions(
    project: &settings::Project,
    cells: &[Cell<'_>],
    today: &str,
) -> Result<Vec<(FunctionSpec, Target)>, Failure> {
    let mut outputs: BTreeMap<PathBuf, String> =
        cells.iter().map(|cell| (cell.output.clone(), format!("`{}` on {}", cell.layer.name, cell.target))).collect();
    let mut functions = Vec::new();
    for (function, targets) in &project.functions {
        for (runtime, architecture) in targets {
            let target = Target::new(&runtime.name, architecture.aws(), today).map_err(ConfigError::from)?;
            for layer in function.layer_names() {
                if !cells.iter().any(|cell| cell.layer.name.as_str() == layer && cell.target == target) {
                    let (function, target) = (function.name.to_string(), target.to_string());
                    return Err(ConfigError::LayerTarget { function, target, layer }.into());
                }
            }
            let path = function.output.path(function.name.as_str(), &target);
            let second = format!("`{}` on {target}", function.name);
            if let Some(first) = outputs.insert(path.clone(), second.clone()) {
                return Err(ConfigError::SameOutput { path: path.display().to_string(), first, second }.into());
            }
            functions.push((function.clone(), target));
        }
    }
    Ok(functions)
}

/// Makes the functions' zips, of the layers that were built before; one after the other, since each is short work.
async fn build_functions(
    functions: Vec<(FunctionSpec, Target)>,
    layers: &[Ended],
    build: &BuildArgs,
    io: &Arc<Io>,
    page: &Page,
) -> Vec<Ended> {
    let mut ended = Vec::new();
    for (function, target) in functions {
        let output = function.output.path(function.name.as_str(), &target);
        let result = match function_job(&function, target, layers, (output, !build.no_check)) {
            Err(failure) => Err(failure),
            Ok(job) => {
                let built = pipeline::function(&job, io).await;
                let built = built.map_err(|error| failure(error, Some(&function.handler), page));
                built.map(|built| {
                    let mut done = done(built);
                    json::function(&mut done.json, &function);
                    done
                })
            }
        };
        ended.push((function.name.to_string(), target, result));
    }
    ended
}

/// How the layer of this name ended for a target.
pub(super) fn layer_of<'a>(name: &str, target: Target, layers: &'a [Ended]) -> Option<&'a Result<Done, Failure>> {
    let found = layers.iter().find(|(layer, built_for, _)| layer == name && *built_for == target);
    found.map(|(.., result)| result)
}

/// What makes a function's zip, with its layers as they were built.
pub(super) fn function_job(
    function: &FunctionSpec,
    target: Target,
    layers: &[Ended],
    (output, check): (PathBuf, bool),
) -> Result<FunctionJob, Failure> {
    Ok(FunctionJob {
        name: function.name.to_string(),
        target,
        code: function.code.clone(),
        ignore: function.ignore.clone(),
        handler: function.handler.clone(),
        layers: attached(function, target, layers)?,
        packaged: function.dependencies == Dependencies::Package,
        environment: function.environment.clone(),
        output,
        check,
        allow: Vec::new(),
    })
}

/// The layers of a function, those of the configuration as they were built.
fn attached(function: &FunctionSpec, target: Target, layers: &[Ended]) -> Result<Vec<Attached>, Failure> {
    let one = |layer: &LayerRef| match layer {
        LayerRef::Path(path) => Ok(Attached::Path(path.clone())),
        LayerRef::Named(name) => match layer_of(name, target, layers) {
            Some(Ok(Done { built: Some(Built { contents: Some(contents), .. }), .. })) => {
                Ok(Attached::Built(Arc::clone(contents)))
            }
            Some(Err(failure)) => Err(Failure {
                message: format!("the layer `{name}` was not built"),
                causes: Vec::new(),
                hints: Vec::new(),
                details: None,
                ..failure.clone()
            }),
            _ => Err(Failure::bug()),
        },
    };
    function.layers.iter().map(one).collect()
}

fn job(cell: &Cell<'_>, dir: &Path, flags: &IndexOptions, context: &Context<'_>) -> Result<Job, Failure> {
    let layer = cell.layer;
    Ok(Job {
        name: layer.name.to_string(),
        target: cell.target,
        inputs: inputs(layer, dir, flags, context)?,
        lock_file: cell.lock_file.clone(),
        assemble: layer.assemble.clone(),
        exclude_runtime_packages: layer.exclude_runtime_packages,
        output: cell.output.clone(),
        check: true,
        allow: layer.allow.clone(),
        files: layer.files.clone(),
        environment: layer.environment.clone(),
        engine: layer.engine(),
    })
}

pub(super) async fn at_once<W, F>(jobs: &[Planned], io: &Arc<Io>, work: &W) -> Vec<Ended>
where
    W: Fn(Arc<Job>, Arc<Io>) -> F,
    F: Future<Output = Result<Done, Failure>> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = JoinSet::new();
    let mut results: Vec<Result<Done, Failure>> = Vec::new();
    for (index, (_, _, job)) in jobs.iter().enumerate() {
        match job {
            Ok(job) => {
                let (permits, future) = (Arc::clone(&permits), work(Arc::clone(job), Arc::clone(io)));
                running.spawn(async move {
                    let _permit = permits.acquire_owned().await;
                    (index, future.await)
                });
                results.push(Err(Failure::bug()));
            }
            Err(failure) => results.push(Err(failure.clone())),
        }
    }
    // A job that panicked stays what it was filled with: a bug.
    while let Some(ended) = running.join_next().await {
        if let Ok((index, result)) = ended {
            results[index] = result;
        }
    }
    jobs.iter().zip(results).map(|((name, target, _), result)| (name.clone(), *target, result)).collect()
}

fn report(command: &str, as_json: bool, layers: Vec<Ended>, functions: Vec<Ended>, ui: &Ui) -> Code {
    let mut code = Code::Success;
    ui.events().finish();
    let several = layers.len() + functions.len() > 1;
    let mut texts = Vec::new();
    let mut told = |ended: Vec<Ended>| -> Vec<Row> {
        let rows = ended.into_iter().map(|(name, target, result)| {
            let result = match result {
                Ok(done) => {
                    for note in &done.notes {
                        ui.note(note);
                    }
                    if !as_json {
                        texts.push((done.text)(ui));
                    }
                    Ok(done.json)
                }
                Err(mut failure) => {
                    if several {
                        failure.message = format!("`{name}` for {target}: {}", failure.message);
                    }
                    ui.failure(&failure);
                    if code == Code::Success {
                        code = failure.code();
                    }
                    Err(failure)
                }
            };
            Row { name, target, result }
        });
        rows.collect()
    };
    let (layers, functions) = (told(layers), told(functions));
    let written = if as_json {
        ui.data(&json::matrix(command, &layers, &functions, &ui.warnings()))
    } else {
        ui.summary(&texts.join("\n"))
    };
    if let Err(error) = written {
        let failure = Failure::system("failed to write to stdout", &error);
        ui.failure(&failure);
        return failure.code();
    }
    code
}

/// What a layer's specification means as inputs.
fn inputs(layer: &LayerSpec, dir: &Path, flags: &IndexOptions, context: &Context<'_>) -> Result<Inputs, Failure> {
    let environment = context.environment;
    let wanted = Wanted { extras: layer.extras.clone(), groups: layer.groups.clone() };
    let variables = |name: &str| environment.text(name).map(str::to_owned);
    let found = match &layer.input {
        InputSpec::Discover(dir) => discover(dir, &wanted, &variables),
        InputSpec::Given { files, packages } => from_given(dir, files, packages, &wanted, &variables),
    }?;
    for warning in &found.warnings {
        context.ui.warning(warning);
    }
    for detail in &found.details {
        context.ui.detail(detail);
    }
    let mut inputs = found.inputs;
    inputs.compile = layer.compile.clone();
    inputs.indexes = layered(flags.clone(), inputs.indexes, &environment.surroundings(&inputs.dir)?)?;
    Ok(inputs)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use layerwise::error::Kind;
    use layerwise::event::Silent;
    use layerwise::input::Source;
    use layerwise::model::CompilePolicy;

    use super::*;

    fn io(cache_dir: &Path) -> Arc<Io> {
        let settings = IoSettings {
            cache_dir: cache_dir.to_owned(),
            offline: true,
            refresh: false,
            now: SystemTime::UNIX_EPOCH,
            uv: None,
            child_env: Vec::new(),
            netrc: None,
            ca_files: Vec::new(),
            programs: layerwise::io::Programs::default(),
            keyring: None,
            concurrency: 1,
            http_timeout: Duration::from_secs(1),
            events: Arc::new(Silent),
            consent: Arc::new(Silent),
        };
        Arc::new(Io::new(settings).unwrap())
    }

    fn planned(name: &str) -> Planned {
        let target = Target::new("python3.12", "x86_64", "2026-11-24").unwrap();
        let source = Source::Open { requirements: Vec::new(), constraints: Vec::new() };
        let job = Job {
            name: name.to_owned(),
            target,
            inputs: Inputs {
                dir: "/p".into(),
                label: "-p".to_owned(),
                source,
                indexes: IndexOptions::default(),
                compile: CompilePolicy::default(),
            },
            lock_file: "/p/pylock.toml".into(),
            assemble: layerwise::assemble::Options::default(),
            exclude_runtime_packages: false,
            output: "/p/layer.zip".into(),
            check: true,
            allow: Vec::new(),
            files: Vec::new(),
            environment: BTreeMap::new(),
            engine: layerwise::model::Engine::default(),
        };
        (name.to_owned(), target, Ok(Arc::new(job)))
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_failure_or_panic_stops_nobody_and_order_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut jobs: Vec<Planned> = ["slow", "fails", "panics", "quick"].map(planned).into();
        let unreadable = Failure { message: "unreadable".to_owned(), kind: Kind::Input, ..Failure::bug() };
        jobs.push(("unreadable".to_owned(), jobs[0].1, Err(unreadable)));
        let work = |job: Arc<Job>, _: Arc<Io>| async move {
            match job.name.as_str() {
                "slow" => tokio::time::sleep(Duration::from_millis(50)).await,
                "fails" => {
                    let failure = Failure::bug();
                    return Err(Failure { message: "failed".to_owned(), kind: Kind::Network, ..failure });
                }
                "panics" => panic!("on purpose"),
                _ => {}
            }
            Ok(Done { notes: Vec::new(), json: Value::Null, text: Box::new(|_| String::new()), built: None })
        };
        let results = at_once(&jobs, &io(dir.path()), &work).await;
        let ended: BTreeMap<&str, Option<Kind>> =
            results.iter().map(|(name, _, result)| (name.as_str(), result.as_ref().err().map(|f| f.kind))).collect();
        let names: Vec<&str> = results.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, ["slow", "fails", "panics", "quick", "unreadable"]);
        assert_eq!((ended["slow"], ended["quick"]), (None, None));
        assert_eq!((ended["fails"], ended["panics"]), (Some(Kind::Network), Some(Kind::Internal)));
        assert_eq!(ended["unreadable"], Some(Kind::Input));
    }
}
