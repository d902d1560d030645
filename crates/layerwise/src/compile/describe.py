"""Describes a target to builds: describe.py DIR SEEN ARCH, run by a host Python of the target's minor version.

DIR gets `lib`, with a `_sysconfigdata…` module in which nothing of the host is left, and `include`, the headers with
the few macros of pyconfig.h that differ between processors. SEEN is what the build calls DIR's parent.
"""
import importlib
import json
import os
import pprint
import re
import shutil
import sys
import sysconfig

out, seen, arch = sys.argv[1:4]
host = os.uname().machine
version = "%d.%d" % sys.version_info[:2]
host_triplet, triplet = f"{host}-linux-gnu", f"{arch}-linux-gnu"
shim = f"{seen}/shim"
values = dict(importlib.import_module(sysconfig._get_sysconfigdata_name()).build_time_vars)
for key, value in values.items():
    if isinstance(value, str):
        value = value.replace(host_triplet, triplet)
        value = value.replace(f"{host}-pc-linux-gnu", f"{arch}-unknown-linux-gnu")
        # Directories of the host, and what is good only for compiling Python itself.
        value = re.sub(r"-Wl,-rpath[,=]\S+|-[LI]/\S+|-f(file|debug|macro)-prefix-map=\S+|-specs=\S+", "", value)
        values[key] = re.sub(r"-flto\S*|-fprofile\S*|-march=\S+|-mtune=\S+|-Wl,-O1|-Wl,-Bsymbolic-functions", "", value)
soabi = "cpython-%d%d-%s" % (*sys.version_info[:2], triplet)
headers = f"{seen}/python/include/python{version}"
values.update(
    CC=f"{shim}/cc", CXX=f"{shim}/c++", AR=f"{shim}/ar", LDSHARED=f"{shim}/cc -shared", LDCXXSHARED=f"{shim}/c++ -shared",
    BLDSHARED=f"{shim}/cc -shared", LINKCC=f"{shim}/cc", LDFLAGS="", CONFIGURE_LDFLAGS="", PY_LDFLAGS="", LIBS="",
    CFLAGS="-fno-strict-overflow -Wall -DNDEBUG -O2", OPT="-DNDEBUG -O2", PY_CFLAGS="-fno-strict-overflow -DNDEBUG -O2",
    CCSHARED="-fPIC", EXT_SUFFIX=f".{soabi}.so", SOABI=soabi, MULTIARCH=triplet,
    HOST_GNU_TYPE=f"{arch}-unknown-linux-gnu", Py_ENABLE_SHARED=0, LIBDIR="/nonexistent", LIBPL="/nonexistent",
    INCLUDEPY=headers, CONFINCLUDEPY=headers, INCLUDEDIR=f"{seen}/python/include",
    CONFINCLUDEDIR=f"{seen}/python/include", AR_FLAGS="rcs", ARFLAGS="rcs",
)
real = f"{out}/include/python{version}"
shutil.copytree(sysconfig.get_path("include"), real)
config = open(sysconfig.get_config_h_filename()).read()
other = re.search(r"include <(\S+/pyconfig\.h)>", config)
if other:  # Debian's chooses by processor
    config = open(f"/usr/include/{host_triplet}/python{version}/pyconfig.h").read()
for macro in ["HAVE_GCC_ASM_FOR_X64", "HAVE_GCC_ASM_FOR_X87"]:
    line = f"#define {macro} 1" if arch == "x86_64" else f"/* #undef {macro} */"
    config = re.sub(rf"(?m)^(#define {macro} 1|/\* #undef {macro} \*/)$", line, config)
open(f"{real}/pyconfig.h", "w").write(config)
os.makedirs(f"{out}/lib", exist_ok=True)
name = f"_sysconfigdata_layerwise_{arch}"
open(f"{out}/lib/{name}.py", "w").write("build_time_vars = " + pprint.pformat(values) + "\n")
json.dump({"version": sys.version.split()[0], "base": sys.base_prefix, "exec_base": sys.base_exec_prefix}, sys.stdout)
