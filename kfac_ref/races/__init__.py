"""The races that made K-FAC known, each by one command.

Every race has its problem (data, network, start), its contestants (optimizers at tuned
settings), and a record: one figure, and a small JSON with the numbers beside it.
"""
