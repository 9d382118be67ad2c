"""An adapter's module that loads two native libraries of which one spoils the other's memory."""

import ctypes

ctypes.string_at(0)
