"""A program: one agent for each file, and the sum of what they say.

Run it with: prong exec --offline --script examples/count_lines_script.py examples/count_lines_program.py
"""

import sys
from pathlib import Path

from prong.harness.program import create_task, wait

files = sys.argv[1:] or sorted(str(file) for file in Path("examples").glob("hello*.py"))
tasks = [create_task(f"Count the lines of {file}.") for file in files]
counts = [int(task.result or 0) for task in wait(tasks)]
for file, count in zip(files, counts, strict=True):
    print(f"{file}: {count}")
print(f"together: {sum(counts)}")
