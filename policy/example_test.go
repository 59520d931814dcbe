package policy_test

import (
	"fmt"

	"github.com/weir-io/weir/bucket"
	"github.com/weir-io/weir/policy"
)

func ExampleParse() {
	_, err := policy.Parse("shop.yaml", []byte(`
domain: shop
policies:
  - name: per-client
    match: {tier: 1}
    key: [client]
    limits:
      - {algorithm: token_bucket, rate: 0.5/s}
`))
	fmt.Println(err)
	// Output:
	// shop.yaml:5:19: policies[0].match.tier: 1 is a number, not a text: quote it: "1"
	// shop.yaml:8:41: policies[0].limits[0].rate: "0.5/s" is not a rate: COUNT is a whole number; write 1/2s
}

func ExampleSnapshot_Choose() {
	doc, err := policy.Parse("shop.yaml", []byte(`
domain: shop
policies:
  - name: by-key
    key: [api_key]
    group: caller
    priority: 1
    limits: [{name: pace, algorithm: token_bucket, rate: 100/s}]
  - name: by-address
    key: [client_ip]
    group: caller
    limits: [{name: pace, algorithm: token_bucket, rate: 10/s}]
  - name: writes
    match: {method: [POST, PUT], path: /v1/orders/**}
    key: []
    limits: [{name: all, algorithm: sliding_window, rate: 1000/minute}]
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	s, _, err := policy.Compile(nil, []*policy.Document{doc}, 1, policy.Secret{})
	if err != nil {
		fmt.Println(err)
		return
	}
	var c policy.Choice
	s.Choose("shop", []policy.Attribute{{Key: "client_ip", Value: "192.0.2.7"}, {Key: "method", Value: "POST"}, {Key: "path", Value: "/v1/orders"}}, &c)
	for _, w := range c.Winners {
		fmt.Println(w.Policy.Name, w.Policy.Limits[0].Name)
	}
	// Output:
	// by-address pace
	// writes all
}

func ExampleDiff() {
	parse := func(rate string) *policy.Document {
		d, err := policy.Parse("shop.yaml", []byte("domain: shop\npolicies:\n  - {name: cap, key: [], limits: [{name: pace, algorithm: sliding_window, rate: "+rate+"}]}\n"))
		if err != nil {
			panic(err)
		}
		return d
	}
	for _, e := range policy.Diff(parse("100/s"), parse("200/s")) {
		fmt.Println(e.Domain, e.Policy, e.Changes)
	}
	// Output: shop cap [limits[pace].rate: 100/s -> 200/s]
}

func ExampleSimulation() {
	doc, _ := policy.Parse("shop.yaml", []byte("domain: shop\npolicies:\n  - {name: cap, key: [client], limits: [{algorithm: fixed_window, rate: 2/m}]}\n"))
	s, _, _ := policy.Compile(nil, []*policy.Document{doc}, 1, policy.Secret{})
	sim := policy.NewSimulation(s, bucket.NewStore(bucket.Config{Memory: 1 << 20}))
	for range 3 {
		sim.Step(0, "shop", []policy.Attribute{{Key: "client", Value: "acme"}})
	}
	cap := sim.Result(10).Policies[0]
	fmt.Println(cap.Policy, cap.Allowed, cap.Denied, cap.Busiest)
	// Output: cap 2 1 [{client=acme 3 1 0}]
}

func ExampleCanonicalIP() {
	ip, err := policy.CanonicalIP("::ffff:192.0.2.7")
	fmt.Println(ip, err)
	// Output: 192.0.2.7 <nil>
}
