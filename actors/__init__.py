"""WHO does it. One line for each actor; the tree is in tree.py.

    chain      blocks, confirmations, spends, rebroadcast       over a bitcoind-like backend
    wallet     on-chain coins, addresses, reservations          over bdkpython
    funding    one machine for each opening
    monitors   the durable truth of each channel
    peers      connections and living channels                  keeps nothing
    payments   invoices, received and sent payments
    api        JSON-RPC on a unix socket                        keeps nothing

A driver (driver.py) runs a machine of protocol/: load, resume, then step, save, act for ever.
"""
