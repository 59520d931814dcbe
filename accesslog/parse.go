package accesslog

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Parse reads one line, without its line end, of the common format
//
//	host ident user [02/Jan/2006:15:04:05 -0700] "request" status size
//
// or the combined one, which adds "referer" and "user agent". Fields after those are
// ignored. In quotes, \" and \\ and the other escapes of Apache and nginx are decoded;
// where that does not make UTF-8, the field keeps its escapes.
func Parse(line string) (Record, error) {
	if !utf8.ValidString(line) {
		line = strings.ToValidUTF8(line, "\uFFFD")
	}
	var r Record
	host, rest, ok := strings.Cut(line, " ")
	if !ok || host == "" {
		return r, errors.New("host: nothing before the first space")
	}
	r.Host = filled(host)
	_, rest, ok = strings.Cut(rest, "[")
	if !ok {
		return r, errors.New("time: no [ that opens it")
	}
	stamp, rest, ok := strings.Cut(rest, "]")
	if !ok {
		return r, errors.New("time: no ] that closes it")
	}
	var err error
	if r.Time, err = parseTime(stamp); err != nil {
		return r, err
	}
	request, rest, err := quoted("request", rest)
	if err != nil {
		return r, err
	}
	r.Method, r.Path = parseRequest(request)
	status, rest, _ := strings.Cut(strings.TrimPrefix(rest, " "), " ")
	if status != "-" && (len(status) != 3 || !digits(status)) {
		return r, fmt.Errorf("status: %.20q is not three digits", status)
	}
	r.Status = filled(status)
	size, rest, more := strings.Cut(rest, " ")
	if size != "-" && (size == "" || !digits(size)) {
		return r, fmt.Errorf("size: %.20q is not a number of bytes", size)
	}
	if !more || rest == "" {
		return r, nil
	}
	if r.Referer, rest, err = quoted("referer", rest); err != nil {
		return r, err
	}
	r.UserAgent, _, err = quoted("user agent", rest)
	return r, err
}

// quoted takes a field in quotes off the front of s and returns it, decoded and
// without "-", and what follows.
func quoted(name, s string) (field, rest string, err error) {
	s = strings.TrimPrefix(s, " ")
	if s == "" || s[0] != '"' {
		return "", "", fmt.Errorf("%s: no quote that opens it", name)
	}
	escaped := false
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			escaped = true
			i++
		case '"':
			field = s[1:i]
			if escaped {
				field = unescape(field)
			}
			return filled(field), s[i+1:], nil
		}
	}
	return "", "", fmt.Errorf("%s: no quote that closes it: the line was cut off", name)
}

// unescape decodes a field, or returns it as it is where the outcome is not UTF-8.
func unescape(s string) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b = append(b, s[i])
			continue
		}
		i++
		switch s[i] {
		case '"', '\\':
			b = append(b, s[i])
		case 'n':
			b = append(b, '\n')
		case 'r':
			b = append(b, '\r')
		case 't':
			b = append(b, '\t')
		case 'x':
			if i+2 < len(s) && hex(s[i+1]) >= 0 && hex(s[i+2]) >= 0 {
				b = append(b, byte(hex(s[i+1])<<4|hex(s[i+2])))
				i += 2
				continue
			}
			b = append(b, '\\', 'x')
		default:
			b = append(b, '\\', s[i])
		}
	}
	if !utf8.Valid(b) {
		return s
	}
	return string(b)
}

// hex returns the value of a hexadecimal digit, -1 of anything else.
func hex(c byte) int {
	if c >= 'A' && c <= 'F' {
		c += 'a' - 'A'
	}
	return strings.IndexByte("0123456789abcdef", c)
}

// parseRequest returns method and path of a request line. What is not one, as the
// opening of TLS on a plain port, has neither.
func parseRequest(line string) (method, path string) {
	method, target, ok := strings.Cut(line, " ")
	if !ok || method == "" || len(method) > 32 || strings.Trim(method, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_") != "" {
		return "", ""
	}
	// A target may have blanks that it should not have; the version is what follows the last one.
	if i := strings.LastIndex(target, " HTTP/"); i >= 0 {
		target = target[:i]
	}
	return method, strings.TrimSpace(pathOf(strings.TrimSpace(target)))
}

// filled returns a field, or nothing for the "-" that stands for nothing.
func filled(s string) string {
	if s == "-" {
		return ""
	}
	return s
}

func digits(s string) bool { return strings.Trim(s, "0123456789") == "" }

const months = "JanFebMarAprMayJunJulAugSepOctNovDec"

// parseTime reads "02/Jan/2006:15:04:05 -0700". It is written out since time.Parse
// takes longer than all else of a line together.
func parseTime(s string) (time.Time, error) {
	bad := func() (time.Time, error) {
		return time.Time{}, fmt.Errorf("time: %.40q is not like 02/Jan/2006:15:04:05 -0700", s)
	}
	if len(s) != 26 || s[2] != '/' || s[6] != '/' || s[11] != ':' || s[14] != ':' || s[17] != ':' || s[20] != ' ' {
		return bad()
	}
	month := strings.Index(months, s[3:6])
	if month%3 != 0 || (s[21] != '+' && s[21] != '-') {
		return bad()
	}
	var n [7]int
	for i, part := range [...]string{s[0:2], s[7:11], s[12:14], s[15:17], s[18:20], s[22:24], s[24:26]} {
		for _, c := range []byte(part) {
			if c < '0' || c > '9' {
				return bad()
			}
			n[i] = n[i]*10 + int(c-'0')
		}
	}
	day, year, hour, minute, second, zone := n[0], n[1], n[2], n[3], n[4], n[5]*3600+n[6]*60
	if hour > 23 || minute > 59 || second > 60 || n[5] > 23 || n[6] > 59 {
		return bad()
	}
	if s[21] == '-' {
		zone = -zone
	}
	date := time.Date(year, time.Month(month/3+1), day, 0, 0, 0, 0, time.UTC)
	if date.Day() != day { // 31/Feb
		return bad()
	}
	t := date.Add(time.Duration(hour*3600+minute*60+second-zone) * time.Second)
	if zone != 0 {
		t = t.In(time.FixedZone("", zone))
	}
	return t, nil
}
