"""One CloudEvent as one transport message: pure functions, one module per format, no library of a protocol.

``json_format`` is the JSON format of CloudEvents 1.0; ``amqp`` maps events to messages of AMQP 0-9-1.
"""
