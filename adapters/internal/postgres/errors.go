package postgres

import (
	"context"
	"crypto/tls"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// SQLSTATEs that something depends on (PostgreSQL 15, appendix A).
const (
	readOnlyServer    = "25006" // read_only_sql_transaction: a standby, or a former primary
	idleInTransaction = "25P03" // idle_in_transaction_session_timeout
	notPermitted      = "42501" // insufficient_privilege
	lockNotAvailable  = "55P03"
	noTable           = "42P01"
	noSchema          = "3F000"
)

// code is the SQLSTATE of an error; empty where it is not the server's.
func code(err error) string {
	var server *pgconn.PgError
	if errors.As(err, &server) {
		return server.Code
	}
	return ""
}

// ReadOnly reports whether the server takes no writes: it is a standby, as a former
// primary is after a failover. The next connection may find another server.
func ReadOnly(err error) bool { return code(err) == readOnlyServer }

// Undefined reports whether a table is not there, or its schema.
func Undefined(err error) bool { return code(err) == noTable || code(err) == noSchema }

// NotPermitted reports whether the user may not do what a statement asks for.
func NotPermitted(err error) bool { return code(err) == notPermitted }

// failed reports whether a connection could not be made.
func failed(err error) bool {
	var connect *pgconn.ConnectError
	return errors.As(err, &connect)
}

// late reports whether a bound ended the call, and not the server.
func late(err error) bool {
	var network net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &network) && network.Timeout()
}

// cut reports whether a connection that had been made ended under a call.
func cut(err error) bool {
	var network *net.OpError
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, pgconn.ErrConnClosed) || errors.Is(err, driver.ErrBadConn)
}

// Broken reports whether a connection ended under a call, or leads to a server that
// takes no writes: the same call over another connection may succeed. It is false where
// no connection could be made, where the time was up, and where the statement failed.
func Broken(err error) bool {
	switch c := code(err); {
	case err == nil, failed(err):
		return false
	case c != "": // 57P01 to 57P03, 57P05: the server or its operator ends the session
		return c == readOnlyServer || c == idleInTransaction || strings.HasPrefix(c, "57P")
	}
	return cut(err) && !late(err) && !errors.Is(err, context.Canceled)
}

// Away reports whether an error says that the server cannot be reached or takes
// nothing, and not that one statement in particular cannot be run: connections (08),
// resources (53), the operator (57), a lock, time, or a standby stood in the way.
func Away(err error) bool {
	switch c := code(err); {
	case err == nil:
		return false
	case failed(err):
		return true
	case c != "":
		return strings.HasPrefix(c, "08") || strings.HasPrefix(c, "53") || strings.HasPrefix(c, "57") ||
			c == lockNotAvailable || c == readOnlyServer || c == idleInTransaction
	}
	return late(err) || cut(err)
}

// explained is an error of PostgreSQL, or of the way to it, under a text that may be
// shown to anybody.
type explained struct {
	text string
	err  error
}

func (e *explained) Error() string { return e.text }

// Unwrap gives the cause, whose own text may name the server and the user.
func (e *explained) Unwrap() error { return e.err }

// Explain gives an error of PostgreSQL, or of the way to it, a text for the operator
// that names no address, no port, no user and no secret: pgx's own do. within is the
// time that the call had, 0 if the text is not to say it. Other errors, and those that
// are explained already, are returned as they are.
func (c *Client) Explain(err error, within time.Duration) error {
	var known *explained
	if err == nil || errors.As(err, &known) {
		return err
	}
	var text string
	said := c.said(err)
	switch {
	case failed(err) && late(err) && said == "":
		text = "PostgreSQL cannot be reached in time"
		if within > 0 {
			text += ": it did not answer within " + within.Round(time.Millisecond).String()
		}
	case failed(err):
		text = "PostgreSQL cannot be reached"
		if said == "" {
			said = obstacle(err)
		}
		if said != "" {
			text += ": " + said
		}
	case said != "":
		text = "PostgreSQL says: " + said
	case late(err) && within > 0:
		text = "PostgreSQL did not answer within " + within.Round(time.Millisecond).String()
	case late(err):
		text = "PostgreSQL did not answer in time"
	case cut(err):
		text = "the connection to PostgreSQL broke"
		if why := obstacle(err); why != "" {
			text += ": " + why
		}
	default:
		return err
	}
	return &explained{text, err}
}

// said is what the server says, and its SQLSTATE; empty where it says nothing.
func (c *Client) said(err error) string {
	var server *pgconn.PgError
	if !errors.As(err, &server) {
		return ""
	}
	text := server.Message
	if strings.HasPrefix(server.Code, "28") { // the server names the user, and the address that it sees
		text = "it refuses the user, the password or the address of this node"
	}
	for _, name := range c.hidden {
		if name != "" {
			text = strings.ReplaceAll(text, `"`+name+`"`, "(not shown)")
		}
	}
	return text + " (SQLSTATE " + server.Code + ")"
}

// obstacle says what stood in the way to the server, in words that are ours or the
// operating system's: those of other layers have addresses in them.
func obstacle(err error) string {
	var certificate *tls.CertificateVerificationError
	var name *net.DNSError
	var call *os.SyscallError
	var number syscall.Errno
	switch {
	case errors.As(err, &certificate):
		return "its certificate was refused"
	case errors.As(err, &name):
		return "its name cannot be resolved"
	case errors.As(err, &call):
		return call.Error()
	case errors.As(err, &number):
		return number.Error()
	}
	return ""
}
