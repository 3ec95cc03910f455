// TCP for LDK's PeerManager: LDK is told what was read and when it may write again.
import * as net from 'net';

export class Sockets {
  constructor(ldk, peers, woken) {
    Object.assign(this, { ldk, peers, woken, next: 0n });
    this.open = new Set(); // LDK holds its descriptors by number: they must outlive the calls
  }

  listen(port) {
    net
      .createServer((socket) => {
        const link = this.#link(socket);
        if (!this.peers.new_inbound_connection(link, this.#address(socket)).is_ok()) socket.destroy();
      })
      .listen(port, '127.0.0.1');
  }

  async dial(id, port) {
    const socket = net.connect(port, '127.0.0.1');
    await new Promise((done, failed) => socket.once('connect', done).once('error', failed));
    const link = this.#link(socket);
    const hello = this.peers.new_outbound_connection(id, link, this.#address(socket));
    if (!hello.is_ok()) throw new Error('LDK refused the connection');
    socket.write(hello.res);
  }

  #link(socket) {
    const number = this.next++;
    let full = false;
    let gone = false;
    socket.setNoDelay(true);
    const end = (tell) => {
      if (gone) return;
      gone = true;
      this.open.delete(link);
      if (tell) this.peers.socket_disconnected(link);
      socket.destroy();
      this.woken();
    };
    const link = this.ldk.SocketDescriptor.new_impl({
      send_data(data, resume) {
        if (resume) socket.resume();
        if (gone || full) return 0;
        full = !socket.write(Buffer.from(data));
        return data.length;
      },
      disconnect_socket: () => end(false),
      eq: (other) => other.hash() === number,
      hash: () => number,
    });
    this.open.add(link);
    socket.on('data', (bytes) => {
      if (gone) return;
      const read = this.peers.read_event(link, bytes);
      if (!read.is_ok()) return end(false);
      if (read.res) socket.pause();
      this.woken();
    });
    socket.on('drain', () => {
      full = false;
      if (!gone && !this.peers.write_buffer_space_avail(link).is_ok()) end(false);
    });
    socket.on('close', () => end(true));
    socket.on('error', () => end(true));
    return link;
  }

  #address(socket) {
    const octets = new Uint8Array(socket.remoteAddress.replace('::ffff:', '').split('.').map(Number));
    const address = this.ldk.SocketAddress.constructor_tcp_ip_v4(octets, socket.remotePort);
    return this.ldk.Option_SocketAddressZ.constructor_some(address);
  }
}
