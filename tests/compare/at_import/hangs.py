"""An adapter's module that waits for a device for ever."""

from tests.compare.fake_adapters import hang

hang()
