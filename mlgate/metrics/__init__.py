"""How good answers are: every quality metric once, alone or paired, with its interval.

Used by every stage that looks at a model's answers. `values` holds plain functions of arrays,
`tasks` says which of them a task has, `scoring` makes evidence of them, `custom` calls metrics of
a user's own, and `options` is what a spec says of all that.
"""
