package smsc

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/linxGnu/gosmpp/data"
	"github.com/linxGnu/gosmpp/pdu"

	"github.com/chirograph/chirograph/adapters/smpp/wire"
	"github.com/chirograph/chirograph/domain/sms"
)

// conn is one connection of an ESME.
type conn struct {
	s  *Server
	nc net.Conn

	// Guarded by the server's mu.
	account  *account // nil before the bind
	receives bool     // it takes deliveries
	closed   bool
	unacked  map[int32]*item
	sequence int32

	outMu  sync.Mutex
	out    []byte
	ending bool // the connection is closed when out is written
	wake   chan struct{}
	end    chan struct{}
	close  func()
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{s: s, nc: nc, unacked: make(map[int32]*item), wake: make(chan struct{}, 1), end: make(chan struct{})}
	c.close = sync.OnceFunc(func() {
		nc.Close()
		close(c.end)
	})
	return c
}

// serve reads until the connection ends.
func (c *conn) serve() {
	var wg sync.WaitGroup
	wg.Go(func() {
		c.write()
		c.close()
	})
	r := wire.NewReader(c.nc)
	for {
		frame, err := r.Next()
		if errors.Is(err, wire.ErrLength) {
			c.send(wire.AppendHeader(nil, data.GENERIC_NACK, data.ESME_RINVCMDLEN, int32(binary.BigEndian.Uint32(frame[12:]))))
			c.finish()
			break
		}
		if err != nil {
			c.close()
			break
		}
		p, err := wire.Parse(frame)
		c.s.record.pdu("in", p, frame)
		if !c.take(p, err) {
			break
		}
	}
	wg.Wait()
	c.s.leave(c)
	c.s.log.Info("smsc: connection closed")
}

// write writes out until the connection ends.
func (c *conn) write() {
	var buf []byte
	for {
		select {
		case <-c.end:
			return
		case <-c.wake:
		}
		for {
			c.outMu.Lock()
			buf, c.out = c.out, buf[:0]
			ending := c.ending
			c.outMu.Unlock()
			if len(buf) == 0 {
				if ending {
					return
				}
				break
			}
			if _, err := c.nc.Write(buf); err != nil {
				return
			}
		}
	}
}

// maxOut bounds the octets that wait for an ESME that does not read.
const maxOut = 16 << 20

// send queues octets. It closes the connection of an ESME that does not read.
func (c *conn) send(octets []byte) {
	c.s.record.out(octets)
	c.outMu.Lock()
	c.out = append(c.out, octets...)
	full := len(c.out) > maxOut
	c.outMu.Unlock()
	if full {
		c.close()
		return
	}
	signal(c.wake)
}

// finish closes the connection when the queued octets are written.
func (c *conn) finish() {
	c.outMu.Lock()
	c.ending = true
	c.outMu.Unlock()
	signal(c.wake)
}

// deliver sends an item. Called with the server's mu held.
func (c *conn) deliver(it *item) {
	c.sequence++
	if c.sequence <= 0 {
		c.sequence = 1
	}
	it.sent++
	it.at = time.Now()
	c.unacked[c.sequence] = it
	c.send(it.encode(nil, c.sequence))
}

// take handles one PDU; false ends the connection.
func (c *conn) take(p wire.PDU, err error) bool {
	seq := p.SequenceNumber
	if err == nil && p.Message != nil && p.Message.Cut {
		err = &wire.Malformed{Status: data.ESME_RINVCMDLEN, Cause: io.ErrUnexpectedEOF}
	}
	if err != nil {
		var m *wire.Malformed
		if !wire.IsResponse(p.CommandID) && errors.As(err, &m) {
			c.send(wire.AppendHeader(nil, data.GENERIC_NACK, m.Status, seq))
		}
		return true
	}
	switch p.CommandID {
	case data.BIND_TRANSCEIVER, data.BIND_RECEIVER, data.BIND_TRANSMITTER:
		status := data.ESME_RALYBND
		if c.account == nil {
			status = c.s.bind(c, p.Bind.SystemID, p.Bind.Password, p.CommandID != data.BIND_TRANSMITTER)
		}
		if status != data.ESME_ROK {
			c.send(wire.AppendHeader(nil, wire.Response(p.CommandID), status, seq))
			return true
		}
		r := pdu.NewBindResp(*p.Bind)
		r.CommandID = wire.Response(p.CommandID)
		r.SystemID = "chirograph-smsc"
		c.send(wire.Append(nil, r))
		c.s.log.Info("smsc: bound", "system_id", p.Bind.SystemID)
		c.s.ready(c)
	case data.ENQUIRE_LINK:
		c.send(wire.AppendHeader(nil, data.ENQUIRE_LINK_RESP, data.ESME_ROK, seq))
	case data.UNBIND:
		c.send(wire.AppendHeader(nil, data.UNBIND_RESP, data.ESME_ROK, seq))
		c.finish()
		return false
	case data.SUBMIT_SM:
		if c.account == nil {
			c.send(wire.AppendHeader(nil, data.SUBMIT_SM_RESP, data.ESME_RINVBNDSTS, seq))
			return true
		}
		return c.submitted(p.Message, seq)
	case data.DELIVER_SM_RESP, data.GENERIC_NACK:
		c.acknowledged(seq, p.CommandID == data.DELIVER_SM_RESP && p.CommandStatus == data.ESME_ROK)
	default:
		if !wire.IsResponse(p.CommandID) {
			c.send(wire.AppendHeader(nil, data.GENERIC_NACK, data.ESME_RINVCMDID, seq))
		}
	}
	return true
}

// acknowledged deals with the response to a deliver_sm.
func (c *conn) acknowledged(seq int32, ok bool) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	it := c.unacked[seq]
	if it == nil {
		return
	}
	delete(c.unacked, seq)
	if !ok {
		c.s.repeat(it, time.Now())
	}
	c.s.pump(c.account)
}

// submitted deals with a submit_sm; false ends the connection.
func (c *conn) submitted(m *wire.Message, seq int32) bool {
	now := time.Now()
	s := c.s
	s.mu.Lock()
	fate, status, alive, early := "taken", data.ESME_ROK, true, false
	counts := true // the centre has taken the message
	switch {
	case s.chance(s.cfg.Drop):
		fate, alive = "dropped", false
		counts = s.rng.IntN(2) == 0
	case s.chance(s.cfg.Silent):
		fate = "silent"
	case s.chance(s.cfg.Throttle):
		fate, status = "throttled", data.ESME_RTHROTTLED
		if s.rng.IntN(4) == 0 {
			status = data.ESME_RMSGQFUL
		}
		counts = false
	case s.chance(s.cfg.Reject):
		fate, status = "rejected", data.ESME_RSUBMITFAIL
		if s.rng.IntN(2) == 0 {
			status = data.ESME_RINVDSTADR
		}
		counts = false
	}
	report := Message{Time: now, Account: c.account.name, From: m.Source.Octets, To: m.Dest.Octets, Fate: fate, Part: 1, Parts: 1}
	var text string
	if counts || s.cfg.OnMessage != nil {
		text = report.read(m)
	}
	var receipts []*item
	if counts {
		id := s.nextID
		s.nextID++
		report.ID = strconv.FormatUint(id, 10)
		if s.cfg.HexIDs {
			report.ID = strconv.FormatUint(id, 16)
		}
		early = s.chance(s.cfg.EarlyReceipts)
		receipts = s.receipts(c.account, m, id, text, now)
	}
	if early {
		for _, it := range receipts {
			if c.receives && alive {
				c.deliver(it)
			} else {
				s.enqueue(it)
			}
		}
	}
	s.mu.Unlock()
	if s.cfg.OnMessage != nil {
		s.cfg.OnMessage(report)
	}
	switch fate {
	case "dropped":
		c.close()
	case "silent":
	default:
		c.send(wire.AppendResponse(nil, data.SUBMIT_SM, status, seq, report.ID))
	}
	if counts {
		s.mu.Lock()
		if !early {
			for _, it := range receipts {
				if s.cfg.ReceiptDelay > 0 {
					s.later(it, now.Add(s.cfg.ReceiptDelay))
				} else {
					s.enqueue(it)
				}
			}
		}
		// A handset cannot answer an alphanumeric sender.
		if s.chance(s.cfg.MO) && m.Source.TON != data.GSM_TON_ALPHANUMERIC {
			answer := s.cfg.MOTexts[s.rng.IntN(len(s.cfg.MOTexts))]
			if err := s.inbound(c.account, report.To, report.From, answer, now.Add(s.cfg.ReceiptDelay)); err != nil {
				s.log.Warn("smsc: an inbound text could not be encoded", "cause", err)
			}
		}
		s.mu.Unlock()
	}
	return alive
}

// read sets the text and the part, and returns the text.
func (r *Message) read(m *wire.Message) string {
	in := sms.ReadOctets(m.DataCoding, m.Octets, m.EsmClass&data.SM_UDH_GSM != 0, sms.GSM7)
	if c := in.Concat; c != nil {
		r.Part, r.Parts, r.Reference = c.Part, c.Parts, c.Reference
	}
	if len(in.Texts) > 0 {
		r.Text = in.Texts[0]
	}
	return r.Text
}

// receipts are the receipts that a message gets: none, one or two. Called with mu held.
func (s *Server) receipts(a *account, m *wire.Message, id uint64, text string, now time.Time) []*item {
	undeliverable, none, twice := s.chance(s.cfg.Undeliverable), s.chance(s.cfg.NoReceipts), s.chance(s.cfg.DuplicateReceipts)
	if none || m.RegisteredDelivery&data.SM_SMSC_RECEIPT_MASK == 0 ||
		m.RegisteredDelivery&data.SM_SMSC_RECEIPT_MASK == data.SM_SMSC_RECEIPT_ON_FAILURE && !undeliverable {
		return nil
	}
	stat, state, code := "DELIVRD", byte(data.SM_STATE_DELIVERED), uint16(0)
	if undeliverable {
		stat, state, code = "UNDELIV", data.SM_STATE_UNDELIVERABLE, 27 // absent subscriber
	}
	decimal := strconv.FormatUint(id, 10)
	it := item{account: a, esm: data.SM_SMSC_DLV_RCPT_TYPE, from: m.Dest.Octets, to: m.Source.Octets,
		octets: receiptText(decimal, stat, code, now, now.Add(s.cfg.ReceiptDelay), text)}
	if s.cfg.MaskedNumbers {
		it.from, it.to = mask(it.from), mask(it.to)
	}
	if !s.cfg.TextReceipts {
		it.receipt = &receipt{id: decimal, state: state, errorCode: code, reference: m.TLVs[pdu.TagUserMessageReference].Data}
	}
	if !twice {
		return []*item{&it}
	}
	second := it
	return []*item{&it, &second}
}
