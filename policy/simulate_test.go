package policy_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/weir-io/weir/bucket"
	"github.com/weir-io/weir/policy"
)

func TestSimulation(t *testing.T) {
	s := compile(t, doc("shop",
		"name: per-client, key: [client], limits: [{algorithm: fixed_window, rate: 3/h}]",
		"name: all, limits: [{algorithm: fixed_window, rate: 8/h}]",
		"name: strict, group: all, mode: shadow, limits: [{algorithm: fixed_window, rate: 2/h}]",
		"name: staff, group: staff, match: {role: staff}, limits: unlimited",
		"name: idle, key: [nothing]"))
	sim := policy.NewSimulation(s, bucket.NewStore(bucket.Config{Memory: 16 << 20}))
	now := time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC).UnixNano()
	var allowed []bool
	for range 5 {
		allowed = append(allowed, sim.Step(now, "shop", attributes("client", "a")))
	}
	for range 2 {
		allowed = append(allowed, sim.Step(now, "shop", attributes("client", "b", "role", "staff")))
	}
	allowed = append(allowed, sim.Step(now+int64(time.Hour), "shop", attributes("client", "a")), sim.Step(now, "bank", nil))
	if want := []bool{true, true, true, false, false, true, true, true, true}; !reflect.DeepEqual(allowed, want) {
		t.Errorf("%v, want %v", allowed, want)
	}
	got := sim.Result(1)
	want := policy.SimulationResult{Requests: 9, Allowed: 7, Denied: 2, NoPolicy: 1, UnknownDomain: 1, Policies: []policy.Tally{
		{Domain: "shop", Policy: "per-client", Mode: "enforce", Requests: 8, Allowed: 6, Denied: 2, Busiest: []policy.KeyTally{{Key: "client=a", Requests: 6, Denied: 2}}, MostDenied: []policy.KeyTally{{Key: "client=a", Requests: 6, Denied: 2}}},
		{Domain: "shop", Policy: "all", Mode: "enforce", Requests: 8, Allowed: 8, Busiest: []policy.KeyTally{{Key: "(all)", Requests: 8}}},
		// What per-client denies is not taken from the shadow, which refuses by itself.
		{Domain: "shop", Policy: "strict", Mode: "shadow", Requests: 8, Allowed: 3, Denied: 5, Busiest: []policy.KeyTally{{Key: "(all)", Requests: 8, Denied: 5}}, MostDenied: []policy.KeyTally{{Key: "(all)", Requests: 8, Denied: 5}}},
		{Domain: "shop", Policy: "staff", Mode: "enforce", Requests: 2, Allowed: 2},
		{Domain: "shop", Policy: "idle", Mode: "enforce"},
	}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want\n%+v", got, want)
	}
	if _, err := json.Marshal(got); err != nil {
		t.Error(err)
	}
}

func TestSimulationExempt(t *testing.T) {
	s := compile(t, doc("shop", "name: free, limits: unlimited"))
	sim := policy.NewSimulation(s, bucket.NewStore(bucket.Config{Memory: 16 << 20}))
	sim.Step(0, "shop", nil)
	if got := sim.Result(5); got.Exempt != 1 || got.NoPolicy != 0 || got.Allowed != 1 {
		t.Errorf("%+v", got)
	}
}

// A key that is denied is shown, however many come more often and are not.
func TestMostDeniedKeys(t *testing.T) {
	s := compile(t, doc("shop", "name: a, key: [k], limits: [{algorithm: fixed_window, rate: 5/s}]"))
	sim := policy.NewSimulation(s, bucket.NewStore(bucket.Config{Memory: 16 << 20}))
	for i := range 40 {
		sim.Step(int64(i)*int64(time.Second), "shop", attributes("k", "steady"))
		if i < 8 {
			sim.Step(0, "shop", attributes("k", "hasty"))
		}
		if i < 6 {
			sim.Step(0, "shop", attributes("k", "hurried"))
		}
	}
	got := sim.Result(2).Policies[0]
	want := []policy.KeyTally{{Key: "k=hasty", Requests: 8, Denied: 3}, {Key: "k=hurried", Requests: 6, Denied: 1}}
	if !reflect.DeepEqual(got.MostDenied, want) || got.Busiest[0].Key != "k=steady" {
		t.Errorf("most denied %+v, want %+v; busiest %+v, want steady first", got.MostDenied, want, got.Busiest)
	}
}

// TestBusiestKeys wants the frequent keys among far more than are counted.
func TestBusiestKeys(t *testing.T) {
	s := compile(t, doc("shop", "name: a, key: [k], limits: [{algorithm: fixed_window, rate: 1000000/h}]"))
	sim := policy.NewSimulation(s, bucket.NewStore(bucket.Config{Memory: 64 << 20}))
	for i := range 20_000 {
		sim.Step(int64(i), "shop", attributes("k", fmt.Sprint("rare", i)))
		if i%4 == 0 {
			sim.Step(int64(i), "shop", attributes("k", "hot"))
		}
		if i%8 == 0 {
			sim.Step(int64(i), "shop", attributes("k", "warm"))
		}
	}
	top := sim.Result(2).Policies[0].Busiest
	if len(top) != 2 || top[0].Key != "k=hot" || top[1].Key != "k=warm" {
		t.Fatalf("%+v", top)
	}
	for i, n := range []int64{5000, 2500} {
		if k := top[i]; k.Requests < n || k.Requests-k.Over > n {
			t.Errorf("%+v, want %d within", k, n)
		}
	}
	if all := sim.Result(1 << 20).Policies[0].Busiest; len(all) > 1000 {
		t.Errorf("%d keys are kept", len(all))
	}
}
