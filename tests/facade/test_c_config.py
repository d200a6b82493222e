"""A profile as C: the configuration that the hosted loader fills in, to the byte."""

import shutil
import subprocess
from pathlib import Path

import numpy
import pytest

from kernmalloc.build import export
from kernmalloc.facade.c_config import c_config
from kernmalloc.facade.loader import configuration
from kernmalloc.facade.profile import Profile
from kernmalloc.kernel.heap.caches import ObjectType

PROFILES = sorted(path.stem for path in (Path(export.__file__).parents[1] / "profiles").glob("*.toml"))
FRAMES = (0, 1, 4095, 65_536, 1 << 24, (1 << 40) - 1)
PROGRAM = r"""
#include <stdio.h>
#include <stdlib.h>
#include "config.h"
int main(int count, char **words)
{
	int64_t frames = strtoll(words[count - 1], NULL, 10);
	struct km_config config = km_profile_config(frames);
	static struct km_object_type types[KM_PROFILE_OBJECTS + 1];
	km_profile_objects(types, frames);
	fwrite(&config, sizeof config, 1, stdout);
	fwrite(types, sizeof *types, KM_PROFILE_OBJECTS, stdout);
	return 0;
}
"""
OWN = """
name = "own"
summary = "shares of shares, in an order of its own"
arch = "x86_64"
strategy = "reserve"
phys_bits = 46
va = {base = 0xffff_8880_0000_0000, size = "4GiB", windows = "4MiB"}
image = {base = "2MiB", size = "1MiB"}
core = {stride = 64}
objects = [
    {name = "small", size = 8, per = "middle", ratio = 0.3},
    {name = "middle", size = 24, per = "large", ratio = 12.5},
    {name = "large", size = 5000, count = 77, last_words = 3},
]
"""


@pytest.fixture(scope="module")
def header(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("config")
    (folder / "kernmalloc.h").write_text(export.c_files()["kernmalloc.h"])
    return folder


@pytest.mark.parametrize("name", [*PROFILES, "own"])
def test_c_says_what_the_loader_is_told(name: str, header: Path, tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    if name == "own":
        (tmp_path / "own.toml").write_text(OWN)
        name = str(tmp_path / "own.toml")
    profile = Profile.load(name)
    (tmp_path / "config.h").write_text(c_config(profile))
    (tmp_path / "program.c").write_text(PROGRAM)
    words = ["gcc", "-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-I", str(header), "-I", str(tmp_path)]
    subprocess.run([*words, str(tmp_path / "program.c"), "-o", str(tmp_path / "program")], check=True)
    for frames in FRAMES:
        said = subprocess.run([str(tmp_path / "program"), str(frames)], capture_output=True, check=True).stdout
        told, wanted = configuration(profile, frames), profile.wanted_counts(frames)
        if not told["lenient"]:
            assert int(numpy.frombuffer(said, told.dtype, 1)[0]["lenient"]) == 0
        rows = [(kind.size, wanted[kind.name], kind.last_words) for kind in profile.objects]
        assert said == told.tobytes() + numpy.array(rows, ObjectType.dtype).tobytes()


@pytest.mark.parametrize("compiler", [("gcc", "-m32"), ("arm-none-eabi-gcc", "-mcpu=cortex-a7")])
def test_processors_of_32_bits_need_no_library(compiler: tuple[str, ...], header: Path, tmp_path: Path) -> None:
    """A division of 64 bits would be a call of libgcc's, which kernels do not have."""
    if shutil.which(compiler[0]) is None:
        pytest.skip(f"{compiler[0]} is not installed")
    (tmp_path / "config.h").write_text(c_config(Profile.load("x86_64")))
    (tmp_path / "use.c").write_text(
        '#include "config.h"\n'
        "void use(struct km_config *config, struct km_object_type *types, int64_t frames)\n"
        "{ *config = km_profile_config(frames); km_profile_objects(types, frames); }\n"
    )
    words = [*compiler, "-std=c11", "-O2", "-ffreestanding", "-fno-pic", "-I", str(header), "-I", str(tmp_path)]
    subprocess.run([*words, "-c", str(tmp_path / "use.c"), "-o", str(tmp_path / "use.o")], check=True)
    undefined = subprocess.run(["nm", "-u", str(tmp_path / "use.o")], capture_output=True, text=True, check=True).stdout
    assert set(undefined.split()) - {"U"} <= {"memset", "memcpy", "memmove"}
