"""Our Prefect worker type: every run is forked from a process that has everything imported.

Three kinds of process: the worker (event loop, polling, API; never forks), the fork server (one thread, everything
imported, does nothing but fork) and the runs. `python -m worker` starts the first; it starts the others.
"""
