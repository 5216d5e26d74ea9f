"""From the files an administrator writes to frozen settings, with every mistake named at once.

``load`` is the door; ``paths`` says where files lie; ``sample`` and ``reference`` write from the same models
what people read. Below the loader nobody sees a dict.
"""
