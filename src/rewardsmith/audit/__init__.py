"""Judging rewards: hacking verdicts. Nothing is imported here, so that the package stays lazy."""
