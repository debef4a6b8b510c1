"""The commands of `edifice-tt`, a room for each group; each prints what a public call returned."""
