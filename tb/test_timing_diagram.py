"""The integration guide shows what the tile does now, and its instance fits the Verilog."""

from __future__ import annotations

import re
import subprocess
from xml.etree import ElementTree

from hw.register_text import register_header
from hw.tile import Tile
from hw.tile_manifest import tile_offsets
from hw.verilator_env import verilator_environment
from hw.verilog import lint_waivers, verilog_text
from tb import timing_diagram
from tb.timing_diagram import MAC, PAGE, PICTURE, TILE


def test_the_page_and_the_picture_are_current():
    text = PAGE.read_text()
    assert text == timing_diagram.page(text), "run python -m tb.timing_diagram"
    assert PICTURE.read_text() == timing_diagram.picture(), "run python -m tb.timing_diagram"
    ElementTree.fromstring(PICTURE.read_text())


def test_the_matrices_on_the_page_are_those_of_the_example():
    block = re.search(r"\n    a = .*?\n\n", PAGE.read_text(), re.DOTALL)[0]
    rows = [[part.split() for part in line.split("|")] for line in block.strip().splitlines()]
    a, b, ab = (
        [[int(number) for number in row[column]] for row in rows if len(row) > column and row[column]]
        for column in (1, 3, 5)
    )
    if len(b) < len(rows):  # the last line has no row of a
        b.append([int(number) for number in rows[-1][1]])
        a = a[:-1]
    product = timing_diagram.PRODUCT
    assert a == [[(code + 128) % 256 - 128 for code in row] for row in product.x.tolist()]
    assert b == product.w.tolist()
    assert ab == [
        [sum(x * y for x, y in zip(row, column, strict=True)) for column in zip(*b, strict=True)] for row in a
    ]


def test_the_diagram_shows_back_pressure_and_a_pause():
    samples = timing_diagram.simulate()

    def cycles(stream: str, valid: int, ready: int) -> list[int]:
        return [
            i
            for i, seen in enumerate(samples)
            if (seen[f"{stream}_tvalid"], seen[f"{stream}_tready"]) == (valid, ready)
        ]

    assert cycles("m_axis_results", 1, 0) and cycles("s_axis_weights", 1, 0)
    taken = cycles("s_axis_activations", 1, 1)
    assert taken[-1] - taken[0] >= len(taken)
    assert samples[-1]["irq"] and not samples[0]["irq"]


def test_the_instance_fits_the_verilog(tmp_path):
    """With no warning: every port is there, and of its width."""
    tile = Tile(TILE)
    instance = re.search(r"```verilog\n(.*?)```", PAGE.read_text(), re.DOTALL)[1]
    verilog = verilog_text(tile, TILE.name)
    ports = re.findall(r"^  (input|output) (\[[^\]]*\] )?(\w+);$", verilog.partition("endmodule")[0], re.M)
    names = [name for _, _, name in ports]
    declared = "\n".join(f"  {direction} {width}{name};" for direction, width, name in ports)
    (tmp_path / f"{TILE.name}.v").write_text(verilog)
    (tmp_path / f"{TILE.name}.vlt").write_text(lint_waivers(TILE.name))
    (tmp_path / "soc.v").write_text(f"module soc({', '.join(names)});\n{declared}\n{instance}endmodule\n")
    sources = [str(tmp_path / file) for file in (f"{TILE.name}.vlt", f"{TILE.name}.v", "soc.v")]
    lint = subprocess.run(
        ["verilator", "--lint-only", "-Wall", "--top-module", "soc", *sources],
        capture_output=True,
        text=True,
        check=False,
        env=verilator_environment(),
    )
    assert (lint.returncode, lint.stderr) == (0, "")


def test_the_lines_of_c_compile(tmp_path):
    lines = re.search(r"```c\n(.*?)```", PAGE.read_text(), re.DOTALL)[1]
    arguments = "volatile uint32_t *tile, uint32_t m, uint32_t n, uint32_t k"
    program = (
        f"{register_header(TILE, tile_offsets(Tile(TILE), MAC))}\nvoid start({arguments}) {{\n{lines}}}\n"
    )
    (tmp_path / "start.cpp").write_text(program)
    compiled = subprocess.run(
        [
            "c++",
            "-fsyntax-only",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-Wno-unused-function",
            tmp_path / "start.cpp",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert compiled.returncode == 0, compiled.stderr
