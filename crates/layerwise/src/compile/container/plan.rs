//! What a program that runs containers is told. Pure.
//!
//! Nothing is mounted and no path of this machine is named: everything goes in through standard input and comes out
//! through standard output. So there is nothing that a shell, Git Bash, a drive letter or a daemon on another machine
//! could misunderstand, and nothing that it would need a permission for.

use std::collections::BTreeMap;
use std::ffi::OsString;

use crate::model::{Architecture, BuildSettings, Container, Sha256, SystemPackage, Target};

/// Counted up with every change that may change what is built.
pub const RULES: u32 = 2;

/// The label of all containers and images that layerwise makes: `docker ps -a --filter label=layerwise`.
pub const LABEL: &str = "layerwise=build";

/// Unpacks standard input below `/build`, then becomes the driver. One line without double quotes: it is an argument.
/// The size of the archive is a multiple of what Python reads at once, so that it does not wait for more.
const START: &str = "import sys, tarfile; \
    tarfile.TarFile.extraction_filter = staticmethod(lambda member, path: member); \
    tarfile.open(fileobj=sys.stdin.buffer, mode='r|').extractall('/build'); \
    exec(compile(open('/build/hook/driver.py').read(), 'driver.py', 'exec'))";

/// What the start reads at once, in bytes.
pub const BLOCK: u64 = 10_240;

/// Installs its arguments with whatever package manager there is.
const INSTALL: &str = "\
    if command -v dnf >/dev/null 2>&1; then exec dnf install -y --setopt=install_weak_deps=False \"$@\"; \
    elif command -v microdnf >/dev/null 2>&1; then exec microdnf install -y \"$@\"; \
    elif command -v yum >/dev/null 2>&1; then exec yum install -y \"$@\"; \
    elif command -v apt-get >/dev/null 2>&1; then \
    export DEBIAN_FRONTEND=noninteractive; apt-get update -q && exec apt-get install -q -y --no-install-recommends \"$@\"; \
    elif command -v apk >/dev/null 2>&1; then exec apk add --no-cache \"$@\"; \
    else echo 'error: there is no dnf, microdnf, yum, apt-get or apk in this image'; exit 1; fi";

/// The image to build in; `None` where AWS has none for the runtime and the user names none.
pub fn image(container: &Container, target: Target) -> Option<String> {
    let image = container.image.as_ref().or(target.runtime.build_image.as_ref())?;
    Some(image.replace("{architecture}", target.architecture.aws()))
}

/// Docker's word for an architecture.
pub fn docker_architecture(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::X86_64 => "amd64",
        Architecture::Arm64 => "arm64",
    }
}

/// The name of an image with packages installed in the image `id`.
pub fn derived_image<'a>(id: &str, packages: impl Iterator<Item = &'a SystemPackage>) -> String {
    let packages: Vec<&str> = packages.map(SystemPackage::as_str).collect();
    let digest = Sha256::of(format!("{id}\n{}", packages.join(" ")).as_bytes()).to_string();
    format!("localhost/layerwise-build:{}", digest.get(..20).unwrap_or_default())
}

/// The words that install `packages` in the image `id`, in a container named `name`, which stays.
pub fn install<'a>(id: &str, name: &str, packages: impl Iterator<Item = &'a SystemPackage>) -> Vec<String> {
    let words = ["run", "--name", name, "--label", LABEL, "--user", "0:0", "--entrypoint", "sh", id, "-c", INSTALL];
    let words = words.into_iter().chain(["layerwise"]).map(str::to_owned);
    words.chain(packages.map(|package| package.as_str().to_owned())).collect()
}

/// The words that run one hook in the image `id`, in a container named `name`, which goes when it ends.
///
/// The first process is root, with no more rights than giving files away and becoming another user take; what it
/// runs has none.
pub fn run(id: &str, name: &str, minor: u8, network: bool) -> Vec<String> {
    let mut words: Vec<String> =
        ["run", "--rm", "--interactive", "--name", name, "--label", LABEL, "--user", "0:0"].map(str::to_owned).into();
    if !network {
        words.extend(["--network", "none"].map(str::to_owned));
    }
    words.extend(["--cap-drop", "ALL"].map(str::to_owned));
    for right in ["CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID"] {
        words.extend(["--cap-add".to_owned(), right.to_owned()]);
    }
    words.extend(["--security-opt", "no-new-privileges", "--entrypoint"].map(str::to_owned));
    words.extend([format!("python3.{minor}"), id.to_owned(), "-I".to_owned(), "-c".to_owned(), START.to_owned()]);
    words
}

/// The environment of hooks; the driver adds PATH and how many processors there are.
pub fn environment() -> BTreeMap<&'static str, &'static str> {
    BTreeMap::from([
        ("HOME", "/build/home"),
        ("TMPDIR", "/build/tmp"),
        ("LANG", "C.UTF-8"),
        ("LC_ALL", "C.UTF-8"),
        ("TZ", "UTC"),
        // 1980-01-01, the first moment a zip can name.
        ("SOURCE_DATE_EPOCH", "315532800"),
        ("PYTHONHASHSEED", "0"),
        ("PYTHONNOUSERSITE", "1"),
        ("PYTHONDONTWRITEBYTECODE", "1"),
        ("VIRTUAL_ENV", "/build/env"),
        // Several packages take a missing extension for a failure only where this is set.
        ("CIBUILDWHEEL", "1"),
        ("PYYAML_FORCE_LIBYAML", "1"),
        // Debug information is most of a wheel, and Lambda has no debugger.
        ("CFLAGS", "-g0"),
        ("CXXFLAGS", "-g0"),
        ("LDFLAGS", "-Wl,-s"),
        ("CARGO_HOME", "/build/cargo"),
        ("CARGO_NET_OFFLINE", "true"),
        ("CARGO_INCREMENTAL", "0"),
        ("CARGO_PROFILE_RELEASE_STRIP", "symbols"),
        ("CARGO_TERM_COLOR", "never"),
    ])
}

/// What the user set for a package's build: variables, which the driver puts over all others, and settings of its build
/// backend. What speaks of a prefix speaks of nothing in a container.
pub fn settings(of: Option<&BuildSettings>) -> (BTreeMap<&str, &str>, BTreeMap<&str, Vec<&str>>) {
    let Some(BuildSettings { environment, config_settings, .. }) = of else { return Default::default() };
    let stays = |value: &&String| !value.contains("{prefix}");
    let environment = environment.iter().filter(|(_, value)| stays(value));
    let config = config_settings
        .iter()
        .map(|(key, values)| (key.as_str(), values.iter().filter(stays).map(String::as_str).collect()));
    (environment.map(|(key, value)| (key.as_str(), value.as_str())).collect(), config.collect())
}

/// The variables by which programs find their way through a proxy.
pub fn network(environment: &[(OsString, OsString)]) -> BTreeMap<&str, &str> {
    let pairs = environment.iter().filter_map(|(key, value)| Some((key.to_str()?, value.to_str()?)));
    let wanted = ["http_proxy", "https_proxy", "all_proxy", "no_proxy"];
    pairs.filter(|(key, _)| wanted.contains(&key.to_lowercase().as_str())).collect()
}

/// Programs that compile, made to refuse: their text. A question (`cc --version`) is answered with a failure alone.
pub fn refusal(package: &str) -> String {
    format!(
        "#!/bin/sh\nasks=yes\nfor word; do case $word in -*) ;; *) asks=no ;; esac; done\n\
         [ $asks = yes ] || echo \"$0\" >> /build/hook/refused\n\
         echo \"layerwise: $0: compiling is not allowed for {package} (--compile {package} allows it)\" >&2\nexit 1\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(runtime: &str, architecture: &str) -> Target {
        Target::new(runtime, architecture, "2026-11-24").unwrap()
    }

    #[test]
    fn images() {
        let aws = Container::default();
        let expected = "public.ecr.aws/sam/build-python3.11:latest-arm64";
        assert_eq!(image(&aws, target("python3.11", "arm64")).unwrap(), expected);
        assert_eq!(image(&aws, target("python3.15", "arm64")), None);
        let own = Container { image: Some("me/b:{architecture}".to_owned()), ..Container::default() };
        assert_eq!(image(&own, target("python3.15", "x86_64")).unwrap(), "me/b:x86_64");
        let packages = ["a".parse().unwrap(), "b".parse().unwrap()];
        assert_ne!(derived_image("id", packages.iter()), derived_image("id", packages[..1].iter()));
        assert_ne!(derived_image("id", packages.iter()), derived_image("di", packages.iter()));
    }

    #[test]
    fn what_the_user_sets() {
        assert_eq!(settings(None), Default::default());
        let given = BuildSettings {
            environment: [("A", "1"), ("B", "-L{prefix}/lib")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            config_settings: [("args".to_owned(), vec!["-Dx=1".to_owned(), "-Dp={prefix}".to_owned()])].into(),
            ..BuildSettings::default()
        };
        let (environment, config) = settings(Some(&given));
        assert_eq!(environment, [("A", "1")].into());
        assert_eq!(config, [("args", vec!["-Dx=1"])].into());
    }

    #[test]
    fn only_proxies_are_told() {
        let given = [("HTTPS_PROXY", "http://a"), ("no_proxy", "b"), ("AWS_SECRET_ACCESS_KEY", "c")];
        let given = given.map(|(key, value)| (key.into(), value.into()));
        assert_eq!(network(&given), [("HTTPS_PROXY", "http://a"), ("no_proxy", "b")].into());
    }

    /// What Git Bash, PowerShell and cmd could change on the way: there must be no path of this machine, and no
    /// double quote in what python gets.
    #[test]
    fn nothing_is_mounted_and_builds_have_no_network() {
        let words = run("sha256:abc", "layerwise-1", 11, false);
        assert!(!words.iter().any(|word| word == "-v" || word.contains("mount") || word.contains("volume")));
        assert!(words.windows(2).any(|pair| pair == ["--network", "none"]));
        assert!(words.windows(2).any(|pair| pair == ["--entrypoint", "python3.11"]));
        assert!(words.iter().all(|word| !word.contains('"') && !word.contains('\n') && !word.starts_with('/')));
        assert!(!run("x", "y", 11, true).iter().any(|word| word == "--network"));
        let packages = ["libpq-dev".parse().unwrap()];
        assert!(install("x", "y", packages.iter()).ends_with(&["layerwise".to_owned(), "libpq-dev".to_owned()]));
    }
}
