"""A process that writes new trials to a run, as a search does that is at work.

    python benchmarks/scale/writer.py RUN

It holds the run as its driver, adds as many trials as each line on its input says, and prints when
they were committed (milliseconds since the epoch) with the number of the last one, which has a
smaller error than all trials before it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from make_large_study import TrialMaker, forty_choices, write_fast

from nas.records import Location, Outcome, open_run
from nas.search.study import DriverLock

BETTER = 0.98
"""Each best trial's error by the one's before."""


class Writer:
    """Such a process, from the other side."""

    def __init__(self, run: Path) -> None:
        command = [sys.executable, __file__, str(run)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._answer()  # it is ready

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._process.communicate()

    def add(self, trials: int) -> dict[str, Any]:
        """Add trials: ``committed`` (milliseconds since the epoch), ``trials`` in all, ``best``."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{trials}\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the writer ended with code {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def main(path: Path) -> None:
    """Answer the lines on standard input until it ends."""
    location = Location(f"sqlite:///{path}/study.db", path.name, path)
    lock = DriverLock(location)
    trials = open_run(path).trials
    number, error = len(trials), float(trials["error"].min())
    space = forty_choices()
    maker = TrialMaker(space, seed=number)
    print(json.dumps({"trials": number}), flush=True)
    for line in sys.stdin:
        made = [maker.make(number + index) for index in range(int(line))]
        error *= BETTER
        best = replace(made[-1], outcome=Outcome("complete", error, epochs=8, train_seconds=20.0))
        write_fast(location, space, [*made[:-1], best])
        committed = 1000 * time.time()
        number += len(made)
        print(
            json.dumps({"committed": committed, "trials": number, "best": number - 1}), flush=True
        )
    lock.release()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
