"""Whole programs built from the package: the demo, and three races.

    demo/            the exact Fisher of a small net beside every approximation
    autoencoder/     race: a deep autoencoder; K-FAC, SGD with momentum, Adam
    convolutional/   race: a residual net, with the options of TensorFlow K-FAC's guide
    lbann/           LBANN's MNIST example, and a race at its settings and at tuned ones
    contest.py       the engine of the races
    images.py        labelled images that the races classify
    running.py       progress, figures and a file of numbers

A race's folder holds what is its own: the problem (data, net, what is looked at), the
contestants with their settings, and what it prints, draws and records.
"""
