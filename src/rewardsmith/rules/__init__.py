"""Pure functions of one row's text. They import neither torch nor anything of ours from above."""
