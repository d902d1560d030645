#!/usr/bin/env python3
"""Regenerates the data files that the audit compiles in: crates/layerwise/src/audit/data/.

Each file is a plain text table of names that something exports or provides. Every file is made from
things that can be had from PyPI and Debian alone; nothing is read from AWS. Only the files whose inputs
are given are written, and the same inputs give the same bytes.

    python3 -m venv venv && venv/bin/pip install pyelftools ziglang==0.15.2
    venv/bin/python xtask/audit-data.py --date 2026-11-25 \\
        --libc6 DIR ...              glibc.txt: unpacked Debian libc6 packages, of any versions; see `glibc`
        --libpython 3.14.10=FILE ... cpython.txt: libpython3.X.so.1.0 and the release it is from
        --python FILE ...            stdlib.txt: interpreters to ask, complete builds of CPython on Linux
        --libz FILE ...              zlib.txt: libz.so.1.*, the newest first
        --runtime-packages           runtime-packages.toml: from PyPI's wheels, through pip

Several files or interpreters of one Python minor are united. `--check FILE...` compares the symbols of
zig's stub libraries with what glibc.txt says; see `check_stubs`.

Where Debian's packages come from: `apt-get download` with a configuration of its own (Dir::State,
Dir::Cache, Dir::Etc::sourcelist in a scratch directory, APT::Architectures { "amd64"; "arm64"; }), then
`dpkg-deb -x`. To run an interpreter of a Debian newer than the host's, unpack libpython3.X-{minimal,stdlib},
python3.X{,-minimal,-tk,-gdbm,-venv}, idle-python3.X, libc6, libexpat1 and zlib1g into one directory and give
a script that sets PYTHONHOME=DIR/usr and, with L=DIR/usr/lib/x86_64-linux-gnu, runs
`$L/ld-linux-x86-64.so.2 --library-path $L DIR/usr/bin/python3.X "$@"`.
"""

import argparse
import email
import glob
import importlib.metadata
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

OUT = Path(__file__).resolve().parent.parent / "crates" / "layerwise" / "src" / "audit" / "data"


# ---------------------------------------------------------------------------------------------------------
# Shared: writing tables, reading dynamic symbols


def write(name, header, lines):
    """Writes one table: `header` as comment lines, then `lines`."""
    text = "".join(f"# {line}".rstrip() + "\n" for line in header.strip().splitlines())
    text += "".join(f"{line}\n" for line in lines)
    path = OUT / name
    path.write_text(text)
    print(f"{path.relative_to(OUT.parents[4])}: {len(lines)} lines, {len(text)} bytes")


def ranges(minors, every):
    """A set of Python minors as ` 9-11,13`; the empty string when it is all of `every`."""
    if set(minors) == set(every):
        return ""
    runs = []
    for minor in sorted(minors):
        if runs and runs[-1][1] == minor - 1:
            runs[-1][1] = minor
        else:
            runs.append([minor, minor])
    return " " + ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def dynamic_symbols(path):
    """Yields (name, version or None, hidden, version index) of every symbol that a shared library defines.

    The version index is as in .gnu.version: 0 local, 1 the library's own, 2 its oldest version, and so on.
    """
    from elftools.elf.elffile import ELFFile

    with open(path, "rb") as file:
        elf = ELFFile(file)
        versions = elf.get_section_by_name(".gnu.version")
        definitions = elf.get_section_by_name(".gnu.version_d")
        names = {}
        if definitions:
            for definition, aux in definitions.iter_versions():
                names[definition["vd_ndx"]] = next(aux).name
        for index, symbol in enumerate(elf.get_section_by_name(".dynsym").iter_symbols()):
            if not symbol.name or symbol["st_shndx"] == "SHN_UNDEF" or symbol["st_info"]["bind"] == "STB_LOCAL":
                continue
            raw = versions.get_symbol(index)["ndx"] if versions else 1
            raw = {"VER_NDX_LOCAL": 0, "VER_NDX_GLOBAL": 1}.get(raw, raw)
            yield symbol.name, names.get(raw & 0x7FFF), bool(raw & 0x8000), raw & 0x7FFF


# ---------------------------------------------------------------------------------------------------------
# glibc.txt

ARCHS = {"x86_64": "x86_64-linux-gnu", "aarch64": "aarch64-linux-gnu"}
NEWEST_GLIBC = 41
GLIBC_LIBS = [
    "libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1", "libutil.so.1", "libresolv.so.2",
    "libanl.so.1", "libmvec.so.1", "libBrokenLocale.so.1", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1",
]  # fmt: skip
# Names that only say "this library still has this version"; nothing can want them.
PLACEHOLDER = re.compile(r"GLIBC_[0-9.]+|__\w+_version_placeholder")
# The last minor in which a reference without a version finds a name: (pattern, architectures, minor).
# Only `malloc_*_state` left libc altogether (for libc_malloc_debug.so, 2.34). The others are still there for
# old binaries, but hidden, and under a version that is not the library's oldest: the loader then takes them
# only for references that name the version (glibc's elf/dl-lookup.c, check_match; tried on Debian 12).
# On aarch64 they are under the oldest version, GLIBC_2.17, and so are found.
LAST = [
    (r"malloc_[gs]et_state", {"x86_64", "aarch64"}, 33),
    (r"__\w+_finite", {"x86_64"}, 30),
    (r"pthread_mutex(_consistent|attr_[gs]etrobust)_np", {"x86_64"}, 33),
    (r"xdr_u?_?quad_t", {"x86_64"}, 31),
]
# libanl's functions exist from the start; zig's list has them from 2.34 on, when they moved into libc.
MOVED_FROM_LIBANL = {"gai_cancel", "gai_error", "gai_suspend", "getaddrinfo_a"}


def glibc_last(name, arch):
    for pattern, archs, minor in LAST:
        if arch in archs and re.fullmatch(pattern, name):
            return minor
    return None


def zig_abilists():
    """{arch: {name: first minor}} from zig's `abilists`, which is made of glibc's own .abilist files.

    The format is described in github.com/ziglang/libc-abi-tools, README.md. It covers libc, libm, libpthread,
    libdl, librt, libutil, libresolv and ld.so; a symbol may be in several with several versions.
    """
    root = Path(importlib.util.find_spec("ziglang").origin).parent
    data = (root / "lib/libc/glibc/abilists").read_bytes()
    at = 0

    def byte():
        nonlocal at
        at += 1
        return data[at - 1]

    def text():
        nonlocal at
        end = data.index(0, at)
        start, at = at, end + 1
        return data[start:end].decode()

    def uleb():
        value = shift = 0
        while True:
            part = byte()
            value |= (part & 0x7F) << shift
            shift += 7
            if part < 0x80:
                return value

    [text() for _ in range(byte())]  # library names: which library it is does not matter here
    versions = [(byte(), byte(), byte()) for _ in range(byte())]
    targets = [text() for _ in range(byte())]
    bits = {arch: 1 << targets.index(triple) for arch, triple in ARCHS.items()}
    first = {arch: {} for arch in ARCHS}
    for sized in (False, True, True):  # functions, objects, thread-local objects (none in glibc)
        inclusions = byte() | byte() << 8
        name = None
        for _ in range(inclusions):
            name = name or text()
            mask = uleb()
            if sized:
                uleb()
            last_of_name = byte() & 0x80
            minors = []
            while True:
                part = byte()
                minors.append(versions[part & 0x7F][1])
                if part & 0x80:
                    break
            for arch, bit in bits.items():
                if mask & bit:
                    first[arch][name] = min([first[arch].get(name, 999), *minors])
            if last_of_name:
                name = None
    assert at == len(data), "the whole file was understood"
    return first


def real_glibc(root):
    """(arch, minor, {name: [(first minor, hidden, version index)]}) of an unpacked libc6 package."""
    for arch, triple in ARCHS.items():
        libs = [p for p in Path(root).rglob("*") if p.name in GLIBC_LIBS and p.parent.name == triple]
        if libs:
            break
    assert libs, f"no glibc in {root}"
    names, newest = {}, 0
    for lib in libs:
        for name, version, hidden, index in dynamic_symbols(lib.resolve()):
            match = re.fullmatch(r"GLIBC_2\.(\d+)(\.\d+)?", version or "")
            if not match:
                continue  # GLIBC_PRIVATE: glibc's own business
            newest = max(newest, int(match[1]))
            if not PLACEHOLDER.fullmatch(name):
                names.setdefault(name, []).append((int(match[1]), hidden, index))
    return arch, newest, names


def glibc(date, roots):
    """zig's table, plus the libraries it lacks from the newest libc6, checked against every libc6 given."""
    first = zig_abilists()
    real = sorted((real_glibc(root) for root in roots), key=lambda r: (r[0], r[1]))
    for arch in ARCHS:
        newest = [r for r in real if r[0] == arch and r[1] == NEWEST_GLIBC]
        assert newest, f"a libc6 2.{NEWEST_GLIBC} for {arch} is needed for libmvec"
        for name, versions in newest[0][2].items():
            minor = min(version[0] for version in versions)
            if name not in first[arch] or name in MOVED_FROM_LIBANL:
                first[arch][name] = minor
            assert first[arch][name] == minor, (arch, name, minor)
        first[arch] = {n: m for n, m in first[arch].items() if m <= NEWEST_GLIBC and not PLACEHOLDER.fullmatch(n)}

    for arch, minor, names in real:
        want = {n for n, since in first[arch].items() if since <= minor <= (glibc_last(n, arch) or 999)}
        # What the loader does for a reference without a version: the oldest version, or one not hidden.
        have = {n for n, versions in names.items() if any(index <= 2 or not hidden for _, hidden, index in versions)}
        difference = sorted(want ^ have)
        assert not difference, (arch, minor, difference)
        print(f"glibc 2.{minor} {arch}: {len(want)} names, the same as Debian's libraries have")

    def column(name, arch):
        if name not in first[arch]:
            return "-"
        last = glibc_last(name, arch)
        return f"{first[arch][name]}" + (f"-{last}" if last else "")

    checked = ", ".join(sorted({f"2.{minor}" for _, minor, _ in real}))
    header = f"""
Names that glibc exports to programs, with the glibc 2.x minor in which each first exists.
Columns: name, x86_64, aarch64. `17` = from 2.17 on; `15-30` = from 2.15 to 2.30; `-` = not on that architecture.
The file covers glibc up to 2.{NEWEST_GLIBC}. aarch64 begins with 2.17.

The question it answers: does the loader of glibc 2.N find NAME for a reference that names no version?
Names that can no longer be linked against but are still there for old binaries (`__malloc_hook`, the xdr_
functions) count as existing wherever such a reference finds them. A range says where it stops finding them
(x86_64: the name became hidden under a version that is not its library's oldest; malloc_*_state: left libc).
A reference that does name a version is judged by the version alone.

All of libc, libm, libpthread, libdl, librt, libutil, libresolv, libanl, libmvec, libBrokenLocale and ld.so:
the file does not say in which library a name is (before 2.34 that matters: libpthread, libdl, librt, libutil
and libanl were separate). Left out: version GLIBC_PRIVATE (`_rtld_global`), libcrypt, libnsl, libthread_db, libnss_*.

Source, {date}: ziglang {importlib.metadata.version('ziglang')} (PyPI) lib/libc/glibc/abilists; libmvec and libanl
from Debian's libc6 2.{NEWEST_GLIBC}. Compared name by name with Debian's libc6 {checked} for both architectures.
Regenerated by xtask/audit-data.py --libc6. Sorted by name, as bytes."""
    names = sorted(set(first["x86_64"]) | set(first["aarch64"]))
    write("glibc.txt", header, [f"{n} {column(n, 'x86_64')} {column(n, 'aarch64')}" for n in names])


def check_stubs(stubs):
    """Compares glibc.txt with stub libraries that `zig cc -target ARCH-linux-gnu.2.N -shared` left in its cache.

    One argument per target, `x86_64:26:DIR`, with DIR the directory of that target's libc.so.6. Differences to
    expect: zig has no libmvec and libanl; from 2.34 on its stubs have no libpthread, and lack the 28 or so names that
    live on in libc for old binaries only (Debian's libc6 2.36 has them: see `glibc`); ranges are not looked at.
    """
    table = {}
    for line in (OUT / "glibc.txt").read_text().splitlines():
        if not line.startswith("#"):
            name, *columns = line.split()
            table[name] = dict(zip(ARCHS, columns))
    for stub in stubs:
        arch, minor, directory = stub.split(":")
        zig = {n for lib in glob.glob(f"{directory}/*.so*") for n, *_ in dynamic_symbols(lib)}
        zig = {n for n in zig if not PLACEHOLDER.fullmatch(n)}
        ours = {n for n, row in table.items() if row[arch] != "-" and int(row[arch].split("-")[0]) <= int(minor)}
        print(f"{stub}: zig {len(zig)}, ours {len(ours)}")
        print("   only zig:", sorted(zig - ours))
        print("   only ours:", sorted(n for n in ours - zig if not n.startswith("_ZGV")),
              "and", sum(n.startswith("_ZGV") for n in ours - zig), "of libmvec")


# ---------------------------------------------------------------------------------------------------------
# cpython.txt


def cpython(date, libraries):
    exports, releases = {}, {}
    for item in libraries:
        release, path = item.split("=", 1)
        minor = int(release.split(".")[1])
        releases.setdefault(minor, set()).add(release)
        for name, *_ in dynamic_symbols(path):
            # PyInit_*: which modules are linked in is the build's choice, and no extension wants them.
            if re.match(r"_?Py|PY_", name) and not name.startswith("PyInit_"):
                exports.setdefault(name, set()).add(minor)
    every = sorted(releases)
    sources = "; ".join(" and ".join(sorted(releases[m])) for m in every)
    header = f"""
Names that libpython3.X.so of CPython exports on Linux: what an extension module may leave undefined.
`name` alone: all of 3.{every[0]} to 3.{every[-1]}. `name 9-11,13`: only those minors.
Not judged by this file: Pythons outside of that range.

Releases read, {date}: {sources}.
Where two are named, a name is listed if either has it. Private names (_Py*) come and go between patch releases.
Built for x86_64, 3.14 and later also aarch64 (same names). The few names of x86 floating point control
(`_Py_get_387controlword`) do not exist on aarch64. Not free-threaded, not debug; Debian's have the JIT (_PyJIT_*).
Left out: PyInit_* (modules linked in), and what does not begin with Py, _Py or PY_.

Sources: pyenv builds with --enable-shared (3.9 to 3.13), Debian's libpython3.X packages (others).
Regenerated by xtask/audit-data.py --libpython. Sorted by name, as bytes."""
    write("cpython.txt", header, [f"{n}{ranges(exports[n], every)}" for n in sorted(exports)])


# ---------------------------------------------------------------------------------------------------------
# stdlib.txt

# Asked of every interpreter. Files are found, not imported: importing runs code.
INVENTORY = r"""
import json, os, sys
names = set(sys.builtin_module_names)
def walk(directory, prefix):
    for entry in os.scandir(directory):
        name = entry.name
        if entry.is_dir():
            if os.path.exists(os.path.join(entry.path, "__init__.py")):
                names.add(prefix + name)
                if name not in ("test", "tests", "idlelib", "turtledemo"):
                    walk(entry.path, prefix + name + ".")
        elif name.endswith(".py") and name != "__init__.py":
            names.add(prefix + name[:-3])
        elif name.endswith(".so"):
            names.add(prefix + name.split(".")[0])
root = os.path.dirname(os.__file__)
walk(root, "")
walk(os.path.join(root, "lib-dynload"), "")
# Submodules that are no files: their parents put them into sys.modules.
import collections.abc, math, os.path, typing, xml.parsers.expat
names.update(name for name in sys.modules if "." in name)
std = getattr(sys, "stdlib_module_names", None)
json.dump({"release": sys.version.split()[0], "names": sorted(names), "std": std and sorted(std)}, sys.stdout)
"""

# Importable, but not in sys.stdlib_module_names.
EXTRA = {"__main__", "test", "_xxsubinterpreters", "_xxinterpchannels"}
# Named after the platform: listed for both architectures, each exists on its own only.
SYSCONFIG = {"_sysconfigdata__linux_x86_64-linux-gnu", "_sysconfigdata__linux_aarch64-linux-gnu"}
# In sys.stdlib_module_names but not always built or packed: what needs a C library, and what Debian leaves out.
OPTIONAL = {"_dbm", "_gdbm", "turtledemo", "_frozen_importlib", "_frozen_importlib_external"}
# Debian does not pack these of CPython's own Lib from 3.13 on.
UNPACKED = {"ctypes.macholib", "ctypes.macholib.dyld", "ctypes.macholib.dylib", "ctypes.macholib.framework"}
# Debian's own.
FOREIGN = {"_distutils_system_mod", "sitecustomize", "_sysconfigdata__x86_64-linux-gnu"}
# For other systems (top-level: not there on Linux; submodules: a file that fails to import). Found by importing
# every module of every interpreter once, each in a process of its own.
ELSEWHERE = {
    "_ios_support", "_msi", "_overlapped", "_scproxy", "_winapi", "_wmi", "msilib", "msvcrt", "nt", "winreg",
    "winsound", "_pyrepl.windows_console", "asyncio.windows_events", "asyncio.windows_utils", "distutils._msvccompiler",
    "distutils.command.bdist_msi", "distutils.msvc9compiler", "encodings.mbcs", "encodings.oem",
    "lib2to3.pgen2.conv", "multiprocessing.popen_spawn_win32",
}  # fmt: skip
# The last minor that has each module that went, as a check on the result; stdlib.txt's header says by what source.
GONE_AFTER = {
    9: "formatter parser symbol _bootlocale _peg_parser distutils.command.bdist_wininst",
    10: "binhex distutils.command.bdist_msi",
    11: "asynchat asyncore distutils distutils.core distutils.version imp smtpd",
    12: "aifc audioop cgi cgitb chunk crypt _crypt imghdr lib2to3 lib2to3.pgen2 mailcap msilib nis nntplib ossaudiodev"
        " pipes sndhdr spwd sunau telnetlib tkinter.tix typing.io typing.re uu xdrlib",
    14: "sre_compile sre_constants sre_parse",
}  # fmt: skip
FIRST_IN = {
    10: "asyncio.mixins importlib.readers",
    11: "asyncio.taskgroups asyncio.timeouts importlib.resources.abc re._compiler tomllib wsgiref.types",
    12: "_pydatetime _sha2",
    13: "_colorize _interpreters dbm.sqlite3",
    14: "annotationlib compression compression.zstd concurrent.interpreters string.templatelib _zstd pathlib.types",
    15: "math.integer profiling profiling.sampling profiling.tracing",
}


def inventory(python):
    command = [python, "-S", "-B", "-c", INVENTORY]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def stdlib(date, pythons):
    found, std, releases = {}, {}, {}
    for python in pythons:
        answer = inventory(python)
        minor = int(answer["release"].split(".")[1])
        releases.setdefault(minor, set()).add(answer["release"])
        found.setdefault(minor, set()).update(answer["names"])
        if answer["std"]:
            std.setdefault(minor, set()).update(answer["std"])
    every = sorted(found)

    provided = {}
    for minor in every:
        top = {name for name in found[minor] if "." not in name}
        if minor in std:
            unknown = std[minor] - top - ELSEWHERE - OPTIONAL
            assert not unknown, (minor, "built without, or for other systems: which?", sorted(unknown))
            top = std[minor]
        else:
            # 3.9 has no sys.stdlib_module_names. What 3.10 knows and no 3.10 on Linux has, 3.9 knows as well.
            later = std[minor + 1] - {name for name in found[minor + 1] if "." not in name}
            private = re.compile(r"_test.*|_xx.*|xx.*|_ctypes_test|_sysconfigdata.*|__(hello|phello)__")
            top = {name for name in top if not private.fullmatch(name)} | later
        top |= EXTRA & (found[minor] | {"__main__"}) | SYSCONFIG
        below = {name for name in found[minor] | UNPACKED if "." in name and name.split(".")[0] in top}
        for name in (top | below) - FOREIGN:
            provided.setdefault(name, set()).add(minor)

    for last, names in GONE_AFTER.items():
        for name in names.split():
            assert max(provided[name]) == last and min(provided[name]) == every[0], (name, provided[name])
    for first, names in FIRST_IN.items():
        for name in names.split():
            assert provided[name] == set(range(first, every[-1] + 1)), (name, provided[name])
    assert all(len(m) == max(m) - min(m) + 1 for m in provided.values()), "no module went and came back"

    sources = "; ".join(" and ".join(sorted(releases[m])) for m in every)
    header = f"""
Modules of Python's standard library on Linux, with the minors of CPython 3 that have them.
`name` alone: all of 3.{every[0]} to 3.{every[-1]}. `name 9-11`: only those minors; it was removed in the one after the last.
`!name` (at the end): known to CPython, but importing it on Linux fails (modules for Windows, macOS, iOS).

Top-level names are sys.stdlib_module_names (3.9: by its files), and `__main__`, `test`, `_xxsubinterpreters`,
`_xxinterpchannels`, `_sysconfigdata__linux_*` (each on its own architecture only). Not listed: CPython's own test
extensions (_testcapi, ...), and whatever is inside `test`, `idlelib`, `turtledemo` and packages named test or tests:
take a name below one of those as provided. Includes submodules that are no files (os.path, pyexpat.errors).

Listed although a build may lack them for want of a C library; what AWS's builds lack was not measured: _tkinter (with
tkinter, turtle, idlelib), _dbm, _gdbm (with dbm.ndbm, dbm.gnu), _curses, readline, nis, ossaudiodev, and _zstd, which
AWS's 3.14 lacked until December 2025.

Asked, {date}: CPython {sources}.
3.9 to 3.13 are pyenv builds, others Debian's packages; added: what Debian leaves out (turtledemo, ctypes.macholib).
Removals in 3.10, 3.12, 3.13 and 3.15 were compared with excerpts of What's New in Python and with the module list of
github.com/actions/python-versions; those in 3.11 (binhex) are by the files alone.
Regenerated by xtask/audit-data.py --python. Sorted by name, as bytes; the `!` names separately."""
    here = [f"{n}{ranges(provided[n], every)}" for n in sorted(provided) if n not in ELSEWHERE]
    away = [f"!{n}{ranges(provided[n], every)}" for n in sorted(provided) if n in ELSEWHERE]
    write("stdlib.txt", header, here + away)


# ---------------------------------------------------------------------------------------------------------
# zlib.txt


def zlib(date, libraries):
    since = {}
    newest = dict(symbol[:2] for symbol in dynamic_symbols(libraries[0]))
    for name, version in newest.items():
        if not name.startswith("ZLIB_"):
            since[name] = version.removeprefix("ZLIB_") if version.startswith("ZLIB_") else "1.1"
    for library in libraries[1:]:
        for name, version, *_ in dynamic_symbols(library):
            assert newest.get(name) == version, (library, name, version)

    def names_up_to(version):
        parts = [[int(part) for part in v.split(".")] for v in since.values()]
        return sum(part <= version for part in parts)

    header = f"""
Names that libz.so.1 exports, with the version of zlib that brought each; `1.1` = before zlib had versions (1.2.0).
Amazon Linux 2 has zlib 1.2.7 ({names_up_to([1, 2, 7])} of the names), Amazon Linux 2023 has 1.2.11 ({names_up_to([1, 2, 11])}).
Versions compare number by number: 1.2.5.2 < 1.2.7 < 1.2.7.1 < 1.2.11.

Source, {date}: the version nodes in Debian's zlib1g ({', '.join(Path(l).name.removeprefix('libz.so.') for l in libraries)}).
Equal to what was measured in amazonlinux:2 and :2023 (github.com/mayeut/pep600_compliance, cache/, 2025-04-06).
Regenerated by xtask/audit-data.py --libz. Sorted by name, as bytes."""
    write("zlib.txt", header, [f"{name} {since[name]}" for name in sorted(since)])


# ---------------------------------------------------------------------------------------------------------
# runtime-packages.toml

# Versions in the managed runtimes, by Python minor. Source: github.com/kallu/aws-lambda-python-runtime-modules,
# dump of 2025-10-26. AWS updates them without notice, and may have different ones by region.
RUNTIME_SAME = {
    "awslambdaric": "3.1.1", "boto3": "1.40.4", "botocore": "1.40.4", "jmespath": "1.0.1",
    "python-dateutil": "2.9.0.post0", "s3transfer": "0.13.1", "simplejson": "3.20.1", "six": "1.17.0",
    "snapshot-restore-py": "1.0.0", "urllib3": "1.26.19",
}  # fmt: skip
RUNTIME_OWN = {
    9: {"pip": "23.0.1", "setuptools": "58.1.0"},
    10: {"pip": "23.0.1", "setuptools": "65.5.1"},
    11: {"pip": "24.0", "setuptools": "65.5.0"},
    12: {"pip": "25.0.1"},
    13: {"pip": "25.2"},
}
# No dump of these is known: they get the newest known row.
RUNTIME_ASSUMED = [14, 15]


def read_wheel(path):
    """(Requires-Dist lines that need no extra, top-level importable names) of a wheel."""
    with zipfile.ZipFile(path) as wheel:
        files = wheel.namelist()
        metadata = next(f for f in files if re.fullmatch(r"[^/]+\.dist-info/METADATA", f))
        message = email.message_from_bytes(wheel.read(metadata))
    requires = []
    for line in message.get_all("Requires-Dist") or []:
        marker = line.partition(";")[2]
        if "extra" in marker:
            continue
        variables = set(re.findall(r"\b[a-z_]{4,}\b", re.sub(r"'[^']*'|\"[^\"]*\"", "", marker)))
        assert variables <= {"python_version"}, (path, line, "does it apply on Linux?")
        requires.append(line)
    imports = set()
    for file in files:
        head, _, rest = file.partition("/")
        if rest and re.fullmatch(r"\w+", head) and rest.endswith((".py", ".so")):
            imports.add(head)
        elif not rest and re.fullmatch(r"\w+(\.cpython-[\w-]+)?\.(py|so)", head):
            imports.add(head.split(".")[0])
    return requires, sorted(imports)


def runtime_packages(date):
    rows = {minor: RUNTIME_SAME | own for minor, own in RUNTIME_OWN.items()}
    pins = sorted({pin for row in rows.values() for pin in row.items()})
    text = json.dumps  # a JSON string or list of strings is a TOML one
    lines = []
    with tempfile.TemporaryDirectory() as scratch:
        for name, version in pins:
            target = Path(scratch) / f"{name}-{version}"
            where = ["--platform", "manylinux2014_x86_64", "--implementation", "cp", "--python-version", "3.11"]
            command = [sys.executable, "-m", "pip", "--quiet", "download", "--no-deps", "--only-binary", ":all:"]
            subprocess.run([*command, *where, "--dest", str(target), f"{name}=={version}"], check=True)
            requires, imports = read_wheel(next(target.iterdir()))
            lines += ["", "[[distribution]]", f"name = {text(name)}", f"version = {text(version)}"]
            lines += [f"requires = {text(requires)}", f"imports = {text(imports)}"]
    for minor in [*rows, *RUNTIME_ASSUMED]:
        row = rows.get(minor) or rows[max(rows)]
        lines += ["", "[[runtime]]", f"minor = {minor}", f"assumed = {text(minor not in rows)}", "packages = ["]
        lines += [f"    {text(f'{name}=={version}')}," for name, version in sorted(row.items())] + ["]"]
    header = f"""
Python packages that the managed Lambda runtimes carry.

[[runtime]]: `minor` of Python 3, its `packages`; `assumed`: no list is known, the newest known one is taken.
[[distribution]]: one for every name and version above; `requires`: its Requires-Dist lines as they are, without those
of extras; `imports`: top-level names it can be imported by.

Versions: dump of 2025-10-26, github.com/kallu/aws-lambda-python-runtime-modules. AWS updates them without notice.
`requires` and `imports`, {date}: PyPI's wheels for CPython 3.11 on x86_64.
Regenerated by xtask/audit-data.py --runtime-packages."""
    write("runtime-packages.toml", header, lines)


# ---------------------------------------------------------------------------------------------------------


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--date", help="the day the inputs were fetched, for the headers: YYYY-MM-DD")
    for option in ("--libc6", "--libpython", "--python", "--libz", "--check"):
        parser.add_argument(option, nargs="+", default=[], metavar="FILE")
    parser.add_argument("--runtime-packages", action="store_true")
    args = parser.parse_args()
    if not args.date and not args.check:
        parser.error("--date is needed")
    OUT.mkdir(parents=True, exist_ok=True)
    if args.libc6:
        glibc(args.date, args.libc6)
    if args.libpython:
        cpython(args.date, args.libpython)
    if args.python:
        stdlib(args.date, args.python)
    if args.libz:
        zlib(args.date, args.libz)
    if args.runtime_packages:
        runtime_packages(args.date)
    if args.check:
        check_stubs(args.check)


if __name__ == "__main__":
    main()
