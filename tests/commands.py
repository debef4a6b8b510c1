"""The command line as a person meets it."""

from edifice_tt import cli


def runner(capsys):
    """What runs a command: its exit status, and what it wrote to standard output and error."""

    def run(*argv):
        capsys.readouterr()
        try:
            status = cli.main([str(one) for one in argv])
        except SystemExit as error:
            status = error.code
        return status, *capsys.readouterr()

    return run
