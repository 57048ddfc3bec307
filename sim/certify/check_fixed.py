"""Checks a certificate of fixed-point accumulators: python check_fixed.py CERTIFICATE.json

Derives every claim again from the integer weights beside the certificate, with the standard library alone.
Prints a line for each layer; the exit status is 0 if every claim holds, else 1. See docs/certificates.md.
"""

import array
import hashlib
import json
import sys
from fractions import Fraction
from pathlib import Path


def cut(integer, shift, rounding):
    """An integer over 2**shift, rounded."""
    if shift <= 0:
        return integer << -shift
    if rounding == "rz":
        return integer >> shift if integer >= 0 else -(-integer >> shift)
    return (integer + (rounding == "rne") * ((1 << shift - 1) - 1 + (integer >> shift & 1))) >> shift


def bits(low, high):
    """Of the narrowest two's complement that holds from low, not above 0, to high, not below 0."""
    return 1 + max(1, high.bit_length(), (-1 - low).bit_length() if low else 0)


def derive(layer, rows, low, high):
    """What is claimed for inputs from low to high; a row has the least and the greatest of each weight."""
    inner, outer, chunk = layer["inner"], layer["outer"], layer["chunk"]
    limits = [(-(2 ** (each["bits"] - 1)), 2 ** (each["bits"] - 1) - 1) for each in (inner, outer)]
    unit = layer["x"]["lsb"] + layer["w"]["lsb"]
    shifts = inner["lsb"] - unit, outer["lsb"] - inner["lsb"]
    lost = [2 ** max(shift, 0) - 1 for shift in shifts]  # of a unit, by one cut
    found = {}
    for row in rows:
        corners = [(0, low * p, low * q, high * p, high * q) for p, q in row]
        ends = [[cut(side(each), shifts[0], inner["rounding"]) for each in corners] for side in (min, max)]
        parts = [[sum(each[j : j + chunk]) for j in range(0, len(row), chunk)] for each in ends]
        reach = min(parts[0]), max(parts[1])
        if inner["overflow"] == "sat" or (limits[0][0] <= reach[0] and reach[1] <= limits[0][1]):
            parts = [[min(max(each, limits[0][0]), limits[0][1]) for each in part] for part in parts]
        else:  # what has wrapped can be anything
            parts = [[limit] * len(part) for part, limit in zip(parts, limits[0], strict=True)]
        outers = [sum(cut(each, shifts[1], outer["rounding"]) for each in part) for part in parts]
        inexact = sum(p != q or p % (lost[0] + 1) > 0 for p, q in row)
        error = inexact * lost[0] + len(parts[0]) * lost[1] * Fraction(2) ** shifts[0]
        for kind, pair in (("", (sum(ends[0]), sum(ends[1]))), ("chunk_", reach), ("outer_", outers)):
            found.setdefault(kind + "low", []).append(pair[0])
            found.setdefault(kind + "high", []).append(pair[1])
            found.setdefault(kind + "widths", []).append(bits(*pair))
        found.setdefault("error", []).append(error * Fraction(2) ** unit)
    for kind, (least, most) in zip(("", "chunk_", "outer_"), (limits[0], *limits), strict=True):
        found[kind + "fits"] = least <= min(found[kind + "low"]) and max(found[kind + "high"]) <= most
    least, most = limits[1]
    found["fits"] &= shifts[1] == 0 and least <= min(found["low"]) and max(found["high"]) <= most
    return found


def wrong(layer, tensors):
    """What of a layer does not hold."""
    x, w, length = layer["x"], layer["w"], layer["length"]
    rows = [[(w["low"], w["high"])] * length]
    if layer["tensor"]:
        digest, values = tensors[layer["tensor"]]
        rows = [[(v, v) for v in values[i : i + length]] for i in range(0, len(values), length)]
        if (digest, len(rows)) != (layer["sha256"], layer["channels"]):
            yield "weights"
    if any(p < w["low"] or w["high"] < q for row in rows for p, q in row):
        yield "range of weights"
    for name, claim in ((name, layer["claims"][name]) for name in ("format", "calibrated")):
        low, high = claim["x_range"]
        whole = low == x["low"] and high == x["high"]
        if not x["low"] <= low <= 0 <= high <= x["high"] or (name == "format" and not whole):
            yield f"{name}: x_range"
        for key, value in derive(layer, rows, low, high).items():
            enough = key == "error" and all(p >= q for p, q in zip(claim[key], value, strict=True))
            if claim[key] != value and not enough:
                yield f"{name}: {key}"


def main(path):
    certificate = json.loads(path.read_text())
    data = path.with_name(certificate["weights"]).read_bytes()
    start, tensors, bad = 8 + int.from_bytes(data[:8], "little"), {}, 0
    for name, about in json.loads(data[8:start]).items():
        content = data[start:][slice(*about["data_offsets"])]
        code = {"I8": "b", "I16": "h", "I32": "i", "I64": "q"}[about["dtype"]]
        tensors[name] = hashlib.sha256(content).hexdigest(), array.array(code, content)
    for layer in certificate["layers"]:
        problems = list(wrong(layer, tensors))
        print(f"{layer['name']}: {'does not hold: ' + ', '.join(problems) if problems else 'holds'}")
        bad += bool(problems)
    return bad > 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
