from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers.processes import Home, end_of
from torch import Tensor

from workbench.errors import RunError
from workbench.runs import RunDirectory


def state(value: float) -> dict[str, Tensor]:
    return {"table": torch.full((1284, 3), value), "count": torch.tensor(int(value))}


def save(run: RunDirectory, step: int) -> Path:
    optimizer = {"table.momentum": torch.full((1284, 3), -float(step))}
    return run.save_checkpoint(
        step, model=state(step), optimizer=optimizer, trainer={"loss": 0.5, "samples": [1, 2]}
    )


def test_everything_comes_back(run: RunDirectory) -> None:
    folder = save(run, 500)
    assert folder == run.path / "checkpoints" / "step_000500"
    assert sorted(path.name for path in folder.iterdir()) == [
        "model.safetensors",
        "optimizer.safetensors",
        "trainer.json",
    ]
    assert (run.path / "checkpoints" / "last").read_text() == "step_000500\n"
    loaded = run.load_checkpoint()
    assert loaded.step == 500
    torch.testing.assert_close(loaded.model, state(500), rtol=0, atol=0)
    assert loaded.optimizer is not None
    assert float(loaded.optimizer["table.momentum"][1283, 2]) == -500
    assert loaded.trainer == {"loss": 0.5, "samples": [1, 2], "step": 500}


def test_without_an_optimizer(run: RunDirectory) -> None:
    run.save_checkpoint(1, model=state(1), optimizer=None, trainer={})
    assert run.load_checkpoint().optimizer is None


def test_shared_strided_and_half_tensors(run: RunDirectory) -> None:
    weight = torch.arange(12.0).reshape(3, 4)
    model = {
        "a": weight,
        "tied": weight,
        "transposed": weight.t(),
        "row": weight[1],
        "half": weight.to(torch.bfloat16),
        "grad": weight.clone().requires_grad_(),
    }
    run.save_checkpoint(1, model=model, optimizer=None, trainer={})
    loaded = run.load_checkpoint().model
    assert set(loaded) == set(model)
    for name, tensor in model.items():
        assert torch.equal(loaded[name], tensor.detach()), name
        assert loaded[name].dtype == tensor.dtype


def test_last_best_and_a_step(run: RunDirectory) -> None:
    for step in (100, 200, 1_000_000):
        save(run, step)
    run.mark_best(200)
    assert run.load_checkpoint("last").step == 1_000_000
    assert run.load_checkpoint("best").step == run.best_step() == 200
    assert run.load_checkpoint(100).step == 100
    assert run.checkpoint_steps() == [100, 200, 1_000_000]


def test_shapes_are_read_without_torch(run: RunDirectory) -> None:
    save(run, 100)
    model = {"table.weight": torch.zeros(1284, 3), "scale": torch.tensor(1.0).bfloat16()}
    run.save_checkpoint(200, model=model, optimizer=None, trainer={})
    assert run.checkpoint_shapes() == {"table.weight": (1284, 3), "scale": ()}
    assert "table.weight" not in run.checkpoint_shapes(100)
    code = f"""
import sys
from workbench.runs import RunDirectory
print(RunDirectory({str(run.path)!r}).checkpoint_shapes()["table.weight"], "torch" in sys.modules)
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "(1284, 3) False"
    (file,) = run.path.glob("checkpoints/step_000200/model.safetensors")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(RunError, match=r"model\.safetensors"):
        run.checkpoint_shapes()
    with pytest.raises(RunError, match="has no checkpoint 300"):
        run.checkpoint_shapes(300)


def test_saving_a_step_again_replaces_it(run: RunDirectory) -> None:
    save(run, 100)
    run.save_checkpoint(100, model=state(7), optimizer=None, trainer={})
    loaded = run.load_checkpoint()
    assert loaded.optimizer is None
    assert float(loaded.model["table"][0, 0]) == 7


def test_pruning_never_removes_last_or_best(run: RunDirectory) -> None:
    for step in (100, 200, 300, 400, 500):
        save(run, step)
    run.mark_best(200)
    assert run.prune_checkpoints(keep=2) == [100, 300]
    assert run.checkpoint_steps() == [200, 400, 500]
    assert run.prune_checkpoints(keep=0) == [400]
    assert run.load_checkpoint("best").step == 200
    assert run.load_checkpoint("last").step == 500


def test_last_after_going_back_survives_pruning(run: RunDirectory) -> None:
    for step in (300, 400, 500, 200):  # resumed from an earlier step
        save(run, step)
    run.prune_checkpoints(keep=2)
    assert run.load_checkpoint("last").step == 200


@pytest.mark.parametrize("which", ["last", "best", 500])
def test_none_there(run: RunDirectory, which: str | int) -> None:
    assert not run.has_checkpoint()
    with pytest.raises(RunError, match="no checkpoint"):
        run.load_checkpoint(which)


def test_best_must_be_saved_first(run: RunDirectory) -> None:
    with pytest.raises(RunError, match="step_000007"):
        run.mark_best(7)
    assert run.best_step() is None


@pytest.mark.parametrize("pointer", [None, "", "step_000300\n", "\xff", "../../x"])
def test_a_lost_pointer_gives_the_newest_whole_checkpoint(
    run: RunDirectory, pointer: str | None
) -> None:
    save(run, 100)
    save(run, 200)
    half = run.path / "checkpoints" / "step_000300"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"")
    if pointer is None:
        (run.path / "checkpoints" / "last").unlink()
    else:
        (run.path / "checkpoints" / "last").write_bytes(pointer.encode("latin-1"))
    assert run.load_checkpoint("last").step == 200


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "trainer.json"])
def test_a_damaged_file_is_named(run: RunDirectory, name: str) -> None:
    folder = save(run, 100)
    whole = (folder / name).read_bytes()
    for damage in (whole[: len(whole) // 2], b"", b"\x00" * 64, b"\xff" * 5):
        (folder / name).write_bytes(damage)
        with pytest.raises(RunError, match=name) as caught:
            run.load_checkpoint()
        assert "\n" not in str(caught.value)


def test_killed_at_any_moment_a_whole_checkpoint_is_found(
    run: RunDirectory, forks: Home, tmp_path: Path
) -> None:
    script = """
import pathlib, sys, torch
from workbench.runs import RunDirectory
run = RunDirectory(sys.argv[1])
with run.lock():
    step = max(run.checkpoint_steps(), default=0)
    pathlib.Path(sys.argv[2]).touch()
    while True:
        step += 1
        table = torch.full((20000, 8), float(step))
        run.save_checkpoint(step, model={"t": table}, optimizer={"m": table}, trainer={})
        run.append_metrics({"step": step})
        run.prune_checkpoints(keep=1)
"""
    last = 0
    for delay in (0.023, 0.061, 0.097):
        begun = tmp_path / f"begun {delay}"
        process = forks.start("-c", script, run.path, begun)
        while not begun.exists():
            assert process.poll() is None
        time.sleep(delay)
        os.kill(process.pid, signal.SIGKILL)
        assert end_of([process])[0].returncode == -signal.SIGKILL
        if not run.has_checkpoint():
            continue
        loaded = run.load_checkpoint()
        assert loaded.optimizer is not None
        assert torch.equal(loaded.model["t"], torch.full((20000, 8), float(loaded.step)))
        assert torch.equal(loaded.optimizer["m"], loaded.model["t"])
        assert loaded.step >= last
        last = loaded.step
        assert list(run.metrics()["step"]) == sorted(set(run.metrics()["step"]))
    assert last > 0


def test_embeddings_over_training(run: RunDirectory) -> None:
    tables = {step: torch.randn(1284, 12) for step in (20, 500, 100)}
    for step, table in tables.items():
        run.write_embeddings(step, table.requires_grad_())
    assert run.embedding_steps() == [20, 100, 500]
    assert torch.equal(run.read_embeddings(), tables[500].detach())
    assert torch.equal(run.read_embeddings(20), tables[20].detach())
    with pytest.raises(RunError, match=r"step_000021.*20, 100, 500"):
        run.read_embeddings(21)
    (run.path / "embeddings" / "step_000500.safetensors").write_bytes(b"half")
    with pytest.raises(RunError, match="step_000500"):
        run.read_embeddings()


def test_no_embeddings(run: RunDirectory) -> None:
    assert run.embedding_steps() == []
    with pytest.raises(RunError, match="no class table"):
        run.read_embeddings()
