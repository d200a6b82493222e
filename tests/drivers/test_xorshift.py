"""Random numbers for the loops: inside int64, and no bit of them is preferred."""

from kernmalloc.drivers.xorshift import xorshift
from kernmalloc.lang import twin

COUNT = 4000


def test_numbers_stay_in_int64_and_prefer_no_bit():
    following, x, ones = twin.compile([xorshift])["xorshift"], 1, [0] * 64
    for _ in range(COUNT):
        x = following(x)
        for bit in range(64):
            ones[bit] += x >> bit & 1
    assert all(abs(count - COUNT / 2) < 200 for count in ones)
