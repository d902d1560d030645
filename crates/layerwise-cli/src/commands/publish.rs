//! `layerwise publish`, and what it shares with `layerwise promote`: artifacts × regions, the receipt, and what is said
//! of a part that failed.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use layerwise::audit::Severity;
use layerwise::config::{LayerName, PublishSpec, PublishedName};
use layerwise::error::Kind;
use layerwise::model::{Sha256, Target};
use layerwise::pipeline::{self, Built, LockPolicy};
use layerwise_aws::plan::{DESCRIPTION_CHARS, LICENCE_CHARS, clipped};
use layerwise_aws::{Artifact, AwsError, Client, Done, Outcome, Patience, Settings, Share, Storage, Wanted};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::build::Prepared;
use super::{Context, build};
use crate::args::{BuildArgs, CheckArgs, PublishArgs, RoleName};
use crate::env::Environment;
use crate::exit::{self, Code};
use crate::settings;
use crate::ui::error::Failure;
use crate::ui::{human, json};

/// A layer to publish, and what it was made of.
pub(super) struct Publication {
    pub(super) wanted: Wanted,
    pub(super) artifact: Artifact,
    /// For the receipt.
    pub(super) inputs: Value,
}

/// What `publish` and `promote` are told alike.
pub(super) struct Order<'a> {
    pub(super) command: &'static str,
    pub(super) regions: Vec<String>,
    pub(super) profile: Option<String>,
    pub(super) receipt: Option<&'a Path>,
    pub(super) force: bool,
    pub(super) dry_run: bool,
    pub(super) json: bool,
}

pub(super) fn run(args: &PublishArgs, context: &Context<'_>) -> Result<Code, Failure> {
    if let Some(receipt) = &args.rollback {
        return rollback(args, receipt, context);
    }
    let path = context.environment.dir.join(&args.input.dir);
    let is_zip = path.is_file();
    let dir = if is_zip { context.environment.dir.clone() } else { path };
    let spec = merged(args, &settings::config(&dir)?.publish)?;
    let order = Order {
        command: "publish",
        regions: spec.regions.clone(),
        profile: spec.profile.clone(),
        receipt: args.receipt.as_deref(),
        force: args.force,
        dry_run: args.dry_run,
        json: args.input.json,
    };
    finish(&order, context, async {
        let publications =
            if is_zip { from_zip(args, &spec, context).await } else { from_project(args, &spec, context).await }?;
        carry_out(&order, publications, context).await
    })
}

/// Runs `work` until it ends or is stopped; a failure before anything was published still is a document.
pub(super) fn finish(
    order: &Order<'_>,
    context: &Context<'_>,
    work: impl Future<Output = Result<Code, Failure>>,
) -> Result<Code, Failure> {
    let mut failed = None;
    let ended = exit::block_on_to_the_end(async {
        match work.await {
            Ok(code) => code,
            Err(failure) => {
                let code = failure.code();
                failed = Some(failure);
                code
            }
        }
    });
    context.ui.events().finish();
    let code = ended.map_err(|error| Failure::system("failed to start", &error))?;
    match failed {
        Some(failure) => {
            if order.json {
                context.answer(&json::failed(order.command, &failure, &context.ui.warnings()))?;
            }
            Err(failure)
        }
        None => Ok(code),
    }
}

fn usage(message: impl Into<String>, hint: &str) -> Failure {
    Failure { kind: Kind::Usage, message: message.into(), hints: vec![hint.to_owned()], ..Failure::bug() }
}

/// Flags over the configuration.
fn merged(args: &PublishArgs, file: &PublishSpec) -> Result<PublishSpec, Failure> {
    let keep = args.prune.and_then(|keep| usize::try_from(keep.get()).ok());
    let name = args.layer_name.as_deref().map(PublishedName::new).transpose()?;
    Ok(PublishSpec {
        regions: if args.regions.is_empty() { file.regions.clone() } else { args.regions.clone() },
        profile: args.profile.clone().or_else(|| file.profile.clone()),
        name: name.unwrap_or_else(|| file.name.clone()),
        bucket: args.bucket.clone().or_else(|| file.bucket.clone()),
        prefix: args.prefix.clone().unwrap_or_else(|| file.prefix.clone()),
        reference: args.by_reference || file.reference,
        share: if args.share.is_empty() { file.share.clone() } else { args.share.clone() },
        description: args.description.clone().or_else(|| file.description.clone()),
        licence: args.license.clone().or_else(|| file.licence.clone()),
        keep: keep.or(file.keep),
    })
}

fn wanted(
    args: &PublishArgs,
    spec: &PublishSpec,
    name: LayerName,
    targets: &[Target],
    context: &Context<'_>,
) -> Result<Wanted, Failure> {
    let mut wanted = Wanted::new(name);
    for target in targets {
        let (runtime, architecture) = (target.runtime.name.clone(), target.architecture.aws().to_owned());
        if !wanted.runtimes.contains(&runtime) {
            wanted.runtimes.push(runtime);
        }
        if !wanted.architectures.contains(&architecture) {
            wanted.architectures.push(architecture);
        }
    }
    let clip = |what: &str, text: &Option<String>, most: usize| {
        let (text, cut) = clipped(text.as_deref()?, most);
        if cut {
            context.ui.note(&format!("the {what} is cut off after {most} characters, which is all that AWS takes"));
        }
        Some(text)
    };
    wanted.description = clip("description", &spec.description, DESCRIPTION_CHARS);
    wanted.licence = clip("licence", &spec.licence, LICENCE_CHARS);
    wanted.share = shares(&spec.share)?;
    wanted.storage = spec.bucket.as_ref().map(|bucket| Storage {
        bucket: bucket.clone(),
        prefix: spec.prefix.clone(),
        reference: spec.reference,
    });
    if spec.reference && wanted.storage.is_none() {
        return Err(usage("storing by reference needs a bucket", "name one with `--bucket`"));
    }
    wanted.force = args.force;
    wanted.keep = spec.keep;
    wanted.functions.clone_from(&args.functions);
    Ok(wanted)
}

pub(super) fn shares(texts: &[String]) -> Result<Vec<Share>, Failure> {
    let parsed = texts.iter().map(|text| text.parse()).collect::<Result<_, layerwise_aws::plan::InvalidShare>>();
    parsed.map_err(|error| usage(error.to_string(), "such as `--share 123456789012`"))
}

/// Builds every artifact of the project; all of them have to be good before one is published.
async fn from_project(
    args: &PublishArgs,
    spec: &PublishSpec,
    context: &Context<'_>,
) -> Result<Vec<Publication>, Failure> {
    let build_args =
        BuildArgs { input: args.input.clone(), locked: args.locked, no_check: args.no_check, ..BuildArgs::default() };
    let Prepared { jobs, io, .. } = build::prepare(&args.input, Some(&build_args), context)?;
    let policy = if args.locked { LockPolicy::Insist } else { LockPolicy::Use };
    let mut publications: Vec<Publication> = Vec::new();
    for (layer, target, job) in jobs {
        let name = spec.name.name(&layer, &target).map_err(|error| usage(error.to_string(), "see `--layer-name`"))?;
        if publications.iter().any(|other| other.wanted.name == name) {
            return Err(usage(
                format!("the layer `{name}` would be published twice: {target} is not the only target"),
                "tell them apart with `--layer-name '{name}-{runtime}-{architecture}'`, or pick one with `--runtime`, \
                 `--arch` and `--layer`",
            ));
        }
        let wanted = wanted(args, spec, name, &[target], context)?;
        let job = job?;
        let built = pipeline::build(&job, policy, &io);
        let built = tokio::select! {
            built = built => built.map_err(|error| build::failure(error, None, &context.ui.page))?,
            code = exit::stopped() => return Err(stopped(code)),
        };
        for note in human::notes(&built) {
            context.ui.note(&note);
        }
        let artifact = Artifact {
            path: built.output.clone(),
            sha256: built.sha256,
            zipped_bytes: built.zipped_bytes,
            unzipped_bytes: built.unzipped_bytes,
        };
        publications.push(Publication { wanted, artifact, inputs: inputs(&built) });
    }
    Ok(publications)
}

fn inputs(built: &Built) -> Value {
    let package = |package: &pipeline::BuiltPackage| json!({ "name": package.name, "version": package.version, "wheel": package.wheel, "sha256": package.sha256 });
    json!({ "packages": built.packages.iter().map(package).collect::<Vec<_>>() })
}

/// Stopped before anything was published.
fn stopped(code: Code) -> Failure {
    Failure { kind: Kind::System, message: format!("{}; nothing was published", code.word()), ..Failure::bug() }
}

/// A zip that is there: checked as `layerwise check` would.
async fn from_zip(args: &PublishArgs, spec: &PublishSpec, context: &Context<'_>) -> Result<Vec<Publication>, Failure> {
    let check_args = CheckArgs {
        artifact: args.input.dir.clone(),
        role: Some(RoleName::Layer),
        runtimes: args.input.runtimes.clone(),
        architectures: args.input.architectures.clone(),
        ..CheckArgs::default()
    };
    let (check, targets) = settings::check(&check_args, context.environment, &context.today())?;
    let name = match (&args.input.name, targets.first()) {
        (Some(name), Some(target)) => spec.name.name(name, target),
        (None, Some(target)) if !spec.name.needs_name() => spec.name.name("", target),
        _ => return Err(usage("a zip does not say what the layer is called", "pass `--name NAME`")),
    };
    let name = name.map_err(|error| usage(error.to_string(), "pass another `--name`"))?;
    let wanted = wanted(args, spec, name, &targets, context)?;
    let checked = pipeline::check(&check, &targets, context.ui.events().as_ref()).await?;
    if let Some(checked) = checked.iter().find(|checked| checked.report.has_errors() && !args.no_check) {
        let report = Box::new(checked.report.clone());
        return Err(build::failure(
            pipeline::Error::Findings { name: wanted.name.to_string(), report },
            None,
            &context.ui.page,
        ));
    }
    for checked in &checked {
        let warnings = checked.report.count(Severity::Warning);
        if warnings > 0 {
            context.ui.note(&format!("the check has {warnings} warnings: see `layerwise check`"));
        }
    }
    let unzipped_bytes = checked.iter().map(|checked| checked.report.unzipped_bytes).max().unwrap_or_default();
    let artifact = artifact(&context.environment.dir.join(&args.input.dir), unzipped_bytes)?;
    let inputs = json!({ "zip": args.input.dir });
    Ok(vec![Publication { wanted, artifact, inputs }])
}

/// A zip on disk, with its digest.
pub(super) fn artifact(path: &Path, unzipped_bytes: u64) -> Result<Artifact, Failure> {
    let failed = |error: &std::io::Error| Failure::system("failed to read the zip", error);
    let file = fs_err::File::open(path).map_err(|error| failed(&error))?;
    // Up to a size that could be a layer.
    let mut bytes = Vec::new();
    let limit = layerwise::model::limits::UNZIPPED_BYTES + (64 << 20);
    file.take(limit).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
    let zipped_bytes = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    Ok(Artifact { path: path.to_owned(), sha256: Sha256::of(&bytes), zipped_bytes, unzipped_bytes })
}

pub(super) fn client_settings(profile: Option<&str>, environment: &Environment) -> Settings {
    let profile = profile.map(str::to_owned);
    Settings { profile, endpoint: None, ca_files: environment.ca_files(), now: Environment::clock }
}

/// One region of one layer, and how it ended.
struct Ended {
    publication: usize,
    outcome: Outcome,
}

/// Publishes everything everywhere at once, writes the receipt, and says what happened.
pub(super) async fn carry_out(
    order: &Order<'_>,
    publications: Vec<Publication>,
    context: &Context<'_>,
) -> Result<Code, Failure> {
    let settings = client_settings(order.profile.as_deref(), context.environment);
    let mut clients = Vec::new();
    let regions: Vec<Option<&str>> =
        if order.regions.is_empty() { vec![None] } else { order.regions.iter().map(|r| Some(r.as_str())).collect() };
    for region in regions {
        let client = Client::connect(region, &settings).await?;
        if !clients.iter().any(|other: &Arc<Client>| other.region() == client.region()) {
            clients.push(Arc::new(client));
        }
    }
    let publications = Arc::new(publications);
    if order.dry_run {
        return dry_run(order, &publications, &clients, context).await;
    }
    // What was done stays known when the work is stopped.
    let journal: Arc<Mutex<Vec<(usize, String, Done)>>> = Arc::default();
    let mut running = JoinSet::new();
    for index in 0..publications.len() {
        for client in &clients {
            let (client, all, journal) = (Arc::clone(client), Arc::clone(&publications), Arc::clone(&journal));
            running.spawn(async move {
                let heard = move |region: &str, done: &Done| {
                    journal.lock().expect("no code panics while holding the lock").push((
                        index,
                        region.to_owned(),
                        done.clone(),
                    ));
                };
                let Publication { wanted, artifact, .. } = &all[index];
                let outcome = layerwise_aws::publish(&client, wanted, artifact, Patience::default(), &heard).await;
                Ended { publication: index, outcome }
            });
        }
    }
    let mut ended = Vec::new();
    let stopped = loop {
        tokio::select! {
            next = running.join_next() => match next {
                Some(Ok(one)) => ended.push(one),
                Some(Err(_)) => return Err(Failure::bug()),
                None => break None,
            },
            code = exit::stopped() => break Some(code),
        }
    };
    if stopped.is_some() {
        running.shutdown().await;
        for client in &clients {
            tokio::time::timeout(Duration::from_secs(5), client.abort_uploads()).await.ok();
        }
        unfinished(&publications, &clients, &journal, &mut ended);
    }
    let place = |one: &Ended| (one.publication, clients.iter().position(|c| c.region() == one.outcome.region));
    ended.sort_by_key(place);
    report(order, &publications, &ended, stopped, context)
}

/// What the journal says of regions that were stopped.
fn unfinished(
    publications: &[Publication],
    clients: &[Arc<Client>],
    journal: &Mutex<Vec<(usize, String, Done)>>,
    ended: &mut Vec<Ended>,
) {
    let journal = journal.lock().expect("no code panics while holding the lock");
    for publication in 0..publications.len() {
        for region in clients.iter().map(|client| client.region()) {
            if ended.iter().any(|one| one.publication == publication && one.outcome.region == region) {
                continue;
            }
            let ours = journal.iter().filter(|(index, at, _)| *index == publication && at == region);
            let done: Vec<Done> = ours.map(|(_, _, done)| done.clone()).collect();
            let arn = done.iter().find_map(|done| match done {
                Done::Kept { arn } | Done::Published { arn } => arn.parse().ok(),
                _ => None,
            });
            let left = vec!["stopped: the step under way may or may not have been done".to_owned()];
            ended.push(Ended {
                publication,
                outcome: Outcome { region: region.to_owned(), arn, done, left, error: None },
            });
        }
    }
}

async fn dry_run(
    order: &Order<'_>,
    publications: &[Publication],
    clients: &[Arc<Client>],
    context: &Context<'_>,
) -> Result<Code, Failure> {
    let mut text = String::new();
    let mut layers = Vec::new();
    for Publication { wanted, artifact, .. } in publications {
        let mut regions = Vec::new();
        for client in clients {
            let held = layerwise_aws::look(client, wanted).await?;
            let steps = layerwise_aws::plan(wanted, artifact, &held)?;
            text += &format!("{} in {}\n", wanted.name, client.region());
            for step in &steps {
                text += &format!("  would {step}\n");
            }
            let steps: Vec<String> = steps.iter().map(ToString::to_string).collect();
            regions.push(json!({ "region": client.region(), "steps": steps }));
        }
        layers.push(json!({ "name": wanted.name.as_str(), "sha256": artifact.sha256, "regions": regions }));
    }
    if order.json {
        let warnings = context.ui.warnings();
        text = json::print(&json!({
            "version": json::VERSION, "command": order.command, "ok": true, "dry_run": true, "layers": layers,
            "warnings": warnings,
        }));
    }
    context.answer(&text)
}

fn report(
    order: &Order<'_>,
    publications: &[Publication],
    ended: &[Ended],
    stopped: Option<Code>,
    context: &Context<'_>,
) -> Result<Code, Failure> {
    let failures: Vec<Failure> = ended.iter().filter_map(|one| failure(publications, one)).collect();
    let ok = failures.is_empty() && stopped.is_none();
    let document = document(order, publications, ended, ok, &context.ui.warnings());
    if let Some(path) = order.receipt {
        write(&context.environment.dir.join(path), &document)?;
    }
    if order.json {
        context.answer(&document)?;
    } else {
        let text: String = ended.iter().map(|one| summary(&publications[one.publication], &one.outcome)).collect();
        context.ui.summary(&text).map_err(|error| Failure::system("failed to write to stdout", &error))?;
    }
    for failure in &failures {
        context.ui.failure(failure);
    }
    if !ok {
        let undone = |one: &&Ended| one.outcome.error.is_some() || !one.outcome.left.is_empty();
        let undone: BTreeSet<&str> = ended.iter().filter(undone).map(|one| one.outcome.region.as_str()).collect();
        let done = ended.iter().filter(|one| one.outcome.error.is_none() && one.outcome.left.is_empty()).count();
        // What is forced would be published again: only where it is missing.
        let only = order.force.then_some(undone);
        context.ui.note(&format!(
            "{done} of {} were done; once the cause is gone, this continues and repeats nothing:\n  {}",
            ended.len(),
            command_line(context.environment, only.as_ref())
        ));
    }
    Ok(stopped.or_else(|| failures.first().map(Failure::code)).unwrap_or(Code::Success))
}

fn failure(publications: &[Publication], one: &Ended) -> Option<Failure> {
    let error = one.outcome.error.clone()?;
    let mut failure = Failure::from(error);
    let name = &publications[one.publication].wanted.name;
    failure.message = format!("`{name}` in {}: {}", one.outcome.region, failure.message);
    Some(failure)
}

fn document(order: &Order<'_>, publications: &[Publication], ended: &[Ended], ok: bool, warnings: &[String]) -> String {
    let layers = publications.iter().enumerate().map(|(index, Publication { wanted, artifact, inputs })| {
        let regions = ended.iter().filter(|one| one.publication == index).map(|one| {
            let Outcome { region, arn, done, left, error } = &one.outcome;
            let mut value = json!({
                "region": region,
                "ok": error.is_none() && left.is_empty(),
                "arn": arn.as_ref().map(layerwise_aws::LayerArn::as_str),
                "layer_arn": arn.as_ref().map(layerwise_aws::LayerArn::layer),
                "layer_version": arn.as_ref().map(layerwise_aws::LayerArn::version),
                "done": done,
                "left": left,
            });
            if let Some(failure) = failure(publications, one) {
                value["error"] = json::error(&failure);
            }
            value
        });
        json!({
            "name": wanted.name.as_str(),
            "sha256": artifact.sha256,
            "code_sha256": artifact.sha256.base64(),
            "zipped_bytes": artifact.zipped_bytes,
            "unzipped_bytes": artifact.unzipped_bytes,
            "runtimes": wanted.runtimes,
            "architectures": wanted.architectures,
            "inputs": inputs,
            "regions": regions.collect::<Vec<_>>(),
        })
    });
    let mut document = json!({
        "version": json::VERSION,
        "command": order.command,
        "ok": ok,
        "layers": layers.collect::<Vec<_>>(),
        "warnings": warnings,
    });
    if let Some(failure) = ended.iter().find_map(|one| failure(publications, one)) {
        document["error"] = json::error(&failure);
    }
    json::print(&document)
}

fn summary(publication: &Publication, outcome: &Outcome) -> String {
    let mut text = format!("{} in {}\n", publication.wanted.name, outcome.region);
    for done in &outcome.done {
        let line = match done {
            Done::Kept { arn } => format!("has these bytes already: {arn}"),
            Done::Uploaded { bucket, key, reused: true } => format!("was there already: s3://{bucket}/{key}"),
            Done::Uploaded { bucket, key, reused: false } => format!("uploaded   s3://{bucket}/{key}"),
            Done::Published { arn } => format!("published  {arn}"),
            Done::Shared { with, .. } => format!("shared     with {with}"),
            Done::Updated { function, .. } => format!("updated    the function {function}"),
            Done::Deleted { arn } => format!("deleted    {arn}"),
            Done::Spared { arn, used_by } => format!("kept       {arn}: used by {}", used_by.join(", ")),
        };
        text += &format!("  {line}\n");
    }
    for left in &outcome.left {
        text += &format!("  not done:  {left}\n");
    }
    text
}

/// The command line of this process, for a shell; if `only`, with these regions instead of its own.
fn command_line(environment: &Environment, only: Option<&BTreeSet<&str>>) -> String {
    let mut words: Vec<String> =
        environment.arguments().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    if let Some(only) = only {
        let mut is_value = false;
        words.retain(|word| {
            let keep = !(std::mem::take(&mut is_value) || word == "--region" || word.starts_with("--region="));
            is_value = word == "--region";
            keep
        });
        words.extend(only.iter().flat_map(|region| ["--region".to_owned(), (*region).to_owned()]));
    }
    let safe = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+%".contains(c);
    let quoted = words.into_iter().map(|word| {
        if !word.is_empty() && word.chars().all(safe) { word } else { format!("'{}'", word.replace('\'', "'\\''")) }
    });
    std::iter::once("layerwise".to_owned()).chain(quoted).collect::<Vec<_>>().join(" ")
}

/// Never half a receipt.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::system("failed to write the receipt", &error);
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// A receipt as it is read back.
pub(super) fn receipt(path: &Path) -> Result<Value, Failure> {
    let text = fs_err::read_to_string(path).map_err(|error| Failure {
        kind: Kind::Input,
        message: "failed to read the receipt".to_owned(),
        causes: vec![error.to_string()],
        ..Failure::bug()
    })?;
    let document: Value = serde_json::from_str(&text).unwrap_or_default();
    if document["version"] != json!(json::VERSION) || !document["layers"].is_array() {
        let message = format!("`{}` is not a receipt of version {}", path.display(), json::VERSION);
        return Err(Failure { kind: Kind::Input, message, ..Failure::bug() });
    }
    Ok(document)
}

/// Functions get back the layers that they had before a `publish`.
fn rollback(args: &PublishArgs, path: &Path, context: &Context<'_>) -> Result<Code, Failure> {
    let document = receipt(&context.environment.dir.join(path))?;
    let mut updates = Vec::new();
    for region in document["layers"].as_array().into_iter().flatten().flat_map(|layer| layer["regions"].as_array()) {
        for one in region {
            for done in one["done"].as_array().into_iter().flatten() {
                if let (Some(region), Ok(Done::Updated { function, before, after })) =
                    (one["region"].as_str(), serde_json::from_value(done.clone()))
                {
                    updates.push((region.to_owned(), function, before, after));
                }
            }
        }
    }
    if updates.is_empty() {
        let message = format!("the receipt `{}` says of no function that it was updated", path.display());
        return Err(Failure { kind: Kind::Input, message, ..Failure::bug() });
    }
    let settings = client_settings(args.profile.as_deref(), context.environment);
    let mut failed = None;
    let code = exit::block_on(async {
        for (region, function, before, after) in updates {
            let restored: Result<(), AwsError> = async {
                let client = Client::connect(Some(&region), &settings).await?;
                layerwise_aws::apply::update(&client, &function, &after, &before, Patience::default()).await
            }
            .await;
            match restored {
                Ok(()) => {
                    context.ui.summary(&format!("{function} in {region} has its former layers again\n")).ok();
                }
                Err(error) => {
                    let failure = Failure::from(error);
                    context.ui.failure(&failure);
                    failed.get_or_insert(failure.code());
                }
            }
        }
        failed.unwrap_or(Code::Success)
    });
    code.map_err(|error| Failure::system("failed to start", &error))
}
