"""The small network that the tests of runtimes use too."""

from tests.runtime.conftest import cache, files, frames, tiny, tiny_home  # noqa: F401
