"""A job in the background of a script ignores Ctrl-C, and so does every program that it starts; the tests' do not."""

import signal

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
