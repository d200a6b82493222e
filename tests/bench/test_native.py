"""The harness is compiled where it is needed."""

import pytest

from kernmalloc.bench import native


@pytest.mark.parametrize("name", ["frames", "heap"])
def test_the_harness_compiles_without_a_warning(name):
    assert native.compiled(name, "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror", "-shared", "-fPIC").exists()


def test_without_a_compiler_one_line_says_what_to_do(monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(native.NoCompiler, match=r"no-such-compiler.*install gcc or clang"):
        native.library("frames")


def test_what_the_compiler_refuses_is_one_line(monkeypatch, tmp_path):
    (tmp_path / "wrong.c").write_text("int main(void) { return x; }\n")
    monkeypatch.setattr(native, "SOURCES", tmp_path)
    with pytest.raises(native.NoCompiler, match=r"wrong\.c: .*does not compile it: .*x") as found:
        native.compiled("wrong")
    assert "\n" not in str(found.value)
