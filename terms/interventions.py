"""What a push does to a value, and to which tokens (docs/science.md, 4.1)."""

from typing import Literal, get_args

Operation = Literal["add", "ablate", "norm_match"]
OPERATIONS: tuple[Operation, ...] = get_args(Operation)

Scope = Literal["all", "prompt", "response"]
"""The tokens that are changed: all of them, the prompt's, or the answer's."""
SCOPES: tuple[Scope, ...] = get_args(Scope)
