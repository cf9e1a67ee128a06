"""Compare rewards by training under them: ``study.yaml`` in, a verdict and a report out."""
