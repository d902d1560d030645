"""Calls one hook of a PEP 517 build backend: hooks.py SPEC. SPEC is JSON; so is the answer."""
import glob
import importlib
import json
import os
import sys
import zipfile

spec = json.load(open(sys.argv[1]))
sys.path[:0] = [os.path.abspath(path) for path in spec["backend_path"]]
module, _, attributes = spec["backend"].partition(":")
backend = importlib.import_module(module)
for attribute in filter(None, attributes.split(".")):
    backend = getattr(backend, attribute)
config, out = spec["config"], spec["out"]
if spec["hook"] == "requires":
    answer = getattr(backend, "get_requires_for_build_wheel", lambda config: [])(config)
elif spec["hook"] == "wheel":
    answer = backend.build_wheel(out, config)
elif hasattr(backend, "prepare_metadata_for_build_wheel"):
    name = backend.prepare_metadata_for_build_wheel(out, config)
    answer = open(os.path.join(out, name, "METADATA"), encoding="utf-8").read()
else:
    name = backend.build_wheel(out, config)
    with zipfile.ZipFile(os.path.join(out, name)) as wheel:
        inside = [n for n in wheel.namelist() if n.count("/") == 1 and n.endswith(".dist-info/METADATA")]
        answer = wheel.read(inside[0]).decode()
json.dump(answer, open(spec["answer"], "w"))
