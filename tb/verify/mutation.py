"""Method ``mutation``: RTL with one expression changed, and whether the testbenches' vectors notice."""

from __future__ import annotations

import importlib
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from amaranth.lib import wiring

from tb.bank import Bank
from tb.verify.aig import Aig
from tb.verify.benches import ArrayBench, MacBench, array_benches, mac_benches, rtlil_of
from tb.verify.equivalence import Equal, EquivalenceError, compare
from tb.verify.explained_mutants import EXPLAINED
from tb.verify.machine import Machine
from tb.verify.rows import ARITHMETIC, Outcome, Row, Task, python_versions, sources
from tb.verify.source_mutants import Mutation, mutations

__all__ = ["METHODS", "Verdict", "rows", "try_mutation"]

METHODS = {
    "mutation": "One expression of the hardware's source is changed: an operator, a comparison, a constant, "
    "a condition, the arms of a multiplexer, drawn from the syntax tree. The design that comes of "
    "it runs the stimuli of tb/test_mac.py, or those of tb/test_array.py on small arrays, and has to differ "
    "from golden, from the stated cycles, or in the protocol. A mutant that does not even make a design is "
    "caught as well. One that no vector tells from the original is proved equal to it by SAT sweeping, "
    "registers of one name related, or explained, or counts as a difference. Those that leave the RTL of all "
    "these configurations as it is are listed, and count for nothing.",
}

_VERSION = "5"  # of the method
_SECONDS = 300.0
_PROVED = 4  # configurations in which a mutant that survives is compared formally
_TRIED = 2  # configurations that a mutant may survive before it is compared

#: Parts of a MAC, and of what is around it; with how many mutants of each module are tried.
_MAC_MODULES = ("fields", "multiplier", "shift", "rounder", "quantizer", "adder", "fixed", "step", "mac")
_ARRAY_MODULES = ("column", "array", "delay", "timing", "random_words")
_OF_MODULE = {"mac": 20, "array": 20}

Bench = MacBench | ArrayBench


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant."""

    kind: str  #: killed, refused, equal, unreached or survived
    by: str  #: What noticed it, or where it was compared.


@dataclass(frozen=True)
class Module:
    """Some mutants of a module."""

    name: str
    bench: str  #: mac or array: which one comes first.

    def benches(self) -> Iterator[Bench]:
        if self.bench == "mac":
            yield from (bench for bench in mac_benches() if bench.stages != 1)
        yield from array_benches()

    def run(self, task: Task) -> Outcome:
        """Try them; at a small share, fewer."""
        found = mutations(self.name)
        chosen = random.Random(task.seed).sample(found, min(len(found), _OF_MODULE[self.bench]))
        if not task.whole:
            chosen = chosen[: max(1, int(len(chosen) * task.share))]
        verdicts: dict[str, Verdict] = {}
        for done, mutation in enumerate(chosen):
            verdicts[f"{mutation.name} in `{mutation.line}`"] = self._verdict(mutation)
            task.report((done + 1) / len(chosen))
        return self._outcome(verdicts)

    def explanations(self) -> str:
        return repr({key: why for key, why in EXPLAINED.items() if key[0] == self.name})

    def _verdict(self, mutation: Mutation) -> Verdict:
        verdict = try_mutation(mutation, list(self.benches()))
        key = (self.name, mutation.name)
        if verdict.kind == "survived" and key in EXPLAINED:
            return Verdict("explained", EXPLAINED[key])
        return verdict

    def _outcome(self, verdicts: dict[str, Verdict]) -> Outcome:
        kinds = ("killed", "refused", "equal", "explained", "unreached", "survived")
        by_kind = {
            kind: [name for name, verdict in verdicts.items() if verdict.kind == kind] for kind in kinds
        }
        details: dict = {kind: len(names) for kind, names in by_kind.items()}
        details["mutants"] = {name: f"{verdict.kind}: {verdict.by}" for name, verdict in verdicts.items()}
        if by_kind["survived"]:
            details["first_difference"] = f"{self.name}: nothing notices {by_kind['survived'][0]}"
        compared = len(verdicts) - len(by_kind["unreached"])
        return Outcome(compared=compared, differences=len(by_kind["survived"]), details=details)


def try_mutation(mutation: Mutation, benches: list[Bench]) -> Verdict:
    """Run the benches that it makes a difference to, until one notices."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of components that are never elaborated, widths, ...
        macs = [bench for bench in benches if isinstance(bench, MacBench)]
        arrays = [bench for bench in benches if isinstance(bench, ArrayBench)]
        verdict = _judged(mutation, macs, _TRIED) if macs else None
        if verdict is None or verdict.kind == "survived":
            verdict = _judged(mutation, arrays, len(arrays)) or verdict
        return verdict or Verdict("unreached", "")


def _judged(mutation: Mutation, benches: list[Bench], tried: int) -> Verdict | None:
    """By these benches: some are tried, and if none notices all others only where it is not proved equal."""
    survived: list[Bench] = []
    for bench in benches:
        if len(survived) < tried and (verdict := _try(mutation, bench, survived)) is not None:
            return verdict
    if not survived:
        return None
    others = [bench for bench in benches if bench not in survived]
    random.Random(0).shuffle(others)
    chosen = [
        *survived,
        *islice((b for b in others if _differs(mutation, b)), max(0, _PROVED - len(survived))),
    ]
    different = [bench for bench in chosen if not _is_equal(mutation, bench)]
    if not different:
        return Verdict("equal", f"proved in {len(chosen)} configurations, {_describe(chosen[0])} among them")
    for bench in [*different, *others]:
        if bench not in survived and (verdict := _try(mutation, bench, survived)) is not None:
            return verdict
    return Verdict("survived", f"differs in {_describe(different[0])}")


def _try(mutation: Mutation, bench: Bench, survived: list[Bench]) -> Verdict | None:
    original = _original(bench)
    try:
        text = rtlil_of(bench.build(mutation.load))
        if text == original:
            return None
        machine = Machine(Aig.of(text, "top", language="rtlil", hidden=True))
    except Exception as error:  # whatever Amaranth or Yosys think of it
        return Verdict("refused", f"{type(error).__name__} with {_describe(bench)}")
    try:
        difference = bench.difference(machine)
    except KeyError as error:
        return Verdict("refused", f"no port {error} with {_describe(bench)}")
    if difference is not None:
        return Verdict("killed", _describe(bench))
    survived.append(bench)
    return None


def _differs(mutation: Mutation, bench: Bench) -> bool:
    original = _original(bench)
    try:
        return rtlil_of(bench.build(mutation.load)) != original
    except Exception:
        return True


def _is_equal(mutation: Mutation, bench: Bench) -> bool:
    """Without pipeline registers, which may differ where nothing comes of it, if that shows the mutation."""
    if isinstance(bench, MacBench):
        plain = _texts(mutation, lambda load: load("hw.mac").Mac(bench.silicon, 0, events=True))
        if plain[0] != plain[1]:
            return _proved(*plain)
    return _proved(*_texts(mutation, bench.build))


def _texts(mutation: Mutation, build: Callable[[Callable], wiring.Component]) -> tuple[str, str]:
    original, mutant = (
        rtlil_of(Bank({"dut": build(load)})) for load in (importlib.import_module, mutation.load)
    )
    return original, mutant


def _proved(original: str, mutant: str) -> bool:
    with suppress(EquivalenceError):  # other registers
        found = compare(
            original, mutant, "top", engines=["sweeping"], seconds=_SECONDS, language="rtlil", hidden=True
        )
        return isinstance(found, Equal)
    return False


def _describe(bench: Bench) -> str:
    if isinstance(bench, MacBench):
        return f"{bench.config}{' wired' if bench.silicon.hardwired else ''}, {bench.stages} stages"
    return bench.config.name


def _original(bench: Bench) -> str:
    if bench.name not in _originals:
        _originals[bench.name] = rtlil_of(bench.build(importlib.import_module))
    return _originals[bench.name]


_originals: dict[str, str] = {}


def rows() -> list[Row]:
    modules = [Module(f"hw.{name}", "mac") for name in _MAC_MODULES]
    modules += [Module(f"hw.{name}", "array") for name in _ARRAY_MODULES]
    return [_row(module) for module in modules]


_FILES = (
    *(f"tb/{name}.py" for name in ("test_mac", "test_array", "array_jobs", "streams")),
    *(f"tb/verify/{name}.py" for name in ("benches", "source_mutants")),
    *(f"hw/{name}.py" for name in (*_MAC_MODULES, *_ARRAY_MODULES)),
    *("golden/stimulus.py", *ARITHMETIC),
)


def _row(module: Module) -> Row:
    return Row(
        method="mutation",
        subject=module.name,
        what=f"mutants with golden, vectors of the {'MAC' if module.bench == 'mac' else 'array'} testbench",
        depends=lambda: _VERSION + module.explanations() + sources(_FILES),
        run=module.run,
        versions=lambda: python_versions("amaranth", "pyosys", "numpy"),
        seconds=120,
        divides=True,
    )
