"""Where readings come from; one module per kind of peer, its settings and its class side by side.

``KINDS`` names the settings class of every built-in kind as ``module:class``; a module, and the library it
needs, is imported only when the configuration asks for its kind. Outside packages register theirs through
the entry point group ``bridge.sources``.
"""

KINDS: dict[str, str] = {
    "serial": "bridge.sources.serial_port:SerialSettings",
    "mqtt": "bridge.sources.mqtt_topics:MqttSourceSettings",
}
