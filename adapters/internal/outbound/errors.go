package outbound

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"syscall"
)

// The words of an Error. docs/webhooks.md explains each to the owner of an endpoint, and a test compares the two lists.
const (
	AddressNotAllowed     = "address not allowed"
	PortNotAllowed        = "port not allowed"
	PlainNotAllowed       = "http not allowed"
	InvalidURL            = "invalid url"
	InvalidTLS            = "invalid tls settings"
	InvalidRequest        = "invalid request"
	NameNotFound          = "name not found"
	NameLookupFailed      = "name lookup failed"
	ConnectionRefused     = "connection refused"
	ConnectionFailed      = "connection failed"
	ConnectionClosed      = "connection closed"
	Timeout               = "timeout"
	Stopped               = "stopped"
	CertificateNotTrusted = "certificate not trusted"
	CertificateExpired    = "certificate expired"
	CertificateOtherName  = "certificate for another name"
	TLSRefused            = "tls refused"
	TLSFailed             = "tls failed"
	InvalidAnswer         = "invalid answer"
	ProxyFailed           = "proxy failed"
)

// Texts are all words that an Error may have as its Text.
func Texts() []string {
	return []string{AddressNotAllowed, PortNotAllowed, PlainNotAllowed, InvalidURL, InvalidTLS, InvalidRequest, NameNotFound, NameLookupFailed,
		ConnectionRefused, ConnectionFailed, ConnectionClosed, Timeout, Stopped, CertificateNotTrusted, CertificateExpired, CertificateOtherName,
		TLSRefused, TLSFailed, InvalidAnswer, ProxyFailed}
}

// Error says why a call has no answer, or why it may not be made. It has no address, no name of a host and
// nothing that the peer wrote; so it does not wrap its cause.
type Error struct {
	// Text is one of Texts.
	Text string
	// Detail says more, in a sentence.
	Detail string
}

// Error is part of error.
func (e *Error) Error() string { return e.Text + ": " + e.Detail }

func refused(text, detail string) *Error { return &Error{text, detail} }

// ofLookup sorts the error of a look-up of a name.
func ofLookup(err error) *Error {
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound {
		return refused(NameNotFound, "the DNS has no address of the host's name")
	}
	return refused(NameLookupFailed, "the DNS did not answer for the host's name in time, or with an error")
}

// ofDial sorts the error of a TCP connection.
func ofDial(err error) *Error {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return refused(ConnectionRefused, "nothing takes connections at the host's port")
	case timedOut(err):
		return refused(Timeout, "there was no connection in time")
	}
	return refused(ConnectionFailed, "the host cannot be reached")
}

// ofTLS sorts the error of a TLS handshake.
func ofTLS(err error) *Error {
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var op *net.OpError
	switch {
	case errors.As(err, &name):
		return refused(CertificateOtherName, "the host's certificate is for another name than the URL's")
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return refused(CertificateExpired, "the host's certificate, or one above it, is expired or not yet valid")
	case errors.As(err, &authority), errors.As(err, &invalid):
		return refused(CertificateNotTrusted, "the host's certificate was issued by none that is trusted here; a certificate between may be missing")
	case errors.As(err, &op) && op.Op == "remote error":
		return refused(TLSRefused, "the host refused TLS: it may want a client certificate, or a version older than 1.2")
	case timedOut(err):
		return refused(Timeout, "the TLS handshake did not end in time")
	}
	var verification *tls.CertificateVerificationError
	if errors.As(err, &verification) {
		return refused(CertificateNotTrusted, "the host's certificate cannot be verified")
	}
	return refused(TLSFailed, "the host does not speak TLS 1.2 or 1.3 at this port, or closed the connection")
}

// ofExchange sorts the error of writing a request or of reading its answer.
func ofExchange(err error) *Error {
	var op *net.OpError
	switch {
	case timedOut(err):
		return refused(Timeout, "there was no answer in time")
	case errors.As(err, &op) && op.Op == "remote error":
		return refused(TLSRefused, "the host refused TLS: it may want a client certificate")
	}
	return refused(ConnectionClosed, "the connection ended before there was an answer; whether the host took the request is not known")
}

func timedOut(err error) bool {
	var n net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &n) && n.Timeout()
}
