"""Run by test_memory.py as a process of its own: the handler on documents in S3, and the memory it took.

    python big.py BUCKET KEY...

Prints a line of JSON for each document: the answer, and the most memory the process ever had so far, in bytes.
"""

import json
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "extract-text"))

import index


def peak() -> int:
    """Not `ru_maxrss`: that begins with what the process had that started this one."""
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"VmHWM:\s*(\d+) kB", status)[0]) * 1024


bucket, *keys = sys.argv[1:]
for key in keys:
    answer = index.handler({"bucket": bucket, "key": key}, None)
    print(json.dumps(answer | {"peak": peak()}), flush=True)
