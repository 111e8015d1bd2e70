"""`latent-codes models`: which models there are."""

import json
from pathlib import Path

import click

from service.cli.backends import Listed, list_models
from service.cli.options import where, where_options
from service.settings import Device

EPILOG = """\b
Examples:
  latent-codes models
  latent-codes models --url http://localhost:8000
  latent-codes models --json | jq '.[].name'
"""


@click.command("models", epilog=EPILOG)
@click.option("--json", "as_json", is_flag=True, help="A JSON list, for programs.")
@where_options
def models(as_json: bool, url: str | None, repositories: tuple[Path, ...], device: Device | None) -> int:
    """List models: those of a running service, or of the repositories."""
    found = list_models(where(url, repositories, device))
    if as_json:
        click.echo(json.dumps([_document(each) for each in found], indent=2))
        return 0
    rows = [("NAME", "VERSIONS", "CODE", "INPUT", "DESCRIPTION"), *(_row(each) for each in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _row(listed: Listed) -> tuple[str, str, str, str, str]:
    versions = ", ".join(map(str, listed.versions))
    facts = listed.facts
    if facts is None:
        return listed.name, versions, "-", "-", listed.description
    code = f"{facts.num_latents} bits" if facts.kind == "binary" else f"{facts.num_latents} of {facts.num_categories}"
    return listed.name, versions, code, " x ".join(map(str, facts.input.shape)), listed.description


def _document(listed: Listed) -> dict[str, object]:
    facts = listed.facts
    document: dict[str, object] = {
        "name": listed.name,
        "versions": list(listed.versions),
        "description": listed.description,
    }
    if facts is not None:
        document |= {
            "version": facts.version,
            "manifest_sha256": facts.manifest_sha256,
            "kind": facts.kind,
            "num_latents": facts.num_latents,
            "num_categories": facts.num_categories,
            "code_bits": facts.layout.num_bits,
            "input": facts.input.model_dump(mode="json"),
        }
    return document


commands = {"models": models}
