//! What is in the files of an artifact, and whether it can work where it is to run.

pub mod elf;
