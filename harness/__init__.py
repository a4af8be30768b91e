"""The whole: scheduler, supervisor, workspaces, merging, command line."""
