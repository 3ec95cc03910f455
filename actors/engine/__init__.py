"""The engine: durable, supervised actors out of pure machines. It knows no Lightning.

what there is
    system.py groups.py           a system, declared: `System`, `Child`; who shares the work
one actor, wherever it runs
    driver.py                     load, resume, then step, save, act for ever
    table.py cold.py keeps.py     its rows in memory, those that stay on disk, their schemas
    saying.py outbox.py wakes.py  what it says, what is not acknowledged yet, when it wakes
    letters.py                    what has ended it again and again
    host.py                       what a driver needs of the place where it runs
its process
    leaf.py                       the actor of the library, and the loop beside it
    links.py sockets.py           streams between processes
    port.py door.py               the touch with the world; the one for other programs
    witness.py lives.py clock.py  what it was hearing when it died, its last words, its time
all processes
    run.py root.py                the first process: starts all, and all anew
    supervisor.py control.py      starts and restarts leaves; what they say to each other
    processes.py logbook.py       whose child lives, and the end of all; the log
    hardened.py                   the actor library, made fit
"""
