"""What the command line tells of its cache folder: one line on standard error, and the command is done all the same."""

import os
import subprocess
import sys

from kernmalloc.lang import cache


def test_a_damaged_object_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = cache.folder() / "soft.o"
    path.write_bytes(b"")
    command = [sys.executable, "-c", "from kernmalloc.cli import main; main()", "plan"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0 and done.stdout
    assert done.stderr == f"kernmalloc: {path} is damaged and is not used\n"
