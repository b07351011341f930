// A message centre by node-smpp. It reads commands from standard input, name=value a line and a line "." at the end,
// and writes what happens to standard output, one JSON value a line; centre_test.go says which.
'use strict';
const smpp = require(process.argv[2] + '/node_modules/smpp');

const say = (event) => process.stdout.write(JSON.stringify(event) + '\n');

// The octets and the period as they came, beside what node-smpp makes of them.
for (const [name, raw] of [['message', 'octets'], ['time', 'period']]) {
  const decode = smpp.filters[name].decode;
  smpp.filters[name].decode = function (value, ...rest) {
    if (value && value.length) {
      this[raw] = Buffer.isBuffer(value) ? value.toString('hex') : value;
    }
    return decode.call(this, value, ...rest);
  };
}

const CODINGS = { default: 0, ascii: 1, latin1: 3, ucs2: 8 };
const fields = ['system_id', 'password', 'system_type', 'interface_version', 'addr_ton', 'addr_npi', 'address_range',
  'service_type', 'source_addr_ton', 'source_addr_npi', 'source_addr', 'dest_addr_ton', 'dest_addr_npi',
  'destination_addr', 'esm_class', 'protocol_id', 'priority_flag', 'registered_delivery', 'replace_if_present_flag',
  'data_coding', 'sm_default_msg_id', 'user_message_reference', 'message_id', 'octets', 'period'];

function got(pdu) {
  const event = { event: 'got', command: pdu.command, sequence: pdu.sequence_number, status: pdu.command_status };
  for (const f of fields) {
    if (pdu[f] !== undefined && pdu[f] !== '') {
      event[f] = pdu[f];
    }
  }
  if (pdu.short_message && pdu.short_message.message !== undefined) {
    event.text = String(pdu.short_message.message);
    event.udh = (pdu.short_message.udh || []).map((e) => e.toString('hex'));
  }
  if (pdu.validity_period instanceof Date) {
    event.until = pdu.validity_period.toISOString();
  }
  say(event);
}

let session, answers = [], id = 0;

// answer is how the next submit_sm is answered.
function answer(pdu) {
  const how = answers.shift() || '';
  if (how.startsWith('nack:')) {
    session.send(new smpp.PDU('generic_nack', { sequence_number: pdu.sequence_number, command_status: +how.slice(5) }));
  } else if (how) {
    session.send(pdu.response({ command_status: +how }));
  } else {
    session.send(pdu.response({ message_id: 'node-' + (++id) }));
  }
}

const server = smpp.createServer((s) => {
  session = s;
  s.on('pdu', got);
  for (const bind of ['bind_transceiver', 'bind_transmitter', 'bind_receiver']) {
    s.on(bind, (pdu) => s.send(pdu.response({ system_id: 'node-smpp' })));
  }
  s.on('submit_sm', answer);
  s.on('enquire_link', (pdu) => s.send(pdu.response()));
  s.on('unbind', (pdu) => { s.send(pdu.response()); s.close(); });
  s.on('error', (e) => say({ event: 'error', text: String(e) }));
  s.on('close', () => say({ event: 'closed' }));
});

// message is the fields of a deliver_sm or data_sm; node-smpp encodes the text.
function message(c) {
  let text = c.text || '';
  if (c.udh) {
    text = { udh: Buffer.from(c.udh, 'hex'), message: text };
  }
  const m = {
    source_addr: c.source, source_addr_ton: 1, source_addr_npi: 1,
    destination_addr: c.destination, dest_addr_ton: 1, dest_addr_npi: 1,
    esm_class: +(c.esm_class || 0), data_coding: CODINGS[c.coding || 'default'],
  };
  m[c.command === 'data_sm' || c.payload ? 'message_payload' : 'short_message'] = text;
  if (c.state) {
    Object.assign(m, { receipted_message_id: c.receipt, message_state: +c.state });
  }
  if (c.error) {
    m.network_error_code = Buffer.from(c.error, 'hex');
  }
  if (c.reference) {
    m.user_message_reference = +c.reference;
  }
  if (c.parts) {
    Object.assign(m, { sar_msg_ref_num: +c.sar, sar_total_segments: +c.parts, sar_segment_seqnum: +c.part });
  }
  return m;
}

function send(c) {
  let pdu;
  switch (c.command) {
    case 'deliver_sm':
    case 'data_sm':
      pdu = new smpp.PDU(c.command, message(c));
      break;
    case 'alert_notification':
      pdu = new smpp.PDU(c.command, { source_addr: c.source, esme_addr: c.destination });
      break;
    case 'outbind':
      pdu = new smpp.PDU(c.command, { system_id: 'centre', password: 'secret' });
      break;
    case 'unknown':
      session.socket.write(Buffer.from(c.octets, 'hex'));
      say({ event: 'sent', command: c.command });
      return;
    default:
      pdu = new smpp.PDU(c.command, {});
  }
  session.send(pdu, undefined, () => {});
  say({ event: 'sent', command: c.command, sequence: pdu.sequence_number });
}

let command = {};
require('readline').createInterface({ input: process.stdin })
  .on('line', (line) => {
    if (line !== '.') {
      const at = line.indexOf('=');
      command[line.slice(0, at)] = line.slice(at + 1);
      return;
    }
    const c = command;
    command = {};
    if (c.command === 'answers') {
      answers = c.answers.split(',');
      say({ event: 'sent', command: c.command });
    } else {
      send(c);
    }
  })
  .on('close', () => process.exit(0));

server.listen(0, '127.0.0.1', () => say({ event: 'port', port: server.address().port }));
