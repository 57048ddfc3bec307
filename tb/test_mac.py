"""The MAC's Verilog against golden, many configurations and all pipelines in one build."""

from __future__ import annotations

from golden.catalog import find
from golden.config import Silicon
from hw.mac import Mac
from tb.bank import Bank

SEED = 20240110
COUNT = 2048

#: Every kind of accumulator, rounding, alignment and overflow, and operands of all kinds.
CONFIGURATIONS = (
    "float12",
    "float12-rne",
    "float12-g0",
    "float12-rne-g2",
    "float12-px",
    "float12-rne-px",
    "float12-g1-px",
    "float6",
    "float9-rne-g3",
    "float32",
    "float32-rne-px",
    "fixed10",
    "fixed16-wrap",
    "fixed24-rne",
    "exact",
    "int8",
    "int12-wrap",
    "int32",
    "e5m2_e4m3_p_e5m10_rne_a_e6m9b20_rz_c16",  # operands, product and accumulator all differ
    "int8_e2m1_p_e4m3_rz_a_e5m0_rne_c16",  # an integer times a float; an accumulator of powers of two
    "uint8_int8_p_exact_a_e4m3_rz_g0_c16",
    "uint4_uint4_p_exact_a_int7l2_rne_wrap_c16",  # coarser than the products
    "e1m2_e2m0_p_exact_a_int9ln2_floor_sat_c16",
    "int5ln2_e3m2_p_exact_a_int12ln6_floor_wrap_c16",
    # Subnormals, in each place and in all; the formats of others.
    "e3m4s_e3m4s_p_e4m7sb12_rz_a_e4m7sb10_rz_c16",
    "e3m4s_e3m4_p_e4m7sb12_rne_a_e4m7sb10_rne_c16",
    "e3m4s_e3m4s_p_exact_a_e4m7_rne_c16",
    "e3m4_e3m4_p_exact_a_e4m7sb10_rz_g0_c16",
    "e4m3fn_e4m3fn_p_exact_a_e5m10ieee_rne_g2_c16",
    "e5m2ieee_e4m3fn_p_e5m10ieee_rne_a_e8m23ieee_rne_c16",
    "e4m3fn_e5m2ieee_p_e4m3fn_rne_a_e4m3fn_rz_c16",
    "e3m4s_e3m4s_p_exact_a_int16ln9_rne_sat_c16",
    # Stochastic rounding, of few and many bits.
    "e3m4_e3m4_p_e4m7b12_sr4_a_e4m7b10_sr4_c16",
    "e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_sr1_c16",
    "e3m4_e3m4_p_exact_a_e4m7b10_sr12_c16",
    "e3m4_e3m4_p_e4m3b9_sr16_a_e4m7b10_sr2_g1_c16",
    "e3m4s_e3m4s_p_e4m7sb12_sr4_a_e4m7sb10_sr4_c16",
)
HARDWIRED = ("float12", "float12-rne-px", "fixed16-wrap")


def test_mac(simulate):
    silicons = [(find(name), False) for name in CONFIGURATIONS] + [(find(name), True) for name in HARDWIRED]
    lanes, about = {}, {}
    for i, (config, hardwired) in enumerate(silicons):
        silicon = config.hardwired if hardwired else config.silicon
        for stages in (0, 1, 2):
            name = f"mac_{i}_stages_{stages}"
            lanes[name] = Mac(silicon, stages, events=stages > 0)
            about[name] = describe(config.name, silicon, lanes[name])
    bank = Bank(lanes)
    parameters = {"lanes": about, "in_ports": bank.in_ports, "out_ports": bank.out_ports}
    simulate(bank, "mac_bank", "tb.mac_tests", parameters | {"seed": SEED, "count": COUNT})


def describe(config_name: str, silicon: Silicon, mac: Mac) -> dict:
    """What the testbench has to know of a lane."""
    return {
        "config": config_name,
        "hardwired": silicon.hardwired,
        "stages": mac.stages,
        "acc_lag": mac.acc_lag,
        "acc_latency": mac.acc_latency,
        "events": mac.events,
    }
