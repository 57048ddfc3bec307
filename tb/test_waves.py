"""A failing comparison says where to look: the cycle, the place, both values, and waves of just that."""

from __future__ import annotations

import json
import re
from dataclasses import asdict

import numpy as np
import pytest

from golden.arith import dot, dot_events
from golden.codes import decode
from golden.config import ArrayConfig, MacConfig
from sim.gtkwave import translation_text
from tb import simulator, test_array
from tb.bank import Bank
from tb.mismatch import PERIOD_NS, Mismatch
from tb.mutants import Mutant
from tb.waves import AGAIN, CYCLES_AFTER, CYCLES_BEFORE, wires

#: Wrong from the first overflow on.
MUTANT = Mutant(
    "overflow_wraps",
    "e2m1_e2m1_p_e3m2_rne_a_e3m3_rne_c4",
    "hw.quantizer",
    "Mux(overflow, largest,",
    "Mux(0, largest,",
)


@pytest.fixture
def broken():
    """An array with the mutant inside, as a testbench takes it."""
    mac = MacConfig.parse(MUTANT.config)
    config = ArrayConfig(silicon=mac.silicon, rows=2, cols=2, stages=0, depth=4, events=False)
    array = MUTANT.load("hw.array").SystolicArray(config)
    bank = Bank({"sound": test_array.SystolicArray(config), "broken": array})
    about = asdict(test_array.describe(mac, array))
    return bank, {
        "lanes": {"sound": about, "broken": about},
        "in_ports": bank.in_ports,
        "out_ports": bank.out_ports,
        "seed": test_array.SEED,
        "jobs": 8,
        "exact": [],
    }


def test_a_failure_says_where_and_leaves_waves(simulate, broken, request):
    bank, parameters = broken
    with pytest.raises(simulator.SimulationError) as error:
        simulate(bank, "broken_bank", "tb.array_tests", parameters)
    folder = simulator.run_folder(request.node.nodeid) / AGAIN
    dump, save = folder / "dump.vcd", folder / "dump.gtkw"
    assert f"gtkwave {dump} {save}" in str(error.value)

    mismatch = Mismatch.reported(folder / simulator.MISMATCH)
    assert f"\n{mismatch}\n" in str(error.value)
    found = re.fullmatch(
        r"broken, cycle (\d+) \((\d+) ns\), m=(\d+) n=(\d+) k=(\d+): RTL gives (0x\w+) \(\S+\), "
        r"golden gives (0x\w+) \((\S+)\); .*, job (\w+), .* x=(\[.*\]) w=(\[.*\])",
        str(mismatch),
    )
    cycle, time_ns, _, n, k = (int(number) for number in found.groups()[:5])
    got, wanted, value, name, *operands = found.groups()[5:]

    # The values and k, by golden from what the message says went in.
    config = MacConfig.parse(name)
    x, w = ([int(code, 16) for code in json.loads(each.replace("'", '"'))] for each in operands)
    x, w = np.array(x), np.array(w)
    number = config.outer_accumulator.format
    assert int(dot(x, w, config, None)) == int(wanted, 16) != int(got, 16)
    assert float(value) == decode(np.array([int(wanted, 16)]), number)[0]
    overflows = [bool(dot_events(x[: i + 1], w[: i + 1], config, None)[0]) for i in range(len(x))]
    assert k == overflows.index(True)

    # The cycle, by the waves; and they hold no more than was asked for.
    text = dump.read_text()
    times = [int(each) // 1000 for each in re.findall(r"^#(\d+)$", text, re.MULTILINE)]
    assert cycle == time_ns // PERIOD_NS
    assert time_ns - CYCLES_BEFORE * PERIOD_NS <= times[0] and times[-1] <= time_ns + CYCLES_AFTER * PERIOD_NS
    assert value_at(text, "broken", "results__valid", time_ns) == 1
    payload = value_at(text, "broken", "results__payload", time_ns)
    assert payload >> n * number.code_bits & (2**number.code_bits - 1) == int(got, 16)

    # The save file names signals that are there, and tables of their numbers.
    shown = [line for line in save.read_text().splitlines() if line.startswith("broken_bank.")]
    names = {wire.full_name for wire in wires(text)}
    assert {name.split("[")[0] for name in shown} <= {name.split("[")[0] for name in names}
    assert set(shown) <= names
    mac = f"broken_bank.broken.column_{n}.mac_{k % 2}"
    assert f"{mac}.acc[{number.code_bits - 1}:0]" in shown
    assert (
        f"#{{results__payload[{(n + 1) * number.code_bits - 1}:{n * number.code_bits}]}} ("
        in save.read_text()
    )
    table = folder / f"{config.accumulator.format.name}.txt"
    assert f"^1 {table}\n{mac}.result[" in save.read_text()
    assert table.read_text() == translation_text(config.accumulator.format)


def test_translation_lists_every_code():
    number = MacConfig.parse(MUTANT.config).accumulator.format
    lines = [line.split() for line in translation_text(number).splitlines()]
    assert [int(code, 16) for code, _ in lines] == list(range(2**number.code_bits))
    assert {len(code) for code, _ in lines} == {2}
    assert [float(value) for _, value in lines] == decode(np.arange(2**number.code_bits), number).tolist()


def value_at(vcd: str, scope: str, name: str, time_ns: int) -> int:
    """The value of a signal at a time, from the text of a VCD."""
    header, _, changes = vcd.partition("$enddefinitions")
    symbols, inside = set(), []
    for line in header.splitlines():
        words = line.split()
        if words[:1] == ["$scope"]:
            inside.append(words[2])
        elif words[:1] == ["$upscope"]:
            inside.pop()
        elif words[:1] == ["$var"] and inside[-1:] == [scope] and words[4] == name:
            symbols.add(words[3])
    (symbol,) = symbols
    value, time = None, 0
    for line in changes.splitlines():
        if line.startswith("#"):
            time = int(line[1:]) // 1000
        elif time <= time_ns and re.fullmatch(rf"b?[01]+ ?{re.escape(symbol)}", line):
            value = int(line.removeprefix("b").removesuffix(symbol).strip(), 2)
    return value
