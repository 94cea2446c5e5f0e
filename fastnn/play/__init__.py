"""The page `fastnn play`: draw, look inside, train. It needs the `play` extra."""
