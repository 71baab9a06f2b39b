"""Judges score answers: how much of a trait they show, how coherent they are, whether they engage. `base` holds their common interface.

`opening` opens a judge from `material`; `waiting` waits for its scores. The `reference` judge is fitted: `elicited`, `trait_classifier` and
`coherence` (with `ranking`) make its parts, `preparing` and `keeping` store them. `phrases` judges refusal beside it. Judge models are asked by
`prompts` and read by `replies`: at an endpoint (`openai`, `endpoint`, `reaching`) or on this device (`local`, `prefix_tree`). `held_out` and
`agreement` measure how far a judge can be trusted.
"""
