"""The embedded regtest chain: Bitcoin Core's own validation library, with a mempool and a miner."""
