package outbound

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// MaxURL bounds the length of a URL, in octets.
const MaxURL = 2000

// target is where a call goes, as its URL says.
type target struct {
	host  string     // a name in small letters, or an address as netip writes it
	addr  netip.Addr // of a host that is an address
	port  uint16
	plain bool   // http, not https
	field string // the Host header
	uri   string // path and query, as the request's first line has them
}

// parse reads a URL, strictly: every spelling that two programs might read differently is refused.
// A name must be in ASCII: IDNA is not applied, an international name is written with xn--.
func parse(raw string) (t target, fault *Error) {
	bad := func(detail string) (target, *Error) { return target{}, refused(InvalidURL, detail) }
	switch {
	case raw == "":
		return bad("there is no URL")
	case len(raw) > MaxURL:
		return bad("the URL is longer than 2000 characters")
	}
	for i := range len(raw) {
		if c := raw[i]; c <= ' ' || c > '~' || strings.IndexByte("\"<>\\^`{|}", c) >= 0 {
			return bad("the URL has a character that must be percent-encoded; an international host name is written with xn--")
		}
	}
	if strings.Contains(raw, "#") {
		return bad("the URL has a fragment (#), which is never sent")
	}
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return bad("the URL must begin with https://")
	}
	switch strings.ToLower(scheme) {
	case "https":
		t.port = 443
	case "http":
		t.plain, t.port = true, 80
	default:
		return bad("the URL must begin with https://")
	}
	authority := rest
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		authority = rest[:i]
	}
	u, err := url.Parse(raw)
	switch {
	case strings.Contains(authority, "@"):
		return bad("the URL has a user name or a password (@); requests are signed instead")
	case strings.Contains(authority, "%"):
		return bad("the host must have no percent sign: neither an encoding nor a zone")
	case err != nil || u.Host != authority || u.Opaque != "" || u.User != nil:
		return bad("the URL cannot be read")
	}
	if fault := t.readHost(authority); fault != nil {
		return target{}, fault
	}
	if t.uri = u.RequestURI(); !strings.HasPrefix(t.uri, "/") {
		return bad("the URL cannot be read")
	}
	return t, nil
}

// readHost reads host and port.
func (t *target) readHost(authority string) *Error {
	bad := func(detail string) *Error { return refused(InvalidURL, detail) }
	var host, port string
	var written bool
	bracketed := strings.HasPrefix(authority, "[")
	if bracketed {
		end := strings.IndexByte(authority, ']')
		if end < 0 {
			return bad("an IPv6 address must end with ]")
		}
		host = authority[1:end]
		if rest := authority[end+1:]; rest != "" {
			if port, written = strings.CutPrefix(rest, ":"); !written {
				return bad("after an IPv6 address there may be a port only")
			}
		}
	} else {
		host, port, written = strings.Cut(authority, ":")
	}
	byDefault := t.port
	if written {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 || strconv.FormatUint(n, 10) != port {
			return bad("the port must be a number from 1 to 65535")
		}
		t.port = uint16(n)
	}
	switch host = strings.ToLower(host); {
	case host == "":
		return bad("the URL has no host")
	case bracketed:
		a, err := netip.ParseAddr(host)
		if err != nil || !a.Is6() || a.Zone() != "" {
			return bad("what stands between [ and ] is no IPv6 address")
		}
		if a.Is4In6() {
			return bad("write an IPv4 address as one, not within IPv6")
		}
		t.addr, t.host, t.field = a, a.String(), "["+a.String()+"]"
	case endsInNumber(host):
		a, err := netip.ParseAddr(host)
		if err != nil || a.String() != host {
			return bad("write an IPv4 address as four decimal numbers without leading zeros, such as 192.0.2.1")
		}
		t.addr, t.host, t.field = a, host, host
	case !validName(host):
		return bad("the host is no valid name: letters, digits and hyphens, between single dots, and no dot at the end")
	default:
		t.host, t.field = host, host
	}
	if t.port != byDefault {
		t.field += ":" + strconv.Itoa(int(t.port))
	}
	return nil
}

// endsInNumber reports whether programs may read a host as an IPv4 address (WHATWG URL, "ends in a number"): its last label is a
// number, in whatever base. Such a host is an address in the one common spelling, or refused.
func endsInNumber(host string) bool {
	host = strings.TrimSuffix(host, ".")
	last := host[strings.LastIndexByte(host, '.')+1:]
	if last == "" {
		return false
	}
	if strings.Trim(last, "0123456789") == "" {
		return true
	}
	hex, ok := strings.CutPrefix(last, "0x")
	return ok && strings.Trim(hex, "0123456789abcdef") == ""
}

// validName reports whether a host is a name of the DNS (RFC 1123 §2.1), in small letters. Underscores are let pass: names in use have them.
func validName(host string) bool {
	if len(host) > 253 {
		return false
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		if strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}
