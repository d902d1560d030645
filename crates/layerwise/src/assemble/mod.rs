//! Wheels → Tree: where each file goes (PEP 427), and nothing else. Pure.

/// Where packages stand inside the artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layout {
    /// `python/`: any minor version of the runtime finds it.
    #[default]
    Python,
    /// `python/lib/python3.X/site-packages`: only that minor version finds it.
    SitePackages,
}

/// How to assemble.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Where packages stand.
    pub layout: Layout,
    /// Glob patterns of paths to leave out, relative to the packages' root (`**/tests/**`).
    pub excludes: Vec<String>,
}
