"""Whole systems, ours and those that people use instead, measured by the same code doing the same trivial job.

`python -m bench.peers airflow` (`runs=15 starts=1 burst=32 at_once=16 rows=100000 pages=50 idle=30`). Each of the
others has an environment of its own in this machine's cache, made from requirements/<name>.txt, and a database of its
own on the sandbox's PostgreSQL. Nothing of them runs after the measurement, however that ends.
"""
