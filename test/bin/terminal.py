"""Runs a program in a terminal of its own. A line on standard input closes that terminal, as a user closes its window."""
import os
import pty
import select
import sys

pid, terminal = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
print("runs as", pid, flush=True)
isOpen = True
while isOpen:
    for ready in select.select([terminal, 0], [], [])[0]:
        if ready == 0:
            isOpen = False
        else:
            try:
                os.write(1, os.read(terminal, 65536))
            except OSError:  # the program has ended
                isOpen = False
os.close(terminal)
print("ended with", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
