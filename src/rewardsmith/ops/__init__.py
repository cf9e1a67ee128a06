"""Pieces that siblings share: running moments."""
