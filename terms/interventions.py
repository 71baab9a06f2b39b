"""Operations of a push on a value, and the tokens that it changes (docs/science.md, 4.1)."""

from typing import Literal, get_args

Operation = Literal["add", "ablate", "norm_match"]
OPERATIONS: tuple[Operation, ...] = get_args(Operation)

Scope = Literal["all", "prompt", "response"]
"""The tokens that are changed: all, the prompt's, or the answer's."""
SCOPES: tuple[Scope, ...] = get_args(Scope)
