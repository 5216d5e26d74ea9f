"""TLS for clients: contexts from files, rebuilt when a file changes, and what went wrong in words for people.

The peer's certificate and host name are always verified; there is no switch that turns it off. TLS 1.2 is the
oldest version spoken.
"""

from bridge.tls.context import client_context
from bridge.tls.refusal import await_refusal, patience
from bridge.tls.settings import TlsSettings
from bridge.tls.trouble import explain, is_lasting

__all__ = ["TlsSettings", "await_refusal", "client_context", "explain", "is_lasting", "patience"]
