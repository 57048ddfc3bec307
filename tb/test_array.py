"""Systolic arrays against golden: formats, pipelines, chunks of several passes, stalls, reset."""

from __future__ import annotations

from dataclasses import asdict

from golden.catalog import find
from golden.config import ArrayConfig, MacConfig
from hw.array import SystolicArray
from tb.array_jobs import Shape
from tb.bank import Bank

SEED = 19580912
JOBS = 24

#: Cannot overflow; all the others must.
EXACT = "e3m4_e3m4_p_exact_a_int37ln14_rz_wrap_c4"

#: Configuration, hardwired, (rows, cols, stages, depth), events. A chunk takes chunk_size / rows passes.
ARRAYS = (
    ("e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_rz_c4", False, (4, 3, 0, 8), True),
    ("e3m4_e3m4_p_e4m7b12_rne_a_e4m7b10_rne_c8", False, (4, 3, 1, 5), False),
    ("e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_rz_g0_c4", False, (2, 2, 2, 4), True),
    ("e3m4_e3m4_p_exact_a_e4m7b10_rne_g1_c3", True, (3, 2, 1, 3), False),
    ("e3m4_e3m4_p_exact_a_int16ln9_rz_wrap_c3", False, (3, 2, 2, 4), True),
    ("e3m4_e3m4_p_exact_a_int10ln3_rne_sat_c6", False, (2, 4, 1, 6), False),
    (EXACT, False, (4, 2, 1, 4), True),
    ("int8_int8_p_exact_a_int12_floor_sat_c4", False, (4, 3, 2, 5), False),
    ("uint8_int8_p_exact_a_int16_floor_wrap_c4", False, (1, 2, 0, 2), True),
    ("int8_int8_p_exact_a_int12_floor_sat_c2_o_int16l2_rne_sat", False, (2, 3, 1, 4), False),
    ("int8_int8_p_exact_a_int16_floor_sat_c6_o_e5m10_rne", False, (3, 2, 0, 4), True),
    ("e3m4_e3m4_p_e4m3b9_rz_a_e4m7b10_rz_c4_o_int20ln10_rz_sat", False, (4, 2, 0, 4), False),
    ("e3m4_e3m4_p_e4m3b9_rne_a_e4m3b10_rz_c5_o_e5m10b20_rne_g2", False, (1, 1, 1, 3), True),
    ("e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_rz_c2", False, (1, 1, 2, 1), False),
    ("e3m4_e3m4_p_exact_a_int16ln9_rz_sat_c1", False, (1, 1, 0, 1), True),
    ("e3m4_e3m4_p_e4m7b12_sr4_a_e4m7b10_sr3_c4", False, (4, 3, 1, 6), True),
    ("e3m4_e3m4_p_e4m7b12_sr1_a_e4m7b10_rz_c4_o_e5m9b20_sr8", False, (2, 2, 2, 4), False),
    ("e3m4_e3m4_p_exact_a_e4m7b10_sr2_g1_c3_o_int16ln9_rz_sat", True, (1, 3, 0, 3), False),
    ("e3m4s_e3m4s_p_e4m7sb12_rne_a_e4m7sb10_rne_c4", False, (4, 2, 1, 4), True),
    ("e4m3fn_e5m2ieee_p_exact_a_e5m10ieee_rne_c4_o_e8m23ieee_rne", False, (2, 2, 0, 5), True),
)


def test_array(simulate):
    lanes, shapes = {}, {}
    for i, (name, hardwired, (rows, cols, stages, depth), events) in enumerate(ARRAYS):
        mac = find(name)
        config = ArrayConfig(
            silicon=mac.hardwired if hardwired else mac.silicon,
            rows=rows,
            cols=cols,
            stages=stages,
            depth=depth,
            events=events,
        )
        lanes[f"array_{i}"] = SystolicArray(config)
        shapes[f"array_{i}"] = asdict(describe(mac, lanes[f"array_{i}"]))
    bank = Bank(lanes)
    parameters = {"lanes": shapes, "in_ports": bank.in_ports, "out_ports": bank.out_ports}
    simulate(
        bank, "array_bank", "tb.array_tests", parameters | {"seed": SEED, "jobs": JOBS, "exact": [EXACT]}
    )


def describe(mac: MacConfig, array: SystolicArray) -> Shape:
    """What the testbench has to know of an array."""
    config = array.config
    return Shape(
        config=mac.name,
        hardwired=config.silicon.hardwired,
        rows=config.rows,
        cols=config.cols,
        stages=config.stages,
        depth=config.depth,
        events=config.events,
        job_fields={name: [field.offset, field.width] for name, field in array.job.payload.shape()},
    )
