//! The provider under the real `terraform`: the one on PATH, or one that is installed for the tests.

use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use layerwise_testkit::{Aws, Cli, Fault, Index, Machine, Served, elf, moto, wheel};

use super::real_index::skipped;
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

/// A configuration with the provider installed.
struct Stage {
    terraform: PathBuf,
    cli: Cli,
}

impl Stage {
    fn new(served: &Served, config: &str) -> Self {
        Self::with(layerwise(served, ""), config)
    }

    /// The same with an AWS.
    fn in_aws(served: &Served, url: &str, config: &str) -> Self {
        let cli = layerwise(served, "").env("AWS_ENDPOINT_URL", url).env("AWS_REGION", REGION);
        let cli = cli.env("AWS_ACCESS_KEY_ID", "testing").env("AWS_SECRET_ACCESS_KEY", "testing");
        Self::with(cli.env("AWS_EC2_METADATA_DISABLED", "true"), config)
    }

    fn with(cli: Cli, config: &str) -> Self {
        let (terraform, _) = layerwise_testkit::terraform();
        let cli = cli.args(words("terraform install")).file("main.tf", format!("{TERRAFORM}{config}"));
        let run = cli.run().success();
        assert!(run.stdout.contains("source  = \"layerwise/layerwise\""), "{run}");
        let stage = Self { terraform, cli };
        stage.success("init");
        stage
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
    let stage = Stage::new(&served, LAYER);
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
    let stage = Stage::new(&served, LAYER);
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
        let here = Stage::new(&served, &layer);
        let there = Stage::new(&served, &layer);
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
    let stage = Stage::new(&served, "");
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
        let other = Self::in_aws(served, url, "");
        self.check_out(&other);
        other
    }

    fn check_out(&self, other: &Self) {
        for file in ["main.tf", "requirements.txt", "terraform.tfstate"] {
            fs_err::copy(self.dir().join(file), other.dir().join(file)).unwrap();
        }
    }

    /// Starts it in a process group of its own, as a shell does.
    fn start(&self, line: &str) -> Child {
        let mut command = self.command(line);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn().unwrap()
    }

    /// Processes that know of this stage, Terraform itself apart: providers, uv, compilers.
    fn others(&self) -> Vec<String> {
        let root = self.cli.home().parent().unwrap().display().to_string();
        let all = fs_err::read_dir("/proc").unwrap().flatten();
        let commands = all.filter_map(|entry| fs_err::read(entry.path().join("cmdline")).ok());
        commands.map(|line| String::from_utf8_lossy(&line).replace('\0', " ")).filter(|l| l.contains(&root)).collect()
    }

    /// Waits until nothing of it runs, and nothing of a provider is left in the temporary directory.
    #[track_caller]
    fn nothing_is_left(&self) {
        let since = Instant::now();
        let temp = self.cli.home().with_file_name("tmp");
        let left = || {
            let files = fs_err::read_dir(&temp).unwrap().flatten().map(|entry| entry.path().display().to_string());
            self.others().into_iter().chain(files).collect::<Vec<_>>()
        };
        while !left().is_empty() {
            assert!(since.elapsed() < Duration::from_secs(20), "still there: {:?}", left());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn a_layer_version_lives() {
    let (served, aws) = (demo().serve(), Aws::serve());
    let stage = Stage::in_aws(&served, aws.url(), &version(CREATE_FIRST));
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
    let stage = Stage::in_aws(&served, aws.url(), &version(CREATE_FIRST));
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
    let stage = Stage::in_aws(&served, aws.url(), &version(""));
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

#[test]
fn a_zip_is_imported() {
    let served = demo().serve();
    let stage = Stage::new(&served, LAYER);
    stage.write("requirements.txt", "beta\n");
    stage.success(APPLY);
    let zip = stage.zip();
    stage.success("state rm layerwise_layer.it");
    stage.success("import layerwise_layer.it build/it.zip");
    stage.success(APPLY);
    stage.nothing_to_do();
    assert_eq!(stage.zip(), zip);
    stage.success("state rm layerwise_layer.it");
    let text = stage.ends("import layerwise_layer.it build/other.zip", 1);
    assert!(text.contains("failed to read the zip `build/other.zip`"), "{text}");
}

#[test]
fn the_data_source_builds_when_it_is_read() {
    let served = demo().serve();
    let data = "data \"layerwise_layer\" \"it\" {\n requirements = [\"alpha==1.0\"]\n runtime = \"python3.13\"\n \
                output_path = \"build/it.zip\"\n}\noutput \"it\" {\n value = data.layerwise_layer.it.sha256\n}\n";
    let stage = Stage::new(&served, data);
    stage.success("plan");
    let sha256 = layerwise_testkit::sha256(&stage.zip());
    stage.success(APPLY);
    assert_eq!(stage.success("output -raw it"), sha256);
    stage.nothing_to_do();
    // Gone: read again, made again, nothing changes.
    fs_err::remove_dir_all(stage.dir().join("build")).unwrap();
    stage.nothing_to_do();
    assert_eq!(layerwise_testkit::sha256(&stage.zip()), sha256);
}

/// Plan here, apply there; also when the hash is known at plan.
#[test]
fn a_layer_version_planned_here_is_applied_elsewhere() {
    let (served, aws) = (demo().serve(), Aws::serve());
    for build_at in ["apply", "plan"] {
        let config = version(&format!("build_at = \"{build_at}\"")).replace("\"demo\"", &format!("\"{build_at}\""));
        let here = Stage::in_aws(&served, aws.url(), &config);
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
    let stage = Stage::in_aws(&served, aws.url(), "");
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

/// Kills by name what a test has started itself.
fn signal(name: &str, target: &str) {
    assert!(Command::new("kill").args([name, "--", target]).status().unwrap().success());
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < Duration::from_secs(60), "{what} did not come about");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// An index that takes seconds to send a wheel.
fn slow() -> Served {
    demo().fault(Fault::Slow { bytes_per_second: 20_000 }.on("alpha-1.0*.whl")).serve()
}

fn is_downloading(served: &Served) -> bool {
    served.requests().iter().any(|request| request.path.ends_with(".whl") && request.path.contains("alpha"))
}

/// Ctrl-C reaches the whole process group: what is being made becomes ready, and is in the state.
#[test]
fn ctrl_c_in_the_middle_of_an_apply() {
    if !layerwise_testkit::terraform().1 {
        return skipped("ctrl_c_in_the_middle_of_an_apply", "this Terraform is no program of its own");
    }
    // While versions are chosen: uv runs then, and would be hit too.
    let served = demo().fault(Fault::Slow { bytes_per_second: 100 }.on("/simple/alpha/")).serve();
    let aws = Aws::serve();
    let stage = Stage::in_aws(&served, aws.url(), &version(""));
    stage.write("requirements.txt", "alpha\n");
    let child = stage.start(APPLY);
    wait_until("a question to the index", || served.count("/simple/alpha/") > 0);
    signal("-INT", &format!("-{}", child.id()));
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("Interrupt received"), "{text}");
    assert!(text.contains("layerwise_layer_version.it: Creation complete"), "{text}");
    stage.nothing_is_left();
    assert_eq!(aws.numbers(REGION, "demo"), [1]);
    // It goes on where it was.
    stage.success(APPLY);
    stage.nothing_to_do();
    assert_eq!(aws.numbers(REGION, "demo"), [1]);
}

#[test]
fn terraform_is_killed_in_the_middle_of_an_apply() {
    if !layerwise_testkit::terraform().1 {
        return skipped("terraform_is_killed_in_the_middle_of_an_apply", "this Terraform is no program of its own");
    }
    let served = slow();
    let stage = Stage::new(&served, LAYER);
    stage.write("requirements.txt", "alpha\n");
    let mut child = stage.start(APPLY);
    wait_until("a download", || is_downloading(&served));
    child.kill().unwrap();
    let _status = child.wait().unwrap();
    stage.nothing_is_left();
    let left: Vec<_> = fs_err::read_dir(stage.dir().join("build")).unwrap().flatten().map(|e| e.path()).collect();
    assert!(left.is_empty(), "{left:?}");
    served.heal();
    stage.success("apply -auto-approve -lock=false");
    stage.nothing_to_do();
}

/// Whoever is on this machine can reach the socket or its port: without Terraform's certificate nothing is answered.
#[test]
fn a_client_without_the_certificate() {
    let identity = || {
        let key = rcgen::KeyPair::generate().unwrap();
        let own = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        (own, key)
    };
    let (announced, key) = identity();
    let stage = Stage::new(&demo().serve(), "");
    let plugins = stage.cli.home().join(".terraform.d/plugins/registry.terraform.io/layerwise/layerwise");
    let version = fs_err::read_dir(plugins).unwrap().flatten().next().unwrap().path();
    let platform = fs_err::read_dir(version).unwrap().flatten().next().unwrap().path();
    let provider = fs_err::read_dir(platform).unwrap().flatten().next().unwrap().path();
    let mut command = Command::new(provider);
    command.env_clear().envs(stage.cli.command().get_envs().filter_map(|(key, value)| Some((key, value?))));
    command.env("TF_PLUGIN_MAGIC_COOKIE", "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2");
    command.env("PLUGIN_PROTOCOL_VERSIONS", "5,6").env("PLUGIN_CLIENT_CERT", announced.pem());
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
    let parts: Vec<&str> = line.trim().split('|').collect();
    let ["1", "6", "unix", socket, "grpc", certificate] = parts.as_slice() else { panic!("{line}") };
    let certificate = base64::Engine::decode(&base64::engine::general_purpose::STANDARD_NO_PAD, certificate).unwrap();

    // What the provider answers to the first bytes of HTTP/2, if it answers.
    let answered = |identity: Option<(&rcgen::Certificate, &rcgen::KeyPair)>| {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate.clone().into()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots);
        let mut config = match identity {
            Some((own, key)) => {
                let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
                config.with_client_auth_cert(vec![own.der().clone()], key.into()).unwrap()
            }
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let mut tls = rustls::ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
        let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
        let mut stream = rustls::Stream::new(&mut tls, &mut stream);
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").ok();
        let mut first = [0; 1];
        stream.read(&mut first).is_ok_and(|length| length == 1)
    };
    assert!(!answered(None), "no certificate");
    let (other, other_key) = identity();
    assert!(!answered(Some((&other, &other_key))), "another certificate");
    assert!(child.try_wait().unwrap().is_none(), "it goes on after strangers");
    assert!(answered(Some((&announced, &key))), "Terraform's own");
    // The last connection is closed: it ends by itself.
    assert!(child.wait().unwrap().success());
    stage.nothing_is_left();
}

/// The study's S4: what fails while it is built takes nothing away.
#[test]
fn a_build_that_fails_takes_nothing_away() {
    let (served, aws) = (demo().serve(), Aws::serve());
    let stage = Stage::in_aws(&served, aws.url(), &version(CREATE_FIRST));
    stage.write("requirements.txt", "beta==2.0\n");
    stage.success(APPLY);
    stage.write("requirements.txt", "beta==2.0\nnosuchpackage\n");
    let text = stage.ends(APPLY, 1);
    assert!(text.contains("`nosuchpackage` was not found"), "{text}");
    assert!(!text.contains("layerwise_layer_version.it: Destroying"), "{text}");
    assert_eq!(aws.numbers(REGION, "demo"), [1]);
    stage.write("requirements.txt", "beta==2.0\n");
    stage.success(APPLY);
    assert_eq!(aws.numbers(REGION, "demo"), [1]);
    // Without it, finding out at plan does the same.
    stage.write("main.tf", &format!("{TERRAFORM}{}", version("build_at = \"plan\"")));
    stage.write("requirements.txt", "beta==2.0\nnosuchpackage\n");
    let text = stage.ends("plan", 1);
    assert!(text.contains("`nosuchpackage` was not found"), "{text}");
}

/// The study's S5 and S9: a checkout without the zip, at another path; and what uses the zip replaced in it.
#[test]
fn a_fresh_checkout_has_its_zip_before_anybody_needs_it() {
    let user = "resource \"terraform_data\" \"user\" {\n triggers_replace = var.word\n \
                provisioner \"local-exec\" {\n command = \"test -f ${layerwise_layer.it.path}\"\n }\n}\n\
                variable \"word\" {\n default = \"a\"\n}\n";
    let layer = LAYER.split("resource \"terraform_data\"").next().unwrap();
    let served = demo().serve();
    let first = Stage::new(&served, &format!("{layer}{user}"));
    first.write("requirements.txt", "alpha\n");
    // The provisioner's shell.
    let first = Stage { cli: first.cli.path("/usr/bin").path("/bin"), ..first };
    first.success(APPLY);
    let second = Stage::new(&served, "");
    first.check_out(&second);
    let plan = second.changes();
    assert!(plan.contains("Plan: 0 to add, 1 to change, 0 to destroy."), "{plan}");
    let second = Stage { cli: second.cli.path("/usr/bin").path("/bin"), ..second };
    second.success("apply -auto-approve -var word=b");
    assert_eq!(second.zip(), first.zip());
}

/// The study's S13.
#[test]
fn requirements_edited_after_the_plan_are_refused() {
    let served = demo().serve();
    let stage = Stage::new(&served, LAYER);
    stage.write("requirements.txt", "alpha\n");
    stage.success("plan -out=saved");
    stage.write("requirements.txt", "beta\n");
    let text = stage.ends("apply saved", 1);
    assert!(text.contains("inconsistent final plan"), "{text}");
    assert!(!stage.dir().join("build/it.zip").exists());
}

/// Slow without optimisation: with `LAYERWISE_SLOW_TESTS`.
#[test]
fn a_large_layer_version_goes_through_a_bucket() {
    if std::env::var_os("LAYERWISE_SLOW_TESTS").is_none() {
        return skipped("a_large_layer_version_goes_through_a_bucket", "LAYERWISE_SLOW_TESTS is not set");
    }
    let large = wheel("large", "1.0").file("large/data.bin", super::noise(51 << 20)).file("large/__init__.py", "");
    let (served, aws) = (Index::new().wheel(large.build()).serve(), Aws::serve());
    let stage = Stage::in_aws(&served, aws.url(), &version(""));
    stage.write("requirements.txt", "large\n");
    let text = stage.ends(APPLY, 1);
    assert!(text.contains("Lambda takes at most") && text.contains("name a bucket in the layer's region"), "{text}");
    assert!(aws.numbers(REGION, "demo").is_empty());
    stage.write("main.tf", &format!("{TERRAFORM}{}", version("bucket = \"zips\"")));
    stage.success(APPLY);
    stage.nothing_to_do();
    assert_eq!(aws.numbers(REGION, "demo"), [1]);
    assert!(aws.requests().iter().any(|request| request.method == "PUT" && request.path.starts_with("/zips/")));
}

/// Against somebody else's AWS, read back by the real `aws`.
#[test]
fn a_layer_version_in_moto() {
    if std::env::var_os("LAYERWISE_SLOW_TESTS").is_none() {
        return skipped("a_layer_version_in_moto", "LAYERWISE_SLOW_TESTS is not set");
    }
    let (served, moto) = (demo().serve(), moto());
    let words = format!("description = \"for it\"\nlicense = \"MIT\"\n{CREATE_FIRST}");
    let stage = Stage::in_aws(&served, moto.url(), &version(&words));
    let get = |number: &str| {
        let layer = ["--region", REGION, "--layer-name", "demo", "--version-number", number];
        moto.aws(&[&["lambda", "get-layer-version"][..], &layer].concat())
    };
    let numbers = || {
        let found = moto.aws(&["lambda", "list-layer-versions", "--region", REGION, "--layer-name", "demo"]);
        let all = found["LayerVersions"].as_array().cloned().unwrap_or_default();
        all.iter().map(|one| one["Version"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    stage.write("requirements.txt", "beta==2.0\n");
    stage.success(APPLY);
    stage.nothing_to_do();
    let (found, it) = (get("1"), stage.it());
    assert_eq!((&found["LayerVersionArn"], &found["Content"]["CodeSha256"]), (&it["arn"], &it["code_sha256"]));
    assert_eq!((&found["Description"], &found["LicenseInfo"]), (&"for it".into(), &"MIT".into()));
    assert_eq!(found["CompatibleRuntimes"], serde_json::json!(["python3.13"]));
    assert_eq!(found["CompatibleArchitectures"], serde_json::json!(["x86_64"]));
    // The state is lost: taken over.
    fs_err::remove_file(stage.dir().join("terraform.tfstate")).unwrap();
    stage.success(APPLY);
    assert_eq!(numbers(), [1]);
    stage.write("requirements.txt", "alpha==1.0\n");
    stage.success(APPLY);
    assert_eq!(numbers(), [2]);
    let layer = ["--region", REGION, "--layer-name", "demo", "--version-number", "2"];
    moto.aws(&[&["lambda", "delete-layer-version"][..], &layer].concat());
    stage.changes();
    stage.success(APPLY);
    stage.nothing_to_do();
    assert_eq!(numbers(), [3]);
    stage.success("destroy -auto-approve");
    assert!(numbers().is_empty());
}

/// Each request that a layer version makes is refused once: what Terraform says, and what it has then.
#[test]
fn aws_says_no_to_a_layer_version() {
    let (served, aws) = (demo().serve(), Aws::serve());
    let stage = Stage::in_aws(&served, aws.url(), &version(CREATE_FIRST));
    let says = |line: &str, expected: &[&str]| {
        let text = stage.ends(line, 1).replace('│', "");
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for words in expected {
            assert!(text.contains(words), "{words}: {text}");
        }
    };
    let refused = |(method, path): (&str, &str), code: &str, line: &str, expected: &[&str]| {
        let _ = aws.refuse((method, path, ""), (403, code, "no"), 1);
        says(line, expected);
    };
    stage.write("requirements.txt", "beta==2.0\n");
    let denied = "AccessDeniedException";
    let list = ["AWS does not allow lambda:ListLayerVersions on", "hint: the caller needs a policy that allows"];
    refused(("GET", "/versions?"), denied, APPLY, &list);
    let publish = ["AWS does not allow lambda:PublishLayerVersion on", "hint: the caller needs a policy that allows"];
    refused(("POST", "/versions"), denied, APPLY, &publish);
    assert!(aws.numbers(REGION, "demo").is_empty());
    refused(
        ("POST", "/versions"),
        "ExpiredTokenException",
        APPLY,
        &["the AWS credentials are not valid", "aws sso login"],
    );
    stage.success(APPLY);
    assert_eq!(aws.numbers(REGION, "demo"), [1]);
    // What cannot be looked at is neither gone nor changed.
    let get = ["AWS does not allow lambda:GetLayerVersion on", "hint: the caller needs a policy that allows"];
    refused(("GET", "/versions/1"), denied, "plan", &get);
    stage.nothing_to_do();
    // The new one is there, the old one stays where it may not be deleted, and both are known.
    stage.write("requirements.txt", "alpha==1.0\n");
    let delete = ["AWS does not allow lambda:DeleteLayerVersion on", "hint: the caller needs a policy that allows"];
    refused(("DELETE", "/versions/1"), denied, APPLY, &delete);
    assert_eq!((aws.numbers(REGION, "demo"), &stage.it()["version"]), (vec![1, 2], &2.into()));
    stage.success(APPLY);
    assert_eq!(aws.numbers(REGION, "demo"), [2]);
    stage.nothing_to_do();
    // A bucket in another region, or one that keeps no versions.
    let with = |lines: &str| stage.write("main.tf", &format!("{TERRAFORM}{}", version(lines)));
    with(
        "region = \"us-east-1\"\nbucket = \"zips\"\nby_reference = true\nlifecycle {\n create_before_destroy = true\n }",
    );
    says(
        APPLY,
        &[
            "the bucket `zips` is in eu-west-1; Lambda in us-east-1 reads only buckets of us-east-1",
            "bucket = \"zips\"",
        ],
    );
    with(&format!("description = \"x\"\nbucket = \"zips\"\nby_reference = true\n{CREATE_FIRST}"));
    says(APPLY, &["the bucket `zips` keeps no versions", "done: the zip is at s3://zips/"]);
    assert_eq!(aws.numbers(REGION, "demo"), [2]);
    // Nobody to ask as, and nowhere to ask.
    with(CREATE_FIRST);
    let stage = Stage { cli: stage.cli.env("AWS_ACCESS_KEY_ID", "").env("AWS_SECRET_ACCESS_KEY", ""), ..stage };
    let text = stage.ends("plan", 1);
    assert!(text.contains("no AWS credentials for eu-west-1") && text.contains("set `profile`"), "{text}");
    let stage = Stage { cli: stage.cli.env("AWS_REGION", ""), ..stage };
    fs_err::remove_file(stage.dir().join("terraform.tfstate")).unwrap();
    let text = stage.ends("plan", 1);
    assert!(text.contains("no AWS region is named") && text.contains("set `region` here"), "{text}");
}

/// The example's module as it is, in a project of its own: hashicorp/aws is a double with the schema of version 6, AWS is in
/// process.
fn module(served: &Served, url: &str) -> Option<Stage> {
    let double = Path::new(env!("CARGO_BIN_EXE_layerwise")).with_file_name("examples").join("aws-double");
    if !double.is_file() {
        skipped("the_module", "no aws-double: `cargo build -p layerwise-terraform --example aws-double` makes it");
        return None;
    }
    let cli = layerwise(served, "").env("AWS_ENDPOINT_URL", url).env("AWS_REGION", REGION);
    let cli = cli.env("AWS_ACCESS_KEY_ID", "testing").env("AWS_SECRET_ACCESS_KEY", "testing");
    let platform = if cfg!(target_arch = "aarch64") { "linux_arm64" } else { "linux_amd64" };
    let place = format!(".terraform.d/plugins/registry.terraform.io/hashicorp/aws/6.66.0/{platform}");
    let place = cli.home().join(place);
    fs_err::create_dir_all(&place).unwrap();
    fs_err::copy(double, place.join("terraform-provider-aws_v6.66.0")).unwrap();
    let journal = cli.project().join("journal");
    let stage = checked_out(cli.env("AWS_DOUBLE_JOURNAL", journal));
    stage.success("init");
    Some(stage)
}

/// The example's `terraform` with a small project around it.
fn checked_out(cli: Cli) -> Stage {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/document-processor/terraform");
    let project = cli.project().to_owned();
    let cli = cli
        .file("layerwise.toml", "[layer.document-processor]\nrequirements = [\"requirements.txt\"]\n")
        .file("requirements.txt", "alpha==1.0\n")
        .file("extract-text/index.py", "import alpha\n\ndef handler(event, context):\n    return 1\n")
        .file("terraform/tests/.keep", "");
    for name in super::files_below(&example) {
        if !name.starts_with(".terraform") && !name.starts_with("build") {
            let to = project.join("terraform").join(&name);
            fs_err::create_dir_all(to.parent().unwrap()).unwrap();
            fs_err::copy(example.join(&name), to).unwrap();
        }
    }
    let (terraform, _) = layerwise_testkit::terraform();
    let cli = cli.args(words("terraform install")).dir(project.join("terraform"));
    let _run = cli.run().success();
    Stage { terraform, cli }
}

fn module_index() -> Served {
    let alpha = |version: &str| wheel("alpha", version).file("alpha.py", format!("V = '{version}'\n")).build();
    Index::new().wheel(alpha("1.0")).wheel(alpha("2.0")).serve()
}

#[test]
fn the_module() {
    const APPLY: &str = "apply -auto-approve -var bucket=documents";
    const PLAN: &str = "plan -detailed-exitcode -var bucket=documents";
    const NAME: &str = "dev-chatbot-document-processor";
    let (served, aws) = (module_index(), Aws::serve());
    let Some(stage) = module(&served, aws.url()) else { return };
    let project = stage.dir().parent().unwrap().to_owned();
    let journal = || {
        let text = fs_err::read_to_string(project.join("journal")).unwrap_or_default();
        fs_err::write(project.join("journal"), "").unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    stage.success("validate");
    let text = stage.success(APPLY);
    assert!(text.contains("Apply complete! Resources: 9 added, 0 changed, 0 destroyed."), "{text}");
    assert_eq!(aws.numbers(REGION, NAME), [1]);
    let made = journal();
    assert_eq!(made.len(), 7, "{made:?}");
    stage.ends(PLAN, 0);
    // A comment: nothing. The zip of the function gone: it comes back, and nothing of AWS's changes.
    fs_err::write(project.join("requirements.txt"), "# pinned\nalpha==1.0\n").unwrap();
    stage.ends(PLAN, 0);
    fs_err::remove_dir_all(stage.dir().join("build")).unwrap();
    let plan = stage.ends(PLAN, 2);
    assert!(plan.contains("Plan: 0 to add, 1 to change, 0 to destroy."), "{plan}");
    stage.success(APPLY);
    assert_eq!(journal(), Vec::<String>::new());
    // Another version: published, taken by the function, and only then is the old one deleted.
    fs_err::write(project.join("requirements.txt"), "alpha==2.0\n").unwrap();
    let text = stage.success(APPLY);
    assert!(text.contains("Apply complete! Resources: 1 added, 2 changed, 1 destroyed."), "{text}");
    assert_eq!(journal(), [format!("update aws_lambda_function {NAME}")]);
    assert_eq!(aws.numbers(REGION, NAME), [2]);
    let at =
        |words: &str| text.lines().position(|line| line.contains(words)).unwrap_or_else(|| panic!("{words}: {text}"));
    let published = at("layerwise_layer_version.this: Creation complete");
    let updated = at("aws_lambda_function.this: Modifications complete");
    assert!(published < updated && updated < at("Destroying..."), "{text}");
    stage.ends(PLAN, 0);
    // What the layer does not bring, the function must not import.
    fs_err::write(project.join("extract-text/index.py"), "import beta\n\ndef handler(event, context): ...\n").unwrap();
    let text = stage.ends(APPLY, 1);
    assert!(text.contains("layerwise_function.this") && text.contains("beta"), "{text}");
    assert_eq!(journal(), Vec::<String>::new());
    stage.success("destroy -auto-approve -var bucket=documents");
    assert!(aws.numbers(REGION, NAME).is_empty());
}

/// `terraform test` of the module, as its file says: hashicorp/aws is Terraform's own mock.
#[test]
fn the_module_tests_itself() {
    let (served, aws) = (module_index(), Aws::serve());
    let Some(stage) = module(&served, aws.url()) else { return };
    let text = stage.success("test");
    assert!(text.contains("Success! 2 passed, 0 failed."), "{text}");
}

/// Layers that hashicorp/aws publishes: the old version is there until the new one is, and the zip before it is read.
#[test]
fn a_zip_that_hashicorps_aws_publishes() {
    let served = module_index();
    let Some(stage) = module(&served, "http://127.0.0.1:9") else { return };
    fs_err::remove_dir_all(stage.dir().join("modules")).unwrap();
    fs_err::remove_dir_all(stage.dir().join("tests")).unwrap();
    let versions = "terraform {\n required_providers {\n aws = { source = \"hashicorp/aws\" }\n layerwise = { source = \"layerwise/layerwise\" }\n }\n}\n";
    let layer = r#"
resource "layerwise_layer" "it" {
  requirements_file = "../requirements.txt"
  runtime           = "python3.11"
  output_path       = "build/it.zip"
}
resource "aws_lambda_layer_version" "it" {
  layer_name               = "it"
  filename                 = layerwise_layer.it.path
  source_code_hash         = layerwise_layer.it.source_code_hash
  compatible_runtimes      = [layerwise_layer.it.runtime]
  compatible_architectures = [layerwise_layer.it.architecture]
  lifecycle {
    create_before_destroy = true
  }
}
"#;
    stage.write("main.tf", &format!("{versions}{layer}"));
    stage.success("init");
    stage.success(APPLY);
    stage.nothing_to_do();
    let requirements = stage.dir().parent().unwrap().join("requirements.txt");
    fs_err::write(requirements, "alpha==2.0\n").unwrap();
    stage.success(APPLY);
    stage.nothing_to_do();
    let arn = |version: u32| format!("arn:aws:lambda:us-east-1:123456789012:layer:it:{version}");
    let journal = fs_err::read_to_string(stage.dir().parent().unwrap().join("journal")).unwrap();
    let [first, second] = [arn(1), arn(2)];
    let expected = [
        format!("create aws_lambda_layer_version {first}"),
        format!("create aws_lambda_layer_version {second}"),
        format!("destroy aws_lambda_layer_version {first}"),
    ];
    assert_eq!(journal.lines().collect::<Vec<_>>(), expected);
    // Only the words of the version change, and the zip is gone: it is back before it is read.
    fs_err::remove_dir_all(stage.dir().join("build")).unwrap();
    stage.write("main.tf", &format!("{versions}{}", layer.replace("= \"it\"\n", "= \"it\"\n description = \"new\"\n")));
    stage.success(APPLY);
    stage.nothing_to_do();
}

/// The module with the genuine hashicorp/aws, which is of 2021 and does not know `architectures` or Python 3.11: those are
/// taken out. Opt-in, since it is 74 MB from PyPI by an uploader of no note.
#[test]
fn the_module_with_the_genuine_aws() {
    if std::env::var_os("LAYERWISE_GENUINE_AWS").is_none() {
        return skipped("the_module_with_the_genuine_aws", "LAYERWISE_GENUINE_AWS is not set");
    }
    const APPLY: &str = "apply -auto-approve -var bucket=documents";
    const PLAN: &str = "plan -detailed-exitcode -var bucket=documents";
    let (served, moto) = (module_index(), moto());
    let cli = layerwise(&served, "").env("AWS_ENDPOINT_URL", moto.url()).env("AWS_REGION", "us-east-1");
    let cli = cli.env("AWS_ACCESS_KEY_ID", "testing").env("AWS_SECRET_ACCESS_KEY", "testing");
    let place = cli.home().join(".terraform.d/plugins/registry.terraform.io/hashicorp/aws");
    fs_err::create_dir_all(&place).unwrap();
    let zip = layerwise_testkit::hashicorp_aws();
    fs_err::copy(&zip, place.join(zip.file_name().unwrap())).unwrap();
    let stage = checked_out(cli);
    let module = stage.dir().join("modules/document-processor");
    let edit = |path: PathBuf, from: &str, to: &str| {
        let text = fs_err::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from}");
        fs_err::write(&path, text.replace(from, to)).unwrap();
    };
    edit(module.join("versions.tf"), ">= 5.0", "3.39.0");
    edit(stage.dir().join("main.tf"), ">= 5.0", "3.39.0");
    edit(module.join("main.tf"), "  architectures    = [var.architecture]\n", "");
    edit(module.join("main.tf"), "  runtime          = var.runtime\n", "  runtime = \"python3.8\"\n");
    let url = moto.url();
    let services =
        ["lambda", "s3", "iam", "sts", "cloudwatchlogs"].map(|name| format!("{name} = \"{url}\"\n")).concat();
    let provider = format!(
        "provider \"aws\" {{\nregion = \"us-east-1\"\nskip_credentials_validation = true\nskip_metadata_api_check = true\n\
         skip_requesting_account_id = true\nskip_get_ec2_platforms = true\ns3_force_path_style = true\n\
         endpoints {{\n{services}}}\n}}\n"
    );
    stage.write("provider.tf", &provider);
    let lock = "provider \"registry.terraform.io/hashicorp/aws\" {\n version = \"3.39.0\"\n constraints = \"3.39.0\"\n \
                hashes = [\"zh:4b75e0a259b56d97e66b7d69f3f25bd4cc7be2440c0fe35529f46de7d40a49d3\"]\n}\n";
    stage.write(".terraform.lock.hcl", lock);
    stage.success("init");
    let text = stage.success(APPLY);
    assert!(text.contains("Apply complete! Resources: 9 added, 0 changed, 0 destroyed."), "{text}");
    stage.ends(PLAN, 0);
    let layers = || {
        let name = "dev-chatbot-document-processor";
        let region = ["--region", "us-east-1"];
        let function = [&["lambda", "get-function-configuration", "--function-name", name][..], &region].concat();
        let versions = [&["lambda", "list-layer-versions", "--layer-name", name][..], &region].concat();
        let used = moto.aws(&function)["Layers"][0]["Arn"].as_str().unwrap().to_owned();
        let there = moto.aws(&versions)["LayerVersions"].as_array().unwrap().len();
        (used.rsplit(':').next().unwrap().to_owned(), there)
    };
    assert_eq!(layers(), ("1".to_owned(), 1));
    fs_err::write(stage.dir().join("../requirements.txt"), "alpha==2.0\n").unwrap();
    let text = stage.success(APPLY);
    assert!(text.contains("Apply complete! Resources: 1 added, 2 changed, 1 destroyed."), "{text}");
    stage.ends(PLAN, 0);
    assert_eq!(layers(), ("2".to_owned(), 1));
    let text = stage.success("destroy -auto-approve -var bucket=documents");
    assert!(text.contains("Destroy complete! Resources: 9 destroyed."), "{text}");
}
