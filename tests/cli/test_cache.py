"""What the command line tells of its cache folder: one line on standard error, and the command is done all the same."""

import os
import subprocess
import sys

import pytest

from kernmalloc.lang import cache


def test_a_damaged_object_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = cache.folder() / "soft.o"
    path.write_bytes(b"")
    command = [sys.executable, "-c", "from kernmalloc.cli import main; main()", "plan"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0 and done.stdout
    assert done.stderr == f"kernmalloc: {path} is damaged and is not used\n"


@pytest.mark.nightly
def test_two_at_once_build_once(tmp_path):
    """The second waits, says so, and takes what the first has built."""
    code = "import sys, kernmalloc.lang.objects as o; o.built('raw', lambda stage, done: print(stage, flush=True))"
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    both = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=env) for _ in range(2)
    ]
    told = [process.communicate()[0].splitlines() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted("another process does it, waiting for that" in stages for stages in told) == [False, True], told
    assert sorted("made raw" in stages for stages in told) == [False, True], told
