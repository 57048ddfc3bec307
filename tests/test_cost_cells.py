"""Cell libraries: Liberty's functions and files, and the table that the project carries."""

import gzip
from itertools import product

import pytest

from golden.config import ConfigError
from hw.cost.cells import builtin_library, liberty_library
from hw.cost.functions import evaluate, parse_function, to_verilog, truth_table
from hw.cost.liberty import parse_liberty

PINS = ("A", "B", "C")

SMALL = """
/* a comment with { braces } */
library (small) {
  time_unit : "1ns";
  cell (NAND) {
    area : 2.0
    pin (A) { direction : input; capacitance : 0.1; timing () { values ("1, 2", "3; }"); } }
    pin (B) { direction : input; }
    pin (Y) { direction : output; function : "(A B)'"; 
              timing () { related_pin : "A"; cell_rise (t) { values ("1"); } } }
  }
  cell ("INV") { area : 1.0; pin (A) { direction : input; } pin (Y) { direction : output; function : "!A"; } }
  cell (BIG_INV) { area : 3.0; pin (A) { direction : input; }
                   pin (Y) { direction : output; function : "!A"; } }
  cell (DFF) {
    area : 5.5;
    ff (IQ, IQN) { clocked_on : "CLK"; next_state : "D"; }
    pin (CLK) { direction : input; clock : true; }
    pin (D) { direction : input; }
    pin (Q) { direction : output; function : "IQ"; }
  }
  cell (DFFR) {
    area : 6.0;
    ff (IQ, IQN) { clocked_on : "CLK"; next_state : "D"; clear : "R"; }
    pin (CLK) { direction : input; } pin (D) { direction : input; } pin (R) { direction : input; }
    pin (Q) { direction : output; function : "IQ"; }
  }
  cell (LATCH) {
    area : 4.0;
    latch (IQ, IQN) { enable : "G"; data_in : "D"; }
    pin (G) { direction : input; } pin (D) { direction : input; }
    pin (Q) { direction : output; function : "IQ"; }
  }
  cell (TRISTATE) {
    area : 4.0;
    pin (A) { direction : input; } pin (E) { direction : input; }
    pin (Z) { direction : output; function : "A"; three_state : "!E"; }
  }
  cell (HIDDEN) { area : 0.1; dont_use : true; pin (A) { direction : input; }
                  pin (Y) { direction : output; function : "!A"; } }
}
"""


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("A & B", lambda a, b, c: a and b),
        ("(A * B)", lambda a, b, c: a and b),
        ("A B", lambda a, b, c: a and b),
        ("A + B C", lambda a, b, c: a or (b and c)),
        ("(A | B) C'", lambda a, b, c: (a or b) and not c),
        ("!A B", lambda a, b, c: not a and b),
        ("!(A B)", lambda a, b, c: not (a and b)),
        ("(A+B)'", lambda a, b, c: not (a or b)),
        ("A''", lambda a, b, c: a),
        ("A & B ^ C", lambda a, b, c: a and (b != c)),
        ("A ^ B ^ C", lambda a, b, c: (a != b) != c),
        ("A | 0", lambda a, b, c: a),
        ("1", lambda a, b, c: True),
    ],
)
def test_a_function_is_read_as_liberty_means_it(text, same):
    expression = parse_function(text)
    for values in product([False, True], repeat=3):
        assert evaluate(expression, dict(zip(PINS, values, strict=True))) == same(*values), (text, values)
    verilog = to_verilog(expression).replace("1'b", "")
    for a, b, c in product([0, 1], repeat=3):
        value = eval(verilog, {"A": a, "B": b, "C": c}) & 1  # Verilog's ~ & | ^ bind as Python's do
        assert bool(value) == bool(same(a, b, c)), (verilog, a, b, c)


def test_bit_i_of_a_truth_table_is_row_i():
    assert truth_table(parse_function("A & !B"), ("A", "B")) == 0b0010
    assert truth_table(parse_function("A & !B"), ("B", "A")) == 0b0100


@pytest.mark.parametrize("text", ["", "A &", "(A", "A)", "A # B", "& A", "A ! "])
def test_what_is_no_function_is_refused(text):
    with pytest.raises(ConfigError, match="Liberty function"):
        parse_function(text)


def test_only_cells_with_a_plain_behaviour_are_read():
    name, cells = parse_liberty(SMALL)
    assert name == "small"
    assert list(cells) == ["NAND", "INV", "BIG_INV", "DFF"]
    assert cells["NAND"].area == 2.0  # no semicolon in the text
    assert cells["NAND"].inputs == ("A", "B")
    assert cells["NAND"].outputs == (("Y", "(A B)'"),)
    assert cells["DFF"].flip_flop.next_state == "D"


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "0"), (SMALL + SMALL, "2"), (SMALL.rstrip()[:-1], "ends inside"), (SMALL + "}", "closes a brace")],
)
def test_what_is_no_library_is_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_liberty(text)


def test_liberty_files_come_plain_or_gzipped_and_in_parts(tmp_path):
    plain, zipped, more = tmp_path / "small.lib", tmp_path / "small.lib.gz", tmp_path / "more.lib"
    plain.write_text(SMALL)
    zipped.write_bytes(gzip.compress(SMALL.encode()))
    more.write_text(
        "library (more) { cell (BUF) { area : 1; pin (A) { direction : input; } "
        'pin (Y) { direction : output; function : "A"; } } }'
    )
    library = liberty_library([plain])
    assert library.fingerprint == liberty_library([zipped]).fingerprint
    assert (library.nand2_um2, library.inverter.name) == (2.0, "INV")
    both = liberty_library([more, plain])
    assert both.fingerprint == liberty_library([plain, more]).fingerprint
    assert set(both.cells) == {"NAND", "INV", "BIG_INV", "DFF", "BUF"}
    with pytest.raises(ConfigError, match="once more"):
        liberty_library([plain, zipped])
    with pytest.raises(ConfigError, match="no flip-flop"):
        liberty_library([more])
    with pytest.raises(ConfigError, match=r"absent\.lib cannot be read: No such file"):
        liberty_library([tmp_path / "absent.lib"])
    zipped.write_bytes(zipped.read_bytes()[:100])
    with pytest.raises(ConfigError, match="cannot be read"):
        liberty_library([zipped])


def test_a_model_says_what_the_cell_does():
    library = builtin_library()
    assert library.model("sky130_fd_sc_hd__edfxtp_1").splitlines() == [
        "module sky130_fd_sc_hd__edfxtp_1(CLK, D, DE, Q);",
        "  input CLK;",
        "  input D;",
        "  input DE;",
        "  output Q;",
        "  reg IQ;",
        "  wire IQ_N = ~IQ;",
        "  always @(posedge CLK) IQ <= ((D & DE) | (IQ & ~DE));",
        "  assign Q = IQ;",
        "endmodule",
    ]
    with pytest.raises(ConfigError, match="does not state"):
        library.model("sky130_fd_sc_hd__unheard_of")


def test_the_table_is_a_library_of_its_own():
    library = builtin_library()
    assert library.nand2_um2 == 3.7536
    assert library.inverter.name == "sky130_fd_sc_hd__inv_1"
    assert not library.has_timing
    _, cells = parse_liberty(library.texts[0])
    assert cells == library.cells  # the text that the mapper reads says the same
    assert sorted(cell.area for cell in cells.values() if cell.flip_flop) == [20.0192, 30.0288]
