"""The ports of leaf actors: sockets, a wallet library, a chain backend. No decisions here."""
