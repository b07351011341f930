package outbound

import (
	"crypto/tls"
	"crypto/x509"
)

// TLS are the settings of a call's TLS, as PEM. The zero value: the system's authorities, and no client certificate.
// The versions are 1.2 and 1.3, whatever the settings.
type TLS struct {
	// CA are the authorities that are trusted instead of the system's.
	CA string
	// Certificate and Key are the client's.
	Certificate, Key string
}

// Config reads the settings; the error is an *Error.
func (s TLS) config() (*tls.Config, *Error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, ClientSessionCache: tls.NewLRUClientSessionCache(64)}
	if s.CA != "" {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM([]byte(s.CA)) {
			return nil, refused(InvalidTLS, "the authorities are no certificates as PEM")
		}
	}
	switch {
	case s.Certificate == "" && s.Key == "":
	case s.Certificate == "" || s.Key == "":
		return nil, refused(InvalidTLS, "a client certificate and its key are given together, or neither")
	default:
		pair, err := tls.X509KeyPair([]byte(s.Certificate), []byte(s.Key))
		if err != nil {
			return nil, refused(InvalidTLS, "the client certificate and its key are no PEM, or do not belong together")
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// CheckTLS says what is wrong with settings: an *Error, or nil.
func CheckTLS(s TLS) error {
	if _, fault := s.config(); fault != nil {
		return fault
	}
	return nil
}

// maxSettings bounds the settings whose configurations are kept: at most twice as many.
const maxSettings = 128

// settingsOf returns the configuration of settings, made once: it keeps the sessions of TLS that can be resumed.
func (c *Client) settingsOf(s TLS) (*tls.Config, *Error) {
	c.mu.Lock()
	t, ok := c.settings.Get(s)
	c.mu.Unlock()
	if ok {
		return t, nil
	}
	t, fault := s.config()
	if fault != nil {
		return nil, fault
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if kept, ok := c.settings.Get(s); ok {
		return kept, nil
	}
	c.settings.Put(s, t)
	return t, nil
}
