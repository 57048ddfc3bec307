"""Networks that others trained: ResNets for CIFAR-10, and MiniLM, a small BERT for sentences."""
