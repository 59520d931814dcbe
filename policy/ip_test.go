package policy_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/weir-io/weir/policy"
)

func contains(s, part string) bool { return strings.Contains(s, part) }

func TestCanonicalIP(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.7": "192.0.2.7", "::ffff:192.0.2.7": "192.0.2.7", "::FFFF:c000:207": "192.0.2.7",
		"2001:DB8::0:1": "2001:db8::1", "2001:db8:0:0:0:0:0:1": "2001:db8::1", "::": "::", "::1": "::1",
		"fe80::1%eth0": "fe80::1", "64:ff9b::192.0.2.1": "64:ff9b::c000:201",
	} {
		if got, err := policy.CanonicalIP(text); got != want || err != nil {
			t.Errorf("%q: %q, %v, want %q", text, got, err, want)
		}
	}
	for _, text := range []string{"", "1", "localhost", "192.0.2", "192.0.2.256", "192.0.2.07", "192.0.2.7:80", "[::1]", "1::2::3", ":::", "192.0.2.7%eth0", "::1%", "10.0.0.0/8", " ::1"} {
		if got, err := policy.CanonicalIP(text); err == nil {
			t.Errorf("%q: %q, want an error", text, got)
		}
	}
	for _, text := range []string{"192.0.2.7", "2001:db8::1"} {
		if n := testing.AllocsPerRun(100, func() { _, _ = policy.CanonicalIP(text) }); n > 0 {
			t.Errorf("%q: %v allocations", text, n)
		}
	}
}

func FuzzCanonicalIP(f *testing.F) {
	for _, s := range []string{"192.0.2.7", "::ffff:192.0.2.7", "2001:DB8::1", "fe80::1%eth0", "::", "1.2.3", "%", "::ffff:1.2.3.4%x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := policy.CanonicalIP(s)
		ip, parseErr := netip.ParseAddr(s)
		if err != nil {
			if parseErr == nil && ip.Zone() == "" {
				t.Fatalf("%q is an address: %v", s, err)
			}
			return
		}
		again, err := policy.CanonicalIP(got)
		if err != nil || again != got {
			t.Fatalf("%q became %q became %q, %v", s, got, again, err)
		}
		if parseErr == nil && ip.Unmap().WithZone("").String() != got {
			t.Fatalf("%q became %q, not %v", s, got, ip.Unmap())
		}
	})
}
