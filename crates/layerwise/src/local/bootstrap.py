"""What the managed runtime's /var/runtime/bootstrap.py does: the search path, then the runtime interface client.

Source: lambda-facts 1.3; the file itself is Amazon's (python3.11).
"""

import os
import site
import sys

VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
TASK_ROOT = os.environ["LAMBDA_TASK_ROOT"]
# Where layers are: another place where the root is the host's.
OPT = os.environ.pop("_LAYERWISE_OPT", "/opt")
LAYERS = [f"{OPT}/python/lib/{VERSION}/site-packages", f"{OPT}/python"]
RUNTIME = os.environ["_LAYERWISE_RUNTIME"]
del os.environ["_LAYERWISE_RUNTIME"]
OWN_PATH = "PYTHONPATH" in os.environ
# Python itself has set it (PEP 538), because this system may lack the locale en_US.UTF-8, which Amazon Linux 2 has.
if sys.version_info < (3, 12) and os.environ.get("LC_CTYPE") == "C.UTF-8":
    del os.environ["LC_CTYPE"]

# Python has put this file's own directory, /var/runtime, first: as on Lambda it stays, behind these.
if not OWN_PATH:
    sys.path[:0] = [TASK_ROOT, *LAYERS, RUNTIME]
else:
    sys.path[:0] = [TASK_ROOT]
    sys.path.append(RUNTIME)
for directory in [TASK_ROOT, *([] if OWN_PATH else LAYERS)]:
    site.addsitedir(directory)
os.environ.setdefault("PYTHONPATH", os.environ["LAMBDA_RUNTIME_DIR"])

from awslambdaric.__main__ import main  # noqa: E402

main([TASK_ROOT, os.environ["_HANDLER"]])
