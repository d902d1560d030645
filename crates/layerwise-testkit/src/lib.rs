//! Fakes at the network's edge, for tests only: a package index and an AWS in process, wheels, sdists and ELF files made to
//! order (good and hostile ones), and hermetic runs of a binary.
//!
//! The kit depends on none of our other crates: it speaks bytes and HTTP, so that a mistake of ours is not
//! repeated in the test that should find it.
//!
//! ```
//! use layerwise_testkit::{Fault, Index, wheel};
//!
//! let six = wheel("six", "1.17.0").file("six.py", "x = 1\n").build();
//! let served = Index::new().wheel(six).fault(Fault::Status(500).times(2)).serve();
//! assert!(served.url().ends_with("/simple/"));
//! ```

mod aws;
mod cli;
mod elf;
mod http;
mod index;
mod sdist;
mod tools;
mod wheel;
mod zip;

pub use aws::{Aws, Moto, moto};
pub use cli::{Cli, Run};
pub use elf::{ElfBuilder, ElfField, Machine, elf};
pub use http::Request;
pub use index::{Fault, FaultRule, Index, Served};
pub use sdist::{BACKEND, Sdist, SdistBuilder, sdist};
pub use tools::{hashicorp_aws, python, terraform, uv};
pub use wheel::{Wheel, WheelBuilder, wheel};
pub use zip::{Member, RawZip};

/// The sha256 of `bytes` in lower-case hex.
pub fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A project's name as indexes write it (PEP 503): lower case, runs of `-_.` as one `-`.
pub fn normalized(name: &str) -> String {
    name.split(['-', '_', '.']).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-").to_lowercase()
}
