"""Which pictures does a section show? Charts of what was measured, arranged and not changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dossier import canonical, charts, circuit_chart, spread_charts, wording
from dossier.errors import RenderError, SchemaError
from dossier.model import Observation, PlannedEvidence, Reference, Unit
from dossier.spread_charts import Dose
from dossier.wording import Words


@dataclass(frozen=True)
class Chart:
    """An SVG, what stands above it, and what did not fit into it and stands below."""

    caption: str
    svg: Any
    below: str = ""


def figures(
    observations: Sequence[Observation], slot: PlannedEvidence, reference: Reference | None, words: Words
) -> tuple[Chart, ...]:
    """One chart for each main quantity, or for each unit where no words are known; then what only a picture shows."""
    drawn: dict[tuple[str, Unit], list[Observation]] = {}
    for observation in observations:
        if is_main(observation, words):
            known = words.quantity(observation.id)
            drawn.setdefault((known.says if known else "", observation.unit), []).append(observation)
    intervals = (
        _chart(same, slot, reference, words, says=key[0])
        for key, same in drawn.items()
        if len(same) > 1 and any(one.estimate is not None for one in same)
    )
    return (*intervals, *_distributions(observations, words), *_doses(observations, words))


def circuits(graphs: Sequence[tuple[str, bytes]]) -> tuple[Chart, ...]:
    """A picture of each traced circuit.

    Raises:
        RenderError: a graph is not one, or too large to draw.
    """
    charts_ = []
    for name, data in graphs:
        try:
            graph = canonical.loads(data, where=name)
            svg, below = circuit_chart.circuit_chart(graph), circuit_chart.in_full(graph)
        except (ValueError, SchemaError) as error:
            raise RenderError(f"{name}: cannot be drawn: {error}") from error
        item = name.removeprefix("circuit-").removesuffix(".json")
        caption = (
            f"The strongest paths traced for the text {item}: tokens below, features by layer, the next token above. "
            "Attention and normalisation are taken as they were."
        )
        charts_.append(_picture(caption, svg, below))
    return tuple(charts_)


def _distributions(observations: Sequence[Observation], words: Words) -> tuple[Chart, ...]:
    """A box chart for each observation whose facts hold quantiles."""
    charts_ = []
    for observation in observations:
        found = spread_charts.boxes(observation)
        if found:
            caption = (
                f"How the texts lie apart: {words.title(observation.id)}. Whiskers from 5 to 95 %, box from 25 to 75 %."
            )
            of = spread_charts.axis(observation)
            charts_.append(_picture(caption, spread_charts.quantile_chart(found, title=caption, of=of)))
    return tuple(charts_)


def _doses(observations: Sequence[Observation], words: Words) -> tuple[Chart, ...]:
    """A dose-response chart for each quantity that was measured at several strengths, a line for each series."""
    found: dict[str, dict[str, list[Dose]]] = {}
    for observation in observations:
        strength, series = observation.facts.get("strength"), observation.facts.get("series")
        if isinstance(strength, (int, float)) and isinstance(series, str):
            ending = observation.id.rpartition(".")[2]
            found.setdefault(ending, {}).setdefault(series, []).append(Dose(float(strength), observation))
    charts_ = []
    for series_of in found.values():
        doses = [dose for one in series_of.values() for dose in one]
        if sum(dose.observation.estimate is not None for dose in doses) > 1:
            known = words.quantity(doses[0].observation.id)
            unit = wording.UNIT_WORDS[doses[0].observation.unit]
            caption = f"{known.says if known else doses[0].observation.id} at each strength ({unit})."
            if any(one.observation.null is not None and one.observation.null.low is not None for one in doses):
                caption += " Grey bars: where there is nothing to find, 5 to 95 %."
            charts_.append(_picture(caption, spread_charts.dose_chart(series_of, title=caption)))
    return tuple(charts_)


def _picture(caption: str, svg: str, below: str = "") -> Chart:
    import markupsafe

    return Chart(caption, markupsafe.Markup(svg), below)  # noqa: S704 - the charts escape


def _chart(
    same: Sequence[Observation],
    slot: PlannedEvidence,
    reference: Reference | None,
    words: Words,
    *,
    says: str,
) -> Chart:
    labels = {found.id: wording.capital(words.group(found.id)) for found in same} if says else {}
    rows = charts.rows(same, criteria=slot.criteria, truths=reference.values if reference else (), labels=labels)
    caption = f"{says or f'Measured values of {slot.id}'} ({wording.UNIT_WORDS[same[0].unit]})"
    caption += "." if len(rows) == len(same) else f": {len(rows)} of {len(same)}; all stand in the table below."
    return _picture(caption, charts.interval_chart(rows, title=caption))


def is_main(observation: Observation, words: Words) -> bool:
    """Return whether a reader needs this quantity first."""
    known = words.quantity(observation.id)
    return known is None or known.main
