"""Servers under test: started as a process or a container, awaited until they truly answer, asked.

recorded   requests as people wrote them down, and the answers to them
exchange   one request sent, one bounded answer read
process    a server as a child process
container  a server as a container of a Docker Engine
ready      waiting until the server itself answers, and nobody else on its port
compare    whether two answers say the same, and what of them never does
"""
