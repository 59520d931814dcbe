package limiter

import (
	"fmt"
	"unicode/utf8"

	"github.com/weir-io/weir/policy"
)

// Bounds of a request.
const (
	MaxAttributes = 32
	MaxName       = 64    // characters of a domain or an attribute's name
	MaxValue      = 2048  // bytes of an attribute's value
	MaxItems      = 10000 // requests of a batch, permits of a release
)

// clientIP is the attribute whose value is an address.
const clientIP = "client_ip"

const nameRule = "1 to 64 characters of A-Z a-z 0-9 _ . : -"

// nameByte tells the characters of names.
var nameByte = func() (ok [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:-") {
		ok[c] = true
	}
	return ok
}()

// checked is what the last valid request of a batch looked like. The requests of a
// batch mostly look alike: a domain or names found good once need no second look.
type checked struct {
	domain     string
	attributes []policy.Attribute
	ip         int // place of client_ip in attributes, -1 for none
}

// validate reports what is wrong with a request, nil for nothing, and brings client_ip
// to one spelling.
func (c *checked) validate(r *Request) *Error {
	if r.Err != nil {
		return r.Err
	}
	if r.Domain != c.domain || r.Domain == "" {
		if err := validName("domain", r.Domain, "the domain of a policy document"); err != nil {
			return err
		}
		c.domain = r.Domain
	}
	if r.Hits < 0 {
		return &Error{Code: InvalidArgument, Field: "hits", Message: fmt.Sprintf("%d is negative: give what the request costs; 0 means 1", r.Hits)}
	}
	if !sameNames(c.attributes, r.Attributes) {
		ip, err := validNames(r.Attributes)
		if err != nil {
			return err
		}
		c.attributes, c.ip = r.Attributes, ip
	}
	for i := range r.Attributes {
		v := r.Attributes[i].Value
		if len(v) == 0 || len(v) > MaxValue || !ascii(v) && !utf8.ValidString(v) {
			return badValue(i, r.Attributes[i])
		}
	}
	if len(r.Attributes) > 0 && c.ip >= 0 {
		a := &r.Attributes[c.ip]
		ip, err := policy.CanonicalIP(a.Value)
		if err != nil {
			return &Error{Code: InvalidArgument, Field: fmt.Sprintf("attributes[%d].value", c.ip), Message: "client_ip: " + err.Error() + ": give an IPv4 or IPv6 address without a port"}
		}
		a.Value = ip
	}
	return nil
}

// ascii reports whether s is all ASCII, as most values are: cheaper for short ones than
// the question whether it is UTF-8.
func ascii(s string) bool {
	var all uint64
	for ; len(s) >= 8; s = s[8:] {
		all |= uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
			uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
	}
	for i := range len(s) {
		all |= uint64(s[i])
	}
	return all&0x8080808080808080 == 0
}

// sameNames reports whether two lists name the same attributes in the same order.
func sameNames(a, b []policy.Attribute) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Key != b[i].Key {
			return false
		}
	}
	return true
}

// validNames reports what is wrong with the names of attributes, and the place of
// client_ip.
func validNames(attributes []policy.Attribute) (ip int, bad *Error) {
	if len(attributes) > MaxAttributes {
		return 0, &Error{Code: InvalidArgument, Field: "attributes", Message: fmt.Sprintf("%d attributes are too many: send at most %d, those that policies name", len(attributes), MaxAttributes)}
	}
	ip = -1
	for i := range attributes {
		name := attributes[i].Key
		if err := validName("", name, "the attribute"); err != nil {
			err.Field = fmt.Sprintf("attributes[%d].key", i)
			return 0, err
		}
		if name == clientIP {
			ip = i
		}
		for j := range i {
			if attributes[j].Key == name {
				return 0, &Error{Code: InvalidArgument, Field: fmt.Sprintf("attributes[%d].key", i), Message: fmt.Sprintf("%q is there already, as attributes[%d]: send each attribute once", name, j)}
			}
		}
	}
	return ip, nil
}

// validName reports what is wrong with a name that stands in field.
func validName(field, name, what string) *Error {
	if name == "" {
		return &Error{Code: InvalidArgument, Field: field, Message: "is empty: name " + what + " in " + nameRule}
	}
	if len(name) > MaxName {
		return &Error{Code: InvalidArgument, Field: field, Message: fmt.Sprintf("has %d characters: a name is %s", len(name), nameRule)}
	}
	for i := range len(name) {
		if !nameByte[name[i]] {
			return &Error{Code: InvalidArgument, Field: field, Message: fmt.Sprintf("%q is no name: use %s", name, nameRule)}
		}
	}
	return nil
}

// badValue says what is wrong with the value of attribute i.
func badValue(i int, a policy.Attribute) *Error {
	e := &Error{Code: InvalidArgument, Field: fmt.Sprintf("attributes[%d].value", i)}
	switch {
	case a.Value == "":
		e.Message = fmt.Sprintf("%s is empty: give 1 to %d bytes, or leave the attribute out", a.Key, MaxValue)
	case len(a.Value) > MaxValue:
		e.Message = fmt.Sprintf("%s has %d bytes: give at most %d, or a hash of the value", a.Key, len(a.Value), MaxValue)
	default:
		e.Message = a.Key + " is not valid UTF-8: encode it, as base64 or hex"
	}
	return e
}
