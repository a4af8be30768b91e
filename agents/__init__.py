"""One agent: its conversation, its model, its tools, its process."""
