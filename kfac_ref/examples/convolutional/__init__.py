"""The race on a convolutional net: `kfac-ref race convolutional`."""
