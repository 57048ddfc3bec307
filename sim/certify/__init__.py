"""Certificates: what an accumulator can and cannot do to a network, proved from its weights.

``python -m sim.certify MODEL --config C`` writes one; ``check_fixed.py`` and ``check_float.py`` check it and
share no code with the project. docs/certificates.md has the derivations.
"""
