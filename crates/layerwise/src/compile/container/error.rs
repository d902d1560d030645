//! Why nothing could be built in a container.

use std::path::PathBuf;

use super::super::why::Cause;
use super::why::Trouble;
use crate::error::{Explain, Kind};
use crate::model::ContainerProgram;

/// Nothing could be built in a container.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// There is no such program.
    #[error("building in a container needs {wanted}, and there is none on PATH")]
    NoProgram {
        /// Which: `docker or podman`.
        wanted: &'static str,
    },
    /// AWS has no image for the runtime.
    #[error("there is no build image for {runtime}")]
    NoImage {
        /// The runtime.
        runtime: String,
    },
    /// Only the cache may be used, and the image is not here.
    #[error("the image `{image}` is not on this machine, and only the cache may be used")]
    Offline {
        /// The image.
        image: String,
    },
    /// The image is of another architecture.
    #[error("the image `{image}` is for {has}, not for {wanted}")]
    OtherArchitecture {
        /// The image.
        image: String,
        /// `linux/amd64`
        has: String,
        /// `linux/arm64`
        wanted: String,
    },
    /// The image has another Python.
    #[error("the image `{image}` has no Python {wanted}{}", has.as_ref().map(|has| format!(" (its python3 is {has})")).unwrap_or_default())]
    NoPython {
        /// The image.
        image: String,
        /// `3.11`
        wanted: String,
        /// The version it has.
        has: Option<String>,
    },
    /// The program failed.
    #[error("{}{}", sentence(*program, *trouble, image), if said.is_empty() { String::new() } else { format!(": {said}") })]
    Failed {
        /// Which program.
        program: ContainerProgram,
        /// With what image.
        image: String,
        /// What is the matter.
        trouble: Trouble,
        /// What it said.
        said: String,
    },
    /// Packages could not be installed.
    #[error("failed to install {packages} in `{image}`{}", cause.as_ref().map(|cause| format!(": {}", cause.line)).unwrap_or_default())]
    Install {
        /// Which.
        packages: String,
        /// In what.
        image: String,
        /// What its package manager said.
        cause: Option<Cause>,
        /// All that it said.
        log: PathBuf,
    },
    /// The package wants Rust.
    #[error("`{package}` is written in Rust, and the image `{image}` has no cargo")]
    NoCargo {
        /// The package.
        package: String,
        /// The image.
        image: String,
    },
    /// What it needs to be built cannot be had as wheels.
    #[error("`{file}` needs {names} to be built, and no wheel of it fits the image")]
    RequirementsFromSource {
        /// The source distribution.
        file: String,
        /// What has no wheel.
        names: String,
    },
}

fn sentence(program: ContainerProgram, trouble: Trouble, image: &str) -> String {
    let name = program.name();
    match trouble {
        Trouble::NotRunning => format!("{name} is installed, but does not answer"),
        Trouble::NoPermission => format!("{name} is running, but this user may not use it"),
        Trouble::NoSuchImage => format!("there is no image `{image}`"),
        Trouble::Denied => format!("the registry refuses the image `{image}`"),
        Trouble::RateLimited => format!("the registry refuses the image `{image}` for now"),
        Trouble::Registry => format!("the registry of the image `{image}` cannot be reached"),
        Trouble::NoArchitecture => format!("the image `{image}` is not there for this architecture"),
        Trouble::WrongArchitecture => format!("this machine does not run programs of the image `{image}`"),
        Trouble::DiskFull => format!("the disk of {name} is full"),
        Trouble::NoPython => format!("the image `{image}` lacks a program that is needed"),
        Trouble::Mount => format!("{name} cannot mount something"),
        Trouble::Namespaces => format!("{name} cannot run containers for this user"),
        Trouble::Runtime => format!("{name} cannot start containers on this machine"),
        Trouble::Killed => "the container was killed".to_owned(),
        Trouble::Silent => format!("{name} does not answer"),
        Trouble::Unknown => format!("{name} failed"),
    }
}

/// What to do about it.
pub fn way_out(program: ContainerProgram, trouble: Trouble) -> Vec<String> {
    let name = program.name();
    let docker = program == ContainerProgram::Docker;
    let one = |text: &str| vec![text.to_owned()];
    match trouble {
        Trouble::NotRunning | Trouble::Silent if docker => vec![
            "start it: Docker Desktop, or `sudo systemctl start docker`, and wait until `docker ps` answers".to_owned(),
            "if it is on another machine: see DOCKER_HOST and `docker context ls`".to_owned(),
        ],
        Trouble::NotRunning | Trouble::Silent => vec![
            "start its machine: `podman machine start`".to_owned(),
            "if it is on another machine: see CONTAINER_HOST and `podman system connection list`".to_owned(),
        ],
        Trouble::NoPermission if docker => {
            vec!["`sudo usermod -aG docker $USER`, then log in anew; or use rootless docker, or podman".to_owned()]
        }
        Trouble::NoPermission => one("use podman as this user, without a socket of another one's"),
        Trouble::NoSuchImage => one("check the name that `--image` or `image` in the configuration gives"),
        Trouble::Denied => vec![format!(
            "log in to the registry: `{name} login REGISTRY`; an old login refuses public images, too: `{name} logout public.ecr.aws`"
        )],
        Trouble::RateLimited => vec![format!("wait, or log in: `{name} login`")],
        Trouble::Registry => vec![
            "check the network, and the proxy that docker or podman itself uses".to_owned(),
            "an image that is on this machine already needs no registry: `--image REF`".to_owned(),
        ],
        Trouble::NoArchitecture => {
            one("name an image for it with `--image`, or build without a container: `--engine zig`")
        }
        Trouble::WrongArchitecture => vec![
            format!(
                "install qemu's binfmt: `{name} run --privileged --rm tonistiigi/binfmt --install all`, or the package qemu-user-static; Docker Desktop brings it along"
            ),
            "or build without a container: `--engine zig` needs none of it for either architecture".to_owned(),
        ],
        Trouble::DiskFull => vec![format!("`{name} system prune` frees what is not used; see also `{name} system df`")],
        Trouble::NoPython => one("name an image with `--image` that has it"),
        Trouble::Mount => vec![format!(
            "layerwise mounts nothing and names no path: look for mounts in the configuration of {name} itself"
        )],
        Trouble::Namespaces => vec![
            "rootless podman needs uidmap (newuidmap) and a range for the user in /etc/subuid and /etc/subgid"
                .to_owned(),
        ],
        Trouble::Runtime => vec![format!("does `{name} run --rm IMAGE true` work?")],
        Trouble::Killed => one("most likely for want of memory: give docker or podman more"),
        Trouble::Unknown => Vec::new(),
    }
}

impl Explain for ContainerError {
    fn kind(&self) -> Kind {
        match self {
            Self::NoProgram { .. } | Self::OtherArchitecture { .. } => Kind::System,
            Self::NoImage { .. } => Kind::Usage,
            Self::Offline { .. } => Kind::Network,
            Self::Failed { trouble, .. } => match trouble {
                Trouble::NoSuchImage | Trouble::NoArchitecture => Kind::Usage,
                Trouble::Denied | Trouble::RateLimited | Trouble::Registry => Kind::Network,
                Trouble::Unknown => Kind::Compile,
                _ => Kind::System,
            },
            Self::NoPython { .. }
            | Self::NoCargo { .. }
            | Self::Install { .. }
            | Self::RequirementsFromSource { .. } => Kind::Compile,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::NoProgram { .. } => vec![
                "install Docker Desktop (https://docs.docker.com/get-started/get-docker), or podman: `apt install podman`, `dnf install podman`, `brew install podman`, `winget install RedHat.Podman`".to_owned(),
                "or build without a container: `--engine zig`".to_owned(),
            ],
            Self::NoImage { .. } => vec!["name one with `--image`".to_owned()],
            Self::Offline { .. } => vec!["pull it first, or leave out `--offline`".to_owned()],
            Self::OtherArchitecture { wanted, image, .. } => {
                vec![format!("pull it for {wanted}: `docker pull --platform {wanted} {image}`"), "or name another image with `--image`; `{architecture}` in its name becomes x86_64 or arm64".to_owned()]
            }
            Self::NoPython { wanted, .. } => vec![
                format!("name an image with `--image` that has `python{wanted}` on PATH; without `--image` it is the runtime's own build image"),
            ],
            Self::Failed { program, trouble, .. } => way_out(*program, *trouble),
            Self::Install { log, .. } => vec![
                "their names are those of the image's distribution".to_owned(),
                format!("the whole log is in `{}`", log.display()),
            ],
            Self::NoCargo { .. } => vec![
                "`--system-package cargo` installs it, if the image's distribution has one that is new enough; else name an image with `--image`".to_owned(),
                "`--engine zig` takes the cargo of this machine".to_owned(),
            ],
            Self::RequirementsFromSource { .. } => vec!["`--engine zig` builds it on this machine".to_owned()],
        }
    }
}
