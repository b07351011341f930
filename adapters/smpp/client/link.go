package client

import (
	"errors"
	"time"

	"github.com/linxGnu/gosmpp/data"

	"github.com/chirograph/chirograph/adapters/smpp/wire"
)

// phase is the state of a session's bind.
type phase uint8

const (
	// down: no connection. Ended by connected.
	down phase = iota
	// binding: bind_transceiver is sent. Ended by its response, or by lost.
	binding
	// bound: submits are written. Ended by drain, by share, by an unbind or by lost.
	bound
	// draining: no new submits; responses and acknowledgements are awaited, until
	// drainBy. Ended by unbind, by share or by lost.
	draining
	// unbinding: our unbind is sent. Ended by its response, or by lost.
	unbinding
	// closing: the queued answers are written, then the connection is closed. Ended by lost.
	closing
)

var (
	errStopped = errors.New("the session has ended")
	// errWithheld: other nodes have the account's binds.
	errWithheld = errors.New("this node has no share of the account")
)

// output is what a session wants to be done, and what it has counted.
type output struct {
	// pdus are responses and the session's own PDUs, encoded. They are written before submits.
	pdus  []byte
	stats Stats
	out   effects
}

// take returns what the steps since the last call want done.
func (o *output) take() effects {
	out := o.out
	o.out = effects{}
	return out
}

func (o *output) note(warn bool, text string, args ...any) {
	o.out.notes = append(o.out.notes, note{warn, text, args})
}

// send queues a PDU without a body.
func (o *output) send(id data.CommandIDType, status data.CommandStatusType, sequence int32) {
	o.pdus = wire.AppendHeader(o.pdus, id, status, sequence)
	o.out.flush = true
}

// respond queues the response to a deliver_sm or data_sm.
func (o *output) respond(r request, status data.CommandStatusType) {
	o.pdus = wire.AppendResponse(o.pdus, r.command, status, r.sequence, "")
	o.out.flush = true
}

// link is a session's bind: its phase, its open requests, and why it ended.
type link struct {
	output

	phase phase
	since time.Time // when the bind began or ended
	err   error     // why it ended
	// stop: the session drains to stop; there will be no further bind.
	stop bool
	// withheld: this node may not be bound, until share allows it.
	withheld bool
	drainBy  time.Time

	received time.Time // the last PDU of any kind
	// bindSeq, enquireSeq and unbindSeq are our open requests; 0 is none.
	bindSeq, enquireSeq, unbindSeq int32
	requestBy                      time.Time // when the open request is late
}

// leave records why and when the bind ended. The first reason is kept.
func (l *link) leave(err error, now time.Time) {
	if l.phase == closing || l.phase == down {
		return
	}
	if (l.phase == bound || l.phase == draining) && !errors.Is(err, errStopped) {
		l.stats.ConnectionsLost++
	}
	l.err, l.since = err, now
	l.out.changed = true
}

// quit ends the connection from our side, after the queued answers are written. No submit is
// written any more.
func (l *link) quit(err error, now time.Time) {
	if l.phase == down {
		return
	}
	l.leave(err, now)
	l.phase = closing
	l.out.close, l.out.flush = true, true
}

// why is the reason of our unbind.
func (l *link) why() error {
	if l.stop {
		return errStopped
	}
	return errWithheld
}

// bindAnswered deals with bind_transceiver_resp.
func (l *link) bindAnswered(status data.CommandStatusType, now time.Time) {
	l.bindSeq = 0
	if status == data.ESME_ROK {
		l.phase, l.since, l.err = bound, now, nil
		l.stats.Binds++
		l.out.changed = true
		l.note(false, "smpp: bound")
		return
	}
	l.stats.BindsRefused++
	l.quit(&bindRefused{status}, now)
}
