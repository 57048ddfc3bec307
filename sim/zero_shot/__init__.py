"""Pretrained networks on narrow accumulators, without retraining: ``python -m sim.zero_shot``."""
