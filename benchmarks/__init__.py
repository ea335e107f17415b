"""Speed of kfac_ref: each task beside the least that it can cost, in the same run.

straight.py   the same mathematics in plain NumPy, without kfac_ref
cases.py      the tasks: ours, the baseline, the bound on the ratio; some of the nets
              are in kfac_ref/gpu/tasks.py, since `kfac-ref gpu` times them on a GPU
peers.py      the same tasks by other libraries, if they are installed
measure.py    interleaved timing
worker.py     one task in its own process
report.py     the tables
"""
