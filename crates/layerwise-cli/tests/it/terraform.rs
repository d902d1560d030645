//! The provider under the real `terraform`, which needs no network for it. Where there is none, the tests say so.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use layerwise_testkit::{Cli, Index, Machine, Served, elf, wheel};

use super::{beta, demo, layerwise, words};

const TERRAFORM: &str =
    "terraform {\n  required_providers {\n    layerwise = { source = \"layerwise/layerwise\" }\n  }\n}\n";

/// A layer, and something that is replaced whenever the layer's hash changes.
const LAYER: &str = r#"
resource "layerwise_layer" "it" {
  requirements_file = "requirements.txt"
  runtime           = "python3.13"
  output_path       = "build/it.zip"
}
resource "terraform_data" "user" {
  triggers_replace = layerwise_layer.it.source_code_hash
}
"#;

/// The `terraform` on PATH.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn terraform() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).map(|dir| dir.join("terraform")).find(|program| program.is_file());
    if found.is_none() {
        eprintln!("skipped: no terraform on PATH");
    }
    found
}

/// A configuration with the provider installed.
struct Stage {
    terraform: PathBuf,
    cli: Cli,
}

impl Stage {
    fn new(served: &Served, config: &str) -> Option<Self> {
        let terraform = terraform()?;
        let cli = layerwise(served, "terraform install").file("main.tf", format!("{TERRAFORM}{config}"));
        let run = cli.run().success();
        assert!(run.stdout.contains("source  = \"layerwise/layerwise\""), "{run}");
        let stage = Self { terraform, cli };
        stage.success("init");
        Some(stage)
    }

    fn dir(&self) -> &Path {
        self.cli.project()
    }

    fn write(&self, path: &str, text: &str) {
        fs_err::write(self.dir().join(path), text).unwrap();
    }

    fn command(&self, line: &str) -> Command {
        let hermetic = self.cli.command();
        let mut command = Command::new(&self.terraform);
        command.args(words(line)).current_dir(self.dir()).env_clear();
        command.envs(hermetic.get_envs().filter_map(|(key, value)| Some((key, value?))));
        // An empty configuration, so that nothing of this machine's counts.
        command.env("TF_CLI_CONFIG_FILE", self.cli.home().join("none.rc")).env("CHECKPOINT_DISABLE", "1");
        command.env("TF_IN_AUTOMATION", "1").env("TF_CLI_ARGS", "-no-color");
        command
    }

    #[track_caller]
    fn ends(&self, line: &str, code: i32) -> String {
        fs_err::write(self.cli.home().join("none.rc"), "").unwrap();
        let Output { status, stdout, stderr } = self.command(line).output().unwrap();
        let text = String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned();
        assert_eq!(status.code(), Some(code), "{line}:\n{text}");
        text
    }

    #[track_caller]
    fn success(&self, line: &str) -> String {
        self.ends(line, 0)
    }

    /// The plan, which has changes.
    #[track_caller]
    fn changes(&self) -> String {
        self.ends("plan -detailed-exitcode", 2)
    }

    #[track_caller]
    fn nothing_to_do(&self) {
        self.ends("plan -detailed-exitcode", 0);
    }

    fn zip(&self) -> Vec<u8> {
        fs_err::read(self.dir().join("build/it.zip")).unwrap()
    }
}

const APPLY: &str = "apply -auto-approve";

#[test]
fn nothing_changes_when_nothing_changed() {
    let served = demo().serve();
    let Some(stage) = Stage::new(&served, LAYER) else { return };
    stage.write("requirements.txt", "beta==2.0\nalpha==1.0\n");
    stage.success(APPLY);
    stage.nothing_to_do();
    stage.write("requirements.txt", "# for it\nAlpha == 1.0  # first\nbeta==2.0\n");
    stage.nothing_to_do();
    stage.write("requirements.txt", "beta==2.0\n");
    let plan = stage.changes();
    assert!(plan.contains("Plan: 1 to add, 1 to change, 1 to destroy."), "{plan}");
    stage.success(APPLY);
    stage.nothing_to_do();
    stage.success("destroy -auto-approve");
    assert!(!stage.dir().join("build/it.zip").exists());
}

#[test]
fn a_zip_that_is_missing_comes_back_and_nobody_is_replaced() {
    let served = Index::new().wheel(beta()).serve();
    let Some(stage) = Stage::new(&served, LAYER) else { return };
    // Not pinned: the lock in the state says which.
    stage.write("requirements.txt", "beta\n");
    stage.success(APPLY);
    let first = stage.zip();
    let newer = Index::new().wheel(beta()).wheel(wheel("beta", "3.0").file("beta.py", "").build()).serve();
    let stage = Stage { cli: stage.cli.index(&newer), ..stage };
    fs_err::remove_file(stage.dir().join("build/it.zip")).unwrap();
    fs_err::write(stage.dir().join("build/other"), "somebody's").unwrap();
    let plan = stage.changes();
    assert!(plan.contains("materialized      = false -> true"), "{plan}");
    assert!(plan.contains("Plan: 0 to add, 1 to change, 0 to destroy."), "{plan}");
    stage.success(APPLY);
    assert_eq!(stage.zip(), first);
    stage.nothing_to_do();
}

#[test]
fn a_plan_made_here_is_applied_elsewhere() {
    let served = demo().serve();
    for build_at in ["apply", "plan"] {
        let layer = LAYER.replace("output_path ", &format!("build_at = \"{build_at}\"\n  output_path "));
        let Some(here) = Stage::new(&served, &layer) else { return };
        let Some(there) = Stage::new(&served, &layer) else { return };
        for stage in [&here, &there] {
            stage.write("requirements.txt", "alpha\n");
        }
        let plan = here.success("plan -out=saved");
        let known = plan.lines().any(|line| line.contains("sha256") && !line.contains("known after apply"));
        assert_eq!(known, build_at == "plan", "{plan}");
        fs_err::copy(here.dir().join("saved"), there.dir().join("saved")).unwrap();
        there.success("apply saved");
        there.nothing_to_do();
    }
}

#[test]
fn what_is_wrong_is_said_where_it_stands() {
    let served = Index::new().wheel(beta()).wheel(broken()).serve();
    let Some(stage) = Stage::new(&served, "") else { return };
    let layer = |lines: &str| {
        let text = format!("resource \"layerwise_layer\" \"it\" {{\n{lines}\noutput_path = \"it.zip\"\n}}\n");
        stage.write("layer.tf", &text);
    };
    layer("requirements = [\"beta\"]\nruntime = \"python2.7\"");
    let text = stage.ends("validate", 1);
    assert!(text.contains("runtime = \"python2.7\"") && text.contains("is not a Python runtime"), "{text}");
    layer("runtime = \"python3.13\"");
    let text = stage.ends("validate", 1);
    assert!(text.contains("nothing says what goes in"), "{text}");
    layer("requirements_file = \"gone.txt\"\nruntime = \"python3.13\"");
    let text = stage.ends("plan", 1);
    assert!(text.contains("requirements_file = \"gone.txt\""), "{text}");
    layer("requirements = [\"beta\", \"broken\"]\nruntime = \"python3.13\"");
    let text = stage.ends(APPLY, 1);
    assert!(text.contains("native-architecture"), "{text}");
    assert!(text.contains("the layer would not work on"), "{text}");
    assert!(!stage.dir().join("it.zip").exists());
}

/// A wheel for x86_64 with a library for arm64.
fn broken() -> layerwise_testkit::Wheel {
    wheel("broken", "1.0")
        .tags("cp313-cp313-manylinux_2_17_x86_64")
        .file("broken/__init__.py", "from broken import native\n")
        .file("broken/native.cpython-313-x86_64-linux-gnu.so", elf().machine(Machine::Aarch64).bytes())
        .build()
}

#[test]
fn by_hand_it_says_what_it_is() {
    let served = Index::new().serve();
    let dir = tempfile::tempdir().unwrap();
    let cli = layerwise(&served, "terraform install --dir plugins");
    let _run = cli.run().success();
    let platform = if cfg!(target_arch = "aarch64") { "linux_arm64" } else { "linux_amd64" };
    let place = "plugins/registry.terraform.io/layerwise/layerwise";
    let version = env!("CARGO_PKG_VERSION");
    let provider = cli.project().join(format!("{place}/{version}/{platform}/terraform-provider-layerwise_v{version}"));
    let run = Cli::new(&provider).run().failure(2);
    assert!(run.stdout.is_empty() && run.stderr.contains("which Terraform starts by itself"), "{run}");
    let cli = cli.args(["terraform", "mirror", dir.path().to_str().unwrap()]);
    let _run = cli.run().success();
    let name = format!("terraform-provider-layerwise_{version}_{platform}.zip");
    let archive = dir.path().join("registry.terraform.io/layerwise/layerwise").join(name);
    assert_eq!(super::archive::names(&archive), [format!("terraform-provider-layerwise_v{version}")]);
}
