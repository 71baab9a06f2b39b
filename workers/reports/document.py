"""Builds the report: chooses its tables and plots and their order, and writes its three forms."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from binnacle.words.counting import counted
from binnacle.words.judging import judge_in_words
from binnacle.words.rounding import decimals
from terms.documents.study import Finding, Missing, PlotDocument, TablesDocument
from terms.evidence import FEWEST_CLUSTERS
from terms.methods import is_ablation
from terms.specs import StudySpec
from workers.reports import matrices, plots, recommendations
from workers.reports.frame import frame
from workers.reports.gathered import Cell, Gathered
from workers.reports.html import render
from workers.reports.marks import marked, marks_of
from workers.reports.once import Once
from workers.reports.origins import origins
from workers.reports.table import Row, Section, Table, escaped, to_markdown
from workers.reports.tables import beside, elsewhere, massive_dims
from workers.reports.tables.gains import method_name
from workers.reports.tables.methods import methods as methods_table
from workers.reports.tables.severity import severity as severity_table
from workers.reports.tables.vectors import vectors as vectors_table
from workers.reports.texts import Read
from workers.science.verdicts import AGREEMENT

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Report:
    """A study's report. `sections` hold a table or a plot each, in reading order."""

    title: str
    facts: Mapping[str, str]
    findings: Sequence[Finding]
    sections: Sequence[Section]
    missing: Sequence[Missing]
    study: StudySpec
    data: Gathered

    def to_dict(self) -> TablesDocument:
        """The content of tables.json: every table at full precision, plots as Vega-Lite specifications."""
        return {
            "schema_version": SCHEMA_VERSION,
            "title": self.title,
            "study": self.study,
            "facts": dict(self.facts),
            "recommendations": list(self.findings),
            "missing": list(self.missing),
            "tables": [table.to_dict() for table in self._tables()],
            "plots": [
                {"title": section["title"], "note": section["note"], "plot": section["plot"]}
                for section in self.sections
                if "plot" in section
            ],
        }

    def to_markdown(self) -> str:
        """The text of report.md: recommendations and tables, without plots."""
        once = Once()
        lines = [
            f"# {escaped(self.title)}",
            "",
            *(
                f"- **{escaped(finding['model'])}**: {escaped(finding['sentence'])} {escaped(finding['because'])}"
                for finding in self.findings
            ),
            "",
        ]
        if self.missing:
            lines += [
                "This report is partial. Missing:",
                "",
                *(f"- **{escaped(job['node'])}**: {escaped(job['state'])} {escaped(job['reason'])}" for job in self.missing),
                "",
            ]
        return "\n".join([*lines, *(to_markdown(table, once(table.note)) for table in self._tables())])

    def to_html(self, read: Read, written: date) -> str:
        """The text of report.html: everything in one file, with the answers that `read` finds."""
        return render(
            frame(self.to_dict(), self.data, read),
            title=self.title,
            facts=self.facts,
            findings=self.findings,
            missing=self.missing,
            asked=self.study,
            origins=origins(self.data),
            written=written,
        )

    def _tables(self) -> list[Table]:
        return [section["table"] for section in self.sections if "table" in section]


def build(study: StudySpec, data: Gathered) -> Report:
    """Builds the report of a study from the results of its jobs."""
    if not study["traits"]:
        return _of_models(study, data)
    per_model = recommendations.per_model(data)
    severity = severity_table(data, {model: model_findings.severity_columns for model, model_findings in per_model.items()})
    methods = methods_table(data)
    sections: list[Section] = [{"table": recommendations.table(per_model)}, {"table": methods}]
    sections += [_forest(cell, methods) for cell in data.cells if cell.steering]
    sections += [_dose_response(cell) for cell in data.cells if cell.steering]
    sections += [{"table": massive_dims.cleaning(data)}, {"table": vectors_table(data)}]
    for cell in data.cells:
        sections += matrices.sections(cell)
    sections += [{"table": elsewhere.traits(data)}, {"table": severity}, *_model_plots(data)]
    more = (
        massive_dims.decomposition(data), elsewhere.extra_sets(data), elsewhere.off_target(data), beside.protocol(data),
        beside.published(data, study.get("published", [])),
    )  # fmt: skip
    sections += [{"table": table} for table in more if table.rows]
    marks = marks_of(data)
    sections = [{"table": marked(section["table"], marks)} if "table" in section else section for section in sections]
    facts = {
        "models": ", ".join(study["models"]),
        "traits": ", ".join(study["traits"]),
        "evidence": study["evidence"],
        "judge": ", ".join(sorted({_judge(cell) for cell in data.cells if cell.steering})) or "none ran",
        "coherence threshold": f"{study['coherence_threshold']:g}",
        "what the judge tells apart": " ".join(_told(cell) for cell in data.cells if cell.steering) or "nothing was judged",
        "judge and labels": _agreement(data),
        "questions": ", ".join(sorted({_questions(cell) for cell in data.cells if cell.steering})) or "none asked",
    }
    findings = [finding for model_findings in per_model.values() for finding in model_findings.findings]
    title = f"Which method to trust: {', '.join(study['traits'])} on {', '.join(study['models'])}"
    return Report(title, facts, findings, sections, data.missing, study, data)


def _of_models(study: StudySpec, data: Gathered) -> Report:
    """The report of a study without traits: how massive the dims of its models are."""
    severity = severity_table(data, {})
    columns = [column for column in severity.columns if column.key not in ("massive_part", "link")]
    table = replace(severity, title="Model severity", columns=columns)
    title = f"Severity of massive dimensions: {len(data.calibrations)} of {len(study['models'])} models measured"
    facts = {"models": ", ".join(study["models"]), "greedy answers": f"{study['calibration_new_tokens']} tokens at most"}
    sections: list[Section] = [{"table": marked(table, marks_of(data))}, *_model_plots(data)]
    return Report(title, facts, [], sections, data.missing, study, data)


def _agreement(data: Gathered) -> str:
    agreement = data.agreement
    if agreement is None:
        return "not labelled: fill in labelling.csv and send it back"
    rank = (
        "no rank correlation: all alike"
        if agreement.spearman is None
        else f"Spearman {agreement.spearman:z.{decimals(agreement.spearman, [AGREEMENT], 2)}f}"
    )
    few = (
        ""
        if agreement.decides
        else f"; labels in {counted(agreement.clusters, 'cluster')} decide nothing: label texts in {FEWEST_CLUSTERS} or more"
    )
    return f"{rank} over {counted(agreement.n, 'text')}, ranked within each trait; {agreement.same_side or 0:.0%} on the same side of 50{few}"


def _judge(cell: Cell) -> str:
    assert cell.steering is not None
    judge = cell.steering["judge"]
    return f"{judge['name']} {judge.get('version', '')}".strip()


def _told(cell: Cell) -> str:
    assert cell.steering is not None
    return f"{cell.trait} on {cell.model}: {judge_in_words(cell.steering)}"


def _questions(cell: Cell) -> str:
    assert cell.steering is not None
    asked = cell.steering["questions"]
    sizes = {
        name: f"{counted(asked[name]['n'], 'question')} in {counted(asked[name]['clusters'], 'cluster')}"
        for name in ("selection", "test")
    }
    return f"{cell.trait}: {sizes['selection']} to choose on, {sizes['test']} to report"


def _forest(cell: Cell, methods: Table) -> PlotDocument:
    rows = [
        {
            "row": row["method"],
            "kind": row["kind"],
            "delta": row["delta"],
            "low": row.get("delta_low"),
            "high": row.get("delta_high"),
        }
        for row in methods.rows
        if (row["model"], row["trait"]) == (cell.model, cell.trait) and row.get("delta") is not None
    ]
    note = "Gain in points on test questions at each method's best dose, with 95 % intervals; controls at the best method's dose."
    return {"title": f"{cell.trait} on {cell.model}: gains", "note": note, "plot": plots.forest(rows)}


def _dose_response(cell: Cell) -> PlotDocument:
    assert cell.steering is not None
    chosen = {name for group in cell.steering["groups"] for name in [group["subject"]] if not is_ablation(group["method"])}
    rows: list[Row] = [
        {
            "r": point["r"],
            "method": method_name(subject, cell.steering),
            "layer": "+".join(map(str, subject["layers"])),
            "score": score,
            "value": value,
            "low": low,
            "high": high,
        }
        for subject in cell.steering["subjects"]
        if subject["name"] in chosen and not subject["same_as"]
        for point in subject["curve"]
        if point["r"] and point["r"] > 0
        for score, value, low, high in (
            ("trait", point["trait"], point.get("trait_low"), point.get("trait_high")),
            ("coherence", point["coherence"], point.get("coherence_low"), point.get("coherence_high")),
        )
    ]
    note = "Mean scores over dose on the selection questions, at each method's chosen layer. The dashed line is the coherence threshold."
    plot = plots.dose_response(rows, cell.steering["coherence_threshold"])
    return {"title": f"{cell.trait} on {cell.model}: dose-response", "note": note, "plot": plot}


def _model_plots(data: Gathered) -> list[PlotDocument]:
    heat: list[Row] = [
        {"model": model, "layer": int(layer), "dim": int(dim), "ratio": max(1e-3, facts["ratio"])}
        for model, aggregate in data.calibrations.items()
        for layer, dims in aggregate["per_layer"].items()
        for dim, facts in dims.items()
    ]
    norms: list[Row] = [
        {"model": model, "layer": int(layer), "which": which, "norm": value}
        for model, aggregate in data.calibrations.items()
        for which, by_layer in (("full", aggregate["layer_norms"]), ("clean", aggregate["clean_norms"]))
        for layer, value in by_layer.items()
    ]
    sections: list[PlotDocument] = []
    if heat:
        note = "Token-mean size of a dim over the median dim's, at the dims that are largest or massive anywhere."
        sections.append({"title": "Massive dimensions by layer", "note": note, "plot": plots.massive_dims(heat)})
    if norms:
        note = "Norm of the stream, with and without the massive dims; doses are measured in the norm without them."
        sections.append({"title": "Norms, full and clean", "note": note, "plot": plots.norms(norms)})
    return sections
