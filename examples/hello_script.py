"""A script for the emulator, which writes a file and ends.

Run it with: prong run --offline --script examples/hello_script.py "Say hello"
"""

from prong.agents.emulator.script import Reply, Request, Text, ToolUse, script


@script("^Say hello")
def hello(request: Request) -> Reply:
    """Writes a file, then ends; what was done is read from the conversation, so a restart needs no care."""
    if not request.exchanges():
        return Reply([ToolUse("bash", {"command": "echo hello > hello.txt"})])
    return Reply([Text("wrote hello.txt")])
