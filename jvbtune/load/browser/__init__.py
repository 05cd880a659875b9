"""A browser that takes part in a conference on a bridge without Jitsi Meet: its page, and what it learns of the bridge.

The bridge's side of the session is an offer (``session.offer``); the page answers it (``page.html``), and the browser's
side goes to the bridge by COLIBRI (``session.transport_of``).
"""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).with_name("page.html")
