"""Plans as a C header: compilers take it, its numbers are the plan's, and a build ends where it must."""

import re
import shutil
import subprocess

import pytest
from msgspec.structs import replace
from small_machines import MIB, machine

from kernmalloc.build.export import c_files
from kernmalloc.facade.profile import Profile
from kernmalloc.plan.conditions import MEASURES, Condition
from kernmalloc.plan.plan import plan
from kernmalloc.report.header import header

PROFILE = Profile.load("eros2")
COMPILERS = {
    "C99": ("gcc", "-std=c99", "-xc"),
    "C11": ("gcc", "-std=c11", "-xc"),
    "C17": ("gcc", "-std=c17", "-xc"),
    "C++17": ("g++", "-std=c++17", "-xc++"),
    "clang": ("clang", "-std=c11", "-xc"),
    "tcc": ("tcc", "-std=c11"),
    "assembler": ("gcc", "-E", "-xassembler-with-cpp"),
}


@pytest.fixture(scope="module")
def plans():
    return [plan(machine((MIB, size * MIB)), PROFILE) for size in (64, 128)]


def text_of(plans, refused=(), conditions=(), line="kernmalloc plan"):
    return header(PROFILE, plans, refused, conditions, line)


def compiled(folder, text, language="C11", before="", behind=""):
    """What a compiler says of a file that includes the header."""
    command, *flags = COMPILERS[language]
    if not shutil.which(command):
        pytest.skip(f"no {command}: apt-get install {command}")
    (folder / "plan.h").write_text(text)
    (folder / "use.c").write_text(f'{before}\n#include "plan.h"\n#include "plan.h"\n{behind}\n')
    strict = [] if command == "tcc" else ["-Wall", "-Wextra", "-Werror", "-pedantic"]
    what = [] if "-E" in flags else ["-c"]
    done = subprocess.run(
        [command, *flags, *strict, *what, "use.c", "-o", "use.o"], cwd=folder, capture_output=True, text=True
    )
    return done.stderr if done.returncode else ""


@pytest.mark.parametrize("language", COMPILERS)
def test_compilers_take_it(tmp_path, plans, language):
    text = text_of(plans, conditions=[Condition.parse("available < 10")])
    behind = "struct node { char it[556]; };\nKM_PLAN_HOLDS(NODE, struct node);" if language != "assembler" else ""
    assert compiled(tmp_path, text, language, behind=behind) == ""


def test_constants_are_those_of_the_worst_machine(plans):
    told = dict(re.findall(r"#define KM_PLAN_([A-Z_]+) +(\d+) ", text_of(plans)))
    for name, measure in MEASURES.items():
        values = [measure.of(made) for made in plans]
        assert int(told[name.upper().replace("-", "_")]) == measure.worst(values)
    assert int(told["FRAMES"]) == plans[0].frames and int(told["HEAP"]) == plans[1].top
    assert told["NODE_BYTES"] == "556" and 0 < int(told["NODE_COUNT"]) <= plans[0].frames


@pytest.mark.parametrize("language", ["C99", "C11", "C++17"])
@pytest.mark.parametrize(
    "conditions, before, behind, why",
    [
        (["frames > 1000"], "", "", "frames > 1000 on test"),
        ([], "#define KM_IMAGE_BYTES 4194304", "", "has outgrown its profile"),
        ([], "", "KM_PLAN_HOLDS(NODE, int);", "is not as large as planned"),
        ([], "", "KM_PLAN_ASSERT(KM_PLAN_AVAILABLE > 100000, \"too few\");", "too few"),
    ],
)  # fmt: skip
def test_a_build_ends_where_it_must(tmp_path, plans, language, conditions, before, behind, why):
    text = text_of(plans, conditions=list(map(Condition.parse, conditions)))
    said = compiled(tmp_path, text, language, before, behind)
    assert said and (why in said or language == "C99")


def test_a_machine_that_it_does_not_fit_ends_the_build(tmp_path, plans):
    for some in (plans, []):
        said = compiled(tmp_path, text_of(some, refused=[("tiny.log", 'no "room" \\ for it\n')]))
        assert "kernmalloc plan: tiny.log: no 'room' ' for it" in said


def test_behind_the_kernels_own_header_the_records_are_those_that_were_planned_with(tmp_path, plans):
    (tmp_path / "kernmalloc.h").write_text(c_files()["kernmalloc.h"])
    own = '#include "kernmalloc.h"'
    assert compiled(tmp_path, text_of(plans), before=own) == ""
    other = re.sub(r"(KM_PLAN_LAYOUT) \d+", r"\1 1", text_of(plans))
    assert "planned with another kernmalloc" in compiled(tmp_path, other, before=own)


def test_names_of_any_machine_and_profile(tmp_path, plans):
    """What stands in comments and strings ends neither."""
    odd = replace(plans[0].machine, name='*/ " \\ ??/ é\n#error x')
    profile = replace(PROFILE, objects=(replace(PROFILE.objects[0], name="a.b-c"),))
    made = plan(odd, profile)
    text = header(profile, [made], [], [Condition.parse("heap == 0")], "kernmalloc */ plan\n")
    assert "#define KM_PLAN_A_B_C_BYTES 556" in text
    assert compiled(tmp_path, text) == ""
