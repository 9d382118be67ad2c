"""A job in the background of a script ignores Ctrl-C, one under nohup a hangup, and so does every program that it starts;
the tests' do not. What a test compares is nothing to the job of GitHub Actions that runs it.
"""

import os
import signal

from compare.report import github

for name in (github.ACTIONS, github.SUMMARY):
    os.environ.pop(name, None)
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, handler)
