"""Outside agents as workers: command lines such as Claude Code's that a task runs instead of asking a model."""
