"""A site's patients in the form that the sites of a run agreed on."""

from collections.abc import Mapping, Sequence

from client.site import Site
from lego_core.block import LegoBlock
from lego_core.errors import DataError, SiteRefusal
from lego_core.protocol import Agreement
from lego_core.records import Cohort, ModalitySchema
from lego_core.statistics import FeatureStatistics


def in_agreed_form(site: Site, agreement: Agreement, modalities: Sequence[str]) -> Cohort:
    """The site's patients who have any of these modalities, with the agreed features only.

    Modalities that were not asked about stay out of it, since they may not be in the agreed form.
    """
    return in_form(site.cohort, {name: agreement.schemas[name] for name in modalities})


def in_form(cohort: Cohort, schemas: Mapping[str, ModalitySchema]) -> Cohort:
    """Patients with these features of these modalities, in this order.

    Raises:
        DataError: If the site lacks a modality or a feature.
    """
    for modality, schema in schemas.items():
        if modality not in cohort.schemas:
            raise DataError(
                f"This site was asked about modality '{modality}' and has {sorted(cohort.schemas)}. Give the "
                "site the bundle of this run."
            )
        cohort = cohort.with_features(modality, schema.features)
    return cohort.only(*schemas)


def normalise_here(site: Site, agreement: Agreement, blocks: Sequence[LegoBlock]) -> None:
    """Give blocks whose means and spreads nobody shares those of this site's training patients.

    Raises:
        SiteRefusal: If the plan has the means and spreads of such a modality shared.
    """
    named = site.plan.privacy.travel_alone
    strange = sorted(set(agreement.normalised_at_sites) - set(named))
    if strange:
        raise SiteRefusal(
            f"This site declines: it is to take means and spreads of its own for {strange}, and its plan "
            f"names {list(named)} as those of few sites (key privacy.alone). Nothing was sent. Give server "
            "and site the bundle of the same plan."
        )
    for block in blocks:
        if block.modality in agreement.normalised_at_sites:
            cohort = in_agreed_form(site, agreement, [block.modality])
            block.normalise_with(FeatureStatistics.of(cohort, block.modality).normalisation())
