//! The nouns every stage shares. Pure: no I/O, and nothing of ours is imported here.

pub mod compile;
pub mod date;
pub mod digest;
pub mod extra;
pub mod limits;
pub mod lock;
pub mod marker;
pub mod name;
pub mod specifier;
pub mod tag;
pub mod target;
pub mod tree;

pub use compile::{BuildSettings, CompilePolicy, Container, ContainerProgram, Engine, SystemPackage};
pub use digest::Sha256;
pub use extra::{ExtraFile, FoundFile, Origin};
pub use lock::{Commit, Lock, Note, Pin, SourcePin, WheelSource};
pub use name::PackageName;
pub use tag::WheelName;
pub use target::{Architecture, Runtime, Target};
pub use tree::{Content, Entry, LayerPath, Tree};
