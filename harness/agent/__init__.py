"""The process of one agent: what all share before the fork, and what one does after it."""
