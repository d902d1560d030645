"""The first process of a build's container: makes the build environment from wheels, calls one hook of the build
backend as a user without rights, and answers on standard output: a line about the image, then a tar.

It came through standard input, with everything else, below /build; layerwise holds that pipe open as long as it lives.
"""
import configparser
import json
import os
import re
import resource
import shutil
import signal
import ssl
import stat
import subprocess
import sys
import tarfile
import threading
import venv
import zipfile

ROOT, ENV = "/build", "/build/env"
answer = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)  # whatever prints, prints to the log


def watch():
    try:
        while os.read(0, 1 << 16):
            pass
    finally:
        os._exit(143)  # the first process: everything in the container ends with it


threading.Thread(target=watch, daemon=True).start()
call = json.load(open(ROOT + "/hook/call.json"))
path = os.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin")


def said(program, *args):
    try:
        run = subprocess.run([program, *args], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
        return run.stdout.decode(errors="replace").strip().splitlines()[0] if run.returncode == 0 else None
    except (OSError, IndexError, subprocess.SubprocessError):
        return None


try:
    glibc = os.confstr("CS_GNU_LIBC_VERSION").split()[1]
except (ValueError, OSError, AttributeError, IndexError):
    glibc = None
hello = {
    "python": ".".join(map(str, sys.version_info[:3])),
    "glibc": glibc,
    "compiler": said("gcc", "--version") or said("cc", "--version"),
    "rust": said("rustc", "--version") if shutil.which("cargo") else None,
}
answer.write(json.dumps(hello).encode() + b"\n")
answer.flush()


def install(wheel, site):
    """The Wheel specification, "Installing a wheel"; wheels were verified by layerwise."""
    schemes = {"purelib": site, "platlib": site, "data": ENV, "scripts": ENV + "/bin", "headers": ENV + "/include"}
    python = ENV + "/bin/python"

    def script(name, text):
        with open(os.path.join(ENV, "bin", name), "wb") as out:
            out.write(text)
        os.chmod(out.name, 0o755)

    with zipfile.ZipFile(wheel) as files:
        for info in files.infolist():
            to, name = os.path.join(site, info.filename), info.filename
            inside = re.match(r"[^/]+\.data/([^/]+)/(.+)", name)
            if inside:
                to = os.path.join(schemes[inside[1]], inside[2])
            if name.endswith("/"):
                continue
            content = files.read(info)
            if inside and inside[1] == "scripts":
                script(inside[2], re.sub(rb"\A#!pythonw?[^\n]*", b"#!" + python.encode(), content))
                continue
            os.makedirs(os.path.dirname(to), exist_ok=True)
            with open(to, "wb") as out:
                out.write(content)
            os.chmod(to, 0o755 if info.external_attr >> 16 & 0o111 else 0o644)
            if re.match(r"[^/]+\.dist-info/entry_points\.txt", name):
                points = configparser.ConfigParser(delimiters=("=",), interpolation=None, strict=False)
                points.optionxform = str
                points.read_string(content.decode())
                for section in ("console_scripts", "gui_scripts"):
                    for tool, what in points.items(section) if points.has_section(section) else ():
                        module, _, function = what.split("[")[0].strip().partition(":")
                        text = "#!%s\nimport sys\nimport %s\nsys.exit(%s.%s())\n"
                        script(tool, (text % (python, module, module, function.strip())).encode())


for sub in ("home", "tmp", "out", "cargo"):
    os.makedirs(os.path.join(ROOT, sub), exist_ok=True)
venv.create(ENV, symlinks=True, with_pip=False)
site = "%s/lib/python%d.%d/site-packages" % ((ENV,) + sys.version_info[:2])
wheels = ROOT + "/wheels"
for name in sorted(os.listdir(wheels)) if os.path.isdir(wheels) else ():
    install(os.path.join(wheels, name), site)
if os.path.exists(ROOT + "/vendor.tar"):
    with tarfile.open(ROOT + "/vendor.tar") as vendor:
        vendor.extractall(ROOT)

environment = {key: os.environ[key] for key in ("LD_LIBRARY_PATH", "PKG_CONFIG_PATH") if key in os.environ}
environment.update(call["environment"])
before = [ROOT + "/refuse"] if os.path.isdir(ROOT + "/refuse") else []
environment["PATH"] = ":".join(before + [ENV + "/bin", path])
jobs = str(len(os.sched_getaffinity(0)))
for key in ("CMAKE_BUILD_PARALLEL_LEVEL", "CARGO_BUILD_JOBS", "NPY_NUM_BUILD_JOBS", "RAYON_NUM_THREADS"):
    environment[key] = jobs
environment["MAKEFLAGS"] = "-j" + jobs
environment.update(call["settings"])

# As a user without rights, wherever there are users: in a container of one user alone, root is that user.
who = {}
try:
    for parent, dirs, files in os.walk(ROOT):
        for name in [parent] + [os.path.join(parent, file) for file in files]:
            os.chown(name, 1000, 1000, follow_symlinks=False)
    subprocess.run(["true"], user=1000, group=1000, extra_groups=[], check=True, stdin=subprocess.DEVNULL)
    who = {"user": 1000, "group": 1000, "extra_groups": []}
except OSError:
    pass


def limit(what, most):
    soft, hard = resource.getrlimit(what)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (most, most))


limit(resource.RLIMIT_CORE, 0)
limit(resource.RLIMIT_NPROC, 4096)
if call["hook"] == "crates":
    line = ["cargo", "vendor", "--versioned-dirs", "--manifest-path", call["manifests"][0]]
    for manifest in call["manifests"][1:]:
        line += ["--sync", manifest]
    cargo = dict(environment, CARGO_HOME=ROOT + "/cargo")
    cargo.pop("CARGO_NET_OFFLINE", None)
    cargo.update(call["network"])
    trusted = ROOT + "/hook/certificates.pem"
    if os.path.exists(trusted):  # besides those of the image: cargo takes one file, and no other
        usual = [ssl.get_default_verify_paths().cafile, "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"]
        for own in [file for file in usual if file and os.path.exists(file)][:1]:
            with open(own, "rb") as more, open(trusted, "ab") as out:
                out.write(b"\n" + more.read())
        cargo["CARGO_HTTP_CAINFO"] = trusted
    run = subprocess.run(line + [ROOT + "/vendor"], cwd=ROOT, env=cargo, stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, **who)
    code = run.returncode
    if code == 0:
        with open(ROOT + "/hook/answer.json", "w") as out:
            json.dump(run.stdout.decode(), out)
        with tarfile.open(ROOT + "/out/vendor.tar", "w") as out:
            out.add(ROOT + "/vendor", "vendor")
else:
    line = [ENV + "/bin/python", ROOT + "/hook/hooks.py", ROOT + "/hook/call.json"]
    code = subprocess.run(line, cwd=call["cwd"], env=environment, stdin=subprocess.DEVNULL, **who).returncode
try:
    os.kill(-1, signal.SIGKILL)  # what the build left running
except OSError:
    pass


def regular(file):
    try:
        return stat.S_ISREG(os.lstat(file).st_mode)
    except OSError:
        return False


with tarfile.open(fileobj=answer, mode="w|") as out:
    files = [("answer.json", ROOT + "/hook/answer.json"), ("refused", ROOT + "/hook/refused")]
    files += [("out/" + name, os.path.join(ROOT, "out", name)) for name in sorted(os.listdir(ROOT + "/out"))]
    for name, file in files:
        if regular(file):
            out.add(file, name, recursive=False)
answer.close()
if code < 0:
    print("layerwise: the build was killed by signal", -code)
os._exit(0 if code == 0 else 1)
