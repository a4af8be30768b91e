"""Routing: PRONG.md chooses the role of each task, by its words, or by the type that another agent has given it.

Run it with: python examples/routing.py
"""

import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from prong.harness import Swarm

RULES = """---
roles:
  writer: {description: Writes for people.}
  auditor: {description: Looks for holes.}
route:
  type: {docs: writer, security: auditor}
  match: {"*password*": auditor}
---
"""
TYPES = {"enum": ["docs", "security", "other"]}
GIT = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org"]

if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        Path(folder, "PRONG.md").write_text(RULES)
        for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "Begin"]):
            subprocess.run([*GIT, *words], cwd=folder, check=True)
        with Swarm(folder, offline=True) as swarm:
            list(swarm.map("Look at {item}", ["how a password is kept", "the greeting"]))
            question = "Tell how to install it"
            kind = swarm.submit(f"Of which type is this task: {question}", schema=TYPES, title="ask").result()
            swarm.submit(question, type=kind).result()
            for task in swarm.cost().tasks:
                print(f"{task.title}: {task.role or 'no role'}")
