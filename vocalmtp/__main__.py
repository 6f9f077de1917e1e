"""`python -m vocalmtp` is `vocalmtp`."""

from vocalmtp.cli import main

main()
