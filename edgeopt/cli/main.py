"""Entry point: the table of commands, and the one place where errors become exit codes."""

from __future__ import annotations

import importlib
import logging
import os
import signal
import sys
import threading
from types import FrameType

import click

from edgeopt._version import __version__
from edgeopt.errors import EdgeoptError, Interrupted, UserError

COMMANDS: dict[str, tuple[str, str]] = {
    # name -> (module, one line); the line stands here so that --help imports nothing
    "init": ("edgeopt.cli.init", "Write edgeopt.toml for a project."),
    "device": ("edgeopt.cli.device", "Add, list, show, trust, set up and remove boards."),
    "doctor": ("edgeopt.cli.doctor", "Look at a board: what is there, what is missing, what to do."),
    "deploy": ("edgeopt.cli.deploy", "Build variants, measure them on a board, install the best."),
    "status": ("edgeopt.cli.status", "Show what is installed on a board."),
    "rollback": ("edgeopt.cli.rollback", "Go back to the release before the current one."),
    "compile": ("edgeopt.cli.compile", "Build variants into a folder; no board needed."),
    "bench": ("edgeopt.cli.bench", "Measure variants on a board; install nothing."),
    "pick": ("edgeopt.cli.pick", "Pick again from a saved run with other limits; no board needed."),
    "runs": ("edgeopt.cli.runs", "List and show saved runs."),
    "inspect": ("edgeopt.cli.inspect", "Show what a model is."),
    "explain": ("edgeopt.cli.explain", "Show what of a model runs in int8, and why the rest does not."),
    "profiles": ("edgeopt.cli.profiles", "List the kinds of boards that edgeopt knows."),
}


class Commands(click.Group):
    """A group whose commands are imported when they are called, so that `--help` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which a user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(COMMANDS[cmd_name][0]), "command")  # noqa: B009 - a name in a module
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


HELP = """Compress a network for a small board without labels, measure it there, install the best, roll back.

\b
First time:     edgeopt init
This computer:  edgeopt deploy --device local
A board:        edgeopt device add pi4 --profile pi4 --address ssh://pi@raspberrypi.local
                edgeopt device trust pi4 && edgeopt device setup pi4
                edgeopt deploy --device pi4

Exit codes: 0 done, 1 goal not met, 2 wrong use or input, 3 inconclusive, 4 board or infrastructure, 130 stopped.
"""
# \b is click's sign for lines that are not to be joined.


@click.group(
    cls=Commands, help=HELP, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="edgeopt")
def edgeopt() -> None:
    """Stand for the group; its words are `HELP`."""


def main() -> None:
    """Run the command line. No traceback reaches a user, unless EDGEOPT_DEBUG asks for it."""
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGHUP, _stop)
    sys.unraisablehook = _once_more
    as_json = "--json" in sys.argv[1:]
    # What libraries log (a connection that Ctrl-C interrupted, say) is for programmers; our own warnings are for people.
    logging.getLogger("sqlalchemy").addHandler(logging.NullHandler())
    try:
        code = edgeopt.main(standalone_mode=False)
        _leave(code if isinstance(code, int) else 0)
    except EdgeoptError as error:
        _report(error, as_json=as_json)
        _leave(error.exit_code)
    except click.ClickException as error:
        _report_usage(error, as_json=as_json)
        _leave(2)
    except (KeyboardInterrupt, click.Abort):
        _report(
            Interrupted("stopped", hint="Nothing is half-installed; run the same command again to go on."),
            as_json=as_json,
        )
        _leave(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _leave(1)
    except Exception as error:  # noqa: BLE001 - the top of the program
        _report_bug(error, as_json=as_json)
        _leave(4)


def _stop(_number: int, _frame: FrameType | None) -> None:
    # Ctrl-C, SIGTERM and SIGHUP take the same way out, through every `finally`.
    raise KeyboardInterrupt


def _once_more(lost: sys.UnraisableHookArgs) -> None:
    # A signal that comes while the interpreter runs a weak reference's callback or a `__del__` is printed with a traceback and forgotten: what was to be stopped would go on. So it comes again,
    # a moment later.
    if issubclass(lost.exc_type, KeyboardInterrupt):
        main_thread = threading.main_thread().ident or 0
        threading.Timer(0.02, signal.pthread_kill, (main_thread, signal.SIGINT)).start()
    else:
        sys.__unraisablehook__(lost)


def _leave(code: int) -> None:
    # What was asked for is done, or was stopped: Ctrl-C in the last milliseconds has nothing to interrupt but the interpreter's own clearing up, which would print a
    # traceback. The other signals end the process at once, should that clearing up ever hang.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _report(error: EdgeoptError, *, as_json: bool) -> None:
    if as_json and not error.told:
        import msgspec

        entry = {"code": error.code, "message": error.message, "hint": error.hint, "exit_code": error.exit_code}
        document = {"schema": 1, "error": entry}
        click.echo(msgspec.json.encode(document).decode())
    click.secho(f"error[{error.code}]: ", fg="red", bold=True, nl=False, err=True)
    click.echo(_plain(error.message), err=True)
    if error.hint:
        click.echo(f"  {_plain(error.hint)}", err=True)


def _report_usage(error: click.ClickException, *, as_json: bool) -> None:
    if type(error).__name__ == "NoArgsIsHelpError":  # of click 8.2 and newer
        error.show()
        return
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "edgeopt"
    _report(UserError(error.format_message(), hint=f"See: {command} --help"), as_json=as_json)


def _report_bug(error: Exception, *, as_json: bool) -> None:
    if os.environ.get("EDGEOPT_DEBUG"):
        raise error
    kind = type(error).__name__
    message = f"edgeopt has a fault: {kind}: {str(error)[:300]}"
    _report(
        EdgeoptError(message, hint="Set EDGEOPT_DEBUG=1 to see where, and please report it.", code="internal"),
        as_json=as_json,
    )


def _plain(text: str) -> str:
    """Text that came from a device or a file must not steer the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)


if __name__ == "__main__":
    main()
