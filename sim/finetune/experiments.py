"""The experiments, declared: what is trained, by which arithmetic, gradient and schedule, from which seeds.

A run is one network from one seed. Runs that differ in nothing but the seed are an arm, which has a label.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace

from golden.config import ConfigError
from sim.finetune.arithmetic import Biases
from sim.finetune.training import Optimization, Optimizer

__all__ = ["GROUPS", "Phase", "Run", "find_runs"]

SEEDS = (0, 1, 2)


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stage, as it is declared: its rate is a share of the run's."""

    epochs: int
    share: float
    underflow: bool  #: Whether small numbers are lost, as on the hardware.


@dataclass(frozen=True, kw_only=True)
class Run:
    """One network, trained once."""

    group: str
    label: str
    task: str
    config: str  #: Of the accumulator: canonical name, biases being those it starts from.
    calibrated: bool  #: Biases are fixed by layer from training inputs; else operands' follow each tensor.
    narrow: bool  #: False: float32 accumulators, same operands.
    rule: str
    backward: str | None
    phases: tuple[Phase, ...]
    rate: float | None  #: None: the best of the runs that are labelled ``tuning`` and a rate.
    tuning: str | None
    biases: Biases
    optimization: Optimization
    held_out: bool  #: Judged by training inputs that are put aside for it.
    seed: int
    priority: int  #: Lower ones are started first.

    @property
    def epochs(self) -> int:
        return sum(phase.epochs for phase in self.phases)

    @property
    def schedule(self) -> str:
        """In words: ``6 without underflow, 2 with at 0.1``."""
        return ", ".join(
            f"{phase.epochs} {'with' if phase.underflow else 'without'} underflow"
            + (f" at {phase.share:g} of the rate" if phase.share != 1 else "")
            for phase in self.phases
        )

    def key(self, limit: int | None) -> str:
        """What a finished run is known by: everything that decides its result but the machine."""
        parts = {name: value for name, value in asdict(self).items() if name not in ("priority",)}
        parts["phases"] = self.schedule
        parts["biases"] = self.biases.value
        parts["optimization"] = " ".join(str(each) for each in _settings(self.optimization))
        parts["limit"] = limit
        return ", ".join(f"{name} {value}" for name, value in parts.items() if value is not None)


def _settings(optimization: Optimization) -> list:
    return [
        optimization.optimizer.value,
        *(value for name, value in asdict(optimization).items() if name != "optimizer"),
    ]


def _seeds(run: Run, seeds: Iterable[int] = SEEDS) -> list[Run]:
    return [replace(run, seed=seed) for seed in seeds]


# --- ResNet-20, from its published weights ---------------------------------------------------------------

TWO_STAGES = (Phase(epochs=4, share=1.0, underflow=False), Phase(epochs=1, share=0.1, underflow=True))
ONE_STAGE = (Phase(epochs=5, share=1.0, underflow=True),)

#: Tried for the twin and for the narrow accumulator alike, on training images that are put aside.
RATES = (0.005, 0.01, 0.02, 0.04)
CONV_RATES = (0.01, 0.03, 0.1)

FLOAT12 = "e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_rz_c16"

_NARROW = Run(
    group="resnet20",
    label="two stages, recursive/of",
    task="resnet20",
    config=FLOAT12,
    calibrated=True,
    narrow=True,
    rule="recursive/of",
    backward=None,
    phases=TWO_STAGES,
    rate=None,
    tuning="narrow",
    biases=Biases.TENSOR,
    optimization=Optimization(
        optimizer=Optimizer.SGD, momentum=0.9, weight_decay=1e-4, train_batch_norm=True, clip_norm=None
    ),
    held_out=False,
    seed=0,
    priority=1,
)
_TWIN = replace(_NARROW, label="float32 accumulators", narrow=False, rule="identity", tuning="float32")


def _tuning(run: Run, rates: Iterable[float]) -> list[Run]:
    return [
        replace(
            run,
            group=f"{run.group}-rates",
            label=f"{run.tuning} {rate:g}",
            rate=rate,
            tuning=None,
            held_out=True,
            priority=0,
        )
        for rate in rates
    ]


def _ablations() -> list[Run]:
    """Each differs in one thing from two stages with recursive/of."""
    chunks = {chunk: FLOAT12.replace("_c16", f"_c{chunk}") for chunk in (8, 32, 64, 144)}
    return [
        replace(_NARROW, label="two stages, identity", rule="identity", priority=2),
        replace(_NARROW, label="two stages, immediate/diff", rule="immediate/diff", priority=2),
        replace(_NARROW, label="one stage", phases=ONE_STAGE, priority=2),
        replace(_NARROW, label="fixed biases", biases=Biases.FIXED, priority=3),
        replace(_NARROW, label="nearest even", config=FLOAT12.replace("_rz", "_rne"), priority=3),
        replace(_NARROW, label="no guard bits", config=FLOAT12.replace("b10_rz", "b10_rz_g0"), priority=3),
        *(
            replace(_NARROW, label=f"chunks of {chunk}", config=config, priority=3 if chunk == 32 else 4)
            for chunk, config in chunks.items()
        ),
        replace(_NARROW, label="biases by channel", biases=Biases.CHANNEL, priority=5),
        replace(_NARROW, label="two stages, immediate/of", rule="immediate/of", priority=5),
    ]


# --- A small convolutional network, from its own float32 training ---------------------------------------

#: 8 bits: narrow enough for choices to matter.
FLOAT8 = "e3m4_e3m4_p_e4m3b12_rz_a_e4m3b10_rz_c16"

_CONV = replace(
    _NARROW,
    group="conv",
    task="fashion-conv",
    config=FLOAT8,
    phases=(Phase(epochs=3, share=1.0, underflow=False), Phase(epochs=1, share=0.1, underflow=True)),
)
_CONV_TWIN = replace(_CONV, label=_TWIN.label, narrow=False, rule="identity", tuning="float32")


def _conv() -> list[Run]:
    """The twin, and arms that differ in one thing from two stages with recursive/of."""
    one_stage = (Phase(epochs=4, share=1.0, underflow=True),)
    return [
        replace(_CONV_TWIN, priority=1),
        _CONV,
        replace(_CONV, label="two stages, identity", rule="identity", priority=2),
        replace(_CONV, label="two stages, immediate/diff", rule="immediate/diff", priority=2),
        replace(_CONV, label="one stage", phases=one_stage, priority=2),
        replace(_CONV, label="fixed biases", biases=Biases.FIXED, priority=2),
        replace(_CONV, label="biases by channel", biases=Biases.CHANNEL, priority=2),
        replace(_CONV, label="nearest even", config=FLOAT8.replace("_rz", "_rne"), priority=2),
        replace(_CONV, label="no guard bits", config=FLOAT8.replace("b10_rz", "b10_rz_g0"), priority=2),
        *(
            replace(
                _CONV, label=f"chunks of {chunk}", config=FLOAT8.replace("_c16", f"_c{chunk}"), priority=2
            )
            for chunk in (4, 8, 32, 64)
        ),
    ]


# --- Perceptrons from nothing, on 8-bit accumulators ------------------------------------------------------

#: Accumulator -> biases: largest sums of 2 and below to ample ones. Products have two more, as in the paper.
OVERFLOW_RANGES = {"e3m4": (4, 5, 6, 7, 8), "e4m3": (11, 13, 14, 15, 16)}
#: Those that are run first: in each format one that saturates seldom and one that saturates often.
_TELLING = (5, 7, 13, 15)
ESTIMATORS = ("identity", "immediate/of", "recursive/of", "immediate/diff")
_ADAM = Optimization(
    optimizer=Optimizer.ADAM, momentum=0.9, weight_decay=0.0, train_batch_norm=True, clip_norm=1.0
)


def _mlp(task: str, config: str, rule: str, *, narrow: bool = True) -> Run:
    return Run(
        group="mlp",
        label=f"{task}, {rule if narrow else 'float32 accumulators'}",
        task=task,
        config=config,
        calibrated=False,
        narrow=narrow,
        rule=rule,
        backward=None,
        phases=(Phase(epochs=15 if task == "digits" else 5, share=1.0, underflow=True),),
        rate=2e-3,
        tuning=None,
        biases=Biases.TENSOR,
        optimization=_ADAM,
        held_out=False,
        seed=0,
        priority=1,
    )


def _eight_bits(number: str, bias: int) -> str:
    return f"e3m4_e3m4_p_{number}b{bias + 2}_rz_a_{number}b{bias}_rz_c16"


def _mlps() -> list[Run]:
    runs = []
    for first, task in enumerate(("digits", "fashion-mnist"), 1):
        rules = (*ESTIMATORS, "recursive/diff") if task == "digits" else ESTIMATORS
        runs += _seeds(replace(_mlp(task, FLOAT12, "identity", narrow=False), priority=first))
        for number, biases in OVERFLOW_RANGES.items():
            for bias in biases:
                priority = first if bias in _TELLING else first + 3
                arms = [_mlp(task, _eight_bits(number, bias), rule) for rule in rules]
                runs += [run for arm in arms for run in _seeds(replace(arm, priority=priority))]
    return runs


def _thresholds() -> list[Run]:
    """What a step has to change to count, as a share of its product."""
    rules = ("immediate/diff", *(f"immediate/diff:{share}" for share in ("0.25", "0.5", "0.75")))
    config = _eight_bits("e3m4", 7)
    runs = [replace(_mlp("digits", config, rule), group="diff", priority=3) for rule in rules]
    return [each for run in runs for each in _seeds(run)]


def _backwards() -> list[Run]:
    """Gradients by products of their own: FP8 operands, biased for numbers that small."""
    base = replace(_mlp("digits", _eight_bits("e4m3", 11), "identity"), group="backward")
    configs = {
        "float32": None,
        "e5m10": "e3m4_e3m4_p_e5m10b24_rz_a_e5m10b22_rz_c16",
        "e4m7": "e3m4_e3m4_p_e4m7b22_rz_a_e4m7b20_rz_c16",
        "e4m3": "e3m4_e3m4_p_e4m3b22_rz_a_e4m3b20_rz_c16",
    }
    runs = [
        replace(base, label=f"backward by {name}", backward=config, priority=3)
        for name, config in configs.items()
    ]
    return [each for run in runs for each in _seeds(run)]


# --- MiniLM, from its published weights ------------------------------------------------------------------

_MINILM = replace(
    _NARROW,
    group="minilm",
    task="minilm",
    config=FLOAT12,
    phases=(Phase(epochs=1, share=1.0, underflow=False), Phase(epochs=1, share=0.1, underflow=True)),
    rate=3e-5,
    tuning=None,
    optimization=replace(_ADAM, weight_decay=0.01),
)
_MINILM_TWIN = replace(_MINILM, label=_TWIN.label, narrow=False, rule="identity")

#: Group -> its runs.
GROUPS: dict[str, list[Run]] = {
    "resnet20-rates": [*_tuning(_TWIN, RATES), *_tuning(_NARROW, RATES)],
    "resnet20": [run for arm in (_TWIN, _NARROW, *_ablations()) for run in _seeds(arm)],
    "conv-rates": [*_tuning(_CONV_TWIN, CONV_RATES), *_tuning(_CONV, CONV_RATES)],
    "conv": [run for arm in _conv() for run in _seeds(arm)],
    "mlp": _mlps(),
    "diff": _thresholds(),
    "backward": _backwards(),
    "minilm": [run for arm in (_MINILM_TWIN, _MINILM) for run in _seeds(arm)],
}


def find_runs(names: Iterable[str], seeds: Sequence[int] | None, configs: Sequence[str] | None) -> list[Run]:
    """The runs of these groups, or of labels within them (``resnet20:one stage``), the most wanted first.

    Raises :class:`ConfigError` where there is no such group or label. Runs whose rate is to be found bring
    those along that find it.
    """
    found: dict[Run, None] = {}
    for name in names:
        group, _, label = name.partition(":")
        if group not in GROUPS:
            near = difflib.get_close_matches(group, GROUPS, n=1)
            raise ConfigError(
                f"there is no group of runs called {group!r}; use {near[0] if near else ', '.join(GROUPS)}"
            )
        runs = [run for run in GROUPS[group] if label in ("", run.label)]
        if not runs:
            labels = dict.fromkeys(run.label for run in GROUPS[group])
            raise ConfigError(f"group {group} has no runs labelled {label!r}; use one of {', '.join(labels)}")
        runs = [
            run
            for run in runs
            if (seeds is None or run.seed in seeds) and (configs is None or run.config in configs)
        ]
        tunings = {run.tuning for run in runs if run.rate is None}
        rates = [each for each in GROUPS.get(f"{group}-rates", []) if each.label.split()[0] in tunings]
        found |= dict.fromkeys([*rates, *runs])
    if not found:
        raise ConfigError(f"{', '.join(names)} has no runs of these seeds and configurations; see list")
    return sorted(found, key=lambda run: (run.priority, run.seed))
