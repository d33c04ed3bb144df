"""Start a program under limits: `python launch.py MEMORY OUTPUT PROGRAM ARGUMENT…`.

A process of its own sets the limits and then becomes the program, so that no limit is missed by a
program that starts fast. Standard library alone: it runs without mlgate's environment.
"""

import os
import resource
import sys

if __name__ == "__main__":
    memory, output, *command = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_AS, (int(memory), int(memory)))
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(output), int(output)))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        os.execvp(command[0], command)  # noqa: S606 (no shell: a list)
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        sys.exit(127)
