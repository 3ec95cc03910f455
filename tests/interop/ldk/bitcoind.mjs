// bitcoind's RPC, and a walk over its blocks that also walks back over a reorganisation.
export class Bitcoind {
  constructor(url) {
    const { origin, username, password } = new URL(url);
    this.origin = origin;
    this.authorization = 'Basic ' + Buffer.from(`${username}:${password}`).toString('base64');
  }

  async call(method, ...params) {
    const reply = await fetch(this.origin, {
      method: 'POST',
      headers: { authorization: this.authorization },
      body: JSON.stringify({ id: 0, method, params }),
    });
    const { result, error } = await reply.json();
    if (error) throw new Error(`${method}: ${error.message}`);
    return result;
  }

  // `connected(header, height, txs, block)` and `disconnected(header, height)` are told each step of
  // the way from one block hash to the other, which is on the best chain; all is hexadecimal.
  async walk(from, to, connected, disconnected) {
    let at = await this.call('getblockheader', from);
    while (at.confirmations < 0) {
      disconnected(await this.call('getblockheader', at.hash, false), at.height);
      at = await this.call('getblockheader', at.previousblockhash);
    }
    const { height } = await this.call('getblockheader', to);
    for (let h = at.height + 1; h <= height; h++) {
      const hash = await this.call('getblockhash', h);
      const { tx } = await this.call('getblock', hash, 2);
      const block = await this.call('getblock', hash, 0);
      connected(block.slice(0, 160), h, tx.map((t) => t.hex), block);
    }
  }
}
