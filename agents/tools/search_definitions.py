"""What the model reads about `grep` and `glob`, and the bounds that it is told of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

RESULTS_DEFAULT = 200
"""How many results a search shows if the model does not say."""
RESULTS_MOST = 2_000
"""How many results a search shows at the most."""
RESULT_CHARACTERS = 30_000
"""How long the answer of a search is at the most, in characters."""
LINE_CHARACTERS = 400
"""How much of a matching line is shown, in characters."""
CONTEXT_LINES = 100
"""How many lines before or after a match are shown at the most."""
PATTERN_CHARACTERS = 4_096
"""The longest pattern or path, in characters."""
ALTERNATIVES = 64
"""How many patterns the braces of one may stand for."""

MODES = ("content", "files", "count")

TYPES: Final[Mapping[str, tuple[str, ...]]] = {
    "c": ("*.c", "*.h"),
    "cpp": ("*.cpp", "*.cc", "*.cxx", "*.hpp", "*.hh", "*.hxx", "*.h", "*.inl"),
    "cs": ("*.cs",),
    "css": ("*.css", "*.scss", "*.sass", "*.less"),
    "go": ("*.go",),
    "html": ("*.html", "*.htm"),
    "java": ("*.java",),
    "js": ("*.js", "*.jsx", "*.mjs", "*.cjs", "*.vue"),
    "json": ("*.json", "*.jsonl"),
    "kotlin": ("*.kt", "*.kts"),
    "lua": ("*.lua",),
    "md": ("*.md", "*.markdown", "*.mdx"),
    "php": ("*.php",),
    "py": ("*.py", "*.pyi"),
    "rst": ("*.rst",),
    "ruby": ("*.rb", "*.gemspec", "Gemfile", "Rakefile"),
    "rust": ("*.rs",),
    "scala": ("*.scala",),
    "sh": ("*.sh", "*.bash", "*.zsh"),
    "sql": ("*.sql",),
    "swift": ("*.swift",),
    "toml": ("*.toml",),
    "ts": ("*.ts", "*.tsx", "*.mts", "*.cts"),
    "txt": ("*.txt",),
    "xml": ("*.xml",),
    "yaml": ("*.yaml", "*.yml"),
}
"""What `type` stands for."""

_PATH = {
    "type": "string",
    "description": "File or directory to search in, relative to the workspace. Default: the whole workspace.",
}
_MAX_RESULTS = {
    "type": "integer",
    "description": (
        f"How many results to show, from 1 to {RESULTS_MOST}; the total is always told. Default: {RESULTS_DEFAULT}."
    ),
}

GREP: Final[Mapping[str, Any]] = {
    "name": "grep",
    "description": (
        "Search the contents of the workspace's files, new ones included and ignored ones not. Use it whenever you "
        "look for where something is defined, used or mentioned, before you open files; it is faster than grep in bash "
        "and tells how much it left out, so that it costs little context. Begin with mode files where you expect many "
        "matches. Use glob to find files by name, and bash to search ignored files or outside of the workspace."
    ),
    "strict": True,
    "input_schema": {
        "type": "object",
        "properties": {
            "pattern": {
                "type": "string",
                "description": (
                    r"Perl-compatible regular expression, matched line by line: a|b, \d+, \bword\b, (?:…), (?=…). A "
                    r"literal ( [ { * + ? . | needs a backslash."
                ),
            },
            "path": _PATH,
            "glob": {
                "type": "string",
                "description": (
                    "Search only files whose path matches, for example *.py (at any depth), src/**/*.ts or *.{js,jsx}; "
                    "with ! in front only the others."
                ),
            },
            "type": {
                "type": "string",
                "enum": list(TYPES),
                "description": "Search only files of this kind, by their endings; instead of `glob`.",
            },
            "mode": {
                "type": "string",
                "enum": list(MODES),
                "description": (
                    "content: matching lines with file and line number (default). files: only the names of files that "
                    "match. count: matching lines per file."
                ),
            },
            "fixed": {"type": "boolean", "description": "Take the pattern as plain text, not as a regular expression."},
            "ignore_case": {"type": "boolean", "description": "Let upper and lower case match each other."},
            "multiline": {
                "type": "boolean",
                "description": "Let a match span lines: . matches line breaks too, ^ and $ match at each line. Slower.",
            },
            "before": {"type": "integer", "description": "For content: show so many lines before each match."},
            "after": {"type": "integer", "description": "For content: show so many lines after each match."},
            "context": {"type": "integer", "description": "For content: so many before and after each match."},
            "max_results": _MAX_RESULTS,
        },
        "required": ["pattern"],
        "additionalProperties": False,
    },
    "input_examples": [
        {"pattern": r"def \w+_tool\(", "type": "py", "context": 2},
        {"pattern": "TODO", "glob": "src/**", "mode": "count"},
        {"pattern": r"class \w+:\n\s+pass", "multiline": True, "mode": "files"},
    ],
}

GLOB: Final[Mapping[str, Any]] = {
    "name": "glob",
    "description": (
        "List the workspace's files whose path matches a pattern, the newest first, new ones included and ignored ones "
        "not. Use it when you know or guess a file's name or kind, or to learn how the project is laid out; it costs "
        "only the names it lists. Use grep to search in contents."
    ),
    "strict": True,
    "input_schema": {
        "type": "object",
        "properties": {
            "pattern": {
                "type": "string",
                "description": (
                    "Path pattern from the top of the workspace (or of `path`): * and ? match within one name, ** any "
                    "number of directories, {a,b} alternatives: **/*.py, src/**, docs/*.{md,rst}. A pattern without / "
                    "matches only files at the top."
                ),
            },
            "path": {**_PATH, "description": "Directory to search in, relative to the workspace. Default: all of it."},
            "max_results": _MAX_RESULTS,
        },
        "required": ["pattern"],
        "additionalProperties": False,
    },
}
