//! layerwise
pub mod assemble;
pub mod error;
pub mod event;
pub mod input;
pub mod io;
pub mod model;
pub mod pipeline;
pub mod resolve;
pub mod wheel;
