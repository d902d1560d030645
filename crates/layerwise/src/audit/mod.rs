//! What is inside the files of an artifact, and what of it does not work on the target.

pub mod python;
