package client

import (
	"encoding/binary"
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/linxGnu/gosmpp/data"
	"github.com/linxGnu/gosmpp/pdu"
	"pgregory.net/rapid"

	"github.com/chirograph/chirograph/adapters/smpp/wire"
)

var epoch = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func testConfig() Config {
	cfg := Config{Account: "a", Addr: "a:1", SystemID: "esme", Window: 4, ResponseTimeout: time.Second,
		EnquireLink: 10 * time.Second, Deliveries: 3, DrainTimeout: 5 * time.Second}
	if err := cfg.check(); err != nil {
		panic(err)
	}
	return cfg
}

// frames cuts octets into PDUs; the last may be cut short.
func frames(octets []byte) (out []wire.PDU) {
	for len(octets) >= wire.HeaderLen {
		n := min(int(binary.BigEndian.Uint32(octets)), len(octets))
		p, _ := wire.Parse(octets[:n])
		p.Header = pdu.ParseHeader([16]byte(octets))
		out = append(out, p)
		octets = octets[n:]
	}
	return out
}

func response(id data.CommandIDType, status data.CommandStatusType, seq int32, messageID string) wire.PDU {
	return wire.PDU{Header: pdu.Header{CommandID: id, CommandStatus: status, SequenceNumber: seq}, MessageID: messageID}
}

func testSubmit(callBy, answerBy time.Time, done func(result)) *submit {
	m := &pdu.SubmitSM{}
	m.CommandID = data.SUBMIT_SM
	return &submit{octets: wire.Append(nil, m), callBy: callBy, answerBy: answerBy, done: done}
}

// write flushes everything and says it was written.
func write(s *session, now time.Time) []wire.PDU {
	var all []byte
	for {
		buf, _ := s.flush(nil, now)
		if len(buf) == 0 {
			return frames(all)
		}
		s.wrote(len(buf), nil, now)
		all = append(all, buf...)
	}
}

// settleAll tells what a step settled, as the client does.
func settleAll(s *session) effects {
	out := s.take()
	for _, r := range out.answers {
		r.done(r.result)
	}
	return out
}

// boundSession is a session whose bind is up at epoch.
func boundSession(t testing.TB, cfg Config) *session {
	t.Helper()
	s := newTestSession(cfg)
	s.connected(epoch)
	out := write(s, epoch)
	if len(out) != 1 || out[0].CommandID != data.BIND_TRANSCEIVER || out[0].Bind.SystemID != cfg.SystemID || out[0].Bind.InterfaceVersion != 0x34 {
		t.Fatalf("connecting wrote %+v", out)
	}
	s.receive(response(data.BIND_TRANSCEIVER_RESP, 0, out[0].SequenceNumber, ""), nil, epoch)
	if s.phase != bound {
		t.Fatalf("phase %d after bind_transceiver_resp", s.phase)
	}
	settleAll(s)
	return s
}

// call is a submit as the model knows it.
type call struct {
	*submit
	callBy  time.Time
	told    []result
	flushed bool // it was in a batch to be written
	begun   bool // at least one octet went to the kernel
	ids     []string
}

// TestSession drives the step with every order of submits, writes cut short,
// responses early, late, doubled, foreign and broken, losses and drains.
func TestSession(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := testConfig()
		cfg.Window = rapid.IntRange(1, 6).Draw(t, "window")
		if rapid.Bool().Draw(t, "limited") {
			cfg.TPS = 50
		}
		s := newTestSession(cfg)
		s.sequence = int32(math.MaxInt32 - rapid.IntRange(0, 40).Draw(t, "before the wrap"))
		now := epoch
		var calls []*call
		open := map[int32]*call{} // in the window, by sequence
		opened := func() {
			clear(open)
			for _, c := range calls {
				if s.window[c.sequence] == c.submit {
					open[c.sequence] = c
				}
			}
		}
		var inFlight []byte // flushed, not yet reported as written
		flushed := false
		outran := false            // what is in flight has been answered, so all of it was written
		acks := map[uint64]int32{} // deliveries of this connection the inbox holds
		var stale []uint64         // acks that mean nothing any more
		owed := map[int32]int{}    // responses to deliver_sm that may be written
		var deliverSeq int32
		drained := false
		// Whether the bind was this node's at the last connect.
		allowed := true

		take := func() {
			out := s.take()
			for _, r := range out.answers {
				r.done(r.result)
			}
			for _, d := range out.deliveries {
				acks[d.ack] = int32(binary.BigEndian.Uint32(d.message.Body))
			}
		}
		reset := func() {
			clear(owed)
			for a := range acks {
				stale = append(stale, a)
			}
			clear(acks)
			inFlight, flushed = nil, false
		}
		written := func(octets []byte) {
			for _, p := range frames(octets) {
				if p.SequenceNumber <= 0 && !wire.IsResponse(p.CommandID) {
					t.Fatalf("sequence_number %d", p.SequenceNumber)
				}
				switch p.CommandID {
				case data.SUBMIT_SM:
					for _, c := range calls {
						if c.sequence == p.SequenceNumber && !c.begun && len(c.told) == 0 {
							c.begun = true
						}
					}
				case data.DELIVER_SM_RESP:
					if owed[p.SequenceNumber]--; owed[p.SequenceNumber] < 0 {
						t.Fatalf("a deliver_sm was acknowledged before the inbox did")
					}
				}
			}
		}
		anySeq := func() int32 {
			seqs := slices.Sorted(maps.Keys(open))
			seqs = append(seqs, s.bindSeq, s.enquireSeq, s.unbindSeq, 0, 77, -5)
			for q := range s.late {
				seqs = append(seqs, q)
			}
			slices.Sort(seqs)
			return rapid.SampledFrom(seqs).Draw(t, "sequence")
		}

		t.Repeat(map[string]func(*rapid.T){
			"connect": func(t *rapid.T) {
				if s.phase != down || s.a.stop {
					t.Skip()
				}
				allowed = !s.a.withheld
				s.connected(now)
				if allowed != (s.phase == binding) {
					t.Fatalf("phase %d, and the bind allowed is %v", s.phase, allowed)
				}
				if rapid.IntRange(0, 5).Draw(t, "slow") != 0 {
					s.receive(response(data.BIND_TRANSCEIVER_RESP, data.ESME_ROK, s.bindSeq, ""), nil, now)
				}
			},
			"bound": func(t *rapid.T) {
				if s.phase != binding {
					t.Skip()
				}
				status := data.ESME_ROK
				if rapid.IntRange(0, 9).Draw(t, "refused") == 0 {
					status = data.ESME_RINVPASWD
				}
				s.receive(response(data.BIND_TRANSCEIVER_RESP, status, s.bindSeq, ""), nil, now)
			},
			"submit": func(t *rapid.T) {
				c := &call{callBy: now.Add(time.Duration(rapid.IntRange(-10, 2000).Draw(t, "call by")) * time.Millisecond)}
				c.submit = testSubmit(c.callBy, c.callBy.Add(2*time.Second), func(r result) { c.told = append(c.told, r) })
				calls = append(calls, c)
				usable := s.a.usable()
				s.submit(c.submit, now)
				take()
				opened()
				if usable && c.callBy.Sub(now) >= callMargin != (len(c.told) == 0) {
					t.Fatalf("a bind is there: %v, called by %v, told %v", usable, c.callBy.Sub(now), c.told)
				}
				if usable && (drained || s.a.withheld) {
					t.Fatal("submits are taken after drain, or without a share")
				}
			},
			"flush": func(t *rapid.T) {
				if flushed || s.phase == down {
					t.Skip()
				}
				opened()
				buf, by := s.flush(nil, now)
				take()
				if len(buf) == 0 {
					t.Skip()
				}
				inFlight, flushed, outran = buf, true, false
				for _, p := range frames(buf) {
					if p.CommandID == data.BIND_TRANSCEIVER && !allowed {
						t.Fatal("a bind was asked for without a share")
					}
					if c := open[p.SequenceNumber]; p.CommandID == data.SUBMIT_SM && (c == nil || now.After(c.callBy) || by.After(c.callBy)) {
						t.Fatal("a submit is written past its callBy")
					} else if c != nil && p.CommandID == data.SUBMIT_SM {
						if c.flushed = true; s.phase == closing {
							t.Fatal("a submit is written after the session was given up")
						}
					}
				}
			},
			"wrote": func(t *rapid.T) {
				if !flushed {
					t.Skip()
				}
				opened()
				n, err := len(inFlight), error(nil)
				if rapid.IntRange(0, 4).Draw(t, "broken") == 0 {
					n, err = rapid.IntRange(0, len(inFlight)).Draw(t, "n"), errors.New("broken pipe")
					if outran {
						n = len(inFlight)
					}
				}
				written(inFlight[:n])
				if n > 0 && err != nil { // a submit of which an octet left has begun
					for end, rest := 0, inFlight; len(rest) > 0; {
						l := int(binary.BigEndian.Uint32(rest))
						submits := binary.BigEndian.Uint32(rest[4:]) == uint32(data.SUBMIT_SM)
						if q := int32(binary.BigEndian.Uint32(rest[12:])); submits && end < n && open[q] != nil {
							open[q].begun = true
						}
						end += l
						rest = rest[l:]
					}
				}
				inFlight, flushed = nil, false
				s.wrote(n, err, now)
			},
			"respond": func(t *rapid.T) {
				opened()
				seq := anySeq()
				p := response(data.SUBMIT_SM_RESP, data.ESME_ROK, seq, "id")
				switch rapid.IntRange(0, 6).Draw(t, "how") {
				case 0:
					p.CommandStatus = data.ESME_RTHROTTLED
				case 1:
					p.CommandStatus = data.ESME_RINVDSTADR
				case 2:
					p.CommandID = data.GENERIC_NACK
				case 3:
					p.MessageID = ""
				}
				for _, c := range calls {
					if c.sequence == seq && p.CommandID == data.SUBMIT_SM_RESP && p.CommandStatus == data.ESME_ROK {
						c.ids = append(c.ids, p.MessageID)
					}
				}
				// A response to what is still in our buffers can only be the peer's mistake;
				// one to what is being written has merely outrun the write's return.
				if c := open[seq]; c != nil && flushed {
					for _, f := range frames(inFlight) {
						if f.CommandID == data.SUBMIT_SM && f.SequenceNumber == seq {
							c.begun, outran = true, true
						}
					}
				}
				s.receive(p, nil, now)
			},
			"deliver": func(t *rapid.T) {
				if s.phase == down || s.phase == closing {
					t.Skip()
				}
				deliverSeq++
				before, over := s.phase, len(s.unacked) >= cfg.Deliveries
				s.receive(wire.PDU{Header: pdu.Header{CommandID: data.DELIVER_SM, SequenceNumber: deliverSeq},
					Message: &wire.Message{Body: binary.BigEndian.AppendUint32(nil, uint32(deliverSeq))}}, nil, now)
				if before == binding || over {
					owed[deliverSeq]++
				}
			},
			"ack": func(t *rapid.T) {
				if len(acks) == 0 {
					t.Skip()
				}
				a := rapid.SampledFrom(slices.Sorted(maps.Keys(acks))).Draw(t, "ack")
				owed[acks[a]]++
				delete(acks, a)
				stale = append(stale, a)
				s.acked(a, nil, epoch)
			},
			"ack again": func(t *rapid.T) {
				if len(stale) == 0 {
					t.Skip()
				}
				s.acked(rapid.SampledFrom(stale).Draw(t, "ack"), nil, epoch)
			},
			"time": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(1, 1500).Draw(t, "ms")) * time.Millisecond)
				s.tick(now)
			},
			"lost": func(t *rapid.T) {
				if rapid.IntRange(0, 3).Draw(t, "really") != 0 {
					t.Skip()
				}
				if flushed { // the writer reports before the connection is given up
					written(inFlight)
					s.wrote(len(inFlight), nil, now)
				}
				s.lost(errors.New("reset by peer"), now)
				take()
				reset()
				s.a.flow(now)
				take()
				if n := len(s.window) + len(s.a.queue); n > 0 {
					t.Fatalf("%d submits survive the connection", n)
				}
			},
			"unbind": func(t *rapid.T) {
				if rapid.IntRange(0, 5).Draw(t, "really") != 0 {
					t.Skip()
				}
				s.receive(response(data.UNBIND, 0, 9, ""), nil, now)
			},
			"enquire": func(t *rapid.T) { s.receive(response(data.ENQUIRE_LINK_RESP, 0, s.enquireSeq, ""), nil, now) },
			"share": func(t *rapid.T) {
				bind, tps := rapid.IntRange(0, 2).Draw(t, "bind") != 0, rapid.SampledFrom([]float64{0, 0.3, 20, 50, 1000}).Draw(t, "tps")
				s.share(bind, tps, now.Add(3*time.Second), now)
				if bind && s.a.rate.configured != tps || s.a.rate.limit > tps && tps > 0 && bind || bind == s.a.withheld {
					t.Fatalf("%v, %v: withheld %v, rate %+v", bind, tps, s.a.withheld, s.a.rate)
				}
			},
			"drain": func(t *rapid.T) {
				if rapid.IntRange(0, 9).Draw(t, "really") != 0 {
					t.Skip()
				}
				drained = true
				s.drain(now.Add(3*time.Second), now)
			},
			"": func(t *rapid.T) {
				s.a.flow(now)
				take()
				opened()
				if len(s.window) > cfg.Window || len(open) != len(s.window) {
					t.Fatalf("%d, %d in a window of %d", len(s.window), len(open), cfg.Window)
				}
				if len(s.unacked) > cfg.Deliveries {
					t.Fatalf("%d deliveries unacknowledged", len(s.unacked))
				}
				if ok, _ := s.a.takes(0, now); ok && (s.phase != bound || len(open) == cfg.Window) {
					t.Fatalf("takes more with %d open", len(open))
				}
				for _, c := range calls {
					waits := slices.Contains(s.a.queue, c.submit)
					if (waits || open[c.sequence] == c) == (len(c.told) > 0) {
						t.Fatalf("waits %v, told %v", waits, c.told)
					}
					for i, r := range c.told {
						later := i > 0 && r.outcome != unknown && r.outcome != notCalled && (c.told[i-1].outcome == unknown ||
							r.outcome == accepted && (c.told[i-1].outcome == retry || c.told[i-1].outcome == final))
						switch {
						case i > 0 && !later:
							t.Fatalf("told %+v after %+v", r, c.told[i-1])
						case r.outcome == notCalled && c.begun:
							t.Fatalf("not called, but written: %+v", r)
						case r.outcome != notCalled && !c.flushed:
							t.Fatalf("never written, but told %+v", r)
						case r.outcome == accepted && !slices.Contains(c.ids, r.id):
							t.Fatalf("taken without a response: %+v", r)
						}
					}
				}
			},
		})
		s.lost(errors.New("the end"), now)
		s.a.flow(now)
		take()
		for _, c := range calls {
			if len(c.told) == 0 {
				t.Fatal("done was not called")
			}
		}
	})
}

func TestOutcomes(t *testing.T) {
	cases := []struct {
		name string
		pdu  wire.PDU
		want outcome
	}{
		{"accepted", response(data.SUBMIT_SM_RESP, data.ESME_ROK, 0, "42"), accepted},
		{"accepted without an id", response(data.SUBMIT_SM_RESP, data.ESME_ROK, 0, ""), accepted},
		{"throttled", response(data.SUBMIT_SM_RESP, data.ESME_RTHROTTLED, 0, ""), retry},
		{"queue full", response(data.SUBMIT_SM_RESP, data.ESME_RMSGQFUL, 0, ""), retry},
		{"temporary", response(data.SUBMIT_SM_RESP, data.ESME_RX_T_APPN, 0, ""), retry},
		{"not bound", response(data.SUBMIT_SM_RESP, data.ESME_RINVBNDSTS, 0, ""), retry},
		{"system error", response(data.SUBMIT_SM_RESP, data.ESME_RSYSERR, 0, ""), final},
		{"invalid destination", response(data.SUBMIT_SM_RESP, data.ESME_RINVDSTADR, 0, ""), final},
		{"submit failed", response(data.SUBMIT_SM_RESP, data.ESME_RSUBMITFAIL, 0, ""), final},
		{"a carrier's own code", response(data.SUBMIT_SM_RESP, 0x0401, 0, ""), final},
		{"generic_nack", response(data.GENERIC_NACK, data.ESME_RINVCMDLEN, 0, ""), unknown},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := boundSession(t, testConfig())
			var got []result
			p := testSubmit(epoch.Add(time.Second), epoch.Add(time.Minute), func(r result) { got = append(got, r) })
			s.submit(p, epoch)
			write(s, epoch)
			c.pdu.SequenceNumber = p.sequence
			s.receive(c.pdu, nil, epoch)
			settleAll(s)
			if len(got) != 1 || got[0].outcome != c.want || got[0].id != c.pdu.MessageID || got[0].reason == "" ||
				got[0].code != wire.StatusCode(c.pdu.CommandStatus) {
				t.Fatalf("%+v", got)
			}
		})
	}
	if r := judge(data.ESME_RSYSERR, []uint32{8}); r.outcome != retry {
		t.Errorf("a status the carrier documents as retry: %+v", r)
	}
	if r := judge(data.ESME_RINVDSTADR, nil); r.code != "0x0000000B" || !strings.Contains(r.reason, "ESME_RINVDSTADR") {
		t.Errorf("%+v", r)
	}
}

// TestLateResponse: after its time-out a submit is unknown and its slot is free. What the carrier says
// of it later counts, once; so does an acceptance after a refusal, and nothing else.
func TestLateResponse(t *testing.T) {
	ok, no, busy, nack := response(data.SUBMIT_SM_RESP, 0, 0, "42"), response(data.SUBMIT_SM_RESP, data.ESME_RINVDSTADR, 0, ""),
		response(data.SUBMIT_SM_RESP, data.ESME_RTHROTTLED, 0, ""), response(data.GENERIC_NACK, data.ESME_RINVCMDLEN, 0, "")
	for name, c := range map[string]struct {
		silent   bool // no answer in time
		answers  []wire.PDU
		outcomes []outcome
		late     uint64
	}{
		"a late yes":                {true, []wire.PDU{ok, ok, no}, []outcome{unknown, accepted}, 1},
		"a late no":                 {true, []wire.PDU{no, no}, []outcome{unknown, final}, 1},
		"a late not now":            {true, []wire.PDU{busy, no}, []outcome{unknown, retry}, 1},
		"a late no, and then a yes": {true, []wire.PDU{no, ok, no}, []outcome{unknown, final, accepted}, 2},
		"a late nack says nothing":  {true, []wire.PDU{nack, ok}, []outcome{unknown, accepted}, 1},
		"no, and then yes":          {false, []wire.PDU{busy, ok, ok}, []outcome{retry, accepted}, 1},
		"yes, and then no":          {false, []wire.PDU{ok, no}, []outcome{accepted}, 0},
		"nack, and then yes":        {false, []wire.PDU{nack, ok}, []outcome{unknown, accepted}, 1},
	} {
		cfg := testConfig()
		s := boundSession(t, cfg)
		var got []outcome
		p := testSubmit(epoch.Add(time.Second), epoch.Add(time.Minute), func(r result) { got = append(got, r.outcome) })
		s.submit(p, epoch)
		write(s, epoch)
		now := epoch.Add(cfg.ResponseTimeout)
		s.tick(now.Add(-1))
		if settleAll(s); len(got) != 0 {
			t.Fatalf("settled before its time: %+v", got)
		}
		if c.silent {
			s.tick(now)
			settleAll(s)
			if free, _ := s.free(now); free != cfg.Window || s.stats.TimedOut != 1 {
				t.Fatalf("%d free, %+v", free, s.stats)
			}
		}
		for _, a := range c.answers {
			a.SequenceNumber = p.sequence
			s.receive(a, nil, now)
			settleAll(s)
		}
		st := s.stats
		if !slices.Equal(got, c.outcomes) || st.Late != c.late || st.Accepted+st.Retry+st.Final+st.Unknown+st.NotCalled != 1 {
			t.Errorf("%s: %v, %+v", name, got, st)
		}
		// On another connection the same sequence_number would be another submit's.
		before := s.stats.Unexpected
		s.lost(errors.New("gone"), now)
		s.connected(now)
		ok.SequenceNumber = p.sequence
		s.receive(ok, nil, now)
		if settleAll(s); len(got) != len(c.outcomes) || s.stats.Unexpected != before+1 {
			t.Errorf("%s: the answer of an earlier connection counts", name)
		}
	}
}

// TestAnswerBy: the session gives up before the ledger does.
func TestAnswerBy(t *testing.T) {
	s := boundSession(t, testConfig())
	var got []result
	answerBy := epoch.Add(500 * time.Millisecond)
	s.submit(testSubmit(epoch.Add(100*time.Millisecond), answerBy, func(r result) { got = append(got, r) }), epoch)
	write(s, epoch)
	s.tick(answerBy.Add(-answerLead))
	settleAll(s)
	if len(got) != 1 || got[0].outcome != unknown {
		t.Fatalf("%+v", got)
	}
}

func TestCallBy(t *testing.T) {
	s := boundSession(t, testConfig())
	var got []result
	s.submit(testSubmit(epoch.Add(time.Second), epoch.Add(time.Minute), func(r result) { got = append(got, r) }), epoch)
	out := write(s, epoch.Add(time.Second))
	settleAll(s)
	if len(out) != 0 || len(got) != 1 || got[0].outcome != notCalled {
		t.Fatalf("wrote %d PDUs, %+v", len(out), got)
	}
}

// TestCutWrite: of three submits in one write that broke, those of which an octet
// left are unknown and the others were not called.
func TestCutWrite(t *testing.T) {
	one := len(testSubmit(epoch, epoch, nil).octets)
	for n, begun := range map[int]int{0: 0, 1: 1, one: 1, one + 1: 2, 3*one - 1: 3} {
		s := boundSession(t, testConfig())
		var got [3]result
		for i := range got {
			s.submit(testSubmit(epoch.Add(time.Second), epoch.Add(time.Minute), func(r result) { got[i] = r }), epoch)
		}
		s.flush(nil, epoch)
		s.wrote(n, errors.New("broken pipe"), epoch)
		s.lost(errors.New("closed"), epoch)
		s.a.flow(epoch)
		settleAll(s)
		for i, r := range got {
			if want := i < begun; (r.outcome == unknown) != want || (r.outcome == notCalled) == want {
				t.Errorf("%d octets written, submit %d: %+v", n, i, r)
			}
		}
		if s.err == nil || !strings.Contains(s.err.Error(), "broken pipe") {
			t.Errorf("the first reason is lost: %v", s.err)
		}
	}
}

func TestEnquireLink(t *testing.T) {
	cfg := testConfig()
	s := boundSession(t, cfg)
	s.receive(response(data.ENQUIRE_LINK, 0, 7, ""), nil, epoch)
	if out := write(s, epoch); len(out) != 1 || out[0].CommandID != data.ENQUIRE_LINK_RESP || out[0].SequenceNumber != 7 {
		t.Fatalf("answered %+v", out)
	}
	now := epoch.Add(cfg.EnquireLink)
	s.tick(now)
	out := write(s, now)
	if len(out) != 1 || out[0].CommandID != data.ENQUIRE_LINK {
		t.Fatalf("after silence: %+v", out)
	}
	s.receive(response(data.ENQUIRE_LINK_RESP, 0, out[0].SequenceNumber, ""), nil, now)
	s.tick(now.Add(cfg.EnquireLink - 1))
	if out := write(s, now); len(out) != 0 || s.phase != bound {
		t.Fatalf("answered, and still: %+v", out)
	}
	now = now.Add(cfg.EnquireLink)
	s.tick(now)
	s.tick(now.Add(cfg.ResponseTimeout))
	if s.phase != closing || !s.closes(settleAll(s)) {
		t.Fatal("a peer that does not answer enquire_link is kept")
	}
}

func TestBindRefused(t *testing.T) {
	s := newTestSession(testConfig())
	s.connected(epoch)
	s.receive(response(data.BIND_TRANSCEIVER_RESP, data.ESME_RINVPASWD, s.bindSeq, ""), nil, epoch)
	out := settleAll(s)
	if s.phase != closing || !s.closes(out) || s.err == nil || !strings.Contains(s.err.Error(), "ESME_RINVPASWD") {
		t.Fatalf("phase %d, %v", s.phase, s.err)
	}
	s.lost(errors.New("EOF"), epoch)
	if !strings.Contains(s.err.Error(), "ESME_RINVPASWD") || s.stats.BindsRefused != 1 || s.stats.ConnectionsLost != 0 {
		t.Fatalf("%v %+v", s.err, s.stats)
	}
}

func TestDrain(t *testing.T) {
	cfg := testConfig()
	s := boundSession(t, cfg)
	var got []result
	p := testSubmit(epoch.Add(time.Second), epoch.Add(time.Minute), func(r result) { got = append(got, r) })
	s.submit(p, epoch)
	s.receive(wire.PDU{Header: pdu.Header{CommandID: data.DELIVER_SM, SequenceNumber: 5}, Message: &wire.Message{}}, nil, epoch)
	s.drain(epoch.Add(cfg.DrainTimeout), epoch)
	if out := write(s, epoch); len(out) != 1 || out[0].CommandID != data.SUBMIT_SM {
		t.Fatalf("draining wrote %+v", out)
	}
	s.receive(response(data.SUBMIT_SM_RESP, 0, p.sequence, "42"), nil, epoch)
	s.tick(epoch)
	if s.phase != draining {
		t.Fatal("unbound before the inbox answered")
	}
	s.acked(1, nil, epoch)
	s.tick(epoch)
	out := write(s, epoch)
	if len(out) != 2 || out[0].CommandID != data.DELIVER_SM_RESP || out[1].CommandID != data.UNBIND {
		t.Fatalf("wrote %+v", out)
	}
	s.receive(response(data.UNBIND_RESP, 0, out[1].SequenceNumber, ""), nil, epoch)
	settleAll(s)
	if s.phase != closing || len(got) != 1 || got[0].outcome != accepted || s.stats.ConnectionsLost != 0 {
		t.Fatalf("phase %d, %+v", s.phase, got)
	}
}

// TestDrainBound: a peer that answers nothing does not hold the process.
func TestDrainBound(t *testing.T) {
	cfg := testConfig()
	cfg.ResponseTimeout = time.Hour
	s := boundSession(t, cfg)
	var got []result
	s.submit(testSubmit(epoch.Add(time.Second), time.Time{}, func(r result) { got = append(got, r) }), epoch)
	write(s, epoch)
	by := epoch.Add(cfg.DrainTimeout)
	s.drain(by, epoch)
	s.tick(by)
	if out := write(s, by); len(out) != 1 || out[0].CommandID != data.UNBIND {
		t.Fatalf("at the bound: %+v", out)
	}
	s.tick(by.Add(unbindWait))
	if s.phase != closing {
		t.Fatal("still waiting for unbind_resp")
	}
	s.lost(errStopped, by)
	settleAll(s)
	if len(got) != 1 || got[0].outcome != unknown {
		t.Fatalf("%+v", got)
	}
}

// TestShare: without a bind the session drains and unbinds, as when it stops, and does
// not bind again until it may.
func TestShare(t *testing.T) {
	cfg := testConfig()
	share := func(s *session, bind bool, tps float64) { s.share(bind, tps, epoch.Add(cfg.DrainTimeout), epoch) }
	s := boundSession(t, cfg)
	var got []result
	p := testSubmit(epoch.Add(time.Second), epoch.Add(time.Minute), func(r result) { got = append(got, r) })
	s.submit(p, epoch)
	write(s, epoch)
	share(s, false, 0)
	if free, again := s.free(epoch); free != 0 || !again.IsZero() || !settleAll(s).changed {
		t.Fatalf("%d free, again %v", free, again)
	}
	s.submit(testSubmit(epoch.Add(time.Second), epoch.Add(time.Minute), func(r result) { got = append(got, r) }), epoch)
	if settleAll(s); len(got) != 1 || got[0].outcome != notCalled {
		t.Fatalf("a submit without a share: %+v", got)
	}
	if out := write(s, epoch); len(out) != 0 {
		t.Fatalf("unbound before the answer: %+v", out)
	}
	s.receive(response(data.SUBMIT_SM_RESP, 0, p.sequence, "42"), nil, epoch)
	s.tick(epoch)
	out := write(s, epoch)
	if len(out) != 1 || out[0].CommandID != data.UNBIND {
		t.Fatalf("wrote %+v", out)
	}
	s.receive(response(data.UNBIND_RESP, 0, out[0].SequenceNumber, ""), nil, epoch)
	s.lost(errors.New("EOF"), epoch)
	settleAll(s)
	if len(got) != 2 || got[1].outcome != accepted || s.stats.ConnectionsLost != 0 || !errors.Is(s.err, errWithheld) {
		t.Fatalf("%+v, %v, %+v", got, s.err, s.stats)
	}
	// A connection that was on its way is not used.
	s.connected(epoch)
	if out := write(s, epoch); len(out) != 0 || s.phase != closing {
		t.Fatalf("phase %d, wrote %+v", s.phase, out)
	}
	s.lost(errors.New("EOF"), epoch)
	share(s, true, 0)
	s.connected(epoch)
	if out := write(s, epoch); len(out) != 1 || out[0].CommandID != data.BIND_TRANSCEIVER {
		t.Fatalf("with a share again: %+v", out)
	}
	// While it binds.
	share(s, false, 0)
	if s.phase != closing || !errors.Is(s.err, errWithheld) {
		t.Fatalf("phase %d, %v", s.phase, s.err)
	}
}

// TestShareComesBack: before the unbind the session simply goes on, after it the
// connection ends and the next one binds.
func TestShareComesBack(t *testing.T) {
	cfg := testConfig()
	share := func(s *session, bind bool) { s.share(bind, 0, epoch.Add(cfg.DrainTimeout), epoch) }
	s := boundSession(t, cfg)
	p := testSubmit(epoch.Add(time.Second), epoch.Add(time.Minute), func(result) {})
	s.submit(p, epoch)
	write(s, epoch)
	share(s, false)
	share(s, true)
	if free, _ := s.free(epoch); s.phase != bound || free != cfg.Window-1 || s.err != nil {
		t.Fatalf("phase %d, %d free, %v", s.phase, free, s.err)
	}
	s.receive(response(data.SUBMIT_SM_RESP, 0, p.sequence, "42"), nil, epoch)
	share(s, false)
	share(s, true)
	if free, _ := s.free(epoch); s.phase != unbinding || free != 0 {
		t.Fatalf("phase %d, %d free", s.phase, free)
	}
	// Who stops does not come back.
	s = boundSession(t, cfg)
	s.submit(testSubmit(epoch.Add(time.Second), epoch.Add(time.Minute), func(result) {}), epoch)
	s.drain(epoch.Add(cfg.DrainTimeout), epoch)
	share(s, false)
	share(s, true)
	if s.phase != draining || !errors.Is(s.err, errStopped) {
		t.Fatalf("phase %d, %v", s.phase, s.err)
	}
}

// TestRateSet: a new rate holds at once, without what was saved up at a higher one, and
// what the carrier cut is not undone.
func TestRateSet(t *testing.T) {
	now := epoch
	take := func(r *rate, d time.Duration) (n int) {
		for end := now.Add(d); now.Before(end); now = now.Add(time.Millisecond) {
			for !r.at(1, now).After(now) {
				r.take(now)
				n++
			}
		}
		return n
	}
	r := newRate(0)
	for range 1000 { // as many as anybody likes
		r.take(now)
	}
	if !r.set(100, now) || r.set(100, now) {
		t.Error("what is a change?")
	}
	if n := take(&r, time.Second); n < 95 || n > 111 {
		t.Errorf("%d in the second after 100 was set", n)
	}
	now = now.Add(time.Minute) // saves up
	r.set(10, now)
	if n := take(&r, time.Second); n < 9 || n > 11 {
		t.Errorf("%d in the second after 10 was set", n)
	}
	r.set(1000, now)
	if n := take(&r, time.Second); n < 950 || n > 1010 {
		t.Errorf("%d in the second after 1000 was set", n)
	}
	r.throttled(now)
	if r.set(800, now); r.limit != 500 {
		t.Errorf("cut to 500, and %v allowed after 800 was set", r.limit)
	}
	for range 60 {
		now = now.Add(time.Second)
		r.at(1, now)
	}
	if r.limit != 800 {
		t.Errorf("%v after recovery", r.limit)
	}
	r.throttled(now)
	if r.set(100, now); r.limit != 100 {
		t.Errorf("%v allowed after 100 was set", r.limit)
	}
	// Of a share below one a second, throttling makes no more.
	r.set(0.25, now)
	if r.throttled(now.Add(cutEvery)); r.limit > 0.25 {
		t.Errorf("0.25, throttled to %v", r.limit)
	}
	r = newRate(0.25)
	if r.set(0, now); r.limit != 0 {
		t.Errorf("no limit, and %v allowed", r.limit)
	}
}

func TestDeliveries(t *testing.T) {
	cfg := testConfig()
	s := boundSession(t, cfg)
	deliver := func(id data.CommandIDType, seq int32) {
		s.receive(wire.PDU{Header: pdu.Header{CommandID: id, SequenceNumber: seq}, Message: &wire.Message{}}, nil, epoch)
	}
	for i := range cfg.Deliveries {
		deliver(data.DELIVER_SM, int32(i+1))
	}
	if out := write(s, epoch); len(out) != 0 {
		t.Fatalf("acknowledged before the inbox: %+v", out)
	}
	deliver(data.DELIVER_SM, 9)
	if out := write(s, epoch); len(out) != 1 || out[0].CommandStatus != data.ESME_RX_T_APPN || out[0].SequenceNumber != 9 {
		t.Fatalf("beyond the bound: %+v", out)
	}
	s.acked(1, nil, epoch)
	s.acked(2, errors.New("disk full"), epoch)
	s.acked(2, nil, epoch)
	out := write(s, epoch)
	if len(out) != 2 || out[0].CommandStatus != data.ESME_ROK || out[0].SequenceNumber != 1 ||
		out[1].CommandStatus != data.ESME_RX_T_APPN || out[1].SequenceNumber != 2 {
		t.Fatalf("%+v", out)
	}
	deliver(data.DATA_SM, 10)
	s.acked(4, nil, epoch)
	if out := write(s, epoch); len(out) != 1 || out[0].CommandID != data.DATA_SM_RESP || out[0].SequenceNumber != 10 {
		t.Fatalf("data_sm: %+v", out)
	}
	s.lost(errors.New("reset"), epoch)
	s.acked(3, nil, epoch)
	if out := write(s, epoch); len(out) != 0 {
		t.Fatalf("acknowledged on another connection: %+v", out)
	}
}

// TestCommands is every command as an ESME in transceiver mode answers it.
func TestCommands(t *testing.T) {
	cases := map[data.CommandIDType]struct {
		answer data.CommandIDType
		status data.CommandStatusType
	}{
		data.ENQUIRE_LINK:       {data.ENQUIRE_LINK_RESP, data.ESME_ROK},
		data.UNBIND:             {data.UNBIND_RESP, data.ESME_ROK},
		data.SUBMIT_SM:          {data.GENERIC_NACK, data.ESME_RINVCMDID},
		data.SUBMIT_MULTI:       {data.GENERIC_NACK, data.ESME_RINVCMDID},
		data.QUERY_SM:           {data.GENERIC_NACK, data.ESME_RINVCMDID},
		data.CANCEL_SM:          {data.GENERIC_NACK, data.ESME_RINVCMDID},
		data.REPLACE_SM:         {data.GENERIC_NACK, data.ESME_RINVCMDID},
		data.BIND_RECEIVER:      {data.GENERIC_NACK, data.ESME_RINVCMDID},
		data.BIND_TRANSMITTER:   {data.GENERIC_NACK, data.ESME_RINVCMDID},
		data.BIND_TRANSCEIVER:   {data.GENERIC_NACK, data.ESME_RINVCMDID},
		data.DELIVER_SM:         {},
		data.DATA_SM:            {},
		data.OUTBIND:            {},
		data.ALERT_NOTIFICATION: {},
		data.GENERIC_NACK:       {},
	}
	for _, id := range []data.CommandIDType{data.SUBMIT_SM_RESP, data.SUBMIT_MULTI_RESP, data.DELIVER_SM_RESP, data.DATA_SM_RESP,
		data.QUERY_SM_RESP, data.CANCEL_SM_RESP, data.REPLACE_SM_RESP, data.ENQUIRE_LINK_RESP, data.UNBIND_RESP,
		data.BIND_RECEIVER_RESP, data.BIND_TRANSMITTER_RESP, data.BIND_TRANSCEIVER_RESP} {
		cases[id] = cases[data.OUTBIND]
	}
	for id, want := range cases {
		s := boundSession(t, testConfig())
		s.receive(wire.PDU{Header: pdu.Header{CommandID: id, SequenceNumber: 99}, Message: &wire.Message{}}, nil, epoch)
		out := write(s, epoch)
		if want.answer == 0 {
			if len(out) != 0 {
				t.Errorf("%s was answered with %s", wire.CommandName(id), wire.CommandName(out[0].CommandID))
			}
			continue
		}
		if len(out) != 1 || out[0].CommandID != want.answer || out[0].CommandStatus != want.status || out[0].SequenceNumber != 99 {
			t.Errorf("%s was answered with %+v", wire.CommandName(id), out)
		}
	}
	// What cannot be decoded: a request gets generic_nack, a response nothing.
	for id, nacked := range map[data.CommandIDType]bool{0x666: true, -0x7ffff000: false} {
		s := boundSession(t, testConfig())
		s.receive(response(id, 0, 99, ""), &wire.Malformed{Status: data.ESME_RINVCMDID, Cause: errors.New("x")}, epoch)
		out := write(s, epoch)
		if nacked != (len(out) == 1 && out[0].CommandID == data.GENERIC_NACK && out[0].CommandStatus == data.ESME_RINVCMDID && out[0].SequenceNumber == 99) {
			t.Errorf("0x%X undecodable: %+v", uint32(id), out)
		}
	}
}

func TestSequenceWraps(t *testing.T) {
	s := boundSession(t, testConfig())
	s.sequence = math.MaxInt32 - 1
	var got []int32
	s.window[1] = &submit{done: func(result) {}}
	s.late[2] = &submit{}
	for range 3 {
		got = append(got, s.next())
	}
	if !slices.Equal(got, []int32{math.MaxInt32, 3, 4}) {
		t.Fatalf("%v", got)
	}
}

// TestThrottling: a carrier that throttles is offered half, and then more and more.
func TestThrottling(t *testing.T) {
	for _, tps := range []float64{0, 100} {
		cfg := testConfig()
		cfg.TPS, cfg.Window = tps, 1000
		s := boundSession(t, cfg)
		now := epoch
		// A second in which 100 submits come, each answered at once.
		second := func(status data.CommandStatusType) (n int) {
			for range 100 {
				now = now.Add(10 * time.Millisecond)
				if ok, again := s.a.takes(0, now); ok {
					s.submit(testSubmit(now.Add(time.Second), time.Time{}, func(result) {}), now)
				} else if again.IsZero() || !again.After(now) {
					t.Fatalf("no slot for the rate alone, and no word on when: %v", again)
				}
				s.a.flow(now)
				for _, p := range write(s, now) {
					n++
					s.receive(response(data.SUBMIT_SM_RESP, status, p.SequenceNumber, "x"), nil, now)
				}
				settleAll(s)
			}
			return n
		}
		if n := second(data.ESME_ROK); n < 95 {
			t.Fatalf("tps %v: %d in a second before throttling", tps, n)
		}
		now = now.Add(-10 * time.Millisecond)
		s.receive(response(data.SUBMIT_SM_RESP, data.ESME_RTHROTTLED, 12345, ""), nil, now)
		s.receive(response(data.SUBMIT_SM_RESP, data.ESME_RTHROTTLED, 12346, ""), nil, now)
		if at := s.a.rate.at(1, now); !at.After(now) {
			t.Fatalf("tps %v: more right after a cut", tps)
		}
		if n := second(data.ESME_ROK); n < 40 || n > 60 {
			t.Fatalf("tps %v: %d in the second after one cut of 100", tps, n)
		}
		for range 70 {
			second(data.ESME_ROK)
		}
		if n := second(data.ESME_ROK); n < 95 {
			t.Fatalf("tps %v: %d in a second after recovery", tps, n)
		}
		if s.a.rate.limit != tps {
			t.Fatalf("the limit is %v, it was %v", s.a.rate.limit, tps)
		}
	}
}

// closes reports whether the connection is to be closed.
func (s *session) closes(out effects) bool {
	return s.phase == closing && out.wake&(1<<s.index) != 0
}

func TestUnframed(t *testing.T) {
	s := boundSession(t, testConfig())
	s.unframed(wire.AppendHeader(nil, data.DELIVER_SM, 0, 7), epoch)
	out := settleAll(s)
	buf, _ := s.flush(nil, epoch)
	if p := frames(buf); !s.closes(out) || len(p) != 1 || p[0].CommandID != data.GENERIC_NACK || p[0].CommandStatus != data.ESME_RINVCMDLEN || p[0].SequenceNumber != 7 {
		t.Fatalf("%+v", p)
	}
}

// TestFlood: a peer that sends requests and reads nothing is dropped.
func TestFlood(t *testing.T) {
	s := boundSession(t, testConfig())
	for i := range int32(maxAnswers/wire.HeaderLen + 2) {
		s.receive(response(data.ENQUIRE_LINK, 0, i, ""), nil, epoch)
	}
	if s.phase != closing || len(s.pdus) > maxAnswers+wire.HeaderLen {
		t.Fatalf("phase %d with %d octets queued", s.phase, len(s.pdus))
	}
}
