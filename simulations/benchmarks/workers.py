"""Many jobs on several processes, that can be stopped at any time and never stay behind."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait as wait_for_end

import torch

from lego_core.errors import RunError
from simulations.benchmarks.progress import Progress, W

LOOK_SECONDS = 0.5


def run_jobs(run: Callable[[W], None], jobs: Sequence[W], *, processes: int, progress: Progress[W]) -> None:
    """Run all jobs, and show how they get on; where one breaks, the others go on.

    Args:
        run: Does one of them; must be of a kind that another process can be sent.
        jobs: What to do.
        processes: How many at once, each in a process with one thread.
        progress: Is told who starts and who has finished.

    Raises:
        RunError: At the end if jobs broke, and at once if a process was ended from outside.
    """
    broken: dict[W, BaseException] = {}
    waiting = list(reversed(jobs))
    running: dict[Future[None], W] = {}
    with _pool(processes) as pool:
        while waiting or running:
            while waiting and len(running) < processes:
                job = waiting.pop()
                running[pool.submit(run, job)] = job
                progress.started(job)
            done, _ = wait(running, timeout=LOOK_SECONDS, return_when=FIRST_COMPLETED)
            for future in done:
                job = running.pop(future)
                error = future.exception()
                if isinstance(error, BrokenProcessPool):
                    raise RunError(
                        f"A process ended by itself in {job.place} ({job.name}), perhaps for want of memory. "
                        "Give fewer --jobs; what is finished is kept, and the same command goes on."
                    ) from error
                if error is not None:
                    broken[job] = error
                progress.finished(job)
            progress.look()
    if broken:
        job, error = next(iter(broken.items()))
        raise RunError(
            f"{len(broken)} of {len(jobs)} jobs broke by an error in the program; the first is {job.name} in "
            f"{job.place}: {type(error).__name__}: {error}. What is finished is kept."
        ) from error


@contextmanager
def _pool(processes: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that end with the `with` block, however it ends."""
    os.environ["OMP_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_prepare)
    try:
        yield pool
    finally:
        for child in multiprocessing.active_children():
            child.terminate()
        pool.shutdown(cancel_futures=True)


def _prepare() -> None:
    """Compute on one thread, leave Ctrl-C to the first process, and end when that one does."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for_end([parent.sentinel])
        os._exit(1)
