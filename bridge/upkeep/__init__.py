"""What people do to the queue and to the dead letters: in the running daemon, or on a spool that nobody owns.

Each verb is an async generator of bytes, whole lines of JSON as :mod:`bridge.upkeep.lines` describes them: the
control socket carries them as they are, and the command line shows them.
"""
