"""The engine: durable, supervised actors out of pure machines. It knows no Lightning.

system.py      a system, declared: `System`, `Child`
driver.py      one actor: load, resume, then step, save, act for ever
table.py keeps.py   its rows in memory and on disk
leaf.py        its process; links.py, the streams between processes; groups.py
supervisor.py  starts and restarts them; control.py, what it says to them
hardened.py    Thespian, made fit
"""
