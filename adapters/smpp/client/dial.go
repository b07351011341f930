package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
)

// The first two octets of a TLS alert record (RFC 8446 §5.1): the answer of a TLS server to what is no
// TLS.
const (
	tlsAlert = 0x15
	tlsMajor = 0x03
)

var errSpeaksTLS = errors.New("the port expects TLS, and tls is off for this account: set tls: true, or use the port without TLS")

// dial connects to one address of the centre, and does the TLS handshake if there is TLS. Its errors
// say what to do.
func (k *keeper) dial(ctx context.Context, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, k.c.cfg.ResponseTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		if ctx.Err() != nil && errors.Is(err, context.DeadlineExceeded) {
			return nil, fmt.Errorf("%s took no connection within %v: check the address and the firewalls on the way", addr, k.c.cfg.ResponseTimeout)
		}
		return nil, err
	}
	if k.c.cfg.TLS == nil {
		return conn, nil
	}
	t := tls.Client(conn, k.c.cfg.tlsFor(addr))
	if err := t.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("TLS with %s: %w", addr, tlsError(err))
	}
	return t, nil
}

// tlsError says what a failed TLS handshake means, and what to do.
func tlsError(err error) error {
	var plain tls.RecordHeaderError
	var name x509.HostnameError
	var authority x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	hint := "the TLS handshake failed"
	switch {
	case errors.As(err, &plain):
		hint = "the port does not speak TLS: set tls: false, or use the carrier's TLS port"
	case errors.Is(err, context.DeadlineExceeded):
		hint = "the TLS handshake had no answer in time: the port may not speak TLS; set tls: false, or use the carrier's TLS port"
	case errors.As(err, &name):
		hint = "the certificate is for another name: set server_name to the name that the carrier tells you"
	case errors.As(err, &authority):
		hint = "the certificate is from an authority that this machine does not trust: set ca_file to the carrier's CA certificate"
	case errors.As(err, &invalid):
		hint = "the certificate is not valid: it may have expired, or this machine's clock is wrong"
	case isAlert(err):
		hint = "the carrier refused the handshake: it may ask for a client certificate (cert_file and key_file)"
	case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed):
		hint = "the connection was closed during the TLS handshake: the port may not speak TLS, or the carrier asks for a client certificate"
	}
	return fmt.Errorf("%s: %w", hint, err)
}

// isAlert reports whether an error is an alert that the peer sent over TLS (RFC 8446 §6).
func isAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

// readError says why the connection ended while it was read.
func readError(err error, bound, secured bool) error {
	switch {
	case isAlert(err):
		return fmt.Errorf("the carrier ended the TLS connection: it may ask for another client certificate (cert_file and key_file): %w", err)
	case errors.Is(err, io.EOF) && bound:
		return errors.New("the carrier closed the connection")
	case errors.Is(err, io.EOF) && secured:
		return errors.New("the carrier closed the connection before it answered the bind: check the addresses that it allows, and whether it asks for a client certificate")
	case errors.Is(err, io.EOF):
		return errors.New("the carrier closed the connection before it answered the bind: check the addresses that it allows; if the port expects TLS, set tls: true")
	}
	return fmt.Errorf("read: %w", err)
}
