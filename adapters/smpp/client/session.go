package client

import (
	"errors"
	"fmt"
	"time"

	"github.com/linxGnu/gosmpp/data"
	"github.com/linxGnu/gosmpp/pdu"

	"github.com/chirograph/chirograph/adapters/smpp/wire"
)

// outcome is what became of one submit.
type outcome uint8

const (
	unknown outcome = iota
	accepted
	retry
	final
	notCalled
)

// result is what a submit's caller is told, once.
type result struct {
	outcome outcome
	id      string
	code    string
	reason  string
}

// submit is one submit_sm on its way.
type submit struct {
	// octets is the encoded PDU; the session writes its sequence_number.
	octets []byte
	// After callBy it must not be written any more; at answerBy the caller gives it up.
	callBy, answerBy time.Time
	done             func(result)

	sequence int32
	written  bool
	deadline time.Time // of the response, once written
	end      int       // its end in the octets of the batch
}

// answer is a result and the callback that gets it.
type answer struct {
	done   func(result)
	result result
}

// delivery is a deliver_sm or data_sm for the inbox; ack names it.
type delivery struct {
	ack     uint64
	message *wire.Message
}

// effects is what a step wants done. Client does it after the step, outside the lock.
type effects struct {
	answers    []answer
	deliveries []delivery
	// flush: there is something to write.
	flush bool
	// changed: Free may have another result than before.
	changed bool
	// close: the connection must be closed when the queued answers are written.
	close bool
	notes []note
}

// note is a line for the log.
type note struct {
	warn bool
	text string
	args []any
}

// session is one account's SMPP session over all its connections: pure, without
// clock, goroutine or socket. Each method is a step; take returns what it wants done.
type session struct {
	cfg  Config
	rate rate
	submits
	link

	// unacked has the deliveries that the inbox has and has not acknowledged. Its keys are
	// used once.
	unacked map[uint64]request
	nextAck uint64
	// refusalNoted is when a refused delivery was last logged.
	refusalNoted time.Time
}

// request names a request of the carrier that needs a response.
type request struct {
	command  data.CommandIDType
	sequence int32
}

func newSession(cfg Config) *session {
	return &session{
		cfg:     cfg,
		rate:    newRate(cfg.TPS),
		submits: newSubmits(cfg.Window),
		unacked: make(map[uint64]request),
	}
}

// connected begins a bind on a new connection (SMPP 3.4 §4.1.5).
func (s *session) connected(now time.Time) {
	s.phase, s.received = binding, now
	if s.withheld {
		s.quit(errWithheld, now)
		return
	}
	s.bindSeq = s.next()
	s.requestBy = now.Add(s.cfg.ResponseTimeout)
	b := pdu.NewBindRequest(pdu.Transceiver)
	b.SystemID, b.Password, b.SystemType = s.cfg.SystemID, s.cfg.Password, s.cfg.SystemType
	b.SetSequenceNumber(s.bindSeq)
	s.pdus = wire.Append(s.pdus, b)
	s.out.flush = true
}

// lost ends the connection. Submits that were written are answered with unknown, because
// they may have arrived; the others with notCalled.
func (s *session) lost(err error, now time.Time) {
	if s.phase == down {
		return
	}
	s.leave(err, now)
	s.phase = down
	for _, p := range s.pending(func(*submit) bool { return true }) {
		if p.written {
			s.settle(p, result{outcome: unknown, reason: "the connection was lost before the carrier answered"})
		} else {
			s.settle(p, result{outcome: notCalled, reason: "the connection was lost before the message was written"})
		}
	}
	s.queue, s.batch, s.pdus = nil, nil, nil
	clear(s.unacked)
	s.bindSeq, s.enquireSeq, s.unbindSeq = 0, 0, 0
}

// settle takes a submit out of the window and answers its caller.
func (s *session) settle(p *submit, r result) {
	delete(s.window, p.sequence)
	switch r.outcome {
	case accepted:
		s.stats.Accepted++
	case retry:
		s.stats.Retry++
	case final:
		s.stats.Final++
	case unknown:
		s.stats.Unknown++
	case notCalled:
		s.stats.NotCalled++
	}
	s.out.answers = append(s.out.answers, answer{p.done, r})
	s.out.changed = true
}

// free is the result of Client.Free.
func (s *session) free(now time.Time) (int, time.Time) {
	if s.phase != bound {
		return 0, time.Time{}
	}
	slots := s.cfg.Window - len(s.window)
	if slots <= 0 {
		return 0, time.Time{}
	}
	n, next := s.rate.free(now)
	return min(slots, n), next
}

// submit takes a slot and queues the PDU, or answers at once with notCalled.
func (s *session) submit(p *submit, now time.Time) {
	refuse := ""
	switch {
	case s.phase != bound:
		refuse = "there is no bind to the carrier"
	case len(s.window) >= s.cfg.Window:
		refuse = "the carrier's window is full"
	case now.After(p.callBy):
		refuse = "the time to call the carrier was over"
	case !s.rate.take(now):
		refuse = "the carrier's rate is used up"
	}
	if refuse != "" {
		s.stats.NotCalled++
		s.out.answers = append(s.out.answers, answer{p.done, result{outcome: notCalled, reason: refuse}})
		return
	}
	p.sequence = s.next()
	putSequence(p.octets, p.sequence)
	s.window[p.sequence] = p
	s.queue = append(s.queue, p)
	s.out.flush = true
}

// callMargin: a submit is not written any more in the last callMargin before its callBy,
// because the write itself takes a moment.
const callMargin = 5 * time.Millisecond

// maxBatch bounds one write, in octets. So submits that wait for a slow peer are in our
// queue, where callBy still counts, and not in a system call.
const maxBatch = 32 << 10

// flush appends to buf what must be written now, and returns the deadline of that write:
// later, a submit in it could be written after its callBy. wrote must follow, unless
// nothing was appended.
func (s *session) flush(buf []byte, now time.Time) ([]byte, time.Time) {
	by := now.Add(s.cfg.ResponseTimeout)
	buf = append(buf, s.pdus...)
	s.pdus = s.pdus[:0]
	if s.phase == closing {
		return buf, by
	}
	n := 0
	for _, p := range s.queue {
		if len(buf) > 0 && len(buf)+len(p.octets) > maxBatch {
			break
		}
		n++
		if s.window[p.sequence] != p {
			continue // it was answered meanwhile
		}
		if now.Add(callMargin).After(p.callBy) {
			s.settle(p, result{outcome: notCalled, reason: "the time to call the carrier was over"})
			continue
		}
		p.written = true
		p.deadline = now.Add(s.cfg.ResponseTimeout)
		if last := p.answerBy.Add(-answerLead); !p.answerBy.IsZero() && last.Before(p.deadline) {
			p.deadline = last
		}
		if p.callBy.Before(by) {
			by = p.callBy
		}
		buf = append(buf, p.octets...)
		p.end = len(buf)
		s.batch = append(s.batch, p)
		s.stats.Submits++
	}
	s.queue = s.queue[:copy(s.queue, s.queue[n:])]
	return buf, by
}

// answerLead: a submit without a response is answered with unknown this long before its answerBy.
const answerLead = 200 * time.Millisecond

// wrote says how many octets of the flushed batch the kernel took. A submit of which it took
// no octet was not called; one of which it took some is unknown.
func (s *session) wrote(n int, err error, now time.Time) {
	if err != nil {
		for _, p := range s.batch {
			if p.end-len(p.octets) >= n && s.window[p.sequence] == p {
				s.stats.Submits--
				s.settle(p, result{outcome: notCalled, reason: "the connection was lost before the message was written"})
			}
		}
	}
	s.batch = s.batch[:0]
	if err != nil {
		s.quit(fmt.Errorf("write: %w", err), now)
		return
	}
	if len(s.queue) > 0 {
		s.out.flush = true
	}
}

// tick deals with what is due: late responses, a silent peer, the end of a drain.
func (s *session) tick(now time.Time) {
	if s.phase == down || s.phase == closing {
		return
	}
	for _, p := range s.pending(func(p *submit) bool { return p.written && !now.Before(p.deadline) }) {
		s.expire(p.sequence)
		s.settle(p, result{outcome: unknown, reason: "the carrier did not answer in time"})
		s.stats.TimedOut++
	}
	for _, p := range s.pending(func(p *submit) bool { return !p.written && now.After(p.callBy) }) {
		s.settle(p, result{outcome: notCalled, reason: "the time to call the carrier was over"})
	}
	switch s.phase {
	case binding:
		if !now.Before(s.requestBy) {
			s.quit(errors.New("the carrier did not answer the bind in time"), now)
		}
		return
	case draining:
		if len(s.window) == 0 && len(s.unacked) == 0 || !now.Before(s.drainBy) {
			s.unbind(now)
			return
		}
	case unbinding:
		if !now.Before(s.requestBy) {
			s.quit(s.why(), now)
		}
		return
	}
	switch {
	case s.enquireSeq != 0 && !now.Before(s.requestBy):
		s.quit(errors.New("the carrier did not answer enquire_link in time"), now)
	case s.enquireSeq == 0 && now.Sub(s.received) >= s.cfg.EnquireLink:
		s.enquireSeq = s.next()
		s.requestBy = now.Add(s.cfg.ResponseTimeout)
		s.stats.EnquireLinks++
		s.send(data.ENQUIRE_LINK, data.ESME_ROK, s.enquireSeq)
	}
}

// unbind ends a drain: it sends unbind. Submits that are not written yet are not called.
func (s *session) unbind(now time.Time) {
	s.phase = unbinding
	for _, p := range s.queue {
		if s.window[p.sequence] == p {
			s.settle(p, result{outcome: notCalled, reason: "the session is unbinding"})
		}
	}
	s.queue = s.queue[:0]
	s.unbindSeq, s.enquireSeq = s.next(), 0
	s.requestBy = now.Add(s.cfg.ResponseTimeout)
	if s.requestBy.After(s.drainBy) {
		s.requestBy = s.drainBy.Add(unbindWait)
	}
	s.send(data.UNBIND, data.ESME_ROK, s.unbindSeq)
}

// unbindWait bounds the wait for unbind_resp where the drain has used up its time.
const unbindWait = 500 * time.Millisecond

// drain takes no more submits, waits until by for open responses and acknowledgements,
// then unbinds.
func (s *session) drain(by, now time.Time) {
	s.stop = true
	s.windUp(by, now)
}

// windUp begins to drain, or ends a bind that has no response yet.
func (s *session) windUp(by, now time.Time) {
	s.drainBy = by
	switch s.phase {
	case bound:
		s.phase, s.since, s.err = draining, now, s.why()
		s.out.changed = true
	case binding:
		s.quit(s.why(), now)
	}
	s.tick(now)
}

// share changes what this node may use of the account. Without a bind the session drains, like
// before a stop, until by. Where a bind is allowed once more before the session unbinds, it goes
// on with the bind that it has.
func (s *session) share(bind bool, tps float64, by, now time.Time) {
	before := !s.withheld
	s.withheld = !bind
	switch {
	case s.stop:
	case !bind && before:
		if s.phase == down {
			s.err = errWithheld
		} else {
			s.note(false, "smpp: this node has no share of the account any more, unbinding")
		}
		s.windUp(by, now)
	case bind && !before:
		if s.phase == draining {
			s.phase, s.since = bound, now
		}
		if errors.Is(s.err, errWithheld) {
			s.err = nil
		}
		s.out.changed = true
	}
	if bind && s.rate.set(tps, now) {
		s.out.changed = true
	}
}

// refusalEvery bounds how often a refused delivery is logged.
const refusalEvery = 10 * time.Second

// acked answers a delivery that the inbox has made durable (nil), or could not make durable.
// A second ack, or one for a connection that has ended, does nothing: in the latter case the
// carrier repeats the delivery.
func (s *session) acked(ack uint64, err error, now time.Time) {
	q, ok := s.unacked[ack]
	if !ok {
		return
	}
	delete(s.unacked, ack)
	status := data.ESME_ROK
	if err != nil {
		status = data.ESME_RX_T_APPN
		s.stats.DeliveriesRefused++
		if now.Sub(s.refusalNoted) >= refusalEvery {
			s.refusalNoted = now
			s.note(true, "smpp: a delivery could not be recorded; the carrier is asked to deliver it again", "cause", err)
		}
	} else {
		s.stats.DeliveriesAcked++
	}
	s.respond(q, status)
}

// unframed deals with an impossible command_length: it answers and closes the connection,
// because nothing after it can be read (SMPP 3.4 §4.3.1).
func (s *session) unframed(sequence int32, now time.Time) {
	s.stats.Malformed++
	s.send(data.GENERIC_NACK, data.ESME_RINVCMDLEN, sequence)
	s.quit(wire.ErrLength, now)
}

// maxAnswers bounds the PDUs that wait for a peer that does not read, in octets.
const maxAnswers = 1 << 20

// receive takes one PDU, or the error of decoding it; its header is valid in both cases.
func (s *session) receive(p wire.PDU, err error, now time.Time) {
	if s.phase == down || s.phase == closing {
		return
	}
	s.received = now
	if len(s.pdus) > maxAnswers {
		s.quit(errors.New("the carrier sends requests and does not read the answers"), now)
		return
	}
	if err != nil {
		s.malformed(p, err)
		return
	}
	switch p.CommandID {
	case data.SUBMIT_SM_RESP:
		s.submitted(p, now)
	case data.GENERIC_NACK:
		s.nacked(p, now)
	case data.DELIVER_SM, data.DATA_SM:
		s.delivered(p)
	case data.ENQUIRE_LINK:
		s.send(data.ENQUIRE_LINK_RESP, data.ESME_ROK, p.SequenceNumber)
	case data.ENQUIRE_LINK_RESP:
		if p.SequenceNumber != s.enquireSeq {
			s.stats.Unexpected++
			return
		}
		s.enquireSeq = 0
	case data.BIND_TRANSCEIVER_RESP:
		if s.phase != binding || p.SequenceNumber != s.bindSeq {
			s.stats.Unexpected++
			return
		}
		s.bindAnswered(p.CommandStatus, now)
	case data.UNBIND:
		s.send(data.UNBIND_RESP, data.ESME_ROK, p.SequenceNumber)
		s.quit(errors.New("the carrier unbound"), now)
	case data.UNBIND_RESP:
		if s.phase != unbinding || p.SequenceNumber != s.unbindSeq {
			s.stats.Unexpected++
			return
		}
		s.quit(s.why(), now)
	case data.ALERT_NOTIFICATION, data.OUTBIND:
		s.stats.Unexpected++ // these have no response (SMPP 3.4 §4.12.1, §4.1.7)
	default:
		s.stats.Unexpected++
		if !wire.IsResponse(p.CommandID) {
			s.send(data.GENERIC_NACK, data.ESME_RINVCMDID, p.SequenceNumber)
		}
	}
}

// malformed deals with a PDU that could not be decoded: a command that SMPP 3.4 does not have. A
// request is answered; a response that answers nothing of ours is only counted. See wire.Parse.
func (s *session) malformed(p wire.PDU, err error) {
	s.stats.Malformed++
	s.note(true, "smpp: a PDU could not be decoded", "command", wire.CommandName(p.CommandID), "cause", err)
	if wire.IsResponse(p.CommandID) {
		return
	}
	status := data.ESME_RSYSERR
	var m *wire.Malformed
	if errors.As(err, &m) {
		status = m.Status
	}
	s.send(data.GENERIC_NACK, status, p.SequenceNumber)
}

// open finds the written submit of a response, and counts responses without one.
func (s *session) open(sequence int32) (*submit, bool) {
	p, ok := s.window[sequence]
	if ok && p.written {
		return p, true
	}
	if _, late := s.timedOut[sequence]; late {
		delete(s.timedOut, sequence)
		s.stats.Late++
		s.note(false, "smpp: a response came after its time-out", "sequence", sequence)
	} else {
		s.stats.Unexpected++
	}
	return nil, false
}

// submitted deals with submit_sm_resp.
func (s *session) submitted(p wire.PDU, now time.Time) {
	w, ok := s.open(p.SequenceNumber)
	if slowDown(p.CommandStatus) {
		s.stats.Throttled++
		if s.rate.throttled(now) {
			s.out.changed = true
			s.note(true, "smpp: the carrier throttles, the rate is cut", "status", wire.StatusName(p.CommandStatus), "tps", s.rate.limit)
		}
	}
	if !ok {
		return
	}
	switch {
	case p.CommandStatus != data.ESME_ROK:
		s.settle(w, judge(p.CommandStatus, s.cfg.RetryStatuses))
	case p.MessageID == "":
		// The carrier took it, but no receipt can ever be matched by id: so it is in doubt.
		s.settle(w, result{outcome: unknown, code: wire.StatusCode(p.CommandStatus), reason: "the carrier accepted the message without giving an id"})
	default:
		s.settle(w, result{outcome: accepted, id: p.MessageID, code: wire.StatusCode(p.CommandStatus), reason: "the carrier accepted the message"})
	}
	if p.CommandStatus == data.ESME_RINVBNDSTS {
		s.quit(errors.New("the carrier says that the session is not bound"), now)
	}
}

// nacked deals with generic_nack: the peer could not read a PDU of ours, and may not say which.
func (s *session) nacked(p wire.PDU, now time.Time) {
	s.stats.Nacked++
	switch seq := p.SequenceNumber; {
	case seq == 0:
		s.stats.Unexpected++
	case seq == s.bindSeq && s.phase == binding:
		s.bindAnswered(p.CommandStatus, now)
	case seq == s.enquireSeq:
		s.enquireSeq = 0 // the peer is alive
	case seq == s.unbindSeq && s.phase == unbinding:
		s.quit(s.why(), now)
	default:
		if w, ok := s.open(seq); ok {
			s.settle(w, result{outcome: unknown, code: wire.StatusCode(p.CommandStatus),
				reason: "the carrier answered with generic_nack (" + wire.StatusName(p.CommandStatus) + "), which does not say whether it took the message"})
		}
	}
}

// bindRefused is the error of a bind_transceiver_resp.
type bindRefused struct{ status data.CommandStatusType }

func (b *bindRefused) Error() string {
	hint := "see the carrier's documentation for this status"
	switch b.status {
	case data.ESME_RINVPASWD, data.ESME_RINVSYSID, data.ESME_RBINDFAIL:
		hint = "check system_id, password and the addresses that the carrier allows"
	case data.ESME_RALYBND:
		hint = "an earlier connection may still be open at the carrier, or another process uses this account"
	case data.ESME_RINVSYSTYP:
		hint = "check system_type"
	}
	return "the carrier refused the bind with " + wire.StatusName(b.status) + ": " + hint
}

// delivered gives a deliver_sm or data_sm to the inbox, or refuses it where Config.Deliveries
// already wait for the inbox. It goes on reading in both cases, because the responses to our
// submits come over the same connection.
func (s *session) delivered(p wire.PDU) {
	switch {
	case s.phase == binding:
		s.respond(request{p.CommandID, p.SequenceNumber}, data.ESME_RINVBNDSTS)
		return
	case len(s.unacked) >= s.cfg.Deliveries:
		s.stats.DeliveriesOverflowed++
		s.respond(request{p.CommandID, p.SequenceNumber}, data.ESME_RX_T_APPN)
		return
	}
	s.nextAck++
	s.unacked[s.nextAck] = request{p.CommandID, p.SequenceNumber}
	s.stats.Deliveries++
	s.out.deliveries = append(s.out.deliveries, delivery{s.nextAck, p.Message})
}
