//! layerwise
pub mod assemble;
pub mod config;
pub mod error;
pub mod event;
pub mod input;
pub mod io;
pub mod model;
pub mod pipeline;
pub mod resolve;
