"""`make bench`: every figure beside that of a named peer, measured in the same run."""

from __future__ import annotations

from tests.benchmarks import middleware, propagation

if __name__ == "__main__":
    middleware.main()
    propagation.main()
