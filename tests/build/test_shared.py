"""The kernel of mode raw as a compiler's shared object."""

import pytest

from kernmalloc.build import shared


def test_a_compiler_that_is_not_there_or_refuses_is_one_line(tmp_path, monkeypatch):
    with pytest.raises(shared.NoCompiler, match=r"^no-such-cc is not installed$"):
        shared.built("no-such-cc", "-O2")
    compiler = tmp_path / "sour-cc"
    compiler.write_text("#!/bin/sh\n[ $1 = --version ] || { echo 'a line'; echo 'error: too sour' ; exit 1; } >&2\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(shared.NoCompiler, match=r"^sour-cc -O2 does not compile the kernel: error: too sour$"):
        shared.built("sour-cc", "-O2")
