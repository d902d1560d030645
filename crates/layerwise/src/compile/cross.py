"""Makes a Python that builds for another machine say so. Active only where LAYERWISE_ARCH is set."""
import os
import sys

_arch = os.environ.get("LAYERWISE_ARCH")
if _arch:
    import sysconfig

    _root = os.environ["LAYERWISE_PYTHON"]
    _vars = sysconfig.get_config_vars()
    _vars["installed_base"] = _vars["installed_platbase"] = _root
    _uname = os.uname

    def _of_target():
        u = _uname()
        return os.uname_result((u.sysname, u.nodename, "5.10.0", "#1", _arch))

    os.uname = _of_target
    sys.implementation._multiarch = _arch + "-linux-gnu"

    def _patch(platform):
        platform.machine = platform.processor = lambda: _arch
        platform.architecture = lambda *args, **kwargs: ("64bit", "ELF")
        platform.libc_ver = lambda *args, **kwargs: ("glibc", os.environ["LAYERWISE_GLIBC"])
        return platform

    class _Finder:  # `platform` is patched when it has been imported
        def find_spec(self, name, path=None, target=None):
            if name != "platform":
                return None
            sys.meta_path.remove(self)
            from importlib.machinery import PathFinder

            spec = PathFinder.find_spec(name, path, target)
            run = spec.loader.exec_module

            def exec_module(module):
                run(module)
                _patch(module)

            spec.loader.exec_module = exec_module
            return spec

    if "platform" in sys.modules:
        _patch(sys.modules["platform"])
    else:
        sys.meta_path.insert(0, _Finder())
