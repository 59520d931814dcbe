package policy

import (
	"fmt"
	"net/netip"
	"strings"
)

// CanonicalIP brings an address to the one spelling that keys and conditions use: IPv6
// in its shortest form, an IPv4-mapped one as IPv4, no zone. An address that is spelled
// so already is returned as it is, without allocating.
func CanonicalIP(s string) (string, error) {
	ip, ok := parseAddr(s)
	if !ok {
		return "", fmt.Errorf("%.64q is not an IP address", s)
	}
	var buf [64]byte
	if text := ip.AppendTo(buf[:0]); string(text) != s {
		return string(text), nil
	}
	return s, nil
}

// parseAddr parses an address, unmapped and without its zone. What cannot be one is
// turned away before net/netip makes an error of it.
func parseAddr(s string) (netip.Addr, bool) {
	digits, zone, zoned := strings.Cut(s, "%")
	if len(digits) < 2 || len(digits) > 45 || zoned && zone == "" {
		return netip.Addr{}, false
	}
	separators := 0
	for i := range len(digits) {
		switch c := digits[i]; {
		case c == '.' || c == ':':
			separators++
		case c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f':
		default:
			return netip.Addr{}, false
		}
	}
	if separators < 2 {
		return netip.Addr{}, false
	}
	ip, err := netip.ParseAddr(digits)
	if err != nil || zoned && ip.Is4() {
		return netip.Addr{}, false
	}
	return ip.Unmap(), true
}

// An address is a value's address, parsed at most once.
type address struct {
	addr  netip.Addr
	tried bool
	ok    bool
}

func (a *address) of(value string) (netip.Addr, bool) {
	if !a.tried {
		a.addr, a.ok = parseAddr(value)
		a.tried = true
	}
	return a.addr, a.ok
}
