"""Imports run one way: golden.config knows nothing, hw knows no torch, nobody needs sim."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def imported_by(path: Path) -> set[str]:
    """Top-level names of the modules that a file imports, at whatever depth it does so."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
    return names


def files(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found, f"no file in {folder}/"
    return found


@pytest.mark.parametrize("module", ["formats", "quantizers", "config", "datapath", "tile", "catalog"])
def test_the_configuration_needs_the_standard_library_only(module):
    allowed = set(sys.stdlib_module_names) | {"golden"}
    names = {name.split(".")[0] for name in imported_by(ROOT / "golden" / f"{module}.py")}
    assert names <= allowed, names - allowed


@pytest.mark.parametrize("path", files("hw"), ids=lambda path: path.stem)
def test_hardware_imports_neither_torch_nor_sim(path):
    roots = {name.split(".")[0] for name in imported_by(path)}
    assert not roots & {"torch", "sim", "tb", "tests"}


@pytest.mark.parametrize("path", files("golden"), ids=lambda path: path.stem)
def test_golden_imports_nothing_of_ours_but_itself(path):
    roots = {name.split(".")[0] for name in imported_by(path)}
    assert not roots & {"hw", "sim", "tb", "tests"}


def test_the_generator_runs_where_torch_cannot_be_imported():
    program = "import sys; sys.modules['torch'] = None; import hw.generate, hw.cost.synth"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
