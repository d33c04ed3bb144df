"""A rollout: traffic moves to a new version step by step, and comes back when harm is proven.

`engine` judges and touches nothing; `journal` remembers; `progress` says what comes next;
`controller` does it, through a router (`routers`), on what a source (`sources`) saw.
"""
