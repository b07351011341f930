package outbound

import (
	"net/netip"
	"slices"
)

// special4 are the IPv4 addresses that are no host on the public internet (the IANA registry of special-purpose
// addresses, RFC 6890): a call to one would reach this machine, its network, or a cloud's own services.
var special4 = prefixes(
	"0.0.0.0/8",       // this network (RFC 791)
	"10.0.0.0/8",      // private (RFC 1918)
	"100.64.0.0/10",   // shared by carriers (RFC 6598); a metadata service too
	"127.0.0.0/8",     // loopback
	"169.254.0.0/16",  // link-local (RFC 3927); the metadata services of clouds
	"172.16.0.0/12",   // private
	"192.0.0.0/24",    // protocol assignments (RFC 6890)
	"192.0.2.0/24",    // documentation (RFC 5737)
	"192.88.99.0/24",  // 6to4 relays (RFC 7526)
	"192.168.0.0/16",  // private
	"198.18.0.0/15",   // benchmarking (RFC 2544)
	"198.51.100.0/24", // documentation
	"203.0.113.0/24",  // documentation
	"224.0.0.0/4",     // multicast
	"240.0.0.0/4",     // reserved, and broadcast
)

// global6 is the one block from which IANA gives out IPv6 addresses of hosts. Whatever lies outside is refused:
// ::, ::1, IPv4-mapped and IPv4-compatible, NAT64, unique local, link-local, site-local, multicast.
var global6 = netip.MustParsePrefix("2000::/3")

// special6 are the addresses of global6 that are no public hosts.
var special6 = prefixes(
	"2001::/23",     // protocol assignments: Teredo, benchmarking, ORCHID (RFC 2928)
	"2001:db8::/32", // documentation (RFC 3849)
	"2002::/16",     // 6to4 (RFC 3056)
	"3fff::/20",     // documentation (RFC 9637)
)

// metadata are addresses at which clouds give the secrets of a machine to whatever asks from it. A wider prefix in the
// operator's list does not allow them; only the address itself does.
var metadata = []netip.Addr{
	netip.MustParseAddr("169.254.169.254"), // most clouds
	netip.MustParseAddr("169.254.170.2"),   // the credentials of containers
	netip.MustParseAddr("100.100.100.200"),
	netip.MustParseAddr("168.63.129.16"), // a public address, and yet a service of the machine's own cloud
	netip.MustParseAddr("192.0.0.192"),
	netip.MustParseAddr("fd00:ec2::254"),
	netip.MustParseAddr("fd20:ce::254"),
}

// metadataBlocks are blocks in which clouds have further such addresses. Only a prefix within the block allows them.
var metadataBlocks = []netip.Prefix{
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("fd00:ec2::/32"),
	netip.MustParsePrefix("fd20:ce::/32"),
	netip.MustParsePrefix("100.88.222.5/32"),
}

// Blocks of IPv6 addresses that carry an IPv4 address.
var (
	compatible = netip.MustParsePrefix("::/96")           // RFC 4291 §2.5.5.1
	mapped     = netip.MustParsePrefix("::ffff:0:0/96")   // RFC 4291 §2.5.5.2
	translated = netip.MustParsePrefix("::ffff:0:0:0/96") // RFC 2765
	nat64      = netip.MustParsePrefix("64:ff9b::/96")    // RFC 6052
	nat64Local = netip.MustParsePrefix("64:ff9b:1::/48")  // RFC 8215
	sixToFour  = netip.MustParsePrefix("2002::/16")       // RFC 3056
	teredo     = netip.MustParsePrefix("2001::/32")       // RFC 4380
	isatap     = []byte{0x00, 0x00, 0x5e, 0xfe}           // RFC 5214: the interface's octets before the IPv4 address
	isatapOwn  = []byte{0x02, 0x00, 0x5e, 0xfe}
)

func prefixes(s ...string) (out []netip.Prefix) {
	for _, p := range s {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

func contains(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

// public reports whether an address is that of a host on the public internet. An IPv6 address that carries an IPv4
// address is not.
func public(a netip.Addr) bool {
	switch {
	case !a.IsValid() || a.Zone() != "" || slices.Contains(metadata, a):
		return false
	case a.Is4():
		return !contains(special4, a)
	}
	return global6.Contains(a) && !contains(special6, a) && len(embedded(a)) == 0
}

// embedded are the IPv4 addresses that an IPv6 address may lead to. Where a block has several forms, all are given.
func embedded(a netip.Addr) (out []netip.Addr) {
	if !a.Is6() {
		return nil
	}
	b := a.As16()
	last := netip.AddrFrom4([4]byte(b[12:]))
	a = a.WithZone("")
	switch {
	case a == netip.IPv6Unspecified() || a == netip.IPv6Loopback():
		return nil
	case compatible.Contains(a), mapped.Contains(a), translated.Contains(a), nat64.Contains(a):
		return []netip.Addr{last}
	case nat64Local.Contains(a) && [6]byte(b[6:12]) == [6]byte{}:
		return []netip.Addr{last}
	case nat64Local.Contains(a): // RFC 6052 §2.2: after 48, 56 or 64 bits, around the zero octet; or in the last 32 bits
		return []netip.Addr{last, netip.AddrFrom4([4]byte{b[6], b[7], b[9], b[10]}), netip.AddrFrom4([4]byte{b[7], b[9], b[10], b[11]}), netip.AddrFrom4([4]byte{b[9], b[10], b[11], b[12]})}
	case sixToFour.Contains(a):
		return []netip.Addr{netip.AddrFrom4([4]byte(b[2:6]))}
	case teredo.Contains(a): // the server, and the client turned over
		return []netip.Addr{netip.AddrFrom4([4]byte(b[4:8])), netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]})}
	case slices.Equal(b[8:12], isatap) || slices.Equal(b[8:12], isatapOwn):
		return []netip.Addr{last}
	}
	return nil
}

// allow is the operator's list of prefixes that may be called though they are not public.
type allow []netip.Prefix

// has reports whether the operator allows an address: a prefix contains it, and what is embedded in it may be called too.
func (l allow) has(a netip.Addr) bool {
	if !a.IsValid() || a.Zone() != "" {
		return false
	}
	if slices.Contains(metadata, a) {
		return slices.Contains(l, netip.PrefixFrom(a, a.BitLen()))
	}
	for _, block := range metadataBlocks {
		if block.Contains(a) {
			return slices.ContainsFunc(l, func(p netip.Prefix) bool { return p.Contains(a) && p.Bits() >= block.Bits() })
		}
	}
	if !contains(l, a) {
		return false
	}
	for _, e := range embedded(a) {
		if !public(e) && !l.has(e) {
			return false
		}
	}
	return true
}

// check says why an address may not be called at a port; nil: it may. plain is a call without TLS.
func (l allow) check(a netip.Addr, port uint16, plain bool) *Error {
	switch {
	case port == 0:
		return refused(PortNotAllowed, "port 0 is no port")
	case l.has(a):
		return nil
	case !public(a):
		return refused(AddressNotAllowed, "the host's address is not a public one, and the operator has not allowed it")
	case plain:
		return refused(PlainNotAllowed, "use https: http is for addresses that the operator has allowed")
	case port != 443 && port != 80 && port < 1024:
		return refused(PortNotAllowed, "the port must be 443, 80, or one from 1024 to 65535")
	}
	return nil
}
