"""Preflight: what would go wrong in a run, found at the site before anybody waits for it.

Every check is a file in `checks/` and looks at one thing. It reads the site's folder and, if told where
the coordinator is, measures the way there. Nothing about patients leaves: what is found is shown to the
site's own operator, and which patients it concerns only on request. `dry_run` plays a whole plan without
any hospital, `round_advice` chooses how long rounds are. Read in this order: `finding`, `premises`,
`checks`, `examination`, `cli`.
"""
