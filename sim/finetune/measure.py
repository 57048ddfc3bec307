"""One run: its plan, its stages, its checkpoints, and its row of the results."""

from __future__ import annotations

import hashlib
import inspect
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from golden.catalog import find
from golden.config import ConfigError, MacConfig
from hw.files import write_files
from sim import calibrate
from sim.data import BUILD
from sim.finetune import arithmetic
from sim.finetune.arithmetic import on_device, plan, products
from sim.finetune.experiments import Phase, Run
from sim.finetune.tasks import Task, find_task
from sim.finetune.training import Products, Stage, train
from sim.operands import LayerConfig
from sim.zero_shot.measure import environment

__all__ = ["WORK", "perform"]

#: Checkpoints and plans.
WORK = BUILD / "finetune"

#: What makes plans: one that other code has made is not taken for its own.
_CODE = "".join(inspect.getsource(module) for module in (arithmetic, calibrate))


def perform(
    run: Run,
    *,
    rate: float,
    device: str,
    limit: int | None,
    command: str,
    stop: Callable[[], bool],
    report: Callable[[int, int, float], None] | None = None,
) -> dict[str, Any] | None:
    """Train and judge; the row of the results, or None where it was asked to stop and has a checkpoint."""
    start = time.perf_counter()
    torch.backends.cudnn.allow_tf32 = False  # float32 is to mean float32: in the twin, and in gradients
    tasks = find_task(run.task, held_out=run.held_out, limit=limit, device=device)
    parts = []
    for i, task in enumerate(tasks):
        part = _part(run, task, i, rate=rate, device=device, limit=limit, stop=stop, report=report)
        if part is None:
            return None
        parts.append(part)
    n = sum(task.n for task in tasks)

    def pooled(name: str) -> float:
        return sum(part[name] * task.n for part, task in zip(parts, tasks, strict=True)) / n

    return {
        "key": run.key(limit),
        "group": run.group,
        "label": run.label,
        "task": run.task,
        "config": run.config,
        "accumulators": "narrow" if run.narrow else "float32",
        "rule": run.rule,
        "backward": run.backward or "float32",
        "schedule": run.schedule,
        "epochs": run.epochs,
        "rate": rate,
        "rate_found": run.rate is None,
        "biases": run.biases.value,
        "batch_norm": "trained" if run.optimization.train_batch_norm else "frozen",
        "seed": run.seed,
        "trained_on": sum(task.trained_on for task in tasks),
        "held_out": run.held_out,
        "n": n,
        "unit": tasks[0].unit,
        "before": pooled("before"),
        "value": pooled("value"),
        "diverged": any(part["diverged"] for part in parts),
        "losses": [part["losses"] for part in parts],
        "layers": [part["layers"] for part in parts],
        "seconds": time.perf_counter() - start,
        "command": command,
        "made_by": {
            **environment(_backend(device)),
            "device": torch.cuda.get_device_name() if device == "cuda" else "processor",
        },
    }


def _backend(device: str) -> str:
    return "cuda" if device == "cuda" else "cpu"


def _part(
    run: Run,
    task: Task,
    place: int,
    *,
    rate: float,
    device: str,
    limit: int | None,
    stop: Callable[[], bool],
    report: Callable[[int, int, float], None] | None,
) -> dict[str, Any] | None:
    """One of the task's networks."""
    model = task.model(run.seed)
    config = find(run.config)
    layers = _plan(run, task, place, config, model, limit) if run.calibrated else config
    names = [layer.config.name for layer in layers] if run.calibrated else []
    if run.calibrated:
        layers = on_device(layers, device)
    model = model.to(device)
    judged = _products(run, layers, device, underflow=True, rule=None)
    before = _before(run, task, model, [config.name, *names], judged, device)
    before = task.chance if before is None else before
    stages = [
        Stage(
            name=_stage_name(run, phase),
            epochs=phase.epochs,
            rate=rate * phase.share,
            products=_products(run, layers, device, underflow=phase.underflow, rule=run.rule),
        )
        for phase in run.phases
    ]
    checkpoint = WORK / "checkpoints" / f"{_digest(run.key(limit), rate, place)}.pt"
    options = dict(seed=run.seed, checkpoint=checkpoint, checkpoint_every=50, report=report, stop=stop)
    try:
        trained = train(model, task.batches, stages, run.optimization, **options)
    except ConfigError as error:  # of quantizing what is no number
        if "NaN" not in str(error):
            raise
        part = {"before": before, "value": task.chance, "diverged": True, "losses": [], "layers": names}
    else:
        if not trained.finished:
            return None
        value = _score(task, model, judged)
        part = {
            "before": before,
            "value": task.chance if value is None else value,
            "diverged": value is None,
            "losses": trained.losses,
            "layers": names,
        }
    checkpoint.unlink(missing_ok=True)
    return part


def _before(
    run: Run, task: Task, model: torch.nn.Module, names: list[str], judged: Products, device: str
) -> float | None:
    """The score before training: the same for many runs, and kept in a file."""
    name = _digest(task.name, task.n, task.unit, names, run.biases.value, run.narrow, device, _weights(model))
    path = WORK / "before" / f"{name}.json"
    if not path.is_file():
        _write(_score(task, model, judged), path)
    return json.loads(path.read_text())


def _score(task: Task, model: torch.nn.Module, judged: Products) -> float | None:
    """The task's score; None of a network whose numbers are no longer finite."""
    try:
        return task.score(model, judged)
    except ConfigError as error:
        if "NaN" not in str(error):
            raise
        return None


def _stage_name(run: Run, phase: Phase) -> str:
    width = run.config if run.narrow else f"float32 for {run.config}"
    return f"{width}, {run.rule}, {'with' if phase.underflow else 'without'} underflow"


def _products(
    run: Run,
    layers: Sequence[LayerConfig] | MacConfig,
    device: str,
    *,
    underflow: bool,
    rule: str | None,
) -> Products:
    return products(
        layers,
        rule=rule,
        backend=_backend(device),
        backward=None if run.backward is None else find(run.backward),
        underflow=underflow,
        narrow=run.narrow,
    )


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


def _weights(model: torch.nn.Module) -> str:
    """What tells a network's numbers from others."""
    digest = hashlib.sha256()
    for values in model.state_dict().values():
        digest.update(values.contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()


def _plan(
    run: Run, task: Task, place: int, config: MacConfig, model: torch.nn.Module, limit: int | None
) -> list[LayerConfig]:
    """The run's plan. It is the same for all rules, and kept in a file."""
    name = _digest(
        *(run.task, place, run.config, run.biases.value, run.held_out, limit, _weights(model), _CODE)
    )
    path = WORK / "plans" / f"{name}.json"
    if not path.is_file():
        _write_plan(plan(model, task.calibration, config, run.biases, seed=0), path)
    return [
        LayerConfig(
            config=MacConfig.parse(layer["config"]),
            x_scale=layer["x_scale"],
            w_scale=torch.tensor(layer["w_scale"], dtype=torch.float64)
            if isinstance(layer["w_scale"], list)
            else layer["w_scale"],
            length=layer["length"],
        )
        for layer in json.loads(path.read_text())
    ]


def _write_plan(layers: Sequence[LayerConfig], path: Path) -> None:
    content = [
        {
            "config": layer.config.name,
            "x_scale": layer.x_scale,
            "w_scale": layer.w_scale.tolist() if layer.per_channel else layer.w_scale,
            "length": layer.length,
        }
        for layer in layers
    ]
    _write(content, path)


def _write(content: object, path: Path) -> None:
    """A file of JSON, whole."""
    write_files({path.name: json.dumps(content)}, path.parent)
