"""A made-up dataset and a plan small enough for a test, as the files that a user would write."""

TASKS = {
    "survival": '{ kind = "survival" }',
    "class": '{ kind = "classification", classes = ["no", "yes"] }',
}


def tiny_dataset(*modalities: str, patients: int, outcome: str = '{ kind = "survival" }') -> str:
    """Tables of three features, one for each modality."""
    tables = [f'[modalities.{modality}]\nlayout = "table"\nfeatures = 3' for modality in modalities]
    return "\n".join(['kind = "synthetic"', f"patients = {patients}", f"outcome = {outcome}", *tables, ""])


def tiny_plan(*modalities: str, task: str = TASKS["survival"], depth: int = 1) -> str:
    """Two epochs for blocks of two latents."""
    encoder = 'kind = "tabular"\ntoken-dim = 8\nhidden-dims = [8]'
    encoders = "\n".join(f"[modalities.{modality}.encoder]\n{encoder}" for modality in modalities)
    return f"""
name = "tiny"
task = {task}
privacy = {{ kind = "no-privacy" }}
latent = {{ num-latents = 2, latent-dim = 8, num-heads = 2, depth = {depth} }}
training = {{ epochs = 2, batch-size = 16 }}
rounds = {{ local-epochs = 1 }}
{encoders}
"""
