// A whole LDK 0.1 node for tests, on regtest, driven over HTTP: POST /<verb> with JSON, see `verbs`.
//   node node.mjs MODULES FOLDER LIGHTNING_PORT CONTROL_PORT BITCOIND_URL
// Its folder may be found again after a SIGKILL: the manager is on disk before the monitors, and a
// monitor is called durable only after that. Ready when it has printed one line of JSON.
import * as crypto from 'crypto';
import * as fs from 'fs';
import * as http from 'http';
import * as path from 'path';
import { createRequire } from 'module';
import { pathToFileURL } from 'url';
import { Bitcoind } from './bitcoind.mjs';
import { Sockets } from './sockets.mjs';

const [modules, folder, lightningPort, controlPort, url] = process.argv.slice(2);
const from = createRequire(path.join(modules, 'node_modules', 'x.js'));
const ldk = await import(pathToFileURL(from.resolve('lightningdevkit')));
const print = console.log;
fs.mkdirSync(path.join(folder, 'monitors'), { recursive: true });
const logFile = fs.openSync(path.join(folder, 'log'), 'a');
const log = (...words) => fs.writeSync(logFile, [new Date().toISOString(), ...words].join(' ') + '\n');
console.log = (...words) => log('wasm', ...words); // a panic inside of LDK is told here
await ldk.initializeWasmFromBinary(fs.readFileSync(from.resolve('lightningdevkit/liblightningjs.wasm')));

const hex = (bytes) => Buffer.from(bytes).toString('hex');
const bytes = (text) => new Uint8Array(Buffer.from(text, 'hex'));
const reversed = (some) => new Uint8Array(some).reverse();
const must = (result) => {
  if (result.is_ok()) return result.res;
  throw new Error(`${result.constructor.name} ${result.err?.err ?? result.err?.constructor.name ?? result.err}`);
};
const some = (type, value) => (value === undefined ? type.constructor_none() : type.constructor_some(value));

// ---- what LDK asks of its program

const bitcoind = new Bitcoind(url);
const FEERATE_SAT_PER_KW = 1000; // as Daruma on regtest: LDK sends less when its own view differs
const fees = ldk.FeeEstimator.new_impl({ get_est_sat_per_1000_weight: () => FEERATE_SAT_PER_KW });
const logger = ldk.Logger.new_impl({
  log: (record) => record.get_level() >= 3 && log(record.get_module_path(), record.get_args()),
});
const broadcaster = ldk.BroadcasterInterface.new_impl({
  broadcast_transactions(transactions) {
    for (const tx of transactions)
      bitcoind.call('sendrawtransaction', hex(tx), 0).catch((error) => log('broadcast', error.message));
  },
});

// Monitors wait in `unsaved` until the manager of the same moment is on disk.
let unsaved = [];
let held = false; // monitors stay unsaved: what a slow disk does
const monitorFile = (outpoint) =>
  path.join(folder, 'monitors', `${hex(reversed(outpoint.get_txid()))}-${outpoint.get_index()}`);
const keep = (outpoint, monitor) => {
  unsaved.push({
    file: monitorFile(outpoint), data: monitor.write(),
    outpoint: outpoint.clone(), update: monitor.get_latest_update_id(),
  });
  return ldk.ChannelMonitorUpdateStatus.LDKChannelMonitorUpdateStatus_InProgress;
};
const persister = ldk.Persist.new_impl({
  persist_new_channel: keep,
  update_persisted_channel: (outpoint, _update, monitor) => keep(outpoint, monitor),
  archive_persisted_channel: (outpoint) => fs.rmSync(monitorFile(outpoint), { force: true }),
});
const save = (file, data) => {
  fs.writeFileSync(file + '.new', data);
  fs.renameSync(file + '.new', file);
};

// ---- its parts

const seed = crypto.createHash('sha256').update(path.resolve(folder)).digest();
const now = Math.floor(Date.now() / 1000);
const keys = ldk.KeysManager.constructor_new(new Uint8Array(seed), BigInt(now), (Date.now() % 1000) * 1e6);
const entropy = keys.as_EntropySource();
const monitors = ldk.ChainMonitor.constructor_new(
  ldk.Option_FilterZ.constructor_none(), broadcaster, logger, fees, persister,
);
const graph = ldk.NetworkGraph.constructor_new(ldk.Network.LDKNetwork_Regtest, logger);
const scorer = ldk.ProbabilisticScorer.constructor_new(
  ldk.ProbabilisticScoringDecayParameters.constructor_default(), graph, logger,
);
const score = ldk.MultiThreadedLockableScore.constructor_new(scorer.as_Score());
const router = ldk.DefaultRouter.constructor_new(
  graph, logger, entropy, score.as_LockableScore(), ldk.ProbabilisticScoringFeeParameters.constructor_default(),
);
const messageRouter = ldk.DefaultMessageRouter.constructor_new(graph, entropy);
const config = ldk.UserConfig.constructor_default();
const handshake = config.get_channel_handshake_config();
handshake.set_negotiate_anchors_zero_fee_htlc_tx(true);
handshake.set_announce_for_forwarding(false);
handshake.set_minimum_depth(1);
handshake.set_max_inbound_htlc_value_in_flight_percent_of_channel(100);
config.set_channel_handshake_config(handshake);
const handshakeLimits = config.get_channel_handshake_limits();
handshakeLimits.set_force_announced_channel_preference(false);
config.set_channel_handshake_limits(handshakeLimits);
config.set_manually_accept_inbound_channels(true); // compulsory with anchors

// ---- the manager: new, or as it was saved

const managerFile = path.join(folder, 'manager');
const watch = monitors.as_Watch();
const restored = [];
let manager;
let tip;
if (fs.existsSync(managerFile)) {
  for (const name of fs.readdirSync(path.join(folder, 'monitors')).filter((n) => !n.endsWith('.new'))) {
    const read = ldk.UtilMethods.constructor_C2Tuple_ThirtyTwoBytesChannelMonitorZ_read(
      fs.readFileSync(path.join(folder, 'monitors', name)), entropy, keys.as_SignerProvider(),
    );
    restored.push(must(read).get_b());
  }
  const read = must(
    ldk.UtilMethods.constructor_C2Tuple_ThirtyTwoBytesChannelManagerZ_read(
      fs.readFileSync(managerFile), entropy, keys.as_NodeSigner(), keys.as_SignerProvider(), fees, watch,
      broadcaster, router.as_Router(), messageRouter.as_MessageRouter(), logger, config, restored,
    ),
  );
  manager = read.get_b();
  tip = hex(reversed(read.get_a()));
} else {
  const { bestblockhash, blocks } = await bitcoind.call('getblockchaininfo');
  const best = ldk.BestBlock.constructor_new(reversed(bytes(bestblockhash)), blocks);
  manager = ldk.ChannelManager.constructor_new(
    fees, watch, broadcaster, router.as_Router(), messageRouter.as_MessageRouter(), logger, entropy,
    keys.as_NodeSigner(), keys.as_SignerProvider(), config,
    ldk.ChainParameters.constructor_new(ldk.Network.LDKNetwork_Regtest, best), now,
  );
  tip = bestblockhash;
}
const ignoring = ldk.IgnoringMessageHandler.constructor_new();
const gossip = ldk.P2PGossipSync.constructor_new(graph, ldk.Option_UtxoLookupZ.constructor_none(), logger);
const peers = ldk.PeerManager.constructor_new(
  manager.as_ChannelMessageHandler(), gossip.as_RoutingMessageHandler(), ignoring.as_OnionMessageHandler(),
  ignoring.as_CustomMessageHandler(), now, new Uint8Array(crypto.randomBytes(32)), logger, keys.as_NodeSigner(),
);
const sockets = new Sockets(ldk, peers, () => wake());

// ---- events

const events = [];
const claimed = {}; // payment hash -> preimage, of invoices that are held
const told = (event, facts = {}) => events.push({ event, ...facts });

async function fund(event) {
  const script = hex(event.output_script);
  const { address, segwit } = await bitcoind.call('decodescript', script);
  const amount = (Number(event.channel_value_satoshis) / 1e8).toFixed(8);
  const bare = await bitcoind.call('createrawtransaction', [], [{ [address ?? segwit.address]: amount }]);
  const funded = await bitcoind.call('fundrawtransaction', bare, { lockUnspents: true, fee_rate: 2 });
  const signed = await bitcoind.call('signrawtransactionwithwallet', funded.hex);
  const id = event.temporary_channel_id;
  must(manager.funding_transaction_generated(id, event.counterparty_node_id, bytes(signed.hex)));
  wake();
}

function handle(event) {
  if (event instanceof ldk.Event_FundingGenerationReady) {
    fund(event).catch((error) => told('FundingFailed', { reason: error.message }));
  } else if (event instanceof ldk.Event_OpenChannelRequest) {
    // LDK forbids to answer from inside of its own event
    setImmediate(() => {
      const id = event.temporary_channel_id;
      const accepted = manager.accept_inbound_channel(id, event.counterparty_node_id, 7n);
      if (!accepted.is_ok()) told('OpeningRefused', { reason: accepted.err.err });
      wake();
    });
  } else if (event instanceof ldk.Event_PendingHTLCsForwardable) {
    setImmediate(() => {
      manager.process_pending_htlc_forwards();
      wake();
    });
  } else if (event instanceof ldk.Event_PaymentClaimable) {
    const hash = hex(event.payment_hash);
    const { purpose } = event;
    const keysend = purpose instanceof ldk.PaymentPurpose_SpontaneousPayment;
    const preimage = keysend ? purpose.spontaneous_payment : purpose.payment_preimage?.some;
    told('PaymentClaimable', { hash, msat: Number(event.amount_msat) });
    const known = preimage ?? claimed[hash];
    if (known) manager.claim_funds(known); // inside of the event: it is given again until this is saved
  } else if (event instanceof ldk.Event_PaymentClaimed) {
    told('PaymentClaimed', { hash: hex(event.payment_hash), msat: Number(event.amount_msat) });
  } else if (event instanceof ldk.Event_PaymentSent) {
    told('PaymentSent', { hash: hex(event.payment_hash), preimage: hex(event.payment_preimage) });
  } else if (event instanceof ldk.Event_PaymentFailed) {
    const id = event.payment_id; // an array has a method `some`
    told('PaymentFailed', { hash: hex(id instanceof Uint8Array ? id : id.some) });
  } else if (event instanceof ldk.Event_ChannelClosed) {
    told('ChannelClosed', { reason: event.reason.constructor.name.replace('ClosureReason_', '') });
  } else if (event instanceof ldk.Event_SpendableOutputs) {
    const sat = event.outputs.map((output) => Number(output.output.value));
    told('SpendableOutputs', { sat: sat.reduce((sum, one) => sum + one, 0) });
  } else {
    told(event.constructor.name.replace('Event_', ''));
  }
}
const handler = ldk.EventHandler.new_impl({
  handle_event(event) {
    handle(event);
    return ldk.Result_NoneReplayEventZ.constructor_ok();
  },
});

// ---- the round: handle, save, release; in this order

let round = false;
function wake() {
  if (!round) setImmediate(work);
  round = true;
}
function work() {
  round = false;
  // Nothing is sent before all is saved: LDK 0.1 cannot load a manager from the midst of a claim
  do {
    manager.as_EventsProvider().process_pending_events(handler);
    monitors.as_EventsProvider().process_pending_events(handler);
    if (manager.get_and_clear_needs_persistence() || !held) save(managerFile, manager.write());
  } while (!held && release());
  peers.process_events();
  if (unsaved.length && !held) wake(); // what was freed just now has its own monitors to save
}
function release() {
  const ready = unsaved;
  unsaved = [];
  for (const { file, data } of ready) save(file, data);
  for (const { outpoint, update } of ready) monitors.channel_monitor_updated(outpoint, update);
  return ready.length > 0;
}

// ---- the chain

const transactions = (all) =>
  all.map((raw, place) => ldk.TwoTuple_usizeTransactionZ.constructor_new(place, bytes(raw)));
const newest = await bitcoind.call('getbestblockhash');
for (const monitor of restored) {
  await bitcoind.walk(
    hex(reversed(monitor.current_best_block().get_block_hash())), newest,
    (header, height, all) =>
      monitor.block_connected(bytes(header), transactions(all), height, broadcaster, fees, logger),
    (header, height) => monitor.block_disconnected(bytes(header), height, broadcaster, fees, logger),
  );
  watch.watch_channel(monitor.get_funding_txo().get_a(), monitor);
}
const chainListeners = [manager.as_Listen()];
async function follow(to) {
  await bitcoind.walk(
    tip, to,
    (_header, height, _all, block) => {
      for (const listener of chainListeners) listener.block_connected(bytes(block), height);
    },
    (header, height) => {
      for (const listener of chainListeners) listener.block_disconnected(bytes(header), height);
    },
  );
  tip = to;
  wake();
}
await follow(newest); // the monitors have read these blocks already
chainListeners.push(monitors.as_Listen());
let following = Promise.resolve();
const followNext = () => {
  following = following
    .then(() => bitcoind.call('getbestblockhash'))
    .then((hash) => hash === tip || follow(hash))
    .catch((error) => log('chain', error.message));
  return following;
};
setInterval(followNext, 200);
setInterval(() => {
  manager.timer_tick_occurred();
  peers.timer_tick_occurred();
  wake();
}, 10_000);

// ---- the control port

const amount = (msat) => some(ldk.Option_u64Z, msat === undefined ? undefined : BigInt(msat));
const channelOf = (id) => {
  const found = manager.list_channels().find((channel) => hex(channel.get_channel_id().get_a()) === id);
  if (!found) throw new Error(`no channel ${id}`);
  return found;
};
const verbs = {
  connect: ({ id, port }) => sockets.dial(bytes(id), port),
  disconnect: ({ id }) => peers.disconnect_by_node_id(bytes(id)),
  peers: () => peers.list_peers().map((peer) => hex(peer.get_counterparty_node_id())),
  height: () => manager.current_best_block().get_height(),
  open: ({ id, sat, push_msat, public: announced }) => {
    const own = config.clone();
    const terms = own.get_channel_handshake_config();
    terms.set_announce_for_forwarding(announced);
    own.set_channel_handshake_config(terms);
    must(manager.create_channel(bytes(id), BigInt(sat), BigInt(push_msat), 1n, null, own));
  },
  close: ({ id }) => {
    must(manager.close_channel(channelOf(id).get_channel_id(), channelOf(id).get_counterparty().get_node_id()));
  },
  channels: () =>
    manager.list_channels().map((channel) => ({
      channel_id: hex(channel.get_channel_id().get_a()),
      usable: channel.get_is_usable(),
      type: channel.get_channel_type() && hex(reversed(channel.get_channel_type().le_flags())),
      announced: channel.get_is_announced(),
      capacity_sat: Number(channel.get_channel_value_satoshis()),
      outbound_msat: Number(channel.get_outbound_capacity_msat()),
      inbound_msat: Number(channel.get_inbound_capacity_msat()),
      htlcs: channel.get_pending_inbound_htlcs().length + channel.get_pending_outbound_htlcs().length,
    })),
  invoice: ({ msat, hash }) => {
    const none = ldk.Option_u16Z.constructor_none();
    const make = ldk.UtilMethods;
    const invoice = must(
      hash === undefined
        ? make.constructor_create_invoice_from_channelmanager(manager, amount(msat), 'coffee', 3600, none)
        : make.constructor_create_invoice_from_channelmanager_with_payment_hash(
            manager, amount(msat), 'coffee', 3600, bytes(hash), none,
          ),
    );
    return { bolt11: invoice.to_str(), hash: hex(invoice.payment_hash()) };
  },
  decode: ({ bolt11 }) => {
    const invoice = must(ldk.Bolt11Invoice.constructor_from_str(bolt11));
    return {
      hash: hex(invoice.payment_hash()),
      payee: hex(invoice.recover_payee_pub_key()),
      msat: Number(invoice.amount_milli_satoshis().some),
      cltv: Number(invoice.min_final_cltv_expiry_delta()),
      same: invoice.to_str() === bolt11,
    };
  },
  pay: async ({ bolt11 }) => {
    // a channel whose monitor is just being saved counts as unusable, and there is no other route
    while (!manager.list_usable_channels().length) await new Promise((go) => setTimeout(go, 1));
    const invoice = must(ldk.Bolt11Invoice.constructor_from_str(bolt11));
    const parameters = must(ldk.UtilMethods.constructor_payment_parameters_from_invoice(invoice));
    const hash = parameters.get_a();
    const attempts = ldk.Retry.constructor_attempts(10);
    must(manager.send_payment(hash, parameters.get_b(), hash, parameters.get_c(), attempts));
    return { hash: hex(hash) };
  },
  keysend: ({ id, msat }) => {
    const [preimage, payment] = [crypto.randomBytes(32), crypto.randomBytes(32)].map((b) => new Uint8Array(b));
    const payee = ldk.PaymentParameters.constructor_for_keysend(bytes(id), 42, false);
    const hash = must(
      manager.send_spontaneous_payment(
        ldk.Option_ThirtyTwoBytesZ.constructor_some(preimage),
        ldk.RecipientOnionFields.constructor_spontaneous_empty(), payment,
        ldk.RouteParameters.constructor_from_payment_params_and_value(payee, BigInt(msat)),
        ldk.Retry.constructor_attempts(3),
      ),
    );
    return { hash: hex(hash) };
  },
  claim: ({ preimage }) => {
    claimed[crypto.createHash('sha256').update(bytes(preimage)).digest('hex')] = bytes(preimage);
    manager.claim_funds(bytes(preimage));
  },
  gossip: () => {
    const locked = graph.read_only(); // freed by hand: the next message for the graph waits for it
    try {
      return locked.list_channels().map((scid) => {
        const channel = locked.channel(scid);
        const policy = (update) =>
          update && { fee_base_msat: update.get_fees().get_base_msat(), timestamp: update.get_last_update() };
        return {
          scid: scid.toString(),
          nodes: [channel.get_node_one(), channel.get_node_two()].map((node) => hex(node.as_slice())),
          policies: [policy(channel.get_one_to_two()), policy(channel.get_two_to_one())],
        };
      });
    } finally {
      locked.free();
    }
  },
  hold: ({ on }) => {
    held = on;
  },
  held: () => unsaved.length,
  follow: () => followNext().then(() => null),
  events: () => events,
};
http
  .createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    let answer;
    try {
      answer = { result: (await verbs[request.url.slice(1)](JSON.parse(body))) ?? null };
    } catch (error) {
      log('control', request.url, error.stack);
      answer = { error: error.message };
    }
    wake();
    response.end(JSON.stringify(answer));
  })
  .listen(Number(controlPort), '127.0.0.1', () => {
    sockets.listen(Number(lightningPort));
    print(JSON.stringify({ id: hex(manager.get_our_node_id()) }));
  });
