"""`latent-codes completion`: what a shell reads to complete commands, options and names of models."""

import click
from click.shell_completion import get_completion_class

from service.cli.program import COMPLETION_VARIABLE, NAME, program

EPILOG = """\b
Examples:
  eval "$(latent-codes completion bash)"                             for this session
  latent-codes completion bash >> ~/.bashrc                          for all to come
  latent-codes completion zsh >> ~/.zshrc
  latent-codes completion fish > ~/.config/fish/completions/latent-codes.fish
"""


@click.command("completion", epilog=EPILOG)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that completes latent-codes in SHELL."""
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(program, {}, NAME, COMPLETION_VARIABLE).source())


commands = {"completion": completion}
