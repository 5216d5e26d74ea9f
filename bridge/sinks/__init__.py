"""Where events go; one module per kind of peer, its settings and its class side by side.

``KINDS`` names the settings class of every built-in kind as ``module:class``; a module, and the library it
needs, is imported only when the configuration asks for its kind. Outside packages register theirs through
the entry point group ``bridge.sinks``.
"""

KINDS: dict[str, str] = {
    "amqp": "bridge.sinks.amqp_exchange:AmqpSettings",
    "http": "bridge.sinks.http_endpoint:HttpSettings",
    "console": "bridge.sinks.console:ConsoleSettings",
}
