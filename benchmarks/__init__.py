"""Speed and memory, measured side by side in one run: `make bench`, or `python -m benchmarks NAME ...`.

Machines are shared and noisy, so what counts are ratios between things measured in turns, and medians of rounds.
"""
