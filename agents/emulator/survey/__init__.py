"""What `prong run --offline` plays instead of a model: a survey of the repository, made by fixed rules.

    root    look, divide, create_task for every part, wait_tasks, read what was found, write SURVEY.md
    child   measure, share, add to the index under a lock, meet at a barrier, compare, report

It calls the tools that a model would call, and never claims to be one.
"""

from prong.agents.emulator.script import Script
from prong.agents.emulator.survey.play import play

SCRIPTS: tuple[Script, ...] = (Script("survey", "", play),)
