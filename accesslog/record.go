package accesslog

import (
	"iter"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"
)

// maxValue is the longest attribute value that a check accepts, in bytes.
const maxValue = 2048

// A Record is one request of a log. Fields that the log leaves blank ("-") are
// empty. A Record may be kept: it shares no memory with the reader.
type Record struct {
	Time      time.Time // of the request, in the zone of the log, to the second
	Host      string    // who asked, as written: an address or a name
	Method    string    // empty where the request line was not one of HTTP
	Path      string    // without query and fragment; empty as Method
	Status    string    // three digits
	Referer   string
	UserAgent string
	Line      int // number of the line it was read from, from 1
}

// Attributes yields the attributes by which policies tell requests apart, as name and
// value: client_ip, method, path, status, user_agent and referer, in this order. Those
// that a log does not tell are left out, as is client_ip where the log has names in
// place of addresses. An address has one spelling, whatever that of the log. Values
// are cut to the 2,048 bytes that a check accepts.
func (r *Record) Attributes() iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for _, a := range [...]struct{ name, value string }{
			{"client_ip", clientIP(r.Host)}, {"method", r.Method}, {"path", r.Path},
			{"status", r.Status}, {"user_agent", r.UserAgent}, {"referer", r.Referer},
		} {
			if a.value != "" && !yield(a.name, cut(a.value)) {
				return
			}
		}
	}
}

// clientIP returns the address in a host field, with or without brackets, or nothing.
func clientIP(host string) string {
	if len(host) > 2 && host[0] == '[' && host[len(host)-1] == ']' {
		host = host[1 : len(host)-1]
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return ""
	}
	return ip.Unmap().WithZone("").String()
}

// cut shortens a value to maxValue without breaking a character.
func cut(s string) string {
	if len(s) <= maxValue {
		return s
	}
	end := maxValue
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}

// pathOf returns the path of a request target: of "/a?b" and "http://host/a?b" it is
// "/a", of "host:443", as CONNECT sends it, nothing.
func pathOf(target string) string {
	target, _, _ = strings.Cut(target, "?")
	target, _, _ = strings.Cut(target, "#")
	switch {
	case strings.HasPrefix(target, "/") || target == "*":
		return target
	case strings.Contains(target, "://"):
		_, rest, _ := strings.Cut(target, "://")
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			return rest[i:]
		}
		return "/"
	}
	return ""
}
