package outbound

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
)

// TestAddresses: what may be called, without anything that the operator allows.
func TestAddresses(t *testing.T) {
	for addr, want := range map[string]bool{
		"8.8.8.8": true, "1.1.1.1": true, "223.255.255.255": true, "100.63.255.255": true, "100.128.0.1": true, "172.15.255.255": true, "172.32.0.1": true,
		"192.167.255.255": true, "192.169.0.1": true, "198.17.255.255": true, "198.20.0.1": true, "126.255.255.255": true, "128.0.0.1": true,
		"2606:4700::1111": true, "2a00:1450:4001::1": true, "2001:200::1": true, "2003::1": true,
		// Private, loopback, link-local.
		"10.0.0.1": false, "10.255.255.255": false, "172.16.0.1": false, "172.31.255.255": false, "192.168.0.1": false, "192.168.255.255": false,
		"127.0.0.1": false, "127.255.255.254": false, "::1": false, "169.254.0.1": false, "169.254.255.255": false,
		"fe80::1": false, "febf::1": false, "fc00::1": false, "fdff::1": false, "fec0::1": false, "feff::1": false,
		// Metadata.
		"169.254.169.254": false, "169.254.170.2": false, "100.100.100.200": false, "168.63.129.16": false, "192.0.0.192": false, "fd00:ec2::254": false, "fd20:ce::254": false,
		// Special.
		"0.0.0.0": false, "0.255.255.255": false, "100.64.0.1": false, "100.127.255.255": false, "192.0.0.1": false, "192.0.2.1": false, "192.88.99.1": false,
		"198.18.0.1": false, "198.19.255.255": false, "198.51.100.1": false, "203.0.113.255": false, "224.0.0.1": false, "239.255.255.255": false,
		"240.0.0.1": false, "255.255.255.255": false, "::": false, "2001:db8::1": false, "3fff::1": false, "3fff:fff::1": false, "ff02::1": false, "ff0e::1": false,
		"100::1": false, "5f00::1": false, "4000::1": false, "2001:2::1": false, "2001:10::1": false, "2001:20::1": false,
		// An IPv4 address within, public or not.
		"::ffff:8.8.8.8": false, "::ffff:127.0.0.1": false, "::127.0.0.1": false, "::8.8.8.8": false, "::ffff:0:127.0.0.1": false,
		"64:ff9b::7f00:1": false, "64:ff9b::8.8.8.8": false, "64:ff9b:1::10.0.0.1": false, "64:ff9b:1:a00:0:100::": false,
		"2002:7f00:1::": false, "2002:808:808::1": false, "2001:0:7f00:1::": false, "2001::1": false,
		"2606:4700::5efe:10.0.0.1": false, "2606:4700::200:5efe:8.8.8.8": false,
		"fe80::1%eth0": false, "2606:4700::1111%eth0": false,
	} {
		a := netip.MustParseAddr(addr)
		fault := allow(nil).check(a, 443, false)
		if (fault == nil) != want {
			t.Errorf("%s: %v, want allowed %v", addr, fault, want)
		}
		if fault != nil && fault.Text != AddressNotAllowed {
			t.Errorf("%s: %v", addr, fault)
		}
		if allow(nil).check(a, 80, true) == nil {
			t.Errorf("%s: http is allowed, which the operator did not say", addr)
		}
	}
}

// TestAllowed: what the operator's list opens, and what it does not.
func TestAllowed(t *testing.T) {
	all := []string{"0.0.0.0/0", "::/0"}
	for _, tt := range []struct {
		list []string
		addr string
		want bool
	}{
		{[]string{"10.0.0.0/8"}, "10.1.2.3", true},
		{[]string{"10.0.0.0/8"}, "192.168.0.1", false},
		{[]string{"127.0.0.1/32"}, "127.0.0.1", true},
		{[]string{"127.0.0.1/32"}, "127.0.0.2", false},
		{[]string{"127.0.0.1/32"}, "::ffff:127.0.0.1", false},
		{[]string{"::1/128"}, "::1", true},
		{[]string{"::1/128"}, "::2", false},
		{[]string{"fc00::/7"}, "fd12::1", true},
		// The metadata services need their own addresses.
		{[]string{"fc00::/7"}, "fd00:ec2::254", false},
		{[]string{"169.254.0.0/16"}, "169.254.169.254", false},
		{[]string{"169.254.0.0/16"}, "169.254.1.1", true},
		{[]string{"169.254.169.254/32"}, "169.254.169.254", true},
		{all, "169.254.169.254", false}, {all, "100.100.100.200", false}, {all, "fd00:ec2::254", false}, {all, "168.63.129.16", false},
		{all, "127.0.0.1", true}, {all, "::1", true}, {all, "224.0.0.1", true}, {all, "fe80::1%eth0", false},
		// What is embedded must be allowed too.
		{[]string{"64:ff9b::/96"}, "64:ff9b::8.8.8.8", true},
		{[]string{"64:ff9b::/96"}, "64:ff9b::10.0.0.1", false},
		{[]string{"64:ff9b::/96", "10.0.0.0/8"}, "64:ff9b::10.0.0.1", true},
		{[]string{"64:ff9b:1::/48"}, "64:ff9b:1::8.8.8.8", true},
		{[]string{"64:ff9b:1::/48"}, "64:ff9b:1::10.0.0.1", false},
		{[]string{"64:ff9b:1::/48"}, "64:ff9b:1:a00:0:100::", false},
		{[]string{"2002::/16"}, "2002:7f00:1::", false},
		{[]string{"2002::/16"}, "2002:808:808::", true},
		{[]string{"::/0"}, "::ffff:127.0.0.1", false},
		{[]string{"::/0"}, "::ffff:169.254.169.254", false},
		{all, "64:ff9b::169.254.169.254", false},
		{all, "169.254.170.23", false},
		{all, "169.254.42.42", false},
		{all, "fd00:ec2::23", false},
		{[]string{"fd00:ec2::23/128"}, "fd00:ec2::23", true},
	} {
		var l allow
		for _, p := range tt.list {
			l = append(l, netip.MustParsePrefix(p))
		}
		a := netip.MustParseAddr(tt.addr)
		for _, plain := range []bool{false, true} {
			// An allowed address has every port, and http.
			if got := l.check(a, 8, plain) == nil; got != tt.want {
				t.Errorf("%v, %s, http %v: allowed %v, want %v", tt.list, tt.addr, plain, got, tt.want)
			}
		}
	}
	if f := (allow{netip.MustParsePrefix("0.0.0.0/0")}).check(netip.MustParseAddr("10.0.0.1"), 0, false); f == nil {
		t.Error("port 0 is allowed")
	}
}

func TestPorts(t *testing.T) {
	for port, want := range map[uint16]bool{443: true, 80: true, 1024: true, 8443: true, 65535: true, 0: false, 1: false, 22: false, 25: false, 1023: false} {
		if fault := allow(nil).check(netip.MustParseAddr("8.8.8.8"), port, false); (fault == nil) != want || fault != nil && fault.Text != PortNotAllowed {
			t.Errorf("port %d: %v", port, fault)
		}
	}
}

func TestURLs(t *testing.T) {
	for _, tt := range []struct{ url, host, field, uri string }{
		{"https://example.com", "example.com", "example.com", "/"},
		{"HTTPS://EXAMPLE.com/", "example.com", "example.com", "/"},
		{"https://example.com:443/a?b=c", "example.com", "example.com", "/a?b=c"},
		{"https://example.com:8443?b", "example.com", "example.com:8443", "/?b"},
		{"http://example.com:80/", "example.com", "example.com", "/"},
		{"https://example.com:80/", "example.com", "example.com:80", "/"},
		{"https://8.8.8.8/a%20b", "8.8.8.8", "8.8.8.8", "/a%20b"},
		{"https://[2606:4700:0:0::1111]:444/", "2606:4700::1111", "[2606:4700::1111]:444", "/"},
		{"https://xn--bcher-kva.example/", "xn--bcher-kva.example", "xn--bcher-kva.example", "/"},
		{"https://a_b.example/", "a_b.example", "a_b.example", "/"},
		{"https://localhost/", "localhost", "localhost", "/"},
		{"https://1.2.3.4.example/", "1.2.3.4.example", "1.2.3.4.example", "/"},
		{"https://example.com//x", "example.com", "example.com", "//x"},
		{"https://example.com/@", "example.com", "example.com", "/@"},
	} {
		got, fault := parse(tt.url)
		if fault != nil || got.host != tt.host || got.field != tt.field || got.uri != tt.uri {
			t.Errorf("%s: %+v, %v", tt.url, got, fault)
		}
	}
	for _, bad := range []string{
		"", "https://", "https:///a", "https://:443/", "https:example.com", "//example.com", "example.com", "/a", "ftp://example.com", "file:///etc/passwd", "gopher://a", "httpss://a", " https://a", "https://a b",
		"https://example.com/#", "https://example.com/#a", "https://user@example.com/", "https://user:pw@example.com/", "https://@example.com/", "https://example.com@127.0.0.1/",
		"https://example.com\\@127.0.0.1/", "https://example.com\\a", "https://example.com/\n", "https://example.com/\x00", "https://example.com/é", "https://bücher.example/", "https://１２７.0.0.1/", "https://example。com/",
		// Ports.
		"https://example.com:/", "https://example.com:0/", "https://example.com:65536/", "https://example.com:99999999999/", "https://example.com:-1/", "https://example.com:+443/", "https://example.com:0443/", "https://example.com:4a/", "https://example.com:443:443/",
		// IPv4 in other spellings.
		"https://2130706433/", "https://0x7f000001/", "https://0x7f.0.0.1/", "https://0x7f.1/", "https://0177.0.0.1/", "https://127.1/", "https://127.0.1/", "https://127.0.0.01/", "https://127.0.0.0x1/", "https://127.0.0.1./", "https://1.2.3.4.5/",
		"https://256.0.0.1/", "https://0x/", "https://0X7F.0.0.1/", "https://017700000001/", "https://a.0x7f/", "https://a.1/", "https://127.0.0.1.0x/",
		// IPv6 in other spellings.
		"https://[::ffff:127.0.0.1]/", "https://[::ffff:7f00:1]/", "https://[fe80::1%25eth0]/", "https://[fe80::1%eth0]/", "https://[::1/", "https://[::1]a/", "https://[127.0.0.1]/", "https://[example.com]/", "https://[]/", "https://::1/", "https://[::1]:/", "https://[::g]/", "https://[v1.a]/",
		// Names.
		"https://example.com./", "https://.example.com/", "https://example..com/", "https://-a.example/", "https://a-.example/", "https://ex%61mple.com/", "https://a,b/", "https://a;b/", "https://a*b/", "https://./", "https://../", "https://a!b/", "https://a$b/", "https://(a)/",
		"https://" + strings.Repeat("a", 64) + ".example/", "https://" + strings.Repeat("a.", 127) + "example/", "https://example.com/" + strings.Repeat("a", MaxURL),
	} {
		if got, fault := parse(bad); fault == nil || fault.Text != InvalidURL {
			t.Errorf("%q was taken: %+v, %v", bad, got, fault)
		}
	}
}

// TestCheckURL: what is said before an endpoint is stored.
func TestCheckURL(t *testing.T) {
	names := map[string][]string{
		"public.example": {"8.8.8.8", "2606:4700::1111"}, "inside.example": {"10.0.0.1"}, "both.example": {"8.8.8.8", "10.0.0.1"}, "mapped.example": {"::ffff:8.8.8.8"},
		"mapped-inside.example": {"::ffff:127.0.0.1"}, "metadata.example": {"169.254.169.254"}, "localhost": {"127.0.0.1", "::1"}, "empty.example": {}, "open.example": {"10.9.0.1"},
	}
	resolve := func(_ context.Context, host string) (out []netip.Addr, err error) {
		list, ok := names[host]
		if !ok {
			return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: host != "broken.example"}
		}
		for _, a := range list {
			out = append(out, netip.MustParseAddr(a))
		}
		return out, nil
	}
	c, err := New(Config{Resolve: resolve, Allow: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")}})
	if err != nil {
		t.Fatal(err)
	}
	for url, want := range map[string]string{
		"https://public.example/": "", "https://mapped.example/": "", "https://open.example/": "", "http://open.example/": "", "https://open.example:22/": "",
		"https://none.example/": "", "https://broken.example/": "", "https://empty.example/": "", "http://none.example/": "",
		"http://public.example/": PlainNotAllowed, "http://8.8.8.8/": PlainNotAllowed, "https://public.example:25/": PortNotAllowed,
		"https://inside.example/": AddressNotAllowed, "https://both.example/": AddressNotAllowed, "https://mapped-inside.example/": AddressNotAllowed,
		"https://metadata.example/": AddressNotAllowed, "https://localhost/": AddressNotAllowed, "https://127.0.0.1/": AddressNotAllowed, "https://[::1]/": AddressNotAllowed,
		"https://[64:ff9b::7f00:1]/": AddressNotAllowed, "https://u@public.example/": InvalidURL,
	} {
		got := ""
		if err := c.CheckURL(t.Context(), url); err != nil {
			var fault *Error
			if !errors.As(err, &fault) {
				t.Fatalf("%s: %T", url, err)
			}
			got = fault.Text
		}
		if got != want {
			t.Errorf("%s: %q, want %q", url, got, want)
		}
	}
	c, err = New(Config{Resolve: resolve})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.CheckURL(t.Context(), "http://none.example/"); err == nil {
		t.Error("http is allowed, though the operator allows nothing")
	}
}

// FuzzURL: what is taken has one reading. Go's own parser finds the same host, and the URL made of what was read is read alike.
func FuzzURL(f *testing.F) {
	for _, s := range []string{"https://example.com/a?b", "https://127.0.0.1:8443/", "https://[2606::1]/", "http://0x7f.1/", "https://a@b/", "https://[::ffff:1.2.3.4]/", "https://xn--a.example:1/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got, fault := parse(raw)
		if fault != nil {
			if strings.Contains(fault.Error(), raw) && len(raw) > 12 {
				t.Errorf("the error quotes the URL: %v", fault)
			}
			return
		}
		if got.port == 0 || got.host == "" || len(raw) > MaxURL || strings.ContainsAny(got.host, "@%\\/ \r\n") || strings.ContainsAny(got.uri, " \r\n#") || strings.ContainsAny(got.field, " \r\n@/") {
			t.Fatalf("%q: %+v", raw, got)
		}
		if a, err := netip.ParseAddr(got.host); (err == nil) != got.addr.IsValid() || err == nil && (a != got.addr || a.Is4In6() || a.Zone() != "") {
			t.Fatalf("%q: host %s, address %v", raw, got.host, got.addr)
		}
		scheme := "https://"
		if got.plain {
			scheme = "http://"
		}
		if same, fault := parse(scheme + got.field + got.uri); fault != nil || same != got {
			t.Fatalf("%q: %+v, and then %+v, %v", raw, got, same, fault)
		}
	})
}

// FuzzAddress: no address that the standard library knows as special passes, in whatever it is embedded.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{"127.0.0.1", "::1", "64:ff9b::7f00:1", "2002:7f00:1::", "2606:4700::1111", "fd00:ec2::254", "8.8.8.8"} {
		f.Add(netip.MustParseAddr(s).AsSlice())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, ok := netip.AddrFromSlice(b)
		if !ok || allow(nil).check(a, 443, false) != nil {
			return
		}
		if a.Is4In6() || a.IsPrivate() || a.IsLoopback() || a.IsMulticast() || a.IsLinkLocalUnicast() || a.IsUnspecified() || !a.IsGlobalUnicast() || len(embedded(a)) > 0 {
			t.Fatalf("%s may be called", a)
		}
		if a.Is6() && b[0]>>5 != 1 {
			t.Fatalf("%s may be called", a)
		}
	})
}
