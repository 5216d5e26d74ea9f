"""What keeps the bridge running: intake, delivery, supervision, and the nesting that is the order of stopping."""
