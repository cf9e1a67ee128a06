"""Data in files: rows and episodes read a chunk at a time, and the labels that scores become."""
