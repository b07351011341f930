package client

import (
	"errors"
	"time"

	"github.com/linxGnu/gosmpp/data"
	"github.com/linxGnu/gosmpp/pdu"

	"github.com/chirograph/chirograph/adapters/smpp/wire"
)

// phase is the state of a session's bind.
type phase uint8

const (
	// down: no connection. Ended by connected.
	down phase = iota
	// binding: the bind is sent. Ended by its response, or by lost.
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

// output is what an account's sessions want to be done, and what they have counted.
type output struct {
	stats Stats
	out   effects
}

func (o *output) note(warn bool, text string, args ...any) {
	o.out.notes = append(o.out.notes, note{warn, text, args})
}

// link is a session's bind: its phase, its open requests, and why it ended.
type link struct {
	*output
	kind pdu.BindingType

	// pdus are responses and the session's own PDUs, encoded. They are written before submits.
	pdus []byte
	// wake: there is something to write, or the connection is to be closed.
	wake bool

	phase   phase
	since   time.Time     // when the bind began or ended
	lasted  time.Duration // how long the last connection was bound
	err     error         // why it ended
	drainBy time.Time

	received time.Time // the last PDU of any kind
	// bindSeq, enquireSeq and unbindSeq are our open requests; 0 is none.
	bindSeq, enquireSeq, unbindSeq int32
	requestBy                      time.Time // when the open request is late
	enquired                       time.Time // when enquire_link was sent
}

// sends reports whether submits may go over the bind, once it is up.
func (l *link) sends() bool { return l.kind != pdu.Receiver }

// receives reports whether the carrier delivers over the bind, once it is up.
func (l *link) receives() bool { return l.kind != pdu.Transmitter }

// kindNames are the binds by name, for people.
var kindNames = map[pdu.BindingType]string{pdu.Transceiver: "transceiver", pdu.Transmitter: "transmitter", pdu.Receiver: "receiver"}

// note notes a line for the log, which names the bind.
func (l *link) note(warn bool, text string, args ...any) {
	l.output.note(warn, text, append(args, "bind", kindNames[l.kind])...)
}

// send queues a PDU without a body.
func (l *link) send(id data.CommandIDType, status data.CommandStatusType, sequence int32) {
	l.pdus = wire.AppendHeader(l.pdus, id, status, sequence)
	l.wake = true
}

// respond queues the response to a deliver_sm or data_sm.
func (l *link) respond(r request, status data.CommandStatusType) {
	l.pdus = wire.AppendResponse(l.pdus, r.command, status, r.sequence, "")
	l.wake = true
}

// leave records why and when the bind ended. The first reason is kept.
func (l *link) leave(err error, now time.Time) {
	if l.phase == closing || l.phase == down {
		return
	}
	if l.phase == bound || l.phase == draining {
		l.lasted = max(now.Sub(l.since), 1)
		if !errors.Is(err, errStopped) {
			l.stats.ConnectionsLost++
		}
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
	l.wake = true
}

// bindAnswered deals with the response to the bind.
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
