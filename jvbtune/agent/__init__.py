"""What runs on the host: standard library only, Python 3.9 or newer, and nothing of jvbtune but this package.

It is sent as one archive, started in the ssh channel, and speaks newline-delimited JSON on its standard streams
(``main.py``). It opens no port.
"""

VERSION = 1  #: of the protocol
