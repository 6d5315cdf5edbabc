"""Programs that tests run beside Python's: found, or installed where the machine lets us. It knows apt, no program."""

import os
import shutil
import subprocess


def find_program(*names: str, package: str) -> str | None:
    """The path of the first of these programs; Debian's package is installed if there is none and we are root."""
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        for command in (["update"], ["install", "--no-install-recommends", "--yes", package]):
            subprocess.run(
                [shutil.which("apt-get") or "", "-qq", *command],
                env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
                capture_output=True,
                timeout=300,
                check=False,
            )
        found = next((path for name in names if (path := shutil.which(name))), None)
    return found
