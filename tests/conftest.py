"""What holds for every test."""

from hypothesis import settings

# A deadline is a timing assertion; on a busy machine it fails without a fault.
settings.register_profile("edge-bridge", deadline=None)
settings.load_profile("edge-bridge")
