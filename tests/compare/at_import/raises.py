"""An adapter's module on a machine whose driver is missing."""

raise RuntimeError("no driver\nand much else")
