package accesslog

import "strings"

// Combined returns r as a line of the combined format, without line end. [Parse] reads
// it back, all but the number of its line; ident, user and size, which a Record does not
// keep, are blank.
func (r *Record) Combined() string {
	var b strings.Builder
	b.WriteString(orDash(r.Host))
	b.WriteString(" - - [")
	b.WriteString(r.Time.Format("02/Jan/2006:15:04:05 -0700"))
	b.WriteString("] ")
	request := ""
	if r.Method != "" {
		request = r.Method + " " + r.Path + " HTTP/1.1"
	}
	quote(&b, request)
	b.WriteString(" " + orDash(r.Status) + " - ")
	quote(&b, r.Referer)
	b.WriteByte(' ')
	quote(&b, r.UserAgent)
	return b.String()
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// quote writes a field in quotes, escaped as servers do.
func quote(b *strings.Builder, s string) {
	const digits = "0123456789abcdef"
	b.WriteByte('"')
	for _, c := range []byte(orDash(s)) {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < 0x20 || c == 0x7f:
			b.WriteString(`\x`)
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
}
