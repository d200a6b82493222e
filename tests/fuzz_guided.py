"""Fuzzes one reader by atheris, which sees what code an input reaches: TARGET CORPUS RUNS."""

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["kernmalloc.inputs", "kernmalloc.machine.memory_map"]):
    import fuzzing

name, corpus, runs = sys.argv[1:]
target = next(target for target in fuzzing.targets() if target.name == name)
for number, seed in enumerate(target.seeds):
    Path(corpus, f"seed{number}").write_bytes(seed)
limits = [f"-timeout={fuzzing.SECONDS}", f"-rss_limit_mb={(fuzzing.BYTES >> 20) + 200}"]  # 200: Python and its modules
atheris.Setup(
    [sys.argv[0], f"-runs={runs}", "-max_len=4096", "-seed=1", "-verbosity=1", *limits, corpus],
    lambda data: fuzzing.survives(target.read, data),
)
atheris.Fuzz()
