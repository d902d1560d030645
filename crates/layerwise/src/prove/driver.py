"""Imports one module as Lambda's own bootstrap.py would, and writes down how it went.

Runs as `python -I -S -B -u -c <this text> <settings>` in the root that `sandbox.py` made. What is here happens in the
order of bootstrap.py and awslambdaric (4.2.2): a layer comes before the standard library, so a `decimal.py` in a layer
breaks awslambdaric itself. That is why nothing may be imported here that Lambda would not have imported by then, and
why the result is put together by hand.

The result goes into memory shared with `sandbox.py`: a module may close every descriptor there is, replace
`sys.stdout`, fork, or crash. Layout: "1" | name of the last import begun, to byte 1024 | JSON, to its NUL.
"""

import marshal
import posix
import sys

NOTES_SIZE = 1 << 20  # also in sandbox.py and process.rs
MOST_TEXT = 8 << 10  # of one message, in characters
MOST_STEPS = 64  # of one chain
MOST_CAUSES = 4

# What awslambdaric and its simplejson import before they import the handler, in their order; they themselves are not
# on this machine.
IMPORTED_BEFORE = (
    "importlib json logging os sys time traceback enum decimal math collections io re struct operator"
).split()
# From python3.12 on, it polls for events in a thread.
IMPORTED_BEFORE_FROM_12 = "concurrent.futures concurrent.futures.thread".split()


def quoted(text):
    """`text` as a JSON string, cut to a bounded length."""
    if len(text) > MOST_TEXT:
        text = text[:MOST_TEXT] + "…"
    parts = []
    for character in text:
        number = ord(character)
        if 0xD800 <= number < 0xE000:  # half a pair: no JSON
            number = 0xFFFD
        if number >= 0x10000:
            number -= 0x10000
            parts.append("\\u%04x\\u%04x" % (0xD800 + (number >> 10), 0xDC00 + (number & 0x3FF)))
        elif number < 0x20 or number > 0x7E or character in '"\\':
            parts.append("\\u%04x" % number)
        else:
            parts.append(character)
    return '"' + "".join(parts) + '"'


def encoded(value):
    """JSON of what the results are made of. `json` cannot do it: the module may have replaced it."""
    kind = type(value)
    if value is None:
        return "null"
    if kind is bool:
        return "true" if value else "false"
    if kind is int or kind is float:
        return repr(value)
    if kind is str:
        return quoted(value)
    if kind is dict:
        return "{" + ",".join([quoted(key) + ":" + encoded(item) for key, item in value.items()]) + "}"
    return "[" + ",".join([encoded(item) for item in value]) + "]"


def message_of(error):
    try:
        return str.__str__(str(error))
    except BaseException:
        return "(its message cannot be had: __str__ fails)"


def name_of(error):
    return type.__dict__["__name__"].__get__(type(error))


def step(file, line, module, function):
    return [str(file), line if type(line) is int else 0, module if type(module) is str else None, str(function)]


def chain_of(error):
    """Where it passed through, outermost first, without importlib's frames and ours."""
    steps = []
    trace = error.__traceback__
    while trace is not None:
        frame, line = trace.tb_frame, trace.tb_lineno
        code = frame.f_code
        trace = trace.tb_next
        file, of_module = code.co_filename, frame.f_globals.get("__name__")
        of_importlib = file.startswith("<frozen importlib") or file.endswith("/importlib/__init__.py")
        if frame.f_globals is globals() or of_importlib:
            continue
        if of_module == "site" and code.co_name == "addpackage":
            # It executes a line of a .pth file: that is the place to name, and only its variables know it.
            at = frame.f_locals.get("n", 0) + (sys.version_info < (3, 13))
            steps.append(step(frame.f_locals.get("fullname"), at, None, "<module>"))
        elif of_module != "site":
            steps.append(step(file, line, of_module, code.co_name))
    if isinstance(error, SyntaxError) and error.filename is not None:
        steps.append(step(error.filename, error.lineno, None, "<module>"))
    if len(steps) > MOST_STEPS:  # endless recursion: its beginning and its end tell
        steps[MOST_STEPS // 2 : -MOST_STEPS // 2] = []
    return steps


def raised(error):
    """The error and what it came from (numpy and others put an error of their own around the loader's)."""
    found = []
    while error is not None and len(found) <= MOST_CAUSES:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        found.append(
            {
                "error_type": name_of(error),
                "message": message_of(error),
                "missing": missing if type(missing) is str else None,
                "chain": chain_of(error),
            }
        )
        if error.__cause__ is not None:
            error = error.__cause__
        else:
            error = None if error.__suppress_context__ else error.__context__
    return found


class Notes:
    """The memory that outlives us."""

    def __init__(self, descriptor):
        import mmap

        self.memory = mmap.mmap(descriptor, NOTES_SIZE)
        self.memory[0:1] = b"1"
        self.owner = posix.getpid()
        self.getpid = posix.getpid

    def find_spec(self, name, path=None, target=None):
        """As the first finder on `sys.meta_path`: finds nothing, writes down what is looked for."""
        if self.getpid() == self.owner:
            self.memory[1:1024] = name.encode("utf-8", "replace")[:1023].ljust(1023, b"\0")
        return None

    def result(self, value):
        if self.getpid() != self.owner:
            return  # A child that the module forked and that came back through the import.
        text = encoded(value).encode()
        if len(text) > NOTES_SIZE - 2048:
            value["raised"] = value["raised"][:1]
            text = encoded(value).encode()
        self.memory[1024 : 1024 + len(text)] = text


def set_paths(settings):
    """`sys.path` as it is after bootstrap.py: entry by entry what the interpreter and that script do."""
    import os
    import site

    env, opt, lang = os.environ, settings["opt"], settings["lang"]
    version = "python%d.%d" % sys.version_info[:2]
    site.setquit()
    site.setcopyright()
    site.sethelper()
    runtime_packages = [] if lang is None else [lang + "/lib/" + version + "/site-packages"]
    given = env.get("PYTHONPATH")
    start = [env["LAMBDA_RUNTIME_DIR"]]
    if given:
        start += [entry or os.getcwd() for entry in given.split(":")]
    sys.path[:] = start + sys.path + runtime_packages

    layer, layer_packages = opt + "/python", opt + "/python/lib/" + version + "/site-packages"
    if given is None:
        if sys.version_info >= (3, 11):
            sys.path[0:0] = runtime_packages
        sys.path.insert(0, layer)
        sys.path.insert(0, layer_packages)
    sys.path.insert(0, env["LAMBDA_TASK_ROOT"])
    site.addsitedir(env["LAMBDA_TASK_ROOT"])
    if given is None:
        site.addsitedir(layer_packages)
        site.addsitedir(layer)
        env["PYTHONPATH"] = env["LAMBDA_RUNTIME_DIR"]


def handler(name):
    """What awslambdaric's `_get_handler` does, word for word in its messages."""
    import importlib

    try:
        module_name, function_name = name.rsplit(".", 1)
    except ValueError as error:
        return [], ["Runtime.MalformedHandlerName", "Bad handler '{}': {}".format(name, error)]
    if module_name.split(".")[0] in sys.builtin_module_names:
        message = "Cannot use built-in module {} as a handler module".format(module_name)
        return [], ["Runtime.BuiltInModuleConflict", message]
    try:
        module = importlib.import_module(module_name.replace("/", "."))
    except Exception as error:
        return raised(error), answer_to(error, module_name)
    try:
        getattr(module, function_name)
    except AttributeError as error:
        message = "Handler '{}' missing on module '{}'".format(function_name, module_name)
        return raised(error), ["Runtime.HandlerNotFound", message]
    except Exception as error:
        return raised(error), [name_of(error), message_of(error)]
    return None


def module(name):
    import importlib

    try:
        importlib.import_module(name)
    except Exception as error:
        return raised(error), answer_to(error, name)
    return None


def answer_to(error, module_name):
    if isinstance(error, ImportError):
        return [
            "Runtime.ImportModuleError",
            "Unable to import module '{}': {}".format(module_name, message_of(error)),
        ]
    if isinstance(error, SyntaxError):
        return ["Runtime.UserCodeSyntaxError", "Syntax error in module '{}': {}".format(module_name, message_of(error))]
    return [name_of(error), message_of(error)]


def exit_code(error):
    """What the interpreter makes of `sys.exit(value)`."""
    code = error.code
    if code is None:
        return 0
    return int(code) & 0xFF if isinstance(code, int) else 1


def main():
    # An ordinary start of Python has these two loaded before anything else; `-S` has not.
    import os
    import site  # noqa: F401 (to be loaded, not to be used here)

    # These two it has not; nothing of theirs may be found loaded.
    import faulthandler

    settings = marshal.loads(bytes.fromhex(sys.argv[1]))
    if settings["lang"] not in (None, sys.base_prefix):
        # It did not find its library under its new name, but another Python's somewhere: `sandbox.py` tries otherwise.
        posix.write(2, ("it finds its library in " + sys.base_prefix + "\n").encode())
        posix._exit(1)
    notes = Notes(settings["notes"])
    faulthandler.enable(file=settings["trace"], all_threads=True)
    del sys.modules["faulthandler"], sys.modules["mmap"]
    import time

    clock, exit_now = time.monotonic, posix._exit
    # The loader needed other paths, and Python may have chosen a locale: what a module reads is Lambda's.
    for name in set(os.environ) - set(settings["env"]):
        del os.environ[name]
    os.environ.update(settings["env"])
    sys.argv[:] = ["/var/runtime/bootstrap.py"]
    globals()["__file__"] = sys.argv[0]
    globals()["__doc__"] = None
    sys.meta_path.insert(0, notes)

    during, began, result = "bootstrap", clock(), None
    try:
        set_paths(settings)
        early = IMPORTED_BEFORE + (IMPORTED_BEFORE_FROM_12 if sys.version_info >= (3, 12) else [])
        for name in early:
            __import__(name)
        during, began = "import", clock()
        result = (handler if settings["handler"] else module)(settings["name"])
    except SystemExit as error:
        result = raised(error), exit_code(error)
    except BaseException as error:
        # Nobody on Lambda catches it: the interpreter prints it and ends with 1.
        result = raised(error), None
    seconds = clock() - began
    if result is None:
        notes.result({"seconds": seconds})
    else:
        errors, end = result
        notes.result(
            {
                "seconds": seconds,
                "during": during,
                "raised": errors,
                "answer": end if type(end) is list else None,
                "exit": end if type(end) is int else None,
            }
        )
    exit_now(0)  # Threads of the module may still run, and its exit handlers are not called on Lambda either.


main()
