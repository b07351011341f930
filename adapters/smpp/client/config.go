package client

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	"github.com/chirograph/chirograph/domain/sms"
)

// Config is one account at one message centre. A field that is left zero is what Defaults
// says.
type Config struct {
	// Account names the account in the ledger. Required.
	Account string
	// Addr is the centre's host:port. Required. Failover are further addresses of the same
	// centre: each bind tries them in order, and begins with Addr after every connection that was
	// bound.
	Addr     string
	Failover []string
	// TLS, when set, wraps the connection. Its ServerName is the host of the address if it is "".
	TLS *tls.Config
	// SystemID, Password and SystemType go into the bind (SMPP 3.4 §4.1). SystemID is required and
	// has at most 15 octets, SystemType at most 12. SMPP 3.4 §5.2.2 allows a password of 8 octets;
	// many carriers give longer ones, so up to MaxPassword are sent.
	SystemID, Password, SystemType string
	// Apart binds transmitters and receivers in place of transceivers (SMPP 3.4 §4.1.1, §4.1.3).
	Apart bool
	// Binds is how many transceivers this process keeps bound, or how many transmitters and how
	// many receivers.
	Binds int
	// AddrTON, AddrNPI and AddressRange go into the bind: the addresses whose inbound messages
	// this bind takes (SMPP 3.4 §5.2.5 to §5.2.7). AddressRange has at most 40 octets.
	AddrTON, AddrNPI byte
	AddressRange     string
	// ServiceType goes into submit_sm (SMPP 3.4 §5.2.11); at most 5 octets.
	ServiceType string
	// SourceTON, SourceNPI, DestTON and DestNPI replace the type of number and the numbering plan
	// that a submit_sm has by its sender and its recipient; nil keeps them.
	SourceTON, SourceNPI, DestTON, DestNPI *byte
	// TLVs are optional parameters of submit_sm that the carrier asks for, in order.
	TLVs []TLV

	// Window is how many submits of one bind may be unanswered; carriers say what they allow.
	Window int
	// TPS is how many submits a second the account allows over all binds; each part of a message
	// is one. With 0 only the carrier's throttling limits the rate.
	TPS float64
	// ResponseTimeout is how long a response may take, for submits (then
	// HandoffUnknown), the bind and enquire_link. Keep it below the
	// time between a hand-off's call_by and its answer_by. (response_timer)
	ResponseTimeout time.Duration
	// EnquireLink is the silence after which enquire_link asks whether the centre
	// still answers. It must be below every idle limit of the carrier and
	// of the firewalls on the way. (enquire_link_timer)
	EnquireLink time.Duration
	// ReconnectMin and ReconnectMax bound the wait before the next bind. It doubles at
	// each failure, and half of it is random.
	ReconnectMin, ReconnectMax time.Duration
	// Jitter draws the random half, in [0,1). Default math/rand.
	Jitter func() float64
	// DrainTimeout bounds the wait for open responses and acknowledgements when Run
	// is told to stop.
	DrainTimeout time.Duration
	// Deliveries is how many deliver_sm of one bind may wait for the inbox. Beyond it they are
	// answered with ESME_RX_T_APPN, so that the carrier delivers them again.
	Deliveries int

	// Alphabet is what data_coding 0 means at this carrier: sms.GSM7 or sms.Latin1. (SMSC default alphabet, SMPP 3.4 §5.2.19)
	Alphabet sms.Encoding
	// SniffReceipts makes an ordinary message a receipt if its text reads like one. It is
	// only for a carrier that sends receipts with esm_class 0: with others a handset could
	// forge the receipt of its own message. Default off.
	SniffReceipts bool
	// HexIDs: this carrier writes ids in hexadecimal in submit_sm_resp and in
	// decimal in receipts. Ids are not converted here; the matcher does that.
	HexIDs bool
	// RetryStatuses are additional command_status values that this carrier documents
	// as "not taken, try later", such as 8 (ESME_RSYSERR).
	RetryStatuses []uint32
	// QuerySM and CancelSM say that the carrier supports these commands (SMPP 3.4 §4.8, §4.9).
	QuerySM, CancelSM bool
}

// TLV is an optional parameter that each submit_sm of some programs has.
type TLV struct {
	// Tag is the parameter's tag, such as 0x1400.
	Tag uint16
	// Value is its value, at most MaxTLV octets.
	Value []byte
	// Programs are the names of the programs, or tenant/name. Empty: all.
	Programs []string
}

// applies reports whether a program's submits have the parameter.
func (t *TLV) applies(tenant, program string) bool {
	return len(t.Programs) == 0 || slices.Contains(t.Programs, program) || slices.Contains(t.Programs, tenant+"/"+program)
}

const (
	// MaxPassword bounds a password, in octets.
	MaxPassword = 64
	// MaxBinds bounds Config.Binds: with Apart, 64 sessions in all.
	MaxBinds = 32
	// MaxTLV bounds the value of a TLV, in octets, and MaxTLVs how many an account has.
	MaxTLV  = 1024
	MaxTLVs = 64
)

// Defaults are the values that fields of a Config have when they are left zero: the one
// list of them, for a configuration file and its documents too.
func Defaults() Config {
	return Config{Window: 64, Binds: 1, ResponseTimeout: 5 * time.Second, EnquireLink: 30 * time.Second, ReconnectMin: 500 * time.Millisecond,
		ReconnectMax: 30 * time.Second, DrainTimeout: 10 * time.Second, Deliveries: 512, Alphabet: sms.GSM7}
}

// check returns an error for an invalid configuration, and sets the defaults of a valid one.
func (c *Config) check() error {
	switch {
	case c.Account == "":
		return errors.New("smpp: account is missing: name the carrier account")
	case c.Addr == "" || slices.Contains(c.Failover, ""):
		return errors.New("smpp: addr is missing: give the message centre's host:port")
	case c.SystemID == "" || len(c.SystemID) > 15:
		return errors.New("smpp: system_id must have 1 to 15 characters")
	case len(c.Password) > MaxPassword:
		return fmt.Errorf("smpp: password must have at most %d characters", MaxPassword)
	case len(c.SystemType) > 12:
		return errors.New("smpp: system_type must have at most 12 characters")
	case len(c.ServiceType) > 5:
		return errors.New("smpp: service_type must have at most 5 characters")
	case len(c.AddressRange) > 40:
		return errors.New("smpp: address_range must have at most 40 characters")
	case c.Binds < 0 || c.Binds > MaxBinds:
		return fmt.Errorf("smpp: binds must be 1 to %d", MaxBinds)
	case len(c.TLVs) > MaxTLVs || slices.ContainsFunc(c.TLVs, func(t TLV) bool { return len(t.Value) > MaxTLV }):
		return fmt.Errorf("smpp: there must be at most %d TLVs, of %d octets each", MaxTLVs, MaxTLV)
	case c.Window < 0 || c.TPS < 0 || c.ResponseTimeout < 0 || c.EnquireLink < 0 || c.ReconnectMin < 0 ||
		c.ReconnectMax < 0 || c.DrainTimeout < 0 || c.Deliveries < 0:
		return errors.New("smpp: window, tps, time-outs and bounds must not be negative")
	case c.Alphabet != "" && c.Alphabet != sms.GSM7 && c.Alphabet != sms.Latin1:
		return fmt.Errorf("smpp: alphabet must be %s or %s", sms.GSM7, sms.Latin1)
	}
	d := Defaults()
	c.Window = cmp.Or(c.Window, d.Window)
	c.Binds = cmp.Or(c.Binds, d.Binds)
	c.ResponseTimeout = cmp.Or(c.ResponseTimeout, d.ResponseTimeout)
	c.EnquireLink = cmp.Or(c.EnquireLink, d.EnquireLink)
	c.ReconnectMin = cmp.Or(c.ReconnectMin, d.ReconnectMin)
	c.ReconnectMax = cmp.Or(c.ReconnectMax, max(d.ReconnectMax, c.ReconnectMin))
	c.DrainTimeout = cmp.Or(c.DrainTimeout, d.DrainTimeout)
	c.Deliveries = cmp.Or(c.Deliveries, d.Deliveries)
	c.Alphabet = cmp.Or(c.Alphabet, d.Alphabet)
	if c.ReconnectMin > c.ReconnectMax {
		return errors.New("smpp: reconnect_min must not be above reconnect_max")
	}
	if c.Jitter == nil {
		c.Jitter = rand.Float64
	}
	return nil
}

// addresses are the centre's addresses, in the order in which they are tried.
func (c *Config) addresses() []string { return append([]string{c.Addr}, c.Failover...) }

// tlsFor is the TLS configuration of a connection to an address.
func (c *Config) tlsFor(addr string) *tls.Config {
	t := c.TLS.Clone()
	if t.ServerName == "" {
		if host, _, err := net.SplitHostPort(addr); err == nil {
			t.ServerName = host
		}
	}
	return t
}
