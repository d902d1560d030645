"""Runs the recipes of docs/recipes with the tools they are for: `xtask/recipes.py BINARY [NAME…]`.

BINARY is a layerwise; NAMEs are cdk, ci, pulumi, sam, serverless (all, if none is given). What is run is taken out of the
pages, so that a page that is wrong fails here. Tools come from PyPI and npm into target/recipes. No recipe reaches an
account: `cdk synth`, `sam build`, `serverless package`, Pulumi with its own mocks, and the schemas of GitHub and GitLab.
"""

import http.server
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import venv
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOOLS = ROOT / "target" / "recipes"
REQUIREMENTS = "idna==3.7\n"


def blocks(name: str, language: str) -> list[str]:
    """The code of a page in a language."""
    text = (ROOT / "docs" / "recipes" / f"{name}.md").read_text()
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)


def python(name: str, *packages: str) -> pathlib.Path:
    """The `bin` of an environment that has these packages."""
    home = TOOLS / name
    if not (home / "complete").exists():
        venv.create(home, with_pip=True, clear=True)
        pip = [home / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *packages], check=True)
        (home / "complete").touch()
    return home / "bin"


def node(name: str, *packages: str) -> pathlib.Path:
    """A directory whose node_modules has these packages."""
    home = TOOLS / name
    if not (home / "complete").exists():
        home.mkdir(parents=True, exist_ok=True)
        npm = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", home]
        subprocess.run([*npm, *packages], check=True)
        (home / "complete").touch()
    return home / "node_modules"


def run(work: pathlib.Path, env: dict[str, str], *words: str | pathlib.Path) -> str:
    """Standard output of what has to succeed."""
    done = subprocess.run(words, cwd=work, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def build(work: pathlib.Path, env: dict[str, str], text: str) -> pathlib.Path:
    """What a page says to run before; the zip."""
    line = re.search(r"layerwise build [^`\n]*", text).group()
    run(work, env, *line.split())
    return work / "build" / "deps.zip"


def cdk(work: pathlib.Path, env: dict[str, str]) -> None:
    modules = node("cdk", "aws-cdk-lib@2", "constructs@10")
    zip_path = build(work, env, blocks("cdk", "console")[0])
    app = """
const cdk = require('aws-cdk-lib');
const lambda = require('aws-cdk-lib/aws-lambda');
class Stack extends cdk.Stack {
  constructor(scope, id) {
    super(scope, id);
    PAGE
  }
}
const app = new cdk.App({ outdir: 'cdk.out' });
new Stack(app, 'Stack');
app.synth();
""".replace("PAGE", blocks("cdk", "js")[0])
    (work / "app.js").write_text(app)
    run(work, env | {"NODE_PATH": str(modules)}, "node", "app.js")
    assets = list((work / "cdk.out").glob("asset.*.zip"))
    assert [asset.read_bytes() for asset in assets] == [zip_path.read_bytes()], f"the asset is not our zip: {assets}"
    assert "AWS::Lambda::LayerVersion" in (work / "cdk.out" / "Stack.template.json").read_text()


def sam(work: pathlib.Path, env: dict[str, str]) -> None:
    tools = python("sam", "aws-sam-cli")
    head = "AWSTemplateFormatVersion: '2010-09-09'\nTransform: AWS::Serverless-2016-10-31\n"
    (work / "template.yaml").write_text(head + blocks("sam", "yaml")[0])
    (work / "layer").mkdir()
    (work / "layer" / "Makefile").write_text(blocks("sam", "make")[0])
    (work / "layer" / "requirements.txt").write_text(REQUIREMENTS)
    run(work, env | {"SAM_CLI_TELEMETRY": "0"}, tools / "sam", "build")
    assert (work / ".aws-sam/build/Deps/python/idna/__init__.py").is_file(), "the layer is not in SAM's build"


class NoStack(http.server.BaseHTTPRequestHandler):
    """CloudFormation that has nothing yet: the Framework compares layers with those of its stack."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        text = "<ErrorResponse><Error><Type>Sender</Type><Code>ValidationError</Code><Message>Stack with id recipe-dev does not exist</Message></Error></ErrorResponse>"
        self.send_response(400)
        self.send_header("content-type", "text/xml")
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass


def serverless(work: pathlib.Path, env: dict[str, str]) -> None:
    modules = node("serverless", "serverless@3")
    zip_path = build(work, env, (ROOT / "docs/recipes/serverless.md").read_text())
    head = "service: recipe\nframeworkVersion: '3'\nprovider:\n  name: aws\n  runtime: python3.12\n  architecture: arm64\n\n"
    (work / "serverless.yml").write_text(head + blocks("serverless", "yaml")[0])
    (work / "index.py").write_text("def handler(event, context):\n    return None\n")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), NoStack)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    there = f"{{ cloudformation: {{ endpoint: 'http://127.0.0.1:{server.server_port}' }} }}"
    (work / "there.js").write_text(f"require('{modules}/aws-sdk').config.update({there});\n")
    env = env | {"NODE_OPTIONS": f"--require {work / 'there.js'}"}
    keys = {"AWS_ACCESS_KEY_ID": "t", "AWS_SECRET_ACCESS_KEY": "t"}
    keys |= {"SLS_TELEMETRY_DISABLED": "1", "SLS_NOTIFICATIONS_MODE": "off"}
    run(work, env | keys, modules / ".bin" / "serverless", "package")
    server.shutdown()
    template = (work / ".serverless" / "cloudformation-template-update-stack.json").read_text()
    assert '"DepsLambdaLayer"' in template and zip_path.is_file(), template


def pulumi(work: pathlib.Path, env: dict[str, str]) -> None:
    tools = python("pulumi", "pulumi", "pulumi-aws")
    (work / "program.py").write_text(blocks("pulumi", "python")[0])
    (work / "build").mkdir()
    driver = """
import base64, hashlib, pathlib, pulumi
made = {}
class Mocks(pulumi.runtime.Mocks):
    def new_resource(self, args):
        made.update(args.inputs)
        return [args.name + "-id", args.inputs]
    def call(self, args):
        return {}
pulumi.runtime.set_mocks(Mocks(), preview=False)
@pulumi.runtime.test
def program():
    exec(compile(pathlib.Path("program.py").read_text(), "program.py", "exec"), {})
program()
digest = hashlib.sha256(pathlib.Path("build/deps.zip").read_bytes()).digest()
assert made.get("sourceCodeHash") == base64.b64encode(digest).decode(), made
"""
    (work / "driver.py").write_text(driver)
    run(work, env, tools / "python", "driver.py")


def ci(work: pathlib.Path, env: dict[str, str]) -> None:
    tools = python("ci", "check-jsonschema", "pyyaml")
    for text, schema in zip(blocks("ci", "yaml"), ["vendor.github-workflows", "vendor.gitlab-ci"], strict=True):
        path = work / f"{schema}.yml"
        path.write_text(text)
        run(work, env, tools / "check-jsonschema", "--builtin-schema", schema, path)
    # What both run.
    (work / "layerwise.toml").write_text('runtime = "python3.12"\nname = "deps"\n')
    run(work, env, "layerwise", "lock")
    commands = set(re.findall(r"(?:- |run: )(layerwise .*)", "".join(blocks("ci", "yaml"))))
    assert commands == {"layerwise build --locked"}, commands
    run(work, env, "layerwise", "build", "--locked")
    assert list((work / "dist").glob("*.zip")), "nothing was built"


RECIPES = {"cdk": cdk, "ci": ci, "pulumi": pulumi, "sam": sam, "serverless": serverless}


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    binary = pathlib.Path(sys.argv[1]).resolve()
    failed = False
    with tempfile.TemporaryDirectory() as scratch:
        home = pathlib.Path(scratch)
        (home / "bin").mkdir()
        shutil.copy(binary, home / "bin" / "layerwise")
        env = {**os.environ, "HOME": scratch, "LAYERWISE_CACHE_DIR": f"{scratch}/cache"}
        env["PATH"] = f"{home / 'bin'}{os.pathsep}{env['PATH']}"
        for name in sys.argv[2:] or RECIPES:
            work = home / name
            work.mkdir()
            (work / "requirements.txt").write_text(REQUIREMENTS)
            try:
                RECIPES[name](work, env)
                print(f"{name}: ok", flush=True)
            except (AssertionError, subprocess.CalledProcessError) as error:
                failed = True
                print(f"{name}: {error}", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
