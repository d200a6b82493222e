"""Two threads that give one block or frame back at the same moment, as often as they can, for real: it is free once."""

import ctypes
import os
import shutil
import subprocess
import sys

import pytest
from effort import EFFORT
from small_machines import MIB, conserved, machine

from kernmalloc.facade.kernel import Kernel
from kernmalloc.facade.profile import Profile
from kernmalloc.kernel.core.kern import PAGE

ROUNDS = 300 if EFFORT == 1 else 300_000
HELD = 6  # that each takes after a round
THREADS = r"""
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#define HELD 6
typedef int64_t entry(int64_t, int64_t);
struct attack {
	int64_t cpu[2], what, rounds, both, neither, twice, lost;
	entry *get, *put;
	int64_t block, said[2], got[2][HELD];
	atomic_long arrived;
};
static void meet(struct attack *a, long *met)
{
	*met += 2;
	atomic_fetch_add(&a->arrived, 1);
	for (long spins = 0; atomic_load(&a->arrived) < *met; spins++)
		if (spins > 500)
			sched_yield();
}
static void count(struct attack *a)
{
	int64_t *all = a->got[0];
	a->both += a->said[0] == 0 && a->said[1] == 0;
	a->neither += a->said[0] != 0 && a->said[1] != 0;
	for (int i = 0; i < 2 * HELD; i++)
		for (int j = 0; j < i; j++)
			a->twice += all[i] == all[j];
}
static void side(struct attack *a, int me)
{
	long met = 0;
	uint32_t seed = 1 + me;
	for (int64_t round = 0; round < a->rounds; round++) {
		if (me == round % 2)
			a->block = a->get(a->cpu[me], a->what);
		meet(a, &met);
		seed = seed * 1664525 + 1013904223;
		for (volatile uint32_t wait = seed >> 24; wait; wait--) ;
		a->said[me] = a->put(a->cpu[me], a->block);
		meet(a, &met);
		for (int i = 0; i < HELD; i++)
			a->got[me][i] = a->get(a->cpu[me], a->what);
		meet(a, &met);
		if (me == 0)
			count(a);
		meet(a, &met);
		for (int i = 0; i < HELD; i++)
			if (a->put(a->cpu[me], a->got[me][i]) != 0)
				__atomic_fetch_add(&a->lost, 1, __ATOMIC_RELAXED);
		meet(a, &met);
	}
}
static void *second(void *a)
{
	side(a, 1);
	return 0;
}
void attack(struct attack *a)
{
	pthread_t thread;
	pthread_create(&thread, 0, second, a);
	side(a, 0);
	pthread_join(thread, 0);
}
"""


class Attack(ctypes.Structure):
    """`struct attack`."""

    _fields_ = [
        ("cpu", ctypes.c_int64 * 2),
        *((name, ctypes.c_int64) for name in ("what", "rounds", "both", "neither", "twice", "lost")),
        *((name, ctypes.c_void_p) for name in ("get", "put")),
        ("block", ctypes.c_int64),
        ("said", ctypes.c_int64 * 2),
        ("got", ctypes.c_int64 * (2 * HELD)),
        ("arrived", ctypes.c_long),
    ]


def attacked(work: str, get: str, put: str, what: int, rounds: int) -> Attack:
    """What came of so many rounds on a kernel of two processors; all invariants hold at the end."""
    with open(f"{work}/attack.c", "w") as file:
        file.write(THREADS)
    command = ["cc", "-O2", "-shared", "-fPIC", "-pthread", f"{work}/attack.c", "-o", f"{work}/attack.so"]
    subprocess.run(command, check=True)
    library = ctypes.CDLL(f"{work}/attack.so")
    with Kernel.boot(machine((0, 16 * MIB)), Profile.load("eros2"), "raw", cpus=2) as kernel:
        cpus = (ctypes.c_int64 * 2)(kernel.processor, kernel.cpu(1).processor)
        done = Attack(cpu=cpus, what=what, rounds=rounds, get=kernel.entry(get), put=kernel.entry(put))
        library.attack(ctypes.byref(done))
        for number in (0, 1):
            kernel.cpu(number).drain()
        conserved(kernel)
        assert kernel.frames_by_type()["page"] == 0
    return done


CASES = [("malloc", "free", 64), ("malloc", "free", 3000), ("malloc", "free", 16), ("frame_get", "frame_put", PAGE)]


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
@pytest.mark.parametrize("get, put, what", CASES)
def test_what_two_give_back_at_once_is_free_once(tmp_path, get, put, what):
    done = attacked(str(tmp_path), get, put, what, ROUNDS)
    assert (done.neither, done.twice, done.lost) == (0, 0, 0)
    assert put == "free" or done.both == 0, "one of the two is refused"


if __name__ == "__main__":  # with the kernel as C: see the test below
    import gcc_kernel

    with gcc_kernel.used():
        for case in CASES:
            found = attacked(sys.argv[1], *case, int(sys.argv[2]))
            assert (found.neither, found.twice, found.lost) == (0, 0, 0), case


@pytest.mark.nightly
@pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no gcc")
def test_the_kernel_as_c_too(tmp_path):
    found = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}  # as pytest finds what is imported
    subprocess.run([sys.executable, __file__, str(tmp_path), str(ROUNDS)], check=True, env=found)
