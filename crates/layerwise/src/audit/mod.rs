//! Would it work on Lambda? Artifacts + target → findings. Pure.
//!
//! Three layers: facts ([`facts`], read from bytes, independent of any target), policy (`policy`, what the runtimes
//! are, as data), and rules that judge the one by the other. The words belong to the CLI.

use std::collections::BTreeMap;

use crate::model::{PackageName, Target};

pub mod allow;
pub mod dist;
pub mod elf;
pub mod facts;
pub mod finding;
pub mod policy;
pub mod python;
pub mod subject;

mod dists;
mod imports;
mod layout;
mod native;
mod world;

#[cfg(test)]
mod tests;

pub use allow::Allowance;
pub use finding::{Finding, Problem, Rule, Severity};
pub use subject::{Artifact, File, Modified, Role, Subject};
use world::World;

/// What an audit found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// For what it was judged.
    pub target: Target,
    /// Worst first, then by rule, package and file.
    pub findings: Vec<Finding>,
    /// What was found and is allowed, with the reason.
    pub allowed: Vec<(Finding, String)>,
    /// Unpacked bytes of each distribution, or of each top-level name that is of none; largest first.
    pub sizes: Vec<(String, u64)>,
    /// Of all files of all artifacts, in bytes.
    pub unzipped_bytes: u64,
    /// How many files there are.
    pub files: usize,
    /// The modules at the top of the path: what `--run` imports.
    pub modules: Vec<String>,
}

impl Report {
    /// How many findings of this severity there are.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// Whether it would not work.
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// Adds findings of another kind of check, and takes out what is allowed.
    pub fn add(&mut self, findings: impl IntoIterator<Item = Finding>) {
        self.findings.extend(findings);
        sort(&mut self.findings);
    }

    /// Takes out what `allowances` allow; one that matches nothing is a finding itself.
    pub fn allow(&mut self, allowances: &[Allowance]) {
        let (kept, allowed) = allow::apply(std::mem::take(&mut self.findings), allowances);
        self.findings = kept;
        self.allowed.extend(allowed);
        sort(&mut self.findings);
    }
}

/// Judges `subject` for `target`.
pub fn audit(subject: &Subject<'_>, target: Target) -> Report {
    let world = World::new(subject, target);
    let mut findings = Vec::new();
    let handler = subject.handler.map(|handler| imports::handler(&world, handler));
    let handler_module = match handler {
        Some(Ok(module)) => Some(module),
        Some(Err(finding)) => {
            findings.push(finding);
            None
        }
        None => None,
    };
    let attribute = subject.handler.zip(handler_module.as_deref());
    findings.extend(attribute.and_then(|(handler, module)| imports::handler_attribute(&world, handler, module)));
    let reach = imports::reach(&world, handler_module.as_deref());
    findings.extend(layout::check(&world));
    findings.extend(native::check(&world, &reach));
    findings.extend(imports::check(&world, &reach));
    findings.extend(dists::check(&world, &reach));
    sort(&mut findings);
    Report {
        target,
        findings,
        allowed: Vec::new(),
        sizes: sizes(&world),
        unzipped_bytes: subject.artifacts.iter().flat_map(|artifact| &artifact.files).map(|file| file.size).sum(),
        files: subject.artifacts.iter().map(|artifact| artifact.files.len()).sum(),
        modules: world.top_modules(),
    }
}

fn sort(findings: &mut [Finding]) {
    findings.sort_by(|a, b| {
        let key = |finding: &Finding| (finding.severity, finding.rule(), finding.package.clone());
        key(a).cmp(&key(b)).then_with(|| (&a.artifact, &a.file).cmp(&(&b.artifact, &b.file)))
    });
}

/// Unpacked bytes by distribution, largest first.
fn sizes(world: &World<'_>) -> Vec<(String, u64)> {
    let mut sizes: BTreeMap<&str, u64> = BTreeMap::new();
    for placed in &world.files {
        let name = placed.owner.as_ref().map_or_else(|| top_name(&placed.at), PackageName::as_str);
        *sizes.entry(name).or_default() += placed.file.size;
    }
    let mut sizes: Vec<(String, u64)> = sizes.into_iter().map(|(name, size)| (name.to_owned(), size)).collect();
    sizes.sort_by(|a, b| (b.1, &a.0).cmp(&(a.1, &b.0)));
    sizes
}

/// The first name below the search path: `index.py`, `data`.
fn top_name(at: &str) -> &str {
    let inside = ["/var/task/", "/opt/python/", "/opt/"].iter().find_map(|root| at.strip_prefix(root)).unwrap_or(at);
    inside.split('/').next().unwrap_or(inside)
}
