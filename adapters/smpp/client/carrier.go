package client

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/linxGnu/gosmpp/data"
	"github.com/linxGnu/gosmpp/pdu"

	"github.com/chirograph/chirograph/adapters/smpp/wire"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/sms"
)

var _ ledger.Carrier = (*Client)(nil)

// Account names the carrier account.
func (c *Client) Account() string { return c.cfg.Account }

// Changed receives a value after a bind began or ended, a slot became free or the
// rate was cut.
func (c *Client) Changed() <-chan struct{} { return c.changed }

// Takes reports whether the account can begin with one more message now; see ledger.Carrier.
func (c *Client) Takes(promised int, now time.Time) (ok bool, next time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.a.takes(promised, now)
}

// Pace is how long the account is expected to take for so many more parts; see ledger.Carrier.
func (c *Client) Pace(parts int, now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.a.pace(parts, now)
}

// Submit queues one part, which is written as submit_sm (SMPP 3.4 §4.4.1); see ledger.Carrier. done
// is called by the client's goroutines, or inside Submit when the part is refused at once. If the
// process ends before, done is not called; at answer_by the ledger puts the hand-off in doubt.
func (c *Client) Submit(h ledger.Handoff, done func(ledger.HandoffResult)) {
	p := &submit{
		callBy: h.CallBy, answerBy: h.AnswerBy, of: ledger.Queued{Message: h.Message, Tenant: h.Tenant, Program: h.Program},
		done: func(r result) { done(handoffResult(r)) },
	}
	var err error
	if p.octets, err = submitSM(h, c.cfg); err != nil {
		done(ledger.HandoffResult{Status: ledger.HandoffNotCalled, Reason: err.Error()})
		return
	}
	c.step(func(a *account, now time.Time) { a.submit(p, now) })
}

// Withdraw takes the parts back that fit and are not written yet; see ledger.Withdrawer.
func (c *Client) Withdraw(fits func(ledger.Queued) bool) {
	c.step(func(a *account, _ time.Time) { a.withdraw(fits) })
}

var handoffStatus = [...]ledger.HandoffStatus{
	unknown:   ledger.HandoffUnknown,
	accepted:  ledger.HandoffTaken,
	retry:     ledger.HandoffRetry,
	final:     ledger.HandoffFinal,
	notCalled: ledger.HandoffNotCalled,
}

// handoffResult is a session's result in the ledger's words.
func handoffResult(r result) ledger.HandoffResult {
	return ledger.HandoffResult{Status: handoffStatus[r.outcome], CarrierID: r.id, Code: r.code, Reason: r.reason}
}

// submitSM encodes a part as the account's carrier asks for it; its sequence_number is still 0.
func submitSM(h ledger.Handoff, cfg Config) ([]byte, error) {
	m := &pdu.SubmitSM{}
	m.CommandID = data.SUBMIT_SM
	m.ServiceType = cfg.ServiceType
	m.SourceAddr, m.DestAddr = addresses(cfg, h.From, h.To)
	if h.Segment.UDH {
		m.EsmClass = data.SM_UDH_GSM
	}
	m.PriorityFlag = byte(min(max(h.Priority, 0), 3)) // SMPP 3.4 §5.2.14
	m.RegisteredDelivery = data.SM_SMSC_RECEIPT_REQUESTED
	if !h.ValidUntil.IsZero() {
		// Absolute time in UTC: tenths of a second, then quarter hours of difference (SMPP 3.4 §7.1.1).
		m.ValidityPeriod = h.ValidUntil.UTC().Format("060102150405") + "000+"
	}
	if err := m.Message.SetMessageDataWithEncoding(h.Segment.Octets, wire.Coding(h.Segment.DataCoding)); err != nil {
		return nil, err
	}
	m.OptionalParameters = map[pdu.Tag]pdu.Field{
		pdu.TagUserMessageReference: {Tag: pdu.TagUserMessageReference, Data: binary.BigEndian.AppendUint16(nil, h.Reference)},
	}
	octets := wire.Append(nil, m)
	for i := range cfg.TLVs {
		if t := &cfg.TLVs[i]; t.applies(h.Tenant, h.Program) {
			octets = wire.AppendTLV(octets, t.Tag, t.Value)
		}
	}
	return octets, nil
}

// addresses are the source and the destination address of a submit.
func addresses(cfg Config, from sms.Sender, to sms.Number) (source, dest pdu.Address) {
	ton, npi := senderType(from)
	return address(set(cfg.SourceTON, ton), set(cfg.SourceNPI, npi), strings.TrimPrefix(string(from), "+")),
		address(set(cfg.DestTON, data.GSM_TON_INTERNATIONAL), set(cfg.DestNPI, data.GSM_NPI_ISDN), strings.TrimPrefix(string(to), "+"))
}

// set is what the configuration says, or else otherwise.
func set(configured *byte, otherwise byte) byte {
	if configured != nil {
		return *configured
	}
	return otherwise
}

// addressRange is the address range of a bind.
func addressRange(cfg Config) pdu.AddressRange {
	return pdu.NewAddressRangeWithTonNpiAddr(cfg.AddrTON, cfg.AddrNPI, cfg.AddressRange)
}

// putSequence writes a PDU's sequence_number.
func putSequence(octets []byte, sequence int32) {
	binary.BigEndian.PutUint32(octets[12:], uint32(sequence))
}

// senderType is a sender's type of number and numbering plan (SMPP 3.4 §5.2.5, §5.2.6): alphanumeric
// 5 and 0, short code 3 and 0, long code 1 and 1.
func senderType(from sms.Sender) (ton, npi byte) {
	switch from.Type() {
	case sms.Alphanumeric:
		return data.GSM_TON_ALPHANUMERIC, data.GSM_NPI_UNKNOWN
	case sms.ShortCode:
		return data.GSM_TON_NETWORK, data.GSM_NPI_UNKNOWN
	}
	return data.GSM_TON_INTERNATIONAL, data.GSM_NPI_ISDN
}

// address makes an address. It checks no length: an E.164 number has 15 digits and a sender 11
// characters at most, and the field has room for 20.
func address(ton, npi byte, digits string) pdu.Address {
	a := pdu.NewAddressWithTonNpi(ton, npi)
	_ = a.SetAddress(digits)
	return a
}

// deliver gives a deliver_sm or data_sm, or the answer to a question, to the inbox.
func (c *Client) deliver(d delivery) {
	if d.report != nil {
		c.inbox.Deliver(ledger.Delivery{Account: c.cfg.Account, Received: c.now(), Raw: d.report.raw, From: d.report.from, To: d.report.to,
			Receipt: &d.report.receipt}, func(err error) {
			if err != nil {
				c.log.Warn("smpp: the carrier's answer to a question could not be recorded", "cause", err)
			}
		})
		return
	}
	out := readDelivery(d.message, c.cfg)
	if out.Unreadable {
		c.log.Warn("smpp: an inbound message, or a part of it, could not be read; its octets are kept",
			"data_coding", d.message.DataCoding, "esm_class", d.message.EsmClass)
	}
	out.Account, out.Received = c.cfg.Account, c.now()
	c.inbox.Deliver(out, func(err error) {
		c.step(func(a *account, now time.Time) { a.sessions[d.session].acked(d.ack, err, now) })
	})
}

// Message types within esm_class of deliver_sm and data_sm (SMPP 3.4 §5.2.12).
const (
	typeMask         = 0x3C
	typeReceipt      = 0x04
	typeDeliveryAck  = 0x08
	typeManualAck    = 0x10
	typeIntermediate = 0x20
)

// readDelivery reads a message as a receipt, as an inbound message (MO), or as both. It refuses
// nothing: a message whose text cannot be read is delivered with its octets, as Unreadable,
// because it may be an opt-out.
func readDelivery(m *wire.Message, cfg Config) ledger.Delivery {
	d := ledger.Delivery{Raw: m.Body, From: wire.Source(m.Source.Octets), To: wire.Text(m.Dest.Octets),
		FromTON: m.Source.TON, FromNPI: m.Source.NPI, ToTON: m.Dest.TON, ToNPI: m.Dest.NPI}
	if v, ok := number(m, pdu.TagUserMessageReference); ok {
		d.Reference = uint16(v)
	}
	switch kind := m.EsmClass & typeMask; kind {
	case typeReceipt, typeReceipt | typeIntermediate, typeIntermediate:
		r, parsed := readReceipt(m, cfg.Alphabet, kind&typeIntermediate != 0)
		d.Receipt = r
		if !parsed && r.ID == "" && r.State == sms.StateUnknown {
			// It says nothing that a receipt says: perhaps it is a person's text with the wrong label.
			d.Texts, d.Concat, _ = readText(m, cfg.Alphabet)
			d.Mislabelled = true
		}
		return d
	case typeDeliveryAck, typeManualAck:
		r, parsed := readReceipt(m, cfg.Alphabet, true)
		d.Receipt = r
		if parsed && looksLikeReceipt(m, cfg.Alphabet) {
			// What a person wrote may stand beside it.
			d.Texts, d.Concat, _ = readText(m, cfg.Alphabet)
			d.Texts, d.Mislabelled = besideReceipts(d.Texts), true
			return d
		}
		// A person may have typed the acknowledgement: so its text counts too.
	case 0:
		if cfg.SniffReceipts {
			if r, parsed := readReceipt(m, cfg.Alphabet, false); parsed && r.ID != "" && looksLikeReceipt(m, cfg.Alphabet) {
				d.Receipt = r
				return d
			}
		}
	default:
		d.Mislabelled = true // a type that SMPP reserves (§5.2.12)
	}
	d.Texts, d.Concat, d.Unreadable = readText(m, cfg.Alphabet)
	return d
}

const (
	// maxTexts bounds the readings of a message's fields as they are.
	maxTexts = 6
	// maxOthers bounds, in octets, what is read of a text beside the longest one.
	maxOthers = 600
)

// readText reads what a person wrote: all readings of all fields that may have it, and the part of
// a longer message that it is. damaged says that something could not be read.
func readText(m *wire.Message, alphabet sms.Encoding) (texts []string, concat *sms.Concat, damaged bool) {
	header := m.EsmClass&data.SM_UDH_GSM != 0
	in := sms.ReadOctets(m.DataCoding, m.Octets, header, alphabet)
	n := min(1, len(in.Texts))
	firsts, rest := in.Texts[:n:n], in.Texts[n:]
	concat, damaged = in.Concat, in.Damaged || m.Cut
	for _, octets := range m.Others {
		if len(octets) > maxOthers {
			octets, damaged = octets[:maxOthers], true
		}
		other := sms.ReadOctets(m.DataCoding, octets, header, alphabet)
		damaged = damaged || other.Damaged
		if concat == nil {
			concat = other.Concat
		}
		if len(other.Texts) > 0 {
			firsts, rest = append(firsts, other.Texts[0]), append(rest, other.Texts[1:]...)
		}
	}
	further, part := hidden(m, header, alphabet, slices.Concat(firsts, rest))
	if concat == nil {
		concat = part
	}
	if concat == nil {
		concat = sar(m)
	}
	add := func(all []string, most int) {
		for _, t := range all {
			if !slices.Contains(texts, t) && len(texts) < most {
				texts = append(texts, t)
			}
		}
	}
	add(slices.Concat(firsts, rest), maxTexts)
	add(further, len(texts)+maxHidden)
	return texts, concat, damaged
}

// maxHidden bounds the readings of what a field hides; they come beside those of the fields as they are.
const maxHidden = 3

// hidden reads the words that a length which is too short, or a user data header of which esm_class does not tell, hides.
// seen are the readings of the fields as they are.
func hidden(m *wire.Message, header bool, alphabet sms.Encoding, seen []string) (texts []string, part *sms.Concat) {
	for _, octets := range m.Longer {
		octets = octets[:min(len(octets), maxOthers)]
		if utf8.Valid(octets) && !utf8.Valid(m.Octets) { // it ended within a character
			texts = append(texts, string(octets))
		}
		in := sms.ReadOctets(m.DataCoding, octets, header, alphabet)
		for _, t := range in.Texts {
			if !in.Damaged && slices.ContainsFunc(seen, func(short string) bool { return goesOn(short, t) }) {
				texts = append(texts, t)
			}
		}
	}
	if !header && sms.HasHeader(m.Octets) {
		in := sms.ReadOctets(m.DataCoding, m.Octets, true, alphabet)
		texts = append(texts, in.Texts...)
		if in.Concat != nil && in.Concat.Parts > 1 {
			part = in.Concat
		}
	}
	return texts, part
}

// goesOn reports whether a longer text goes on, in words, where a shorter one ends, whose last character may be cut:
// what else follows a text is words by chance.
func goesOn(short, longer string) bool {
	more, ok := strings.CutPrefix(longer, short)
	if _, n := utf8.DecodeLastRuneInString(short); !ok && n < len(short) {
		more, ok = strings.CutPrefix(longer, short[:len(short)-n])
	}
	return ok && short != "" && !strings.ContainsFunc(more, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsMark(r) && !unicode.IsDigit(r) && !strings.ContainsRune(" .,!?'-", r)
	})
}

// sar reads concatenation from optional parameters (SMPP 3.4 §5.3.2.22 to 24); nil: there is none.
func sar(m *wire.Message) *sms.Concat {
	ref, ok1 := number(m, pdu.TagSarMsgRefNum)
	total, ok2 := number(m, pdu.TagSarTotalSegments)
	part, ok3 := number(m, pdu.TagSarSegmentSeqnum)
	if !ok1 || !ok2 || !ok3 || total < 2 || total > 255 || part < 1 || part > total {
		return nil
	}
	return &sms.Concat{Reference: uint16(ref), Part: int(part), Parts: int(total)}
}

// number reads an optional parameter that is an integer of 1, 2 or 4 octets.
func number(m *wire.Message, tag pdu.Tag) (uint32, bool) {
	switch b := m.TLVs[tag].Data; len(b) {
	case 1:
		return uint32(b[0]), true
	case 2:
		return uint32(binary.BigEndian.Uint16(b)), true
	case 4:
		return binary.BigEndian.Uint32(b), true
	}
	return 0, false
}

// readReceipt reads a receipt from its text (SMPP 3.4 appendix B) and its optional parameters.
// Where both say something, the optional parameters count, because they are exact. parsed says
// that the text has an id or a state of a receipt. What names something is written as wire.Text
// does, so that an id is the one in submit_sm_resp. If the text has another id than
// receipted_message_id, it is TextID: which of them is the one in submit_sm_resp differs by carrier.
func readReceipt(m *wire.Message, alphabet sms.Encoding, intermediate bool) (*sms.Receipt, bool) {
	r, parsed := receiptText(m, alphabet)
	if f, ok := m.TLVs[pdu.TagReceiptedMessageID]; ok {
		if id, _, _ := bytes.Cut(f.Data, []byte{0}); len(id) > 0 && string(id) != r.ID {
			r.ID, r.TextID = string(id), r.ID
		}
	}
	if v, ok := number(m, pdu.TagMessageStateOption); ok && v <= uint32(sms.StateSkipped) && (v > 0 || r.State == sms.StateUnknown) {
		r.State = sms.MessageState(v) // 0 is no state of SMPP 3.4 (§5.2.28)
	}
	if e := networkError(m.TLVs[pdu.TagNetworkErrorCode].Data); strings.Trim(e, "0") != "" {
		r.Error = e
	}
	if strings.Trim(r.Error, "0") == "" {
		r.Error = "" // err:000
	}
	r.ID, r.TextID, r.Error = wire.Text(r.ID), wire.Text(r.TextID), wire.Text(r.Error)
	r.Intermediate = intermediate
	r.Final = r.State.Final() && !intermediate
	return &r, parsed
}

// receiptText reads the text of a receipt. That is ASCII, whatever data_coding says and whatever
// alphabet the account has: as GSM 03.38, '_' in an id would become '§'. If it is no receipt in
// ASCII, or its id has control characters (in GSM 03.38 0x11 is '_', and 0x00 '@'), its other readings are tried.
func receiptText(m *wire.Message, alphabet sms.Encoding) (sms.Receipt, bool) {
	says := func(text string) (sms.Receipt, bool) {
		r, ok := sms.ParseReceipt(text)
		return r, ok && (r.ID != "" || r.State != sms.StateUnknown)
	}
	for _, octets := range append([][]byte{m.Octets}, m.Others...) {
		ascii, ok := says(string(octets))
		if ok && !strings.ContainsFunc(ascii.ID, unicode.IsControl) {
			return ascii, true
		}
		for _, text := range sms.ReadOctets(m.DataCoding, octets, m.EsmClass&data.SM_UDH_GSM != 0, alphabet).Texts {
			r, says := says(text)
			if says && (!ok || r.ID != "" && wire.Text(r.ID) == r.ID) {
				return r, true
			}
		}
		if ok {
			return ascii, true
		}
	}
	r, _ := sms.ParseReceipt(string(m.Octets)) // it may have dates or an error code
	return r, false
}

// besideReceipts are the texts without those that are receipts; of a receipt with other words in it, the words.
func besideReceipts(texts []string) (out []string) {
	for _, text := range texts {
		if sms.LooksLikeReceipt(text) {
			text = sms.BesideReceipt(text)
		}
		if text != "" && !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return out
}

// looksLikeReceipt reports whether one of the readings of a message's texts looks like a receipt.
func looksLikeReceipt(m *wire.Message, alphabet sms.Encoding) bool {
	for _, octets := range append([][]byte{m.Octets}, m.Others...) {
		if sms.LooksLikeReceipt(string(octets)) ||
			slices.ContainsFunc(sms.ReadOctets(m.DataCoding, octets, m.EsmClass&data.SM_UDH_GSM != 0, alphabet).Texts, sms.LooksLikeReceipt) {
			return true
		}
	}
	return false
}

// networkError is the code of network_error_code (SMPP 3.4 §5.3.2.31): one octet
// of network type, two of code. Some carriers write three ASCII digits instead.
func networkError(b []byte) string {
	if len(b) != 3 {
		return ""
	}
	digit := func(c byte) bool { return '0' <= c && c <= '9' }
	if digit(b[0]) && digit(b[1]) && digit(b[2]) {
		return string(b)
	}
	return strconv.Itoa(int(binary.BigEndian.Uint16(b[1:])))
}
