"""Real sites. `python -m deploy`: a federation between institutions, from its keys to its runs.

Papers, in this order: `federation` (what everybody may know), `coordinator` (its folder), `authority`
(certificates), `node_key` and `request` (a site asks to join), `approval`, `departure`, `renewal`, `kit`.
Code: `code_bundle`, `approved_code`. Programs: `superlink` behind `proxy`, and `supernode`, each a `service`.
Then `run`, and `demo`, which does all of it. `targets`: the programs under compose, systemd or Kubernetes.
"""
