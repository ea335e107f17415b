"""kfac_ref: the reference implementation of K-FAC."""
