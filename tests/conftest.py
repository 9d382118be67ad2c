"""A job in the background of a script ignores Ctrl-C, and so does every program that it starts; the tests' do not. What
a test compares is nothing to the job of GitHub Actions that runs it.
"""

import os
import signal

from compare.report import github

for name in (github.ACTIONS, github.SUMMARY):
    os.environ.pop(name, None)
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
