//! What is imported, from where it is reached, and what is not there.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use super::facts::Content;
use super::finding::{Finding, Miss, Problem, Severity};
use super::policy::{self, Stdlib};
use super::python::{Import, Problem as Trouble, PythonFacts, When};
use super::world::{Form, Module, World};

/// What is certainly imported, and what somebody may import.
#[derive(Debug)]
pub(super) struct Reach {
    /// Of each file: whether it is imported for certain once a root is, and by which file (itself: it is a root).
    pub certain: Vec<Option<usize>>,
    /// Of the names that matter (compiled modules, the SDK) those that appear in some import, certain or not.
    pub named: HashSet<String>,
    /// Those of them that a module at the top of the path certainly imports, now or in a function, and so do those that
    /// it imports.
    pub wanted: HashSet<String>,
    /// What is imported for certain and is not there: file, import, the name that misses, why.
    misses: Vec<Missed>,
    /// The roots are the handler's module alone.
    from_handler: bool,
}

#[derive(Debug)]
struct Missed {
    by: usize,
    line: u32,
    name: String,
    why: Miss,
}

/// What a name leads to.
enum Resolved {
    Module(Module),
    Namespace,
    /// The runtime's own, or something whose insides are not known: no more to follow.
    Elsewhere,
    Missing(Miss),
}

/// Follows imports from the handler's module, or, without one, from every module at the top of the path.
pub(super) fn reach(world: &World<'_>, handler_module: Option<&str>) -> Reach {
    let mut reach = Reach {
        certain: vec![None; world.files.len()],
        named: HashSet::new(),
        wanted: wanted(world),
        misses: Vec::new(),
        from_handler: handler_module.is_some(),
    };
    let asked = asked_for(world);
    // What is asked for and its parents in one map: of a hundred imports one is of these.
    let mut parents: HashMap<&str, bool> = asked.iter().map(|name| (name.as_str(), false)).collect();
    parents.extend(asked.iter().filter_map(|name| Some((name.rsplit_once('.')?.0, true))));
    for (name, module) in &world.modules {
        for import in python(world, module.file).map(|facts| facts.imports.as_slice()).unwrap_or_default() {
            let Some(base) = absolute(name, module, import) else { continue };
            let Some(is_parent) = parents.get(base.as_ref()) else { continue };
            if *is_parent {
                let children = import.names.iter().map(|part| child(&base, part));
                reach.named.extend(children.filter(|name| asked.contains(name)));
            }
            if asked.contains(base.as_ref()) {
                reach.named.insert(base.into_owned());
            }
        }
    }
    let mut queue = VecDeque::new();
    let roots: Vec<String> = match handler_module {
        Some(name) => vec![name.to_owned()],
        None => world.top_modules(),
    };
    for name in roots {
        for prefix in prefixes(&name) {
            if let Some(module) = world.modules.get(prefix) {
                enter(&mut reach, &mut queue, prefix, module.file, module.file);
            }
        }
    }
    while let Some((name, file)) = queue.pop_front() {
        let (Some(module), Some(facts)) = (world.modules.get(&name), python(world, file)) else { continue };
        for import in &facts.imports {
            if !holds(import.when, world.target.runtime.minor) {
                continue;
            }
            let Some(base) = absolute(&name, module, import) else { continue };
            follow(world, &mut reach, &mut queue, &From { name: &name, file, import }, &base);
        }
    }
    reach
}

/// The names that anybody asks [`Reach::named`] for: compiled modules, what is named like one, and the SDK. There are few
/// of them, and a hundred times as many imports.
fn asked_for(world: &World<'_>) -> HashSet<String> {
    let compiled = world.modules.iter().filter(|(_, module)| module.form == Form::Extension);
    let mut asked: HashSet<String> = compiled.map(|(name, _)| name.clone()).collect();
    asked.extend(world.unloadable.iter().map(|unloadable| unloadable.module.clone()));
    asked.extend(["boto3", "botocore", "s3transfer"].map(str::to_owned));
    for placed in world.files.iter().filter(|placed| matches!(placed.file.content, Content::NotElf(_))) {
        asked.extend(dotted_library(&placed.at));
    }
    asked
}

/// The module that a file `x.so` would be, if it were one.
pub(super) fn dotted_library(at: &str) -> Option<String> {
    let inside = ["/var/task/", "/opt/python/"].iter().find_map(|root| at.strip_prefix(root))?;
    Some(inside.strip_suffix(".so")?.replace('/', "."))
}

/// Only modules of other Pythons are asked for.
fn wanted(world: &World<'_>) -> HashSet<String> {
    let mut wanted: HashSet<String> = HashSet::new();
    if world.unloadable.is_empty() {
        return wanted;
    }
    // What is below a namespace is at the top, too.
    let is_top = |name: &&String| !prefixes(name).any(|prefix| prefix != *name && world.modules.contains_key(prefix));
    let mut queue: Vec<String> = world.modules.keys().filter(is_top).cloned().collect();
    while let Some(name) = queue.pop() {
        let Some(module) = world.modules.get(&name) else { continue };
        for import in python(world, module.file).map(|facts| facts.imports.as_slice()).unwrap_or_default() {
            let runs = import.when == When::Deferred || holds(import.when, world.target.runtime.minor);
            let Some(base) = absolute(&name, module, import).filter(|_| runs) else { continue };
            let names = prefixes(&base).map(str::to_owned);
            for name in names.chain(import.names.iter().map(|part| child(&base, part))) {
                if wanted.insert(name.clone()) {
                    queue.push(name);
                }
            }
        }
    }
    wanted
}

/// An import statement that is being followed.
struct From<'a> {
    name: &'a str,
    file: usize,
    import: &'a Import,
}

fn follow(world: &World<'_>, reach: &mut Reach, queue: &mut VecDeque<(String, usize)>, from: &From<'_>, base: &str) {
    for prefix in prefixes(base) {
        match resolve(world, prefix) {
            Resolved::Module(module) => enter(reach, queue, prefix, module.file, from.file),
            Resolved::Namespace => {}
            Resolved::Elsewhere => return,
            Resolved::Missing(why) => {
                if !uncertain(world, from.name, prefix) {
                    reach.misses.push(Missed { by: from.file, line: from.import.line, name: prefix.to_owned(), why });
                }
                return;
            }
        }
    }
    // Most names are attributes, so the dotted name is made in one buffer.
    let mut full = child(base, "");
    let stem = full.len();
    for name in &from.import.names {
        full.truncate(stem);
        full.push_str(name);
        if let Some(module) = world.modules.get(&full) {
            enter(reach, queue, &full, module.file, from.file);
        } else if world.is_unloadable(&full) && !uncertain(world, from.name, &full) {
            // An attribute of that name is possible, an extension module beside it is likelier.
            let name = full.clone();
            reach.misses.push(Missed { by: from.file, line: from.import.line, name, why: Miss::Unloadable });
        }
    }
}

fn enter(reach: &mut Reach, queue: &mut VecDeque<(String, usize)>, name: &str, file: usize, by: usize) {
    if reach.certain[file].is_none() {
        reach.certain[file] = Some(by);
        queue.push_back((name.to_owned(), file));
    }
}

/// What Python finds under a dotted name whose parents have been found.
fn resolve(world: &World<'_>, name: &str) -> Resolved {
    if let Some(module) = world.modules.get(name) {
        return Resolved::Module(*module);
    }
    if world.namespaces.contains(name) {
        return Resolved::Namespace;
    }
    let minor = world.target.runtime.minor;
    if name.contains('.') {
        // The parent is a module of an artifact, or it would have been `Elsewhere`.
        return Resolved::Missing(if world.is_unloadable(name) { Miss::Unloadable } else { Miss::Submodule });
    }
    match policy::stdlib(name, minor) {
        Stdlib::Here => return Resolved::Elsewhere,
        Stdlib::Removed { .. } | Stdlib::Later { .. } | Stdlib::OtherSystem | Stdlib::Never => {}
    }
    if policy::runtime_provides(world.target.runtime, name) {
        return Resolved::Elsewhere;
    }
    if world.is_unloadable(name) {
        return Resolved::Missing(Miss::Unloadable);
    }
    Resolved::Missing(match policy::stdlib(name, minor) {
        Stdlib::Later { since } => Miss::Later { since },
        Stdlib::OtherSystem => Miss::OtherSystem,
        _ if matches!(name, "pkg_resources" | "setuptools") => Miss::Setuptools,
        _ => Miss::Nowhere,
    })
}

/// Whether a miss may be made good by code: one of the packages around it changes what the import system does.
fn uncertain(world: &World<'_>, importer: &str, missing: &str) -> bool {
    let touches = |name: &str| {
        let module = world.modules.get(name);
        module.is_some_and(|module| match python(world, module.file) {
            Some(facts) => facts.machinery || facts.problem.is_some(),
            // Compiled code and bytecode: nobody knows.
            None => true,
        })
    };
    prefixes(importer).any(touches) || prefixes(missing).any(|prefix| prefix != missing && touches(prefix))
}

/// `a`, `a.b`, `a.b.c`.
fn prefixes(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('.').map(|(at, _)| &name[..at]).chain(std::iter::once(name))
}

fn child(base: &str, name: &str) -> String {
    if base.is_empty() { name.to_owned() } else { format!("{base}.{name}") }
}

/// The absolute name of the module that an import statement of the module `name` begins with; `None` where its dots
/// lead out of the package.
fn absolute<'i>(name: &str, module: &Module, import: &'i Import) -> Option<Cow<'i, str>> {
    if import.level == 0 {
        return Some(Cow::Borrowed(&import.module));
    }
    let mut base = name;
    let up = usize::from(import.level) - usize::from(module.is_package);
    for _ in 0..up {
        base = base.rsplit_once('.')?.0;
    }
    Some(Cow::Owned(if import.module.is_empty() { base.to_owned() } else { child(base, &import.module) }))
}

fn holds(when: When, minor: u8) -> bool {
    match when {
        When::Always { from, until } => (from..until).contains(&minor),
        When::Guarded | When::Deferred => false,
    }
}

fn python<'a>(world: &World<'a>, file: usize) -> Option<&'a PythonFacts> {
    match world.files[file].file.content {
        Content::Python(facts) => Some(facts),
        _ => None,
    }
}

impl Reach {
    /// How the file comes to be imported: file names from the root to it, at most five of them.
    pub(super) fn chain(&self, world: &World<'_>, file: usize) -> Vec<String> {
        const LONGEST: usize = 5;
        let mut chain = vec![file];
        let mut at = file;
        while let Some(by) = self.certain[at].filter(|by| *by != at && chain.len() < 1000) {
            chain.push(by);
            at = by;
        }
        chain.reverse();
        let mut shown: Vec<String> = chain.iter().map(|file| world.files[*file].at.clone()).collect();
        if shown.len() > LONGEST {
            shown.splice(2..shown.len() - 2, ["…".to_owned()]);
        }
        shown
    }
}

/// The findings about imports and about Python that cannot be read.
pub(super) fn check(world: &World<'_>, reach: &Reach) -> Vec<Finding> {
    let mut findings = Vec::new();
    // One sentence for each name that misses in a package, not one for each file that wants it.
    let mut told: BTreeMap<(Option<String>, String), ()> = BTreeMap::new();
    for missed in &reach.misses {
        let placed = &world.files[missed.by];
        let package = placed.owner.as_ref().map(ToString::to_string);
        let artifact = &world.subject.artifacts[placed.artifact];
        // What a lone wheel requires is elsewhere; what it should hold itself is not.
        let elsewhere = artifact.is_wheel && matches!(missed.why, Miss::Nowhere);
        // The extension module itself is told about.
        let told_elsewhere = matches!(missed.why, Miss::Unloadable);
        if elsewhere || told_elsewhere || told.insert((package, missed.name.clone()), ()).is_some() {
            continue;
        }
        let chain = reach.chain(world, missed.by);
        let line = missed.line;
        let problem = match policy::stdlib(&missed.name, world.target.runtime.minor) {
            Stdlib::Removed { last } => Problem::ImportRemoved {
                module: missed.name.clone(),
                line,
                chain,
                last,
                replacement: policy::replacement(&missed.name).map(str::to_owned),
            },
            _ => Problem::ImportMissing { module: missed.name.clone(), line, chain, why: missed.why.clone() },
        };
        let severity = if reach.from_handler { Severity::Error } else { Severity::Note };
        findings.push(world.finding(severity, missed.by, problem));
    }
    for (name, module) in &world.modules {
        let Some(facts) = python(world, module.file) else { continue };
        let minor = world.target.runtime.minor;
        let reached = reach.certain[module.file].is_some();
        let problem = match &facts.problem {
            Some(Trouble::Syntax { line, message }) => {
                Problem::PythonSyntax { line: *line, message: message.clone(), module: Some(name.clone()) }
            }
            Some(other) => Problem::PythonUnread { why: unread(other) },
            None => match facts.needs_minor.filter(|needs| *needs > minor) {
                Some(needs) => Problem::PythonSyntax {
                    line: 0,
                    message: format!("it is written for Python 3.{needs} or later"),
                    module: Some(name.clone()),
                },
                None => continue,
            },
        };
        let severity = match (&problem, reached) {
            (Problem::PythonSyntax { .. }, true) => Severity::Error,
            _ => Severity::Note,
        };
        findings.push(world.finding(severity, module.file, problem));
    }
    findings
}

fn unread(trouble: &Trouble) -> String {
    match trouble {
        Trouble::Syntax { message, .. } => message.clone(),
        Trouble::Encoding { name } => format!("its encoding `{name}` is not known"),
        Trouble::TooLarge => format!("it is larger than {} bytes", super::python::LARGEST_SOURCE),
        Trouble::TooDeep => "it nests deeper than Python compiles".to_owned(),
    }
}

/// The module of a handler `a/b.c.f`, or what awslambdaric says of it.
///
/// Source: awslambdaric 4.2.2, `bootstrap.py`, `_get_handler`.
pub(super) fn handler(world: &World<'_>, handler: &str) -> Result<String, Finding> {
    let refused = |error_type: &str, message: String| refused(handler, error_type, message);
    let Some((module, _)) = handler.rsplit_once('.') else {
        let message = format!("Bad handler '{handler}': not enough values to unpack (expected 2, got 1)");
        return Err(refused("Runtime.MalformedHandlerName", message));
    };
    let name = module.replace('/', ".");
    if policy::is_builtin(&name) {
        let message = format!("Cannot use built-in module {module} as a handler module");
        return Err(refused("Runtime.BuiltInModuleConflict", message));
    }
    let missing = prefixes(&name).find(|prefix| !world.has_module(prefix));
    match missing {
        None => Ok(name),
        Some(prefix) if policy::runtime_provides(world.target.runtime, prefix) => Ok(name),
        Some(prefix) => {
            let message = format!("Unable to import module '{module}': No module named '{prefix}'");
            Err(refused("Runtime.ImportModuleError", message))
        }
    }
}

/// What awslambdaric says once the handler's module is imported, if that surely has no such attribute: its source never
/// binds it, and no submodule is called so.
pub(super) fn handler_attribute(world: &World<'_>, handler: &str, name: &str) -> Option<Finding> {
    let (module, attribute) = handler.rsplit_once('.')?;
    let facts = world.modules.get(name).and_then(|module| python(world, module.file))?;
    let lacks = facts.never_binds(attribute) && !world.has_module(&format!("{name}.{attribute}"));
    let message = format!("Handler '{attribute}' missing on module '{module}'");
    lacks.then(|| refused(handler, "Runtime.HandlerNotFound", message))
}

fn refused(handler: &str, error_type: &str, message: String) -> Finding {
    Finding {
        severity: Severity::Error,
        artifact: String::new(),
        file: None,
        at: None,
        package: None,
        problem: Problem::Handler { handler: handler.to_owned(), error_type: error_type.to_owned(), message },
    }
}

impl World<'_> {
    /// A finding about a file.
    pub(super) fn finding(&self, severity: Severity, file: usize, problem: Problem) -> Finding {
        let placed = &self.files[file];
        Finding {
            severity,
            artifact: self.label(file).to_owned(),
            file: Some(placed.file.path.to_owned()),
            at: Some(placed.at.clone()),
            package: placed.owner.clone(),
            problem,
        }
    }

    /// A finding about the whole.
    pub(super) fn overall(&self, severity: Severity, problem: Problem) -> Finding {
        let artifact = match self.subject.artifacts.as_slice() {
            [only] => only.label.clone(),
            _ => String::new(),
        };
        Finding { severity, artifact, file: None, at: None, package: None, problem }
    }
}
