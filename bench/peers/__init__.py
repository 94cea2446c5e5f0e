"""fastnn beside its peers: each in its own process, turn by turn. Run `python -m bench.peers`."""
