"""Checks a certificate of floating-point accumulators: python check_float.py CERTIFICATE.json

Derives every claim again from the integer weights beside the certificate, with the standard library alone.
Prints a line for each layer; the exit status is 0 if every claim holds, else 1. See docs/certificates.md.
"""

import array
import hashlib
import json
import math
import sys
from fractions import Fraction
from pathlib import Path

TWO = Fraction(2)


def derive(layer, rows, low, high):
    """What is claimed for inputs from low to high; a row has the least and the greatest of each weight."""
    x, w, free, count = layer["x"], layer["w"], not layer["tensor"], layer["length"]
    stages = {name: dict(layer[name]) for name in ("product", "inner", "outer") if layer[name]}
    unit, taken = TWO ** (x["lsb"] + w["lsb"]), x["bits"] + w["bits"]
    chunks = [range(j, min(j + layer["chunk"], count)) for j in range(0, count, layer["chunk"])]
    for each in stages.values():
        guard = math.inf if each["guard"] is None else each["guard"]
        u = TWO ** (1 - each["bits"] - (each["rounding"] == "rne"))
        each["up"], each["down"] = 1 + u * (each["rounding"] != "rz"), 1 - u
        each["small"], each["top"] = (each[key] * TWO ** each["lsb"] for key in ("least", "high"))
        each["first"], each["cuts"] = taken <= each["bits"], taken > each["bits"] + guard
        each["lost"] = 0 if guard == math.inf else (1 + each["cuts"]) * TWO ** (1 - each["bits"] - guard)
        taken = each["bits"]
    inner, outer, product = stages["inner"], stages["outer"], stages.get("product", {"up": 1, "down": 1})
    # Additions that may round a product: in its chunk, and in the outer accumulator.
    steps = [(p.stop - k - (k == p.start and inner["first"]), len(chunks) - j - (j == 0 and outer["first"]))
             for j, p in enumerate(chunks) for k in p]  # fmt: skip
    most = tuple(map(max, zip(*steps, strict=True)))
    up, down = ({(p, q): product[way] * inner[way] ** p * outer[way] ** q for p, q in {*steps, most}}
                for way in ("up", "down"))  # fmt: skip
    grown = up[most]
    aligned = {(p, q): grown**2 * (inner["lost"] * p + outer["lost"] * q) for p, q in up}
    shares = [math.ceil((max(up[each] - 1, 1 - down[each]) + aligned[each]) * 2**60) for each in steps]
    found = {"gamma": Fraction(max(shares), 2**60), "eta": 0, "error": [], "possible": set()}
    for row in rows:
        corners = [(0, low * p, low * q, high * p, high * q) for p, q in row]
        ends = [list(map(min, corners)), list(map(max, corners))]
        sizes = [max(-p, q) for p, q in zip(*ends, strict=True)]
        leasts = [w["least"] if free else abs(p) for p, _ in row if free or p] or [2**60]
        every = 1 if free else math.gcd(*leasts)
        quantum, slips, possible = unit * (every & -every), 0, found["possible"]
        for name, each in stages.items():
            times = (quantum < each["small"]) * (len(leasts) if name == "inner" else len(chunks))
            if name == "product":
                normal = TWO ** (each["lsb"] + each["bits"] - 1) if each["subnormals"] else each["small"]
                times = sum(map(math.ceil(normal / (x["least"] * unit)).__gt__, leasts))
            possible |= {f"{name} underflow"} if times or each["cuts"] else set()
            slips, quantum = slips + times * each["small"], max(quantum, TWO ** each["lsb"])
        eta = slips * grown * (1 + grown * (inner["lost"] * count + outer["lost"] * len(chunks)))
        found["error"].append(sum(map(int.__mul__, shares, sizes)) * unit / 2**60 + eta)
        found["eta"] = max(found["eta"], eta)
        reach = [grown * (max(abs(sum(end[p.start : p.stop])) for end in ends) * unit + (grown > 1) * slips)
                 for p in (*chunks, range(count))]  # fmt: skip
        most = {"product": max(sizes) * unit, "inner": max(reach[:-1]), "outer": reach[-1]}
        possible |= {f"{name} overflow" for name, each in stages.items() if most[name] > each["top"]}
        possible |= {"any order"} if reach[-1] > min(inner["top"], outer["top"]) else set()
    return found


def main(path):
    certificate, bad = json.loads(path.read_text()), False
    data = path.with_name(certificate["weights"]).read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    for layer in certificate["layers"]:
        x, w, length, wrong = layer["x"], layer["w"], layer["length"], []
        rows = [[(w["low"], w["high"])] * length]
        if layer["tensor"]:
            about = json.loads(data[8:start])[layer["tensor"]]
            content = data[start:][slice(*about["data_offsets"])]
            values = array.array({"I8": "b", "I16": "h", "I32": "i", "I64": "q"}[about["dtype"]], content)
            rows = [[(v, v) for v in values[i : i + length]] for i in range(0, len(values), length)]
            wrong += [] if hashlib.sha256(content).hexdigest() == layer["sha256"] else ["weights"]
        if any(p < w["low"] or w["high"] < q for row in rows for p, q in row):
            wrong.append("range of weights")
        for name, claim in ((name, layer["claims"][name]) for name in ("format", "calibrated")):
            low, high = claim["x_range"]
            inside = x["low"] <= low <= 0 <= high <= x["high"]
            if not inside or (name == "format" and (low, high) != (x["low"], x["high"])):
                wrong.append(f"{name} x_range")
            found = derive(layer, rows, low, high)
            wrong += [f"{name} {key}" for key in ("gamma", "eta") if claim[key] < found[key]]
            if any(p < q for p, q in zip(claim["error"], found["error"], strict=True)):
                wrong.append(f"{name} error")
            wrong += [f"{name} {each}" for each in sorted(found["possible"] - set(claim["possible"]))]
        print(f"{layer['name']}: {'does not hold: ' + ', '.join(wrong) if wrong else 'holds'}")
        bad |= bool(wrong)
    return bad


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
