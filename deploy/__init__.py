"""Real sites. `python -m deploy`: keys, certificates and papers of a federation between institutions.

Read in this order: `federation` (what everybody may know), `coordinator` (its folder), `authority`
(certificates), `node_key` and `request` (a site asks to join), `approval`, `departure`, `renewal`, `kit`.
"""
