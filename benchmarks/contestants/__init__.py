"""The contestants of benchmarks/throughput.py, and what they are measured with.

``plain`` and ``strong`` are the baselines: independent code as a competent PyTorch user writes
it. They import nothing of :mod:`nas.training` or :mod:`nas.model`; ``network`` and ``recipe``
are what they share. ``ours`` is the product as it is. Left out: what is measured in which order
(benchmarks/throughput.py).
"""
