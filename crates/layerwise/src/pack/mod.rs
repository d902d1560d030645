//! Tree → artifact: the same bytes every time.

mod zip;

pub use zip::{DeflatedCache, PackError, Packed, Unplaced, WheelFile, aside, zip};
