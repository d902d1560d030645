//! The command line as it is typed. What it means is in `settings.rs`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};

/// Turns a Python project's dependencies into an AWS Lambda layer, without Docker
#[derive(Debug, Parser)]
#[command(name = "layerwise", version, max_term_width = 100, after_help = TOP_EXAMPLES)]
#[command(disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const TOP_EXAMPLES: &str = "\
Examples:
  layerwise build --runtime python3.13           the project in this directory
  layerwise build -p 'requests>=2' --runtime python3.13 --arch arm64
  layerwise check layer.zip --runtime python3.13 would it work?
  layerwise serve                                run its functions, at an endpoint like AWS's
  layerwise lock                                 write locks to commit
  layerwise targets                              the runtimes there are";

/// What every command understands.
#[derive(Debug, Args, Default)]
pub(crate) struct Global {
    /// Print nothing but errors
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Global options")]
    pub(crate) quiet: bool,
    /// Print details
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub(crate) verbose: bool,
    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", help_heading = "Global options")]
    pub(crate) color: Color,
    /// Where layerwise keeps its cache [env: LAYERWISE_CACHE_DIR]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    pub(crate) cache_dir: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal that can
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build the project's layers and functions, one zip for each runtime and architecture
    Build(BuildArgs),
    /// Look whether an artifact would work on Lambda, whoever made it
    Check(CheckArgs),
    /// Serve the project's functions at an endpoint like AWS's, on this machine
    Serve(ServeArgs),
    /// Invoke a function once: of the project on this machine, or in AWS
    Invoke(InvokeArgs),
    /// Write `pylock.<name>.toml` for each runtime and architecture, to commit
    Lock(LockArgs),
    /// Build, check and publish layers to AWS, if their bytes are not there yet
    Publish(Box<PublishArgs>),
    /// Copy a published layer, byte for byte, to another region, account or name
    Promote(PromoteArgs),
    /// Print the log of a function in AWS
    Logs(LogsArgs),
    /// Look after the cache
    #[command(subcommand)]
    Cache(CacheCommand),
    /// List the Lambda runtimes layerwise knows
    Targets(TargetsArgs),
    /// Make layerwise the provider of Terraform's `layerwise/layerwise`
    #[command(subcommand)]
    Terraform(TerraformCommand),
    /// Look at what this machine has and lacks, what for, and how to get it
    Doctor(DoctorArgs),
    /// Check the configuration, or print its JSON schema
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print a completion script for a shell
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write all of them into a directory
    Man {
        /// Where to write `layerwise.1`, `layerwise-build.1`, …
        dir: Option<PathBuf>,
    },
    /// Write the generated files of layerwise's own repository
    #[command(hide = true)]
    Generate {
        /// The repository's root
        root: PathBuf,
    },
}

/// Where dependencies come from and what they are for.
#[derive(Debug, Args, Default, Clone)]
pub(crate) struct InputArgs {
    /// The project's directory
    #[arg(default_value = ".", hide_default_value = true)]
    pub(crate) dir: PathBuf,
    /// Use this requirements or lock file (repeatable)
    #[arg(short, long, value_name = "FILE", help_heading = "What goes in")]
    pub(crate) requirements: Vec<PathBuf>,
    /// Add this requirement, `requests>=2` (repeatable)
    #[arg(short, long = "package", value_name = "REQUIREMENT", help_heading = "What goes in")]
    pub(crate) packages: Vec<String>,
    /// Only this layer of the configuration (repeatable)
    #[arg(long = "layer", value_name = "NAME", conflicts_with_all = ["requirements", "packages", "name"], help_heading = "What goes in")]
    pub(crate) layers: Vec<String>,
    /// Include this extra of the project (repeatable)
    #[arg(long = "extra", value_name = "NAME", help_heading = "What goes in")]
    pub(crate) extras: Vec<String>,
    /// Include this dependency group of the project (repeatable)
    #[arg(long = "group", value_name = "NAME", help_heading = "What goes in")]
    pub(crate) groups: Vec<String>,
    /// The layer's name, instead of the project's
    #[arg(long, value_name = "NAME", help_heading = "What goes in")]
    pub(crate) name: Option<String>,
    /// The Lambda runtime, `python3.13` (repeatable) [env: LAYERWISE_RUNTIME]
    #[arg(long = "runtime", value_name = "RUNTIME", help_heading = "What it is for")]
    pub(crate) runtimes: Vec<String>,
    /// The architecture, x86_64 (the default) or arm64 (repeatable) [env: LAYERWISE_ARCHITECTURE]
    #[arg(long = "arch", visible_alias = "architecture", value_name = "ARCHITECTURE", help_heading = "What it is for")]
    pub(crate) architectures: Vec<String>,
    /// Compile this package from its source distribution where no wheel of it fits (repeatable)
    #[arg(long = "compile", value_name = "NAME", help_heading = "What is compiled")]
    pub(crate) compile: Vec<String>,
    /// Compile whatever has no wheel that fits
    #[arg(long, help_heading = "What is compiled")]
    pub(crate) compile_all: bool,
    /// Let `rustup target add` get what Rust lacks for the target, without asking [env: LAYERWISE_ADD_RUST_TARGETS]
    #[arg(long, help_heading = "What is compiled")]
    pub(crate) add_rust_targets: bool,
    /// With what it is compiled: zig (the default, no container) or an image of AWS, run by docker or podman
    #[arg(long, value_name = "ENGINE", help_heading = "What is compiled")]
    pub(crate) engine: Option<EngineName>,
    /// The image of the engine container; `{architecture}` in it is replaced [default: AWS's for the runtime]
    #[arg(long, value_name = "REF", help_heading = "What is compiled")]
    pub(crate) image: Option<String>,
    /// Install this package of its distribution in the image first, `libpq-devel` (repeatable)
    #[arg(long = "system-package", value_name = "NAME", help_heading = "What is compiled")]
    pub(crate) system_packages: Vec<String>,
    /// The program of the engine container [default: whichever answers]
    #[arg(long, value_name = "PROGRAM", help_heading = "What is compiled")]
    pub(crate) container_program: Option<ContainerProgramName>,
    #[command(flatten)]
    pub(crate) indexes: IndexArgs,
    /// Print one JSON document on stdout instead of a summary
    #[arg(long)]
    pub(crate) json: bool,
}

/// With what packages are compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineName {
    /// A cross compiler on this machine
    Zig,
    /// The compiler of an image
    Container,
}

/// A program that runs containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ContainerProgramName {
    /// Docker
    Docker,
    /// Podman
    Podman,
}

/// Where packages come from, in uv's and pip's words.
#[derive(Debug, Args, Default, Clone)]
pub(crate) struct IndexArgs {
    /// The package index to use instead of PyPI
    #[arg(long = "default-index", visible_alias = "index-url", value_name = "URL", help_heading = "Where from")]
    pub(crate) default_index: Option<String>,
    /// Another index, asked before the default one; `URL` or `NAME=URL` (repeatable)
    #[arg(long = "index", visible_alias = "extra-index-url", value_name = "URL", help_heading = "Where from")]
    pub(crate) indexes: Vec<String>,
    /// A directory of wheels, or a page that links to wheels (repeatable)
    #[arg(long, value_name = "PATH|URL", help_heading = "Where from")]
    pub(crate) find_links: Vec<String>,
    /// Use no index, only `--find-links`
    #[arg(long, help_heading = "Where from")]
    pub(crate) no_index: bool,
    /// Use only what is in the cache [env: LAYERWISE_OFFLINE]
    #[arg(long, help_heading = "Where from")]
    pub(crate) offline: bool,
    /// Ask the indexes again, whatever the cache has of them, and choose anew what builds from source are done with
    #[arg(long, conflicts_with = "offline", help_heading = "Where from")]
    pub(crate) refresh: bool,
}

#[derive(Debug, Args, Default, Clone)]
#[command(after_help = BUILD_EXAMPLES)]
pub(crate) struct BuildArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// Only this function of the configuration, and its layers (repeatable)
    #[arg(long = "function", value_name = "NAME", conflicts_with_all = ["requirements", "packages", "layers", "name"], help_heading = "What goes in")]
    pub(crate) functions: Vec<String>,
    /// Where a layer's zip goes; `{name}`, `{runtime}` and `{architecture}` are replaced, a directory ends in `/`
    /// [default: dist/{name}-{runtime}-{architecture}.zip in the project's directory]
    #[arg(short, long, value_name = "PATH", help_heading = "What comes out")]
    pub(crate) output: Option<String>,
    /// Where packages stand inside the zip
    #[arg(long, value_name = "LAYOUT", help_heading = "What comes out")]
    pub(crate) layout: Option<LayoutName>,
    /// Leave out paths that match this glob, `**/tests/**`; replaces the configuration's list (repeatable)
    #[arg(long = "exclude", value_name = "GLOB", help_heading = "What comes out")]
    pub(crate) excludes: Vec<String>,
    /// Leave out the AWS SDK packages that the runtime brings, as a whole
    #[arg(long, help_heading = "What comes out")]
    pub(crate) exclude_runtime_packages: bool,
    /// Fail unless the committed lock is there and matches its inputs
    #[arg(long)]
    pub(crate) locked: bool,
    /// Build even what the check says would not work
    #[arg(long)]
    pub(crate) no_check: bool,
    /// Build twice from scratch and compare the bytes
    #[arg(long, conflicts_with = "offline")]
    pub(crate) verify: bool,
    /// Choose versions and print them; fetch and write nothing
    #[arg(long, conflicts_with = "verify")]
    pub(crate) dry_run: bool,
}

const BUILD_EXAMPLES: &str = "\
Examples:
  layerwise build                                      as the configuration says
  layerwise build services/api --runtime python3.13 --arch arm64
  layerwise build -r requirements.txt --runtime python3.11 -o layer.zip
  layerwise build -p 'requests>=2' -p boto3==1.34.0 --runtime python3.12 --name http
  layerwise build --function api                       one function's zip, and its layers
  layerwise build --locked --json                      in CI
  layerwise build --compile tiktoken                   compile it: no wheel of its newest release fits
  layerwise build --compile psycopg2 --engine container --system-package libpq-devel

Without -r and -p the dependency file is found in DIR, the first of uv.lock, poetry.lock,
Pipfile.lock, pylock.toml, pyproject.toml and requirements.txt.
Exit codes: 2 usage, 3 input, 4 resolution, 5 network, 6 integrity, 7 limit, 8 system, 9 findings, 10 compile,
11 AWS, 70 bug.";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LayoutName {
    /// `python/`: any minor version of the runtime finds it
    Python,
    /// `python/lib/python3.X/site-packages`: only that minor version finds it
    SitePackages,
}

#[derive(Debug, Args, Default, Clone)]
#[command(after_help = CHECK_EXAMPLES)]
pub(crate) struct CheckArgs {
    /// A zip, a wheel or an unpacked folder: a layer or a function's package
    pub(crate) artifact: PathBuf,
    /// Another layer of the function, in the function's order (repeatable)
    #[arg(long = "layer", value_name = "ARTIFACT", help_heading = "What is checked")]
    pub(crate) layers: Vec<PathBuf>,
    /// The function's handler, `index.handler`: what it imports has to be there
    #[arg(long, value_name = "HANDLER", help_heading = "What is checked")]
    pub(crate) handler: Option<String>,
    /// What ARTIFACT is [default: told from its files]
    #[arg(long = "as", value_name = "ROLE", help_heading = "What is checked")]
    pub(crate) role: Option<RoleName>,
    /// The PYTHONPATH variable that the function sets
    #[arg(long, value_name = "VALUE", help_heading = "What is checked")]
    pub(crate) pythonpath: Option<String>,
    /// The Lambda runtime, `python3.13` (repeatable) [env: LAYERWISE_RUNTIME] [default: the configuration's]
    #[arg(long = "runtime", value_name = "RUNTIME", help_heading = "What it is for")]
    pub(crate) runtimes: Vec<String>,
    /// The architecture, x86_64 or arm64 (repeatable) [env: LAYERWISE_ARCHITECTURE] [default: the configuration's]
    #[arg(long = "arch", visible_alias = "architecture", value_name = "ARCHITECTURE", help_heading = "What it is for")]
    pub(crate) architectures: Vec<String>,
    /// Also import every module in a real Python of the runtime's version, as Lambda would
    #[arg(long, help_heading = "Prove it by running")]
    pub(crate) run: bool,
    /// The Python for --run [default: one that is on this machine]
    #[arg(long, value_name = "PATH", requires = "run", help_heading = "Prove it by running")]
    pub(crate) python: Option<PathBuf>,
    /// How long one import may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30, requires = "run", help_heading = "Prove it by running")]
    pub(crate) time_limit: u64,
    /// Fail on warnings, too
    #[arg(long)]
    pub(crate) strict: bool,
    /// Print one JSON document on stdout instead of a report
    #[arg(long)]
    pub(crate) json: bool,
}

/// What an artifact is to Lambda.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleName {
    /// Unpacked at /var/task
    Function,
    /// Unpacked at /opt
    Layer,
}

const CHECK_EXAMPLES: &str = "\
Examples:
  layerwise check layer.zip --runtime python3.11
  layerwise check function.zip --layer a.zip --layer b.zip --handler index.handler --runtime python3.13
  layerwise check .aws-sam/build/Function --as function --runtime python3.12 --arch arm64
  layerwise check dist/api-python3.13-arm64.zip --run   runtime and architecture as configured
  layerwise check some-1.0-cp313-cp313-manylinux_2_28_x86_64.whl --runtime python3.11

Exit code 9 if something would not work. docs/findings.md says what is looked for, and how a finding is allowed.";

/// How functions run on this machine.
#[derive(Debug, Args, Default, Clone)]
pub(crate) struct LocalArgs {
    /// Compile this package from its source distribution where no wheel of it fits (repeatable)
    #[arg(long = "compile", value_name = "NAME", help_heading = "How functions are built")]
    pub(crate) compile: Vec<String>,
    #[command(flatten)]
    pub(crate) indexes: IndexArgs,
    /// The Python to run functions with [default: one that is on this machine]
    #[arg(long, value_name = "PATH", help_heading = "How functions run")]
    pub(crate) python: Option<PathBuf>,
}

#[derive(Debug, Args, Clone)]
#[command(after_help = SERVE_EXAMPLES)]
pub(crate) struct ServeArgs {
    /// The project's directory
    #[arg(default_value = ".", hide_default_value = true)]
    pub(crate) dir: PathBuf,
    /// The port; 0 takes a free one
    #[arg(short, long, default_value_t = 9000)]
    pub(crate) port: u16,
    /// The address to listen at. Whoever reaches it can run your functions
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub(crate) host: std::net::IpAddr,
    /// A name by which clients may call this machine, besides localhost; `*` for any (repeatable)
    #[arg(long, value_name = "NAME")]
    pub(crate) host_name: Vec<String>,
    /// Only this function of the configuration (repeatable)
    #[arg(long = "function", value_name = "NAME")]
    pub(crate) functions: Vec<String>,
    /// Environments of one function at once; more invocations than that are throttled
    #[arg(long, value_name = "NUMBER", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000), help_heading = "How functions run")]
    pub(crate) concurrency: u16,
    #[command(flatten)]
    pub(crate) local: LocalArgs,
}

const SERVE_EXAMPLES: &str = "\
Examples:
  layerwise serve                                          the project here, at http://127.0.0.1:9000
  aws lambda invoke --endpoint-url http://127.0.0.1:9000 \\
      --function-name NAME --payload '{\"test\": true}' response.json
  aws logs tail /aws/lambda/NAME --follow --endpoint-url http://127.0.0.1:9000

An edit of a function, or of what its layers require, is there at its next invocation. The page at the endpoint shows
what happens. Any credentials do; AWS_* variables of this shell (keys, region, endpoints) are the functions', too.";

#[derive(Debug, Args, Default, Clone)]
#[command(after_help = INVOKE_EXAMPLES)]
pub(crate) struct InvokeArgs {
    /// The function's name in the configuration
    pub(crate) name: String,
    /// The project's directory
    #[arg(long, value_name = "DIR", default_value = ".", hide_default_value = true)]
    pub(crate) dir: PathBuf,
    /// The event, JSON [default: {}]
    #[arg(short, long, value_name = "JSON", conflicts_with_all = ["payload_file", "event"])]
    pub(crate) payload: Option<String>,
    /// A file with the event; `-` for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "event")]
    pub(crate) payload_file: Option<PathBuf>,
    /// A sample event
    #[arg(long, value_name = "KIND")]
    pub(crate) event: Option<EventName>,
    /// Invoke the function of this name (or ARN) on AWS instead
    #[arg(long, help_heading = "On AWS", conflicts_with_all = ["dir", "compile", "python"])]
    pub(crate) remote: bool,
    /// The function's region
    #[arg(long, value_name = "REGION", requires = "remote", help_heading = "On AWS")]
    pub(crate) region: Option<String>,
    /// The profile of ~/.aws/config [env: AWS_PROFILE]
    #[arg(long, value_name = "NAME", requires = "remote", help_heading = "On AWS")]
    pub(crate) profile: Option<String>,
    #[command(flatten)]
    pub(crate) local: LocalArgs,
}

/// A sample event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EventName {
    /// An object was created in S3
    S3,
    /// A message of SQS
    Sqs,
    /// An event of EventBridge: an object was created in S3
    Eventbridge,
    /// A request through API Gateway's REST API
    ApigwV1,
    /// A request through API Gateway's HTTP API, or a function URL
    ApigwV2,
}

const INVOKE_EXAMPLES: &str = "\
Examples:
  layerwise invoke dev-chatbot-document-processor --payload '{\"test\": true}'
  layerwise invoke api --event apigw-v2
  layerwise invoke api --payload-file event.json > answer.json
  layerwise invoke dev-chatbot-document-processor --event s3 --remote --region eu-west-1

The answer is on stdout, the function's log on stderr (with --remote its end, at most 4 KiB). Exit code 12 if the function
fails.";

#[derive(Debug, Args, Default, Clone)]
#[command(after_help = LOCK_EXAMPLES)]
pub(crate) struct LockArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// Write nothing; fail if a lock is missing or does not match its inputs
    #[arg(long)]
    pub(crate) check: bool,
}

const LOCK_EXAMPLES: &str = "\
Examples:
  layerwise lock                                       as the configuration says
  layerwise lock --runtime python3.13 --arch x86_64 --arch arm64
  layerwise lock --check                               in CI

`build` uses a lock when it is there and matches its inputs; `build --locked` insists.";

#[derive(Debug, Args, Default, Clone)]
#[command(after_help = PUBLISH_EXAMPLES)]
pub(crate) struct PublishArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// A region to publish to (repeatable) [default: the configuration's, else AWS's]
    #[arg(long = "region", value_name = "REGION", help_heading = "Where to")]
    pub(crate) regions: Vec<String>,
    /// The profile of ~/.aws/config [env: AWS_PROFILE]
    #[arg(long, value_name = "NAME", help_heading = "Where to")]
    pub(crate) profile: Option<String>,
    /// The layer's name in AWS; `{name}`, `{runtime}` and `{architecture}` are replaced [default: {name}]
    #[arg(long, value_name = "NAME", help_heading = "Where to")]
    pub(crate) layer_name: Option<String>,
    /// The bucket for zips of more than 50 MB, in the layer's region; `{region}` is replaced
    #[arg(long, value_name = "BUCKET", help_heading = "Where to")]
    pub(crate) bucket: Option<String>,
    /// What keys in the bucket start with, before `/<sha256>.zip`
    #[arg(long, value_name = "PREFIX", help_heading = "Where to")]
    pub(crate) prefix: Option<String>,
    /// Lambda reads the zip in the bucket for good, instead of copying it
    #[arg(long, help_heading = "Where to")]
    pub(crate) by_reference: bool,
    /// The description of the new version
    #[arg(long, value_name = "TEXT", help_heading = "What it says")]
    pub(crate) description: Option<String>,
    /// Its licence: an SPDX expression, a URL or a text
    #[arg(long, visible_alias = "licence", value_name = "TEXT", help_heading = "What it says")]
    pub(crate) license: Option<String>,
    /// Who else may use it: an account, an organisation (`o-…`) or `public` (repeatable)
    #[arg(long = "share", value_name = "WHO", help_heading = "What it says")]
    pub(crate) share: Vec<String>,
    /// Publish even bytes that the newest version has
    #[arg(long)]
    pub(crate) force: bool,
    /// Keep the newest N versions; delete older ones that no function uses
    #[arg(long, value_name = "N")]
    pub(crate) prune: Option<std::num::NonZeroU32>,
    /// Give this function the version, in the place of the one it has (repeatable)
    #[arg(long = "update-function", value_name = "NAME")]
    pub(crate) functions: Vec<String>,
    /// Give the functions of this receipt back the layers that they had before
    #[arg(long, value_name = "RECEIPT", conflicts_with_all = ["dry_run", "functions", "prune", "receipt"])]
    pub(crate) rollback: Option<PathBuf>,
    /// Write what was done, as JSON, to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) receipt: Option<PathBuf>,
    /// Fail unless the committed lock is there and matches its inputs
    #[arg(long)]
    pub(crate) locked: bool,
    /// Publish even what the check says would not work
    #[arg(long)]
    pub(crate) no_check: bool,
    /// Build, look at AWS, and print the steps; change nothing there
    #[arg(long)]
    pub(crate) dry_run: bool,
}

const PUBLISH_EXAMPLES: &str = "\
Examples:
  layerwise publish --region eu-west-1                 the project in this directory
  layerwise publish --region eu-west-1 --region us-east-1 --share 123456789012 --prune 5
  layerwise publish dist/api.zip --name api --runtime python3.13 --bucket my-zips
  layerwise publish --update-function api-handler --receipt receipt.json
  layerwise publish --rollback receipt.json            the functions get back what they had
  layerwise publish --dry-run

DIR may be a zip; then --name and --runtime say what it is. A layer is published only if its newest version
has other bytes: the same command again does the rest of what failed. Credentials are found as the AWS CLI does.";

#[derive(Debug, Args, Default, Clone)]
#[command(after_help = PROMOTE_EXAMPLES)]
pub(crate) struct PromoteArgs {
    /// The ARN of a layer version, or a receipt of `publish`
    pub(crate) source: String,
    /// A region to copy to (repeatable) [default: the source's]
    #[arg(long = "to-region", value_name = "REGION")]
    pub(crate) to_regions: Vec<String>,
    /// The profile of the account to copy to [default: that of --profile]
    #[arg(long, value_name = "NAME")]
    pub(crate) to_profile: Option<String>,
    /// The name of the copy [default: the source's]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// The profile that may read the source [env: AWS_PROFILE]
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// The bucket for zips of more than 50 MB, in the copy's region; `{region}` is replaced
    #[arg(long, value_name = "BUCKET")]
    pub(crate) bucket: Option<String>,
    /// Who else may use the copy (repeatable)
    #[arg(long = "share", value_name = "WHO")]
    pub(crate) share: Vec<String>,
    /// Write what was done, as JSON, to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) receipt: Option<PathBuf>,
    /// Print the steps; change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print one JSON document on stdout instead of a summary
    #[arg(long)]
    pub(crate) json: bool,
}

const PROMOTE_EXAMPLES: &str = "\
Examples:
  layerwise promote arn:aws:lambda:eu-west-1:123456789012:layer:api:7 --to-region us-east-1
  layerwise promote receipt.json --profile test --to-profile production
  layerwise promote receipt.json --name api-stable";

#[derive(Debug, Args, Default, Clone)]
#[command(after_help = LOGS_EXAMPLES)]
pub(crate) struct LogsArgs {
    /// The function's name or ARN
    pub(crate) function: String,
    /// Go on as new lines come
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// From when on: `30s`, `10m`, `2h`, `1d` ago
    #[arg(long, value_name = "TIME", default_value = "10m")]
    pub(crate) since: String,
    /// The function's region
    #[arg(long, value_name = "REGION")]
    pub(crate) region: Option<String>,
    /// The profile of ~/.aws/config [env: AWS_PROFILE]
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// Print one JSON document for each line
    #[arg(long)]
    pub(crate) json: bool,
}

const LOGS_EXAMPLES: &str = "\
Examples:
  layerwise logs document-processor
  layerwise logs document-processor --follow --since 1h";

#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// Print where the cache is
    Dir,
    /// Print how much each part of the cache holds
    Size {
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Remove what has not been used for a while
    Prune {
        /// Remove what has not been used for this many days
        #[arg(long, value_name = "DAYS", default_value_t = 30)]
        older_than: u32,
    },
    /// Remove everything
    Clean,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TerraformCommand {
    /// Copy this program to where `terraform init` finds it, offline and without any configuration
    #[command(after_help = INSTALL_EXAMPLES)]
    Install {
        /// The plugin directory, instead of `~/.terraform.d/plugins`
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Write this program as an archive of a filesystem mirror, for machines where nobody has installed it
    #[command(after_help = MIRROR_EXAMPLES)]
    Mirror {
        /// The mirror's directory
        dir: PathBuf,
    },
}

const INSTALL_EXAMPLES: &str = "\
Examples:
  layerwise terraform install                           # for all configurations of this user
  layerwise terraform install --dir terraform.d/plugins # for the configuration in this directory";

const MIRROR_EXAMPLES: &str = "\
Examples:
  layerwise terraform mirror /srv/terraform    # then in ~/.terraformrc:

  provider_installation {
    filesystem_mirror {
      path    = \"/srv/terraform\"
      include = [\"layerwise/layerwise\"]
    }
    direct {
      exclude = [\"layerwise/layerwise\"]
    }
  }";

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TargetsArgs {
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Read the configuration and print the artifacts it makes
    Check {
        /// The project's directory
        #[arg(default_value = ".", hide_default_value = true)]
        dir: PathBuf,
    },
    /// Print the JSON schema of the configuration
    Schema,
}

/// Parses the command line.
pub(crate) fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(arguments)
}

/// The command's description, for help, completions and manual pages.
pub(crate) fn command() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_is_sound() {
        command().debug_assert();
    }

    #[track_caller]
    fn check(line: &str, accepted: bool) {
        let words = std::iter::once("layerwise").chain(line.split_whitespace()).map(OsString::from);
        let parsed = parse(words);
        assert_eq!(parsed.is_ok(), accepted, "{line}: {parsed:?}");
    }

    #[test]
    fn lines() {
        check("build", true);
        check(
            "build dir -p requests -p boto3 -r a.txt -r b.txt --runtime python3.11 --runtime 3.12 --arch arm64",
            true,
        );
        check("build -p requests dir", true);
        check("build --index-url https://a --extra-index-url https://b --extra-index-url https://c", true);
        check("build --json -q --color never --cache-dir x", true);
        check("lock --check", true);
        check("check a.zip --layer b.zip --layer c.zip --handler index.handler --runtime 3.11 --as function", true);
        check("check a.zip --run --python /usr/bin/python3.11 --time-limit 5 --strict --json", true);
        check("check", false);
        check("check a.zip b.zip", false);
        check("check a.zip --python x", false);
        check("build --no-check", true);
        check("cache prune --older-than 3", true);
        check("completions zsh", true);
        check("", false);
        check("build a b", false);
        check("build -q -v", false);
        check("build --layer a -r x.txt", false);
        check("build --function a --function b", true);
        check("build --function a --layer b", false);
        check("build --verify --dry-run", false);
        check("build --layout flat", false);
        check("cache prune --older-than soon", false);
        check("nonsense", false);
    }
}
