"""Memory that is freed stays in the process, where glibc is; elsewhere nothing happens."""

from __future__ import annotations

import subprocess
import sys

import pytest

from polyp_monai.training import malloc

CODE = """
import resource, sys
from polyp_monai.training import malloc

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

if sys.argv[1] == "keep":
    malloc.keep_freed()
block = b"x" * 64_000_000  # beyond what glibc keeps by itself
del block
before = faults()
for _ in range(10):
    block = b"x" * 64_000_000
    del block
print(faults() - before)
"""


def page_faults(word: str) -> int:
    result = subprocess.run([sys.executable, "-c", CODE, word], capture_output=True, text=True, check=True)
    return int(result.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_a_large_block_is_fetched_from_the_system_once():
    assert page_faults("keep") < page_faults("return") / 10


def test_elsewhere_nothing_happens(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(malloc.ctypes, "CDLL", lambda _: pytest.fail("there is no libc to be asked"))
    malloc.keep_freed()
