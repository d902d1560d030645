//! Wheels: foreign zips in, verified indexes out.
//!
//! Source: <https://packaging.python.org/en/latest/specifications/binary-distribution-format/> (PEP 427).

pub mod directory;
mod index;

pub use directory::{Method, ZipError};
pub(crate) use index::MemberReader;
pub use index::{Member, WheelError, WheelIndex, extract, extract_located, index, index_and_facts};
