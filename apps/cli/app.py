"""The commands of `slipstream`. Each module here loads what it needs when its command runs."""

import click

from slipstream import __version__
from slipstream.apps.cli.bench_command import bench_command
from slipstream.apps.cli.chat_command import chat_command
from slipstream.apps.cli.doctor_command import doctor_command
from slipstream.apps.cli.list_command import list_command
from slipstream.apps.cli.plan_command import plan_command
from slipstream.apps.cli.pull_command import pull_command
from slipstream.apps.cli.rm_command import rm_command
from slipstream.apps.cli.run_command import run_command
from slipstream.apps.cli.tokenize_command import tokenize_command
from slipstream.apps.cli.train_draft_command import train_draft_command
from slipstream.apps.cli.verify_command import verify_command

# In the order in which a newcomer meets them.
COMMANDS = (
    run_command,
    chat_command,
    pull_command,
    list_command,
    rm_command,
    verify_command,
    plan_command,
    doctor_command,
    tokenize_command,
    bench_command,
    train_draft_command,
)


class InOrder(click.Group):
    """A group that lists its commands as they were added."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(
    cls=InOrder,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    invoke_without_command=True,
)
@click.version_option(__version__, prog_name="slipstream", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show where in the program an error comes from.")
@click.pass_context
def app(context: click.Context, debug: bool) -> None:
    """Run language models on this machine.

    A MODEL is a name that `slipstream list` shows, the path of a GGUF file, or
    hf:org/repo:file.gguf for a file on the Hugging Face hub.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for command in COMMANDS:
    app.add_command(command)
