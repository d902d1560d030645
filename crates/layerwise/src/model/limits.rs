//! Lambda's size limits, in bytes.
//!
//! Source: <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html> (AWS says MB, means MiB).

/// Function, layers and custom runtime together, unzipped. More is refused by `PublishLayerVersion`:
/// "Unzipped size must be smaller than 262144000 bytes".
pub const UNZIPPED_BYTES: u64 = 262_144_000;

/// A zip handed over in the request itself. A larger one has to go through S3.
pub const DIRECT_UPLOAD_BYTES: u64 = 52_428_800;

/// Layers that one function may have: "Cannot reference more than 5 layers."
pub const LAYERS: usize = 5;
