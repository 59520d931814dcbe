package accesslog

import (
	"maps"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	const stamp = "[17/May/2015:10:05:03 +0200]"
	at := time.Date(2015, time.May, 17, 8, 5, 3, 0, time.UTC)
	tests := []struct {
		name, line string
		want       Record
	}{
		{"combined", `83.149.9.216 - - ` + stamp + ` "GET /a/b.png?x=1 HTTP/1.1" 200 203023 "http://example.com/" "Mozilla/5.0 (X11)"`,
			Record{Time: at, Host: "83.149.9.216", Method: "GET", Path: "/a/b.png", Status: "200", Referer: "http://example.com/", UserAgent: "Mozilla/5.0 (X11)"}},
		{"common", `10.0.0.1 - frank ` + stamp + ` "POST / HTTP/1.0" 201 -`,
			Record{Time: at, Host: "10.0.0.1", Method: "POST", Path: "/", Status: "201"}},
		{"ipv6 and user with a blank", `2001:DB8::1 - john doe ` + stamp + ` "HEAD /x HTTP/2.0" 304 0 "-" "-"`,
			Record{Time: at, Host: "2001:DB8::1", Method: "HEAD", Path: "/x", Status: "304"}},
		{"name for a host", `host.example - - ` + stamp + ` "GET /x HTTP/1.1" 200 1 "-" "curl"`,
			Record{Time: at, Host: "host.example", Method: "GET", Path: "/x", Status: "200", UserAgent: "curl"}},
		{"escaped quotes", `::1 - - ` + stamp + ` "GET /\"q\" HTTP/1.1" 200 1 "a\\b" "say \"hi\"\t\x41"`,
			Record{Time: at, Host: "::1", Method: "GET", Path: `/"q"`, Status: "200", Referer: `a\b`, UserAgent: "say \"hi\"\tA"}},
		{"escapes that are not UTF-8 stay", `::1 - - ` + stamp + ` "GET / HTTP/1.1" 200 1 "http://\xe4\xe5/" "x"`,
			Record{Time: at, Host: "::1", Method: "GET", Path: "/", Status: "200", Referer: `http://\xe4\xe5/`, UserAgent: "x"}},
		{"no request", `::1 - - ` + stamp + ` "-" 408 0 "-" "-"`, Record{Time: at, Host: "::1", Status: "408"}},
		{"empty request", `::1 - - ` + stamp + ` "" 400 0`, Record{Time: at, Host: "::1", Status: "400"}},
		{"TLS on a plain port", `::1 - - ` + stamp + ` "\x16\x03\x01\x00" 400 226 "-" "-"`, Record{Time: at, Host: "::1", Status: "400"}},
		{"blank in the target", `::1 - - ` + stamp + ` "GET /a b HTTP/1.1" 404 1`, Record{Time: at, Host: "::1", Method: "GET", Path: "/a b", Status: "404"}},
		{"HTTP/0.9", `::1 - - ` + stamp + ` "GET /old" 200 1`, Record{Time: at, Host: "::1", Method: "GET", Path: "/old", Status: "200"}},
		{"whole URL", `::1 - - ` + stamp + ` "GET http://h.example/p?q HTTP/1.1" 200 1`, Record{Time: at, Host: "::1", Method: "GET", Path: "/p", Status: "200"}},
		{"whole URL without path", `::1 - - ` + stamp + ` "GET http://h.example HTTP/1.1" 200 1`, Record{Time: at, Host: "::1", Method: "GET", Path: "/", Status: "200"}},
		{"asterisk", `::1 - - ` + stamp + ` "OPTIONS * HTTP/1.1" 200 -`, Record{Time: at, Host: "::1", Method: "OPTIONS", Path: "*", Status: "200"}},
		{"tunnel", `::1 - - ` + stamp + ` "CONNECT h.example:443 HTTP/1.1" 405 0`, Record{Time: at, Host: "::1", Method: "CONNECT", Status: "405"}},
		{"status not known", `::1 - - ` + stamp + ` "GET / HTTP/1.1" - -`, Record{Time: at, Host: "::1", Method: "GET", Path: "/"}},
		{"fields after the last", `::1 - - ` + stamp + ` "GET / HTTP/1.1" 200 1 "-" "ua" 0.003 "x`, Record{Time: at, Host: "::1", Method: "GET", Path: "/", Status: "200", UserAgent: "ua"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Parse(tt.line)
			if err != nil {
				t.Fatal(err)
			}
			if !got.Time.Equal(tt.want.Time) {
				t.Errorf("time %v, want %v", got.Time, tt.want.Time)
			}
			got.Time = tt.want.Time
			if got != tt.want {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func TestParseMalformed(t *testing.T) {
	tests := []struct{ line, reason string }{
		{"", "host"},
		{"word", "host"},
		{"h - - 17/May/2015:10:05:03 +0000 x", "time: no ["},
		{"h - - [17/May/2015:10:05:03 +0000", "time: no ]"},
		{`h - - [17/Mai/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 1`, "time:"},
		{`h - - [31/Feb/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 1`, "time:"},
		{`h - - [31/Feb/2015:10:05:60 +0000] "GET / HTTP/1.1" 200 1`, "time:"},
		{`h - - [00/Mar/2015:10:05:60 +0000] "GET / HTTP/1.1" 200 1`, "time:"},
		{`h - - [17/May/2015:24:05:03 +0000] "GET / HTTP/1.1" 200 1`, "time:"},
		{`h - - [17/May/2015:10:05:03 *0000] "GET / HTTP/1.1" 200 1`, "time:"},
		{`h - - [1a/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 1`, "time:"},
		{`h - - [17/May/2015:10:05:03 +0000] GET / HTTP/1.1 200 1`, "request: no quote that opens"},
		{`h - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1 200 1`, "request: no quote that closes"},
		{`h - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1"`, "status"},
		{`h - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 2000 1`, "status"},
		{`h - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200`, "size"},
		{`h - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 many`, "size"},
		{`h - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 1 "ref`, "referer: no quote that closes"},
		{`h - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 1 "ref"`, "user agent: no quote that opens"},
		{`h - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 1 "-" "ua\"`, "user agent: no quote that closes"},
	}
	for _, tt := range tests {
		_, err := Parse(tt.line)
		if err == nil || !strings.HasPrefix(err.Error(), tt.reason) {
			t.Errorf("%s\nerror %v, want one that begins with %q", tt.line, err, tt.reason)
		}
	}
}

func TestAttributes(t *testing.T) {
	tests := []struct {
		name string
		rec  Record
		want map[string]string
	}{
		{"all", Record{Host: "10.0.0.1", Method: "GET", Path: "/x", Status: "200", Referer: "r", UserAgent: "u"},
			map[string]string{"client_ip": "10.0.0.1", "method": "GET", "path": "/x", "status": "200", "referer": "r", "user_agent": "u"}},
		{"blank fields are left out", Record{Host: "10.0.0.1"}, map[string]string{"client_ip": "10.0.0.1"}},
		{"a name is no address", Record{Host: "host.example", Status: "200"}, map[string]string{"status": "200"}},
		{"one spelling", Record{Host: "2001:DB8:0:0::1"}, map[string]string{"client_ip": "2001:db8::1"}},
		{"IPv4 in IPv6", Record{Host: "::ffff:10.0.0.1"}, map[string]string{"client_ip": "10.0.0.1"}},
		{"brackets and zone", Record{Host: "[fe80::1%eth0]"}, map[string]string{"client_ip": "fe80::1"}},
		{"cut before a broken character", Record{Path: strings.Repeat("x", 2047) + "ü"}, map[string]string{"path": strings.Repeat("x", 2047)}},
	}
	for _, tt := range tests {
		if got := maps.Collect(tt.rec.Attributes()); !maps.Equal(got, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
	for range (&Record{Host: "::1", Path: "/"}).Attributes() {
		break // a loop may end early
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`83.149.9.216 - - [17/May/2015:10:05:03 +0000] "GET /a?b HTTP/1.1" 200 203023 "http://example.com/" "Mozilla/5.0"`)
	f.Add(`::1 - "x y" [29/Feb/2016:23:59:60 -0930] "GET /\"q\" \xe4 HTTP/1.1" 200 - "\\" "\x00"`)
	f.Add(`- - - [01/Jan/0000:00:00:00 +2359] "" - -`)
	f.Fuzz(func(t *testing.T, line string) {
		rec, err := Parse(line)
		if err != nil {
			return
		}
		for name, value := range rec.Attributes() {
			if value == "" || len(value) > maxValue || strings.ToValidUTF8(value, "") != value {
				t.Errorf("attribute %s = %q is not one that a check accepts", name, value)
			}
		}
		again, err := Parse(rec.Combined())
		if err != nil {
			t.Fatalf("%q was written as %q: %v", line, rec.Combined(), err)
		}
		if !again.Time.Equal(rec.Time) {
			t.Errorf("time %v came back as %v", rec.Time, again.Time)
		}
		again.Time = rec.Time
		if again != rec {
			t.Errorf("%+v\ncame back as %+v", rec, again)
		}
	})
}
