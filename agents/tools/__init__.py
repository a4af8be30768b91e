"""The tools that touch a workspace: a shell, an editor, and search."""
