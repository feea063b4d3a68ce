"""Triggers for each file that is named on a line, several at once, and prints when it did and how long that took."""

import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from celery_tasks import trivial

AT_ONCE = 16
printing = threading.Lock()


def trigger(file: str) -> None:
    at, began = time.time(), time.perf_counter()
    trivial.delay(file)
    seconds = time.perf_counter() - began
    with printing:
        print(json.dumps({"file": file, "at": at, "seconds": seconds}), flush=True)


with ThreadPoolExecutor(AT_ONCE) as threads:
    for line in sys.stdin:
        threads.submit(trigger, line.strip())
