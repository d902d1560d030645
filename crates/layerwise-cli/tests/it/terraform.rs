//! The provider under the real `terraform`, which needs no network for it. Where there is none, the tests say so.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use layerwise_testkit::{Aws, Cli, Index, Machine, Served, elf, wheel};

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
        Self::with(layerwise(served, ""), config)
    }

    /// The same with an AWS.
    fn in_aws(served: &Served, url: &str, config: &str) -> Option<Self> {
        let cli = layerwise(served, "").env("AWS_ENDPOINT_URL", url).env("AWS_REGION", REGION);
        let cli = cli.env("AWS_ACCESS_KEY_ID", "testing").env("AWS_SECRET_ACCESS_KEY", "testing");
        Self::with(cli.env("AWS_EC2_METADATA_DISABLED", "true"), config)
    }

    fn with(cli: Cli, config: &str) -> Option<Self> {
        let terraform = terraform()?;
        let cli = cli.args(words("terraform install")).file("main.tf", format!("{TERRAFORM}{config}"));
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

const REGION: &str = "eu-west-1";
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

/// A layer that publishes itself, and something that is replaced whenever its version is another one.
const VERSION: &str = r#"
resource "layerwise_layer_version" "it" {
  layer_name        = "demo"
  requirements_file = "requirements.txt"
  runtime           = "python3.13"
  LINES
}
resource "terraform_data" "user" {
  triggers_replace = layerwise_layer_version.it.arn
}
output "it" {
  value = layerwise_layer_version.it
}
"#;

const CREATE_FIRST: &str = "lifecycle {\n create_before_destroy = true\n }";

fn version(lines: &str) -> String {
    VERSION.replace("LINES", lines)
}

impl Stage {
    /// The resource, as Terraform has it.
    fn it(&self) -> serde_json::Value {
        serde_json::from_str(&self.success("output -json it")).unwrap()
    }

    /// This configuration and its state in a fresh checkout somewhere else, with a provider of its own.
    fn elsewhere(&self, served: &Served, url: &str) -> Self {
        let other = Self::in_aws(served, url, "").expect("there was a terraform");
        for file in ["main.tf", "requirements.txt", "terraform.tfstate"] {
            fs_err::copy(self.dir().join(file), other.dir().join(file)).unwrap();
        }
        other
    }
}

#[test]
fn a_layer_version_lives() {
    let (served, aws) = (demo().serve(), Aws::serve());
    let Some(stage) = Stage::in_aws(&served, aws.url(), &version(CREATE_FIRST)) else { return };
    stage.write("requirements.txt", "beta==2.0\nalpha==1.0\n");
    stage.success(APPLY);
    stage.nothing_to_do();
    let it = stage.it();
    assert_eq!(it["arn"], format!("arn:aws:lambda:{REGION}:123456789012:layer:demo:1"), "{it}");
    assert_eq!((&it["version"], &it["region"]), (&1.into(), &REGION.into()));
    assert_eq!(it["packages"], serde_json::json!({ "alpha": "1.0", "beta": "2.0" }));
    assert!(!stage.dir().join("build").exists(), "no file is left behind");
    // Neither comments nor order are a change.
    stage.write("requirements.txt", "# for it\nAlpha == 1.0  # first\nbeta==2.0\n");
    stage.nothing_to_do();
    // A fresh checkout somewhere else has nothing to do either.
    let elsewhere = stage.elsewhere(&served, aws.url());
    elsewhere.nothing_to_do();
    // Another version is there before the old one goes.
    stage.write("requirements.txt", "beta==2.0\n");
    let plan = stage.changes();
    assert!(plan.contains("input_digest      = ") && plan.contains("# forces replacement"), "{plan}");
    stage.success(APPLY);
    stage.nothing_to_do();
    assert_eq!(aws.numbers(REGION, "demo"), [2]);
    let of_layers = |method: &str| {
        let is = |request: &layerwise_testkit::Request| request.method == method && request.path.contains("/layers/");
        aws.requests().iter().rposition(is)
    };
    assert!(of_layers("POST") < of_layers("DELETE"), "published before the old one was deleted");
    // Deleted by somebody: made again.
    let _ = aws.delete(REGION, "demo", 2);
    let plan = stage.changes();
    assert!(plan.contains("layerwise_layer_version.it has been deleted") || plan.contains("will be created"), "{plan}");
    stage.success(APPLY);
    assert_eq!(aws.numbers(REGION, "demo"), [3]);
    stage.nothing_to_do();
    stage.success("destroy -auto-approve");
    assert!(aws.numbers(REGION, "demo").is_empty());
}

/// What is there already is taken over; what only looks so is not, and is never deleted with what it replaces.
#[test]
fn a_layer_version_that_is_there_is_taken_over() {
    let (served, aws) = (demo().serve(), Aws::serve());
    let Some(stage) = Stage::in_aws(&served, aws.url(), &version(CREATE_FIRST)) else { return };
    stage.write("requirements.txt", "beta\n");
    stage.success(APPLY);
    fs_err::remove_file(stage.dir().join("terraform.tfstate")).unwrap();
    stage.success(APPLY);
    assert_eq!((aws.numbers(REGION, "demo"), &stage.it()["version"]), (vec![1], &1.into()));
    // Other words, the same bytes: another version.
    stage.write("main.tf", &format!("{TERRAFORM}{}", version(&format!("description = \"new\"\n{CREATE_FIRST}"))));
    stage.success(APPLY);
    assert_eq!((aws.numbers(REGION, "demo"), &stage.it()["version"]), (vec![2], &2.into()));
    // Other inputs that come to the same bytes: the version stays, though the old object is destroyed.
    let same = format!("description = \"new\"\nexclude = [\"nothing/**\"]\n{CREATE_FIRST}");
    stage.write("main.tf", &format!("{TERRAFORM}{}", version(&same)));
    let plan = stage.changes();
    assert!(plan.contains("must be replaced"), "{plan}");
    stage.success(APPLY);
    assert_eq!((aws.numbers(REGION, "demo"), &stage.it()["version"]), (vec![2], &2.into()));
    stage.nothing_to_do();
    // What is to stay stays.
    stage.write("main.tf", &format!("{TERRAFORM}{}", version(&format!("skip_destroy = true\n{same}"))));
    let plan = stage.changes();
    assert!(plan.contains("Plan: 0 to add, 1 to change, 0 to destroy."), "{plan}");
    stage.success(APPLY);
    stage.success("destroy -auto-approve");
    assert_eq!(aws.numbers(REGION, "demo"), [2]);
}

#[test]
fn a_layer_version_is_imported() {
    let (served, aws) = (demo().serve(), Aws::serve());
    let Some(stage) = Stage::in_aws(&served, aws.url(), &version("")) else { return };
    stage.write("requirements.txt", "beta==2.0\n");
    stage.success(APPLY);
    let arn = stage.it()["arn"].as_str().unwrap().to_owned();
    let import = format!("import layerwise_layer_version.it {arn}");
    let forget = || fs_err::remove_file(stage.dir().join("terraform.tfstate")).unwrap();
    forget();
    stage.success(&import);
    // The same bytes: nothing is replaced.
    let plan = stage.changes();
    assert!(plan.contains("layerwise_layer_version.it will be updated in-place"), "{plan}");
    stage.success(APPLY);
    stage.nothing_to_do();
    assert_eq!(aws.numbers(REGION, "demo"), [1]);
    // Others: said before it is done.
    forget();
    stage.success(&import);
    stage.write("requirements.txt", "alpha==1.0\n");
    let plan = stage.changes();
    assert!(plan.contains("must be replaced"), "{plan}");
    for (id, says) in [("demo", "is not the ARN of a layer version"), (&format!("{arn}7"), "is not there")] {
        forget();
        let text = stage.ends(&format!("import layerwise_layer_version.it {id}"), 1);
        assert!(text.contains(says), "{text}");
        stage.write("terraform.tfstate", "");
    }
}

/// Plan here, apply there; also when the hash is known at plan.
#[test]
fn a_layer_version_planned_here_is_applied_elsewhere() {
    let (served, aws) = (demo().serve(), Aws::serve());
    for build_at in ["apply", "plan"] {
        let config = version(&format!("build_at = \"{build_at}\"")).replace("\"demo\"", &format!("\"{build_at}\""));
        let Some(here) = Stage::in_aws(&served, aws.url(), &config) else { return };
        here.write("requirements.txt", "alpha\n");
        let plan = here.success("plan -out=saved");
        let known = plan.lines().any(|line| line.contains("+ code_sha256") && !line.contains("known after apply"));
        assert_eq!(known, build_at == "plan", "{plan}");
        fs_err::write(here.dir().join("terraform.tfstate"), "").unwrap();
        let there = here.elsewhere(&served, aws.url());
        fs_err::copy(here.dir().join("saved"), there.dir().join("saved")).unwrap();
        there.success("apply saved");
        there.nothing_to_do();
        assert_eq!(aws.versions(REGION, build_at), 1);
    }
}

/// The findings of the check, and what AWS says, stand at the attribute that could change it.
#[test]
fn what_is_wrong_with_a_layer_version() {
    let served = Index::new().wheel(beta()).wheel(broken()).serve();
    let aws = Aws::serve();
    let Some(stage) = Stage::in_aws(&served, aws.url(), "") else { return };
    let says = |lines: &str, command: &str, expected: &[&str]| {
        let text = format!("{TERRAFORM}resource \"layerwise_layer_version\" \"it\" {{\n{lines}\n}}\n");
        stage.write("main.tf", &text);
        let text = stage.ends(command, 1).replace('\n', " ").replace('│', "");
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for words in expected {
            assert!(text.contains(words), "{words}: {text}");
        }
    };
    let beta = "requirements = [\"beta\"]\nruntime = \"python3.13\"";
    says(&format!("{beta}\nlayer_name = \"a b\""), "validate", &["`a b` is not a layer name", "layer_name = \"a b\""]);
    says(&format!("{beta}\nlayer_name = \"a\"\nby_reference = true"), "validate", &["needs a bucket"]);
    let region = format!("{beta}\nlayer_name = \"a\"\nregion = \"Ireland\"");
    says(&region, APPLY, &["`Ireland` is not the name of an AWS region", "region = \"Ireland\""]);
    let findings = "requirements = [\"beta\", \"broken\"]\nruntime = \"python3.13\"\nlayer_name = \"a\"";
    says(
        findings,
        APPLY,
        &["native-architecture", "the layer would not work on", "requirements = [\"beta\", \"broken\"]"],
    );
    assert_eq!(aws.versions(REGION, "a"), 0);
    let _ = aws.refuse(("POST", "/versions", ""), (403, "AccessDeniedException", "not you"), 1);
    let denied = ["AWS does not allow lambda:PublishLayerVersion", "hint: the caller needs a policy that allows"];
    says(&format!("{beta}\nlayer_name = \"a\""), APPLY, &denied);
    // Published, but not to be seen: it is in the state, and said.
    let _ = aws.refuse(("GET", "/versions/1", ""), (403, "AccessDeniedException", "not you"), usize::MAX);
    let half =
        ["AWS does not allow lambda:GetLayerVersion", "done: arn:aws:lambda:eu-west-1:123456789012:layer:a:1 is"];
    says(&format!("{beta}\nlayer_name = \"a\""), APPLY, &half);
    let state = fs_err::read_to_string(stage.dir().join("terraform.tfstate")).unwrap();
    assert!(state.contains("layer:a:1"), "{state}");
}
