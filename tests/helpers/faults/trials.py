"""Kills at random moments, and the tally of what was lost."""

from __future__ import annotations

import dataclasses
import shutil
import signal
from pathlib import Path

import numpy as np

from helpers.faults import checks, child
from helpers.faults.child import Kill
from helpers.faults.work import KINDS, TASKS, Scene, set_up

_KILLED = (-signal.SIGKILL, -signal.SIGXFSZ)


@dataclasses.dataclass
class Tally:
    """What became of one command's trials.

    Attributes:
        task: The command.
        seconds: It takes undisturbed.
        operations: Changes to files it makes undisturbed.
        kills: By kind.
        too_late: Times it had ended by itself before the moment came.
        ends: Times it was taken up again to the end, and compared.
        steps_lost: At most, of a training: logged but in no checkpoint yet.
        kept: Finished pictures in all that kills left and no later call made again.
        leftovers: Times a kill left temporary names, all removed by the next call.
        losses: One line each: what broke a promise.
    """

    task: str
    seconds: float = 0.0
    operations: int = 0
    kills: dict[str, int] = dataclasses.field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    too_late: int = 0
    ends: int = 0
    steps_lost: int = 0
    kept: int = 0
    leftovers: int = 0
    losses: list[str] = dataclasses.field(default_factory=list)


class Trials:
    """All trials of one command."""

    def __init__(self, scene: Scene, name: str, seed: int) -> None:
        """Runs it undisturbed, twice: the two results must be equal for later ones to be."""
        self.scene, self.task = scene, TASKS[name]
        self.tally = Tally(name)
        self.random = np.random.default_rng([seed, *name.encode()])
        self._number = 0
        self.sizes = [1]
        self.expected = self._undisturbed()
        if self._undisturbed() != self.expected:
            self.tally.losses.append("two undisturbed calls differ")

    def _undisturbed(self) -> dict[str, str]:
        trial = self._new_trial(whole=False)
        ended = child.run(self._words(trial), self._target(trial), count=True)
        if ended.code:
            raise RuntimeError(f"{self.tally.task} failed undisturbed: {ended.said}")
        child.load_modules()
        self._takes(ended.seconds)
        self.tally.operations = ended.operations
        self.sizes = [path.stat().st_size for path in checks.visible(self._target(trial))]
        result = child.call(lambda: self.task.result(trial))
        shutil.rmtree(trial)
        return dict(result)

    def _takes(self, seconds: float) -> None:
        """Notes a time: the shortest counts, for other work makes it longer."""
        known = self.tally.seconds or seconds
        self.tally.seconds = round(min(known, seconds), 3)

    def _new_trial(self, *, whole: bool) -> Path:
        self._number += 1
        trial = self.scene.place / f"{self.tally.task}-{self._number}"
        set_up(self.scene, self.task, trial, whole=whole)
        return trial

    def _target(self, trial: Path) -> Path:
        return self.task.target(trial)

    def _words(self, trial: Path, *, again: bool = False) -> list[object]:
        words = list(self.task.arguments(self.scene, trial))
        return [*words, *self.task.again] if again else words

    def run(self, kills: int) -> Tally:
        """Kills so many times: kinds take turns; half of the commands are killed once more."""
        moments, kinds = self.random.permutation(kills), self.task.kinds
        done = 0
        while done < kills:
            trial = self._new_trial(whole=bool(self.random.random() < 0.5))
            again = False
            while done < kills:
                share = (moments[done] + self.random.random()) / kills
                kill = self._moment(kinds[done % len(kinds)], share)
                if not self._kill(trial, kill, again=again):
                    break
                done += 1
                again = True
                if self.random.random() < 0.5:
                    break
            self._finish(trial)
            shutil.rmtree(trial)
        return self.tally

    def _moment(self, kind: str, share: float) -> Kill:
        """A moment by the share of the work that lies before it."""
        if kind == "clock":
            return Kill(kind, share * self.tally.seconds)
        if kind == "operation":
            return Kill(kind, int(share * self.tally.operations))
        size = int(self.random.choice(self.sizes))
        return Kill(kind, int(self.random.integers(1, max(2, size))))

    def _kill(self, trial: Path, kill: Kill, *, again: bool) -> bool:
        """Kills the command once; False where it had ended before."""
        finished = self.task.finished(trial)
        ended = child.run(self._words(trial, again=again), self._target(trial), kill=kill)
        if ended.code not in _KILLED:
            self.tally.too_late += 1
            self._takes(ended.seconds)
            if ended.code:
                self._lose(kill, f"exit code {ended.code}: {ended.said[-200:]}")
            return False
        self.tally.kills[kill.kind] += 1
        found = [*checks.torn(self._target(trial)), *checks.redone(finished)]
        if self.task.run:
            run = self._target(trial)
            found += child.call(lambda: checks.opens_in_app(run))
        for line in found:
            self._lose(kill, line)
        self.tally.leftovers += bool(checks.leftovers(self._target(trial)))
        return True

    def _finish(self, trial: Path) -> None:
        """Takes the command up again, to the end, and compares."""
        kept = self.task.finished(trial)
        self._count_steps(trial)
        target = self._target(trial)
        ended = child.run(self._words(trial, again=True), target)
        last = Kill("end", self._number)
        if ended.code:
            self._lose(last, f"going on fails with {ended.code}: {ended.said[-300:]}")
            return
        self.tally.ends += 1
        result = child.call(lambda: self.task.result(trial))
        found = checks.differences(self.expected, result)
        found += checks.redone(kept)
        found += [f"{name} stays behind" for name in checks.leftovers(target)[:3]]
        self.tally.kept += len(kept)
        for line in found:
            self._lose(last, line)

    def _count_steps(self, trial: Path) -> None:
        """How many logged steps of a killed training are in no checkpoint."""
        run = self._target(trial)
        if self.tally.task != "train" or not (run / "metrics.jsonl").exists():
            return
        from workbench.runs import RunDirectory

        saved = max(RunDirectory(run).checkpoint_steps(), default=0)
        logged = [int(step) for step in RunDirectory(run).metrics()["step"]]
        self.tally.steps_lost = max(self.tally.steps_lost, max(logged, default=0) - saved)

    def _lose(self, kill: Kill, line: str) -> None:
        self.tally.losses.append(f"{kill.kind} {kill.at:.3f}: {line}")
