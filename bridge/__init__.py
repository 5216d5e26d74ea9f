"""Edge Bridge: device readings from serial lines and MQTT to the cloud, through outages and power cuts.

Read the folders in the order of the data: ``sources`` → ``codec`` → ``event`` → ``spool`` → ``wire`` →
``sinks``; ``run`` joins them, ``config`` describes them, ``host`` speaks to the machine, ``cli`` to people.
"""

__version__ = "0.1.0"
