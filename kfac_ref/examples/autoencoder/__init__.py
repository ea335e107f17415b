"""The race on a deep autoencoder: `kfac-ref race autoencoder`."""
