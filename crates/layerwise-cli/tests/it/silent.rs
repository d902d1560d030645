//! What goes wrong silently when packages are compiled for another machine: a wheel comes of it, and is wrong. Each way
//! that is known (`docs/source-builds.md` tells of packages in which it was met) is a small package here, built by
//! setuptools and the provided compiler. It either comes out right, or is refused in words.
//!
//! Needs the real package index, a Python 3.11 with headers, and a minute: with `LAYERWISE_SLOW_TESTS`.

#![cfg(target_os = "linux")]

use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use layerwise_testkit::Cli;

use super::real_index::{real, skipped};
use super::{archive, files_below, json, words};

/// A package of one C file, as a directory below `toys`.
struct Toy {
    name: &'static str,
    /// Arguments of setuptools' `Extension`, in Python.
    extension: &'static str,
    /// What `setup.py` does first.
    before: &'static str,
    /// In its C file, before the module.
    c: &'static str,
}

const fn toy(name: &'static str) -> Toy {
    Toy { name, extension: "", before: "", c: "" }
}

impl Toy {
    fn write(&self, project: &Path) {
        let Self { name, extension, before, c } = self;
        let dir = project.join("toys").join(name);
        fs_err::create_dir_all(&dir).unwrap();
        let pyproject = format!(
            "[project]\nname = '{name}'\nversion = '1.0'\n[build-system]\nrequires = ['setuptools==80.9.0']\n\
             build-backend = 'setuptools.build_meta'\n[tool.setuptools]\npy-modules = []\n"
        );
        let setup = format!(
            "import os, platform, subprocess, sys\nfrom setuptools import Extension, setup\n{before}\n\
             setup(ext_modules=[Extension('{name}', ['{name}.c'], **dict({extension}))])\n"
        );
        let module = format!(
            "#include <Python.h>\n{c}\n\
             static struct PyModuleDef definition = {{PyModuleDef_HEAD_INIT, \"{name}\", 0, -1, 0}};\n\
             PyMODINIT_FUNC PyInit_{name}(void) {{ return PyModule_Create(&definition); }}\n"
        );
        for (file, text) in [("pyproject.toml", &pyproject), ("setup.py", &setup), (&format!("{name}.c"), &module)] {
            fs_err::write(dir.join(file), text).unwrap();
        }
    }
}

/// Those that come out right, on both architectures: whatever they try is taken from them.
#[rustfmt::skip]
const RIGHT: &[Toy] = &[
    // The compiler by its path, by its name with the machine's prefix, and by a variable of its own; the host's is of
    // another machine and has a newer glibc.
    Toy {
        before: "os.environ['CC'] = os.environ['LDSHARED'] = '/usr/bin/gcc'; os.environ['LDSHARED'] += ' -shared'",
        c: "#include <sys/stat.h>\nint asks(void) { struct stat it; return stat(\"/\", &it); }",
        ..toy("absgcc")
    },
    Toy {
        before: "os.environ['CC'] = 'gcc'; os.environ['LDSHARED'] = 'gcc -shared'",
        c: "#include <pthread.h>\nint locks(void) { pthread_key_t key; return pthread_key_create(&key, 0); }",
        ..toy("pathgcc")
    },
    // Headers of the host, which are of its glibc.
    Toy {
        extension: "include_dirs=['/usr/include', '/usr/local/include']",
        c: "#include <features.h>\n_Static_assert(__GLIBC__ == 2 && __GLIBC_MINOR__ == 26, \"the target's\");",
        ..toy("hostheaders")
    },
    // A path of the build machine to look for libraries in.
    Toy { extension: "runtime_library_dirs=['/opt/somewhere']", ..toy("rpath") },
    // The processor of the build machine.
    Toy {
        extension: "extra_compile_args=['-march=native', '-mtune=native']",
        c: "#ifdef __AVX2__\n#error built for this machine's processor\n#endif",
        ..toy("native")
    },
    // Flags by what Python says of the machine: wrong for arm64, if it is that of the host.
    Toy {
        extension: "extra_compile_args=['-msse4.2'] if platform.machine() == 'x86_64' else ['-march=armv8-a+crc'], \
                    define_macros=[('FOR_' + os.uname().machine, '1')]",
        c: "#if !(defined(__x86_64__) && defined(FOR_x86_64) || defined(__aarch64__) && defined(FOR_aarch64))\n\
            #error Python speaks for another machine\n#endif",
        ..toy("machine")
    },
    // Traps and a runtime for them, which zig adds to what is not optimised.
    Toy { extension: "extra_compile_args=['-O0']", c: "int shifts(int a, int b) { return a << b; }", ..toy("traps") },
    // zig puts a file in the place of what it is told to write to, be it a device.
    Toy {
        before: "open('empty.c', 'w').close()\n\
                 for way in ['-E', '-S', '-c']:\n    subprocess.run(['cc', way, 'empty.c', '-o', '/dev/null'], check=True)\n\
                 import stat\nassert stat.S_ISCHR(os.stat('/dev/null').st_mode), 'the device is gone'",
        ..toy("device")
    },
    // The place of the build, in what is compiled.
    Toy { extension: "extra_compile_args=['-g']", c: "const char *place(void) { return __FILE__; }", ..toy("place") },
    // The linker's packed relocations need a newer glibc.
    Toy {
        extension: "extra_link_args=['-Wl,-z,pack-relative-relocs']",
        c: "static int one; int *const many[] = {&one, &one, &one};",
        ..toy("relocations")
    },
    Toy { before: "import six\nassert six.__version__ == '1.16.0'", ..toy("besides") },
];

/// What a build needs and does not say, for one of them.
const SETTINGS: &str = "[compile.besides]\nbuild-requires = ['six==1.16.0']\n";

/// Those that cannot come out right, and what is said of them.
#[rustfmt::skip]
const REFUSED: &[(Toy, &[&str])] = &[
    // A function that the target's glibc does not have, declared by the package itself: the linker does not mind.
    (
        Toy {
            c: "extern int close_range(unsigned, unsigned, int);\nint closes(void) { return close_range(9, 9, 0); }",
            ..toy("newsym")
        },
        &["close_range"],
    ),
    (
        Toy {
            extension: "extra_compile_args=['-fopenmp'], extra_link_args=['-fopenmp']",
            c: "int sum(void) { int all = 0;\n#pragma omp parallel for reduction(+:all)\n\
                for (int i = 0; i < 9; i++) all += i;\nreturn all; }",
            ..toy("openmp")
        },
        &["OpenMP (-fopenmp) is not there for the Lambda target"],
    ),
    // An extension that may be missing is, and the wheel says that it is compiled.
    (
        Toy { extension: "libraries=['nowhere'], optional=True", ..toy("dropped") },
        &["it has no compiled file, although its tag says so: an optional extension was left out"],
    ),
    // The same, where the package has a fallback of its own: it is told that there must not be one.
    (
        Toy {
            before: "fallback = not os.environ.get('CIBUILDWHEEL')\n\
                     def build(real=setup, **given):\n    \
                         try: real(**given)\n    \
                         except BaseException:\n        \
                             if not fallback: raise\n        \
                             real(**{**given, 'ext_modules': []})\n\
                     setup = build",
            c: "#include <nowhere.h>",
            ..toy("fallback")
        },
        &["'nowhere.h' file not found"],
    ),
    // A library of the host, of another glibc.
    (
        Toy {
            extension: "include_dirs=['/usr/include'], library_dirs=['/usr/lib/x86_64-linux-gnu'], libraries=['z']",
            ..toy("hostlib")
        },
        &["unable to find dynamic system library 'z'", "it needs the library `z`"],
    ),
    (
        Toy { c: "#include <zlib.h>", extension: "include_dirs=['/usr/include']", ..toy("hostheader") },
        &["'zlib.h' file not found", "it needs zlib"],
    ),
    (
        Toy {
            before: "import urllib.request\nurllib.request.urlopen('https://pypi.org/simple/')",
            ..toy("downloads")
        },
        &["it wants the network while it is built"],
    ),
];

#[test]
fn what_goes_wrong_silently_comes_out_right_or_is_refused() {
    const TEST: &str = "what_goes_wrong_silently_comes_out_right_or_is_refused";
    if std::env::var_os("LAYERWISE_SLOW_TESTS").is_none() {
        return skipped(TEST, "LAYERWISE_SLOW_TESTS is not set");
    }
    let Some(python) = layerwise_testkit::python(11) else { return skipped(TEST, "there is no Python 3.11") };
    let Some(cli) = real(TEST) else { return };
    let mut cli = cli.path(python.parent().unwrap()).path("/usr/bin").timeout(Duration::from_secs(900));
    let is_device = || fs_err::metadata("/dev/null").unwrap().file_type().is_char_device();

    let wheels = right(&cli);
    assert!(is_device(), "/dev/null is a file now");

    for (toy, expected) in REFUSED {
        toy.write(cli.project());
        let line = format!("build -p ./toys/{0} --compile {0} --runtime python3.11 --name x -o x.zip", toy.name);
        cli = cli.args(words(&line));
        let run = cli.run();
        let told = expected.iter().all(|words| run.stderr.contains(words));
        assert!(run.code != Some(0) && told, "{}: {expected:?}\n{run}", toy.name);
        assert!(!files_below(&cli.cache().join("wheels-v1")).iter().any(|file| file.contains(toy.name)));
        assert!(!cli.project().join("x.zip").exists());
    }

    // Another directory, another cache (with the same compiler), another day: the same wheels.
    let other = real(TEST).unwrap().env("LAYERWISE_TODAY", "2027-02-03");
    let other = other.path(python.parent().unwrap()).path("/usr/bin").timeout(Duration::from_secs(900));
    let other = other.dir(cli.home().join("a directory"));
    fs_err::create_dir_all(other.cache()).unwrap();
    fs_err::rename(cli.cache().join("toolchains-v1"), other.cache().join("toolchains-v1")).unwrap();
    assert_eq!(right(&other), wheels);
}

/// Builds those that come out right, looks at them, and says what wheels they are.
fn right(cli: &Cli) -> Vec<(String, String)> {
    let mut line = "build --runtime python3.11 --arch x86_64 --arch arm64 --name toys --json".to_owned();
    line += " -o {architecture}.zip";
    fs_err::create_dir_all(cli.project()).unwrap();
    fs_err::write(cli.project().join("layerwise.toml"), SETTINGS).unwrap();
    for toy in RIGHT {
        toy.write(cli.project());
        line += &format!(" -p ./toys/{0} --compile {0}", toy.name);
    }
    let mut command = cli.command();
    let output = command.args(words(&line)).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut wheels = Vec::new();
    for (layer, (architecture, machine, number)) in
        [("x86_64", "x86_64", 62), ("arm64", "aarch64", 183)].iter().enumerate()
    {
        for package in document["layers"][layer]["packages"].as_array().unwrap() {
            let (wheel, sha256) = (package["wheel"].as_str().unwrap(), package["sha256"].as_str().unwrap());
            let (_, tag) = wheel.rsplit_once('-').unwrap();
            let glibc: u32 =
                tag.strip_prefix("manylinux_2_").and_then(|tag| tag.split('_').next()?.parse().ok()).unwrap();
            assert!(glibc <= 26 && tag.ends_with(&format!("_{machine}.whl")), "{wheel}");
            wheels.push((wheel.to_owned(), sha256.to_owned()));
        }
        let members = archive::read(&cli.project().join(format!("{architecture}.zip")));
        for toy in RIGHT {
            let name = format!("python/{}.cpython-311-{machine}-linux-gnu.so", toy.name);
            let bytes = &members.iter().find(|member| member.name == name).unwrap_or_else(|| panic!("{name}")).content;
            let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
            assert_eq!(u16::from_le_bytes([bytes[18], bytes[19]]), *number, "{name}");
            for of_the_host in ["/opt/somewhere", "ubsan", "GLIBC_ABI_DT_RELR", "testkit-", "GCC: (Debian"] {
                assert!(!holds(of_the_host), "{name} holds {of_the_host}");
            }
        }
    }
    assert_eq!(wheels.len(), 2 * RIGHT.len());
    wheels
}

/// A wheel that somebody else compiled here, for this machine and its glibc (uv does so for a foreign platform without a
/// word), is seen by `check`.
#[test]
fn what_was_compiled_for_the_host_is_seen() {
    const TEST: &str = "what_was_compiled_for_the_host_is_seen";
    let dir = tempfile::tempdir().unwrap();
    let source = "#include <dlfcn.h>\nvoid *opens(void) { return dlopen(\"x\", RTLD_NOW); }\n";
    fs_err::write(dir.path().join("a.c"), source).unwrap();
    let module = dir.path().join("layer/python/own.so");
    fs_err::create_dir_all(module.parent().unwrap()).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "a.c", "-o"]).arg(&module).current_dir(dir.path()).stdin(Stdio::null());
    let compiled = cc.output();
    if !compiled.is_ok_and(|output| output.status.success()) {
        return skipped(TEST, "there is no C compiler");
    }
    let bytes = fs_err::read(&module).unwrap();
    if !bytes.windows(10).any(|window| window == b"GLIBC_2.34") {
        return skipped(TEST, "this machine's glibc is older than 2.34");
    }
    let layer = dir.path().join("layer").display().to_string();
    let cli = Cli::new(env!("CARGO_BIN_EXE_layerwise"));
    let cli = cli.args(["check", &layer, "--runtime", "python3.11", "--arch", "arm64", "--json"]);
    let findings = json(&cli.run().failure(9)).to_string();
    assert!(findings.contains("native-architecture"), "{findings}");
    let cli = cli.args(["check", &layer, "--runtime", "python3.11", "--arch", "x86_64", "--json"]);
    let findings = json(&cli.run().failure(9)).to_string();
    assert!(findings.contains("GLIBC_2.34"), "{findings}");
}
