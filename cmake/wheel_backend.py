"""The build backend of the wheel (pyproject.toml): scikit-build-core, which leaves it to others to
say with which systems a wheel runs. Here the glibc of this machine says it: the wheel needs none
that is newer.
"""

import os
import platform

from scikit_build_core import build
from scikit_build_core.build import *  # noqa: F403  the hooks that stay as they are


def _with_tag(settings):
    glibc = os.confstr("CS_GNU_LIBC_VERSION").split()[-1].replace(".", "_")
    return {"wheel.tags": f"py3-none-manylinux_{glibc}_{platform.machine()}", **(settings or {})}


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    return build.build_wheel(wheel_directory, _with_tag(config_settings), metadata_directory)


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    return build.prepare_metadata_for_build_wheel(metadata_directory, _with_tag(config_settings))
