"""MCP: the primitives and tasks as tools of any agent."""
