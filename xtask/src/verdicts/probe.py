"""Imports every extension module of the layers, and ends with an exception that tells how that went."""

import importlib
import importlib.machinery
import json
import os
import sys

tried, failed = 0, []
for root in list(sys.path):
    if root.startswith((sys.prefix, sys.base_prefix)) or not os.path.isdir(root):
        continue
    if not any(name.endswith(".dist-info") for name in os.listdir(root)):
        continue
    for directory, directories, files in os.walk(root):
        directories.sort()
        for name in sorted(files):
            suffix = next((end for end in importlib.machinery.EXTENSION_SUFFIXES if name.endswith(end)), None)
            if suffix is None:
                continue
            path = os.path.join(directory, name)
            module = os.path.relpath(path, root)[: -len(suffix)].replace(os.sep, ".")
            with open(path, "rb") as file:
                # Other libraries end in .so, too.
                if b"PyInit_" + module.rsplit(".", 1)[-1].encode() not in file.read():
                    continue
            if not all(part.isidentifier() for part in module.split(".")):
                continue
            tried += 1
            try:
                importlib.import_module(module)
            except BaseException as error:
                failed.append({"module": module, "type": type(error).__name__, "message": str(error)[:300]})
raise RuntimeError("probe " + json.dumps({"tried": tried, "failed": failed}))
