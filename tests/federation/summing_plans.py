"""Plans whose every modality has enough hospitals for a secure sum."""

from tiny_plans import group, patients_of, tiny_plan

from lego_core.plan import RunPlan

GROUPS = (
    group("clinic", "clinical", hospitals=3),
    group("lab", "blood", hospitals=3),
    group("teaching", "clinical", "blood", hospitals=3, share=2, split=(0.3, 0.35, 0.35)),
)
CLINICS, LABS, TEACHING = range(3), range(3, 6), range(6, 9)


def summing_plan(kind: str = "secure-sum", changes: str = "", *, privacy: str = "") -> RunPlan:
    """Nine hospitals; the same plan with and without privacy differs in nothing else."""
    return tiny_plan(f"""
        [privacy]
        kind = "{kind}"
        {privacy}
        [fuse]
        rounds = 1
        {changes}
        {patients_of(*GROUPS, patients=720)}
    """)
