"""mmdiffdis.utils.parallel.process_pool, in processes of their own."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT


@pytest.mark.slow
def test_workers_start_although_opencv_has_threads_and_end_with_their_parent():
    """Also if it alone is killed."""
    program = (
        'import cv2, numpy as np, time\n'
        'from mmdiffdis.utils.parallel import process_pool\n'
        'cv2.setNumThreads(4)\n'
        'cv2.GaussianBlur(np.zeros((2000, 2000, 3), np.uint8), (0, 0), 5)\n'
        'with process_pool(2) as pool:\n'
        '    print(sum(pool.map(abs, range(-3, 0))), flush=True)\n'
        '    pool.submit(time.sleep, 0.5), pool.submit(time.sleep, 0.5)\n'
        '    time.sleep(60)\n'
    )
    process = subprocess.Popen(
        [sys.executable, '-c', program], cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        assert process.stdout.readline() == b'6\n'
        time.sleep(1)
        process.kill()
        process.communicate(timeout=20)  # returns when no process holds the output any more
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
