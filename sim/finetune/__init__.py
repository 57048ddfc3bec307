"""Fine-tuning through narrow accumulators: ``python -m sim.finetune``."""
