"""A curve and its problems as one page of HTML. Knows no file format, no model and no network."""
