package accesslog_test

import (
	"fmt"
	"strings"

	"github.com/weir-io/weir/accesslog"
)

func Example() {
	text := `10.0.0.2 - - [17/May/2015:10:05:04 +0000] "GET /b?page=2 HTTP/1.1" 200 12 "-" "curl/8"
this line is not one of an access log
10.0.0.1 - - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 404 0
`
	r := accesslog.NewReader(strings.NewReader(text))
	records, err := accesslog.All(accesslog.NewOrderer(r, accesslog.Window))
	if err != nil {
		fmt.Println(err)
	}
	for _, rec := range records {
		fmt.Print(rec.Time.Format("15:04:05"))
		for name, value := range rec.Attributes() {
			fmt.Printf(" %s=%s", name, value)
		}
		fmt.Println()
	}
	for _, p := range r.Problems() {
		fmt.Println(p)
	}
	// Output:
	// 10:05:03 client_ip=10.0.0.1 method=GET path=/a status=404
	// 10:05:04 client_ip=10.0.0.2 method=GET path=/b status=200 user_agent=curl/8
	// line 2: time: no [ that opens it
}
