"""LBANN's MNIST example: `kfac-ref train`, and its race, `--compare`."""
