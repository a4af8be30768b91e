"""Which calls of tools are let through, asked about or refused: rules, and what a command for bash does."""
