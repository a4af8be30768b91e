"""The front matter of a Markdown file as nodes of YAML, within bounds.

Only the nodes are made: the library constructs no value, so no tag makes an object and no alias is multiplied.
"""

from __future__ import annotations

import yaml
from yaml.composer import ComposerError
from yaml.reader import ReaderError

from prong.harness.rules.invalid import Problem
from prong.harness.rules.values import Paper

DEEPEST = 16
"""So deep YAML may be nested; the rules need four."""


class _Composer(yaml.SafeLoader):
    """Makes nodes; refuses to go as deep as would exhaust the stack."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.depth += 1
        if self.depth > DEEPEST:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]  # the stubs say nothing of it
            raise ComposerError(None, None, f"it is nested deeper than {DEEPEST}", mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def compose(paper: Paper) -> yaml.Node | None:
    """The node of the whole front matter, or None where there is none or where it is no YAML, which is noted."""
    try:
        loader = _Composer(paper.text)
        try:
            return loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        assert mark is not None
        paper.wrong(mark, *_told(error))
    except ReaderError as error:
        line = paper.line(error.position)
        what = f"the character U+{ord(paper.text[error.position]):04X} stands here"
        paper.problems.append(Problem(line, 1, what, "remove it; YAML takes only what can be printed"))
    return None


def _told(error: yaml.MarkedYAMLError) -> tuple[str, str]:
    """What is wrong and what would be right, for the mistakes that people make."""
    problem = error.problem or "it cannot be read"
    if r"character '\t'" in problem:
        return "a tab stands here", "YAML is indented with spaces"
    if r"character '`'" in problem or r"character '@'" in problem or r"character '%'" in problem:
        return f"this is not YAML: {problem}", "put a text that begins with such a sign in quotes"
    if "mapping values are not allowed" in problem:
        return f"this is not YAML: {problem}", 'indent lines alike, and put a text that holds ": " in quotes'
    if error.context:
        assert error.context_mark is not None
        return f"this is not YAML: {problem} ({error.context})", "look here and at the line before"
    return f"this is not YAML: {problem}", "look here and at the line before"
