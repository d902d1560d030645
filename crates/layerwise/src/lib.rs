//! layerwise: from a Python project to an AWS Lambda layer that is right for its runtime.
//!
//! ```text
//!  input ──► resolve ──► Lock ──► fetch, compile ──► wheels ──► assemble ──► Tree ──► audit ──► Report
//!                                                                              └─────► pack ──► zip
//! ```
//!
//! Each stage is a function from values to values; [`pipeline`] is the only file that knows their order. The library
//! knows no terminal, no environment and no clock: they arrive as values in [`io::IoSettings`]. `ARCHITECTURE.md` is
//! the map.

pub mod error;
pub mod event;
pub mod model;

pub mod config;
pub mod input;

pub mod audit;

pub mod io;
pub mod sdist;
pub mod wheel;

pub mod artifact;

pub mod resolve;

pub mod fetch;

pub mod extra;

pub mod function;

#[cfg(target_os = "linux")]
mod namespaces;

pub mod compile;

pub mod assemble;

pub mod pack;

pub mod prove;

pub mod local;

pub mod pipeline;
