"""The work of a steering job, from vectors and questions to runs and their summary. Uses the model, the science and a judge; no SQL, no HTTP.

In the order of a job: `questions`, `vectors` (which makes `subjects`) and `units` make the inputs of `setup`. `stages` calls `searching`,
`matching`, `reporting`, `reference_protocol` and `offtarget`; they plan `runs` by an `intervention`, `evaluator` answers and judges them, and
`groups` holds the results. `outcome` makes the files: summary.json by `summary` and `effects`, runs.jsonl and responses.jsonl by `lines` and
`roles`, results.jsonl by `results_file`. `rescoring` makes the summary again from new scores.
"""
