"""Tools that search for a quantized model under an accuracy goal, one adapter each.

An adapter is run by the Python of the tool's own virtual environment, in a process of its own, as
`python -m tests.benchmarks.peers.<name>`; `quantize_peers.py` does that.
"""
