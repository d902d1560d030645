//! The arrows of ARCHITECTURE.md: which module may use which.

use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};

/// Module → what it may use of the crate besides itself. `pipeline` may use everything.
const ALLOWED: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("event", &[]),
    ("model", &[]),
    ("config", &["assemble", "audit", "error", "model"]),
    ("input", &["error", "model"]),
    ("sdist", &["error", "model", "wheel"]),
    ("resolve", &["error", "event", "input", "io", "model", "sdist", "wheel"]),
    ("namespaces", &[]),
    ("compile", &["audit", "error", "event", "input", "io", "model", "namespaces", "resolve", "sdist", "wheel"]),
    ("audit", &["error", "model"]),
    ("wheel", &["audit", "error", "model"]),
    ("artifact", &["audit", "error", "model", "wheel"]),
    ("io", &["audit", "error", "event", "input", "model", "wheel"]),
    ("fetch", &["error", "io", "model"]),
    ("extra", &["audit", "error", "input", "io", "model", "resolve", "sdist"]),
    ("function", &["error", "extra", "model"]),
    ("assemble", &["error", "model", "wheel"]),
    ("pack", &["error", "model", "wheel"]),
    ("prove", &["error", "model"]),
    ("local", &["error", "event", "input", "io", "model", "namespaces", "prove", "resolve", "wheel"]),
];

struct Paths(Vec<String>);

impl<'ast> Visit<'ast> for Paths {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if segments.first().is_some_and(|first| first == "crate") {
            self.0.extend(segments.get(1).cloned());
        }
        visit::visit_path(self, path);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if let syn::UseTree::Path(path) = &item.tree
            && path.ident == "crate"
        {
            first_names(&path.tree, &mut self.0);
        }
    }
}

fn first_names(tree: &syn::UseTree, names: &mut Vec<String>) {
    match tree {
        syn::UseTree::Path(path) => names.push(path.ident.to_string()),
        syn::UseTree::Name(name) => names.push(name.ident.to_string()),
        syn::UseTree::Rename(rename) => names.push(rename.ident.to_string()),
        syn::UseTree::Group(group) => group.items.iter().for_each(|item| first_names(item, names)),
        syn::UseTree::Glob(_) => names.push("*".to_owned()),
    }
}

fn rust_files(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs_err::read_dir(dir).expect("the sources are there") {
        let path = entry.expect("the sources are readable").path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

#[test]
fn modules_use_only_what_the_map_allows() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    let mut broken = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for file in &files {
        let relative = file.strip_prefix(&src).unwrap();
        let module = relative.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        if module == "lib" || module == "pipeline" {
            continue;
        }
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == module) else {
            broken.push(format!("{module} is not on the map in this test"));
            continue;
        };
        seen.insert(module.clone());
        let mut paths = Paths(Vec::new());
        paths.visit_file(&syn::parse_file(&fs_err::read_to_string(file).unwrap()).unwrap());
        for used in paths.0.iter().filter(|used| **used != module && !allowed.contains(&used.as_str())) {
            broken.push(format!("{} must not use crate::{used}", relative.display()));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    let unknown: Vec<_> = ALLOWED.iter().filter(|(name, _)| !seen.contains(*name)).collect();
    assert!(unknown.is_empty(), "on the map, but not in the tree: {unknown:?}");
}
