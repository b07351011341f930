"""Reads PDUs with smpplib's strict parser: from standard input, in hexadecimal, one a line. It writes one JSON object a
line; written_test.go says which."""

import json
import sys

sys.path.insert(0, sys.argv[1])

from smpplib import smpp  # noqa: E402

NAMES = {
    'command': 'command', 'sequence': 'sequence', 'status': 'status', 'system_id': 'system_id', 'password': 'password',
    'system_type': 'system_type', 'interface_version': 'interface_version', 'addr_ton': 'addr_ton', 'addr_npi': 'addr_npi',
    'address_range': 'address_range', 'service_type': 'service_type', 'source_addr_ton': 'source_addr_ton',
    'source_addr_npi': 'source_addr_npi', 'source_addr': 'source_addr', 'dest_addr_ton': 'dest_addr_ton',
    'dest_addr_npi': 'dest_addr_npi', 'destination_addr': 'destination_addr', 'esm_class': 'esm_class',
    'protocol_id': 'protocol_id', 'priority_flag': 'priority_flag', 'validity_period': 'period',
    'registered_delivery': 'registered_delivery', 'replace_if_present_flag': 'replace_if_present_flag',
    'data_coding': 'data_coding', 'sm_default_msg_id': 'sm_default_msg_id',
    'user_message_reference': 'user_message_reference',
}

for line in sys.stdin:
    raw = bytes.fromhex(line)
    out = {}
    try:
        pdu = smpp.parse_pdu(raw, sequence=0)
        if pdu.length != len(raw):
            raise ValueError('command_length is %d, of %d octets' % (pdu.length, len(raw)))
        for name, to in NAMES.items():
            value = getattr(pdu, name, None)
            if value is not None:
                out[to] = value.decode('ascii') if isinstance(value, bytes) else value
        if getattr(pdu, 'short_message', None) is not None:
            out['octets'] = pdu.short_message.hex()
    except Exception as e:  # whatever the parser does not like
        out['problem'] = '%s: %s' % (type(e).__name__, e)
    print(json.dumps(out))
