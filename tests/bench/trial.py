"""A benchmark for the tests: `python -m tests.bench.trial met | missed | broken`."""

from __future__ import annotations

import sys

from bench.figures import exit_status, figure, reading

reading("start", [1.0, 2.0, 3.0], unit="s")
print("a line that is no figure")
if sys.argv[1] == "broken":
    raise SystemExit("the database is gone")
met = figure("trigger", ours=1 if sys.argv[1] == "met" else 3, limit=1, unit="ms", goal="<=2", peak_mb=1)
sys.exit(exit_status(met=met))
