"""One target under many inputs: what it raised, what it believed, how fast it was and what memory it took."""

from __future__ import annotations

import hashlib
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.fuzz.mutate import mutated
from tests.fuzz.targets import REGRESSIONS, TARGETS, Target
from tests.fuzz.wires import close_loops

_KEPT = 20  # inputs saved of one run


@dataclass(slots=True)
class Fuzzed:
    """``seconds`` within the target and the mutator; ``slowest`` one input's seconds of CPU; ``peak`` RSS in MiB."""

    target: str
    inputs: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    peak: float = 0.0
    forgeries: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    saved: list[str] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Inputs per second."""
        return self.inputs / self.seconds if self.seconds else 0.0

    @property
    def sound(self) -> bool:
        """No exception beyond the documented ones, and no forgery believed."""
        return not self.faults and not self.forgeries


def fuzz(target: Target, *, seed: int, inputs: int, seconds: float = 0.0, folder: Path | None = REGRESSIONS) -> Fuzzed:
    """``inputs`` mutations by ``seed``, or as many as ``seconds`` hold; what fails is saved in ``folder``."""
    done = Fuzzed(target.name)
    random = Random(f"{target.name} {seed}")
    corpus = target.corpus()
    began = time.perf_counter()
    while done.inputs < inputs or (seconds and time.perf_counter() - began < seconds):
        _one(target, mutated(random, corpus), done, folder)
    done.seconds = time.perf_counter() - began
    done.peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    close_loops()
    return done


def _one(target: Target, data: bytes, done: Fuzzed, folder: Path | None) -> None:
    started = time.process_time()
    done.inputs += 1
    fault = ""
    try:
        if target.run(data):
            done.forgeries += 1
            fault = "forgery"
    except Exception as error:  # whatever comes: to find it is what this is for
        place = _place(error)
        fault = f"{type(error).__name__} at {place}"
        done.faults[fault] = done.faults.get(fault, 0) + 1
    done.slowest = max(done.slowest, time.process_time() - started)
    if fault and folder is not None and len(done.saved) < _KEPT and done.faults.get(fault, 1) <= 2:
        path = folder / f"{target.name}-{hashlib.sha256(data).hexdigest()[:12]}"
        path.write_bytes(data)
        done.saved.append(path.name)


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "?" if trace is None else f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"


def fuzz_named(name: str, seed: int, inputs: int, seconds: float) -> Fuzzed:
    """As ``fuzz``, for another process."""
    return fuzz(TARGETS[name], seed=seed, inputs=inputs, seconds=seconds)


def replay(path: Path, run: Callable[[bytes], bool] | None = None) -> bool:
    """Whether a saved input is harmless: nothing is believed. Raises what its target raises."""
    chosen = run or TARGETS[path.name.partition("-")[0]].run
    try:
        return not chosen(path.read_bytes())
    finally:
        close_loops()
