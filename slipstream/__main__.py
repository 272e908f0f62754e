"""`python -m slipstream` and the `slipstream` command."""


def main() -> None:
    """Run the command line."""
    from slipstream.apps.cli import main as run

    run()


if __name__ == "__main__":
    main()
