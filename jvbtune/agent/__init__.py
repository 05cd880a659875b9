"""What runs on the host: standard library only, Python 3.9 or newer, and of jvbtune only this and ``protocol``.

They are sent as one archive. The agent is started in the ssh channel and speaks the lines of ``protocol`` on its
standard streams (``main.py``). It opens no port.
"""

VERSION = 1  #: of the protocol
