"""What runs inside the sandbox: the standard library only, and nothing outside this folder.

The folder is mounted there as a package of its own, so its modules import each other relatively.
"""
