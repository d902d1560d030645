//! `cargo xtask bench`: layerwise against what people use instead, in the same run, whole processes, medians.
//!
//! Each row alternates its contestants, so that a slow minute of the machine is slow for all of them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fs_err as fs;
use layerwise_testkit::{Aws, Index, wheel};

use crate::bench_serve::{self, Serving};
use crate::{root, say};

const EXAMPLE: [&str; 3] = ["tiktoken>=0.7.0", "pdfplumber==0.10.3", "boto3==1.34.0"];
const LARGE: [&str; 3] = ["numpy", "pandas", "scipy"];
/// Near Lambda's limit of 250 MiB.
const LARGEST: [&str; 5] = ["numpy", "pandas", "scipy", "lxml", "cryptography"];

/// `--runs N` (7), `--serve` or `--terraform` (only those rows, and nothing is written), `--cold-build` (also measures `cargo build --release` from nothing).
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    let runs = match args.iter().position(|arg| arg == "--runs") {
        Some(at) => args.get(at + 1).and_then(|n| n.parse().ok()).ok_or("--runs wants a number")?,
        None => 7,
    };
    let mut report = Report::default();
    crate::run("cargo", &["build", "--release", "--quiet"], &[])?;
    let bench = Bench {
        layerwise: root().join("target/release/layerwise"),
        uv: layerwise_testkit::uv(),
        dir: tempdir()?,
        runs,
    };
    if args.iter().any(|arg| arg == "--serve") {
        return bench.serving(&mut report);
    }
    if args.iter().any(|arg| arg == "--terraform") {
        return bench.terraform(&mut report);
    }
    bench.example(&mut report)?;
    bench.large(&mut report)?;
    bench.check(&mut report)?;
    bench.many(&mut report)?;
    bench.serving(&mut report)?;
    bench.terraform(&mut report)?;
    if args.iter().any(|arg| arg == "--cold-build") {
        bench.cold_build(&mut report)?;
    }
    let text = report.text(runs);
    say(&text);
    fs::create_dir_all(root().join("docs")).map_err(|error| error.to_string())?;
    fs::write(root().join("docs/benchmarks.md"), text).map_err(|error| error.to_string())
}

struct Bench {
    layerwise: PathBuf,
    uv: PathBuf,
    dir: tempfile::TempDir,
    runs: usize,
}

#[derive(Default)]
struct Report {
    rows: Vec<String>,
}

/// One contestant of a row: what to do before each run (not measured), and the command.
struct Contestant<'a> {
    prepare: Box<dyn Fn() -> Result<(), String> + 'a>,
    command: Box<dyn Fn() -> Command + 'a>,
}

impl Bench {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A layerwise command with a cache of its own and no configuration of the user's.
    fn layerwise(&self, project: &Path, cache: &str, args: &[&str]) -> Command {
        let mut command = Command::new(&self.layerwise);
        command.current_dir(project).args(args).env("LAYERWISE_CACHE_DIR", self.path(cache)).arg("--quiet");
        let path = std::env::join_paths(
            self.uv.parent().into_iter().map(Path::to_owned).chain(std::env::split_paths(&path_variable())),
        );
        command.env("PATH", path.unwrap_or_default());
        command
    }

    fn uv_install(&self, project: &Path, cache: &str) -> Command {
        let mut command = Command::new(&self.uv);
        command.current_dir(project).args([
            "pip",
            "install",
            "--quiet",
            "--target",
            "installed",
            "--python-version",
            "3.11",
        ]);
        command.args([
            "--python-platform",
            "x86_64-manylinux_2_17",
            "--only-binary",
            ":all:",
            "-r",
            "requirements.txt",
        ]);
        command.arg("--cache-dir").arg(self.path(cache)).env_remove("UV_CACHE_DIR");
        command
    }

    fn project(&self, name: &str, requirements: &[&str], runtime: &str) -> Result<PathBuf, String> {
        let dir = self.path(name);
        let text = |error: std::io::Error| error.to_string();
        fs::create_dir_all(&dir).map_err(text)?;
        fs::write(dir.join("requirements.txt"), requirements.join("\n") + "\n").map_err(text)?;
        let config = format!("runtimes = [\"{runtime}\"]\noutput = \"layer.zip\"\n");
        fs::write(dir.join("layerwise.toml"), config).map_err(text)?;
        Ok(dir)
    }

    fn example(&self, report: &mut Report) -> Result<(), String> {
        let project = self.project("example", &EXAMPLE, "python3.11")?;
        let unlocked = self.project("unlocked", &EXAMPLE, "python3.11")?;
        succeed(self.layerwise(&project, "warm", &["lock"]))?;
        succeed(self.layerwise(&project, "warm", &["build"]))?;
        succeed(self.uv_install(&project, "uv-warm"))?;
        let size = megabytes(&project.join("layer.zip"));

        let warm = || contestant(|| Ok(()), || self.layerwise(&project, "warm", &["build"]));
        let times = self.race(&[warm(), contestant(|| Ok(()), || copy(&project.join("layer.zip")))])?;
        report.row(
            &format!("example ({size} MB), warm cache, lock present, zip written"),
            "`cp` + `sync` of the zip",
            &times,
            2.0,
        );

        let installed = project.join("installed");
        let clear = || remove(&installed);
        let install_and_zip = || {
            let install = self.uv_install(&project, "uv-warm");
            shell(&format!("{} && cd installed && zip -qr ../uv.zip .", quoted(&install)), &project)
        };
        let times = self.race(&[warm(), contestant(clear, install_and_zip)])?;
        report.row("the same", "`uv pip install --target`, warm cache, + `zip -qr`", &times, 1.0 / 30.0);

        let cold = |project: PathBuf| {
            contestant(|| remove(&self.path("cold")), move || self.layerwise(&project, "cold", &["build"]))
        };
        let uv_cold = || {
            let clear = || remove(&self.path("uv-cold")).and_then(|()| remove(&installed));
            contestant(clear, || self.uv_install(&project, "uv-cold"))
        };
        let times = self.race(&[cold(project.clone()), uv_cold()])?;
        report.row("cold cache, lock present", "`uv pip install --target`, cold cache, no zip", &times, 1.0);
        let times = self.race(&[cold(unlocked), uv_cold()])?;
        report.row("cold cache, no lock", "the same", &times, 1.2);
        Ok(())
    }

    fn large(&self, report: &mut Report) -> Result<(), String> {
        let project = self.project("large", &LARGE, "python3.13")?;
        succeed(self.layerwise(&project, "warm", &["lock"]))?;
        succeed(self.layerwise(&project, "warm", &["build"]))?;
        let zip = project.join("layer.zip");
        let unzipped = unzipped_megabytes(&zip)?;
        let warm = contestant(|| Ok(()), || self.layerwise(&project, "warm", &["build"]));
        let times = self.race(&[warm, contestant(|| Ok(()), || copy(&zip))])?;
        let what = format!("{} ({unzipped} MB unzipped, {} MB zip), warm", LARGE.join(", "), megabytes(&zip));
        report.row(&what, "`cp` + `sync` of the zip", &times, 2.0);
        let peak = peak_memory(&self.layerwise(&project, "warm", &["build"]))?;
        report.fact("the same, peak memory", &format!("{peak:.0} MiB"), "at most 64 MiB", peak <= 64.0);
        Ok(())
    }

    /// The static check: of the example, inside a build, and of a layer near Lambda's limit.
    fn check(&self, report: &mut Report) -> Result<(), String> {
        let project = self.project("example", &EXAMPLE, "python3.11")?;
        let check =
            |project: PathBuf| contestant(|| Ok(()), move || self.layerwise(&project, "none", &["check", "layer.zip"]));
        let auditwheel = self.auditwheel()?;
        let show = || contestant(|| Ok(()), || shell(&auditwheel, self.dir.path()));
        let times = self.race(&[check(project.clone()), show()])?;
        report.row(
            "static check of the example's layer, nothing cached",
            "`auditwheel show` of tiktoken's wheel alone",
            &times,
            1.0,
        );
        let taken = times[0].as_secs_f64() * 1e3;
        report.fact("the same", &format!("{taken:.0} ms"), "at most 150 ms", taken <= 150.0);

        let build = |arguments: &'static [&'static str]| {
            let project = project.clone();
            contestant(|| Ok(()), move || self.layerwise(&project, "warm", arguments))
        };
        let times = self.race(&[build(&["build"]), build(&["build", "--no-check"])])?;
        report.row("the same inside a warm build", "the build with `--no-check`", &times, 1.1);

        let project = self.project("largest", &LARGEST, "python3.13")?;
        succeed(self.layerwise(&project, "warm", &["lock"]))?;
        succeed(self.layerwise(&project, "warm", &["build"]))?;
        let unzipped = unzipped_megabytes(&project.join("layer.zip"))?;
        let times = self.race(&[check(project.clone())])?;
        let taken = times[0].as_secs_f64();
        let what = format!("static check of {} ({unzipped} MB unzipped), nothing cached", LARGEST.join(", "));
        report.fact(&what, &format!("{taken:.2} s"), "at most 1 s", taken <= 1.0);
        let peak = peak_memory(&self.layerwise(&project, "none", &["check", "layer.zip"]))?;
        report.fact("the same, peak memory", &format!("{peak:.0} MiB"), "at most 128 MiB", peak <= 128.0);
        Ok(())
    }

    /// Installs auditwheel from the package index and gets a wheel for it; returns the command that looks at it.
    fn auditwheel(&self) -> Result<String, String> {
        let wheel = "python3 -m venv auditwheel && auditwheel/bin/pip install --quiet auditwheel && \
            auditwheel/bin/pip download --quiet --no-deps --only-binary :all: --python-version 3.11 --abi cp311 \
            --platform manylinux2014_x86_64 --platform manylinux_2_17_x86_64 --dest wheel tiktoken==0.11.0";
        succeed(shell(wheel, self.dir.path()))?;
        Ok("auditwheel/bin/auditwheel show wheel/*.whl".to_owned())
    }

    /// 1 to 300 packages of one size, made to order, so that only their number differs.
    fn many(&self, report: &mut Report) -> Result<(), String> {
        let mut points: Vec<(usize, f64, f64)> = Vec::new();
        for count in [1usize, 10, 100, 300] {
            let mut index = Index::new();
            let mut names = Vec::new();
            for number in 0..count {
                let name = format!("package{number}");
                let mut made = wheel(&name, "1.0");
                for file in 0..20 {
                    made = made.file(&format!("{name}/module{file}.py"), noise(number * 100 + file, 16 * 1024));
                }
                index = index.wheel(made.build());
                names.push(name);
            }
            let served = index.serve();
            let project = self.project(
                &format!("many{count}"),
                &names.iter().map(String::as_str).collect::<Vec<_>>(),
                "python3.13",
            )?;
            let url = served.url();
            let command = |verb| self.layerwise(&project, "many", &[verb, "--default-index", &url]);
            succeed(command("lock"))?;
            succeed(command("build"))?;
            let times = self.race(&[contestant(|| Ok(()), || command("build"))])?;
            let size = fs::metadata(project.join("layer.zip")).map_err(|error| error.to_string())?.len() as f64 / 1e6;
            points.push((count, size, times[0].as_secs_f64() * 1e3));
        }
        // What one more MB costs, from one size to the next. (Starting the process is the same for all.)
        let steps: Vec<f64> = points.windows(2).map(|pair| (pair[1].2 - pair[0].2) / (pair[1].1 - pair[0].1)).collect();
        let shown: Vec<String> =
            points.iter().map(|(count, size, time)| format!("{count}: {time:.0} ms, {size:.1} MB")).collect();
        let slopes: Vec<String> = steps.iter().map(|step| format!("{step:.1}")).collect();
        // Between 1 and 10 packages there are 2 MB: starting the process and syncing the disk are more than those.
        let judged = &steps[1..];
        let least = judged.iter().copied().fold(f64::INFINITY, f64::min);
        let most = judged.iter().copied().fold(0.0, f64::max);
        let measured = format!("{}<br>one more MB: {} ms", shown.join("<br>"), slopes.join(", "));
        report.fact(
            "1, 10, 100, 300 packages, warm",
            &measured,
            "from 10 packages on, one more MB costs the same (within 1.5 ×)",
            most <= least * 1.5,
        );
        Ok(())
    }

    /// What our resources add to a plan in which everything is up to date.
    fn terraform(&self, report: &mut Report) -> Result<(), String> {
        const OURS: &str = r#"
terraform {
  required_providers {
    layerwise = { source = "layerwise/layerwise" }
  }
}
resource "layerwise_layer" "a" {
  requirements_file = "requirements.txt"
  runtime           = "python3.13"
  output_path       = "build/a.zip"
}
resource "layerwise_layer_version" "b" {
  layer_name        = "b"
  requirements_file = "requirements.txt"
  runtime           = "python3.13"
}
"#;
        const OTHER: &str = r#"
resource "terraform_data" "a" {
  input = filesha256("requirements.txt")
}
resource "terraform_data" "b" {
  input = filesha256("requirements.txt")
}
"#;
        let text = |error: std::io::Error| error.to_string();
        let (program, _) = layerwise_testkit::terraform();
        let (served, aws) =
            (Index::new().wheel(wheel("alpha", "1.0").file("alpha.py", "").build()).serve(), Aws::serve());
        let home = self.path("terraform-home");
        fs::create_dir_all(&home).map_err(text)?;
        let rc = home.join("none.rc");
        fs::write(&rc, "").map_err(text)?;
        let terraform = |dir: &Path, args: &[&str]| {
            let mut command = Command::new(&program);
            command.current_dir(dir).args(args).env("HOME", &home).env("TF_CLI_CONFIG_FILE", &rc);
            command.env("CHECKPOINT_DISABLE", "1").env("LAYERWISE_CACHE_DIR", self.path("terraform-cache"));
            command.env("UV_DEFAULT_INDEX", served.url()).env("PATH", self.path_with_uv());
            command.env("AWS_ENDPOINT_URL", aws.url()).env("AWS_REGION", "eu-west-1");
            command.env("AWS_ACCESS_KEY_ID", "testing").env("AWS_SECRET_ACCESS_KEY", "testing");
            command
        };
        let mut install = Command::new(&self.layerwise);
        install.args(["terraform", "install"]).env("HOME", &home).env_remove("XDG_DATA_HOME");
        succeed(install)?;
        let mut dirs = Vec::new();
        for (name, config) in [("ours", OURS), ("other", OTHER)] {
            let dir = self.path(&format!("terraform-{name}"));
            fs::create_dir_all(&dir).map_err(text)?;
            fs::write(dir.join("main.tf"), config).map_err(text)?;
            fs::write(dir.join("requirements.txt"), "alpha==1.0\n").map_err(text)?;
            succeed(terraform(&dir, &["init"]))?;
            succeed(terraform(&dir, &["apply", "-auto-approve"]))?;
            dirs.push(dir);
        }
        let plan = |dir: PathBuf| contestant(|| Ok(()), move || terraform(&dir, &["plan", "-detailed-exitcode"]));
        let [ours, other] = dirs.as_slice() else { return Ok(()) };
        let times = self.race(&[plan(ours.clone()), plan(other.clone())])?;
        let [ours, other] = [times[0], times[1]].map(|time| time.as_secs_f64() * 1e3);
        let more = ours - other;
        report.fact(
            "`terraform plan`, up to date: `layerwise_layer` and `layerwise_layer_version`",
            &format!("{ours:.0} ms; two `terraform_data` {other:.0} ms; {more:.0} ms more"),
            "at most 300 ms more",
            more <= 300.0,
        );
        Ok(())
    }

    /// The local Lambda.
    fn serving(&self, report: &mut Report) -> Result<(), String> {
        const FUNCTION: &str = "[function.empty]\ncode = \"src\"\nhandler = \"index.handler\"\n";
        let text = |error: std::io::Error| error.to_string();
        let Some(python) = layerwise_testkit::python(11) else {
            report.fact("local Lambda", "no Python 3.11 here", "", false);
            return Ok(());
        };
        let project = self.path("empty");
        fs::create_dir_all(project.join("src")).map_err(text)?;
        fs::write(project.join("layerwise.toml"), format!("runtime = \"python3.11\"\n{FUNCTION}")).map_err(text)?;
        fs::write(project.join("src/index.py"), "def handler(event, context):\n    return None\n").map_err(text)?;
        let serve = |project: &Path, more: &[&str]| {
            let mut command = Command::new(&self.layerwise);
            command.current_dir(project).args(["serve", "--port", "0", "--python"]).arg(&python).args(more);
            command.env("LAYERWISE_CACHE_DIR", self.path("serve")).env("PATH", self.path_with_uv());
            command
        };
        {
            let serving = Serving::start(serve(&project, &["--concurrency", "4"]))?;
            serving.many("empty", 4, 400)?;
            let (rate, median) = serving.many("empty", 4, 20_000)?;
            let measured = format!("{rate:.0} a second, median {median:.2} ms");
            let met = rate >= 1500.0 && median <= 3.0;
            report.fact(
                "warm invocations, 4 environments",
                &measured,
                "at least 1,500 a second, median at most 3 ms",
                met,
            );
            serving.many("empty", 4, 80_000)?;
            let memory = serving.memory()?;
            let work = "memory of the server after 100,000 invocations";
            report.fact(work, &format!("{memory:.1} MiB"), "at most 40 MiB", memory <= 40.0);
        }
        let serving = Serving::start(serve(&project, &["--concurrency", "1"]))?;
        serving.many("empty", 1, 200)?;
        let (rate, _) = serving.many("empty", 1, 5000)?;
        drop(serving);
        let runtime = bench_serve::runtime_in(&self.path("serve"))?;
        let floor = bench_serve::floor(&python, &runtime, &project.join("src"), 5000)?;
        let measured = format!("{rate:.0} a second; the client alone {floor:.0}; {:.2} ×", rate / floor);
        report.fact(
            "one environment, against the runtime interface client's own floor",
            &measured,
            "at least 0.6 ×",
            rate >= floor * 0.6,
        );

        let example = self.path("served");
        succeed(shell(
            &format!("cp -r '{}' '{}'", root().join("examples/document-processor").display(), example.display()),
            self.dir.path(),
        ))?;
        succeed(self.layerwise(&example, "serve", &["lock"]))?;
        let unpacked = self.path("opt");
        succeed(self.layerwise(&example, "serve", &["build"]))?;
        let zip = example.join("document-processor-layer.zip");
        succeed(shell(&format!("unzip -q '{}' -d '{}'", zip.display(), unpacked.display()), self.dir.path()))?;
        let import = || {
            let mut command = Command::new(&python);
            command.args(["-c", "import index"]).current_dir(example.join("extract-text"));
            command.env("PYTHONPATH", unpacked.join("python")).env("PYTHONDONTWRITEBYTECODE", "1");
            command
        };
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..=self.runs {
            let began = Instant::now();
            let serving = Serving::start(serve(&example, &[]))?;
            serving.invoke("dev-chatbot-document-processor").ok();
            let first = began.elapsed();
            drop(serving);
            let began = Instant::now();
            succeed(import())?;
            if round > 0 {
                ours.push(first);
                theirs.push(began.elapsed());
            }
        }
        ours.sort();
        theirs.sort();
        let times = [ours[ours.len() / 2], theirs[theirs.len() / 2]];
        report.row("`serve` of the example to its first answer, all cached", "`python -c 'import index'`", &times, 1.5);
        Ok(())
    }

    fn path_with_uv(&self) -> std::ffi::OsString {
        let own = self.uv.parent().into_iter().map(Path::to_owned);
        std::env::join_paths(own.chain(std::env::split_paths(&path_variable()))).unwrap_or_default()
    }

    fn cold_build(&self, report: &mut Report) -> Result<(), String> {
        let target = self.path("cold-target");
        let started = Instant::now();
        let mut command = Command::new("cargo");
        command.args(["build", "--release", "--quiet"]).current_dir(root()).env("CARGO_TARGET_DIR", &target);
        succeed(command)?;
        let seconds = started.elapsed().as_secs_f64();
        report.fact(
            "`cargo build --release` from nothing",
            &format!("{seconds:.0} s"),
            "at most 180 s",
            seconds <= 180.0,
        );
        let size =
            fs::metadata(target.join("release/layerwise")).map_err(|error| error.to_string())?.len() as f64 / 1e6;
        report.fact("binary, stripped", &format!("{size:.1} MB"), "at most 15 MB", size <= 15.0);
        Ok(())
    }

    /// Median wall time of each contestant, after one unmeasured round.
    fn race(&self, contestants: &[Contestant<'_>]) -> Result<Vec<Duration>, String> {
        let mut times: Vec<Vec<Duration>> = vec![Vec::new(); contestants.len()];
        for round in 0..=self.runs {
            for (contestant, times) in contestants.iter().zip(&mut times) {
                (contestant.prepare)()?;
                let command = (contestant.command)();
                let started = Instant::now();
                succeed(command)?;
                if round > 0 {
                    times.push(started.elapsed());
                }
            }
        }
        for times in &mut times {
            times.sort();
        }
        Ok(times.iter().map(|times| times[times.len() / 2]).collect())
    }
}

impl Report {
    fn row(&mut self, work: &str, against: &str, times: &[Duration], must: f64) {
        let (ours, theirs) = (times[0].as_secs_f64(), times[1].as_secs_f64());
        let ratio = ours / theirs;
        let show = |ratio: f64| if ratio < 0.2 { format!("1/{:.0}", 1.0 / ratio) } else { format!("{ratio:.2} ×") };
        let verdict = if ratio <= must { "yes" } else { "**no**" };
        let row = format!(
            "| {work} | {ours:.3} s | {against} | {theirs:.3} s | {} | {} | {verdict} |",
            show(ratio),
            show(must)
        );
        say(&row);
        self.rows.push(row);
    }

    fn fact(&mut self, work: &str, measured: &str, must: &str, met: bool) {
        let row = format!("| {work} | {measured} | | | | {must} | {} |", if met { "yes" } else { "**no**" });
        say(&row);
        self.rows.push(row);
    }

    fn text(&self, runs: usize) -> String {
        let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
        let mut text = format!(
            "# Benchmarks\n\n\
             Made by `cargo xtask bench`: whole processes, medians of {runs} runs after one that is not counted, the\n\
             contestants of a row alternating. Machine: {cores} cores,{}, {}.\n\n\
             | work | layerwise | against | takes | ratio | must be | met |\n|---|---|---|---|---|---|---|\n",
            model.trim_start_matches(['\t', ' ', ':']),
            std::env::consts::OS
        );
        for row in &self.rows {
            let _ = writeln!(text, "{row}");
        }
        text
    }
}

fn contestant<'a>(prepare: impl Fn() -> Result<(), String> + 'a, command: impl Fn() -> Command + 'a) -> Contestant<'a> {
    Contestant { prepare: Box::new(prepare), command: Box::new(command) }
}

fn copy(zip: &Path) -> Command {
    let dir = zip.parent().unwrap_or(Path::new("."));
    shell("cp layer.zip copy.zip && sync copy.zip", dir)
}

fn shell(script: &str, dir: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]).current_dir(dir);
    command
}

fn quoted(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| format!("'{}'", word.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

fn succeed(mut command: Command) -> Result<(), String> {
    let shown = quoted(&command);
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{shown}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{shown}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)))
}

/// Peak resident memory of a command and its children, in MiB, as GNU time says.
fn peak_memory(command: &Command) -> Result<f64, String> {
    let mut timed = Command::new("/usr/bin/time");
    timed.args(["-f", "%M"]).arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        timed.env(key, value.unwrap_or_default());
    }
    timed.current_dir(command.get_current_dir().unwrap_or(Path::new(".")));
    let output = timed.output().map_err(|error| format!("GNU time (`apt-get install time`): {error}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let kibibytes: f64 =
        text.lines().last().and_then(|line| line.trim().parse().ok()).ok_or("GNU time said nothing")?;
    Ok(kibibytes / 1024.0)
}

fn unzipped_megabytes(zip: &Path) -> Result<u64, String> {
    let output = Command::new("unzip").args(["-l"]).arg(zip).output().map_err(|error| format!("unzip: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let total =
        text.lines().last().and_then(|line| line.split_whitespace().next()).and_then(|word| word.parse::<u64>().ok());
    Ok(total.ok_or("unzip -l has no total")? / 1_000_000)
}

fn megabytes(path: &Path) -> u64 {
    fs::metadata(path).map(|about| about.len() / 1_000_000).unwrap_or_default()
}

fn remove(path: &Path) -> Result<(), String> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.to_string()),
        _ => Ok(()),
    }
}

fn tempdir() -> Result<tempfile::TempDir, String> {
    // Beside the build, so that it is the same disk for everybody.
    let parent = root().join("target/bench");
    fs::create_dir_all(&parent).map_err(|error| error.to_string())?;
    tempfile::tempdir_in(parent).map_err(|error| error.to_string())
}

/// Bytes that compress to about half, as code does; the same for the same seed.
fn noise(seed: usize, length: usize) -> Vec<u8> {
    let mut state = seed as u64 * 2 + 1;
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            b"abcdefghijklmnop"[(state >> 60) as usize]
        })
        .collect()
}

#[expect(clippy::disallowed_methods, reason = "a developer's tool: it needs the developer's PATH")]
fn path_variable() -> String {
    std::env::var("PATH").unwrap_or_default()
}
