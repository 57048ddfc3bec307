"""Cost items are cost records, and the command keeps, exports and prints them."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from golden.config import MacConfig
from hw.cost.record import cost_point
from sim.sweep import cost
from sim.sweep.__main__ import main

SMALL = MacConfig.parse("int2_int2_p_exact_a_int4_floor_sat_c16")
SPACE = f"""
[[space]]
configs = "{SMALL.name}"
technology = "builtin"
"""


@pytest.fixture
def arguments() -> dict:
    silicon = SMALL.silicon
    return dict(
        **{"config": silicon.config.name, "hardwired": silicon.hardwired, "stages": 0, "seed": 0},
        **{"technology": "builtin", "clock_ps": None, "stimulus": "none"},
    )


def test_an_item_is_the_record_of_its_mac(arguments):
    found = cost.measure(**arguments)
    assert found == asdict(cost_point(SMALL.silicon, 0, "builtin", None, None))
    assert found["um2"] > 0 and found["vectors"] >= 1 << 16 and found["energy_pj"] is None
    assert found == json.loads(json.dumps(found))


def test_the_command_computes_once_and_exports(tmp_path, capsys):
    space, store, export = (
        tmp_path / "small.toml",
        tmp_path / "store.sqlite",
        tmp_path / "out" / "export.json",
    )
    space.write_text(SPACE)
    common = [str(space), "--store", str(store), "--cost-only", "-j", "1"]
    assert main([*common, "--status"]) == 0
    assert "cost builtin: 0 there, 1 missing" in capsys.readouterr().out
    assert main([*common, "--export", str(export)]) == 0
    (point,) = json.loads(export.read_text())["points"]
    assert point["um2"] > 0 and point["commands"]["cost"].endswith(f"--only {SMALL.name} --cost-only")
    capsys.readouterr()
    assert main([*common, "--only", SMALL.name]) == 0  # nothing is left to compute
    captured = capsys.readouterr()
    assert "sweep:" not in captured.err
    assert f"{point['um2']:g} um2" in captured.out


def test_an_item_that_cannot_be_ends_with_status_1_and_its_sentence(tmp_path, capsys):
    space = tmp_path / "small.toml"
    space.write_text(SPACE + "clock_ns = 5\n")
    common = [str(space), "--store", str(tmp_path / "store.sqlite"), "--cost-only", "-j", "1"]
    assert main(common) == 1
    assert "ConfigError" in capsys.readouterr().err
    assert main([*common, "--status"]) == 0
    assert "failed:" in capsys.readouterr().out


def test_the_spaces_of_the_project_can_be_read():
    for path in (Path(__file__).parent.parent / "spaces").glob("*.toml"):
        assert main([str(path), "--list"]) == 0
