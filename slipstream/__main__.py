"""`python -m slipstream` and the `slipstream` command."""


def main() -> None:
    """Run the command line."""
    try:
        from slipstream.apps.cli import main as run

        run()
    except KeyboardInterrupt:  # while the imports were still under way
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
