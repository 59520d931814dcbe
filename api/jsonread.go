package api

import (
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/weir-io/weir/limiter"
	"github.com/weir-io/weir/policy"
)

// A jsonReader reads a check, and nothing else, from JSON: strictly, since what is
// misspelt or written twice would otherwise be decided as something else. Strings
// without escapes are views of b.
type jsonReader struct {
	b []byte
	i int // next byte
}

func badJSON(field, format string, args ...any) *limiter.Error {
	return &limiter.Error{Code: limiter.InvalidArgument, Field: field, Message: fmt.Sprintf(format, args...)}
}

// decodeJSON reads the body f.in into the frame's only request.
func (f *frame) decodeJSON() *limiter.Error {
	f.batch.Requests = append(f.batch.Requests, limiter.Request{})
	r := &f.batch.Requests[0]
	if !utf8.Valid(f.in) {
		return badJSON("", "the body is not valid UTF-8: encode it as UTF-8")
	}
	in := jsonReader{b: f.in}
	var seen [4]bool
	err := in.object("", func(name string) *limiter.Error {
		place, ok := map[string]int{"domain": 0, "attributes": 1, "hits": 2, "peek": 3}[name]
		if !ok {
			return badJSON(fmt.Sprintf("%.64s", name), "is no field of a check: it has domain, attributes, hits and peek")
		}
		if seen[place] {
			return badJSON(name, "is there twice: send each field once")
		}
		seen[place] = true
		var err *limiter.Error
		switch name {
		case "domain":
			r.Domain, err = in.string(name)
		case "attributes":
			err = f.decodeJSONAttributes(&in)
		case "hits":
			r.Hits, err = in.hits()
		case "peek":
			r.Peek, err = in.bool(name)
		}
		return err
	})
	if err != nil {
		return err
	}
	if c := in.next(); c != 0 || in.i < len(in.b) {
		return in.syntax("nothing more may follow the check")
	}
	r.Attributes = f.attributes
	return nil
}

func (f *frame) decodeJSONAttributes(in *jsonReader) *limiter.Error {
	return in.object("attributes", func(name string) *limiter.Error {
		for _, a := range f.attributes {
			if a.Key == name {
				return badJSON("attributes."+name, "is there twice: send each attribute once")
			}
		}
		value, err := in.string("attributes." + name)
		if err != nil {
			return err
		}
		if len(f.attributes) > limiter.MaxAttributes { // one too many is enough to refuse it
			return nil
		}
		f.attributes = append(f.attributes, policy.Attribute{Key: name, Value: value})
		return nil
	})
}

// syntax says that the body is no JSON at the next byte.
func (r *jsonReader) syntax(want string) *limiter.Error {
	return badJSON("", "the body is not a JSON check: at byte %d %s", r.i+1, want)
}

// next skips white space and returns the next byte without taking it, 0 at the end.
func (r *jsonReader) next() byte {
	for ; r.i < len(r.b); r.i++ {
		switch c := r.b[r.i]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	return 0
}

// take takes the next byte if it is c.
func (r *jsonReader) take(c byte) bool {
	if r.next() != c || r.i == len(r.b) {
		return false
	}
	r.i++
	return true
}

// object reads an object; member is called with each name and reads the value.
func (r *jsonReader) object(field string, member func(name string) *limiter.Error) *limiter.Error {
	if !r.take('{') {
		if field == "" {
			return r.syntax(`an object should begin, as {"domain":"shop-api","attributes":{"client":"acme"}}`)
		}
		return badJSON(field, "is not an object: give names and values as strings")
	}
	if r.take('}') {
		return nil
	}
	for {
		if r.next() != '"' {
			return r.syntax("a name in double quotes should stand")
		}
		name, err := r.string(field)
		if err != nil {
			return err
		}
		if !r.take(':') {
			return r.syntax("a colon should stand")
		}
		if err := member(name); err != nil {
			return err
		}
		if r.take('}') {
			return nil
		}
		if !r.take(',') {
			return r.syntax("a comma or the end of the object should stand")
		}
	}
}

// string reads a string.
func (r *jsonReader) string(field string) (string, *limiter.Error) {
	if !r.take('"') {
		return "", badJSON(field, "is not a string: put the value in double quotes")
	}
	for start := r.i; r.i < len(r.b); r.i++ {
		switch c := r.b[r.i]; {
		case c == '"':
			r.i++
			return view(r.b[start : r.i-1]), nil
		case c == '\\':
			return r.escaped(field, append([]byte(nil), r.b[start:r.i]...))
		case c < ' ':
			return "", r.syntax("a control character stands in a string: escape it")
		}
	}
	return "", r.syntax("a string does not end")
}

// escaped reads the rest of a string from its first escape on.
func (r *jsonReader) escaped(field string, s []byte) (string, *limiter.Error) {
	for r.i < len(r.b) {
		c := r.b[r.i]
		r.i++
		switch {
		case c == '"':
			return view(s), nil
		case c < ' ':
			return "", r.syntax("a control character stands in a string: escape it")
		case c != '\\':
			s = append(s, c)
		default:
			ch, ok := r.escape()
			if !ok {
				return "", badJSON(field, "has an escape that is none, before byte %d: write \\\" \\\\ \\/ \\b \\f \\n \\r \\t or \\u and four hex digits, surrogates in pairs", r.i+1)
			}
			s = utf8.AppendRune(s, ch)
		}
	}
	return "", r.syntax("a string does not end")
}

// escape reads what follows a backslash.
func (r *jsonReader) escape() (rune, bool) {
	if r.i == len(r.b) {
		return 0, false
	}
	c := r.b[r.i]
	r.i++
	switch c {
	case '"', '\\', '/':
		return rune(c), true
	case 'b':
		return '\b', true
	case 'f':
		return '\f', true
	case 'n':
		return '\n', true
	case 'r':
		return '\r', true
	case 't':
		return '\t', true
	case 'u':
	default:
		return 0, false
	}
	first, ok := r.hex4()
	if !ok || !utf16.IsSurrogate(first) {
		return first, ok
	}
	if r.i+1 >= len(r.b) || r.b[r.i] != '\\' || r.b[r.i+1] != 'u' {
		return 0, false
	}
	r.i += 2
	second, ok := r.hex4()
	both := utf16.DecodeRune(first, second)
	return both, ok && both != utf8.RuneError
}

// hex4 reads four hex digits.
func (r *jsonReader) hex4() (rune, bool) {
	if r.i+4 > len(r.b) {
		return 0, false
	}
	n, err := strconv.ParseUint(view(r.b[r.i:r.i+4]), 16, 16)
	r.i += 4
	return rune(n), err == nil
}

// hits reads a whole number of 32 bits.
func (r *jsonReader) hits() (int64, *limiter.Error) {
	r.next()
	start := r.i
	for r.i < len(r.b) && (r.b[r.i] >= '0' && r.b[r.i] <= '9') {
		r.i++
	}
	digits := view(r.b[start:r.i])
	n, err := strconv.ParseUint(digits, 10, 32)
	ended := r.next()
	if err != nil || len(digits) > 1 && digits[0] == '0' || ended != ',' && ended != '}' {
		return 0, badJSON("hits", "is not a whole number from 0 to 4294967295: give what the request costs; 0 means 1")
	}
	return int64(n), nil
}

// bool reads true or false.
func (r *jsonReader) bool(field string) (bool, *limiter.Error) {
	r.next()
	for _, word := range [...]string{"true", "false"} {
		if rest := r.b[r.i:]; len(rest) >= len(word) && string(rest[:len(word)]) == word {
			r.i += len(word)
			return word == "true", nil
		}
	}
	return false, badJSON(field, "is neither true nor false")
}
