"""The SDK's types of requests, without the rest of the SDK.

To import them by their own names means to import all of the SDK first: three thousand modules, a second or more.  They
need four hundred.  So the SDK's files are imported here below a name of ours, where its packages are empty and find
each module on demand; whoever imports the SDK itself finds it whole.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

NAME = "prong_request_types"
# The packages whose contents, taken together, are the whole SDK.
_EMPTY = ("", ".types", ".types.beta", ".types.shared")


def request_types(module: str) -> ModuleType:
    """A module of the SDK by its name in it, such as `types.beta.message_create_params`.

    Raises ImportError where there is no SDK or no such module in it.
    """
    if NAME not in sys.modules:
        spec = importlib.util.find_spec("anthropic")
        if spec is None or spec.origin is None:
            raise ImportError("the package `anthropic` is not installed; install it with: pip install anthropic")
        root = Path(spec.origin).parent
        for name in _EMPTY:
            package = ModuleType(NAME + name)
            package.__path__ = [str(root.joinpath(*name.split(".")))]
            sys.modules[package.__name__] = package
    return importlib.import_module(f"{NAME}.{module}")
