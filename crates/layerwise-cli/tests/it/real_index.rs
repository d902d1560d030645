//! The real package index: the example of the README, whole. Where it cannot be reached these tests say that they are
//! skipped, on stderr, past the test runner's capture.

use std::io::Write as _;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use layerwise_testkit::Cli;

use crate::archive;

/// The seed's requirements, verbatim.
pub(crate) const EXAMPLE: &str = include_str!("../../../../examples/document-processor/requirements.txt");

/// A run with what this machine needs to reach the world: certificates and proxies. `None`, said aloud, without one.
pub(crate) fn real(test: &str) -> Option<Cli> {
    let kept = ["SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"];
    let kept: Vec<_> = kept.iter().filter_map(|key| Some((*key, std::env::var_os(key)?))).collect();
    let proxied = kept.iter().any(|(key, _)| key.eq_ignore_ascii_case("HTTPS_PROXY"));
    let address = ("pypi.org", 443).to_socket_addrs().ok().and_then(|mut all| all.next());
    let reached = address.is_some_and(|at| TcpStream::connect_timeout(&at, Duration::from_secs(5)).is_ok());
    if !reached && !proxied {
        skipped(test, "the package index cannot be reached");
        return None;
    }
    let cli = Cli::new(env!("CARGO_BIN_EXE_layerwise")).file("requirements.txt", EXAMPLE);
    Some(kept.into_iter().fold(cli, |cli, (key, value)| cli.env(key, value)))
}

/// Not by a macro: libtest swallows what those print in a test that passes.
pub(crate) fn skipped(test: &str, why: &str) {
    drop(writeln!(std::io::stderr(), "SKIPPED {test}: {why}"));
}

/// The example on a machine with neither uv nor Python: uv is provided from the index.
#[test]
fn the_example_from_nothing() {
    let Some(cli) = real("the_example_from_nothing") else { return };
    let zip = cli.project().join("layer.zip");
    let cli = cli.without_uv().args(["build", "--runtime", "python3.11", "-o", "layer.zip", "--name", "x"]);
    let run = cli.run().success();
    assert!(run.stderr.contains("its cp311 wheels for x86_64 need glibc 2.28, python3.11 has 2.26"), "{}", run.stderr);
    let names = archive::names(&zip);
    for dist_info in ["boto3-1.34.0", "pdfplumber-0.10.3", "tiktoken-0.11.0"] {
        let metadata = format!("python/{dist_info}.dist-info/METADATA");
        assert!(names.contains(&metadata), "{metadata} is not there");
    }
    let Some(python) = layerwise_testkit::python(11) else {
        skipped("the_example_from_nothing", "no Python 3.11 here to import the layer with");
        return;
    };
    let code =
        "import boto3, pdfplumber, tiktoken; print(boto3.__version__, pdfplumber.__version__, tiktoken.__version__)";
    let unpacked = zip.with_extension("");
    unpack(&zip, &unpacked);
    let output = Command::new(python).args(["-c", code]).env("PYTHONPATH", unpacked.join("python")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said.trim(), "1.34.0 0.10.3 0.11.0", "{}", String::from_utf8_lossy(&output.stderr));
}

/// Every native file of the four layers is of the right machine (`e_machine` of its ELF header) and ABI.
#[test]
fn the_example_on_four_targets() {
    let Some(cli) = real("the_example_on_four_targets") else { return };
    let output = "{runtime}-{architecture}.zip";
    let targets = ["--runtime", "python3.11", "--runtime", "python3.13", "--arch", "x86_64", "--arch", "arm64"];
    let project = cli.project().to_owned();
    let cli = cli.args(["build", "-o", output, "--name", "x"].into_iter().chain(targets));
    let _run = cli.run().success();
    for (minor, architecture, machine, tiktoken) in [
        ("11", "x86_64", 62u16, "0.11.0"),
        ("11", "arm64", 183, "0.11.0"),
        ("13", "x86_64", 62, ""),
        ("13", "arm64", 183, ""),
    ] {
        let members = archive::read(&project.join(format!("python3.{minor}-{architecture}.zip")));
        let native: Vec<_> = members.iter().filter(|member| member.content.starts_with(b"\x7fELF")).collect();
        assert!(native.len() > 20, "{} native files", native.len());
        for member in native {
            assert_eq!(u16::from_le_bytes([member.content[18], member.content[19]]), machine, "{}", member.name);
            if let Some((_, abi)) = member.name.rsplit_once(".cpython-") {
                assert!(abi.starts_with(&format!("3{minor}-")), "{}", member.name);
            }
        }
        let dist_info =
            members.iter().find_map(|member| member.name.strip_prefix("python/tiktoken-")?.split_once(".dist"));
        let (version, _) = dist_info.unwrap();
        assert!(if tiktoken.is_empty() { version != "0.11.0" } else { version == tiktoken }, "tiktoken {version}");
    }
}

fn unpack(zip: &Path, to: &Path) {
    for member in archive::read(zip) {
        let path = to.join(&member.name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, &member.content).unwrap();
    }
}

/// A C extension for both architectures, by the provided compiler. (The compiler is 90 MB: with `LAYERWISE_SLOW_TESTS`.)
#[test]
#[cfg(target_os = "linux")]
fn a_package_is_compiled_for_both_architectures() {
    const TEST: &str = "a_package_is_compiled_for_both_architectures";
    if std::env::var_os("LAYERWISE_SLOW_TESTS").is_none() {
        return skipped(TEST, "LAYERWISE_SLOW_TESTS is not set");
    }
    let Some(python) = layerwise_testkit::python(11) else { return skipped(TEST, "there is no Python 3.11") };
    let Some(cli) = real(TEST) else { return };
    let lock = "lock-version = '1.0'\ncreated-by = 'test'\n[[packages]]\nname = 'markupsafe'\nversion = '3.0.4'\n\
        sdist = { url = 'https://files.pythonhosted.org/packages/38/9b/e422a865e1d5d57d0e509b4e0bf1c1a70a7f6382c29a5aa428df994c8bc8/markupsafe-3.0.4.tar.gz', hashes = { sha256 = '2e9ad7dd851bf45fab9f75cbff4cb493fee9979e8d8c7c9c3ee119022518edd6' } }\n";
    let cli = cli.file("pylock.toml", lock).path(python.parent().unwrap()).timeout(Duration::from_secs(600)).args([
        "build",
        "-r",
        "pylock.toml",
        "--name",
        "m",
        "--compile",
        "markupsafe",
        "--runtime",
        "python3.11",
        "--arch",
        "x86_64",
        "--arch",
        "arm64",
        "--json",
    ]);
    let document = super::json(&cli.run().success());
    let wheels: Vec<&str> = (0..2).map(|at| document["layers"][at]["packages"][0]["wheel"].as_str().unwrap()).collect();
    assert_eq!(
        wheels,
        [
            "markupsafe-3.0.4-cp311-cp311-manylinux_2_14_x86_64.whl",
            "markupsafe-3.0.4-cp311-cp311-manylinux_2_17_aarch64.whl"
        ]
    );
}
